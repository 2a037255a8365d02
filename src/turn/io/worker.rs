//! The loop of one worker: wait, read what is ready, let the core judge it, send.

use std::io;
use std::net::{IpAddr, UdpSocket};
use std::ops::Range;
use std::os::fd::AsFd;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use aws_lc_rs::rand;

use crate::net::clock;
use crate::net::sys::{self, BATCH, Interest, Ready, ReceiveScratch, Received};
use crate::net::udp::{Arena, DatagramSocket};
use crate::telemetry::repeats::Tally;
use crate::turn::core::timers::Wheel;
use crate::turn::core::{Action, Config, Link, Now, Origin, Pool, RelayId, Server, Transport};

use super::directory::Directory;
use super::mailbox::{Entry, Inbox, Mail, Mailbox, Packets};
use super::metrics::{Dropped, Shown};
use super::outbox::{Outbox, Way};
use super::sockets::Sockets;
use super::stream::{Buffers, Stream};
use connections::{Paused, Turned};
use streams::{push, stream_mut};

mod connections;
mod errors;
pub(super) mod hand_over;
mod mail;
mod notices;
mod streams;

/// Batches read from one listener before the others get their turn.
const BATCHES_PER_TURN: usize = 8;

/// Letters taken in one turn.
const MAIL_PER_TURN: usize = 256;

/// Room for the longest answer: one that is meant to come in fragments.
const ANSWER: usize = 2048;

/// How often the counters are shown to others.
const STATS_INTERVAL: Duration = Duration::from_millis(200);

/// What a descriptor of the poller stands for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Token {
    Listener(u32),
    Relay(u32),
    Stream(u32),
    PeerListener(u32),
    Peer(u32),
    Client(u32),
    Mail,
}

impl Token {
    pub(super) fn encode(self) -> u64 {
        match self {
            Self::Listener(at) => u64::from(at),
            Self::Relay(at) => 1 << 32 | u64::from(at),
            Self::Stream(at) => 2 << 32 | u64::from(at),
            Self::Mail => 3 << 32,
            Self::PeerListener(at) => 4 << 32 | u64::from(at),
            Self::Peer(at) => 5 << 32 | u64::from(at),
            Self::Client(at) => 6 << 32 | u64::from(at),
        }
    }

    fn decode(token: u64) -> Self {
        let at = token as u32;
        match token >> 32 {
            0 => Self::Listener(at),
            1 => Self::Relay(at),
            2 => Self::Stream(at),
            4 => Self::PeerListener(at),
            5 => Self::Peer(at),
            6 => Self::Client(at),
            _ => Self::Mail,
        }
    }
}

/// What a worker is made of.
pub(super) struct Parts {
    pub(super) id: u16,
    pub(super) config: Config,
    pub(super) relay_bind: [Option<IpAddr>; 2],
    pub(super) listeners: Vec<UdpSocket>,
    pub(super) inbox: Inbox,
    pub(super) mailboxes: Arc<[Mailbox]>,
    pub(super) directory: Arc<Directory>,
    pub(super) pool: Arc<Mutex<Pool>>,
    pub(super) stats: Arc<[Mutex<Shown>]>,
    pub(super) now: Instant,
}

/// One worker.
pub(super) struct Worker {
    core: Server,
    sockets: Sockets,
    streams: Vec<Option<Box<Stream>>>,
    free_streams: Vec<u32>,
    stream_timers: Wheel,
    due: Vec<u32>,
    dirty: Vec<u32>,
    buffers: Buffers,
    arena: Arena,
    receive: ReceiveScratch,
    received: Vec<(usize, Received)>,
    outbox: Outbox,
    handed: Vec<Packets>,
    /// What has become of the stream whose message is in hand.
    turned: Option<Turned>,
    paused: Paused,
    /// Where bytes of connections with peers are read to; empty until there is one.
    chunk: Vec<u8>,
    answer: Box<[u8; ANSWER]>,
    inbox: Inbox,
    mailboxes: Arc<[Mailbox]>,
    dropped: Dropped,
    /// What clients do again and again, for the log.
    repeats: Tally,
    stats: Arc<[Mutex<Shown>]>,
    shown: Instant,
    /// The listeners are another process's by now.
    leaving: bool,
}

