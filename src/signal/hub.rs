//! The rooms, and the handles by which sessions act on them.
//!
//! Sessions act directly, under one lock that is never held while anything waits: a message is a few
//! look-ups and a push into the receiver's outbox, while TLS, framing and JSON are done outside it,
//! on every core. An outbox that is full ends its own connection, so nobody waits for a peer. One
//! task looks at the clock and sees to the end of the process.

mod desk;
mod outbox;
pub mod oversight;

use std::net::{IpAddr, SocketAddr};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use arc_swap::ArcSwap;
use tokio::sync::Notify;

use super::apprtc::AppRtc;
use super::core::{
    Claim, ConnectionId, Departure, Door, Limits, MemberId, Payload, Recipient, Resume, RoomName,
    Terms, Ticket,
};
use super::frame::Text;
use super::guests::Guests;
use super::reception::{self, Reception};
use super::stats::Stats;
use crate::config::settings;
use crate::limit::PrefixLimiter;
use crate::net::clock;
use crate::shutdown::Drain;

use desk::{Desk, Known, Phase};
use outbox::Pool;

pub(super) use outbox::{Cut, Item, Outbox};

/// Reaches the rooms. Clones reach the same ones.
#[derive(Clone, Debug)]
pub struct Hub {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    desk: Mutex<Desk>,
    /// The clock has to be looked at again, or the last connection is gone.
    stirred: Notify,
    next_connection: AtomicU64,
    settings: ArcSwap<settings::Signaling>,
    reception: ArcSwap<Reception>,
    apprtc: AppRtc,
    guests: Guests,
    stats: Arc<Stats>,
    pool: Arc<Pool>,
    /// Messages of each network, however many connections it has.
    networks: Mutex<PrefixLimiter>,
}

impl Hub {
    /// No rooms yet. The task ends when the drain has begun and the last session is gone.
    pub fn start(settings: &settings::Signaling, reception: Reception, drain: &Drain) -> Self {
        let stats = Arc::new(Stats::default());
        let apprtc = AppRtc::start(settings, reception.secret(), reception::random(), drain);
        let shared = Arc::new(Shared {
            desk: Mutex::new(Desk::new(limits(settings), Arc::clone(&stats))),
            stirred: Notify::new(),
            next_connection: AtomicU64::new(0),
            settings: ArcSwap::from_pointee(settings.clone()),
            reception: ArcSwap::from_pointee(reception),
            apprtc,
            guests: Guests::start(settings, reception::random(), drain),
            stats,
            pool: Arc::new(Pool::new(ALL_OUTBOXES)),
            networks: Mutex::new(networks(settings)),
        });
        drain.spawn(run(Arc::clone(&shared), drain.clone()));
        Self { shared }
    }

    /// The numbers so far.
    pub fn stats(&self) -> &Stats {
        &self.shared.stats
    }

    pub(super) fn settings(&self) -> Arc<settings::Signaling> {
        self.shared.settings.load_full()
    }

    /// Other settings, for connections and joins from now on. Who has a seat keeps it.
    pub fn apply(&self, settings: &settings::Signaling, reception: Reception) {
        let shared = &self.shared;
        shared.settings.store(Arc::new(settings.clone()));
        shared.reception.store(Arc::new(reception));
        *shared
            .networks
            .lock()
            .unwrap_or_else(PoisonError::into_inner) = networks(settings);
        shared.apprtc.apply(settings);
        shared.guests.apply(settings);
        shared.act(|desk| desk.rooms.limit(limits(settings)));
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
    pub fn calls(&self) -> usize {
        let shared = &self.shared;
        let calls = shared.desk().rooms.calls();
        calls + shared.apprtc.calls() + shared.guests.calls()
    }

    /// Makes a connection of `client` known, so that it can be told things. `resumes`: it can take
    /// its seat again over another one.
    pub(super) fn connect(&self, client: SocketAddr, resumes: bool) -> Result<Connection, Gone> {
        let shared = &self.shared;
        let number = shared.next_connection.fetch_add(1, Ordering::Relaxed);
        let settings = shared.settings.load();
        let limits = outbox::Limits {
            items: OUTBOX_ITEMS.saturating_add(settings.room_capacity.get().saturating_mul(2)),
            bytes: settings.max_message.saturating_mul(OUTBOX_MESSAGES),
            squeezed: settings.max_message.saturating_add(OUTBOX_SPARE),
        };
        let id = ConnectionId::new(number);
        let outbox = Arc::new(Outbox::new(limits, Arc::clone(&shared.pool)));
        let known = Known {
            outbox: Arc::clone(&outbox),
            client,
            resumes,
        };
        shared.act(|desk| desk.connect(id, known))?;
        Ok(Connection {
            id,
            outbox,
            hub: self.clone(),
            departure: Departure::Lost,
        })
    }
}

/// A connection as the hub knows it. Dropping it gives up its seat.
#[derive(Debug)]
pub(super) struct Connection {
    id: ConnectionId,
    outbox: Arc<Outbox>,
    hub: Hub,
    /// How it ends if it ends now.
    departure: Departure,
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

