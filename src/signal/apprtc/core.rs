//! AppRTC's rooms without IO: the room server and Collider as one, so that there is one membership,
//! one queue for each message, and no moment at which the two disagree.
//!
//! Requests go in through `handle_*` and are answered at once; what others are to be told comes out
//! of [`Rooms::poll_delivery`], and [`Rooms::poll_timeout`] says when to come back. Knows no wire
//! format but the one message that it must understand: the goodbye.

mod arrive;
mod deadline;
mod depart;
mod event;
mod id;
mod oversight;
mod relay;
mod room;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::sync::Arc;
use std::time::{Duration, Instant};

use id::is_loopback;
use room::{Member, Room};

use crate::signal::core::ConnectionId;
use crate::signal::dialect::collider::Complaint;
use crate::signal::record::{Account, Numbers};

pub use event::{Counters, Delivery, Lost, Refusal, Told, Welcome};
pub use id::{CLIENT_MAX, LOOPBACK, ROOM_MAX, is_id};

/// Clients of one room.
pub const CAPACITY: usize = 2;

/// How much is held, and for how long.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Rooms at the same time.
    pub max_rooms: usize,
    /// What one client has said while it was alone.
    pub stored: Size,
    /// What waits for one client that has no socket yet. It is told all of it at once then.
    pub waiting: Size,
    /// Bytes that wait in all rooms, from which on each client has `squeezed` only.
    pub total: usize,
    /// Bytes of one client while memory is short.
    pub squeezed: usize,
    /// For how long a client that lost its socket, or leaves without a word, is waited for.
    pub grace: Duration,
    /// For how long a client that has joined may be without a socket and say nothing.
    pub arrival: Duration,
    /// For how long it keeps its place even if somebody else wants it.
    pub settling: Duration,
    /// Whether sockets may belong to clients that have not joined here: an external room server
    /// sends them.
    pub open: bool,
}

/// How much may be in a queue.
#[derive(Clone, Copy, Debug)]
pub struct Size {
    /// Messages.
    pub messages: usize,
    /// Their bytes.
    pub bytes: usize,
}

/// All rooms.
#[derive(Debug)]
pub struct Rooms {
    limits: Limits,
    /// No entry is ever empty.
    rooms: HashMap<Arc<str>, Room>,
    /// Whose socket each is.
    sockets: HashMap<ConnectionId, Place>,
    /// When members without a socket are given up.
    deadlines: BTreeMap<(Instant, u64), Arc<str>>,
    deliveries: VecDeque<Delivery>,
    /// Members, and moments at which one left, are numbered in one row: who is older than a moment
    /// has known who left then.
    next: u64,
    clients: usize,
    held: usize,
    counters: Counters,
    numbers: Numbers,
    /// Rooms that are over and have not been told of.
    ended: VecDeque<Account>,
    /// The time of what is being done.
    now: Option<Instant>,
}

/// A member, wherever it is.
#[derive(Clone, Debug)]
struct Place {
    room: Arc<str>,
    member: u64,
}

impl Rooms {
    /// No rooms yet.
    pub fn new(limits: Limits, numbers: Numbers) -> Self {
        Self {
            limits,
            rooms: HashMap::new(),
            sockets: HashMap::new(),
            deadlines: BTreeMap::new(),
            deliveries: VecDeque::new(),
            next: 0,
            clients: 0,
            held: 0,
            counters: Counters::default(),
            numbers,
            ended: VecDeque::new(),
            now: None,
        }
    }

    /// Other limits, for what happens from now on: nobody loses a place by them.
    pub fn limit(&mut self, limits: Limits) {
        self.limits = limits;
    }

    /// Somebody joins under an id that is not in use. `loopback`: with itself.
    pub fn handle_join(
        &mut self,
        room: &str,
        client: &str,
        loopback: bool,
        now: Instant,
    ) -> Result<Welcome, Refusal> {
        self.now = Some(now);
        let welcome = self.join(room, client, loopback, now);
        match welcome {
            Ok(_) => self.counters.joined += 1,
            Err(_) => self.counters.refused += 1,
        }
        welcome
    }

    /// A client sends a message by way of the room server.
    pub fn handle_message(
        &mut self,
        room: &str,
        client: &str,
        body: Arc<str>,
        now: Instant,
    ) -> Result<(), Lost> {
        self.now = Some(now);
        let found = match self.rooms.get(room) {
            Some(there) if there.occupants() > 0 => there
                .by_id(client)
                .filter(|member| member.is_joined())
                .map(|member| member.number)
                .ok_or(Lost::UnknownClient),
            _ => Err(Lost::UnknownRoom),
        };
        let done = found.and_then(|member| self.relay(room, member, body, now));
        self.count(done)
    }

    /// A client leaves; it may still say goodbye. Nothing happens if it is not there.
    pub fn handle_leave(&mut self, room: &str, client: &str, now: Instant) {
        self.now = Some(now);
        if let Some(member) = self.find_client(room, client) {
            self.depart(room, member, now);
        }
    }

