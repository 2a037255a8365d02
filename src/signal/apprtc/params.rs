//! What AppRTC's clients are told about this server and their room: the `params` object. Pure.
//!
//! Most fields are text, even those that hold JSON or a truth value: that is how clients in the
//! field read them. What a visitor writes into the query comes back in many of them, so that each is
//! made of characters that mean nothing to HTML and to scripts.

mod constraints;

use std::sync::Arc;

use serde::Serialize;
use serde_json::{Value, json};

use super::query::{Query, encode};
use crate::config::settings::RoomLink;

/// What does not come from the query.
#[derive(Clone, Copy, Debug)]
pub struct Site<'a> {
    /// Host and port, as the visitor reaches us.
    pub authority: &'a str,
    /// The path of the WebSocket.
    pub path: &'a str,
    /// How links to rooms begin.
    pub room_link: RoomLink,
    /// Whether calls shall be relayed.
    pub is_relayed: bool,
    /// What the visitor's browser calls itself.
    pub user_agent: &'a str,
    /// With this the visitor gets its ICE configuration.
    pub key: &'a str,
}

/// The object. What is not known is left out.
#[derive(Clone, Debug, Serialize)]
pub struct Params {
    #[serde(skip_serializing_if = "Option::is_none")]
    client_id: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    room_id: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    room_link: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    is_initiator: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    messages: Option<Vec<String>>,
    wss_url: String,
    wss_post_url: String,
    ice_server_url: String,
    ice_server_transports: String,
    pc_config: String,
    pc_constraints: String,
    offer_options: &'static str,
    media_constraints: String,
    is_loopback: &'static str,
    include_loopback_js: &'static str,
    bypass_join_confirmation: &'static str,
    version_info: &'static str,
    header_message: &'static str,
    error_messages: Vec<String>,
    warning_messages: Vec<String>,
}

impl Params {
    /// For somebody who has not said where to.
    pub fn new(query: &Query, site: &Site<'_>) -> Self {
        let (wss_url, wss_post_url) = collider(query, site);
        let media = constraints::media(query, site.user_agent);
        let is_loopback = is_loopback(query);
        Self {
            client_id: None,
            room_id: None,
            room_link: None,
            is_initiator: None,
            messages: None,
            wss_url,
            wss_post_url,
            ice_server_url: ice_server_url(query, site),
            ice_server_transports: plain(query.get("tt").unwrap_or_default()),
            pc_config: script(&pc_config(query, site)),
            pc_constraints: script(&constraints::connection(query, is_loopback)),
            offer_options: "{}",
            media_constraints: script(&media.constraints),
            is_loopback: word(is_loopback),
            include_loopback_js: match is_loopback {
                true => r#"<script src="/js/loopback.js"></script>"#,
                false => "",
            },
            bypass_join_confirmation: "false",
            version_info: "null",
            header_message: "",
            error_messages: Vec::new(),
            warning_messages: media.warnings,
        }
    }

    /// For this room.
    pub fn in_room(mut self, room: &str, query: &Query, site: &Site<'_>) -> Self {
        let scheme = match site.room_link {
            RoomLink::Absolute => "https:",
            RoomLink::ProtocolRelative => "",
            RoomLink::Http => "http:",
        };
        let args = query.encoded();
        self.room_link = Some(format!("{scheme}//{}/r/{room}{args}", site.authority));
        self.room_id = Some(room.to_owned());
        self
    }

    /// For somebody who has joined it.
    pub fn joined(mut self, client: String, is_initiator: bool, messages: &[Arc<str>]) -> Self {
        self.client_id = Some(client);
        self.is_initiator = Some(word(is_initiator));
        let own = |message: &Arc<str>| message.as_ref().to_owned();
        self.messages = Some(messages.iter().map(own).collect());
        self
    }
}

/// Whether the visitor wants to call itself.
pub fn is_loopback(query: &Query) -> bool {
    query.get("debug") == Some("loopback")
}

/// Where Collider is, as a WebSocket and over HTTP.
fn collider(query: &Query, site: &Site<'_>) -> (String, String) {
    let (ws, http) = match query.flag("wstls") {
        Some(false) => ("ws", "http"),
        _ => ("wss", "https"),
    };
    let elsewhere = query
        .get("wshpp")
        .filter(|host| is_authority(host) && *host != site.authority);
    match elsewhere {
        // Whatever answers there has its paths at the root.
        Some(host) => (format!("{ws}://{host}/ws"), format!("{http}://{host}")),
        None => (
            format!("{ws}://{}{}", site.authority, site.path),
            format!("{http}://{}{COLLIDER}", site.authority),
        ),
    }
}

/// Below which path Collider answers over HTTP. Clients append the room and their id.
pub const COLLIDER: &str = "/collider";

fn ice_server_url(query: &Query, site: &Site<'_>) -> String {
    let foreign = query
        .get("ts")
        .filter(|base| base.starts_with("https://") || base.starts_with("http://"));
    let mut url = String::new();
    match foreign {
        Some(base) => encode(base.trim_end_matches('/'), &mut url),
        None => url = format!("https://{}", site.authority),
    }
    url.push_str("/v1alpha/iceconfig?key=");
    match (query.get("apikey"), foreign) {
        (Some(key), _) => encode(key, &mut url),
        (None, None) => url.push_str(site.key),
        // Ours is nobody else's business.
        (None, Some(_)) => {}
    }
    url
}

/// Without servers: old clients misread them here, and all ask for them at `ice_server_url`.
fn pc_config(query: &Query, site: &Site<'_>) -> Value {
    let mut config = json!({
        "iceServers": [],
        "bundlePolicy": "max-bundle",
        "rtcpMuxPolicy": "require",
    });
    let wanted = match query.get("it") {
        Some(wanted) => Some(wanted),
        None => site.is_relayed.then_some("relay"),
    };
    if let (Some(wanted), Some(config)) = (wanted, config.as_object_mut()) {
        config.insert("iceTransports".to_owned(), wanted.into());
        // Browsers of today read it under this name, and throw when they do not know the word.
        if matches!(wanted, "relay" | "all") {
            config.insert("iceTransportPolicy".to_owned(), wanted.into());
        }
    }
    config
}

/// JSON that ends no script and no string around it.
pub fn script(value: &Value) -> String {
    let mut text = String::new();
    for c in value.to_string().chars() {
        match c {
            '<' | '>' | '&' | '\'' | '\u{2028}' | '\u{2029}' => {
                text.push_str(&format!("\\u{:04x}", u32::from(c)));
            }
            c => text.push(c),
        }
    }
    text
}

/// Words of a list, without anything else.
fn plain(text: &str) -> String {
    let allowed = |c: &char| c.is_ascii_alphanumeric() || matches!(c, ',' | '-' | '_');
    text.chars().filter(allowed).collect()
}

fn is_authority(text: &str) -> bool {
    let allowed = |byte: u8| {
        byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-' | b':' | b'[' | b']' | b'_')
    };
    text.len() <= 260 && text.bytes().all(allowed)
}

fn word(value: bool) -> &'static str {
    match value {
        true => "true",
        false => "false",
    }
}

#[cfg(test)]
mod tests;
