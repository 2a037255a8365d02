//! The log: set up once, for people, for machines, or as the short lines of `callbox try`.
//!
//! Lines go to standard error, so that what a command prints stays clean. Client addresses go
//! through [`Client`], names through [`Personal`], which shorten and hide them unless the operator
//! said otherwise. What comes by the thousand goes through [`super::repeats`].

use std::fmt;
use std::io::{self, IsTerminal as _};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::atomic::{AtomicBool, Ordering};

use tracing::field::{Field, Visit};
use tracing::{Event, Level, Subscriber};
use tracing_subscriber::EnvFilter;
use tracing_subscriber::filter::LevelFilter;
use tracing_subscriber::fmt::format::Writer;
use tracing_subscriber::fmt::time::{FormatTime, Uptime};
use tracing_subscriber::fmt::{FmtContext, FormatEvent, FormatFields};
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::registry::LookupSpan;
use tracing_subscriber::util::SubscriberInitExt as _;
use tracing_subscriber::{Layer as _, Registry, reload};

use crate::config::settings::{Log, LogFormat};

/// Why there is no log.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// `log.level` is no filter.
    #[error("log.level: {0}")]
    Filter(#[from] tracing_subscriber::filter::ParseError),
    /// Something has set up a log before.
    #[error("the log is set up already: {0}")]
    Twice(#[from] tracing_subscriber::util::TryInitError),
    /// It cannot be changed.
    #[error("the log cannot be changed: {0}")]
    Fixed(#[from] reload::Error),
}

/// Who reads the lines.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Audience {
    /// An operator: timestamps, targets, `log.format`.
    Operator,
    /// Somebody in front of a terminal: one short line an event.
    Terminal,
}

/// Sends `tracing` events, and those of crates that use `log`, to standard error.
pub fn init(settings: &Log, audience: Audience) -> Result<Levels, Error> {
    let (filter, handle) = reload::Layer::new(filter(settings)?);
    set_private(settings.privacy);
    let color = io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none();
    let layer = tracing_subscriber::fmt::layer()
        .with_ansi(color)
        .with_writer(io::stderr)
        // Whoever reads the log may go away; telling standard error of that would panic.
        .log_internal_errors(false);
    let lines = match (audience, settings.format) {
        (Audience::Terminal, _) => layer.event_format(Short::default()).boxed(),
        (Audience::Operator, LogFormat::Text) => layer.boxed(),
        (Audience::Operator, LogFormat::Json) => layer.json().flatten_event(true).boxed(),
    };
    tracing_subscriber::registry()
        .with(filter)
        .with(lines)
        .try_init()?;
    Ok(Levels(handle))
}

fn filter(settings: &Log) -> Result<EnvFilter, Error> {
    let mut filter = EnvFilter::builder().parse(&settings.level)?;
    // A cap: it must not make them say more than was asked for.
    let fine = filter
        .max_level_hint()
        .is_none_or(|most| most > LevelFilter::INFO);
    if settings.privacy && fine {
        // What these have to say at finer levels is the bytes and headers of the clients.
        for library in ["tungstenite", "tokio_tungstenite", "h2", "hyper", "rustls"] {
            filter = filter.add_directive(format!("{library}=info").parse()?);
        }
    }
    Ok(filter)
}

/// Changes what is logged while the process runs.
#[derive(Clone, Debug)]
pub struct Levels(reload::Handle<EnvFilter, Registry>);

impl Levels {
    /// Logs what `settings` ask for from now on; their format is left alone.
    pub fn apply(&self, settings: &Log) -> Result<(), Error> {
        Ok(self.0.reload(filter(settings)?)?)
    }
}

/// Whether the log keeps to itself who people are. As global as the log.
static PRIVATE: AtomicBool = AtomicBool::new(true);

/// Whether addresses are shortened and names left out: `log.privacy`.
pub fn is_private() -> bool {
    PRIVATE.load(Ordering::Relaxed)
}

/// Changes what [`is_private`] says.
pub fn set_private(private: bool) {
    PRIVATE.store(private, Ordering::Relaxed);
}

/// A client's address as the log may show it.
#[derive(Clone, Copy, Debug)]
pub struct Client<A>(pub A);

impl Client<IpAddr> {
    /// The network of the address, whatever the operator said.
    pub fn prefix(self) -> impl fmt::Display {
        Shown(self.0, true)
    }
}

impl fmt::Display for Client<IpAddr> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        Shown(self.0, is_private()).fmt(f)
    }
}

impl fmt::Display for Client<SocketAddr> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        Shown(self.0, is_private()).fmt(f)
    }
}

/// What says who somebody is, or what they call themselves: a room, a member, a user.
#[derive(Clone, Copy, Debug)]
pub struct Personal<T>(pub T);

/// What somebody calls themselves, for a page or a line: nothing while that is private.
pub fn personal(name: String) -> Option<String> {
    (!is_private()).then_some(name)
}

impl<T: fmt::Debug> fmt::Display for Personal<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match is_private() {
            true => f.write_str("(private)"),
            false => self.0.fmt(f),
        }
    }
}

