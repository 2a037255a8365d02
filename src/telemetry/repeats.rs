//! Events that come by the thousand, told as one line: "401 (wrong credentials) from 203.0.113.0/24
//! x 812 in 10 s".
//!
//! A [`Tally`] counts by kind and network (IPv4 /24, IPv6 /48) in bounded memory, and is emptied
//! into the log at the end of each window. Those who may not wait for a lock have one of their own;
//! everybody else counts with [`note`] in the one that belongs to the process, as the log does.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use crate::net::clock;

use super::log::Client;

/// How long events are gathered.
pub const WINDOW: Duration = Duration::from_secs(10);

/// Networks and kinds that are told apart within a window: some 20 KiB. The others are counted together.
const ENTRIES: usize = 512;

/// Lines at the end of a window, the most frequent first. What is left is one line for each kind.
const LINES: usize = 16;

/// What happens again and again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Repeated {
    /// A TURN request without credentials: how each client begins.
    Challenged,
    /// A TURN request whose credentials are wrong or too old.
    WrongCredentials,
    /// A TURN request with an old nonce.
    StaleNonce,
    /// A network asks more than it is answered.
    Unanswered,
    /// Bytes that are no STUN or TURN.
    MalformedPacket,
    /// A peer that may not be reached.
    RefusedPeer,
    /// A user has enough allocations.
    UserQuota,
    /// No ports, no sockets, the limit of all allocations, or the end of the process.
    NoCapacity,
    /// A connection too many.
    Full,
    /// A connection too many of this address.
    AddressFull,
    /// A connection that did not say in time what it wants.
    SlowClient,
    /// A connection that speaks nothing of ours, or broke.
    Stranger,
    /// A balancer that does not say who is calling.
    Unintroduced,
    /// A page of another site.
    ForeignOrigin,
    /// A network that opens too many WebSockets.
    TooManySockets,
    /// A network that asks for too many ICE configurations.
    TooManyConfigurations,
    /// A join without a good token.
    NotAdmitted,
    /// A join that the room refused.
    RefusedJoin,
    /// A signaling message that is none.
    MalformedMessage,
    /// More signaling messages than allowed.
    TooFast,
    /// A client that does not read.
    TooSlow,
    /// A client that has fallen silent.
    Silent,
}

/// Whose matter it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Concern {
    /// The operator's, who has to do something.
    Operator,
    /// Worth knowing from this many on; below that it is everyday life.
    From(u64),
}

impl Repeated {
    /// How the log calls it.
    const fn text(self) -> &'static str {
        match self {
            Self::Challenged => "401 (no credentials)",
            Self::WrongCredentials => "401 (wrong credentials)",
            Self::StaleNonce => "438 (old nonce)",
            Self::Unanswered => "unauthenticated requests without answer",
            Self::MalformedPacket => "malformed TURN packets",
            Self::RefusedPeer => "403 (peer not allowed)",
            Self::UserQuota => "486 (turn.user_quota)",
            Self::NoCapacity => "508 (no relay port, socket or turn.total_quota left, or draining)",
            Self::Full => "connections dropped (front.max_connections)",
            Self::AddressFull => "connections dropped (front.max_per_ip)",
            Self::SlowClient => "connections that did not say in time what they want",
            Self::Stranger => "connections that broke or spoke nothing of ours",
            Self::Unintroduced => "connections without a PROXY header (front.proxy_protocol)",
            Self::ForeignOrigin => "requests of pages of other sites",
            Self::TooManySockets => "WebSockets refused (signaling.prefix_connections_per_second)",
            Self::TooManyConfigurations => "ICE configurations refused (too many)",
            Self::NotAdmitted => "joins without a good token or ticket",
            Self::RefusedJoin => "joins refused by their room",
            Self::MalformedMessage => "malformed signaling messages",
            Self::TooFast => "WebSockets cut for sending too much",
            Self::TooSlow => "WebSockets cut for not reading",
            Self::Silent => "WebSockets cut for silence",
        }
    }

    const fn concern(self) -> Concern {
        match self {
            Self::NoCapacity | Self::Full => Concern::Operator,
            Self::WrongCredentials
            | Self::Unanswered
            | Self::UserQuota
            | Self::AddressFull
            | Self::TooManySockets
            | Self::TooManyConfigurations
            | Self::TooFast => Concern::From(1),
            Self::MalformedPacket
            | Self::ForeignOrigin
            | Self::NotAdmitted
            | Self::MalformedMessage
            | Self::TooSlow => Concern::From(10),
            // Every call begins with some of these, and every page that is closed ends with one.
            Self::Challenged
            | Self::StaleNonce
            | Self::RefusedPeer
            | Self::SlowClient
            | Self::Stranger
            // The balancer's address is in a line of its own.
            | Self::Unintroduced
            | Self::RefusedJoin
            | Self::Silent => Concern::From(100),
        }
    }
}

/// Counts of one window.
#[derive(Debug, Default)]
pub struct Tally {
    counts: HashMap<(Repeated, IpAddr), u64>,
    /// Of networks for which there was no room.
    others: HashMap<Repeated, u64>,
    began: Option<Instant>,
}

/// One line to say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Line {
    /// What happened.
    pub what: Repeated,
    /// The first address of the network; `None`: several networks.
    pub network: Option<IpAddr>,
    /// How often.
    pub count: u64,
}

impl Tally {
    /// Counts one event.
    pub fn count(&mut self, what: Repeated, client: IpAddr, now: Instant) {
        self.began.get_or_insert(now);
        let key = (what, network(client));
        if self.counts.len() < ENTRIES || self.counts.contains_key(&key) {
            *self.counts.entry(key).or_default() += 1;
        } else {
            *self.others.entry(what).or_default() += 1;
        }
    }

