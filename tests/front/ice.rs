//! `/ice`: the answer, its proof, and who gets it.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use aws_lc_rs::hmac;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use callbox::config::settings::IceAccess;
use callbox::net::clock;
use callbox::signal::keyring::Keyring;
use serde_json::json;

use crate::door::{Door, SECRET, Setup, ask_on};

const ALIASES: [&str; 5] = [
    "/ice",
    "/v1alpha/iceconfig",
    "/iceconfig",
    "/api/turn",
    "/turn",
];

#[tokio::test]
async fn the_answer_suits_every_client_under_every_name_and_method() {
    let door = Door::open().await;
    for path in ALIASES {
        for request in [
            format!("GET {path} HTTP/1.1\r\nHost: localhost:8443\r\nConnection: close\r\n\r\n"),
            format!(
                "POST {path}?key=x HTTP/1.1\r\nHost: localhost:8443\r\nReferer: https://appr.tc\r\n\
                 Origin: https://appr.tc\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
            ),
            format!(
                "POST {path} HTTP/1.1\r\nHost: localhost:8443\r\nContent-Length: 13\r\n\
                 Connection: close\r\n\r\n{{\"ttl\":86400}}"
            ),
        ] {
            let reply = door.ask(&request).await;
            assert_eq!(reply.status, 200, "{request}");
            assert_eq!(reply.header("cache-control"), Some("no-store"));
            assert_eq!(reply.header("content-type"), Some("application/json"));
            assert_eq!(reply.header("content-encoding"), None);
            assert_eq!(reply.header("access-control-expose-headers"), Some("Link"));
            assert_eq!(reply.header("access-control-allow-origin"), None);
            let links: Vec<_> = reply.headers.iter().filter(|(n, _)| n == "link").collect();
            assert_eq!(links.len(), 4);
            let body = reply.json();
            assert_eq!(
                body["iceServers"][0],
                json!({"urls": ["stun:localhost:3478"]})
            );
            let urls = json!([
                "turn:localhost:3478?transport=udp",
                "turn:localhost:3479?transport=tcp",
                "turns:localhost:8443?transport=tcp",
            ]);
            assert_eq!(body["iceServers"][1]["urls"], urls);
            assert_eq!(body["uris"], urls);
            assert_eq!(body["ttl"], 43200);
            assert_eq!(body["lifetimeDuration"], "43200s");
            assert_eq!(body["iceServers"][1]["username"], body["username"]);
            assert_eq!(body["iceServers"][1]["credential"], body["password"]);
            assert_eq!(body["ice_servers"][1]["url"], urls[0]);
        }
    }
}

#[tokio::test]
async fn the_credential_is_what_a_server_with_the_same_secret_expects() {
    let door = Door::open().await;
    let before = clock::unix_time();
    let body = door.get("/ice?user=al:ice%0d%0a", &[]).await.json();
    let username = body["username"].as_str().unwrap();
    let (expiry, id) = username.split_once(':').unwrap();
    let expiry: u64 = expiry.parse().unwrap();
    assert!((before + 43200..=clock::unix_time() + 43200).contains(&expiry));
    assert_eq!(body["expires_at"], expiry);
    assert!(id.starts_with("alice."), "{id}");
    let key = hmac::Key::new(hmac::HMAC_SHA1_FOR_LEGACY_USE_ONLY, SECRET.as_bytes());
    let tag = STANDARD.decode(body["password"].as_str().unwrap()).unwrap();
    hmac::verify(&key, username.as_bytes(), &tag).unwrap();
    // Nobody gets the credential of another.
    let again = door.get("/ice?user=al:ice%0d%0a", &[]).await.json();
    assert_ne!(again["username"], username);
}

#[tokio::test]
async fn urls_name_the_host_by_which_the_client_came_if_it_is_ours() {
    let url = async |door: &Door, host: &str| {
        let request = format!("GET /ice HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n");
        let reply = door.ask(&request).await;
        match reply.status {
            200 => {
                let url = reply.json()["uris"][0].as_str().unwrap().to_owned();
                url.replace("turn:", "").replace(":3478?transport=udp", "")
            }
            status => status.to_string(),
        }
    };
    let door = Door::open().await;
    assert_eq!(url(&door, "192.0.2.7:443").await, "192.0.2.7");
    assert_eq!(url(&door, "[::1]").await, "[::1]");
    assert_eq!(url(&door, "[::ffff:192.0.2.7]:443").await, "192.0.2.7");
    assert_eq!(url(&door, "a/b").await, "400");
    let mut setup = Setup::default();
    setup.settings.host = vec!["call.example".to_owned(), "b.example".to_owned()];
    let door = setup.open().await;
    assert_eq!(url(&door, "B.example:8443").await, "b.example");
    assert_eq!(url(&door, "call.example").await, "call.example");
    // Our own address, in both of its forms; a stranger's, and a name that only begins like ours.
    assert_eq!(url(&door, "192.0.2.1").await, "192.0.2.1");
    assert_eq!(url(&door, "[::ffff:192.0.2.1]").await, "192.0.2.1");
    assert_eq!(url(&door, "192.0.2.7").await, "call.example");
    assert_eq!(url(&door, "b.example.evil.example").await, "call.example");
}

