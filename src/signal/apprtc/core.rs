//! AppRTC's rooms without IO: the room server and Collider as one, so that there is one membership,
//! one queue for each message, and no moment at which the two disagree.
//!
//! Requests go in through `handle_*` and are answered at once; what others are to be told comes out
//! of [`Rooms::poll_delivery`], and [`Rooms::poll_timeout`] says when to come back. Knows no wire
//! format but the one message that it must understand: the goodbye.

mod room;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::sync::Arc;
use std::time::{Duration, Instant};

use room::{Member, Room, Standing};

use crate::signal::core::ConnectionId;
use crate::signal::dialect::collider::{BYE, Complaint, is_bye};

/// The id under which a client joins a call with itself; the web client writes it in lower case.
pub const LOOPBACK: &str = "LOOPBACK_CLIENT_ID";

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

/// Why nobody could join.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// Two others are there.
    #[error("room is full")]
    Full,
    /// Somebody has this id.
    #[error("id is taken")]
    Duplicate,
    /// The room would be one too many.
    #[error("the server has no place for another room")]
    TooManyRooms,
}

/// Why a message went nowhere.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Lost {
    /// Nobody is in this room.
    #[error("unknown room")]
    UnknownRoom,
    /// Nobody of this id is in it.
    #[error("unknown client")]
    UnknownClient,
    /// The sender is alone and has sent more than can be kept for who comes next.
    #[error("too many messages wait for somebody to come")]
    TooManyStored,
    /// The receiver has no socket yet, and there is no room for more.
    #[error("Too many messages queued for the client")]
    TooManyWaiting,
}

/// What somebody who joins is given.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Welcome {
    /// Nobody is there: they make the offer.
    pub is_initiator: bool,
    /// What the other one has said so far, in that order.
    pub messages: Vec<Arc<str>>,
}

/// Something that a socket is to be told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Delivery {
    /// The socket.
    pub to: ConnectionId,
    /// What it is told.
    pub what: Told,
}

/// What a socket is told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Told {
    /// A message of the other client, or our goodbye in its place.
    Message(Arc<str>),
    /// Its client has another socket now.
    Replaced,
    /// Its client is no more.
    Removed,
}

/// What has happened so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    /// Clients that joined.
    pub joined: u64,
    /// Clients that could not.
    pub refused: u64,
    /// Messages taken.
    pub messages: u64,
    /// Messages that went nowhere.
    pub lost: u64,
    /// Goodbyes that we said for a client that could not.
    pub goodbyes: u64,
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
}

/// A member, wherever it is.
#[derive(Clone, Debug)]
struct Place {
    room: Arc<str>,
    member: u64,
}

