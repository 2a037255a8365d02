//! The ICE configuration of one client, and the TURN credential in it. Pure: the time, the secret
//! and the addresses are arguments. Who may ask is [`crate::http`]'s decision.

pub mod host;
mod issuer;
mod keys;
mod shape;
pub mod wish;

use std::time::Duration;

use aws_lc_rs::hmac;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::Serialize;

use crate::config::Secret;
use crate::config::settings::{ExtraServer, IcePolicy};

pub use issuer::Issuer;
pub use keys::ApiKeys;
pub use shape::Format;

/// Ports on which this appliance is really listening, as clients reach them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Endpoints {
    /// STUN and TURN over UDP.
    pub udp_port: Option<u16>,
    /// TURN over UDP for networks that let out nothing but the web's port.
    pub web_udp_port: Option<u16>,
    /// TURN over TCP.
    pub tcp_port: Option<u16>,
    /// TURN over TLS.
    pub tls_port: Option<u16>,
}

impl Endpoints {
    /// The same with what the UDP listeners at these ports make possible: the first one, and the
    /// web's port where it is another. That one comes second: where QUIC and calls share a port,
    /// some networks slow both down.
    pub fn with_udp(self, mut ports: impl Iterator<Item = u16> + Clone) -> Self {
        let first = ports.clone().find(|port| *port != WEB);
        let web = ports.find(|port| *port == WEB);
        Self {
            udp_port: first.or(web),
            web_udp_port: first.and(web),
            ..self
        }
    }
}

/// Of HTTPS, and of QUIC.
const WEB: u16 = 443;

/// A time-limited TURN credential in the REST form that coturn and others share:
/// `expiry:id` and base64(HMAC-SHA1(secret, username)).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Credential {
    /// `expiry:id`
    pub username: String,
    /// What proves it.
    pub password: String,
    /// Seconds since 1970.
    pub expires_at: u64,
}

impl Credential {
    /// A credential for `id` that may be used until `ttl` after `now` (seconds since 1970).
    pub fn new(secret: &Secret, id: &str, now: u64, ttl: Duration) -> Self {
        let expires_at = now.saturating_add(ttl.as_secs());
        let username = format!("{expires_at}:{id}");
        // SHA-1 is what the form prescribes; its known weaknesses do not reach HMAC.
        let key = hmac::Key::new(hmac::HMAC_SHA1_FOR_LEGACY_USE_ONLY, secret.expose());
        let password = STANDARD.encode(hmac::sign(&key, username.as_bytes()));
        Self {
            username,
            password,
            expires_at,
        }
    }
}

/// Longest part of a credential's id that a client can choose.
const MAX_WISH: usize = 48;

/// The id of a credential: what the client calls itself, so that logs and quotas can tell, and a
/// `unique` part, so that nobody uses up the quota of another by taking their name.
pub fn credential_id<'a>(wishes: impl IntoIterator<Item = &'a str>, unique: u64) -> String {
    let mut id = String::new();
    for wish in wishes {
        let kept = wish
            .chars()
            .filter(|c| c.is_ascii_alphanumeric() || matches!(c, '-' | '_'));
        let before = id.len();
        id.extend(kept.take(MAX_WISH.saturating_sub(before)));
        if id.len() > before {
            id.push('.');
        }
    }
    id.push_str(&format!("{unique:016x}"));
    id
}

/// What to put into an answer.
#[derive(Clone, Copy, Debug)]
pub struct Offer<'a> {
    /// Host for our URLs: a name, an IPv4 address or an IPv6 address in brackets.
    pub host: &'a str,
    /// Our ports.
    pub endpoints: Endpoints,
    /// The client's credential.
    pub credential: &'a Credential,
    /// Seconds since 1970; the credential's remaining life is counted from here.
    pub now: u64,
    /// Which candidates the client shall use.
    pub policy: IcePolicy,
    /// Servers of others.
    pub extra_servers: &'a [ExtraServer],
}

/// The answer: one object that the clients of many services find their fields in.
#[derive(Clone, Debug, Serialize)]
pub struct Configuration {
    #[serde(rename = "iceServers")]
    ice_servers: Vec<Server>,
    #[serde(rename = "ice_servers")]
    single_url_servers: Vec<SingleUrlServer>,
    #[serde(skip_serializing_if = "Option::is_none")]
    username: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    password: Option<String>,
    ttl: u64,
    uris: Vec<String>,
    #[serde(rename = "lifetimeDuration")]
    lifetime_duration: String,
    #[serde(rename = "blockStatus")]
    block_status: &'static str,
    #[serde(rename = "iceTransportPolicy")]
    ice_transport_policy: &'static str,
    expires_at: u64,
}

