//! What must hold between keys, and what is allowed but probably not meant.

use std::net::{IpAddr, SocketAddr};

use super::settings::{
    Acme, Auth, Challenge, ExternalIp, IceAccess, Network, Proxy, Settings, Tls, Upstream, overlap,
};
use crate::http::router;
use crate::net::reach::{Reach, reach};
use crate::turn::core::discovery::{self, Discovery};

/// Two settings that exclude each other.
#[derive(Debug)]
pub(super) struct Conflict {
    /// The key that has to change.
    pub(super) key: &'static str,
    /// Why.
    pub(super) what: String,
}

/// Everything that cannot work.
pub(super) fn conflicts(settings: &Settings) -> Vec<Conflict> {
    let mut conflicts = listeners(settings);
    let signaling = &settings.signaling;
    if signaling.idle_timeout <= signaling.ping_interval {
        conflicts.push(Conflict {
            key: "signaling.idle_timeout",
            what: format!(
                "must be longer than signaling.ping_interval ({:?}), or every quiet client is cut off",
                signaling.ping_interval
            ),
        });
    }
    if signaling.auth == Auth::Token(Vec::new()) {
        conflicts.push(Conflict {
            key: "signaling.token_keys",
            what: "signaling.auth = \"token\" needs at least one file with a key".to_owned(),
        });
    }
    if settings.front.https.is_empty() {
        conflicts.push(Conflict {
            key: "front.https",
            what: "at least one address is needed".to_owned(),
        });
    }
    if let Tls::Acme(acme) = &settings.tls
        && acme.challenge == Challenge::Http01
        && settings.front.http.is_empty()
    {
        conflicts.push(Conflict {
            key: "tls.acme_challenge",
            what: "\"http-01\" is answered on front.http, which is empty".to_owned(),
        });
    }
    conflicts.extend(
        settings
            .proxy
            .iter()
            .filter_map(|proxy| unreachable(settings, proxy))
            .map(|what| Conflict { key: "proxy", what }),
    );
    let admin = &settings.admin;
    if admin.token.is_none()
        && let Some(open) = admin.listen.iter().find(|at| !at.ip().is_loopback())
    {
        conflicts.push(Conflict {
            key: "admin.listen",
            what: format!(
                "{open} can be reached by others: set admin.token_file, or listen on 127.0.0.1"
            ),
        });
    }
    if settings.turn.discovery && discovery(settings) == discovery::Reach::Nothing {
        conflicts.push(Conflict {
            key: "turn.discovery",
            what: "turn.listen needs two addresses with the same two ports each, and no wildcard among them".to_owned(),
        });
    }
    if settings.ice.access == IceAccess::Key && settings.ice.api_keys.is_empty() {
        conflicts.push(Conflict {
            key: "ice.access",
            what: "\"key\" lets nobody in while ice.api_keys is empty".to_owned(),
        });
    }
    let names = settings.ice.api_keys.iter().map(|key| &key.name);
    if let Some(twice) = duplicate(names) {
        conflicts.push(Conflict {
            key: "ice.api_keys",
            what: format!("the name {twice:?} is there twice"),
        });
    }
    let users = &settings.turn.static_users;
    for (index, user) in users.iter().enumerate() {
        if users
            .iter()
            .take(index)
            .any(|other| other.username == user.username)
        {
            conflicts.push(Conflict {
                key: "turn.static_users",
                what: format!("{:?} is there twice", user.username),
            });
        }
    }
    conflicts
}

fn duplicate<'a>(mut names: impl Iterator<Item = &'a String> + Clone) -> Option<&'a String> {
    while let Some(name) = names.next() {
        if names.clone().any(|other| other == name) {
            return Some(name);
        }
    }
    None
}

