//! Rooms without IO: joins, leaves and relays go in through `handle_*`, what is to be delivered
//! comes out of [`Rooms::poll_delivery`].
//!
//! Knows no wire format, no socket and no clock. A relayed payload is of the driver's type and is
//! never looked at. A seat belongs to a connection: nothing that a client writes into a message can
//! act on the seat of another.

mod name;
mod room;
#[cfg(test)]
mod tests;

use std::collections::hash_map::Entry;
use std::collections::{HashMap, VecDeque};
use std::num::NonZeroUsize;

use room::Room;

pub use name::{MEMBER_ID_MAX, MemberId, NameError, Namespace, ROOM_NAME_MAX, RoomName};

/// A connection, named by the driver, which never uses a number twice.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ConnectionId(u64);

impl ConnectionId {
    /// The connection with this number.
    pub const fn new(number: u64) -> Self {
        Self(number)
    }

    /// The number.
    pub const fn number(self) -> u64 {
        self.0
    }
}

/// How much the core holds at most.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Rooms at the same time.
    pub max_rooms: usize,
    /// Members of one room.
    pub room_capacity: NonZeroUsize,
}

/// Something a connection is to be told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Delivery<T> {
    /// The connection.
    pub to: ConnectionId,
    /// What it is told.
    pub event: Event<T>,
}

/// What happened, from the receiver's point of view.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event<T> {
    /// The receiver has a seat. A [`Event::Present`] for each other member follows, oldest first.
    Joined {
        /// The room it joined.
        room: RoomName,
        /// The receiver's own id.
        member: MemberId,
    },
    /// A member who was there before the receiver.
    Present {
        /// The room of both.
        room: RoomName,
        /// The other.
        member: MemberId,
    },
    /// A member who came after the receiver.
    Arrived {
        /// The room of both.
        room: RoomName,
        /// The newcomer.
        member: MemberId,
    },
    /// A member who left, in whatever way.
    Left {
        /// The room of the receiver.
        room: RoomName,
        /// Who left.
        member: MemberId,
    },
    /// The receiver did not get the seat it asked for; a seat it had before, it still has.
    Refused {
        /// The room it asked for.
        room: RoomName,
        /// The id it asked for.
        member: MemberId,
        /// Why.
        why: Refusal,
    },
    /// A message of another member.
    Relayed(T),
}

/// Why a join was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// Every seat is taken by somebody else.
    #[error("room is full")]
    Full,
    /// Another living connection in this room goes by the same id.
    #[error("this uid is already in the room")]
    MemberTaken,
    /// The room would be one too many.
    #[error("the server has no place for another room")]
    TooManyRooms,
}

/// Who a message is from and where, as it says itself. What it does not say is not checked.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Claim {
    /// The room, if named.
    pub room: Option<RoomName>,
    /// The sender, if named.
    pub member: Option<MemberId>,
}

/// Who a message is for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Recipient {
    /// The member with this id.
    Member(MemberId),
    /// Whoever else is in the room, provided that it is exactly one.
    OnlyOther,
}

/// What has happened since the core was made.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    /// Seats given.
    pub joined: u64,
    /// Joins refused.
    pub refused: u64,
    /// Messages passed on.
    pub relayed: u64,
    /// Messages that had no receiver, or did not come from who they said.
    pub undeliverable: u64,
}

/// All rooms. `T` is a message as the driver carries it.
#[derive(Debug)]
pub struct Rooms<T> {
    limits: Limits,
    /// No entry is ever empty.
    rooms: HashMap<RoomName, Room>,
    /// Where each connection sits; the inverse of `rooms`.
    seats: HashMap<ConnectionId, RoomName>,
    deliveries: VecDeque<Delivery<T>>,
    counters: Counters,
}

impl<T> Rooms<T> {
    /// No rooms yet.
    pub fn new(limits: Limits) -> Self {
        Self {
            limits,
            rooms: HashMap::new(),
            seats: HashMap::new(),
            deliveries: VecDeque::new(),
            counters: Counters::default(),
        }
    }

    /// A connection wants a seat in `room` as `member`. It gives up the seat it has elsewhere, but
    /// only once it is sure of the new one.
    pub fn handle_join(&mut self, connection: ConnectionId, room: RoomName, member: MemberId) {
        match self.admit(connection, &room, &member) {
            Ok(Admission::Seated) => {}
            Ok(Admission::Free) => {
                self.vacate(connection);
                self.seat(connection, room, member);
            }
            Err(why) => {
                self.counters.refused += 1;
                self.deliver(connection, Event::Refused { room, member, why });
            }
        }
    }

