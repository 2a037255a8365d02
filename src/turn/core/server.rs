//! The server itself: which packet belongs to what, and when things end.

use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr};
use std::ops::Range;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::limit::{PrefixLimiter, SharedRate};
use crate::turn::channel;
use crate::turn::stun::address::Family;
use crate::turn::stun::{Class, Message, ParseError};

use super::allocation::Allocation;
use super::auth::{self, Credentials};
use super::connections::{ConnectionId, Connections};
use super::data::Indications;
use super::discovery::Discovery;
use super::host::{EndReason, Event, Host};
use super::notice::Notice;
use super::policy::Policy;
use super::pool::index;
use super::stats::Stats;
use super::timers::Wheel;

/// What a server is told once.
#[derive(Clone, Debug)]
pub struct Config {
    /// Users, realm and nonces.
    pub credentials: Arc<Credentials>,
    /// Who may be reached.
    pub policy: Arc<Policy>,
    /// Addresses handed out as relayed addresses, IPv4 and IPv6. A family without one is refused.
    pub advertised: [Option<IpAddr>; 2],
    /// Addresses under which our relays are also known: where the sockets are really bound behind
    /// a 1:1 NAT.
    pub bound: [Option<IpAddr>; 2],
    /// Bits a second of one allocation and direction; 0 = unlimited.
    pub max_bps_per_allocation: u64,
    /// What all allocations of all workers together may relay: to peers, and to clients.
    pub total_rate: Option<Arc<[SharedRate; 2]>>,
    /// Unauthenticated answers a second to one prefix, and up to twice as many while no other
    /// prefix shares its buckets; 0 = unlimited.
    pub unauthenticated_per_second: u32,
    /// How Binding requests that look for NATs are answered; `None`: like any other.
    pub discovery: Option<Arc<Discovery>>,
    /// Whether Binding requests without the magic cookie are answered (RFC 3489).
    pub classic_stun: bool,
    /// Whether allocations may relay TCP connections (RFC 6062).
    pub tcp_relays: bool,
}

/// The time, both ways.
#[derive(Clone, Copy, Debug)]
pub struct Now {
    /// For everything that expires here.
    pub instant: Instant,
    /// Seconds since 1970, for what was signed elsewhere.
    pub unix: u64,
}

/// How a client speaks to us.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Transport {
    /// Datagrams.
    Udp,
    /// A plain stream.
    Tcp,
    /// A stream inside TLS.
    Tls,
}

impl Transport {
    /// How logs and numbers call it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Udp => "udp",
            Self::Tcp => "tcp",
            Self::Tls => "tls",
        }
    }
}

/// Where answers to a client go; with the client's address, the 5-tuple of RFC 8656.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Link {
    /// From this listening socket, with this address of ours as the source.
    Datagram {
        /// The listening socket, numbered by the driver.
        socket: u16,
        /// The address of ours that the client sent to.
        local: IpAddr,
        /// The client.
        client: SocketAddr,
    },
    /// Into this stream, numbered by the driver; a number is not used again while it is known
    /// here.
    Stream(u32),
}

/// Where a packet came from.
#[derive(Clone, Copy, Debug)]
pub struct Origin {
    /// The way back.
    pub link: Link,
    /// The client's address and port.
    pub client: SocketAddr,
    /// The kind of way.
    pub transport: Transport,
}

impl Origin {
    /// What the client is told of itself: a socket for both families sees IPv4 as IPv6, which
    /// would mislead the client, and make the answer too big besides.
    pub(super) fn mapped(&self) -> SocketAddr {
        SocketAddr::new(self.client.ip().to_canonical(), self.client.port())
    }
}

/// Names a relay socket between core and driver: two to an allocation, one a family.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct RelayId(pub u32);

impl RelayId {
    /// The place of its allocation.
    pub fn slot(self) -> u32 {
        self.0 / 2
    }

    pub(super) fn family(self) -> Family {
        if self.0.is_multiple_of(2) {
            Family::V4
        } else {
            Family::V6
        }
    }

    pub(super) fn new(slot: u32, family: Family) -> Self {
        Self(slot * 2 + index(family) as u32)
    }
}

/// The header that goes before a relayed payload.
#[derive(Clone, Copy, Debug)]
pub struct Header {
    bytes: [u8; Self::MAX],
    len: u8,
    padding: u8,
}