/// Why requests for a proxy would never arrive where they should.
fn unreachable(settings: &Settings, proxy: &Proxy) -> Option<String> {
    let (path, upstream) = (&proxy.path, &proxy.upstream);
    if router::is_reserved(path, &settings.signaling.path) {
        return Some(format!(
            "path {path:?} is answered by callbox itself: choose another one"
        ));
    }
    let Upstream::Http { host, port } = upstream else {
        return None;
    };
    let ours = [
        ("front.https", &settings.front.https),
        ("front.http", &settings.front.http),
        ("turn.listen", &settings.turn.listen),
        ("signaling.legacy_listen", &legacy(settings)),
        // Or metrics and the drain would be everybody's.
        ("admin.listen", &settings.admin.listen),
    ];
    let listens = |address: &SocketAddr| {
        address.port() == *port
            && match host.parse::<IpAddr>() {
                Ok(ip) => ip == address.ip() || (ip.is_loopback() && address.ip().is_unspecified()),
                Err(_) => {
                    settings.host.contains(host)
                        || (host == "localhost"
                            && (address.ip().is_loopback() || address.ip().is_unspecified()))
                }
            }
    };
    ours.iter()
        .find(|(_, addresses)| addresses.iter().any(listens))
        .map(|(key, _)| {
            format!(
                "upstream {upstream} is callbox itself ({key}): name the address and port that your application listens on"
            )
        })
}