    /// A connection gives up its seat, if it has one and `claim` agrees with it.
    pub fn handle_leave(&mut self, connection: ConnectionId, claim: &Claim) {
        if self.holds(connection, claim) {
            self.vacate(connection);
        }
    }

    /// A connection has a message for another member. Dropped without a word if the sender is not
    /// who it claims to be, or nobody is there to get it: the clients of today expect no answer.
    pub fn handle_relay(
        &mut self,
        connection: ConnectionId,
        claim: &Claim,
        recipient: &Recipient,
        payload: T,
    ) {
        let to = self.route(connection, claim, recipient);
        if let Some(to) = to {
            self.counters.relayed += 1;
            self.deliver(to, Event::Relayed(payload));
        } else {
            self.counters.undeliverable += 1;
        }
    }

    /// A connection is no more.
    pub fn handle_disconnect(&mut self, connection: ConnectionId) {
        self.vacate(connection);
    }

    /// The next thing to tell somebody. To be called until there is none, after each `handle_*`.
    pub fn poll_delivery(&mut self) -> Option<Delivery<T>> {
        self.deliveries.pop_front()
    }

    /// How many rooms have members.
    pub fn rooms(&self) -> usize {
        self.rooms.len()
    }

    /// How many connections have a seat.
    pub fn members(&self) -> usize {
        self.seats.len()
    }

    /// What has happened so far.
    pub fn counters(&self) -> Counters {
        self.counters
    }

    fn admit(
        &self,
        connection: ConnectionId,
        name: &RoomName,
        member: &MemberId,
    ) -> Result<Admission, Refusal> {
        let seat = self.seats.get(&connection);
        let Some(room) = self.rooms.get(name) else {
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
        if holder == Some(connection) {
            return Ok(Admission::Seated);
        }
        let others = room.len() - usize::from(seat == Some(name));
        if others >= self.limits.room_capacity.get() {
            Err(Refusal::Full)
        } else if holder.is_some() {
            Err(Refusal::MemberTaken)
        } else {
            Ok(Admission::Free)
        }
    }

    fn seat(&mut self, connection: ConnectionId, name: RoomName, member: MemberId) {
        let room = self.rooms.entry(name.clone()).or_default();
        for other in room.members() {
            self.deliveries.push_back(Delivery {
                to: other.connection,
                event: Event::Arrived {
                    room: name.clone(),
                    member: member.clone(),
                },
            });
        }
        self.deliveries.push_back(Delivery {
            to: connection,
            event: Event::Joined {
                room: name.clone(),
                member: member.clone(),
            },
        });
        for other in room.members() {
            self.deliveries.push_back(Delivery {
                to: connection,
                event: Event::Present {
                    room: name.clone(),
                    member: other.id.clone(),
                },
            });
        }
        room.add(connection, member);
        self.seats.insert(connection, name);
        self.counters.joined += 1;
    }

    fn vacate(&mut self, connection: ConnectionId) {
        let Some(name) = self.seats.remove(&connection) else {
            return;
        };
        let Entry::Occupied(mut entry) = self.rooms.entry(name.clone()) else {
            return;
        };
        let Some(left) = entry.get_mut().remove(connection) else {
            return;
        };
        for other in entry.get().members() {
            self.deliveries.push_back(Delivery {
                to: other.connection,
                event: Event::Left {
                    room: name.clone(),
                    member: left.id.clone(),
                },
            });
        }
        if entry.get().is_empty() {
            entry.remove();
        }
    }

    fn route(
        &self,
        connection: ConnectionId,
        claim: &Claim,
        recipient: &Recipient,
    ) -> Option<ConnectionId> {
        if !self.holds(connection, claim) {
            return None;
        }
        let room = self.rooms.get(self.seats.get(&connection)?)?;
        let to = match recipient {
            Recipient::Member(id) => room.by_id(id),
            Recipient::OnlyOther => room.only_other(connection),
        }?;
        // Nobody needs us to talk to themselves.
        (to.connection != connection).then_some(to.connection)
    }

    /// Whether the connection has a seat and is, where it says anything, who and where it says.
    fn holds(&self, connection: ConnectionId, claim: &Claim) -> bool {
        let Some(name) = self.seats.get(&connection) else {
            return false;
        };
        let Some(own) = self
            .rooms
            .get(name)
            .and_then(|room| room.by_connection(connection))
        else {
            return false;
        };
        claim.room.as_ref().is_none_or(|room| room == name)
            && claim.member.as_ref().is_none_or(|id| *id == own.id)
    }

    fn deliver(&mut self, to: ConnectionId, event: Event<T>) {
        self.deliveries.push_back(Delivery { to, event });
    }
}

/// Outcome of asking for a seat.
enum Admission {
    /// It may be taken.
    Free,
    /// The connection already has exactly this one.
    Seated,
}
