//! `callbox try`: settings that need no file and no privilege, and what is printed once it runs.

use std::env;
use std::fmt::Write as _;
use std::io::IsTerminal as _;
use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::num::NonZeroUsize;
use std::os::unix::fs::DirBuilderExt as _;
use std::path::PathBuf;
use std::time::Duration;
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
    /// Port of the page, of signaling and of TURN over TLS; 0 takes any free ones
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
    let turn = match arguments.port {
        0 => turn_port(any_port().unwrap_or(TURN_PORT), 0),
        port => turn_port(TURN_PORT, port),
    };
    settings.tls = Tls::SelfSigned;
    // Whoever presses Ctrl-C means it.
    settings.drain_timeout = Duration::ZERO;
    settings.front.https = vec![wildcard(arguments.port)];
    settings.front.http = Vec::new();
    settings.turn.listen = vec![wildcard(turn)];
    // A call or two: more workers would only be more memory.
    settings.turn.workers = NonZeroUsize::MIN;
    Ok(settings)
}

/// The first port from `first` on that is free for TURN on both transports and not `taken`.
fn turn_port(first: u16, taken: u16) -> u16 {
    let free = |port: &u16| {
        // The sockets are closed again at once: somebody else may take the port in between, and
        // is then named by the error of the real attempt.
        let address = SocketAddr::from((Ipv6Addr::UNSPECIFIED, *port));
        *port != taken
            && listen::udp(address, NonZeroUsize::MIN, SETTING).is_ok()
            && listen::tcp(address, SETTING).is_ok()
    };
    (first..=first.saturating_add(TURN_PORTS))
        .find(free)
        .unwrap_or(first)
}

/// A port that the kernel has to spare.
fn any_port() -> Option<u16> {
    let address = SocketAddr::from((Ipv6Addr::UNSPECIFIED, 0));
    let sockets = listen::udp(address, NonZeroUsize::MIN, SETTING).ok()?;
    Some(sockets.first()?.local_addr().ok()?.port())
}

const SETTING: &str = "[turn] listen";

/// IANA's port for STUN and TURN.
const TURN_PORT: u16 = 3478;

/// Further ports that are tried before giving up.
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
    let paint = match io::stdout().is_terminal() {
        true => Paint::Colors,
        false => Paint::Blocks,
    };
    page(https, lan, paint)
}

fn page(https: u16, lan: Option<IpAddr>, paint: Paint) -> String {
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
            text.push_str(&qr(&lan, paint));
        }
        None => {
            let _ = writeln!(text, "  On this network:    no network address found");
        }
    }
    let _ = writeln!(
        text,
        "\n  The certificate is made by this program, so each browser warns once.\n  \
         Choose \"Advanced\", then \"Proceed\"; in Firefox \"Accept the Risk\"; in Safari\n  \
         \"Show Details\", then \"visit this website\".\n\n  \
         Open the page on two devices, or in two tabs, and join the same room.\n  \
         Ctrl-C ends.\n"
    );
    text
}

/// Where a browser goes; an IPv6 address stands in brackets.
pub(crate) fn url(host: &str, port: u16) -> String {
    match port {
        443 => format!("https://{host}/"),
        _ => format!("https://{host}:{port}/"),
    }
}

/// How the code gets its contrast.
#[derive(Clone, Copy, PartialEq)]
enum Paint {
    /// Black on white whatever the terminal's own colours are.
    Colors,
    /// Blocks only: readable where the background is dark.
    Blocks,
}

/// The code in half blocks, indented. Empty when the text does not fit a code.
fn qr(text: &str, paint: Paint) -> String {
    let Ok(code) = QrCode::new(text) else {
        return String::new();
    };
    // What is drawn are the light modules, with white ink.
    let image = code
        .render::<Dense1x2>()
        .dark_color(Dense1x2::Light)
        .light_color(Dense1x2::Dark)
        .build();
    let (on, off) = match paint {
        Paint::Colors => ("\x1b[97;40m", "\x1b[0m"),
        Paint::Blocks => ("", ""),
    };
    image.lines().fold(String::new(), |mut text, line| {
        let _ = writeln!(text, "  {on}{line}{off}");
        text
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const LAN: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(192, 168, 1, 7));

    #[test]
    fn the_banner_has_both_urls_and_what_to_do_about_the_warning() {
        let text = page(8443, Some(LAN), Paint::Blocks);
        for part in [
            "https://localhost:8443/",
            "https://192.168.1.7:8443/",
            "\"Advanced\"",
            "Ctrl-C ends",
        ] {
            assert!(text.contains(part), "{part}: {text}");
        }
        assert!(page(443, None, Paint::Blocks).contains("https://localhost/\n"));
    }

    #[test]
    fn the_banner_fits_a_terminal_of_80_columns() {
        let longest = "2001:db8:1234:5678:9abc:def0:1234:5678".parse().unwrap();
        for lan in [LAN, longest] {
            let text = page(65535, Some(lan), Paint::Blocks);
            let widest = text.lines().map(|line| line.chars().count()).max();
            assert!(widest <= Some(80), "{widest:?}: {text}");
        }
    }

    #[test]
    fn the_code_is_light_at_its_border_and_dark_in_its_corner() {
        let image = qr("https://192.168.1.7:8443/", Paint::Blocks);
        let lines: Vec<Vec<char>> = image.lines().map(|l| l.chars().skip(2).collect()).collect();
        // Four light modules around, two to a line; then the corner mark begins, dark on top.
        assert!(lines[0].iter().all(|c| *c == '\u{2588}'), "{image}");
        assert!(
            lines[..lines.len() - 1]
                .iter()
                .all(|line| line[..4].iter().all(|c| *c == '\u{2588}')),
            "{image}"
        );
        assert_eq!(
            lines[2][4..11].iter().collect::<String>(),
            " \u{2584}\u{2584}\u{2584}\u{2584}\u{2584} "
        );
    }

    #[test]
    fn a_try_needs_no_privilege_and_no_certificate_authority() {
        let settings = settings(&Arguments { port: 8443 }).unwrap();
        assert_eq!(settings.front.https, ["[::]:8443".parse().unwrap()]);
        assert!(settings.front.http.is_empty());
        assert!(
            settings
                .turn
                .listen
                .iter()
                .all(|listen| listen.port() >= 1024)
        );
        assert!(matches!(settings.tls, Tls::SelfSigned));
        assert!(settings.host.is_empty());
    }

    #[test]
    fn port_0_takes_no_fixed_port_at_all() {
        let settings = settings(&Arguments { port: 0 }).unwrap();
        let ports: Vec<u16> = settings.turn.listen.iter().map(SocketAddr::port).collect();
        assert!(
            !ports.contains(&0) && !ports.contains(&TURN_PORT),
            "{ports:?}"
        );
    }

    #[test]
    fn the_next_free_port_is_taken_for_turn() {
        let udp = std::net::UdpSocket::bind("0.0.0.0:0").unwrap();
        let held = udp.local_addr().unwrap().port();
        let next = turn_port(held, 1);
        assert!(next > held, "{next} after {held}");
        // The front door's own port is not free either, although nobody holds it yet.
        assert!(turn_port(held, next) > next);
    }
}