impl Worker {
    pub(super) fn new(parts: Parts) -> io::Result<Self> {
        let listeners = parts
            .listeners
            .into_iter()
            .map(DatagramSocket::listener)
            .collect::<io::Result<Vec<_>>>()?;
        let sockets = Sockets::new(
            (parts.id, parts.mailboxes.len() as u16),
            listeners,
            parts.relay_bind,
            parts.directory,
            parts.pool,
        )?;
        let mail = Token::Mail.encode();
        sockets
            .poller
            .add(parts.inbox.bell(), mail, Interest::Read)?;
        let mut seed = [0; 8];
        rand::fill(&mut seed).map_err(|_| io::Error::other("the system gave no random bytes"))?;
        let handed = parts
            .mailboxes
            .iter()
            .map(|_| parts.inbox.empty())
            .collect();
        Ok(Self {
            core: Server::new(parts.config, u64::from_ne_bytes(seed), parts.now),
            sockets,
            streams: Vec::new(),
            free_streams: Vec::new(),
            stream_timers: Wheel::new(parts.now),
            due: Vec::new(),
            dirty: Vec::new(),
            buffers: Buffers::default(),
            arena: Arena::default(),
            receive: ReceiveScratch::default(),
            received: Vec::with_capacity(BATCH),
            outbox: Outbox::default(),
            handed,
            turned: None,
            paused: Paused::default(),
            chunk: Vec::new(),
            answer: Box::new([0; ANSWER]),
            inbox: parts.inbox,
            mailboxes: parts.mailboxes,
            dropped: Dropped::default(),
            repeats: Tally::default(),
            stats: parts.stats,
            shown: parts.now,
            leaving: false,
        })
    }

    /// Runs until told to stop.
    pub(super) fn run(mut self) {
        let mut ready: Vec<Ready> = Vec::new();
        let mut now = self.now();
        while !self.inbox.is_stopped() {
            if let Err(error) = self.sockets.poller.wait(self.timeout(now), &mut ready) {
                tracing::error!(%error, "a TURN worker cannot wait for its sockets and ends");
                break;
            }
            now = self.now();
            for event in &ready {
                match Token::decode(event.token) {
                    Token::Listener(at) => self.read_listener(now, at),
                    Token::Relay(at) => {
                        // Read first: an error that waits is also what the next receive would get.
                        if event.failed {
                            self.read_errors(now, RelayId(at));
                        }
                        self.read_relay(now, RelayId(at));
                    }
                    Token::Stream(at) => self.stream_ready(now, at, event),
                    Token::PeerListener(at) => self.accept_peers(now, at),
                    Token::Peer(at) => self.peer_ready(now, at, event),
                    Token::Client(at) => self.read_client(now, at),
                    Token::Mail => self.read_mail(now),
                }
            }
            self.flush(now);
            self.expire(now);
            self.show_stats(now);
            self.repeats.report(now.instant);
        }
        self.repeats.flush(now.instant);
        self.core.stop(&mut self.sockets);
        for stream in self.streams.iter_mut().flatten() {
            stream.close();
        }
        self.flush(now);
        self.shown = now.instant - STATS_INTERVAL;
        self.show_stats(now);
    }

    #[expect(clippy::unused_self, reason = "reads as what it is at its callers")]
    fn now(&self) -> Now {
        Now {
            instant: clock::now(),
            unix: clock::unix_time(),
        }
    }

    fn timeout(&self, now: Now) -> Option<Duration> {
        let paused = self.paused.until;
        let next = [
            self.core.poll_timeout(),
            self.stream_timers.next(),
            paused,
            self.repeats.deadline(),
        ]
        .into_iter()
        .flatten()
        .min()?;
        Some(next.saturating_duration_since(now.instant))
    }

    fn read_listener(&mut self, now: Now, at: u32) {
        for _ in 0..BATCHES_PER_TURN {
            let Some(listener) = self.sockets.listeners.get(at as usize) else {
                return;
            };
            let reports = listener.reports_destination();
            let got = self.receive_batch(now, |sockets| sockets.listeners.get(at as usize));
            let received = std::mem::take(&mut self.received);
            for (base, packet) in &received {
                let link = Link::Datagram {
                    socket: at as u16,
                    // On a socket bound to one address the destination is always that one.
                    local: match packet.local {
                        Some(local) if reports => local,
                        _ => IpAddr::V4(std::net::Ipv4Addr::UNSPECIFIED),
                    },
                    client: packet.source,
                };
                let origin = Origin {
                    link,
                    client: packet.source,
                    transport: Transport::Udp,
                };
                if packet.source.port() == 0 || packet.truncated {
                    continue;
                }
                // Asked again, the new process will answer.
                if self.leaving && !self.core.has_allocation(link) {
                    continue;
                }
                for range in segments(*base, packet) {
                    self.handle(now, &origin, range);
                }
            }
            self.received = received;
            if got < BATCH {
                return;
            }
        }
    }

