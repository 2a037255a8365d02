//! The validated configuration: what every other module is handed.
//!
//! Nothing here is optional text: an absent key has become its default, an address is an address,
//! a range is a range. What the keys are called in the file is not known here.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::num::NonZeroUsize;
use std::ops::RangeInclusive;
use std::path::PathBuf;
use std::time::Duration;

use super::secret::Secret;

/// The whole of `appliance.toml`, validated.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Public host names, lower case. Empty: any name is answered.
    pub host: Vec<String>,
    /// What TURN and ICE advertise.
    pub external_ip: ExternalIp,
    /// Where secrets and certificates live.
    pub state_dir: PathBuf,
    /// How long an appliance that ends waits for calls to end first; zero: not at all.
    pub drain_timeout: Duration,
    /// How long one whose place another process has taken waits for its calls, if that is longer.
    pub hand_over_timeout: Duration,
    /// `[front]`
    pub front: Front,
    /// `[tls]`
    pub tls: Tls,
    /// `[signaling]`
    pub signaling: Signaling,
    /// `[turn]`
    pub turn: Turn,
    /// `[ice]`
    pub ice: Ice,
    /// `[web]`
    pub web: Web,
    /// `[[proxy]]`
    pub proxy: Vec<Proxy>,
    /// `[admin]`
    pub admin: Admin,
    /// `[log]`
    pub log: Log,
}

/// Where the advertised address comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ExternalIp {
    /// The machine's own addresses, a global one first.
    Auto,
    /// Given by the operator: at most one of each family, at least one.
    Given {
        /// The IPv4 address, if any.
        v4: Option<Ipv4Addr>,
        /// The IPv6 address, if any.
        v6: Option<Ipv6Addr>,
    },
}

/// `[front]`: the TCP front door.
#[derive(Clone, Debug)]
pub struct Front {
    /// HTTPS listeners (TLS, and TURN over TCP or TLS on the same port).
    pub https: Vec<SocketAddr>,
    /// Plain HTTP listeners.
    pub http: Vec<SocketAddr>,
    /// Whether plain HTTP is redirected to HTTPS. When false it is refused with 404.
    pub redirect: bool,
    /// Whether browsers are told to come back by HTTPS only.
    pub hsts: Hsts,
    /// Deadline for the whole TLS handshake, sniffing included.
    pub handshake_timeout: Duration,
    /// Deadline for a request's header.
    pub header_timeout: Duration,
    /// How long a connection may stay without a request.
    pub idle_timeout: Duration,
    /// Connections in total.
    pub max_connections: NonZeroUsize,
    /// Connections of one client address (IPv4 /32, IPv6 /64).
    pub max_per_ip: NonZeroUsize,
    /// Load balancers in front of us: each of their connections begins with a PROXY header that
    /// says whose it is.
    pub proxy_protocol: Vec<Network>,
    /// Whether other servers may ask how they look from here.
    pub probes: bool,
}

/// Strict-Transport-Security.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Hsts {
    /// While the certificate is one that every browser trusts.
    Auto,
    /// With every certificate but a self-signed one.
    On,
    /// Never.
    Off,
}

/// `[tls]`: who supplies the certificate.
#[derive(Clone, Debug)]
pub enum Tls {
    /// Made by us and kept in the state directory.
    SelfSigned,
    /// PEM files of the operator.
    Files {
        /// Certificate chain, leaf first.
        cert: PathBuf,
        /// Private key.
        key: PathBuf,
    },
    /// Ordered from a certificate authority.
    Acme(Acme),
}

/// Where certificates are ordered (RFC 8555).
#[derive(Clone, Debug)]
pub struct Acme {
    /// URL of the authority's directory.
    pub directory: String,
    /// Where the authority may send warnings.
    pub email: Option<String>,
    /// Root certificates that the authority's own server is trusted by; `None`: the public ones.
    pub ca_file: Option<PathBuf>,
    /// How control over the names is shown.
    pub challenge: Challenge,
    /// Whether orders may be made although their results will not survive.
    pub throwaway: bool,
    /// The operator asked for it, so what stands in the way is an error, not a warning.
    pub chosen: bool,
}

