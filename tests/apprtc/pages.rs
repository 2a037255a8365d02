//! The operator's copies of AppRTC's templates, in place of our page. These here are our own.

use std::fs;

use callbox::assets::Assets;

use crate::client::Server;
use crate::door::{Scratch, Setup};

const INDEX: &str = r#"<!doctype html><title>index</title>
<link rel="canonical" href="{{ room_link }}">
{% if header_message %}<p>{{ header_message }}</p>{% endif %}
<a href="{{ room_link }}">{{ room_link }}</a>
{{ include_loopback_js }}
<script>
var params = {
  errorMessages: {{ error_messages }},
  isLoopback: {{ is_loopback }},
  warningMessages: {{ warning_messages }},
  {% if room_id %}
  roomId: '{{ room_id }}',
  roomLink: '{{ room_link }}',
  {% endif %}
  mediaConstraints: {{ media_constraints | safe }},
  offerOptions: {{ offer_options | safe }},
  peerConnectionConfig: {{ pc_config | safe }},
  peerConnectionConstraints: {{ pc_constraints | safe }},
  iceServerRequestUrl: '{{ ice_server_url }}',
  iceServerTransports: '{{ ice_server_transports }}',
  wssUrl: '{{ wss_url }}',
  wssPostUrl: '{{ wss_post_url }}',
  bypassJoinConfirmation: {{ bypass_join_confirmation }},
  versionInfo: {{ version_info }},
};
</script>
"#;

const FULL: &str = "<!doctype html><title>full</title><a href=\"{{ room_link }}\">again</a>";

async fn with_templates() -> (Server, Scratch) {
    let scratch = Scratch::new("apprtc-pages");
    fs::create_dir_all(scratch.0.join("js")).unwrap();
    fs::write(scratch.0.join("index_template.html"), INDEX).unwrap();
    fs::write(scratch.0.join("full_template.html"), FULL).unwrap();
    fs::write(scratch.0.join("index.html"), "not this one").unwrap();
    fs::write(scratch.0.join("js/loopback.js"), "loop").unwrap();
    let setup = Setup {
        assets: Assets::directory(&scratch.0).unwrap(),
        ..Setup::default()
    };
    (Server::with(setup).await, scratch)
}

#[tokio::test]
async fn the_operators_templates_are_filled_for_the_start_and_for_each_room() {
    let (server, _scratch) = with_templates().await;
    let start = server.get("/").await;
    assert_eq!(start.status, 200);
    assert_eq!(
        start.header("content-type"),
        Some("text/html; charset=utf-8")
    );
    assert_eq!(start.header("cache-control"), Some("no-store"));
    assert!(start.text().contains("<title>index</title>"));
    assert!(!start.text().contains("roomId"));
    let room = server.get("/r/120031?debug=loopback").await;
    let host = server.host();
    for expected in [
        "roomId: '120031',".to_owned(),
        format!("roomLink: 'https://{host}/r/120031?debug=loopback',"),
        format!("wssUrl: 'wss://{host}/ws',"),
        format!("wssPostUrl: 'https://{host}/collider',"),
        format!("iceServerRequestUrl: 'https://{host}/v1alpha/iceconfig?key="),
        r#"mediaConstraints: {"audio":true,"video":true},"#.to_owned(),
        "isLoopback: true,".to_owned(),
        "<script src=\"/js/loopback.js\"></script>".to_owned(),
        "versionInfo: null,".to_owned(),
    ] {
        assert!(
            room.text().contains(&expected),
            "{expected} not in\n{}",
            room.text()
        );
    }
    assert_eq!(server.get("/js/loopback.js").await.text(), "loop");
    let head = server.request("HEAD", "/r/120031", &[], "").await;
    assert_eq!((head.status, head.text()), (200, ""));
}

#[tokio::test]
async fn a_full_room_shows_its_page_and_is_no_error() {
    let (server, _scratch) = with_templates().await;
    let first = server.join("r").await;
    assert!(
        server
            .get("/r/r")
            .await
            .text()
            .contains("<title>index</title>")
    );
    server.join("r").await;
    let full = server.get("/r/r?a=b").await;
    assert_eq!(full.status, 200);
    let link = format!(
        "<title>full</title><a href=\"https://{}/r/r?a=b\">",
        server.host()
    );
    assert!(full.text().contains(&link), "{}", full.text());
    // Looking at the page joins nothing.
    server.leave(&first).await;
    assert!(
        server
            .get("/r/r")
            .await
            .text()
            .contains("<title>index</title>")
    );
}

#[tokio::test]
async fn nothing_that_a_visitor_writes_breaks_out_of_the_page() {
    let (server, _scratch) = with_templates().await;
    let plain = server.get("/r/120031").await.text().len();
    for attack in [
        "</script><script>alert(1)</script>",
        "';alert(1);//",
        "\";alert(1);//",
        "\\';alert(1);//",
        "\"><img src=x onerror=alert(1)>",
        "'><svg/onload=alert(1)>",
        "{{7*7}}{% raw %}",
        "`${alert(1)}`",
        "\u{2028}alert(1)",
        "a=</script>,b='",
        "https://x/'</script>",
        "javascript:alert(1)",
    ] {
        let hex: String = attack.bytes().map(|byte| format!("%{byte:02x}")).collect();
        for name in [
            "wshpp", "it", "tt", "ts", "apikey", "audio", "video", "hd", "dtls", "dscp", "ipv6",
            "debug", "minre", "t", "other", &hex,
        ] {
            let page = server.get(&format!("/r/120031?{name}={hex}")).await;
            assert_eq!(page.status, 200);
            let text = page.text();
            assert!(text.len() < plain + 2000);
            for (c, expected) in [('<', 8), ('>', 8), ('\'', 12)] {
                let found = text.matches(c).count();
                assert_eq!(found, expected, "{name}={attack}: {c} in\n{text}");
            }
            assert!(!text.contains('\u{2028}') && !text.contains("49"), "{text}");
            for line in text.lines().filter(|line| line.contains("href=")) {
                assert_eq!(line.matches('"').count() % 2, 0, "{line}");
                assert!(!line.contains("javascript:alert(1)\""), "{line}");
            }
        }
    }
}

#[tokio::test]
async fn a_broken_template_is_our_fault_and_tells_the_visitor_nothing() {
    let scratch = Scratch::new("apprtc-broken");
    fs::create_dir_all(&scratch.0).unwrap();
    fs::write(scratch.0.join("index_template.html"), "{% if secret %}").unwrap();
    let setup = Setup {
        assets: Assets::directory(&scratch.0).unwrap(),
        ..Setup::default()
    };
    let server = Server::with(setup).await;
    let page = server.get("/").await;
    assert_eq!((page.status, page.text()), (500, "Cannot be filled\n"));
}

#[tokio::test]
async fn without_templates_the_page_is_ours_or_the_operators_own() {
    let server = Server::start().await;
    let _pair = (server.join("r").await, server.join("r").await);
    for path in ["/", "/r/r"] {
        assert_eq!(
            server.get(path).await.text(),
            "<!doctype html>call",
            "{path}"
        );
    }
    let scratch = Scratch::new("apprtc-none");
    fs::create_dir_all(&scratch.0).unwrap();
    fs::write(scratch.0.join("index.html"), "their own").unwrap();
    let setup = Setup {
        assets: Assets::directory(&scratch.0).unwrap(),
        ..Setup::default()
    };
    let server = Server::with(setup).await;
    assert_eq!(server.get("/r/r").await.text(), "their own");
}
