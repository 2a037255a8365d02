//! The task that owns the rooms, and the handles by which sessions reach it.
//!
//! One task for all rooms: its share of a message is a few look-ups and a push into the receiver's
//! outbox, while TLS, framing and JSON are done by the sessions on every core. It waits for nobody:
//! an outbox that is full ends its own connection. So the mailbox always moves, and a session that
//! waits for a place in it does not wait for a peer.

mod outbox;
pub mod oversight;

use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use arc_swap::ArcSwap;
use tokio::runtime::Handle;
use tokio::sync::mpsc::error::TrySendError;
use tokio::sync::{mpsc, oneshot};
use tracing::debug;

use super::apprtc::AppRtc;
use super::core::{
    Claim, ConnectionId, Counters, Delivery, Departure, Door, Event, Limits, MemberId, Payload,
    Recipient, Resume, RoomId, RoomName, Rooms, SeatId, Target, Terms, Ticket,
};
use super::frame::Text;
use super::guests::Guests;
use super::oversight::Room;
use super::reception::{self, Reception};
use super::stats::Stats;
use crate::config::settings;
use crate::limit::PrefixLimiter;
use crate::net::clock;
use crate::shutdown::Drain;
use crate::telemetry::log::Personal;
use crate::telemetry::repeats::{Repeated, note};

use outbox::Pool;

pub(super) use outbox::{Cut, Item, Outbox};

/// Reaches the rooms. Clones reach the same ones.
#[derive(Clone, Debug)]
pub struct Hub {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    mailbox: mpsc::Sender<Command>,
    next_connection: AtomicU64,
    settings: ArcSwap<settings::Signaling>,
    reception: ArcSwap<Reception>,
    apprtc: AppRtc,
    guests: Guests,
    stats: Arc<Stats>,
    pool: Arc<Pool>,
    /// Messages of each network, however many connections it has.
    networks: Mutex<PrefixLimiter>,
    drain: Drain,
}

impl Hub {
    /// Starts the task. It ends when the drain has begun and the last session is gone.
    pub fn start(settings: &settings::Signaling, reception: Reception, drain: &Drain) -> Self {
        let (mailbox, commands) = mpsc::channel(MAILBOX);
        let stats = Arc::new(Stats::default());
        let owner = Owner {
            rooms: Rooms::new(limits(settings), SeatId::new(reception::random())),
            connections: HashMap::new(),
            published: Counters::default(),
            stats: Arc::clone(&stats),
            phase: Phase::Open,
        };
        drain.spawn(owner.run(commands, drain.clone()));
        let apprtc = AppRtc::start(settings, reception.secret(), reception::random(), drain);
        let networks = Mutex::new(networks(settings));
        Self {
            shared: Arc::new(Shared {
                mailbox,
                next_connection: AtomicU64::new(0),
                settings: ArcSwap::from_pointee(settings.clone()),
                reception: ArcSwap::from_pointee(reception),
                apprtc,
                guests: Guests::start(settings, reception::random(), drain),
                stats,
                pool: Arc::new(Pool::new(ALL_OUTBOXES)),
                networks,
                drain: drain.clone(),
            }),
        }
    }

    /// The numbers so far.
    pub fn stats(&self) -> &Stats {
        &self.shared.stats
    }

    pub(super) fn settings(&self) -> Arc<settings::Signaling> {
        self.shared.settings.load_full()
    }

    /// Other settings, for connections and joins from now on. Who has a seat keeps it.
    pub async fn apply(&self, settings: &settings::Signaling, reception: Reception) {
        let shared = &self.shared;
        shared.settings.store(Arc::new(settings.clone()));
        shared.reception.store(Arc::new(reception));
        *shared
            .networks
            .lock()
            .unwrap_or_else(PoisonError::into_inner) = networks(settings);
        shared.apprtc.apply(settings);
        shared.guests.apply(settings);
        // A hub that has ended needs none.
        let _ = shared.mailbox.send(Command::Limit(limits(settings))).await;
    }

    /// Whether another message may come from this address's network.
    pub fn allows(&self, ip: IpAddr, now: Instant) -> bool {
        let shared = &self.shared;
        shared.settings.load().prefix_messages_per_second == 0
            || shared
                .networks
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .allow(ip, now)
    }

    /// Who may come in.
    pub fn reception(&self) -> Arc<Reception> {
        self.shared.reception.load_full()
    }

    /// The rooms of AppRTC.
    pub fn apprtc(&self) -> &AppRtc {
        &self.shared.apprtc
    }

    /// The worlds of the further dialects.
    pub(super) fn guests(&self) -> &Guests {
        &self.shared.guests
    }

