//! The table: modules, their layers, and the sideways imports that are allowed.

/// A module with everything below it that has no row of its own.
#[derive(Debug, PartialEq)]
pub(crate) struct Row {
    pub(crate) module: &'static str,
    pub(crate) layer: u8,
    /// Modules of the same layer that it may import.
    pub(crate) sideways: &'static [&'static str],
}

const fn module(layer: u8, module: &'static str, sideways: &'static [&'static str]) -> Row {
    Row {
        module,
        layer,
        sideways,
    }
}

/// What every module may import: plain data.
const EVERYWHERE: &[&str] = &["config::settings", "config::secret"];

const TABLE: &[Row] = &[
    // 0: pure. Bytes, times and random numbers are arguments.
    module(0, "turn::stun", &[]),
    module(0, "turn::channel", &["turn::stun"]),
    module(0, "turn::core", &["turn::stun", "turn::channel", "limit"]),
    module(0, "signal::core", &[]),
    module(0, "signal::access", &["signal::core"]),
    module(0, "signal::frame", &[]),
    module(0, "signal::outcome", &[]),
    module(0, "signal::record", &["signal::core"]),
    module(
        0,
        "signal::dialect",
        &["signal::access", "signal::core", "signal::outcome"],
    ),
    module(
        0,
        "signal::apprtc::core",
        &["signal::core", "signal::dialect", "signal::record"],
    ),
    module(0, "signal::apprtc::key", &["signal::apprtc::core"]),
    module(0, "signal::apprtc::params", &["signal::apprtc::query"]),
    module(0, "signal::apprtc::query", &[]),
    module(
        0,
        "signal::guests::core",
        &["signal::core", "signal::dialect", "signal::record"],
    ),
    module(0, "signal::stats", &["signal::core", "signal::outcome"]),
    module(0, "signal::ticket", &["signal::core"]),
    module(0, "ice", &["signal::apprtc::query"]),
    module(0, "limit", &[]),
    module(0, "front::sniff", &[]),
    module(0, "front::route", &["front::sniff"]),
    module(
        0,
        "http::router",
        &["signal::apprtc::core", "signal::apprtc::params"],
    ),
    module(0, "http::template", &["signal::apprtc::params"]),
    module(0, "http::activity", &["http::frames"]),
    module(0, "http::frames", &[]),
    module(0, "net::proxy", &[]),
    module(0, "net::reach", &[]),
    module(0, "config::settings", &[]),
    module(0, "config::secret", &[]),
    // The names under which `config` offers the two to everybody.
    module(0, "config::Settings", &[]),
    module(0, "config::Secret", &[]),
    // 1: the kernel and the outside world.
    module(1, "net", &["net::clock"]),
    module(1, "net::clock", &[]),
    module(1, "state", &["net::clock", "telemetry"]),
    module(
        1,
        "cert",
        &["state", "net", "net::clock", "shutdown", "telemetry"],
    ),
    module(1, "cluster", &["net", "net::clock", "shutdown"]),
    module(1, "assets", &["net::clock"]),
    module(1, "config", &[]),
    module(1, "telemetry", &["net::clock", "shutdown"]),
    module(1, "shutdown", &[]),
    // 2: drivers.
    module(2, "turn", &[]),
    // Fuzz targets and the simulated network they share with the tests of the core.
    module(2, "fuzzing", &[]),
    module(2, "turn::io", &[]),
    module(2, "signal", &[]),
    module(2, "signal::guests", &["signal::hub", "signal::oversight"]),
    module(
        2,
        "signal::hub",
        &[
            "signal::apprtc",
            "signal::guests",
            "signal::oversight",
            "signal::reception",
        ],
    ),
    module(2, "signal::keyring", &[]),
    module(2, "signal::reception", &["signal::keyring"]),
    module(
        2,
        "signal::session",
        &[
            "signal::apprtc",
            "signal::guests",
            "signal::hub",
            "signal::reception",
        ],
    ),
    module(2, "signal::metrics", &["signal::guests", "signal::hub"]),
    module(2, "signal::apprtc", &["signal::oversight"]),
    module(2, "signal::oversight", &[]),
    module(
        2,
        "http",
        &[
            "signal::hub",
            "signal::reception",
            "signal::session",
            "signal::apprtc",
            "doctor::probe",
            "doctor::outside",
        ],
    ),
    module(2, "front", &["http", "turn::io"]),
    module(2, "admin", &[]),
    module(2, "doctor", &["doctor::probe", "doctor::outside"]),
    // The other side of a probe, and where it is asked for.
    module(2, "doctor::probe", &["doctor"]),
    module(2, "doctor::outside", &["doctor", "doctor::probe"]),
    // 3: wiring.
    module(3, "app", &[]),
    module(3, "cli", &[]),
    module(3, "main", &[]),
    module(3, "lib", &[]),
];

/// What the pure layer has nothing to do with: whatever waits, or asks the kernel.
pub(crate) const IMPURE: &[&str] = &[
    "tokio",
    "tokio_rustls",
    "tokio_tungstenite",
    "hyper_util",
    "socket2",
    "libc",
    "std::fs",
    "std::env",
    "std::process",
    "std::thread",
    "std::time::SystemTime",
    "TcpStream",
    "TcpListener",
    "UdpSocket",
];

/// The row of a module or of something in it: the longest one that matches.
pub(crate) fn row(path: &str) -> Option<&'static Row> {
    TABLE
        .iter()
        .filter(|row| {
            path.strip_prefix(row.module)
                .is_some_and(|rest| rest.is_empty() || rest.starts_with("::"))
        })
        .max_by_key(|row| row.module.len())
}

