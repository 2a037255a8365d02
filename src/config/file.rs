//! The keys of `appliance.toml`: what each is called, what shape it has, what it defaults to.
//!
//! The table is the single list of keys. The environment, the unknown-key check, `callbox check`
//! and the test of the documented file all read it; what the values mean is `build`'s business.

/// How a value is written, which is all the environment needs to know to read one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Shape {
    /// Text: names, paths, durations, sizes, ranges.
    Text,
    /// A list of texts; a single text is a list of one.
    List,
    /// A whole number.
    Number,
    /// `true` or `false`.
    Flag,
    /// A list of tables with these fields.
    Tables(&'static [&'static str]),
}

/// One key.
#[derive(Debug)]
pub(super) struct Key {
    /// `section.name`, or `name` at the top.
    pub(super) path: &'static str,
    /// How it is written.
    pub(super) shape: Shape,
    /// Default in TOML; `None`: depends on the machine or on other keys.
    pub(super) default: Option<&'static str>,
    /// What `callbox check` says instead of a value when there is none.
    pub(super) absent: &'static str,
    /// Never printed.
    pub(super) secret: bool,
}

impl Key {
    /// The table above the key, if any.
    pub(super) fn section(&self) -> Option<&'static str> {
        self.path.split_once('.').map(|(section, _)| section)
    }

    /// The key inside its table.
    pub(super) fn name(&self) -> &'static str {
        self.path
            .split_once('.')
            .map_or(self.path, |(_, name)| name)
    }

    /// The environment variable that overrides it.
    pub(super) fn variable(&self) -> String {
        variable(self.path)
    }
}

/// `turn.realm` -> `CALLBOX_TURN__REALM`
pub(super) fn variable(path: &str) -> String {
    format!("{PREFIX}{}", path.replace('.', "__").to_uppercase())
}

/// The key with this path.
pub(super) fn key(path: &str) -> Option<&'static Key> {
    KEYS.iter().find(|key| key.path == path)
}

/// The tables there are.
pub(super) fn sections() -> impl Iterator<Item = &'static str> {
    let mut last = None;
    KEYS.iter().filter_map(move |key| {
        let section = key.section();
        let new = section != last;
        last = section;
        section.filter(|_| new)
    })
}

/// The whole of the defaults as a file would say it.
pub(super) fn defaults() -> String {
    KEYS.iter()
        .filter_map(|key| Some(format!("{} = {}\n", key.path, key.default?)))
        .collect()
}

/// What every environment variable of ours begins with.
pub(super) const PREFIX: &str = "CALLBOX_";

/// Fields of an entry of `turn.static_users`.
pub(super) const STATIC_USER: &[&str] = &["username", "password", "password_file"];

/// Fields of an entry of `ice.extra_servers`.
pub(super) const EXTRA_SERVER: &[&str] = &["urls", "username", "credential", "credential_file"];

/// Fields of an entry of `ice.api_keys`.
pub(super) const API_KEY: &[&str] = &["name", "key", "key_file"];

/// Fields of an entry of `proxy`.
pub(super) const PROXY: &[&str] = &[
    "path",
    "upstream",
    "connect_timeout",
    "read_timeout",
    "send_timeout",
    "upgrade_timeout",
    "max_connections",
];

const fn given(path: &'static str, shape: Shape, default: &'static str) -> Key {
    Key {
        path,
        shape,
        default: Some(default),
        absent: "",
        secret: false,
    }
}

const fn open(path: &'static str, shape: Shape, absent: &'static str) -> Key {
    Key {
        path,
        shape,
        default: None,
        absent,
        secret: false,
    }
}

const fn secret(key: Key) -> Key {
    Key {
        secret: true,
        ..key
    }
}

use Shape::{Flag, List, Number, Tables, Text};

