use proptest::prelude::*;

use super::*;
use crate::config::settings::RoomLink;
use crate::signal::apprtc::params::Site;
use crate::signal::apprtc::query::Query;

const SITE: Site<'static> = Site {
    authority: "call.example",
    path: "/ws",
    room_link: RoomLink::Absolute,
    is_relayed: false,
    user_agent: "",
    key: "k",
};

/// The constructs of the originals, in a page of our own.
const TEMPLATE: &str = r#"<link rel="canonical" href="{{ room_link }}">
{% if header_message %}<p>{{ header_message }}</p>{% endif %}
<a href="{{ room_link }}">{{ room_link }}</a>
<script>
var told = {
  errors: {{ error_messages }}, loop: {{ is_loopback }}, warnings: {{ warning_messages }},
  {% if room_id %} room: '{{ room_id }}', link: '{{ room_link }}', {% endif %}
  media: {{ media_constraints | safe }}, offer: {{ offer_options | safe }},
  pc: {{ pc_config | safe }}, more: {{ pc_constraints | safe }},
  ice: '{{ ice_server_url }}', transports: '{{ ice_server_transports }}',
  wss: '{{ wss_url }}', post: '{{ wss_post_url }}',
  bypass: {{ bypass_join_confirmation }}, version: {{ version_info }}
};
</script>
{{ include_loopback_js }}
"#;

fn page(query: &str, room: Option<&str>) -> String {
    let query = Query::parse(query);
    let params = Params::new(&query, &SITE);
    let params = match room {
        Some(room) => params.in_room(room, &query, &SITE),
        None => params,
    };
    render(TEMPLATE, &params).unwrap()
}

#[test]
fn every_variable_finds_its_place() {
    let page = page("a=b&c=d&debug=loopback", Some("120031"));
    for expected in [
        r#"href="https://call.example/r/120031?a=b&c=d&debug=loopback">https://call"#,
        "errors: [], loop: true, warnings: [],",
        "room: '120031', link: 'https://call.example/r/120031?a=b&c=d&debug=loopback',",
        r#"media: {"audio":true,"video":true}, offer: {},"#,
        r#"pc: {"bundlePolicy":"max-bundle","iceServers":[],"rtcpMuxPolicy":"require"},"#,
        r#"more: {"optional":[{"DtlsSrtpKeyAgreement":false}]},"#,
        "ice: 'https://call.example/v1alpha/iceconfig?key=k', transports: '',",
        "wss: 'wss://call.example/ws', post: 'https://call.example/collider',",
        "bypass: false, version: null",
        "</script>\n<script src=\"/js/loopback.js\"></script>",
    ] {
        assert!(page.contains(expected), "{expected} is not in\n{page}");
    }
    assert!(!page.contains("<p>"));
}

#[test]
fn without_a_room_there_is_no_link() {
    let page = page("", None);
    assert!(page.contains(r#"<a href=""></a>"#));
    assert!(!page.contains("room:"));
}

#[test]
fn warnings_are_a_list_to_the_script() {
    let page = page("minre=1", None);
    assert!(
        page.contains(r#"warnings: ["The \"minre\" parameter is"#),
        "{page}"
    );
}

#[test]
fn a_broken_template_is_an_error_and_not_a_page() {
    let params = Params::new(&Query::default(), &SITE);
    for broken in [
        "{% if %}",
        "{{ room_link",
        "{{ x | nofilter }}",
        "{% for a in b %}",
    ] {
        assert!(render(broken, &params).is_err(), "{broken}");
    }
}

#[test]
fn whatever_a_value_holds_it_ends_neither_string_nor_attribute() {
    let mut environment = Environment::new();
    environment.set_formatter(|out, _, value| write(out, value));
    let shown = environment
        .render_str(
            "{{ x }}",
            minijinja::context!(x => "</script>'\"`\\\n\u{2028}&é"),
        )
        .unwrap();
    assert_eq!(
        shown,
        r"\u003c/script\u003e\u0027\u0022\u0060\u005c\u000a\u2028&é"
    );
}

proptest! {
    /// The page has as many quotes and angle brackets, and as many lines, as without arguments.
    #[test]
    fn no_argument_changes_the_structure_of_the_page(
        name in prop::sample::select(vec![
            "wshpp", "it", "tt", "ts", "apikey", "audio", "video", "dtls", "x", "'x", "</script>",
        ]),
        value in "(https://|[a-z]+=)?[<>'\"`&;/()a-z\u{2028}\\\\ \n=,:{}%]{0,40}",
    ) {
        let hex: String = value.bytes().map(|byte| format!("%{byte:02x}")).collect();
        let filled = page(&format!("{name}={hex}"), Some("r"));
        let plain = page("", Some("r"));
        for c in ['<', '>', '\'', '\n', '`', '\u{2028}'] {
            let count = |text: &str| text.matches(c).count();
            // Inside JSON a backquote is text between double quotes.
            let is_text = c == '`' && matches!(name, "it" | "audio" | "video");
            prop_assert!(is_text || count(&filled) == count(&plain), "{c:?} in\n{filled}");
        }
        let outside = |text: &str| text.lines().next().unwrap().matches('"').count();
        prop_assert_eq!(outside(&filled), outside(&plain));
    }
}