    pub(super) fn join(&self, room: RoomName, member: MemberId, terms: Terms) {
        self.act(|desk| desk.rooms.handle_join(self.id, room, member, terms));
    }

    /// Takes a seat again, in which `received` messages have arrived.
    pub(super) fn resume(&self, ticket: Ticket, received: u64) {
        self.act(|desk| desk.rooms.handle_resume(self.id, ticket, received));
    }

    pub(super) fn leave(&self, claim: &Claim) {
        self.act(|desk| desk.rooms.handle_leave(self.id, claim));
    }

    pub(super) fn relay(&self, claim: &Claim, to: &Recipient, text: &Text) {
        self.act(|desk| desk.rooms.handle_relay(self.id, claim, to, text));
    }

    pub(super) fn door(&self, claim: &Claim, door: Door) {
        self.act(|desk| desk.rooms.handle_door(self.id, claim, door));
    }

    /// Says something to this connection itself, in its place between all else it is told.
    pub(super) fn answer(&self, text: Text) {
        self.act(|desk| desk.rooms.handle_answer(self.id, text));
    }

    /// The same without having been asked.
    pub(super) fn notice(&self, text: Text) {
        self.act(|desk| desk.rooms.handle_notice(self.id, text));
    }

    /// The client has received everything up to this number.
    pub(super) fn acknowledge(&self, upto: u64) {
        self.act(|desk| desk.rooms.handle_acknowledge(self.id, upto));
    }

    /// Gives up the seat, or leaves it to be taken again.
    pub(super) fn disconnect(mut self, departure: Departure) {
        self.departure = departure;
    }

    fn act<T>(&self, act: impl FnOnce(&mut Desk) -> T) -> T {
        self.hub.shared.act(act)
    }
}

/// For a session that was cancelled or panicked too: the seat must not outlive it.
impl Drop for Connection {
    fn drop(&mut self) {
        self.act(|desk| desk.disconnect(self.id, self.departure));
    }
}

impl Shared {
    /// Does something, and what follows from it.
    fn act<T>(&self, act: impl FnOnce(&mut Desk) -> T) -> T {
        let mut desk = self.desk();
        desk.rooms.set_time(clock::now());
        let done = act(&mut desk);
        desk.deliver();
        desk.publish();
        let is_stirred = desk.is_sooner() || desk.is_deserted();
        let ended = desk.ended();
        drop(desk);
        // Whoever reads the log may be slow.
        ended.iter().for_each(oversight::bury);
        if is_stirred {
            self.stirred.notify_one();
        }
        done
    }

    /// A panic under the lock, a mistake of ours, ends one session; the others go on.
    fn desk(&self) -> MutexGuard<'_, Desk> {
        self.desk.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The clock of the rooms, and their end.
async fn run(shared: Arc<Shared>, drain: Drain) {
    loop {
        let (alarm, phase) = {
            let desk = shared.desk();
            if desk.is_deserted() {
                break;
            }
            (desk.alarm, desk.phase)
        };
        tokio::select! {
            biased;
            () = drain.begun(), if phase != Phase::Ending => shared.act(Desk::restart),
            () = drain.announced(), if phase == Phase::Open => shared.act(Desk::send_away),
            () = shared.stirred.notified() => {}
            () = until(alarm) => shared.act(Desk::wake),
        }
    }
    shared.act(Desk::end);
}

/// The hub has ended: the process is on its way out.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("signaling has ended")]
pub(super) struct Gone;

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
