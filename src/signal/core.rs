//! Rooms without IO: joins, leaves and relays go in through `handle_*`, what is to be delivered
//! comes out of [`Rooms::poll_delivery`], and [`Rooms::poll_timeout`] says when to come back.
//!
//! Knows no wire format, no socket and no clock. A relayed payload is of the driver's type and is
//! never looked at. A seat belongs to a connection, or is kept for a while for the client that lost
//! its connection: nothing that a client writes into a message can act on the seat of another.

mod event;
mod log;
mod name;
mod resume;
mod room;
mod summary;
#[cfg(test)]
mod tests;

use std::collections::hash_map::Entry;
use std::collections::{HashMap, VecDeque};
use std::num::NonZeroUsize;
use std::time::Instant;

use log::{Budget, Log};
use resume::Absence;
use room::{Member, Room};
use summary::Past;

pub use event::{
    Claim, ConnectionId, Counters, Delivery, Departure, Door, Event, Failure, Lost, Other, Payload,
    Recipient, Refusal, Resume, SeatId, Terms, Ticket,
};
pub use name::{MEMBER_ID_MAX, MemberId, NameError, Namespace, ROOM_NAME_MAX, RoomName};
pub use summary::{RoomId, Seat, Spoken, Story, Target, View};

/// How much the core holds at most.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Rooms at the same time.
    pub max_rooms: usize,
    /// Members of one room.
    pub room_capacity: NonZeroUsize,
    /// What is kept for those who come back.
    pub resume: Resume,
}

/// All rooms. `T` is a message as the driver carries it.
#[derive(Debug)]
pub struct Rooms<T> {
    limits: Limits,
    /// No entry is ever empty.
    rooms: HashMap<RoomName, Room<T>>,
    /// Where each connection sits; the inverse of `rooms`.
    seats: HashMap<ConnectionId, RoomName>,
    /// Seats that were given a while to be taken again, in the order in which that ends. Those
    /// that were taken again are still among them.
    absences: VecDeque<Absence>,
    /// Seats without a connection.
    away: usize,
    deliveries: VecDeque<Delivery<T>>,
    next_seat: SeatId,
    next_room: u64,
    /// Rooms that are over and have not been told of.
    ended: VecDeque<Story>,
    now: Option<Instant>,
    budget: Budget,
    counters: Counters,
}

impl<T: Payload> Rooms<T> {
    /// No rooms yet. Seats are numbered from `first_seat`, which should differ from one start of
    /// the process to the next.
    pub fn new(limits: Limits, first_seat: SeatId) -> Self {
        Self {
            limits,
            rooms: HashMap::new(),
            seats: HashMap::new(),
            absences: VecDeque::new(),
            away: 0,
            deliveries: VecDeque::new(),
            next_seat: first_seat,
            // Never near its end, and no room has the number that one had in an earlier process.
            next_room: first_seat.number() >> 1,
            ended: VecDeque::new(),
            now: None,
            budget: Budget::new(limits.resume),
            counters: Counters::default(),
        }
    }

    /// Other limits, for what happens from now on: nobody loses a seat by them.
    pub fn limit(&mut self, limits: Limits) {
        self.limits = limits;
        self.budget.limit(limits.resume);
    }

    /// A connection wants a seat in `room` as `member`. It gives up the seat it has elsewhere, but
    /// only once it is sure of the new one.
    pub fn handle_join(
        &mut self,
        connection: ConnectionId,
        room: RoomName,
        member: MemberId,
        terms: Terms,
    ) {
        self.count(connection);
        self.admit(connection, room, member, terms, Coming::New);
    }

    /// A connection gives up its seat, if it has one and `claim` agrees with it.
    pub fn handle_leave(&mut self, connection: ConnectionId, claim: &Claim) {
        self.count(connection);
        match self.standing(connection, claim) {
            Ok(_) => self.vacate(connection),
            Err(why) => self.fail(connection, None, why),
        }
    }

