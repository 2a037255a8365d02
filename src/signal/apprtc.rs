//! AppRTC's room server and Collider in one: the rooms, their clock, and the sockets of their clients.
//!
//! HTTP requests and sessions act on the rooms directly, under one lock that is never held while
//! anything waits: each request is a few look-ups and a push into an outbox. What the requests mean
//! is [`core`]'s, what a client is told about this server [`params`]'; HTTP itself is
//! [`crate::http`]'s.

pub mod core;
mod key;
mod metrics;
pub mod params;
pub mod query;
mod registration;

use std::collections::HashMap;
use std::fmt;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::Notify;
use tracing::debug;

use self::core::{CLIENT_MAX, Delivery, Limits, Lost, Refusal, Rooms, Size, Told, is_id};
use self::key::{Keys, Shown};
pub(super) use self::registration::Registration;
use super::core::{ConnectionId, RoomId, Target};
use super::dialect::collider::{self, Complaint};
use super::oversight::{self, Room};
use super::record::{Account, Numbers, World};
use crate::config::Secret;
use crate::config::settings::{self, Auth};
use crate::net::clock;
use crate::shutdown::Drain;
use crate::telemetry::log::Personal;

/// Reaches the rooms. Clones reach the same ones.
#[derive(Clone, Debug)]
pub struct AppRtc {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    desk: Mutex<Desk>,
    /// The clock has to be looked at again.
    sooner: Notify,
    keys: Keys,
    /// Whether anybody may join.
    is_open: AtomicBool,
    sockets_so_far: AtomicU64,
    socket_errors: AtomicU64,
}

#[derive(Debug)]
struct Desk {
    rooms: Rooms,
    ears: HashMap<ConnectionId, (Ear, SocketAddr)>,
    /// When the clock will be looked at.
    alarm: Option<Instant>,
}

/// Where a socket's client is told things.
type Ear = Arc<dyn Listener>;

/// What a session is to its client's messages.
pub(super) trait Listener: fmt::Debug + Send + Sync {
    /// It hears this.
    fn hear(&self, text: String);
    /// Its client has another socket now.
    fn replaced(&self);
    /// It is to close once it has heard everything.
    fn done(&self);
    /// The operator has ended it.
    fn evicted(&self);
}

/// What somebody who has joined is given.
#[derive(Clone, Debug)]
pub struct Joined {
    /// Its id, which nobody else knows.
    pub client: String,
    /// Whether it makes the offer.
    pub is_initiator: bool,
    /// What the other one has said so far.
    pub messages: Vec<Arc<str>>,
}

impl AppRtc {
    /// No rooms yet, and numbers from a `random` one on. The clock runs until the drain begins.
    /// `secret` is for keys of the ICE configuration.
    pub fn start(
        settings: &settings::Signaling,
        secret: &Secret,
        random: u64,
        drain: &Drain,
    ) -> Self {
        let numbers = Numbers::new(World::AppRtc, random);
        let shared = Arc::new(Shared {
            desk: Mutex::new(Desk {
                rooms: Rooms::new(limits(settings), numbers),
                ears: HashMap::new(),
                alarm: None,
            }),
            sooner: Notify::new(),
            keys: Keys::new(secret),
            is_open: AtomicBool::new(settings.auth == Auth::Open),
            sockets_so_far: AtomicU64::new(0),
            socket_errors: AtomicU64::new(0),
        });
        drain.spawn(run(Arc::clone(&shared), drain.clone()));
        Self { shared }
    }

    /// Other settings, for whoever comes from now on. Who has a place keeps it.
    pub(super) fn apply(&self, settings: &settings::Signaling) {
        let is_open = settings.auth == Auth::Open;
        self.shared.is_open.store(is_open, Ordering::Relaxed);
        self.shared.with(|rooms| rooms.limit(limits(settings)));
    }

    /// Joins a room under a new id.
    pub fn join(&self, room: &str, loopback: bool) -> Result<Joined, Refusal> {
        let client = unguessable().ok_or(Refusal::Duplicate)?;
        let now = clock::now();
        let welcome = self
            .shared
            .with(|rooms| rooms.handle_join(room, &client, loopback, now))?;
        Ok(Joined {
            client,
            is_initiator: welcome.is_initiator,
            messages: welcome.messages,
        })
    }

    /// A client's message, by way of the room server.
    pub fn message(&self, room: &str, client: &str, body: &str) -> Result<(), Lost> {
        let now = clock::now();
        self.shared
            .with(|rooms| rooms.handle_message(room, client, body.into(), now))
    }