    /// A socket says whose it is. What has waited for this client follows.
    pub fn handle_register(
        &mut self,
        socket: ConnectionId,
        room: &str,
        client: &str,
        now: Instant,
    ) -> Result<(), Complaint> {
        self.now = Some(now);
        if self.sockets.contains_key(&socket) {
            return Err(Complaint::RegisteredTwice);
        }
        let number = match self.find(room, client) {
            Some(number) => number,
            None => self.stranger(room, client, now)?,
        };
        let Some((name, there)) = self.rooms.get_key_value(room) else {
            return Err(Complaint::Unknown);
        };
        let name = Arc::clone(name);
        // Everybody knows this one id, so nobody can push out who has it.
        if there
            .by_number(number)
            .is_some_and(|member| member.is_loopback && member.socket.is_some())
        {
            return Err(Complaint::Taken);
        }
        self.set_deadline(&name, number, None);
        let place = Place {
            room: Arc::clone(&name),
            member: number,
        };
        self.sockets.insert(socket, place);
        let Some(member) = self.member_mut(&name, number) else {
            return Err(Complaint::Unknown);
        };
        member.was_registered = true;
        member.is_page_gone = false;
        let before = member.socket.replace(socket);
        let (waiting, freed) = member.waiting.take();
        self.held = self.held.saturating_sub(freed);
        if let Some(before) = before {
            // A client that comes back over another network has not noticed that this one is dead.
            self.sockets.remove(&before);
            self.tell(before, Told::Replaced);
        }
        for message in waiting {
            self.tell(socket, Told::Message(message));
        }
        Ok(())
    }

    /// A client sends a message over its socket. There is no answer to it.
    pub fn handle_send(
        &mut self,
        socket: ConnectionId,
        body: Arc<str>,
        now: Instant,
    ) -> Result<(), Lost> {
        self.now = Some(now);
        let place = self.sockets.get(&socket).cloned();
        let done = match place {
            Some(place) => self.relay(&place.room, place.member, body, now),
            None => Err(Lost::UnknownClient),
        };
        self.count(done)
    }

    /// A client without a socket sends a message by way of Collider.
    pub fn handle_post(
        &mut self,
        room: &str,
        client: &str,
        body: Arc<str>,
        now: Instant,
    ) -> Result<(), Lost> {
        self.now = Some(now);
        let found = match self.find_client(room, client) {
            Some(member) => Some(member),
            None => self.stranger(room, client, now).ok(),
        };
        let done = match found {
            Some(member) => self.relay(room, member, body, now),
            None => Err(Lost::UnknownClient),
        };
        self.count(done)
    }

    /// A client is done, with its socket and all. Nothing happens if it is not there.
    pub fn handle_delete(&mut self, room: &str, client: &str, now: Instant) {
        self.now = Some(now);
        let Some(number) = self.find_client(room, client) else {
            return;
        };
        let socket = self
            .rooms
            .get(room)
            .and_then(|there| there.by_number(number)?.socket);
        self.end(room, number);
        if let Some(socket) = socket {
            self.tell(socket, Told::Removed);
        }
    }

    /// A socket is no more. `page_gone`: its client has said that it will not come back.
    pub fn handle_disconnect(&mut self, socket: ConnectionId, page_gone: bool, now: Instant) {
        self.now = Some(now);
        let Some(Place {
            room,
            member: number,
        }) = self.sockets.remove(&socket)
        else {
            return;
        };
        let grace = now + self.limits.grace;
        let Some(member) = self.member_mut(&room, number) else {
            return;
        };
        member.socket = None;
        member.is_page_gone = page_gone && !member.is_loopback;
        match (member.is_joined(), member.is_loopback) {
            (false, _) => self.end(&room, number),
            (true, true) => {}
            (true, false) => self.set_deadline(&room, number, Some(grace)),
        }
    }

    /// The next thing to tell somebody. To be called until there is none, after each `handle_*`.
    pub fn poll_delivery(&mut self) -> Option<Delivery> {
        self.deliveries.pop_front()
    }

    /// How many clients are in this room.
    pub fn occupants(&self, room: &str) -> usize {
        self.rooms.get(room).map_or(0, Room::occupants)
    }

    /// Whether this client has joined this room and has not left it.
    pub fn is_joined(&self, room: &str, client: &str) -> bool {
        let member = self.rooms.get(room).and_then(|there| there.by_id(client));
        member.is_some_and(|member| member.is_joined() && !member.is_loopback)
    }

    /// How many rooms there are.
    pub fn rooms(&self) -> usize {
        self.rooms.len()
    }

    /// How many rooms have two clients.
    pub fn calls(&self) -> usize {
        let rooms = self.rooms.values();
        rooms.filter(|room| room.occupants() >= CAPACITY).count()
    }

    /// How many clients are known in them, those that are about to leave among them.
    pub fn clients(&self) -> usize {
        self.clients
    }

    /// Bytes of the messages that wait.
    pub fn held(&self) -> usize {
        self.held
    }

    /// What has happened so far.
    pub fn counters(&self) -> Counters {
        self.counters
    }

    /// A client, as whom only those can act to whom its id was given.
    fn find_client(&self, room: &str, client: &str) -> Option<u64> {
        let member = self.rooms.get(room)?.by_id(client)?;
        (!member.is_loopback).then_some(member.number)
    }

    fn find(&self, room: &str, client: &str) -> Option<u64> {
        let there = self.rooms.get(room)?;
        let member = match is_loopback(client) {
            true => there.loopback(),
            false => there.by_id(client),
        };
        member.map(|member| member.number)
    }

    fn member_mut(&mut self, room: &str, number: u64) -> Option<&mut Member> {
        self.rooms.get_mut(room)?.by_number_mut(number)
    }

    fn tell(&mut self, to: ConnectionId, what: Told) {
        self.deliveries.push_back(Delivery { to, what });
    }

    fn count(&mut self, done: Result<(), Lost>) -> Result<(), Lost> {
        match done {
            Ok(()) => self.counters.messages += 1,
            Err(_) => self.counters.lost += 1,
        }
        done
    }

    fn tick(&mut self) -> u64 {
        self.next += 1;
        self.next
    }
}