    fn read_relay(&mut self, now: Now, relay: RelayId) {
        self.receive_batch(now, |sockets| {
            sockets.relay(relay).map(|relay| &relay.socket)
        });
        let received = std::mem::take(&mut self.received);
        for (base, packet) in &received {
            if packet.truncated {
                continue;
            }
            for range in segments(*base, packet) {
                let action = self
                    .core
                    .handle_peer(now, relay, packet.source, range.len());
                self.perform(action, None, range.start);
            }
        }
        self.received = received;
    }

    /// Receives one batch into the arena, sending first what still lies there if it is full.
    /// Returns how many came; `received` has them with their offsets.
    fn receive_batch(
        &mut self,
        now: Now,
        socket: impl Fn(&Sockets) -> Option<&DatagramSocket>,
    ) -> usize {
        self.received.clear();
        if self.arena.free() < BATCH {
            self.flush(now);
        }
        let Some(socket) = socket(&self.sockets) else {
            return 0;
        };
        let first = self.arena.next();
        let found = &mut self.received;
        let got = sys::receive(
            socket.as_fd(),
            &mut self.receive,
            self.arena.empty(),
            |at, packet| found.push((first + at * crate::net::udp::SLOT, packet)),
        )
        // Nothing there, or an error of an earlier send: there is nothing to be done about it.
        .unwrap_or(0);
        self.arena.keep(got);
        got
    }

    /// One message of a client, in the arena.
    fn handle(&mut self, now: Now, origin: &Origin, range: Range<usize>) {
        let packet = self.arena.bytes().get(range.clone()).unwrap_or_default();
        let action = self.core.handle_client(
            now,
            origin,
            packet,
            self.answer.as_mut_slice(),
            &mut self.sockets,
        );
        self.count_notice(now, origin.client.ip());
        self.perform(action, Some(origin), range.start);
    }

    /// Does what the core decided. `base` is where the packet begins in the arena.
    fn perform(&mut self, action: Action, origin: Option<&Origin>, base: usize) {
        match action {
            Action::Nothing => {}
            Action::Answer(len) => {
                if let Some(origin) = origin {
                    self.tell(origin.link, len);
                }
            }
            Action::Tell { link, len } => self.tell(link, len),
            Action::Bound { len, connection } => {
                if let Some(origin) = origin {
                    self.tell(origin.link, len);
                    self.turned = Some(Turned::Bound(connection));
                }
            }
            Action::HandOver { worker } => self.turned = Some(Turned::Away(worker)),
            Action::AnswerVia { len, socket, to } => {
                let answer = self.answer.get(..len).unwrap_or_default();
                if let Some(Link::Datagram {
                    socket: came_to,
                    local,
                    ..
                }) = origin.map(|origin| origin.link)
                {
                    // Another socket has an address of its own.
                    let from = socket.is_none().then(|| source(local)).flatten();
                    let socket = socket.unwrap_or(came_to);
                    self.outbox.push_answer(socket, to, from, answer);
                }
            }
            Action::ToPeer {
                relay,
                peer,
                payload,
                dont_fragment,
            } => {
                if let Some(socket) = self.sockets.relay(relay) {
                    let way = Way::Relay {
                        id: relay.0,
                        number: socket.number,
                        dont_fragment,
                    };
                    self.outbox.push_peer(way, peer, shift(payload, base));
                }
            }
            Action::ToClient {
                link,
                header,
                payload,
            } => {
                let payload = shift(payload, base);
                match link {
                    Link::Datagram {
                        socket,
                        local,
                        client,
                    } => self
                        .outbox
                        .push_client(socket, client, source(local), header, payload),
                    Link::Stream(at) => {
                        let bytes = self.arena.bytes().get(payload).unwrap_or_default();
                        let padding = &[0; 4][..header.padding().min(4)];
                        let parts = [header.as_bytes(), bytes, padding];
                        let queued = push(
                            &mut self.streams,
                            &mut self.dirty,
                            &mut self.buffers,
                            at,
                            parts,
                        );
                        self.dropped.slow_client += u64::from(!queued);
                    }
                }
            }
            Action::ToWorker {
                worker,
                relayed,
                source,
                payload,
            } => {
                if let Some(packets) = self.handed.get_mut(usize::from(worker)) {
                    let bytes = self
                        .arena
                        .bytes()
                        .get(shift(payload, base))
                        .unwrap_or_default();
                    packets.bytes.extend_from_slice(bytes);
                    packets.entries.push(Entry {
                        relayed,
                        source,
                        len: bytes.len(),
                    });
                }
            }
        }
    }