    /// A client's message, by way of Collider.
    pub fn post(&self, room: &str, client: &str, body: &str) -> Result<(), Lost> {
        let now = clock::now();
        self.shared
            .with(|rooms| rooms.handle_post(room, client, body.into(), now))
    }

    /// A client leaves.
    pub fn leave(&self, room: &str, client: &str) {
        let now = clock::now();
        self.shared
            .with(|rooms| rooms.handle_leave(room, client, now));
    }

    /// A client is done.
    pub fn delete(&self, room: &str, client: &str) {
        let now = clock::now();
        self.shared
            .with(|rooms| rooms.handle_delete(room, client, now));
    }

    /// How many clients are in a room.
    pub fn occupants(&self, room: &str) -> usize {
        self.shared.desk().rooms.occupants(room)
    }

    /// How many rooms have two clients.
    pub fn calls(&self) -> usize {
        self.shared.desk().rooms.calls()
    }

    /// The sockets of those who are in them.
    pub(super) fn callers(&self) -> Vec<ConnectionId> {
        self.shared.desk().rooms.callers().collect()
    }

    /// The first `limit` rooms after `after`.
    pub(super) fn rooms(&self, after: Option<RoomId>, limit: usize) -> Vec<Room> {
        let now = clock::now();
        let desk = self.shared.desk();
        let address = |socket| Some(desk.ears.get(&socket)?.1);
        let views = desk.rooms.views(after, limit, now).into_iter();
        views.map(|view| Room::seen(view, address)).collect()
    }

    /// Ends a room, or the part of one client in it. False: there is none of that name.
    pub(super) fn evict(&self, target: Target) -> bool {
        let now = clock::now();
        self.shared.with(|rooms| rooms.handle_eviction(target, now))
    }

    /// The key with which a client of this room asks for its ICE configuration.
    pub fn key_of(&self, room: &str, client: &str) -> String {
        key::of_client(room, client)
    }

    /// A key for somebody who has not joined yet, good for some minutes.
    pub fn passing_key(&self) -> String {
        let shown = self.shared.shown();
        self.shared.keys.passing(shown, clock::unix_time())
    }

    /// Whose key this is, if it is anybody's: what their credential shall be called.
    pub fn holder<'a>(&self, key: &'a str) -> Option<Vec<&'a str>> {
        match key::client(key) {
            Some((room, client)) => {
                let is_joined = self.shared.desk().rooms.is_joined(room, client);
                // The id is a secret, and credentials are named in logs.
                is_joined.then(|| vec![room])
            }
            None => {
                let (shown, now) = (self.shared.shown(), clock::unix_time());
                let is_good = self.shared.keys.is_passing(key, shown, now);
                is_good.then(Vec::new)
            }
        }
    }

    /// Sockets that belong to clients now.
    pub fn sockets(&self) -> usize {
        self.shared.desk().ears.len()
    }

    /// Sockets that belonged to clients so far.
    pub fn sockets_so_far(&self) -> u64 {
        self.shared.sockets_so_far.load(Ordering::Relaxed)
    }

    /// Errors that sockets were told.
    pub fn socket_errors(&self) -> u64 {
        self.shared.socket_errors.load(Ordering::Relaxed)
    }

    /// A socket was told of an error.
    pub(super) fn complained(&self) {
        self.shared.socket_errors.fetch_add(1, Ordering::Relaxed);
    }

    /// A socket, whose client has this address, says whose it is.
    pub(super) fn register(
        &self,
        socket: ConnectionId,
        (ear, address): (Ear, SocketAddr),
        room: &str,
        client: &str,
    ) -> Result<Registration, Complaint> {
        let now = clock::now();
        self.shared.act(|desk| {
            // What has waited for it is delivered with the answer.
            desk.ears.insert(socket, (ear, address));
            let done = desk.rooms.handle_register(socket, room, client, now);
            if done.is_err() {
                desk.ears.remove(&socket);
            }
            done
        })?;
        self.shared.sockets_so_far.fetch_add(1, Ordering::Relaxed);
        debug!(socket = socket.number(), room = %Personal(room), "registered");
        Ok(Registration::new(self.clone(), socket))
    }
}

impl Shared {
    fn with<T>(&self, ask: impl FnOnce(&mut Rooms) -> T) -> T {
        self.act(|desk| ask(&mut desk.rooms))
    }