    /// A connection has a message for another member. Those of dialects that expect no answer are
    /// told nothing when it goes nowhere.
    pub fn handle_relay(
        &mut self,
        connection: ConnectionId,
        claim: &Claim,
        recipient: &Recipient,
        payload: &T,
    ) {
        match self.relay(connection, claim, recipient, payload) {
            Ok(()) => self.counters.relayed += 1,
            Err(why) => {
                self.counters.undeliverable += 1;
                let to = match recipient {
                    Recipient::Member(member) => Some(member.clone()),
                    Recipient::OnlyOther | Recipient::Others => None,
                };
                self.fail(connection, to, why);
            }
        }
    }

    /// A member opens or closes its room.
    pub fn handle_door(&mut self, connection: ConnectionId, claim: &Claim, door: Door) {
        self.count(connection);
        match self.turn(connection, claim, door) {
            Ok(()) => {}
            Err(why) => self.fail(connection, None, why),
        }
    }

    /// The driver has an answer of its own to something that a client said.
    pub fn handle_answer(&mut self, connection: ConnectionId, payload: T) {
        self.count(connection);
        self.tell(connection, Event::Answered(payload));
    }

    /// The driver has something to say to a client that did not ask.
    pub fn handle_notice(&mut self, connection: ConnectionId, payload: T) {
        self.tell(connection, Event::Answered(payload));
    }

    /// The next thing to tell somebody. To be called until there is none, after each `handle_*`.
    pub fn poll_delivery(&mut self) -> Option<Delivery<T>> {
        self.deliveries.pop_front()
    }

    /// How many rooms have members.
    pub fn rooms(&self) -> usize {
        self.rooms.len()
    }

    /// How many seats are taken, those of members who are away among them.
    pub fn members(&self) -> usize {
        self.seats.len() + self.away
    }

    /// How many members are away.
    pub fn away(&self) -> usize {
        self.away
    }

    /// How many rooms have two members or more who are there. Looks at every room.
    pub fn calls(&self) -> usize {
        self.rooms
            .values()
            .filter(|room| room.present() > 1)
            .count()
    }

    /// Who is in these rooms. Looks at every room.
    pub fn callers(&self) -> impl Iterator<Item = ConnectionId> {
        let calls = self.rooms.values().filter(|room| room.present() > 1);
        calls.flat_map(|room| room.members().filter_map(|member| member.connection))
    }

    /// What has happened so far.
    pub fn counters(&self) -> Counters {
        self.counters
    }

    fn admit(
        &mut self,
        connection: ConnectionId,
        room: RoomName,
        member: MemberId,
        terms: Terms,
        coming: Coming,
    ) {
        match self.admission(connection, &room, &member, terms) {
            // Clients that do not ask for an answer do not get one.
            Ok(Admission::Seated) if !terms.resumable => {}
            Ok(Admission::Seated) => self.refuse(connection, room, member, Refusal::AlreadyJoined),
            Ok(Admission::Free) => {
                self.vacate(connection);
                self.seat(connection, room, member, terms, coming);
            }
            Err(why) => self.refuse(connection, room, member, why),
        }
    }

    fn admission(
        &self,
        connection: ConnectionId,
        name: &RoomName,
        member: &MemberId,
        terms: Terms,
    ) -> Result<Admission, Refusal> {
        let seat = self.seats.get(&connection);
        let Some(room) = self.rooms.get(name) else {
            if !terms.may_create {
                return Err(Refusal::NoSuchRoom);
            }
            // The room that the connection is alone in makes place for the one it moves to.
            let freed = seat
                .and_then(|seat| self.rooms.get(seat))
                .is_some_and(|left| left.len() == 1);
            return if self.rooms.len() - usize::from(freed) < self.limits.max_rooms {
                Ok(Admission::Free)
            } else {
                Err(Refusal::TooManyRooms)
            };
        };
        let holder = room.by_id(member).map(|holder| holder.connection);
        if holder == Some(Some(connection)) {
            return Ok(Admission::Seated);
        }
        let inside = seat == Some(name);
        let others = room.len() - usize::from(inside);
        if others >= self.limits.room_capacity.get() {
            Err(Refusal::Full)
        } else if holder.is_some() {
            Err(Refusal::MemberTaken)
        } else if room.door == Door::Locked && !inside {
            Err(Refusal::Locked)
        } else if others == 0 && !terms.may_create {
            // Alone in it, the client would leave the room and make it anew.
            Err(Refusal::NoSuchRoom)
        } else {
            Ok(Admission::Free)
        }
    }

