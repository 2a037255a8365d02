//! The clients of the further dialects: PeerJS, y-webrtc and flutter-webrtc-demo.
//!
//! Sessions act on the worlds of [`core`] directly, under one lock that is never held while anything
//! waits: a request is a few look-ups and a push into outboxes. One task looks at the clock for what
//! waits with PeerJS. The words are [`super::dialect`]'s.

pub mod core;

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::Notify;

use self::core::Letter;
use self::core::lobby::{self, Lobbies};
use self::core::peerjs::{self, Realm};
use self::core::topics::{self, Topics};
use super::core::{ConnectionId, RoomId, Target};
use super::frame::Text;
use super::hub::{Cut, Item, Outbox};
use super::oversight::{self, Room};
use super::record::{Account, Numbers, World};
use crate::config::settings;
use crate::net::clock;
use crate::shutdown::Drain;

/// Reaches the worlds. Clones reach the same ones.
#[derive(Clone, Debug)]
pub(super) struct Guests {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    desk: Mutex<Desk>,
    /// The clock has to be looked at again.
    sooner: Notify,
}

/// The worlds, and where their clients are told things.
#[derive(Debug)]
pub(super) struct Desk {
    pub(super) realm: Realm,
    pub(super) topics: Topics,
    pub(super) lobbies: Lobbies,
    known: HashMap<ConnectionId, Known>,
    /// When the clock will be looked at.
    alarm: Option<Instant>,
}

/// A connection.
#[derive(Debug)]
struct Known {
    outbox: Arc<Outbox>,
    client: SocketAddr,
}

/// How many clients a world has, and how many rooms, or what comes closest to them.
#[derive(Clone, Copy, Debug)]
pub(super) struct Count {
    pub(super) world: World,
    pub(super) clients: usize,
    pub(super) rooms: usize,
}

impl Guests {
    /// Empty worlds, whose numbers begin at a `random` one. The clock runs until the drain begins.
    pub(super) fn start(settings: &settings::Signaling, random: u64, drain: &Drain) -> Self {
        let numbers = |world| Numbers::new(world, random);
        let shared = Arc::new(Shared {
            desk: Mutex::new(Desk {
                realm: Realm::new(realm(settings), numbers(World::PeerJs)),
                topics: Topics::new(topics(settings), numbers(World::Topics)),
                lobbies: Lobbies::new(lobbies(settings), numbers(World::Lobby)),
                known: HashMap::new(),
                alarm: None,
            }),
            sooner: Notify::new(),
        });
        drain.spawn(run(Arc::clone(&shared), drain.clone()));
        Self { shared }
    }

    /// Other settings, for whoever comes from now on.
    pub(super) fn apply(&self, settings: &settings::Signaling) {
        let mut desk = self.shared.desk();
        desk.realm.limit(realm(settings));
        desk.topics.limit(topics(settings));
        desk.lobbies.limit(lobbies(settings));
    }

    /// Makes a connection of `client` known. It is no more when what is returned is dropped.
    pub(super) fn welcome(
        &self,
        connection: ConnectionId,
        outbox: Arc<Outbox>,
        client: SocketAddr,
    ) -> Place {
        let known = Known { outbox, client };
        self.shared.desk().known.insert(connection, known);
        Place {
            guests: self.clone(),
            connection,
        }
    }
}

impl Guests {
    /// How many pairs of clients are in a call, and topics have two subscribers.
    pub(super) fn calls(&self) -> usize {
        let desk = self.shared.desk();
        desk.realm.calls().calls() + desk.topics.calls() + desk.lobbies.calls().calls()
    }

    /// Who is in a call. Not in a topic: its clients come back by themselves, and what they have
    /// opened between them needs no signaling meanwhile.
    pub(super) fn callers(&self) -> Vec<ConnectionId> {
        let desk = self.shared.desk();
        let lobbies = desk.lobbies.calls().callers();
        desk.realm.calls().callers().chain(lobbies).collect()
    }

    /// How many there are of everything.
    pub(super) fn counts(&self) -> [Count; 3] {
        let desk = self.shared.desk();
        let count = |world, clients, rooms| Count {
            world,
            clients,
            rooms,
        };
        let Desk {
            realm,
            topics,
            lobbies,
            ..
        } = &*desk;
        [
            count(World::PeerJs, realm.clients(), realm.calls().calls()),
            count(World::Topics, topics.clients(), topics.topics()),
            count(World::Lobby, lobbies.people(), lobbies.calls().calls()),
        ]
    }

    /// The first `limit` rooms after `after` of each world.
    pub(super) fn rooms(&self, after: Option<RoomId>, limit: usize) -> Vec<Room> {
        let now = clock::now();
        let mut desk = self.shared.desk();
        desk.set_time(now);
        let views = [
            desk.realm.calls().views(after, limit),
            desk.topics.views(after, limit),
            desk.lobbies.calls().views(after, limit),
        ];
        let address = |connection| Some(desk.known.get(&connection)?.client);
        let views = views.into_iter().flatten();
        views.map(|view| Room::seen(view, address)).collect()
    }

    /// Ends the connections of those who are meant. False: nobody is.
    pub(super) fn evict(&self, target: Target) -> bool {
        self.shared.act(|desk, out| {
            let meant = [
                desk.realm.calls().find(target),
                desk.topics.find(target),
                desk.lobbies.calls().find(target),
            ];
            let meant = meant.concat();
            for connection in &meant {
                if let Some(known) = desk.known.remove(connection) {
                    known.outbox.cut(Cut::Evicted);
                }
                desk.leave(*connection, out);
            }
            !meant.is_empty()
        })
    }
}