/// Whether `from` may import `to`.
pub(crate) fn allowed(from: &str, to: &str) -> Result<(), String> {
    let (Some(from), Some(to)) = (row(from), row(to)) else {
        return match row(from) {
            // Reported once, for the module itself.
            None => Ok(()),
            Some(_) => Err(format!("{to} is in no layer")),
        };
    };
    let same = from.module == to.module;
    let wiring = from.layer == 3;
    let down = from.layer > to.layer;
    let named = from.sideways.contains(&to.module) || EVERYWHERE.contains(&to.module);
    if same || wiring || down || named {
        return Ok(());
    }
    // `config::Secret` is `config::secret` under the name that `config` gives it.
    if to.module == "config::Settings" || to.module == "config::Secret" {
        return Ok(());
    }
    Err(format!(
        "layer {} does not import {} of layer {}",
        from.layer, to.module, to.layer
    ))
}

#[test]
fn the_longest_row_decides() {
    let module = |path| row(path).map(|row| row.module);
    assert_eq!(module("turn::core::nonce"), Some("turn::core"));
    assert_eq!(module("turn::io::worker"), Some("turn::io"));
    assert_eq!(module("front::sniff::Kind"), Some("front::sniff"));
    assert_eq!(module("front::sniffer"), Some("front"));
    assert_eq!(module("nothing::known"), None);
}

#[test]
fn the_two_cores_never_meet() {
    assert!(allowed("turn::core::server", "signal::core::Room").is_err());
    assert!(allowed("signal::core::room", "turn::core::Allocation").is_err());
    assert!(allowed("turn::core", "turn::stun::Message").is_ok());
    assert!(allowed("turn::stun", "turn::core::Server").is_err());
    assert!(allowed("signal::dialect::course", "signal::core::Event").is_ok());
    assert!(allowed("signal::core", "signal::dialect::Frame").is_err());
}

#[test]
fn the_pure_layer_sees_neither_clock_nor_kernel() {
    assert!(allowed("turn::core", "net::clock::now").is_err());
    assert!(allowed("ice", "state::StateDir").is_err());
    assert!(allowed("ice", "config::Secret").is_ok());
    assert!(allowed("ice", "config::settings::Ice").is_ok());
    assert!(allowed("ice", "config::load").is_err());
}

#[test]
fn drivers_see_what_is_below_them_and_few_of_each_other() {
    assert!(allowed("http::serve", "assets::Assets").is_ok());
    assert!(allowed("http::upgrade", "signal::session::run").is_ok());
    assert!(allowed("signal::session", "http::serve").is_err());
    assert!(allowed("turn::io::worker", "front::conn").is_err());
    assert!(allowed("net::listen", "front::Listener").is_err());
    assert!(allowed("state", "cert::CertStore").is_err());
}

#[test]
fn wiring_sees_everything_and_nobody_sees_it() {
    assert!(allowed("app", "turn::core::Server").is_ok());
    assert!(allowed("cli::check", "app::Plan").is_ok());
    assert!(allowed("http", "app::Plan").is_err());
    assert!(allowed("http", "cli::check").is_err());
    assert!(allowed("http", "unknown::thing").is_err());
}
