//! The shapes of an answer: one object in which most clients find their fields, and those that
//! contradict it.

use serde_json::{Value, json};

use super::Configuration;

/// `format=`
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Format {
    /// The object with the fields of W3C, AppRTC, draft-uberti and others.
    #[default]
    Object,
    /// A bare array of servers, one URL each, as Metered gives.
    Array,
    /// Twilio's Network Traversal Service.
    Twilio,
    /// AWS Kinesis Video Streams.
    Kvs,
    /// Cloudflare's `generate-ice-servers`.
    Cloudflare,
}

impl Format {
    /// What can be asked for.
    pub const NAMES: [&'static str; 4] = ["array", "twilio", "kvs", "cloudflare"];

    /// The format of this name.
    pub fn of(name: &str) -> Option<Self> {
        match name {
            "array" => Some(Self::Array),
            "twilio" => Some(Self::Twilio),
            "kvs" => Some(Self::Kvs),
            "cloudflare" => Some(Self::Cloudflare),
            _ => None,
        }
    }

    /// Whether its clients expect to be told that something was made (201).
    pub fn is_created(self) -> bool {
        matches!(self, Self::Twilio | Self::Cloudflare)
    }
}

impl Configuration {
    /// The answer as a client of this format reads it.
    pub fn shaped(&self, format: Format) -> serde_json::Result<Vec<u8>> {
        let value: Value = match format {
            Format::Object => return serde_json::to_vec(self),
            Format::Array => {
                let servers = self.single_url_servers.iter().map(|server| {
                    let mut plain = json!({ "urls": server.urls });
                    if let Some(username) = &server.username {
                        plain["username"] = json!(username);
                    }
                    if let Some(credential) = &server.credential {
                        plain["credential"] = json!(credential);
                    }
                    plain
                });
                servers.collect()
            }
            // Its numbers are texts.
            Format::Twilio => json!({
                "username": self.username,
                "password": self.password,
                "ttl": self.ttl.to_string(),
                "ice_servers": self.single_url_servers,
            }),
            // Its clients take every entry for a relay, and bring STUN themselves.
            Format::Kvs => {
                let relays = self.ice_servers.iter().filter_map(|server| {
                    Some(json!({
                        "Uris": server.urls,
                        "Username": server.username.as_ref()?,
                        "Password": server.credential.as_ref()?,
                        "Ttl": self.ttl,
                    }))
                });
                json!({ "IceServerList": relays.collect::<Vec<_>>() })
            }
            Format::Cloudflare => json!({ "iceServers": self.ice_servers }),
        };
        serde_json::to_vec(&value)
    }
}