    /// Sends the beginning of the answer buffer to a client.
    fn tell(&mut self, link: Link, len: usize) {
        let answer = self.answer.get(..len).unwrap_or_default();
        match link {
            Link::Datagram {
                socket,
                local,
                client,
            } => self
                .outbox
                .push_answer(socket, client, source(local), answer),
            Link::Stream(at) => {
                let parts = [answer, &[], &[]];
                let queued = push(
                    &mut self.streams,
                    &mut self.dirty,
                    &mut self.buffers,
                    at,
                    parts,
                );
                self.dropped.slow_client += u64::from(!queued);
            }
        }
    }

    /// Sends everything that waits; afterwards the arena is empty.
    fn flush(&mut self, now: Now) {
        let flushed = self.outbox.flush(self.arena.bytes(), &self.sockets);
        self.dropped.not_sent += flushed.failed;
        self.arena.clear();
        for (packets, mailbox) in self.handed.iter_mut().zip(self.mailboxes.iter()) {
            if !packets.entries.is_empty() {
                let count = packets.entries.len() as u64;
                let filled = std::mem::replace(packets, self.inbox.empty());
                if !mailbox.send(Mail::Packets(filled)) {
                    self.dropped.busy_worker += count;
                }
            }
        }
        let mut dirty = std::mem::take(&mut self.dirty);
        for at in dirty.drain(..) {
            if let Some(stream) = stream_mut(&mut self.streams, at) {
                stream.dirty = false;
            }
            self.flush_stream(now, at);
        }
        self.dirty = dirty;
    }

    fn expire(&mut self, now: Now) {
        if self.core.poll_timeout().is_some_and(|at| at <= now.instant) {
            self.core.handle_timeout(now, &mut self.sockets);
            self.expire_connections(now);
        }

        self.resume(now);
        self.close_orphans();
        if self
            .stream_timers
            .next()
            .is_some_and(|at| at <= now.instant)
        {
            let mut due = std::mem::take(&mut self.due);
            self.stream_timers.expire(now.instant, &mut due);
            for at in due.drain(..) {
                let Some(stream) = stream_mut(&mut self.streams, at) else {
                    continue;
                };
                // The timer may be that of an earlier stream in the same place.
                let has_allocation =
                    stream.connection.is_some() || self.core.has_allocation(Link::Stream(at));
                if stream.is_overdue(has_allocation, now.instant) {
                    self.close_stream(at);
                } else {
                    self.stream_timers.insert(at, stream.deadline);
                }
            }
            self.due = due;
        }
    }

    fn show_stats(&mut self, now: Now) {
        if now.instant.saturating_duration_since(self.shown) < STATS_INTERVAL {
            return;
        }
        self.shown = now.instant;
        self.forget_clients();
        if let Some(shown) = self.stats.get(usize::from(self.sockets.worker)) {
            *shown.lock().unwrap_or_else(PoisonError::into_inner) = Shown {
                core: self.core.stats(),
                dropped: self.dropped,
            };
        }
    }
}

/// The datagrams that the kernel joined into one.
fn segments(base: usize, packet: &Received) -> impl Iterator<Item = Range<usize>> + use<> {
    let (len, size) = (packet.len, packet.segment.max(1));
    // An empty datagram is one, too.
    let count = len.div_ceil(size).max(1);
    (0..count).map(move |n| base + n * size..base + ((n + 1) * size).min(len))
}

fn shift(range: Range<usize>, base: usize) -> Range<usize> {
    base + range.start..base + range.end
}

/// The source address to answer from, where the socket does not have a fixed one.
fn source(local: IpAddr) -> Option<IpAddr> {
    (!local.is_unspecified()).then_some(local)
}