#[tokio::test]
async fn a_foreign_page_gets_no_credential() {
    let door = Door::open().await;
    let port = door.https.port();
    let own = format!("Origin: https://localhost:{port}");
    for (header, status) in [
        (&*own, 200),
        ("Sec-Fetch-Site: same-origin", 200),
        ("Sec-Fetch-Site: none", 200),
        ("Sec-Fetch-Site: cross-site", 403),
        ("Sec-Fetch-Site: same-site", 403),
        ("Origin: https://localhost", 403),
        ("Origin: http://localhost", 403),
        ("Origin: https://localhost.evil.example", 403),
        ("Origin: https://evil.example", 403),
        ("Origin: null", 403),
    ] {
        let reply = door.get("/ice", &[header]).await;
        assert_eq!(reply.status, status, "{header}");
        assert_eq!(reply.header("access-control-allow-origin"), None);
        assert_eq!(
            reply.text().contains("credential"),
            status == 200,
            "{header}"
        );
    }
    let refused = &door.services.stats().foreign_origins;
    assert_eq!(refused.load(Ordering::Relaxed), 7);
    // A page that the operator has named may read the answer.
    let friend = door.get("/ice", &["Origin: https://friend.example"]).await;
    assert_eq!(friend.status, 200);
    let allowed = friend.header("access-control-allow-origin");
    assert_eq!(allowed, Some("https://friend.example"));
    assert_eq!(friend.header("vary"), Some("origin"));
}

#[tokio::test]
async fn open_access_is_for_every_page() {
    let mut setup = Setup::default();
    setup.settings.ice.access = IceAccess::Open;
    let door = setup.open().await;
    let reply = door.get("/ice", &["Origin: https://evil.example"]).await;
    assert_eq!(reply.status, 200);
    assert_eq!(reply.header("access-control-allow-origin"), Some("*"));
    let preflight = "OPTIONS /ice HTTP/1.1\r\nHost: localhost\r\nOrigin: https://x.example\r\n\
                     Access-Control-Request-Method: POST\r\nConnection: close\r\n\r\n";
    let reply = door.ask(preflight).await;
    assert_eq!(reply.status, 204);
    assert_eq!(reply.header("access-control-allow-origin"), Some("*"));
    assert_eq!(
        reply.header("access-control-allow-methods"),
        Some("GET, POST")
    );

    let door = Door::open().await;
    let reply = door.ask(preflight).await;
    assert_eq!(
        (reply.status, reply.header("access-control-allow-origin")),
        (403, None)
    );
}

#[tokio::test]
async fn a_network_that_asks_too_often_has_to_wait() {
    let door = Door::open().await;
    let mut stream = door.tls(&["http/1.1"]).await;
    let request = "GET /ice HTTP/1.1\r\nHost: localhost\r\n\r\n";
    assert_eq!(ask_on(&mut stream, request).await.status, 200);
    let mut asked = 1;
    let limited = loop {
        let reply = ask_on(&mut stream, request).await;
        if reply.status != 200 {
            break reply;
        }
        asked += 1;
        assert!(asked < 2000, "never limited");
    };
    assert_eq!(limited.status, 429);
    assert!(limited.header("retry-after").is_some());
    assert!(!limited.text().contains("credential"));
    assert!(asked >= 100, "limited after {asked}");
}

#[tokio::test]
async fn a_body_that_nobody_needs_is_refused_when_it_is_large() {
    let door = Door::open().await;
    let body = "x".repeat(20_000);
    let reply = door
        .ask(&format!(
            "POST /ice HTTP/1.1\r\nHost: localhost\r\nContent-Length: 20000\r\n\
             Connection: close\r\n\r\n{body}"
        ))
        .await;
    assert_eq!(reply.status, 413);
}