/// How control over a name is shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Challenge {
    /// In a TLS handshake on port 443 (RFC 8737).
    TlsAlpn01,
    /// By a file on port 80.
    Http01,
}

impl Acme {
    /// Let's Encrypt.
    pub const LETS_ENCRYPT: &str = "https://acme-v02.api.letsencrypt.org/directory";

    /// Whether browsers everywhere trust what comes from there, so that orders are limited and
    /// only public names have a chance.
    pub fn is_public(&self) -> bool {
        const PUBLIC: [&str; 5] = [
            "letsencrypt.org",
            "pki.goog",
            "zerossl.com",
            "buypass.com",
            "ssl.com",
        ];
        let rest = self.directory.split("://").nth(1).unwrap_or_default();
        let host = rest.split(['/', ':']).next().unwrap_or_default();
        self.ca_file.is_none()
            && PUBLIC.iter().any(|ca| {
                host.strip_suffix(ca)
                    .is_some_and(|before| before.is_empty() || before.ends_with('.'))
            })
    }

    /// Whether orders count against limits that take a week to recover.
    pub fn is_production(&self) -> bool {
        self.is_public() && !self.directory.contains("staging")
    }
}

/// `[signaling]`
#[derive(Clone, Debug)]
pub struct Signaling {
    /// Path of the WebSocket endpoint.
    pub path: String,
    /// How often an idle client is pinged.
    pub ping_interval: Duration,
    /// Without any byte for this long a client is gone.
    pub idle_timeout: Duration,
    /// For how long a client that lost its connection may take its seat again; zero: not at all.
    pub resume_window: Duration,
    /// Members of a room.
    pub room_capacity: NonZeroUsize,
    /// Bytes of one message.
    pub max_message: usize,
    /// Rooms in total.
    pub max_rooms: usize,
    /// Sustained messages of one client a second; the bucket has room for 200.
    pub messages_per_second: u32,
    /// New connections of one network (/24 or /56) a second, in the long run; 0: unlimited.
    pub prefix_connections_per_second: u32,
    /// Messages of one network a second, in the long run; 0: unlimited.
    pub prefix_messages_per_second: u32,
    /// Origins accepted besides our own.
    pub allowed_origins: Vec<String>,
    /// Further listeners, for clients with ports of their own compiled in.
    pub legacy_listen: Vec<LegacyListener>,
    /// Who may join.
    pub auth: Auth,
    /// How links to AppRTC rooms begin.
    pub room_link: RoomLink,
    /// Whether Collider serves clients of another room server.
    pub open_collider: bool,
}

/// `[signaling] room_link`
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RoomLink {
    /// With `https://`.
    Absolute,
    /// With `//`, which copies of the web client with a changed script need as well.
    ProtocolRelative,
    /// With `http://`, for those alone.
    Http,
}

/// One of `[signaling] legacy_listen`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LegacyListener {
    /// Where clients connect.
    pub address: SocketAddr,
    /// Whether they begin with TLS.
    pub tls: bool,
}

/// `[signaling] auth`
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Auth {
    /// Whoever knows the room's name.
    Open,
    /// Whoever has a token signed with the key in one of these files.
    Token(Vec<PathBuf>),
}