    /// How many rooms have two people or more in them who are not on their way elsewhere, and what
    /// comes closest to it in dialects without rooms.
    pub async fn calls(&self) -> usize {
        let (reply, answer) = oneshot::channel();
        let calls = match self.shared.mailbox.send(Command::Count(reply)).await {
            Ok(()) => answer.await.unwrap_or(0),
            // A hub that has ended has no rooms.
            Err(_) => 0,
        };
        calls + self.shared.apprtc.calls() + self.shared.guests.calls()
    }

    /// Makes a connection of `client` known, so that it can be told things. `resumes`: it can take
    /// its seat again over another one.
    pub(super) async fn connect(
        &self,
        client: SocketAddr,
        resumes: bool,
    ) -> Result<Connection, Gone> {
        let number = self.shared.next_connection.fetch_add(1, Ordering::Relaxed);
        let settings = self.shared.settings.load();
        let limits = outbox::Limits {
            items: OUTBOX_ITEMS.saturating_add(settings.room_capacity.get().saturating_mul(2)),
            bytes: settings.max_message.saturating_mul(OUTBOX_MESSAGES),
            squeezed: settings.max_message.saturating_add(OUTBOX_SPARE),
        };
        let connection = Connection {
            id: ConnectionId::new(number),
            outbox: Arc::new(Outbox::new(limits, Arc::clone(&self.shared.pool))),
            hub: self.clone(),
            known: false,
        };
        connection.register(client, resumes).await
    }
}

/// A connection as the hub knows it. Dropping it gives up its seat.
#[derive(Debug)]
pub(super) struct Connection {
    id: ConnectionId,
    outbox: Arc<Outbox>,
    hub: Hub,
    /// Whether the hub holds anything for us that has to be undone.
    known: bool,
}

impl Connection {
    pub(super) fn id(&self) -> ConnectionId {
        self.id
    }

    /// What the connection is to be told.
    pub(super) fn outbox(&self) -> &Outbox {
        &self.outbox
    }

    /// The same for whoever else has something to tell it.
    pub(super) fn shared_outbox(&self) -> Arc<Outbox> {
        Arc::clone(&self.outbox)
    }

    pub(super) async fn join(
        &self,
        room: RoomName,
        member: MemberId,
        terms: Terms,
    ) -> Result<(), Gone> {
        self.send(Command::Join(self.id, room, member, terms)).await
    }

    /// Takes a seat again, in which `received` messages have arrived.
    pub(super) async fn resume(&self, ticket: Ticket, received: u64) -> Result<(), Gone> {
        let ticket = Box::new(ticket);
        self.send(Command::Resume(self.id, ticket, received)).await
    }

    pub(super) async fn leave(&self, claim: Claim) -> Result<(), Gone> {
        self.send(Command::Leave(self.id, claim)).await
    }

    pub(super) async fn relay(&self, claim: Claim, to: Recipient, text: Text) -> Result<(), Gone> {
        self.send(Command::Relay(self.id, claim, to, text)).await
    }

    pub(super) async fn door(&self, claim: Claim, door: Door) -> Result<(), Gone> {
        self.send(Command::Door(self.id, claim, door)).await
    }

    /// Says something to this connection itself, in its place between all else it is told.
    pub(super) async fn answer(&self, text: Text) -> Result<(), Gone> {
        self.send(Command::Answer(self.id, text)).await
    }

    /// The same without having been asked.
    pub(super) async fn notice(&self, text: Text) -> Result<(), Gone> {
        self.send(Command::Notice(self.id, text)).await
    }

    /// The client has received everything up to this number.
    pub(super) async fn acknowledge(&self, upto: u64) -> Result<(), Gone> {
        self.send(Command::Acknowledge(self.id, upto)).await
    }

    /// Gives up the seat, or leaves it to be taken again, after everything sent before has been
    /// dealt with.
    pub(super) async fn disconnect(mut self, departure: Departure) {
        // A hub that is gone holds no seats. Cancelled here, the drop below does it.
        let _ = self.send(Command::Disconnect(self.id, departure)).await;
        self.known = false;
    }

    async fn register(mut self, client: SocketAddr, resumes: bool) -> Result<Self, Gone> {
        let known = Known {
            outbox: Arc::clone(&self.outbox),
            client,
            resumes,
        };
        self.send(Command::Connect(self.id, known)).await?;
        self.known = true;
        Ok(self)
    }

    async fn send(&self, command: Command) -> Result<(), Gone> {
        self.hub
            .shared
            .mailbox
            .send(command)
            .await
            .map_err(|_| Gone)
    }
}

/// For a session that was cancelled or panicked: the seat must not outlive it.
impl Drop for Connection {
    fn drop(&mut self) {
        if !self.known {
            return;
        }
        let mailbox = &self.hub.shared.mailbox;
        let disconnect = Command::Disconnect(self.id, Departure::Lost);
        if let Err(TrySendError::Full(command)) = mailbox.try_send(disconnect)
            && Handle::try_current().is_ok()
        {
            let mailbox = mailbox.clone();
            self.hub.shared.drain.spawn(async move {
                let _ = mailbox.send(command).await;
            });
        }
    }
}