/// A connection that can be told things.
#[derive(Debug)]
pub(super) struct Place {
    guests: Guests,
    connection: ConnectionId,
}

impl Place {
    /// Does something in the worlds, and delivers what is to be told.
    pub(super) fn act<T>(
        &self,
        act: impl FnOnce(&mut Desk, ConnectionId, &mut Vec<Letter>) -> T,
    ) -> T {
        let shared = &self.guests.shared;
        shared.act(|desk, out| act(desk, self.connection, out))
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.act(|desk, connection, out| {
            desk.known.remove(&connection);
            desk.leave(connection, out);
        });
    }
}

impl Shared {
    fn act<T>(&self, act: impl FnOnce(&mut Desk, &mut Vec<Letter>) -> T) -> T {
        let now = clock::now();
        let mut desk = self.desk();
        desk.set_time(now);
        let mut out = Vec::new();
        let done = act(&mut desk, &mut out);
        for letter in out {
            desk.deliver(letter);
        }
        let due = desk.realm.poll_timeout();
        let is_sooner = due.is_some_and(|due| desk.alarm.is_none_or(|alarm| due < alarm));
        if is_sooner {
            desk.alarm = due;
            self.sooner.notify_one();
        }
        let ended = desk.ended();
        // Whoever writes the log may have to wait.
        drop(desk);
        for account in &ended {
            oversight::say(&account.into());
        }
        done
    }

    /// What is done under the lock is bounded look-ups and pushes.
    fn desk(&self) -> MutexGuard<'_, Desk> {
        self.desk.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Desk {
    fn set_time(&mut self, now: Instant) {
        self.realm.calls_mut().set_time(now);
        self.topics.set_time(now);
        self.lobbies.calls_mut().set_time(now);
    }

    fn leave(&mut self, connection: ConnectionId, out: &mut Vec<Letter>) {
        self.realm.handle_leave(connection);
        self.topics.handle_leave(connection);
        self.lobbies.handle_leave(connection, out);
    }

    /// What is over and has not been told of.
    fn ended(&mut self) -> Vec<Account> {
        let next = || {
            let calls = self.realm.calls_mut().poll_ended();
            let topics = || self.topics.poll_ended();
            let calls = calls.or_else(topics);
            calls.or_else(|| self.lobbies.calls_mut().poll_ended())
        };
        std::iter::from_fn(next).collect()
    }

    fn end_all(&mut self) {
        self.realm.calls_mut().end_all();
        self.topics.end_all();
        self.lobbies.calls_mut().end_all();
    }

    fn deliver(&self, letter: Letter) {
        match letter {
            Letter::Text(to, text) => {
                // Those who hear it share its bytes.
                let text = Text::from(text);
                for connection in to {
                    if let Some(known) = self.known.get(&connection) {
                        // If it runs over, that has woken its session, which will disconnect.
                        let _ = known.outbox.push(Item::Text(text.clone()));
                    }
                }
            }
            Letter::Replaced(connection) => {
                if let Some(known) = self.known.get(&connection) {
                    known.outbox.cut(Cut::Superseded);
                }
            }
        }
    }
}

async fn run(shared: Arc<Shared>, drain: Drain) {
    loop {
        let alarm = shared.desk().alarm;
        tokio::select! {
            () = drain.begun() => return shared.act(|desk, _| desk.end_all()),
            () = shared.sooner.notified() => {}
            () = until(alarm) => {
                let now = clock::now();
                shared.act(|desk, out| {
                    desk.realm.handle_timeout(now, out);
                    desk.alarm = desk.realm.poll_timeout();
                });
            }
        }
    }
}

fn realm(settings: &settings::Signaling) -> peerjs::Limits {
    peerjs::Limits {
        clients: settings.max_rooms,
        items: WAITING_ITEMS,
        bytes: settings.max_message.saturating_mul(WAITING_MESSAGES),
        total: ALL_WAITING.max(settings.max_message),
        patience: PATIENCE,
    }
}

fn topics(settings: &settings::Signaling) -> topics::Limits {
    topics::Limits {
        topics: settings.max_rooms,
        subscribers: SUBSCRIBERS,
        of_one: TOPICS_OF_ONE,
    }
}

fn lobbies(settings: &settings::Signaling) -> lobby::Limits {
    lobby::Limits {
        lobbies: settings.max_rooms,
        people: PEOPLE,
    }
}

/// Never, if there is nothing to wait for.
async fn until(time: Option<Instant>) {
    match time {
        Some(time) => tokio::time::sleep_until(time.into()).await,
        None => std::future::pending().await,
    }
}

/// For how long PeerJS's messages wait for somebody who is not there: as with its own server.
const PATIENCE: Duration = Duration::from_secs(5);

/// Messages that wait for one PeerJS client: some offers and their candidates.
const WAITING_ITEMS: usize = 128;

/// Their bytes, in messages of the largest size.
const WAITING_MESSAGES: usize = 4;

/// Bytes that wait for all of them.
const ALL_WAITING: usize = 16 << 20;

/// Who hears what one says under a topic: clients keep at most 34 others.
const SUBSCRIBERS: usize = 256;

/// Documents that one page has open.
const TOPICS_OF_ONE: usize = 256;

/// Who sees everybody come and go: each coming costs the square of it.
const PEOPLE: usize = 50;