impl Header {
    /// Bytes of the longest: a Data indication for an IPv6 peer.
    pub const MAX: usize = 48;

    pub(super) fn new(bytes: &[u8], padding: usize) -> Self {
        let mut header = Self {
            bytes: [0; Self::MAX],
            len: bytes.len().min(Self::MAX) as u8,
            padding: padding as u8,
        };
        header.bytes[..usize::from(header.len)].copy_from_slice(&bytes[..usize::from(header.len)]);
        header
    }

    /// What stands before the payload.
    pub fn as_bytes(&self) -> &[u8] {
        &self.bytes[..usize::from(self.len)]
    }

    /// Zero bytes to stand behind it: 0 to 3.
    pub fn padding(&self) -> usize {
        usize::from(self.padding)
    }
}

/// What to do with a packet. Ranges are of the packet that was handed in.
#[derive(Debug)]
pub enum Action {
    /// Nothing.
    Nothing,
    /// Send these many bytes of the answer buffer back to where the packet came from.
    Answer(usize),
    /// Send these many bytes of the answer buffer, over UDP, by another way (RFC 5780).
    AnswerVia {
        /// How many.
        len: usize,
        /// The listening socket, if it is not the one that the packet came to.
        socket: Option<u16>,
        /// The destination: the client's address with any port.
        to: SocketAddr,
    },
    /// Send these many bytes of the answer buffer to a client.
    Tell {
        /// The way to it.
        link: Link,
        /// How many.
        len: usize,
    },
    /// Send the payload from a relay socket.
    ToPeer {
        /// The socket.
        relay: RelayId,
        /// The destination.
        peer: SocketAddr,
        /// The payload.
        payload: Range<usize>,
        /// Whether routers must not cut it.
        dont_fragment: bool,
    },
    /// Send header, payload and padding to a client.
    ToClient {
        /// The way to it.
        link: Link,
        /// Before the payload.
        header: Header,
        /// The payload.
        payload: Range<usize>,
    },
    /// Send these many bytes of the answer buffer back; whatever comes over this stream from now on
    /// is for the connection, and what comes from there is for the stream.
    Bound {
        /// How many.
        len: usize,
        /// The connection with the peer.
        connection: ConnectionId,
    },
    /// Give this stream, with the message in hand, to another worker.
    HandOver {
        /// The worker.
        worker: u16,
    },
    /// Hand the payload to the worker that owns the allocation at `relayed`, which calls
    /// [`Server::handle_internal`].
    ToWorker {
        /// The worker.
        worker: u16,
        /// The relayed address that the payload is for.
        relayed: SocketAddr,
        /// The relayed address that it comes from.
        source: SocketAddr,
        /// The payload.
        payload: Range<usize>,
    },
}

/// What to do with a peer's connection.
#[derive(Debug)]
pub enum Incoming {
    /// Close it.
    Refused,
    /// Keep it until the client binds it.
    Accepted {
        /// Its name.
        connection: ConnectionId,
        /// What the client is told of it.
        action: Action,
    },
}

/// A TURN server of one worker.
#[derive(Debug)]
pub struct Server {
    pub(super) config: Config,
    pub(super) slots: Vec<Option<Box<Allocation>>>,
    free: Vec<u32>,
    pub(super) by_link: HashMap<Link, u32>,
    /// By port of the relayed address, IPv4 and IPv6.
    pub(super) by_port: [HashMap<u16, u32>; 2],
    timers: Wheel,
    due: Vec<u32>,
    pub(super) limiter: PrefixLimiter,
    pub(super) stats: Stats,
    pub(super) indications: Indications,
    /// `None`: no allocation relays streams.
    pub(super) connections: Option<Box<Connections>>,
    pub(super) draining: bool,
    pub(super) notice: Option<Notice>,
}

/// Buckets a table of the limiter for unauthenticated answers: 128 KiB in all.
const LIMITER_SLOTS: usize = 8192;

impl Server {
    /// A server without allocations. `seed` is where the ids of indications begin.
    pub fn new(config: Config, seed: u64, now: Instant) -> Self {
        let rate = config.unauthenticated_per_second;
        Self {
            connections: config.tcp_relays.then(|| Box::new(Connections::new(now))),
            limiter: PrefixLimiter::new(LIMITER_SLOTS, rate.saturating_mul(2), rate),
            config,
            slots: Vec::new(),
            free: Vec::new(),
            by_link: HashMap::new(),
            by_port: [HashMap::new(), HashMap::new()],
            timers: Wheel::new(now),
            due: Vec::new(),
            stats: Stats::default(),
            indications: Indications::new(seed),
            draining: false,
            notice: None,
        }
    }