/// Every key, in the order of the documented file.
pub(super) const KEYS: &[Key] = &[
    given("host", List, "[]"),
    given("external_ip", List, "\"auto\""),
    open("state_dir", Text, "chosen by the machine"),
    given("drain_timeout", Text, "10s"),
    given("hand_over_timeout", Text, "12h"),
    given("proxy", Tables(PROXY), "[]"),
    given("front.https", List, "[\"[::]:443\"]"),
    given("front.http", List, "[\"[::]:80\"]"),
    given("front.redirect", Flag, "true"),
    given("front.hsts", Text, "\"auto\""),
    given("front.handshake_timeout", Text, "\"10s\""),
    given("front.header_timeout", Text, "\"10s\""),
    given("front.idle_timeout", Text, "\"75s\""),
    given("front.max_connections", Number, "20000"),
    given("front.max_per_ip", Number, "256"),
    given("front.proxy_protocol", List, "false"),
    given("front.probes", Flag, "false"),
    given("tls.mode", Text, "\"auto\""),
    open("tls.cert", Text, "none, the certificate is made here"),
    open("tls.key", Text, "none, the key is made here"),
    given(
        "tls.acme_directory",
        Text,
        "\"https://acme-v02.api.letsencrypt.org/directory\"",
    ),
    open("tls.acme_email", Text, "none"),
    open("tls.acme_ca_file", Text, "the public root certificates"),
    given("tls.acme_challenge", Text, "\"tls-alpn-01\""),
    given("tls.acme_throwaway", Flag, "false"),
    given("signaling.path", Text, "\"/ws\""),
    given("signaling.ping_interval", Text, "\"20s\""),
    given("signaling.idle_timeout", Text, "\"60s\""),
    given("signaling.resume_window", Text, "\"30s\""),
    given("signaling.room_capacity", Number, "2"),
    given("signaling.max_message", Text, "\"64KiB\""),
    given("signaling.max_rooms", Number, "100000"),
    given("signaling.messages_per_second", Number, "50"),
    open(
        "signaling.prefix_connections_per_second",
        Number,
        "a tenth of front.max_per_ip",
    ),
    open(
        "signaling.prefix_messages_per_second",
        Number,
        "40 times signaling.messages_per_second",
    ),
    given("signaling.allowed_origins", List, "[]"),
    given("signaling.legacy_listen", List, "[]"),
    given("signaling.auth", Text, "\"open\""),
    given("signaling.token_keys", List, "[]"),
    given("signaling.room_link", Text, "\"absolute\""),
    given("signaling.open_collider", Flag, "false"),
    given("turn.listen", List, "[\"[::]:3478\"]"),
    open("turn.realm", Text, "the first host, else \"callbox\""),
    given("turn.relay_ports", Text, "\"49152-65535\""),
    given("turn.credential_ttl", Text, "\"12h\""),
    secret(open(
        "turn.secret",
        Text,
        "made at the first start, kept in state_dir",
    )),
    open("turn.secret_file", Text, "none"),
    secret(given("turn.static_users", Tables(STATIC_USER), "[]")),
    given("turn.allow_peers", List, "[]"),
    given("turn.deny_peers", List, "[]"),
    given("turn.user_quota", Number, "12"),
    given("turn.total_quota", Number, "50000"),
    given("turn.max_bps_per_allocation", Number, "0"),
    given("turn.max_bps", Number, "0"),
    given("turn.discovery", Flag, "false"),
    given("turn.classic_stun", Flag, "false"),
    given("turn.tcp_relays", Flag, "false"),
    open("turn.workers", Number, "the number of cores"),
    given("ice.policy", Text, "\"all\""),
    secret(given("ice.extra_servers", Tables(EXTRA_SERVER), "[]")),
    given("ice.access", Text, "\"same-origin\""),
    secret(given("ice.api_keys", Tables(API_KEY), "[]")),
    open("web.dir", Text, "the built-in pages"),
    open(
        "web.csp",
        Text,
        "strict for the built-in pages, none for a directory",
    ),
    given("web.cors_origins", List, "[]"),
    given("web.spa", Flag, "false"),
    given("admin.listen", List, "[\"127.0.0.1:9090\"]"),
    open("admin.token_file", Text, "none, only this machine may ask"),
    given("log.level", Text, "\"info\""),
    given("log.format", Text, "\"text\""),
    given("log.privacy", Flag, "true"),
];