    fn seat(
        &mut self,
        connection: ConnectionId,
        name: RoomName,
        member: MemberId,
        terms: Terms,
        coming: Coming,
    ) {
        let returning = matches!(coming, Coming::Back);
        let seat = self.next_seat;
        self.next_seat = seat.next();
        let now = self.now;
        let room = self.rooms.entry(name.clone()).or_insert_with(|| {
            let id = RoomId::new(self.next_room);
            self.next_room += 1;
            Room::new(Past::new(id, now))
        });
        let arrived = Event::Arrived {
            room: name.clone(),
            member: member.clone(),
            returning,
        };
        for other in room.members_mut() {
            let number = other.record(&arrived, &mut self.budget);
            self.deliveries
                .extend(delivery(other.connection, &arrived, number));
        }
        let others = room.others(seat);
        room.add(Member {
            id: member.clone(),
            seat,
            connection: Some(connection),
            terms,
            log: terms.resumable.then(|| Box::new(Log::new())),
        });
        self.deliveries.push_back(Delivery {
            to: connection,
            event: Event::Joined {
                ticket: Ticket {
                    room: name.clone(),
                    member,
                    seat,
                    terms,
                },
                others,
                door: room.door,
                returning,
            },
            number: None,
        });
        self.seats.insert(connection, name);
        self.counters.joined += 1;
    }

    fn vacate(&mut self, connection: ConnectionId) {
        let Some(name) = self.seats.remove(&connection) else {
            return;
        };
        let seat = self
            .rooms
            .get(&name)
            .and_then(|room| room.by_connection(connection))
            .map(|member| member.seat);
        if let Some(seat) = seat {
            self.remove(name, seat);
        }
    }

    /// Takes a member out of its room and tells the others.
    fn remove(&mut self, name: RoomName, seat: SeatId) {
        let Entry::Occupied(mut entry) = self.rooms.entry(name) else {
            return;
        };
        let Some(mut member) = entry.get_mut().remove(seat) else {
            return;
        };
        if let Some(log) = &mut member.log {
            log.clear(&mut self.budget);
        }
        let left = Event::Left {
            room: entry.key().clone(),
            member: member.id,
        };
        for other in entry.get_mut().members_mut() {
            let number = other.record(&left, &mut self.budget);
            self.deliveries
                .extend(delivery(other.connection, &left, number));
        }
        if entry.get().is_empty() {
            let (name, room) = entry.remove_entry();
            self.over(&name, &room);
        }
    }

    fn relay(
        &mut self,
        connection: ConnectionId,
        claim: &Claim,
        recipient: &Recipient,
        payload: &T,
    ) -> Result<(), Failure> {
        // What nearly all calls of the core are for: each place is looked up once.
        let name = self.seats.get(&connection).ok_or(Failure::NotJoined)?;
        let room = self.rooms.get_mut(name).ok_or(Failure::NotJoined)?;
        let own = room.by_connection_mut(connection);
        let own = own.ok_or(Failure::NotJoined)?;
        own.count();
        if !claim.agrees(name, &own.id) {
            return Err(Failure::NotYours);
        }
        if matches!(recipient, Recipient::OnlyOther) && room.len() != 2 {
            return Err(Failure::NoSuchMember);
        }
        let mut found = false;
        let event = Event::Relayed(payload.clone());
        // Nobody needs us to talk to themselves.
        for other in room
            .members_mut()
            .filter(|other| other.connection != Some(connection))
        {
            let meant = match recipient {
                Recipient::Member(id) => other.id == *id,
                Recipient::OnlyOther | Recipient::Others => true,
            };
            if meant {
                found = true;
                let number = other.record(&event, &mut self.budget);
                self.deliveries
                    .extend(delivery(other.connection, &event, number));
            }
        }
        if !found {
            return Err(Failure::NoSuchMember);
        }
        room.past.relayed();
        Ok(())
    }