/// `[turn]`
#[derive(Clone, Debug)]
pub struct Turn {
    /// UDP and TCP listeners.
    pub listen: Vec<SocketAddr>,
    /// Realm of the long-term credentials; `None`: the first host name, else `callbox`.
    pub realm: Option<String>,
    /// UDP ports that allocations are given.
    pub relay_ports: RangeInclusive<u16>,
    /// Lifetime of the credentials that `/ice` hands out.
    pub credential_ttl: Duration,
    /// Shared secret of those credentials; `None`: made once and kept in the state directory.
    pub secret: Option<Secret>,
    /// Users with fixed passwords.
    pub static_users: Vec<StaticUser>,
    /// Opens parts of the built-in deny list.
    pub allow_peers: Vec<Network>,
    /// Adds to the built-in deny list.
    pub deny_peers: Vec<Network>,
    /// Allocations of one user; 0 = unlimited.
    pub user_quota: u32,
    /// Allocations in total; 0 = unlimited.
    pub total_quota: u32,
    /// Bits a second of one allocation, each direction; 0 = unlimited.
    pub max_bps_per_allocation: u64,
    /// Bits a second in total, each direction; 0 = unlimited.
    pub max_bps: u64,
    /// Whether clients may find out how their NAT behaves (RFC 5780).
    pub discovery: bool,
    /// Whether Binding requests without the magic cookie are answered (RFC 3489).
    pub classic_stun: bool,
    /// Whether allocations may relay TCP connections (RFC 6062).
    pub tcp_relays: bool,
    /// Worker threads.
    pub workers: NonZeroUsize,
}

/// A TURN user with a fixed password.
#[derive(Clone, Debug)]
pub struct StaticUser {
    /// User name.
    pub username: String,
    /// Password.
    pub password: Secret,
}

/// An address prefix.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Network {
    /// First address of the prefix; host bits are zero.
    pub address: IpAddr,
    /// Bits of the prefix: 0-32 or 0-128.
    pub prefix: u8,
}

impl Network {
    /// Whether the address lies inside.
    pub fn contains(&self, ip: IpAddr) -> bool {
        match (self.address, ip) {
            (IpAddr::V4(network), IpAddr::V4(ip)) => {
                let bits = 32_u32.saturating_sub(u32::from(self.prefix));
                (u32::from(network) ^ u32::from(ip))
                    .checked_shr(bits)
                    .unwrap_or(0)
                    == 0
            }
            (IpAddr::V6(network), IpAddr::V6(ip)) => {
                let bits = 128_u32.saturating_sub(u32::from(self.prefix));
                (u128::from(network) ^ u128::from(ip))
                    .checked_shr(bits)
                    .unwrap_or(0)
                    == 0
            }
            _ => false,
        }
    }

    /// Whether all of `other` lies inside.
    pub fn covers(&self, other: &Self) -> bool {
        other.prefix >= self.prefix && self.contains(other.address)
    }
}

/// `[ice]`
#[derive(Clone, Debug)]
pub struct Ice {
    /// `iceTransportPolicy` handed to clients.
    pub policy: IcePolicy,
    /// Servers of others, added to ours in the answer.
    pub extra_servers: Vec<ExtraServer>,
    /// Who may ask.
    pub access: IceAccess,
    /// Who may ask in any case.
    pub api_keys: Vec<ApiKey>,
}

/// A key to the ICE configuration, for a program or a page elsewhere.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ApiKey {
    /// Whose it is; part of the credentials.
    pub name: String,
    /// Visible ASCII characters.
    pub key: Secret,
}

/// W3C `RTCIceTransportPolicy`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum IcePolicy {
    /// Every candidate.
    All,
    /// Relayed candidates only.
    Relay,
}

/// Who gets an ICE configuration.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum IceAccess {
    /// Pages of ours, and programs that are not browsers.
    SameOrigin,
    /// Anybody.
    Open,
    /// Nobody without a key.
    Key,
}

/// An `RTCIceServer` of somebody else.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ExtraServer {
    /// `stun:`, `turn:` or `turns:` URLs.
    pub urls: Vec<String>,
    /// User name, empty when none.
    pub username: String,
    /// Credential, empty when none.
    pub credential: Secret,
}

/// `[web]`
#[derive(Clone, Debug)]
pub struct Web {
    /// Directory served instead of the built-in pages.
    pub dir: Option<PathBuf>,
    /// Content-Security-Policy; `None`: strict for the built-in pages, none for a directory.
    pub csp: Option<String>,
    /// Origins whose pages may read ours; `*` is every origin.
    pub cors_origins: Vec<String>,
    /// Whether paths without a file show the first page: its scripts read the path.
    pub spa: bool,
}

