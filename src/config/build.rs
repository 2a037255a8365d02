//! Layers -> [`Settings`], key by key. Collects everything that is wrong before giving up.
//!
//! Each key appears here once with the reader for its value; what must hold between keys is in
//! `consistency`.

use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::Duration;

use super::consistency;
use super::document::Document;
use super::file::{self, EXTRA_SERVER, KEYS, STATIC_USER};
use super::load::{Layer, Layers};
use super::report::{Effective, Problem};
use super::secret::Secret;
use super::settings::{
    ExternalIp, ExtraServer, Front, Ice, IceAccess, IcePolicy, Log, LogFormat, Settings, Signaling,
    StaticUser, Tls, Turn, Web,
};
use super::shape::{Fields, Parsed, Wrong, choice, flag, list, number, text, words, wrong};
use super::text::{self, TextError};
use super::value::Value;

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
    };
    let settings = Settings {
        host: reader.required("host", list(text(text::host))),
        external_ip: reader.required("external_ip", external_ip),
        state_dir: reader.path("state_dir").unwrap_or(state_dir),
        front: front(&mut reader),
        tls: tls(&mut reader),
        signaling: signaling(&mut reader),
        turn: turn(&mut reader),
        ice: ice(&mut reader),
        web: Web {
            dir: reader.path("web.dir"),
            csp: reader.optional("web.csp", text(text::header)),
        },
        log: Log {
            level: reader.required("log.level", text(level)),
            format: reader.required(
                "log.format",
                choice(&[("text", LogFormat::Text), ("json", LogFormat::Json)]),
            ),
            privacy: reader.required("log.privacy", flag),
        },
    };
    let mut problems = reader.problems;
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
        warnings: consistency::warnings(&settings),
        settings,
        problems,
    }
}

/// What is in force, for `callbox check`.
pub(super) fn effective(layers: &Layers, settings: &Settings) -> Vec<Effective> {
    KEYS.iter()
        .map(|key| {
            let (value, layer) = match layers.get(key.path) {
                Some((value, layer)) => (Some(value), layer),
                None => (computed(key.path, settings), Layer::Default),
            };
            let note = match (key.path, &value) {
                ("tls.mode", _) => match &settings.tls {
                    Tls::SelfSigned => "a self-signed certificate",
                    Tls::Files { .. } => "the certificate from cert and key",
                },
                (_, None) => key.absent,
                _ => "",
            };
            Effective {
                key: key.path,
                value: value.map(|value| match key.secret {
                    true => redacted(&value).to_toml(),
                    false => value.to_toml(),
                }),
                note: note.to_owned(),
                origin: layers.origin(layer, key.path, ""),
            }
        })
        .collect()
}

/// Values that no layer holds because the machine decides them.
fn computed(path: &str, settings: &Settings) -> Option<Value> {
    match path {
        "state_dir" => Some(Value::Text(settings.state_dir.display().to_string())),
        "turn.workers" => Some(Value::Number(settings.turn.workers.get() as i128)),
        _ => None,
    }
}

/// The value with everything that may be a credential replaced.
fn redacted(value: &Value) -> Value {
    match value {
        Value::List(items) => Value::List(items.iter().map(redacted).collect()),
        Value::Table(table) => Value::Table(
            table
                .iter()
                .map(|(name, value)| match name.as_str() {
                    "password" | "credential" => (name.clone(), redacted(value)),
                    _ => (name.clone(), value.clone()),
                })
                .collect(),
        ),
        _ => Value::Text("<redacted>".to_owned()),
    }
}

/// Reads keys and notes what is wrong with them.
struct Reader<'a> {
    layers: &'a Layers,
    problems: Vec<Problem>,
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
        handshake_timeout: reader.duration("front.handshake_timeout"),
        header_timeout: reader.duration("front.header_timeout"),
        idle_timeout: reader.duration("front.idle_timeout"),
        max_connections: reader.count("front.max_connections", 1_000_000),
        max_per_ip: reader.count("front.max_per_ip", 1_000_000),
    }
}

#[derive(Clone, Copy, PartialEq)]
enum TlsMode {
    Auto,
    Files,
    SelfSigned,
}

