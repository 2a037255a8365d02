//! Layers -> [`Settings`], key by key. Collects everything that is wrong before giving up.
//!
//! Each key appears here once with the reader for its value; what must hold between keys is in
//! `consistency`.

use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::thread;
use std::time::Duration;

use super::consistency;
use super::document::Document;
use super::file;
use super::load::{Layer, Layers};
use super::report::Problem;
use super::settings::{
    Admin, Auth, Front, Hsts, Ice, IceAccess, IcePolicy, Log, LogFormat, RoomLink, Settings,
    Signaling, Tls, Turn, Web,
};
use super::shape::{Parsed, Wrong, choice, flag, list, number, text, words};
use super::text;
use super::value::Value;

mod certificate;
mod credentials;
mod forms;
mod proxy;

use credentials::{admin_token, api_key, extra_server, static_user, turn_secret};
use forms::{
    balancers, drain_timeout, external_ip, legacy_listener, level, message_size, origin_or_all,
    positive_duration, realm, resume_window,
};
use proxy::proxies;

/// Settings, good only if there is no problem.
pub(super) struct Built {
    pub(super) settings: Settings,
    pub(super) problems: Vec<Problem>,
    pub(super) warnings: Vec<String>,
}

/// Builds every section.
pub(super) fn settings(layers: &Layers, state_dir: PathBuf) -> Built {
    let mut reader = Reader {
        layers,
        problems: Vec::new(),
        warnings: Vec::new(),
    };
    let front = front(&mut reader);
    let signaling = signaling(&mut reader, front.max_per_ip);
    let mut settings = Settings {
        host: reader.required("host", list(text(text::host))),
        external_ip: reader.required("external_ip", external_ip),
        state_dir: reader.path("state_dir").unwrap_or(state_dir),
        drain_timeout: reader.required("drain_timeout", text(drain_timeout)),
        hand_over_timeout: reader.required("hand_over_timeout", text(drain_timeout)),
        front,
        tls: Tls::SelfSigned,
        signaling,
        turn: turn(&mut reader),
        ice: ice(&mut reader),
        web: Web {
            dir: reader.path("web.dir"),
            csp: reader.optional("web.csp", text(text::header)),
            cors_origins: reader.required("web.cors_origins", list(text(origin_or_all))),
            spa: reader.required("web.spa", flag),
        },
        proxy: reader.required("proxy", proxies),
        admin: admin(&mut reader),
        log: Log {
            level: reader.required("log.level", text(level)),
            format: reader.required(
                "log.format",
                choice(&[("text", LogFormat::Text), ("json", LogFormat::Json)]),
            ),
            privacy: reader.required("log.privacy", flag),
        },
    };
    settings.tls = certificate::tls(&mut reader, &settings.host);
    let Reader {
        mut problems,
        mut warnings,
        ..
    } = reader;
    warnings.extend(consistency::warnings(&settings));
    for conflict in consistency::conflicts(&settings) {
        let layer = layers
            .get(conflict.key)
            .map_or(Layer::Default, |found| found.1);
        problems.push(Problem {
            origin: layers.origin(layer, conflict.key, ""),
            key: conflict.key.to_owned(),
            what: conflict.what,
            meant: None,
        });
    }
    Built {
        settings,
        problems,
        warnings,
    }
}

/// Reads keys and notes what is wrong with them.
struct Reader<'a> {
    layers: &'a Layers,
    problems: Vec<Problem>,
    warnings: Vec<String>,
}