    /// Handles one datagram, or one message cut out of a stream. An answer is written to `answer`,
    /// which should have room for 2,048 bytes.
    pub fn handle_client(
        &mut self,
        now: Now,
        origin: &Origin,
        packet: &[u8],
        answer: &mut [u8],
        host: &mut impl Host,
    ) -> Action {
        match packet.first().map(|first| first >> 6) {
            Some(1) => match channel::parse(packet) {
                Some((number, len)) => self.channel_data(now.instant, origin, number, len, host),
                None => self.malformed(),
            },
            Some(0) => match Message::parse(packet) {
                Ok(message) => self.stun(now, origin, &message, answer, host),
                Err(ParseError::NotStun) => self.classic(now, origin, packet, answer),
                Err(_) => self.malformed(),
            },
            _ => self.malformed(),
        }
    }

    /// Handles `len` bytes that a peer sent to a relay socket.
    pub fn handle_peer(
        &mut self,
        now: Now,
        relay: RelayId,
        source: SocketAddr,
        len: usize,
    ) -> Action {
        self.peer_datagram(now.instant, relay.slot(), relay.family(), source, len)
    }

    /// Handles a payload that another worker passed on: [`Action::ToWorker`].
    pub fn handle_internal(
        &mut self,
        now: Now,
        relayed: SocketAddr,
        source: SocketAddr,
        payload: Range<usize>,
    ) -> Action {
        self.deliver(now.instant, relayed, source, payload)
    }

    /// A client's stream has closed: its allocation ends with it.
    pub fn handle_closed(&mut self, link: Link, host: &mut impl Host) {
        if let Some(slot) = self.by_link.get(&link).copied() {
            self.end(slot, EndReason::Closed, host);
        }
    }

    /// Applies what may change while the server runs: credentials, policy, limits of bandwidth and
    /// RFC 3489. Allocations in being keep their bandwidth and their permissions.
    pub fn reconfigure(&mut self, config: Config) {
        self.config = Config {
            credentials: config.credentials,
            policy: config.policy,
            max_bps_per_allocation: config.max_bps_per_allocation,
            total_rate: config.total_rate,
            classic_stun: config.classic_stun,
            ..self.config.clone()
        };
    }

    /// No new allocations from now on; those in being go on.
    pub fn drain(&mut self) {
        self.draining = true;
    }

    /// Ends every allocation.
    pub fn stop(&mut self, host: &mut impl Host) {
        for slot in 0..self.slots.len() as u32 {
            self.end(slot, EndReason::Stopped, host);
        }
    }

    /// When [`Server::handle_timeout`] wants to be called.
    pub fn poll_timeout(&self) -> Option<Instant> {
        let connections = self.connections.as_ref();
        let connections = connections.and_then(|connections| connections.next_timeout());
        [self.timers.next(), connections]
            .into_iter()
            .flatten()
            .min()
    }

    /// Ends what has expired.
    pub fn handle_timeout(&mut self, now: Now, host: &mut impl Host) {
        let mut due = std::mem::take(&mut self.due);
        self.timers.expire(now.instant, &mut due);
        for slot in due.drain(..) {
            let Some(allocation) = self.allocation(slot) else {
                continue;
            };
            if allocation.expires <= now.instant {
                self.end(slot, EndReason::Expired, host);
            } else {
                let expires = allocation.expires;
                self.timers.insert(slot, expires);
            }
        }
        self.due = due;
    }

    /// The place of a client's allocation.
    pub fn slot_of(&self, link: Link) -> Option<u32> {
        self.by_link.get(&link).copied()
    }

    /// Whether a client has an allocation.
    pub fn has_allocation(&self, link: Link) -> bool {
        self.by_link.contains_key(&link)
    }

    /// The clients that have an allocation, and how they are reached.
    pub fn clients(&self) -> Vec<Origin> {
        let allocations = self.slots.iter().flatten();
        allocations.map(|allocation| allocation.origin).collect()
    }

    /// What has been counted.
    pub fn stats(&self) -> Stats {
        self.stats
    }

    /// Allocations in being.
    pub fn allocations(&self) -> usize {
        self.by_link.len()
    }