fn tls(reader: &mut Reader<'_>) -> Tls {
    let mode = reader.required("tls.mode", tls_mode);
    let (cert, key) = (reader.path("tls.cert"), reader.path("tls.key"));
    match (mode, cert, key) {
        (TlsMode::SelfSigned, _, _) | (TlsMode::Auto, None, None) => Tls::SelfSigned,
        (TlsMode::Auto | TlsMode::Files, Some(cert), Some(key)) => Tls::Files { cert, key },
        (_, cert, _) => {
            let (missing, present) = match cert {
                None => ("tls.cert", "tls.key"),
                Some(_) => ("tls.key", "tls.cert"),
            };
            // Absent, not wrong: what is wrong with a value has been said.
            if reader.layers.get(missing).is_none() {
                let asks = match mode {
                    TlsMode::Files => "tls.mode",
                    _ => present,
                };
                let layer = reader
                    .layers
                    .get(asks)
                    .map_or(Layer::Default, |found| found.1);
                let what = format!(
                    "{missing} is missing: a certificate needs its key and a key its certificate"
                );
                reader.note(asks, layer, vec![Wrong::new(what)]);
            }
            Tls::SelfSigned
        }
    }
}

fn tls_mode(value: &Value) -> Parsed<TlsMode> {
    if matches!(value, Value::Text(text) if text == "acme") {
        return wrong(
            "\"acme\" is not available in this version: use \"files\" with cert and key, or \"self-signed\"",
        );
    }
    choice(&[
        ("auto", TlsMode::Auto),
        ("files", TlsMode::Files),
        ("self-signed", TlsMode::SelfSigned),
    ])(value)
}

fn signaling(reader: &mut Reader<'_>) -> Signaling {
    Signaling {
        path: reader.required("signaling.path", text(text::path)),
        ping_interval: reader.duration("signaling.ping_interval"),
        idle_timeout: reader.duration("signaling.idle_timeout"),
        room_capacity: reader.count("signaling.room_capacity", 1_000),
        max_message: reader.required("signaling.max_message", text(message_size)),
        max_rooms: reader.required("signaling.max_rooms", number(1..=10_000_000)),
        messages_per_second: reader
            .required("signaling.messages_per_second", number(1..=1_000_000)),
        allowed_origins: reader.required("signaling.allowed_origins", list(text(text::origin))),
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
        workers: reader
            .optional("turn.workers", workers)
            .and_then(NonZeroUsize::new)
            .or_else(|| thread::available_parallelism().ok())
            .unwrap_or(NonZeroUsize::MIN),
    }
}

/// Ten terabits: what lies above is a slip.
const MOST_BPS: i128 = 10_000_000_000_000;

/// The shared secret; of `secret` and `secret_file` the one in the higher layer.
fn turn_secret(reader: &mut Reader<'_>) -> Option<Secret> {
    let direct = reader.with_layer("turn.secret", secret_text);
    let layers = reader.layers;
    let in_file = layers.get("turn.secret_file").map(|(_, layer)| layer);
    if let Some((secret, layer)) = direct {
        match in_file {
            Some(other) if other == layer => reader.note(
                "turn.secret_file",
                layer,
                vec![Wrong::new("turn.secret is given too: keep one of them")],
            ),
            Some(other) if other > layer => {}
            _ => return Some(secret),
        }
    }
    let layer = in_file?;
    reader.optional("turn.secret_file", move |value: &Value| {
        let path = text(words)(value)?;
        secret_from(&layers.resolve(layer, &path))
    })
}

fn static_user(layers: &Layers, value: &Value) -> Parsed<StaticUser> {
    let mut fields = Fields::of(value, STATIC_USER)?;
    let username = fields.get("username", text(username));
    let password = credential(
        layers,
        "turn.static_users",
        &mut fields,
        "password",
        "password_file",
    );
    if !fields.has("username") {
        fields.complain("username is missing");
    }
    if !fields.has("password") && !fields.has("password_file") {
        fields.complain("password is missing");
    }
    let user = username.zip(password);
    fields.finish(user.map(|(username, password)| StaticUser { username, password }))
}

fn extra_server(layers: &Layers, value: &Value) -> Parsed<ExtraServer> {
    let mut fields = Fields::of(value, EXTRA_SERVER)?;
    let urls = fields.get("urls", list(text(text::ice_url)));
    let username = fields.get("username", text(username)).unwrap_or_default();
    let credential = credential(
        layers,
        "ice.extra_servers",
        &mut fields,
        "credential",
        "credential_file",
    );
    if !fields.has("urls") || urls.as_ref().is_some_and(Vec::is_empty) {
        fields.complain("urls are missing");
    }
    fields.finish(urls.map(|urls| ExtraServer {
        urls,
        username,
        credential: credential.unwrap_or_default(),
    }))
}