impl Reader<'_> {
    /// A key that may be absent. `None` also when it is wrong, which is then noted.
    fn optional<T>(&mut self, path: &'static str, read: impl Fn(&Value) -> Parsed<T>) -> Option<T> {
        self.with_layer(path, read).map(|(value, _)| value)
    }

    fn with_layer<T>(
        &mut self,
        path: &'static str,
        read: impl Fn(&Value) -> Parsed<T>,
    ) -> Option<(T, Layer)> {
        let (value, layer) = self.layers.get(path)?;
        match read(&value) {
            Ok(value) => Some((value, layer)),
            Err(wrongs) => {
                self.note(path, layer, wrongs);
                None
            }
        }
    }

    /// A key that has a fixed default.
    fn required<T>(&mut self, path: &'static str, read: impl Fn(&Value) -> Parsed<T>) -> T {
        if let Some(value) = self.optional(path, &read) {
            return value;
        }
        // Wrong, and noted; the default keeps us going to the next key.
        default_value(path)
            .and_then(|value| read(&value).ok())
            .expect("the test of the defaults reads every key of the table")
    }

    fn duration(&mut self, path: &'static str) -> Duration {
        self.required(path, text(positive_duration))
    }

    /// A count of at least one.
    fn count(&mut self, path: &'static str, most: i128) -> NonZeroUsize {
        let count: usize = self.required(path, number(1..=most));
        NonZeroUsize::new(count).unwrap_or(NonZeroUsize::MIN)
    }

    /// A path, relative to the file it is written in.
    fn path(&mut self, path: &'static str) -> Option<PathBuf> {
        let (written, layer) = self.with_layer(path, text(words))?;
        Some(self.layers.resolve(layer, &written))
    }

    /// Paths, relative to the file they are written in.
    fn paths(&mut self, path: &'static str) -> Vec<PathBuf> {
        let Some((written, layer)) = self.with_layer(path, list(text(words))) else {
            return Vec::new();
        };
        written
            .iter()
            .map(|path| self.layers.resolve(layer, path))
            .collect()
    }

    fn note(&mut self, path: &str, layer: Layer, wrongs: Vec<Wrong>) {
        for wrong in wrongs {
            self.problems.push(Problem {
                origin: self.layers.origin(layer, path, &wrong.at),
                key: format!("{path}{}", wrong.at),
                what: wrong.what,
                meant: wrong.meant,
            });
        }
    }
}

fn default_value(path: &str) -> Option<Value> {
    let document = Document::parse(&format!("value = {}", file::key(path)?.default?));
    document.root.into_values().next()
}

fn front(reader: &mut Reader<'_>) -> Front {
    Front {
        https: reader.required("front.https", list(text(text::address))),
        http: reader.required("front.http", list(text(text::address))),
        redirect: reader.required("front.redirect", flag),
        hsts: reader.required(
            "front.hsts",
            choice(&[("auto", Hsts::Auto), ("on", Hsts::On), ("off", Hsts::Off)]),
        ),
        handshake_timeout: reader.duration("front.handshake_timeout"),
        header_timeout: reader.duration("front.header_timeout"),
        idle_timeout: reader.duration("front.idle_timeout"),
        max_connections: reader.count("front.max_connections", 1_000_000),
        max_per_ip: reader.count("front.max_per_ip", 1_000_000),
        proxy_protocol: reader.required("front.proxy_protocol", balancers),
        probes: reader.required("front.probes", flag),
    }
}

