//! What AppRTC's clients, and who pretends to be one, write: frames of Collider, queries of pages.

use serde_json::Value;

use crate::config::settings::RoomLink;
use crate::signal::apprtc::params::{Params, Site};
use crate::signal::apprtc::query::Query;
use crate::signal::dialect::collider::{self, Command};

/// A frame: what is understood says something, what is not leads to an error that clients can read,
/// and what is passed on arrives as it was.
pub fn collider_frame(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else {
        return;
    };
    let _ = collider::is_bye(text);
    match collider::parse(text) {
        Ok(Command::Register { room, client }) => assert!(!room.is_empty() && !client.is_empty()),
        Ok(Command::Send(msg)) => {
            assert!(!msg.is_empty());
            let frame = collider::deliver(&msg).expect("text has a JSON form");
            assert_eq!(fields(&frame), (msg, String::new()));
        }
        Err(why) => {
            let words = why.to_string();
            let frame = collider::complain(&words).expect("text has a JSON form");
            assert_eq!(fields(&frame), (String::new(), words));
        }
    }
}

fn fields(frame: &str) -> (String, String) {
    let frame: Value = serde_json::from_str(frame).expect("JSON");
    assert_eq!(frame.as_object().map(serde_json::Map::len), Some(2));
    let field = |name: &str| frame[name].as_str().expect("text").to_owned();
    (field("msg"), field("error"))
}

/// The query of a page: nothing that comes back ends a script, a string or an attribute.
pub fn apprtc_query(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else {
        return;
    };
    let query = Query::parse(text);
    assert_eq!(Query::parse(query.encoded().trim_start_matches('?')), query);
    let site = Site {
        authority: "callbox.test",
        path: "/ws",
        room_link: RoomLink::Absolute,
        is_relayed: false,
        user_agent: text,
        key: "key",
    };
    let params = Params::new(&query, &site).in_room("room", &query, &site);
    let params = serde_json::to_value(params).expect("text has a JSON form");
    for (name, value) in params.as_object().expect("an object") {
        let Some(value) = value.as_str() else {
            continue;
        };
        if name == "include_loopback_js" {
            assert!(value.is_empty() || value == r#"<script src="/js/loopback.js"></script>"#);
            continue;
        }
        assert!(
            !value.contains(['<', '>', '\'', '\n', '\u{2028}', '\u{2029}']),
            "{name}: {value}"
        );
        match name.ends_with("config") || name.ends_with("constraints") {
            true => {
                serde_json::from_str::<Value>(value).expect("JSON");
            }
            false => assert!(!value.contains(['"', '\\']), "{name}: {value}"),
        }
    }
}
