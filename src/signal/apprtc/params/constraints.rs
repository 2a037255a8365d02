//! What a visitor asks of camera, microphone and connection in the query, in the form of the old
//! browsers that AppRTC was made for: `mandatory` and `optional`.

use serde_json::{Map, Value, json};

use crate::signal::apprtc::query::Query;

/// What comes of the arguments about media.
pub(super) struct Media {
    pub(super) constraints: Value,
    pub(super) warnings: Vec<String>,
}

pub(super) fn media(query: &Query, user_agent: &str) -> Media {
    let mut warnings = Vec::new();
    for old in ["minre", "maxre"] {
        if query.has(old) {
            warnings.push(format!(
                "The \"{old}\" parameter is no longer supported. Use \"video\" instead."
            ));
        }
    }
    let asked = query.get("video");
    let is_desktop_chrome = user_agent.contains("Chrome") && !user_agent.contains("Android");
    let video = if query.is_true("hd") {
        if let Some(asked) = asked {
            warnings.push(format!(
                "The \"hd\" parameter has overridden video={}",
                readable(asked)
            ));
        }
        "mandatory:minWidth=1280,mandatory:minHeight=720"
    } else if asked.is_none() && is_desktop_chrome {
        "optional:minWidth=1280,optional:minHeight=720"
    } else {
        asked.unwrap_or_default()
    };
    let mut constraints = json!({
        "audio": track(query.get("audio").unwrap_or_default()),
        "video": track(video),
    });
    if let (true, Some(constraints)) = (
        query.has("firefox_fake_device"),
        constraints.as_object_mut(),
    ) {
        constraints.insert("fake".to_owned(), true.into());
    }
    Media {
        constraints,
        warnings,
    }
}

/// `true`, `false`, or `name=value` pairs with commas between them.
fn track(text: &str) -> Value {
    match text.to_ascii_lowercase().as_str() {
        "" | "true" => return true.into(),
        "false" => return false.into(),
        _ => {}
    }
    let (mut mandatory, mut optional) = (Map::new(), Vec::new());
    for pair in text.split(',') {
        let Some((name, value)) = pair.split_once('=') else {
            continue;
        };
        if value.contains('=') {
            continue;
        }
        let (is_mandatory, name) = match name.split_once(':') {
            Some(("mandatory", name)) => (true, name),
            Some(("optional", name)) => (false, name),
            Some(_) => continue,
            // What only one browser knows must not keep the others out.
            None => (!name.starts_with("goog"), name),
        };
        if name.is_empty() {
            continue;
        }
        match is_mandatory {
            true => {
                mandatory.insert(name.to_owned(), value.into());
            }
            false => optional.push(json!({ name: value })),
        }
    }
    json!({ "mandatory": mandatory, "optional": optional })
}

pub(super) fn connection(query: &Query, is_loopback: bool) -> Value {
    // A call with itself has the same certificate at both ends, which DTLS does not bear.
    let dtls = match is_loopback {
        true => Some(false),
        false => query.flag("dtls"),
    };
    let optional: Vec<Value> = [
        ("DtlsSrtpKeyAgreement", dtls),
        ("googDscp", query.flag("dscp")),
        ("googIPv6", query.flag("ipv6")),
    ]
    .into_iter()
    .filter_map(|(name, value)| Some(json!({ name: value? })))
    .collect();
    json!({ "optional": optional })
}

/// A warning is shown as it is, perhaps as part of a page.
fn readable(text: &str) -> String {
    let shown = |c: &char| c.is_alphanumeric() || matches!(c, ':' | '=' | ',' | '.' | '-' | '_');
    text.chars().filter(shown).take(100).collect()
}