/// Addresses that are asked for more than once. The UDP port beside HTTPS is free for TURN: see
/// [`Settings::turn_tcp`].
fn listeners(settings: &Settings) -> Vec<Conflict> {
    let front = &settings.front;
    let groups = [
        ("front.https", &front.https),
        ("front.http", &front.http),
        ("turn.listen", &settings.turn.listen),
        ("signaling.legacy_listen", &legacy(settings)),
        ("admin.listen", &settings.admin.listen),
    ];
    let all: Vec<(&'static str, SocketAddr)> = groups
        .iter()
        .flat_map(|(key, addresses)| addresses.iter().map(|address| (*key, *address)))
        .collect();
    let mut conflicts = Vec::new();
    for (index, (key, address)) in all.iter().enumerate() {
        for (earlier_key, earlier) in all.iter().take(index) {
            if !overlap(*earlier, *address)
                || (*earlier_key, *key) == ("front.https", "turn.listen")
            {
                continue;
            }
            let what = match earlier == address {
                true => format!("{address} is in {earlier_key} already"),
                false => format!("{address} is covered by {earlier} in {earlier_key}"),
            };
            conflicts.push(Conflict { key, what });
        }
    }
    conflicts
}

fn legacy(settings: &Settings) -> Vec<SocketAddr> {
    let listeners = settings.signaling.legacy_listen.iter();
    listeners.map(|listener| listener.address).collect()
}

fn discovery(settings: &Settings) -> discovery::Reach {
    Discovery::new(&settings.turn.listen).reach()
}

/// Everything worth a second look.
pub(super) fn warnings(settings: &Settings) -> Vec<String> {
    let mut warnings = Vec::new();
    let mut warn = |text: String| warnings.push(text);
    if let ExternalIp::Given { v4, v6 } = settings.external_ip {
        let given = [v4.map(IpAddr::V4), v6.map(IpAddr::V6)];
        for address in given
            .into_iter()
            .flatten()
            .filter(|ip| reach(*ip) != Reach::Public)
        {
            warn(format!(
                "external_ip: {address} is not a public address: clients elsewhere on the Internet cannot reach a relay there"
            ));
        }
    }
    if let (Some(host), Tls::SelfSigned) = (settings.host.first(), &settings.tls) {
        warn(format!(
            "tls.mode: the certificate for {host} is self-signed: browsers warn, and turns: does not work in them"
        ));
    }
    if let Tls::Acme(acme) = &settings.tls
        && let Some(warning) = unreachable_challenge(settings, acme)
    {
        warn(warning);
    }
    let turn = &settings.turn;
    if let Some(listen) = turn
        .listen
        .iter()
        .find(|a| turn.relay_ports.contains(&a.port()))
    {
        warn(format!(
            "turn.relay_ports: port {} is in the range and is listened on: it is not relayed from",
            listen.port()
        ));
    }
    let ports = usize::from(turn.relay_ports.end() - turn.relay_ports.start()) + 1;
    if turn.total_quota != 0 && (turn.total_quota as usize) > ports {
        // Only a range of one's own is worth a word: the default quota exceeds the default range
        // on purpose, as relays that meet inside the process need no port.
        if turn.relay_ports != (49_152..=65_535) {
            warn(format!(
                "turn.relay_ports: {ports} ports serve at most {ports} allocations of one address family"
            ));
        }
    }
    if turn
        .secret
        .as_ref()
        .is_some_and(|secret| secret.expose().len() < 16)
    {
        warn(
            "turn.secret: shorter than 16 characters: it can be guessed from a single credential"
                .to_owned(),
        );
    }
    for network in &turn.allow_peers {
        if let Some(what) = opened(network) {
            warn(format!(
                "turn.allow_peers: {network} lets callers reach {what} through the relay"
            ));
        }
    }
    if settings.proxy.iter().any(|proxy| proxy.path == "/") {
        let hidden = match (&settings.web.dir, settings.web.spa) {
            (Some(_), _) => Some("web.dir"),
            (None, true) => Some("web.spa"),
            (None, false) => None,
        };
        if let Some(key) = hidden {
            warn(format!(
                "{key}: shows below /r/ only, since the proxy for \"/\" takes every other path"
            ));
        }
    }
    if turn.discovery && discovery(settings) == discovery::Reach::Ports {
        warn(
            "turn.discovery: without a second address in turn.listen clients find out little"
                .to_owned(),
        );
    }
    if settings.front.max_per_ip > settings.front.max_connections {
        warn(
            "front.max_per_ip: more than front.max_connections: one address can use up all of them"
                .to_owned(),
        );
    }
    warnings
}

/// A public authority comes to one port and to no other.
fn unreachable_challenge(settings: &Settings, acme: &Acme) -> Option<String> {
    let (name, port, key, listeners) = match acme.challenge {
        Challenge::TlsAlpn01 => ("tls-alpn-01", 443, "front.https", &settings.front.https),
        Challenge::Http01 => ("http-01", 80, "front.http", &settings.front.http),
    };
    let reached = listeners.iter().any(|address| address.port() == port);
    (acme.is_public() && !reached).then(|| {
        format!(
            "tls.acme_challenge: for \"{name}\" the authority connects to port {port}, which is not in {key}: \
             something has to forward it"
        )
    })
}

/// What an entry of `allow_peers` opens that hardly anybody means to open.
fn opened(network: &Network) -> Option<&'static str> {
    match network.address {
        _ if network.prefix == 0 => Some("every private network of this machine"),
        IpAddr::V4(v4) if v4.is_loopback() => Some("services of this machine itself"),
        IpAddr::V6(v6) if v6.is_loopback() => Some("services of this machine itself"),
        IpAddr::V4(v4) if v4.is_link_local() => {
            Some("link-local services, cloud metadata among them")
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wildcards_cover_the_addresses_they_take() {
        let both = |a: &str, b: &str| {
            let (a, b) = (a.parse().unwrap(), b.parse().unwrap());
            assert_eq!(overlap(a, b), overlap(b, a));
            overlap(a, b)
        };
        assert!(both("[::]:443", "[::]:443"));
        assert!(both("[::]:443", "0.0.0.0:443"));
        assert!(both("[::]:443", "10.0.0.1:443"));
        assert!(both("0.0.0.0:443", "10.0.0.1:443"));
        assert!(!both("0.0.0.0:443", "[2001:db8::1]:443"));
        assert!(!both("[::]:443", "[::]:444"));
        assert!(!both("10.0.0.1:443", "10.0.0.2:443"));
        assert!(!both("[::]:0", "[::]:0"));
    }

    #[test]
    fn the_defaults_agree_with_each_other() {
        let settings = Settings::builtin("/nowhere".into());
        assert!(conflicts(&settings).is_empty());
        assert_eq!(warnings(&settings), Vec::<String>::new());
    }

    #[test]
    fn two_users_of_one_name_are_a_conflict() {
        let mut settings = Settings::builtin("/nowhere".into());
        let user = super::super::settings::StaticUser {
            username: "phone".to_owned(),
            password: super::super::Secret::new("x"),
        };
        settings.turn.static_users = vec![user.clone(), user];
        let keys: Vec<_> = conflicts(&settings).iter().map(|c| c.key).collect();
        assert_eq!(keys, ["turn.static_users"]);
    }
}