    /// Does something, and what follows from it.
    fn act<T>(&self, act: impl FnOnce(&mut Desk) -> T) -> T {
        let mut desk = self.desk();
        let done = act(&mut desk);
        desk.deliver();
        let next = desk.rooms.poll_timeout();
        let is_sooner = match (next, desk.alarm) {
            (Some(next), Some(alarm)) => next < alarm,
            (next, None) => next.is_some(),
            (None, Some(_)) => false,
        };
        if is_sooner {
            desk.alarm = next;
            self.sooner.notify_one();
        }
        let ended: Vec<Account> = std::iter::from_fn(|| desk.rooms.poll_ended()).collect();
        // Whoever writes the log may have to wait.
        drop(desk);
        for account in &ended {
            oversight::say(&account.into());
        }
        done
    }

    /// What somebody has to show now to be given a key.
    fn shown(&self) -> Shown {
        match self.is_open.load(Ordering::Relaxed) {
            true => Shown::Nothing,
            false => Shown::Token,
        }
    }

    /// Nothing that is done under the lock can be left half done.
    fn desk(&self) -> MutexGuard<'_, Desk> {
        self.desk.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Desk {
    fn deliver(&mut self) {
        while let Some(Delivery { to, what }) = self.rooms.poll_delivery() {
            let Some((ear, _)) = self.ears.get(&to) else {
                continue;
            };
            match what {
                Told::Message(body) => {
                    if let Some(text) = collider::deliver(&body) {
                        ear.hear(text);
                    }
                }
                Told::Replaced => ear.replaced(),
                Told::Removed => ear.done(),
                Told::Evicted => ear.evicted(),
            }
        }
    }
}

fn limits(settings: &settings::Signaling) -> Limits {
    Limits {
        max_rooms: settings.max_rooms,
        stored: Size {
            messages: STORED_MESSAGES,
            bytes: STORED_BYTES,
        },
        waiting: Size {
            messages: WAITING_MESSAGES,
            bytes: settings.max_message.saturating_mul(WAITING_LARGE),
        },
        total: ALL_STORED,
        squeezed: STORED_SPARE,
        grace: GRACE,
        arrival: ARRIVAL,
        settling: SETTLING,
        // With tokens, whoever comes in must have shown one.
        open: settings.open_collider && settings.auth == Auth::Open,
    }
}

/// The clock of the rooms.
async fn run(shared: Arc<Shared>, drain: Drain) {
    loop {
        let alarm = shared.desk().alarm;
        tokio::select! {
            // Whoever loses its socket from now on has not left.
            () = drain.begun() => return shared.with(|rooms| rooms.end_all(clock::now())),
            () = shared.sooner.notified() => {}
            () = until(alarm) => {
                let now = clock::now();
                shared.act(|desk| {
                    desk.rooms.handle_timeout(now);
                    desk.alarm = desk.rooms.poll_timeout();
                });
            }
        }
    }
}

/// Never, if there is nothing to wait for.
async fn until(time: Option<Instant>) {
    match time {
        Some(time) => tokio::time::sleep_until(time.into()).await,
        None => std::future::pending().await,
    }
}

/// An id that nobody can guess: whoever has it can speak for the client.
fn unguessable() -> Option<String> {
    let mut bytes = [0; 16];
    aws_lc_rs::rand::fill(&mut bytes).ok()?;
    let id: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
    debug_assert!(is_id(&id, CLIENT_MAX));
    Some(id)
}

/// For how long a client that has lost its socket keeps its place.
const GRACE: Duration = Duration::from_secs(10);

/// How long joining may take: a phone asks for its ICE configuration, with patience, before it
/// opens its socket.
const ARRIVAL: Duration = Duration::from_secs(60);

/// How long it may take while somebody else waits for the place: somewhat longer than that phone's
/// patience.
const SETTLING: Duration = Duration::from_secs(20);

/// Messages kept of a client that is alone, for who comes next.
const STORED_MESSAGES: usize = 1024;

/// Their bytes.
const STORED_BYTES: usize = 1 << 20;

/// Messages that wait for a client without a socket: half of what its outbox takes.
const WAITING_MESSAGES: usize = 256;

/// Their bytes, as a multiple of the largest message.
const WAITING_LARGE: usize = 4;

/// Bytes that wait in all rooms, from which on each client has room for one call's only.
const ALL_STORED: usize = 64 << 20;

/// About what one call exchanges.
const STORED_SPARE: usize = 16 << 10;