    /// When the window ends, if one has begun.
    pub fn deadline(&self) -> Option<Instant> {
        Some(self.began? + WINDOW)
    }

    /// Tells the log, if the window has ended.
    pub fn report(&mut self, now: Instant) {
        if self.deadline().is_some_and(|end| end <= now) {
            self.flush(now);
        }
    }

    /// Tells the log what there is so far.
    pub fn flush(&mut self, now: Instant) {
        let Some(began) = self.began else { return };
        let lasted = now.saturating_duration_since(began).as_secs_f64().ceil();
        for line in self.take() {
            line.say(lasted as u64);
        }
    }

    /// What there is to say; the next window has not begun.
    fn take(&mut self) -> Vec<Line> {
        self.began = None;
        let mut lines: Vec<Line> = self
            .counts
            .drain()
            .map(|((what, network), count)| Line {
                what,
                network: Some(network),
                count,
            })
            .collect();
        lines.sort_by_key(|line| std::cmp::Reverse(line.count));
        for line in lines.split_off(lines.len().min(LINES)) {
            *self.others.entry(line.what).or_default() += line.count;
        }
        lines.extend(self.others.drain().map(|(what, count)| Line {
            what,
            network: None,
            count,
        }));
        lines
    }
}

impl Line {
    fn say(&self, seconds: u64) {
        let (what, count) = (self.what.text(), self.count);
        let client = match self.network {
            Some(network) => Client(network).prefix().to_string(),
            None => "other networks".to_owned(),
        };
        let line = format_args!("{what} from {client} x {count} in {seconds} s");
        let event = self.what;
        match self.what.concern() {
            Concern::Operator => {
                tracing::warn!(?event, client, count, seconds, "{line}");
            }
            Concern::From(many) if count >= many => {
                tracing::info!(?event, client, count, seconds, "{line}");
            }
            Concern::From(_) => tracing::debug!(?event, client, count, seconds, "{line}"),
        }
    }
}

/// The network of an address, by its first address.
fn network(client: IpAddr) -> IpAddr {
    match client.to_canonical() {
        IpAddr::V4(ip) => Ipv4Addr::from_bits(ip.to_bits() >> 8 << 8).into(),
        IpAddr::V6(ip) => Ipv6Addr::from_bits(ip.to_bits() >> 80 << 80).into(),
    }
}

/// The tally of the process.
static TALLY: Mutex<Option<Tally>> = Mutex::new(None);

/// Counts one event in the tally of the process.
pub fn note(what: Repeated, client: IpAddr) {
    let mut tally = lock();
    let tally = tally.get_or_insert_default();
    tally.count(what, client, clock::now());
}

/// Tells the log at the end of each window; to be run once, and dropped at the end.
pub async fn report() {
    /// Tells what is left when the task is dropped.
    struct Rest;
    impl Drop for Rest {
        fn drop(&mut self) {
            flush();
        }
    }
    let _rest = Rest;
    loop {
        tokio::time::sleep(WINDOW).await;
        flush();
    }
}

/// Tells the log now.
pub fn flush() {
    let tally = lock().take();
    // Said without the lock: a log that is slow to take a line holds up nobody who counts.
    if let Some(mut tally) = tally {
        tally.flush(clock::now());
    }
}

fn lock() -> MutexGuard<'static, Option<Tally>> {
    TALLY.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ip(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    #[test]
    fn a_flood_from_one_network_is_one_line() {
        let now = clock::now();
        let mut tally = Tally::default();
        assert_eq!(tally.deadline(), None);
        for last in 0..812_u32 {
            let client = ip(&format!("203.0.113.{}", last % 256));
            tally.count(Repeated::WrongCredentials, client, now);
        }
        tally.count(Repeated::Challenged, ip("2001:db8:1:2::3"), now);
        assert_eq!(tally.deadline(), Some(now + WINDOW));
        let lines = tally.take();
        let line = |what, network, count| Line {
            what,
            network: Some(ip(network)),
            count,
        };
        assert_eq!(
            lines,
            [
                line(Repeated::WrongCredentials, "203.0.113.0", 812),
                line(Repeated::Challenged, "2001:db8:1::", 1),
            ]
        );
        assert_eq!(tally.deadline(), None, "the next window has not begun");
        assert_eq!(tally.take(), []);
    }

    #[test]
    fn a_flood_from_forged_sources_takes_bounded_memory_and_few_lines() {
        let now = clock::now();
        let mut tally = Tally::default();
        for n in 0..100_000_u32 {
            let client = IpAddr::V4(Ipv4Addr::from_bits(n << 8));
            tally.count(Repeated::Unanswered, client, now);
            tally.count(Repeated::MalformedPacket, client, now);
        }
        assert_eq!(tally.counts.len(), ENTRIES);
        let lines = tally.take();
        assert_eq!(lines.len(), LINES + 2);
        assert_eq!(lines.iter().map(|line| line.count).sum::<u64>(), 200_000);
        assert_eq!(
            lines.iter().filter(|line| line.network.is_none()).count(),
            2
        );
    }

    #[test]
    fn what_was_busy_before_keeps_its_own_line_when_the_table_is_full() {
        let now = clock::now();
        let mut tally = Tally::default();
        tally.count(Repeated::Unanswered, ip("198.51.100.1"), now);
        for n in 0..10_000_u32 {
            tally.count(
                Repeated::Unanswered,
                Ipv4Addr::from_bits(n << 8).into(),
                now,
            );
            tally.count(Repeated::Unanswered, ip("198.51.100.7"), now);
        }
        let first = tally.take().first().copied();
        assert_eq!(first.unwrap().network, Some(ip("198.51.100.0")));
        assert_eq!(first.unwrap().count, 10_001);
    }
}