/// An address, shortened or not.
struct Shown<A>(A, bool);

impl fmt::Display for Shown<IpAddr> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.0.to_canonical(), self.1) {
            (ip, false) => ip.fmt(f),
            (IpAddr::V4(ip), true) => {
                let [a, b, c, _] = ip.octets();
                write!(f, "{}/24", Ipv4Addr::new(a, b, c, 0))
            }
            (IpAddr::V6(ip), true) => {
                let [a, b, c, ..] = ip.segments();
                write!(f, "{}/48", Ipv6Addr::new(a, b, c, 0, 0, 0, 0, 0))
            }
        }
    }
}

impl fmt::Display for Shown<SocketAddr> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.1 {
            // The port narrows an address down again.
            true => Shown(self.0.ip(), true).fmt(f),
            false => SocketAddr::new(self.0.ip().to_canonical(), self.0.port()).fmt(f),
        }
    }
}

/// `   12s  message key=value`: what a person follows while trying something out.
#[derive(Debug, Default)]
struct Short {
    since: Uptime,
}

impl<S, N> FormatEvent<S, N> for Short
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
{
    fn format_event(
        &self,
        _: &FmtContext<'_, S, N>,
        mut writer: Writer<'_>,
        event: &Event<'_>,
    ) -> fmt::Result {
        let mut time = String::new();
        self.since.format_time(&mut Writer::new(&mut time))?;
        let seconds = time.trim().split('.').next().unwrap_or_default();
        write!(writer, "{seconds:>5}s  ")?;
        let level = *event.metadata().level();
        match (level, writer.has_ansi_escapes()) {
            (Level::ERROR, true) => writer.write_str("\x1b[31merror:\x1b[0m ")?,
            (Level::WARN, true) => writer.write_str("\x1b[33mwarning:\x1b[0m ")?,
            (Level::ERROR, false) => writer.write_str("error: ")?,
            (Level::WARN, false) => writer.write_str("warning: ")?,
            _ => {}
        }
        let mut line = Line::default();
        event.record(&mut line);
        writeln!(writer, "{}{}", line.message, line.fields)
    }
}

/// An event's message first, whatever the order of its fields.
#[derive(Default)]
struct Line {
    message: String,
    fields: String,
}

impl Visit for Line {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        use fmt::Write as _;

        // Writing to a String cannot fail.
        let _ = match field.name() {
            "message" => write!(Clean(&mut self.message), "{value:?}"),
            // What the `log` crate's events carry about their origin.
            name if name.starts_with("log.") => Ok(()),
            name => {
                let _ = write!(self.fields, "  {name}=");
                write!(Clean(&mut self.fields), "{value:?}")
            }
        };
    }
}

/// Keeps control characters, which a client may have sent, off the terminal.
struct Clean<'a>(&'a mut String);

impl fmt::Write for Clean<'_> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        let clean = |c: char| if c.is_control() { '\u{fffd}' } else { c };
        self.0.extend(text.chars().map(clean));
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use tracing_subscriber::fmt::MakeWriter;

    use super::*;

    #[test]
    fn addresses_are_shortened_and_lose_their_port() {
        let client = |text: &str, privacy| {
            let address: SocketAddr = text.parse().unwrap();
            Shown(address, privacy).to_string()
        };
        assert_eq!(client("203.0.113.77:5000", true), "203.0.113.0/24");
        assert_eq!(client("203.0.113.77:5000", false), "203.0.113.77:5000");
        assert_eq!(client("[2001:db8:1:2::3]:5000", true), "2001:db8:1::/48");
        assert_eq!(
            client("[2001:db8:1:2::3]:5000", false),
            "[2001:db8:1:2::3]:5000"
        );
        assert_eq!(client("[::ffff:203.0.113.77]:5000", true), "203.0.113.0/24");
        assert_eq!(
            client("[::ffff:203.0.113.77]:5000", false),
            "203.0.113.77:5000"
        );
    }

    #[derive(Clone, Default)]
    struct Sink(Arc<Mutex<Vec<u8>>>);

    impl io::Write for Sink {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().write(bytes)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    impl<'a> MakeWriter<'a> for Sink {
        type Writer = Self;

        fn make_writer(&'a self) -> Self {
            self.clone()
        }
    }

    #[test]
    fn the_short_line_has_the_message_first_and_nothing_to_harm_a_terminal() {
        let sink = Sink::default();
        let subscriber = tracing_subscriber::fmt()
            .with_ansi(false)
            .with_writer(sink.clone())
            .event_format(Short::default())
            .finish();
        tracing::subscriber::with_default(subscriber, || {
            tracing::info!(room = %"blue", "joined");
            tracing::warn!(name = %"a\x1b[2Jb\nc", "odd");
        });
        let bytes = sink.0.lock().unwrap().clone();
        let text = String::from_utf8(bytes).unwrap();
        let lines: Vec<_> = text.lines().collect();
        assert_eq!(
            lines,
            [
                "    0s  joined  room=blue",
                "    0s  warning: odd  name=a\u{fffd}[2Jb\u{fffd}c"
            ]
        );
    }
}
