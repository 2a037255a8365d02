//! The clients of the further dialects: PeerJS, y-webrtc and flutter-webrtc-demo.
//!
//! Sessions act on the worlds of [`core`] directly, under one lock that is never held while anything
//! waits: a request is a few look-ups and a push into outboxes. One task looks at the clock for what
//! waits with PeerJS. The words are [`super::dialect`]'s.

pub mod core;

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::Notify;

use self::core::Letter;
use self::core::lobby::{self, Lobbies};
use self::core::peerjs::{self, Realm};
use self::core::topics::{self, Topics};
use super::core::ConnectionId;
use super::frame::Text;
use super::hub::{Cut, Item, Outbox};
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
    outboxes: HashMap<ConnectionId, Arc<Outbox>>,
    /// When the clock will be looked at.
    alarm: Option<Instant>,
}

impl Guests {
    /// Empty worlds. The clock runs until the drain begins.
    pub(super) fn start(settings: &settings::Signaling, drain: &Drain) -> Self {
        let shared = Arc::new(Shared {
            desk: Mutex::new(Desk {
                realm: Realm::new(realm(settings)),
                topics: Topics::new(topics(settings)),
                lobbies: Lobbies::new(lobbies(settings)),
                outboxes: HashMap::new(),
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

    /// Makes a connection known. It is no more when what is returned is dropped.
    pub(super) fn welcome(&self, connection: ConnectionId, outbox: Arc<Outbox>) -> Place {
        self.shared.desk().outboxes.insert(connection, outbox);
        Place {
            guests: self.clone(),
            connection,
        }
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
            desk.outboxes.remove(&connection);
            desk.realm.handle_leave(connection);
            desk.topics.handle_leave(connection);
            desk.lobbies.handle_leave(connection, out);
        });
    }
}

impl Shared {
    fn act<T>(&self, act: impl FnOnce(&mut Desk, &mut Vec<Letter>) -> T) -> T {
        let mut desk = self.desk();
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
        done
    }

    /// What is done under the lock is bounded look-ups and pushes.
    fn desk(&self) -> MutexGuard<'_, Desk> {
        self.desk.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Desk {
    fn deliver(&self, letter: Letter) {
        match letter {
            Letter::Text(to, text) => {
                // Those who hear it share its bytes.
                let text = Text::from(text);
                for connection in to {
                    if let Some(outbox) = self.outboxes.get(&connection) {
                        // If it runs over, that has woken its session, which will disconnect.
                        let _ = outbox.push(Item::Text(text.clone()));
                    }
                }
            }
            Letter::Replaced(connection) => {
                if let Some(outbox) = self.outboxes.get(&connection) {
                    outbox.cut(Cut::Superseded);
                }
            }
        }
    }
}

async fn run(shared: Arc<Shared>, drain: Drain) {
    loop {
        let alarm = shared.desk().alarm;
        tokio::select! {
            () = drain.begun() => return,
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