impl Rooms {
    /// No rooms yet.
    pub fn new(limits: Limits) -> Self {
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
    pub fn handle_delete(&mut self, room: &str, client: &str) {
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

    /// When [`Rooms::handle_timeout`] is next needed.
    pub fn poll_timeout(&self) -> Option<Instant> {
        self.deadlines.keys().next().map(|(at, _)| *at)
    }

    /// Gives up those whose time has come.
    pub fn handle_timeout(&mut self, now: Instant) {
        while let Some(entry) = self.deadlines.first_entry() {
            let (at, number) = *entry.key();
            if at > now {
                return;
            }
            let room = entry.remove();
            self.end(&room, number);
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

    fn join(
        &mut self,
        room: &str,
        client: &str,
        loopback: bool,
        now: Instant,
    ) -> Result<Welcome, Refusal> {
        let there = self.rooms.get(room);
        if there.is_none() && self.rooms.len() >= self.limits.max_rooms {
            return Err(Refusal::TooManyRooms);
        }
        if there.is_some_and(|there| there.by_id(client).is_some()) {
            return Err(Refusal::Duplicate);
        }
        if let Some(there) = there.filter(|there| there.occupants() >= CAPACITY) {
            // A page that was reloaded would otherwise be kept out by itself.
            let Some(gone) = there
                .members()
                .find(|one| one.is_page_gone && one.is_joined())
            else {
                return Err(Refusal::Full);
            };
            let gone = gone.number;
            self.end(room, gone);
        }
        let (mut messages, mut freed) = (Vec::new(), 0);
        let is_initiator = match self.rooms.get_mut(room).and_then(Room::first_joined_mut) {
            Some(other) => {
                (messages, freed) = other.stored.take();
                false
            }
            None => true,
        };
        self.held = self.held.saturating_sub(freed);
        self.add(room, client, now + self.limits.arrival);
        if loopback && is_initiator {
            self.add_loopback(room);
        }
        Ok(Welcome {
            is_initiator,
            messages,
        })
    }

    /// A client of an external room server.
    fn stranger(&mut self, room: &str, client: &str, now: Instant) -> Result<u64, Complaint> {
        let there = self.rooms.get(room);
        let occupants = there.map_or(0, Room::occupants);
        if occupants >= CAPACITY {
            return Err(Complaint::Full);
        }
        let has_place = there.is_some() || self.rooms.len() < self.limits.max_rooms;
        let is_possible = is_id(room, ROOM_MAX) && is_id(client, CLIENT_MAX);
        if !self.limits.open || !has_place || !is_possible || is_loopback(client) {
            return Err(Complaint::Unknown);
        }
        let stored = self.rooms.get_mut(room).and_then(Room::first_joined_mut);
        // Counted as held all the time.
        let said = stored.map(|other| std::mem::take(&mut other.stored));
        let number = self.add(room, client, now + self.limits.grace);
        if let (Some(member), Some(said)) = (self.member_mut(room, number), said) {
            member.waiting = said;
        }
        Ok(number)
    }

    fn add(&mut self, room: &str, client: &str, deadline: Instant) -> u64 {
        let number = self.tick();
        let there = match self.rooms.get_mut(room) {
            Some(there) => there,
            None => self.rooms.entry(room.into()).or_default(),
        };
        let surplus = there.add(Member::new(number, client.into()));
        self.clients += 1;
        if let Some(surplus) = surplus {
            self.end(room, surplus);
        }
        let name = self
            .rooms
            .get_key_value(room)
            .map(|(name, _)| Arc::clone(name));
        if let Some(name) = name {
            self.set_deadline(&name, number, Some(deadline));
        }
        number
    }

    fn add_loopback(&mut self, room: &str) {
        let number = self.tick();
        if let Some(there) = self.rooms.get_mut(room) {
            let mut echo = Member::new(number, LOOPBACK.into());
            echo.is_loopback = true;
            there.add(echo);
            self.clients += 1;
        }
    }

    /// Passes on what a member says, or keeps it.
    fn relay(&mut self, room: &str, number: u64, body: Arc<str>, now: Instant) -> Result<(), Lost> {
        let there = self.rooms.get(room).ok_or(Lost::UnknownRoom)?;
        let sender = there.by_number(number).ok_or(Lost::UnknownClient)?;
        if sender.has_said_goodbye {
            // What was still on its way belongs to a call that is over.
            return Ok(());
        }
        let hearers: Vec<u64> = there.hearers(sender).collect();
        let is_joined = sender.is_joined();
        self.touch(room, number, now);
        if is_bye(&body) {
            if let Some(sender) = self.member_mut(room, number) {
                sender.has_said_goodbye = true;
            }
            // Before anybody hears of it: whoever answers with a new offer must find the place free.
            self.depart(room, number, now);
            for hearer in hearers {
                self.hear_goodbye(room, hearer, Arc::clone(&body));
            }
            return Ok(());
        }
        if hearers.is_empty() {
            return match is_joined {
                true => self.store(room, number, body),
                false => Ok(()),
            };
        }
        for hearer in hearers {
            self.hear(room, hearer, Arc::clone(&body))?;
        }
        Ok(())
    }

    fn hear(&mut self, room: &str, number: u64, body: Arc<str>) -> Result<(), Lost> {
        let allowed = self.allowed(self.limits.waiting);
        let Some(member) = self.member_mut(room, number) else {
            return Ok(());
        };
        if let Some(socket) = member.socket {
            self.tell(socket, Told::Message(body));
            return Ok(());
        }
        let weight = body.len();
        if member.waiting.has_room(weight, allowed) {
            member.waiting.push(body);
            self.held = self.held.saturating_add(weight);
            return Ok(());
        }
        // Clients that call themselves without listening are many and mean no harm.
        match member.is_loopback {
            true => Ok(()),
            false => Err(Lost::TooManyWaiting),
        }
    }

    /// The call of this member is over: what it has said so far is for nobody else.
    fn hear_goodbye(&mut self, room: &str, number: u64, body: Arc<str>) {
        if let Some(member) = self.member_mut(room, number) {
            let (_, freed) = member.stored.take();
            self.held = self.held.saturating_sub(freed);
        }
        if self.hear(room, number, body).is_err() {
            // It has no socket, and more waits for it than it can need. The goodbye counts most.
            let freed = self
                .member_mut(room, number)
                .map_or(0, |member| member.waiting.take().1);
            self.held = self.held.saturating_sub(freed);
            let _ = self.hear(room, number, BYE.into());
        }
    }

    fn store(&mut self, room: &str, number: u64, body: Arc<str>) -> Result<(), Lost> {
        // Those of an open Collider wait for a socket and not for an answer.
        let allowed = self.allowed(match self.limits.open {
            true => self.limits.waiting,
            false => self.limits.stored,
        });
        let weight = body.len();
        let Some(member) = self.member_mut(room, number) else {
            return Err(Lost::UnknownClient);
        };
        if !member.stored.has_room(weight, allowed) {
            return Err(Lost::TooManyStored);
        }
        member.stored.push(body);
        self.held = self.held.saturating_add(weight);
        Ok(())
    }

    /// What may be in a queue now.
    fn allowed(&self, size: Size) -> Size {
        match self.held > self.limits.total {
            true => Size {
                bytes: size.bytes.min(self.limits.squeezed),
                ..size
            },
            false => size,
        }
    }

    /// A member gives up its place, and keeps its voice as long as it has a socket, or for a while.
    fn depart(&mut self, room: &str, number: u64, now: Instant) {
        let moment = self.tick();
        let Some((name, there)) = self.rooms.get_key_value(room) else {
            return;
        };
        let name = Arc::clone(name);
        let is_unheard = there
            .members()
            .all(|other| other.number == number || !other.is_joined() || other.is_loopback);
        let Some(member) = self.member_mut(&name, number) else {
            return;
        };
        if !member.is_joined() {
            return;
        }
        member.standing = Standing::Left(moment);
        let done = is_unheard || member.has_said_goodbye;
        match (member.socket, done) {
            (Some(_), _) => {}
            (None, true) => self.end(&name, number),
            (None, false) => self.set_deadline(&name, number, Some(now + self.limits.grace)),
        }
        self.silence(&name, moment);
    }

    /// Who calls itself leaves with itself.
    fn silence(&mut self, room: &str, moment: u64) {
        let echo = self.rooms.get_mut(room).and_then(Room::loopback_mut);
        let Some(echo) = echo.filter(|echo| echo.is_joined()) else {
            return;
        };
        echo.standing = Standing::Left(moment);
        let number = echo.number;
        if echo.socket.is_none() {
            self.end(room, number);
        }
    }

    /// Forgets a member. Whoever knew it and has heard no goodbye hears one from us.
    fn end(&mut self, room: &str, number: u64) {
        self.set_deadline_none(room, number);
        let Some(there) = self.rooms.get_mut(room) else {
            return;
        };
        let Some(mut member) = there.remove(number) else {
            return;
        };
        let hearers: Vec<u64> = match member.has_said_goodbye || member.is_loopback {
            true => Vec::new(),
            false => there.hearers(&member).collect(),
        };
        let is_owner = member.is_joined() && !member.is_loopback;
        let freed = member.stored.take().1 + member.waiting.take().1;
        if there.is_empty() {
            self.rooms.remove(room);
        }
        self.clients = self.clients.saturating_sub(1);
        self.held = self.held.saturating_sub(freed);
        if let Some(socket) = member.socket {
            self.sockets.remove(&socket);
        }
        if is_owner {
            let moment = self.tick();
            self.silence(room, moment);
        }
        for hearer in hearers {
            self.counters.goodbyes += 1;
            self.hear_goodbye(room, hearer, BYE.into());
        }
    }

    /// A member without a socket shows that it lives.
    fn touch(&mut self, room: &str, number: u64, now: Instant) {
        let Some((name, there)) = self.rooms.get_key_value(room) else {
            return;
        };
        let Some(member) = there.by_number(number) else {
            return;
        };
        if member.socket.is_some() || !member.is_joined() || member.is_loopback {
            return;
        }
        let patience = match member.was_registered {
            true => self.limits.grace,
            false => self.limits.arrival,
        };
        let name = Arc::clone(name);
        self.set_deadline(&name, number, Some(now + patience));
    }

    fn set_deadline(&mut self, room: &Arc<str>, number: u64, at: Option<Instant>) {
        let Some(member) = self.member_mut(room, number) else {
            return;
        };
        let before = std::mem::replace(&mut member.deadline, at);
        if let Some(before) = before {
            self.deadlines.remove(&(before, number));
        }
        if let Some(at) = at {
            self.deadlines.insert((at, number), Arc::clone(room));
        }
    }

    fn set_deadline_none(&mut self, room: &str, number: u64) {
        let before = self
            .member_mut(room, number)
            .and_then(|member| member.deadline.take());
        if let Some(before) = before {
            self.deadlines.remove(&(before, number));
        }
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

/// Longest name of a room, in bytes.
pub const ROOM_MAX: usize = 256;

/// Longest id of a client, in bytes.
pub const CLIENT_MAX: usize = 64;

/// Whether this can be a name of a room or the id of a client, as AppRTC's routes have it.
pub fn is_id(text: &str, longest: usize) -> bool {
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_');
    !text.is_empty() && text.len() <= longest && text.bytes().all(allowed)
}

/// The room server's spelling and iOS's, or that of the web client.
fn is_loopback(client: &str) -> bool {
    client == LOOPBACK || client == "loopback_client_id"
}