/// The hub has ended: the process is on its way out.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("signaling has ended")]
pub(super) struct Gone;

/// What sessions ask of the hub.
#[derive(Debug)]
enum Command {
    Connect(ConnectionId, Known),
    Join(ConnectionId, RoomName, MemberId, Terms),
    Resume(ConnectionId, Box<Ticket>, u64),
    Leave(ConnectionId, Claim),
    Relay(ConnectionId, Claim, Recipient, Text),
    Door(ConnectionId, Claim, Door),
    Answer(ConnectionId, Text),
    Notice(ConnectionId, Text),
    Acknowledge(ConnectionId, u64),
    Disconnect(ConnectionId, Departure),
    Count(oneshot::Sender<usize>),
    List(Option<RoomId>, usize, oneshot::Sender<Vec<Room>>),
    Evict(Target, oneshot::Sender<bool>),
    Limit(Limits),
}

/// A connection that can be told things.
#[derive(Debug)]
struct Known {
    outbox: Arc<Outbox>,
    client: SocketAddr,
    /// Its client can come back to its seat.
    resumes: bool,
}

/// How much of the end has come.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Phase {
    Open,
    /// Nobody comes in, and who can go elsewhere is sent there.
    Leaving,
    Ending,
}

/// What the task owns.
struct Owner {
    rooms: Rooms<Text>,
    connections: HashMap<ConnectionId, Known>,
    published: Counters,
    stats: Arc<Stats>,
    phase: Phase,
}

impl Owner {
    async fn run(mut self, mut commands: mpsc::Receiver<Command>, drain: Drain) {
        let mut batch = Vec::with_capacity(BATCH);
        while !(self.phase == Phase::Ending && self.connections.is_empty()) {
            let timeout = self.rooms.poll_timeout();
            tokio::select! {
                biased;
                () = drain.begun(), if self.phase != Phase::Ending => self.restart(),
                () = drain.announced(), if self.phase == Phase::Open => self.send_away(),
                () = until(timeout) => {
                    self.rooms.set_time(clock::now());
                    self.rooms.handle_timeout(clock::now());
                    self.deliver();
                    self.publish();
                }
                taken = commands.recv_many(&mut batch, BATCH) => {
                    if taken == 0 {
                        return;
                    }
                    self.rooms.set_time(clock::now());
                    for command in batch.drain(..) {
                        self.obey(command);
                        self.deliver();
                    }
                    self.publish();
                }
            }
        }
        self.rooms.set_time(clock::now());
        self.rooms.end_all();
        self.bury();
        // Whoever had just come in learns it too.
        commands.close();
        while let Some(command) = commands.recv().await {
            if let Command::Connect(_, known) = command {
                known.outbox.cut(Cut::Restart);
            }
        }
    }

    /// Sends everybody away. All at once, before the first of them can disconnect: a call survives
    /// the loss of its signaling, but a client that hears `peer-leave` ends it, and nobody has left.
    fn restart(&mut self) {
        self.phase = Phase::Ending;
        for known in self.connections.values() {
            known.outbox.cut(Cut::Restart);
        }
    }

    /// Sends away those who find their seats again wherever they come back. The others would lose
    /// theirs: they stay until their call is over or the end has come.
    fn send_away(&mut self) {
        self.phase = Phase::Leaving;
        for known in self.connections.values().filter(|known| known.resumes) {
            known.outbox.cut(Cut::Restart);
        }
    }

    fn obey(&mut self, command: Command) {
        match command {
            Command::Connect(id, known) => {
                if self.phase != Phase::Open {
                    known.outbox.cut(Cut::Restart);
                }
                self.connections.insert(id, known);
            }
            Command::Join(id, room, member, terms) => {
                self.rooms.handle_join(id, room, member, terms);
            }
            Command::Resume(id, ticket, received) => {
                self.rooms.handle_resume(id, *ticket, received);
            }
            Command::Leave(id, claim) => self.rooms.handle_leave(id, &claim),
            Command::Relay(id, claim, to, text) => {
                self.rooms.handle_relay(id, &claim, &to, &text);
            }
            Command::Door(id, claim, door) => self.rooms.handle_door(id, &claim, door),
            Command::Answer(id, text) => self.rooms.handle_answer(id, text),
            Command::Notice(id, text) => self.rooms.handle_notice(id, text),
            Command::Acknowledge(id, upto) => self.rooms.handle_acknowledge(id, upto),
            Command::Disconnect(id, departure) => {
                self.connections.remove(&id);
                self.rooms.handle_disconnect(id, departure, clock::now());
            }
            Command::Limit(limits) => self.rooms.limit(limits),
            Command::Count(reply) => {
                // Whoever asked may have given up.
                let _ = reply.send(self.rooms.calls());
            }
            Command::List(after, limit, reply) => {
                let _ = reply.send(self.list(after, limit));
            }
            Command::Evict(target, reply) => {
                let _ = reply.send(self.evict(target));
            }
        }
    }

