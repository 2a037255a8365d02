use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;

const SITE: Site<'static> = Site {
    authority: "call.example:8443",
    path: "/ws",
    room_link: RoomLink::Absolute,
    is_relayed: false,
    user_agent: "Mozilla/5.0 Firefox/130",
    key: "the-key",
};

const CHROME: &str = "Mozilla/5.0 (X11; Linux x86_64) Chrome/130 Safari/537";

fn params(query: &str) -> Value {
    let query = Query::parse(query);
    serde_json::to_value(Params::new(&query, &SITE).in_room("r", &query, &SITE)).unwrap()
}

fn inner(query: &str, field: &str) -> Value {
    serde_json::from_str(params(query)[field].as_str().unwrap()).unwrap()
}

#[test]
fn without_arguments_everything_has_its_default() {
    let query = Query::default();
    let all = Params::new(&query, &SITE)
        .in_room("120031", &query, &SITE)
        .joined("c".to_owned(), true, &["m".into()]);
    assert_eq!(
        serde_json::to_value(all).unwrap(),
        json!({
            "client_id": "c",
            "room_id": "120031",
            "room_link": "https://call.example:8443/r/120031",
            "is_initiator": "true",
            "messages": ["m"],
            "wss_url": "wss://call.example:8443/ws",
            "wss_post_url": "https://call.example:8443/collider",
            "ice_server_url": "https://call.example:8443/v1alpha/iceconfig?key=the-key",
            "ice_server_transports": "",
            "pc_config": r#"{"bundlePolicy":"max-bundle","iceServers":[],"rtcpMuxPolicy":"require"}"#,
            "pc_constraints": r#"{"optional":[]}"#,
            "offer_options": "{}",
            "media_constraints": r#"{"audio":true,"video":true}"#,
            "is_loopback": "false",
            "include_loopback_js": "",
            "bypass_join_confirmation": "false",
            "version_info": "null",
            "header_message": "",
            "error_messages": [],
            "warning_messages": [],
        })
    );
}

#[test]
fn without_a_room_what_belongs_to_one_is_left_out() {
    let value = serde_json::to_value(Params::new(&Query::default(), &SITE)).unwrap();
    for field in [
        "room_id",
        "room_link",
        "client_id",
        "is_initiator",
        "messages",
    ] {
        assert_eq!(value.get(field), None, "{field}");
    }
}

#[test]
fn links_begin_as_the_operator_wants_them_to() {
    for (room_link, expected) in [
        (RoomLink::Absolute, "https://call.example:8443/r/r?a=b"),
        (RoomLink::ProtocolRelative, "//call.example:8443/r/r?a=b"),
        (RoomLink::Http, "http://call.example:8443/r/r?a=b"),
    ] {
        let (query, site) = (Query::parse("a=b"), Site { room_link, ..SITE });
        let params = Params::new(&query, &site).in_room("r", &query, &site);
        assert_eq!(params.room_link.as_deref(), Some(expected));
    }
}

#[test]
fn collider_may_be_elsewhere() {
    for (query, wss, post) in [
        (
            "wshpp=col.example:8089",
            "wss://col.example:8089/ws",
            "https://col.example:8089",
        ),
        (
            "wshpp=[::1]:8089&wstls=false",
            "ws://[::1]:8089/ws",
            "http://[::1]:8089",
        ),
        (
            "wstls=false",
            "ws://call.example:8443/ws",
            "http://call.example:8443/collider",
        ),
        (
            "wshpp=call.example:8443",
            "wss://call.example:8443/ws",
            "https://call.example:8443/collider",
        ),
        (
            "wshpp=%22%3E%3Cscript%3E",
            "wss://call.example:8443/ws",
            "https://call.example:8443/collider",
        ),
    ] {
        let params = params(query);
        assert_eq!(params["wss_url"], wss, "{query}");
        assert_eq!(params["wss_post_url"], post, "{query}");
    }
}

#[test]
fn the_ice_configuration_may_be_elsewhere_and_our_key_does_not_go_there() {
    for (query, expected) in [
        (
            "ts=https://ice.example",
            "https://ice.example/v1alpha/iceconfig?key=",
        ),
        (
            "ts=https://ice.example/&apikey=k",
            "https://ice.example/v1alpha/iceconfig?key=k",
        ),
        (
            "apikey=k%22",
            "https://call.example:8443/v1alpha/iceconfig?key=k%22",
        ),
        (
            "ts=javascript:x",
            "https://call.example:8443/v1alpha/iceconfig?key=the-key",
        ),
    ] {
        assert_eq!(params(query)["ice_server_url"], expected, "{query}");
    }
    assert_eq!(params("tt=tls")["ice_server_transports"], "tls");
    assert_eq!(params("tt=%27;x")["ice_server_transports"], "x");
}