/// `[[proxy]]`: an application of the operator's behind this front door.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Proxy {
    /// What it answers: this path and everything below. No slash at the end, but for the root.
    pub path: String,
    /// Where it listens.
    pub upstream: Upstream,
    /// For its address and a connection, and for a place among the requests under way.
    pub connect_timeout: Duration,
    /// For each further piece of its answer, the first one counted from the end of the request.
    pub read_timeout: Duration,
    /// For each further piece of a request that it takes.
    pub send_timeout: Duration,
    /// How long an upgraded connection may be quiet; `None`: for ever.
    pub upgrade_timeout: Option<Duration>,
    /// Requests under way at a time.
    pub max_connections: NonZeroUsize,
}

/// Where an application listens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Upstream {
    /// HTTP/1.1 over TCP.
    Http {
        /// Lower-case name, resolved for each connection, or an address without brackets.
        host: String,
        /// Port.
        port: u16,
    },
    /// HTTP/1.1 over a socket in the file system.
    Unix(PathBuf),
}

impl fmt::Display for Upstream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Http { host, port } if host.contains(':') => write!(f, "http://[{host}]:{port}"),
            Self::Http { host, port } => write!(f, "http://{host}:{port}"),
            Self::Unix(path) => write!(f, "unix:{}", path.display()),
        }
    }
}

/// `[admin]`
#[derive(Clone, Debug)]
pub struct Admin {
    /// Listeners of metrics, health and drain. Empty: none.
    pub listen: Vec<SocketAddr>,
    /// The operator chose the addresses: one that cannot be had is an error, not a warning.
    pub chosen: bool,
    /// What whoever asks has to know; `None` only where nobody but this machine can ask.
    pub token: Option<Secret>,
}

/// `[log]`
#[derive(Clone, Debug)]
pub struct Log {
    /// A level, or a filter in `tracing_subscriber`'s syntax.
    pub level: String,
    /// Shape of the lines.
    pub format: LogFormat,
    /// Whether client addresses are shortened.
    pub privacy: bool,
}

/// Shape of log lines.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogFormat {
    /// For people.
    Text,
    /// One JSON object a line.
    Json,
}

impl Settings {
    /// Addresses of `[turn] listen` where TURN needs a TCP listener of its own: on a port of
    /// HTTPS the front door takes TURN over TCP and TLS, and only UDP is left to be bound.
    pub fn turn_tcp(&self) -> impl Iterator<Item = SocketAddr> + '_ {
        let taken = |address: &SocketAddr| {
            let https = &self.front.https;
            https.iter().any(|front| overlap(*front, *address))
        };
        let listen = self.turn.listen.iter().copied();
        listen.filter(move |address| !taken(address))
    }
}

/// Whether two sockets cannot both be bound. `[::]` takes IPv4 too; port 0 is any free one.
pub(super) fn overlap(a: SocketAddr, b: SocketAddr) -> bool {
    let covers = |wide: IpAddr, narrow: IpAddr| {
        wide.is_unspecified() && (wide.is_ipv6() || narrow.is_ipv4())
    };
    a.port() != 0
        && a.port() == b.port()
        && (a.ip() == b.ip() || covers(a.ip(), b.ip()) || covers(b.ip(), a.ip()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn on_the_ports_of_https_turn_needs_no_tcp_listener() {
        let mut settings = Settings::builtin("/nowhere".into());
        let listen = |addresses: &[&str]| addresses.iter().map(|a| a.parse().unwrap()).collect();
        settings.front.https = listen(&["127.0.0.1:443"]);
        settings.turn.listen = listen(&["[::]:3478", "[::]:443", "127.0.0.1:443", "127.0.0.2:443"]);
        let own: Vec<_> = settings.turn_tcp().map(|a| a.to_string()).collect();
        assert_eq!(own, ["[::]:3478", "127.0.0.2:443"]);
    }
}
