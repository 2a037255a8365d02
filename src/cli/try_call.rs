//! `callbox try`: settings that need no file and no privilege, and what is printed once it runs.

use std::env;
use std::fmt::Write as _;
use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::num::NonZeroUsize;
use std::os::unix::fs::DirBuilderExt as _;
use std::path::PathBuf;
use std::{fs, io};

use clap::Args;
use qrcode::QrCode;
use qrcode::render::unicode::Dense1x2;

use crate::config::Settings;
use crate::config::settings::Tls;
use crate::net::{clock, listen};

/// Arguments of `callbox try`.
#[derive(Clone, Copy, Debug, Args)]
pub struct Arguments {
    /// Port of the page, of signaling and of TURN over TLS
    #[arg(long, default_value_t = 8443, value_name = "PORT")]
    port: u16,
}

/// Settings for one call on this machine and its network.
///
/// # Errors
///
/// There is no home directory and no temporary one can be made.
pub fn settings(arguments: &Arguments) -> io::Result<Settings> {
    let mut settings = Settings::builtin(state_dir()?);
    let wildcard = |port| SocketAddr::from((Ipv6Addr::UNSPECIFIED, port));
    settings.tls = Tls::SelfSigned;
    settings.front.https = vec![wildcard(arguments.port)];
    settings.front.http = Vec::new();
    settings.turn.listen = vec![wildcard(turn_port(arguments.port))];
    // A call or two: more workers would only be more memory.
    settings.turn.workers = NonZeroUsize::MIN;
    Ok(settings)
}

/// TURN's own port, or the next one that is free on both transports.
fn turn_port(taken: u16) -> u16 {
    let free = |port: &u16| {
        // The sockets are closed again at once: somebody else may take the port in between, and
        // is then named by the error of the real attempt.
        let address = SocketAddr::from((Ipv6Addr::UNSPECIFIED, *port));
        *port != taken
            && listen::udp(address, NonZeroUsize::MIN, SETTING).is_ok()
            && listen::tcp(address, SETTING).is_ok()
    };
    (TURN_PORT..TURN_PORT + TURN_PORTS)
        .find(free)
        .unwrap_or(TURN_PORT)
}

const SETTING: &str = "[turn] listen";

/// IANA's port for STUN and TURN.
const TURN_PORT: u16 = 3478;

/// Ports that are tried before giving up.
const TURN_PORTS: u16 = 64;

/// A directory of its own: trying something out must not touch the secrets of a real installation.
fn state_dir() -> io::Result<PathBuf> {
    let absolute = |name| {
        env::var_os(name)
            .map(PathBuf::from)
            .filter(|path| path.is_absolute())
    };
    let state = absolute("XDG_STATE_HOME")
        .or_else(|| Some(absolute("HOME")?.join(".local/state")))
        .map(|state| state.join("callbox-try"));
    state.map_or_else(temporary, Ok)
}

/// Without a home: a new directory nobody else can look into.
fn temporary() -> io::Result<PathBuf> {
    let name = format!("callbox-try-{}-{}", std::process::id(), clock::unix_time());
    let path = env::temp_dir().join(name);
    // Not `recursive`: a directory that somebody has put there beforehand is an error.
    fs::DirBuilder::new().mode(0o700).create(&path)?;
    Ok(path)
}

/// What is printed once everything listens.
///
/// `https` is the port of the front door, `lan` this machine's address on its network.
pub fn banner(https: u16, lan: Option<IpAddr>) -> String {
    let mut text = String::new();
    let local = url("localhost", https);
    let _ = writeln!(text, "\n  callbox is ready for a call.\n");
    let _ = writeln!(text, "  On this machine:    {local}");
    match lan {
        Some(ip) => {
            let host = match ip {
                IpAddr::V4(ip) => ip.to_string(),
                IpAddr::V6(ip) => format!("[{ip}]"),
            };
            let lan = url(&host, https);
            let _ = writeln!(text, "  On this network:    {lan}\n");
            text.push_str(&qr(&lan));
        }
        None => {
            let _ = writeln!(text, "  On this network:    no network address found");
        }
    }
    let _ = writeln!(
        text,
        "\n  The certificate is made by this program, so the browser warns once:\n  \
         choose \"Advanced\", then \"Proceed\" (Firefox: \"Accept the Risk\", Safari: \"visit this website\").\n  \
         Open the page on two devices, or in two tabs, and join the same room.\n  \
         Ctrl-C ends.\n"
    );
    text
}

fn url(host: &str, port: u16) -> String {
    match port {
        443 => format!("https://{host}/"),
        _ => format!("https://{host}:{port}/"),
    }
}

/// The code in half blocks, indented. Empty when the text does not fit a code.
fn qr(text: &str) -> String {
    let Ok(code) = QrCode::new(text) else {
        return String::new();
    };
    // Terminals are mostly dark: the light modules are the ones that are drawn.
    let image = code
        .render::<Dense1x2>()
        .dark_color(Dense1x2::Dark)
        .light_color(Dense1x2::Light)
        .build();
    image.lines().fold(String::new(), |mut text, line| {
        let _ = writeln!(text, "  {line}");
        text
    })
}