    fn stun(
        &mut self,
        now: Now,
        origin: &Origin,
        message: &Message<'_>,
        answer: &mut [u8],
        host: &mut impl Host,
    ) -> Action {
        match message.class() {
            Class::Request => self.request(now, origin, message, answer, host),
            Class::Indication => self.indication(now.instant, origin, message, host),
            // RFC 8489 section 6.3.3: we asked nothing, so these answer nothing.
            Class::Success | Class::Error => self.malformed(),
        }
    }

    pub(super) fn malformed(&mut self) -> Action {
        self.stats.malformed += 1;
        self.notice = Some(Notice::Malformed);
        Action::Nothing
    }

    pub(super) fn allocation(&self, slot: u32) -> Option<&Allocation> {
        self.slots.get(slot as usize)?.as_deref()
    }

    pub(super) fn allocation_mut(&mut self, slot: u32) -> Option<&mut Allocation> {
        self.slots.get_mut(slot as usize)?.as_deref_mut()
    }

    /// The allocation of a client, with its slot. One that has expired no longer counts, though
    /// its timer may come up only within the second.
    pub(super) fn of_link(&self, link: &Link, now: Instant) -> Option<(u32, &Allocation)> {
        let slot = *self.by_link.get(link)?;
        let allocation = self.allocation(slot)?;
        (allocation.expires > now).then_some((slot, allocation))
    }

    pub(super) fn is_free(&self, slot: u32) -> bool {
        self.free.contains(&slot)
    }

    /// A slot for a new allocation: taken once [`Server::insert`] is called.
    pub(super) fn vacant(&self) -> u32 {
        self.free.last().copied().unwrap_or(self.slots.len() as u32)
    }

    pub(super) fn insert(&mut self, slot: u32, allocation: Box<Allocation>) {
        if self.free.last() == Some(&slot) {
            self.free.pop();
        } else {
            self.slots.push(None);
        }
        // A slot that was freed may still have an entry in the wheel: then it comes up early and
        // is put back.
        self.timers.insert(slot, allocation.expires);
        self.by_link.insert(allocation.origin.link, slot);
        if allocation.streams.is_none() {
            for relay in allocation.relays.iter().flatten() {
                let family = index(Family::of(relay.advertised.ip()));
                self.by_port[family].insert(relay.advertised.port(), slot);
            }
        }
        self.slots[slot as usize] = Some(allocation);
        self.stats.allocations_made += 1;
    }

    /// Brings the timer forward to a lifetime that has been shortened.
    pub(super) fn reschedule(&mut self, slot: u32, expires: Instant) {
        self.timers.insert(slot, expires);
    }

    pub(super) fn end(&mut self, slot: u32, reason: EndReason, host: &mut impl Host) {
        let Some(allocation) = self.slots.get_mut(slot as usize).and_then(Option::take) else {
            return;
        };
        self.free.push(slot);
        self.by_link.remove(&allocation.origin.link);
        for id in allocation.streams.iter().flatten() {
            self.forget_connection(*id);
            host.disconnect(*id);
        }
        for relay in allocation.relays.iter().flatten() {
            self.close_relay(slot, *relay, host);
        }
        let account = auth::account(&allocation.username);
        host.pool(|pool| pool.quota.release(account));
        self.stats.allocations_ended.count(reason);
        if let Some(relayed) = allocation.advertised() {
            host.event(Event::Ended {
                slot,
                client: allocation.origin.client,
                transport: allocation.origin.transport,
                account,
                relayed,
                reason,
                to_peers: allocation.to_peers,
                to_client: allocation.to_client,
            });
        }
    }

    pub(super) fn close_relay(
        &mut self,
        slot: u32,
        relay: super::allocation::Relay,
        host: &mut impl Host,
    ) {
        let family = Family::of(relay.advertised.ip());
        let port = relay.advertised.port();
        if self.by_port[index(family)].get(&port) == Some(&slot) {
            self.by_port[index(family)].remove(&port);
        }
        host.close(relay.id);
        host.pool(|pool| pool.release(family, port));
    }
}

/// RFC 8656 section 7.2: never less than this.
pub(super) const DEFAULT_LIFETIME: Duration = Duration::from_secs(600);

/// RFC 8656 section 7.2 recommends an hour at most.
pub(super) const MAX_LIFETIME: Duration = Duration::from_secs(3600);