/// W3C `RTCIceServer`; `urls` is always an array, which AppRTC's clients insist on.
#[derive(Clone, Debug, Serialize)]
struct Server {
    urls: Vec<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    username: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    credential: Option<String>,
}

/// The same, one URL each, in the older spelling as well.
#[derive(Clone, Debug, Serialize)]
struct SingleUrlServer {
    url: String,
    urls: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    username: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    credential: Option<String>,
}

impl Configuration {
    /// Puts the answer together.
    pub fn new(offer: &Offer<'_>) -> Self {
        let Offer {
            host,
            endpoints,
            credential,
            ..
        } = *offer;
        let mut ice_servers = Vec::new();
        if let Some(port) = endpoints.udp_port {
            ice_servers.push(Server {
                urls: vec![format!("stun:{host}:{port}")],
                username: None,
                credential: None,
            });
        }
        let turn = turn_urls(host, endpoints);
        let has_turn = !turn.is_empty();
        if has_turn {
            ice_servers.push(Server {
                urls: turn.clone(),
                username: Some(credential.username.clone()),
                credential: Some(credential.password.clone()),
            });
        }
        ice_servers.extend(offer.extra_servers.iter().map(Server::from));
        let ttl = credential.expires_at.saturating_sub(offer.now);
        Self {
            single_url_servers: ice_servers.iter().flat_map(Server::split).collect(),
            ice_servers,
            username: has_turn.then(|| credential.username.clone()),
            password: has_turn.then(|| credential.password.clone()),
            ttl,
            uris: turn,
            lifetime_duration: format!("{ttl}s"),
            block_status: "NOT_BLOCKED",
            ice_transport_policy: match offer.policy {
                IcePolicy::All => "all",
                IcePolicy::Relay => "relay",
            },
            expires_at: credential.expires_at,
        }
    }

    /// The same as values of `Link` headers, one a URL (RFC 9725 section 4.6).
    pub fn links(&self) -> impl Iterator<Item = String> + '_ {
        self.single_url_servers.iter().map(|server| {
            let mut link = format!("<{}>; rel=\"ice-server\"", server.url);
            if let (Some(username), Some(credential)) = (&server.username, &server.credential) {
                link.push_str(&format!(
                    "; username={}; credential={}; credential-type=\"password\"",
                    quoted(username),
                    quoted(credential)
                ));
            }
            link
        })
    }
}

/// Our TURN URLs, fastest path first. Four at most: more make browsers slow.
fn turn_urls(host: &str, endpoints: Endpoints) -> Vec<String> {
    let over_udp = |port: u16| format!("turn:{host}:{port}?transport=udp");
    let udp = endpoints.udp_port.map(over_udp);
    let web_udp = endpoints.web_udp_port.map(over_udp);
    let tcp = endpoints
        .tcp_port
        .map(|port| format!("turn:{host}:{port}?transport=tcp"));
    let tls = endpoints
        .tls_port
        .map(|port| format!("turns:{host}:{port}?transport=tcp"));
    [udp, web_udp, tcp, tls].into_iter().flatten().collect()
}

/// A `quoted-string` (RFC 9110 section 5.6.4).
fn quoted(text: &str) -> String {
    format!("\"{}\"", text.replace('\\', "\\\\").replace('"', "\\\""))
}

impl Server {
    fn split(&self) -> impl Iterator<Item = SingleUrlServer> + '_ {
        self.urls.iter().map(|url| SingleUrlServer {
            url: url.clone(),
            urls: url.clone(),
            username: self.username.clone(),
            credential: self.credential.clone(),
        })
    }
}

impl From<&ExtraServer> for Server {
    fn from(extra: &ExtraServer) -> Self {
        let given = |text: String| (!text.is_empty()).then_some(text);
        Self {
            urls: extra.urls.clone(),
            username: given(extra.username.clone()),
            credential: given(String::from_utf8_lossy(extra.credential.expose()).into_owned()),
        }
    }
}

#[cfg(test)]
mod tests;