    fn turn(&mut self, connection: ConnectionId, claim: &Claim, door: Door) -> Result<(), Failure> {
        let name = self.standing(connection, claim)?;
        let room = self.rooms.get_mut(&name).ok_or(Failure::NotJoined)?;
        let member = room.by_connection(connection).ok_or(Failure::NotJoined)?;
        if !member.terms.may_lock {
            return Err(Failure::MayNotLock);
        }
        let event = Event::Door {
            room: name,
            by: member.id.clone(),
            door,
        };
        room.door = door;
        // To the one who did it as well: that is the answer.
        for other in room.members_mut() {
            let number = other.record(&event, &mut self.budget);
            self.deliveries
                .extend(delivery(other.connection, &event, number));
        }
        Ok(())
    }

    /// Where the connection sits, if it is, where it says anything, who and where it says.
    fn standing(&self, connection: ConnectionId, claim: &Claim) -> Result<RoomName, Failure> {
        let name = self.seats.get(&connection).ok_or(Failure::NotJoined)?;
        let own = self
            .rooms
            .get(name)
            .and_then(|room| room.by_connection(connection))
            .ok_or(Failure::NotJoined)?;
        let agrees = claim.agrees(name, &own.id);
        agrees.then(|| name.clone()).ok_or(Failure::NotYours)
    }

    fn refuse(&mut self, to: ConnectionId, room: RoomName, member: MemberId, why: Refusal) {
        for (known, counter) in Refusal::ALL.iter().zip(&mut self.counters.refused) {
            *counter += u64::from(*known == why);
        }
        self.tell(to, Event::Refused { room, member, why });
    }

    fn fail(&mut self, connection: ConnectionId, to: Option<MemberId>, why: Failure) {
        let expected = self
            .member_mut(connection)
            .is_none_or(|member| member.terms.resumable);
        if expected {
            self.tell(connection, Event::Failed { to, why });
        }
    }

    /// Tells a connection something that concerns nobody else.
    fn tell(&mut self, connection: ConnectionId, event: Event<T>) {
        let name = self.seats.get(&connection);
        let number = name
            .and_then(|name| self.rooms.get_mut(name))
            .and_then(|room| room.by_connection_mut(connection))
            .and_then(|member| member.record(&event, &mut self.budget));
        self.deliveries.push_back(Delivery {
            to: connection,
            event,
            number,
        });
    }

    /// A message came in over this connection.
    fn count(&mut self, connection: ConnectionId) {
        if let Some(member) = self.member_mut(connection) {
            member.count();
        }
    }

    fn member_mut(&mut self, connection: ConnectionId) -> Option<&mut Member<T>> {
        let name = self.seats.get(&connection)?;
        self.rooms.get_mut(name)?.by_connection_mut(connection)
    }
}

/// What a member's connection is to be sent, if it has one.
fn delivery<T: Clone>(
    to: Option<ConnectionId>,
    event: &Event<T>,
    number: Option<u64>,
) -> Option<Delivery<T>> {
    Some(Delivery {
        to: to?,
        event: event.clone(),
        number,
    })
}

/// Outcome of asking for a seat.
enum Admission {
    /// It may be taken.
    Free,
    /// The connection already has exactly this one.
    Seated,
}

/// Who asks for a seat.
#[derive(Clone, Copy)]
enum Coming {
    /// Somebody new.
    New,
    /// Somebody who can show that it had one.
    Back,
}