#[test]
fn the_relay_may_be_demanded_by_either_side() {
    assert_eq!(inner("it=relay", "pc_config")["iceTransports"], "relay");
    assert_eq!(
        inner("it=relay", "pc_config")["iceTransportPolicy"],
        "relay"
    );
    assert_eq!(inner("it=odd", "pc_config").get("iceTransportPolicy"), None);
    let site = Site {
        is_relayed: true,
        ..SITE
    };
    let config = pc_config(&Query::default(), &site);
    assert_eq!(config["iceTransportPolicy"], "relay");
}

#[test]
fn media_are_asked_for_in_the_old_form() {
    let legacy =
        json!({"mandatory": {"minWidth": "640"}, "optional": [{"googLeakyBucket": "true"}]});
    for (query, audio, video) in [
        ("", json!(true), json!(true)),
        ("audio=false&video=TRUE", json!(false), json!(true)),
        (
            "video=minWidth=640,googLeakyBucket=true",
            json!(true),
            legacy.clone(),
        ),
        (
            "video=mandatory:minWidth=640,optional:googLeakyBucket=true",
            json!(true),
            legacy,
        ),
        (
            "audio=x,a=b=c,=y,z:q=1",
            json!({"mandatory": {}, "optional": []}),
            json!(true),
        ),
        (
            "hd=true",
            json!(true),
            json!({"mandatory": {"minWidth": "1280", "minHeight": "720"}, "optional": []}),
        ),
    ] {
        let expected = json!({"audio": audio, "video": video});
        assert_eq!(inner(query, "media_constraints"), expected, "{query}");
    }
    let fake = inner("firefox_fake_device", "media_constraints");
    assert_eq!(fake["fake"], true);
}

#[test]
fn chrome_on_a_desk_is_asked_for_more() {
    let wide = json!({"mandatory": {}, "optional": [{"minWidth": "1280"}, {"minHeight": "720"}]});
    for (agent, query, video) in [
        (CHROME, "", wide),
        (CHROME, "video=true", json!(true)),
        ("Chrome Android", "", json!(true)),
        ("", "", json!(true)),
    ] {
        let media = constraints::media(&Query::parse(query), agent);
        assert_eq!(media.constraints["video"], video, "{agent} {query}");
    }
}

#[test]
fn what_no_longer_works_is_warned_of() {
    let warnings = |query: &str| params(query)["warning_messages"].clone();
    assert_eq!(warnings(""), json!([]));
    assert_eq!(
        warnings("minre=640"),
        json!(["The \"minre\" parameter is no longer supported. Use \"video\" instead."])
    );
    assert_eq!(
        warnings("hd=true&video=minWidth=640"),
        json!(["The \"hd\" parameter has overridden video=minWidth=640"])
    );
    assert_eq!(warnings("hd=true&maxre=1").as_array().unwrap().len(), 1);
}

#[test]
fn connections_take_their_old_switches() {
    let optional = |query: &str| inner(query, "pc_constraints")["optional"].clone();
    assert_eq!(
        optional("dtls=true&dscp=false&ipv6=true"),
        json!([{"DtlsSrtpKeyAgreement": true}, {"googDscp": false}, {"googIPv6": true}])
    );
    assert_eq!(optional("dtls=maybe"), json!([]));
    assert_eq!(
        optional("dtls=true&debug=loopback"),
        json!([{"DtlsSrtpKeyAgreement": false}])
    );
    let loopback = params("debug=loopback");
    assert_eq!(loopback["is_loopback"], "true");
    assert_eq!(
        loopback["include_loopback_js"],
        "<script src=\"/js/loopback.js\"></script>"
    );
}

proptest! {
    /// Every field that can hold what a visitor wrote, with everything that might break out.
    #[test]
    fn nothing_that_comes_back_can_break_out(
        name in prop::sample::select(vec![
            "wshpp", "wstls", "it", "tt", "ts", "apikey", "audio", "video", "hd", "dtls", "debug", "x",
        ]),
        value in "(https://|a=|mandatory:a=|)?[<>'\"`&;/()a-z\u{2028}\\\\ \n=,:]{0,40}",
    ) {
        let mut encoded = String::new();
        encode(&value, &mut encoded);
        for (field, shown) in params(&format!("{name}={encoded}")).as_object().unwrap() {
            let Some(shown) = shown.as_str() else { continue };
            if field == "include_loopback_js" {
                continue;
            }
            let is_json = field.ends_with("config") || field.ends_with("constraints");
            for bad in ['<', '>', '\'', '`', '\n', '\u{2028}', '\u{2029}', ' '] {
                let is_inside = is_json && matches!(bad, '`' | ' ');
                prop_assert!(is_inside || !shown.contains(bad), "{field}: {shown}");
            }
            prop_assert!(is_json || !shown.contains(['"', '\\']), "{field}: {shown}");
            if is_json {
                prop_assert!(serde_json::from_str::<Value>(shown).is_ok(), "{field}: {shown}");
            }
        }
    }
}
