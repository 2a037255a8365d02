//! The books of TCP connections between relayed addresses and peers (RFC 6062): which there are,
//! what each waits for, and when it has waited long enough. What requests do to them is in
//! `requests::connect`; bytes never come here.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use crate::turn::stun::Key;

use super::auth::Seal;
use super::reply::Head;
use super::server::Link;
use super::timers::Wheel;

/// RFC 6062 sections 5.2 to 5.4: for connecting to a peer, and for the client to bind what has
/// been connected. Also how long a connection that one side has closed may take to deliver the
/// rest to the other.
pub const PATIENCE: Duration = Duration::from_secs(30);

/// Connections of an allocation. Each is two sockets and their buffers.
pub const MAX_CONNECTIONS: usize = 32;

/// Connections of a worker.
const MAX_SLOTS: u32 = 1 << SLOT_BITS;

const SLOT_BITS: u32 = 14;
const GENERATION_BITS: u32 = 8;

/// CONNECTION-ID. It says which worker has the connection, since the client's stream for it may
/// come to any.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct ConnectionId(pub u32);

impl ConnectionId {
    fn new(worker: u16, generation: u8, slot: u32) -> Self {
        let worker = u32::from(worker) << (SLOT_BITS + GENERATION_BITS);
        Self(worker | u32::from(generation) << SLOT_BITS | slot)
    }

    /// Which worker has it.
    pub fn worker(self) -> u16 {
        (self.0 >> (SLOT_BITS + GENERATION_BITS)) as u16
    }

    fn slot(self) -> u32 {
        self.0 & (MAX_SLOTS - 1)
    }
}

/// One connection.
#[derive(Debug)]
pub(super) struct Connection {
    pub(super) id: ConnectionId,
    /// The slot of its allocation.
    pub(super) allocation: u32,
    pub(super) peer: SocketAddr,
    pub(super) state: State,
    /// When it ends unless it gets on; of no meaning once it is bound.
    pub(super) deadline: Instant,
}

/// How far it is.
#[derive(Debug)]
pub(super) enum State {
    /// The peer has not answered yet, and so neither have we.
    Connecting(Box<Asked>),
    /// For the client to bind it.
    Waiting,
    /// It carries data.
    Bound,
    /// One side has closed, and the other is to get the rest.
    Closing,
}

/// A Connect that is still to be answered.
#[derive(Debug)]
pub(super) struct Asked {
    pub(super) link: Link,
    pub(super) head: Head,
    pub(super) key: Key,
    pub(super) seal: Seal,
}

/// All connections of a worker.
#[derive(Debug)]
pub(super) struct Connections {
    slots: Vec<Option<Connection>>,
    generations: Vec<u8>,
    free: Vec<u32>,
    pub(super) timers: Wheel,
    pub(super) due: Vec<u32>,
}

impl Connections {
    pub(super) fn new(now: Instant) -> Self {
        Self {
            slots: Vec::new(),
            generations: Vec::new(),
            free: Vec::new(),
            timers: Wheel::new(now),
            due: Vec::new(),
        }
    }

    /// Enters a new one; `None` if there are too many.
    pub(super) fn insert(
        &mut self,
        worker: u16,
        allocation: u32,
        peer: SocketAddr,
        state: State,
        now: Instant,
    ) -> Option<ConnectionId> {
        let slot = match self.free.pop() {
            Some(slot) => slot,
            None => {
                let slot = self.slots.len() as u32;
                if slot >= MAX_SLOTS {
                    return None;
                }
                self.slots.push(None);
                self.generations.push(0);
                slot
            }
        };
        let at = slot as usize;
        self.generations[at] = self.generations[at].wrapping_add(1);
        let id = ConnectionId::new(worker, self.generations[at], slot);
        let deadline = now + PATIENCE;
        self.slots[at] = Some(Connection {
            id,
            allocation,
            peer,
            state,
            deadline,
        });
        self.timers.insert(slot, deadline);
        Some(id)
    }

    pub(super) fn get(&self, id: ConnectionId) -> Option<&Connection> {
        let connection = self.slots.get(id.slot() as usize)?.as_ref();
        connection.filter(|connection| connection.id == id)
    }

    pub(super) fn get_mut(&mut self, id: ConnectionId) -> Option<&mut Connection> {
        let connection = self.slots.get_mut(id.slot() as usize)?.as_mut();
        connection.filter(|connection| connection.id == id)
    }

    /// Whatever is in a slot that a timer came up for.
    pub(super) fn at(&self, slot: u32) -> Option<&Connection> {
        self.slots.get(slot as usize)?.as_ref()
    }

    /// Begins another wait.
    pub(super) fn wait(&mut self, id: ConnectionId, state: State, now: Instant) {
        let deadline = now + PATIENCE;
        if let Some(connection) = self.get_mut(id) {
            connection.state = state;
            connection.deadline = deadline;
            self.timers.insert(id.slot(), deadline);
        }
    }

    pub(super) fn remove(&mut self, id: ConnectionId) -> Option<Connection> {
        self.get(id)?;
        self.free.push(id.slot());
        self.slots.get_mut(id.slot() as usize)?.take()
    }

    /// When something has waited long enough.
    pub(super) fn next_timeout(&self) -> Option<Instant> {
        self.timers.next()
    }

    /// How many there are.
    pub(super) fn len(&self) -> usize {
        self.slots.len() - self.free.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::net::clock;

    #[test]
    fn an_id_names_its_worker_and_is_not_soon_used_again() {
        let now = clock::now();
        let mut connections = Connections::new(now);
        let peer = "192.0.2.1:1".parse().unwrap();
        let mut seen = std::collections::HashSet::new();
        for _ in 0..256 {
            let id = connections.insert(1023, 7, peer, State::Waiting, now);
            let id = id.unwrap();
            assert_eq!(id.worker(), 1023);
            assert!(seen.insert(id), "{id:?} again");
            assert!(connections.remove(id).is_some());
            assert!(connections.remove(id).is_none());
            assert!(connections.get(id).is_none());
        }
        assert_eq!(connections.len(), 0);
    }

    #[test]
    fn a_worker_has_so_many_connections_and_no_more() {
        let now = clock::now();
        let mut connections = Connections::new(now);
        let peer = "192.0.2.1:1".parse().unwrap();
        let mut insert = || connections.insert(0, 0, peer, State::Waiting, now);
        let all: Vec<_> = std::iter::from_fn(&mut insert).collect();
        assert_eq!(all.len(), MAX_SLOTS as usize);
        connections.remove(all[5]);
        assert!(
            connections
                .insert(0, 0, peer, State::Waiting, now)
                .is_some()
        );
    }
}