/// A secret field or the file it is in.
fn credential(
    layers: &Layers,
    path: &str,
    fields: &mut Fields<'_>,
    direct: &str,
    in_file: &str,
) -> Option<Secret> {
    if fields.has(direct) && fields.has(in_file) {
        fields.complain(format!(
            "{direct} and {in_file} are both given: keep one of them"
        ));
        return None;
    }
    let layer = layers.get(path).map_or(Layer::Default, |found| found.1);
    fields.get(direct, secret_text).or_else(|| {
        fields.get(in_file, |value| {
            let path = text(words)(value)?;
            secret_from(&layers.resolve(layer, &path))
        })
    })
}

/// Text that no message repeats.
fn secret_text(value: &Value) -> Parsed<Secret> {
    match value {
        Value::Text(text) if !text.trim().is_empty() => Ok(Secret::new(text.as_bytes())),
        Value::Text(_) => wrong("the secret is empty"),
        other => wrong(format!("expected text in quotes, found {}", other.kind())),
    }
}

fn secret_from(path: &Path) -> Parsed<Secret> {
    match std::fs::read(path) {
        Err(cause) => wrong(format!("{}: cannot be read: {cause}", path.display())),
        Ok(bytes) => match bytes.trim_ascii_end() {
            [] => wrong(format!("{}: the file is empty", path.display())),
            secret => Ok(Secret::new(secret)),
        },
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
            ]),
        ),
    }
}

fn external_ip(value: &Value) -> Parsed<ExternalIp> {
    let written = list(text(advertised))(value)?;
    if let [None] = written.as_slice() {
        return Ok(ExternalIp::Auto);
    }
    let (mut v4, mut v6) = (None, None);
    for address in written {
        let before = match address {
            None => return wrong("\"auto\" stands alone"),
            Some(std::net::IpAddr::V4(address)) => v4.replace(address).is_some(),
            Some(std::net::IpAddr::V6(address)) => v6.replace(address).is_some(),
        };
        if before {
            return wrong("at most one IPv4 and one IPv6 address can be advertised");
        }
    }
    match (v4, v6) {
        (None, None) => wrong("expected \"auto\" or an address, found an empty list"),
        (v4, v6) => Ok(ExternalIp::Given { v4, v6 }),
    }
}

/// An address that can be advertised; `None` for "auto".
fn advertised(text: &str) -> Result<Option<std::net::IpAddr>, TextError> {
    if text == "auto" {
        return Ok(None);
    }
    let address: std::net::IpAddr = text
        .trim_matches(['[', ']'])
        .parse()
        .map_err(|_| TextError::Form("\"auto\" or an address such as \"203.0.113.7\""))?;
    let address = address.to_canonical();
    if address.is_unspecified() || address.is_multicast() {
        return Err(TextError::Value(format!("{address} is nobody's address")));
    }
    Ok(Some(address))
}

fn positive_duration(text: &str) -> Result<Duration, TextError> {
    match text::duration(text)? {
        Duration::ZERO => Err(TextError::Value("must be longer than nothing".to_owned())),
        duration => Ok(duration),
    }
}

/// A session description needs a few KiB; more than the upper bound is no message.
fn message_size(text: &str) -> Result<usize, TextError> {
    let size = text::size(text)?;
    match (4 << 10..=16 << 20).contains(&size) {
        true => Ok(size),
        false => Err(TextError::Value(format!(
            "{size} bytes are not between 4KiB and 16MiB"
        ))),
    }
}

/// RFC 8489 section 14.9: less than 128 characters, at most 763 bytes.
fn realm(text: &str) -> Result<String, TextError> {
    let short = text.chars().count() < 128 && text.len() <= 763;
    match short && !text.is_empty() && !text.contains(|c: char| c == '"' || c.is_control()) {
        true => Ok(text.to_owned()),
        false => Err(TextError::Form("1 to 127 characters without quotes")),
    }
}

/// RFC 8489 section 14.3: less than 509 bytes.
fn username(text: &str) -> Result<String, TextError> {
    match (1..509).contains(&text.len()) && !text.contains(char::is_control) {
        true => Ok(text.to_owned()),
        false => Err(TextError::Form("a name of 1 to 508 bytes")),
    }
}

/// A level, or a filter. A single word that is no level would be taken for a module's name.
fn level(text: &str) -> Result<String, TextError> {
    let form = TextError::Form(
        "\"error\", \"warn\", \"info\", \"debug\", \"trace\", \"off\" or a filter such as \"info,callbox::turn=debug\"",
    );
    let levels = ["error", "warn", "info", "debug", "trace", "off"];
    let word = !text.contains([',', '=', '[', ':']);
    if text.is_empty() || (word && !levels.contains(&text)) {
        return Err(form);
    }
    match tracing_subscriber::EnvFilter::builder().parse(text) {
        Ok(_) => Ok(text.to_owned()),
        Err(error) => Err(TextError::Value(format!("not a filter: {error}"))),
    }
}