    fn deliver(&mut self) {
        while let Some(Delivery { to, event, number }) = self.rooms.poll_delivery() {
            match &event {
                Event::Joined { ticket, .. } => {
                    debug!(connection = to.number(), room = %Personal(&ticket.room), "joined");
                }
                Event::Resumed { ticket, .. } => {
                    debug!(connection = to.number(), room = %Personal(&ticket.room), "resumed");
                }
                Event::Refused { why, .. } => {
                    debug!(connection = to.number(), %why, "refused");
                    if let Some(known) = self.connections.get(&to) {
                        note(Repeated::RefusedJoin, known.client.ip());
                    }
                }
                _ => {}
            }
            let Some(Known { outbox, .. }) = self.connections.get(&to) else {
                continue;
            };
            if event == Event::Superseded {
                outbox.cut(Cut::Superseded);
            } else {
                // If it runs over, that has woken its session, which will disconnect.
                let _ = outbox.push(Item::Event(event, number));
            }
        }
        self.bury();
    }

    fn publish(&mut self) {
        let stats = &self.stats;
        Stats::set(&stats.connections, self.connections.len() as u64);
        Stats::set(&stats.rooms, self.rooms.rooms() as u64);
        Stats::set(&stats.members, self.rooms.members() as u64);
        Stats::set(&stats.away, self.rooms.away() as u64);
        let counters = self.rooms.counters();
        if counters != self.published {
            self.published = counters;
            Stats::set(&stats.joined, counters.joined);
            for (shown, counted) in stats.refused.iter().zip(counters.refused) {
                Stats::set(shown, counted);
            }
            Stats::set(&stats.relayed, counters.relayed);
            Stats::set(&stats.undeliverable, counters.undeliverable);
            Stats::set(&stats.resumed, counters.resumed);
            Stats::set(&stats.resumed_with_loss, counters.resumed_with_loss);
        }
    }
}

impl Payload for Text {
    fn weight(&self) -> usize {
        self.len()
    }
}

fn networks(settings: &settings::Signaling) -> PrefixLimiter {
    let rate = settings.prefix_messages_per_second;
    PrefixLimiter::new(NETWORKS, rate.saturating_mul(NETWORK_BURST), rate)
}

fn limits(settings: &settings::Signaling) -> Limits {
    Limits {
        max_rooms: settings.max_rooms,
        room_capacity: settings.room_capacity,
        resume: Resume {
            window: settings.resume_window,
            items: KEPT_ITEMS,
            bytes: settings.max_message.saturating_mul(KEPT_MESSAGES),
            total: ALL_KEPT,
            squeezed: OUTBOX_SPARE,
        },
    }
}

/// Never, if there is nothing to wait for.
async fn until(time: Option<Instant>) {
    match time {
        Some(time) => tokio::time::sleep_until(time.into()).await,
        None => std::future::pending().await,
    }
}

/// Commands waiting for the hub; enough that sessions on all cores rarely wait for its next turn.
const MAILBOX: usize = 1024;

/// Commands obeyed before the numbers are published and other tasks of the thread get a turn.
const BATCH: usize = 128;

/// Networks whose messages are counted apart; those beyond share.
const NETWORKS: usize = 4096;

/// Seconds' worth of messages that a network may send at once: a class that comes in together.
const NETWORK_BURST: u32 = 4;

/// Messages waiting for one receiver, besides what a full room can cause by coming and going. A
/// peer may send 200 in one burst; the receiver's task may not have had a turn since.
const OUTBOX_ITEMS: usize = 512;

/// The same in bytes, as a multiple of the largest message.
const OUTBOX_MESSAGES: usize = 8;

/// Bytes in all outboxes from which on each may hold only one large message and some small ones.
/// Without it, pairs of clients of which one writes and the other does not read could take memory
/// at half a megabyte a pair.
const ALL_OUTBOXES: usize = 64 << 20;

/// Messages kept for a client that may have missed them: two bursts of a peer. All of them fit
/// into its outbox when it comes back.
const KEPT_ITEMS: usize = 256;

/// The same in bytes, as a multiple of the largest message.
const KEPT_MESSAGES: usize = 4;

/// Bytes kept for all clients together, from which on each has room for small messages only.
const ALL_KEPT: usize = 64 << 20;

/// The small ones: about what one call exchanges.
const OUTBOX_SPARE: usize = 16 << 10;