fn signaling(reader: &mut Reader<'_>, max_per_ip: NonZeroUsize) -> Signaling {
    let rate = number(0..=1_000_000);
    let messages_per_second: u32 = reader.required("signaling.messages_per_second", &rate);
    let open = reader.required(
        "signaling.auth",
        choice(&[("open", true), ("token", false)]),
    );
    let keys = reader.paths("signaling.token_keys");
    Signaling {
        auth: match open {
            true => Auth::Open,
            false => Auth::Token(keys),
        },
        // Whoever allows one address more allows its network more.
        prefix_connections_per_second: reader
            .optional("signaling.prefix_connections_per_second", &rate)
            .unwrap_or_else(|| {
                u32::try_from(max_per_ip.get())
                    .unwrap_or(u32::MAX)
                    .div_ceil(10)
            }),
        prefix_messages_per_second: reader
            .optional("signaling.prefix_messages_per_second", &rate)
            .unwrap_or_else(|| messages_per_second.saturating_mul(40)),
        path: reader.required("signaling.path", text(text::path)),
        ping_interval: reader.duration("signaling.ping_interval"),
        idle_timeout: reader.duration("signaling.idle_timeout"),
        resume_window: reader.required("signaling.resume_window", text(resume_window)),
        room_capacity: reader.count("signaling.room_capacity", 1_000),
        max_message: reader.required("signaling.max_message", text(message_size)),
        max_rooms: reader.required("signaling.max_rooms", number(1..=10_000_000)),
        messages_per_second,
        allowed_origins: reader.required("signaling.allowed_origins", list(text(text::origin))),
        legacy_listen: reader.required("signaling.legacy_listen", list(text(legacy_listener))),
        room_link: reader.required(
            "signaling.room_link",
            choice(&[
                ("absolute", RoomLink::Absolute),
                ("protocol-relative", RoomLink::ProtocolRelative),
                ("http", RoomLink::Http),
            ]),
        ),
        open_collider: reader.required("signaling.open_collider", flag),
    }
}

fn turn(reader: &mut Reader<'_>) -> Turn {
    let workers = number(1..=1_024);
    Turn {
        listen: reader.required("turn.listen", list(text(text::address))),
        realm: reader.optional("turn.realm", text(realm)),
        relay_ports: reader.required("turn.relay_ports", text(text::ports)),
        credential_ttl: reader.duration("turn.credential_ttl"),
        secret: turn_secret(reader),
        static_users: reader.required("turn.static_users", {
            let layers = reader.layers;
            move |value: &Value| list(|item: &Value| static_user(layers, item))(value)
        }),
        allow_peers: reader.required("turn.allow_peers", list(text(text::network))),
        deny_peers: reader.required("turn.deny_peers", list(text(text::network))),
        user_quota: reader.required("turn.user_quota", number(0..=i128::from(u32::MAX))),
        total_quota: reader.required("turn.total_quota", number(0..=i128::from(u32::MAX))),
        max_bps_per_allocation: reader
            .required("turn.max_bps_per_allocation", number(0..=MOST_BPS)),
        max_bps: reader.required("turn.max_bps", number(0..=MOST_BPS)),
        discovery: reader.required("turn.discovery", flag),
        classic_stun: reader.required("turn.classic_stun", flag),
        tcp_relays: reader.required("turn.tcp_relays", flag),
        workers: reader
            .optional("turn.workers", workers)
            .and_then(NonZeroUsize::new)
            .or_else(|| thread::available_parallelism().ok())
            .unwrap_or(NonZeroUsize::MIN),
    }
}

/// Ten terabits: what lies above is a slip.
const MOST_BPS: i128 = 10_000_000_000_000;

fn admin(reader: &mut Reader<'_>) -> Admin {
    let layer = reader.layers.get("admin.listen").map(|found| found.1);
    Admin {
        listen: reader.required("admin.listen", list(text(text::address))),
        chosen: layer.is_some_and(|layer| layer != Layer::Default),
        token: admin_token(reader),
    }
}

fn ice(reader: &mut Reader<'_>) -> Ice {
    let layers = reader.layers;
    Ice {
        policy: reader.required(
            "ice.policy",
            choice(&[("all", IcePolicy::All), ("relay", IcePolicy::Relay)]),
        ),
        extra_servers: reader.required("ice.extra_servers", move |value: &Value| {
            list(|item: &Value| extra_server(layers, item))(value)
        }),
        access: reader.required(
            "ice.access",
            choice(&[
                ("same-origin", IceAccess::SameOrigin),
                ("open", IceAccess::Open),
                ("key", IceAccess::Key),
            ]),
        ),
        api_keys: reader.required("ice.api_keys", move |value: &Value| {
            list(|item: &Value| api_key(layers, item))(value)
        }),
    }
}