#[tokio::test]
async fn each_format_has_its_status_its_shape_and_the_links() {
    let door = Door::open().await;
    for (query, status, pointer) in [
        ("", 200, "/iceServers/1/credential"),
        ("?format=", 200, "/iceServers/1/credential"),
        ("?format=array", 200, "/3/credential"),
        ("?format=twilio", 201, "/ice_servers/3/credential"),
        ("?format=kvs", 200, "/IceServerList/0/Password"),
        ("?format=cloudflare", 201, "/iceServers/1/credential"),
    ] {
        for method in ["GET", "POST"] {
            let reply = door
                .ask(&format!(
                    "{method} /ice{query} HTTP/1.1\r\nHost: localhost\r\nContent-Length: 0\r\n\
                     Connection: close\r\n\r\n"
                ))
                .await;
            assert_eq!(reply.status, status, "{query}");
            let body = reply.json();
            assert!(
                body.pointer(pointer).is_some_and(|it| it.is_string()),
                "{body}"
            );
            let links: Vec<_> = reply.headers.iter().filter(|(n, _)| n == "link").collect();
            assert_eq!(links.len(), 4, "{query}");
            assert_eq!(reply.header("cache-control"), Some("no-store"));
        }
    }
    let twilio = door.get("/ice?format=twilio", &[]).await.json();
    assert_eq!(twilio["ttl"], "43200");
    let unknown = door.get("/ice?format=xml", &[]).await;
    assert_eq!(unknown.status, 400);
    for name in ["array", "twilio", "kvs", "cloudflare"] {
        assert!(unknown.text().contains(name), "{}", unknown.text());
    }
}

#[tokio::test]
async fn a_client_may_wish_for_a_shorter_life_of_its_credential() {
    let door = Door::open().await;
    let form = "application/x-www-form-urlencoded";
    let json = "application/json";
    for (query, kind, body, expected) in [
        ("", form, "Ttl=3600", 3600),
        ("", json, r#"{"ttl": 3600}"#, 3600),
        ("", "text/plain", r#"{"ttl": "3600"}"#, 3600),
        ("?ttl=3600", "", "", 3600),
        ("?ttl=600", json, r#"{"ttl": 3600}"#, 600),
        ("?ttl=1", "", "", 60),
        ("?ttl=999999999", "", "", 43200),
        ("?ttl=soon", json, "{{{{", 43200),
        ("?ttl=-5", form, "Ttl=%00", 43200),
    ] {
        let reply = door
            .ask(&format!(
                "POST /ice{query} HTTP/1.1\r\nHost: localhost\r\nContent-Type: {kind}\r\n\
                 Content-Length: {}\r\nConnection: close\r\n\r\n{body}",
                body.len()
            ))
            .await;
        assert_eq!(reply.json()["ttl"], expected, "{query} {body}");
    }
}

#[tokio::test]
async fn credentials_name_who_asked_however_it_is_said() {
    let door = Door::open().await;
    for (query, expected) in [
        ("user=alice", ":alice."),
        ("service=turn&username=alice&key=x", ":alice."),
        ("room=blue&uid=m1", ":blue.m1."),
        ("room=blue%3Asky&member=m1", ":bluesky.m1."),
    ] {
        let body = door.get(&format!("/ice?{query}"), &[]).await.json();
        let username = body["username"].as_str().unwrap();
        assert!(username.contains(expected), "{query}: {username}");
    }
}

#[tokio::test]
async fn a_second_path_over_udp_is_offered_where_it_is_listened_on() {
    let mut setup = Setup::default();
    setup.endpoints = setup.endpoints.with_udp([3478, 443].into_iter());
    let body = setup.open().await.get("/ice", &[]).await.json();
    let urls = json!([
        "turn:localhost:3478?transport=udp",
        "turn:localhost:443?transport=udp",
        "turn:localhost:3479?transport=tcp",
        "turns:localhost:8443?transport=tcp",
    ]);
    assert_eq!(body["uris"], urls);
    assert_eq!(
        body["iceServers"][0],
        json!({"urls": ["stun:localhost:3478"]})
    );
}

#[tokio::test]
async fn where_joining_needs_a_token_so_do_credentials() {
    let secret = "0123456789abcdef0123456789abcdef";
    let file = std::env::temp_dir().join(format!("callbox-ice-key-{}", std::process::id()));
    std::fs::write(&file, secret).unwrap();
    let keyring = Keyring::open(std::slice::from_ref(&file)).unwrap();
    std::fs::remove_file(&file).unwrap();
    let setup = Setup {
        keyring: Some(Arc::new(keyring)),
        ..Setup::default()
    };
    let door = setup.open().await;
    let claims = json!({"room": "123", "exp": clock::unix_time() + 60});
    let token = jsonwebtoken::encode(
        &jsonwebtoken::Header::default(),
        &claims,
        &jsonwebtoken::EncodingKey::from_secret(secret.as_bytes()),
    )
    .unwrap();
    let ask = |path: &str, header: &str| {
        format!("GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n{header}\r\n")
    };
    for (request, status) in [
        (ask("/ice", ""), 401),
        (ask("/ice?token=x", ""), 401),
        (ask("/ice", "Authorization: Basic eA==\r\n"), 401),
        (ask(&format!("/ice?room=1&token={token}"), ""), 200),
        (
            ask("/ice", &format!("Authorization: bearer {token}\r\n")),
            200,
        ),
    ] {
        let reply = door.ask(&request).await;
        assert_eq!(reply.status, status, "{request}");
        assert_eq!(reply.header("www-authenticate").is_some(), status == 401);
    }
}
