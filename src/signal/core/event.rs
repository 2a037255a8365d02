//! What goes into the core and what comes out of it, as plain data.

use std::time::Duration;

use super::{MemberId, RoomName};

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

/// A seat, once given and never again. What a client holds to come back to it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct SeatId(u64);

impl SeatId {
    /// The seat with this number.
    pub const fn new(number: u64) -> Self {
        Self(number)
    }

    /// The number.
    pub const fn number(self) -> u64 {
        self.0
    }

    pub(super) const fn next(self) -> Self {
        Self(self.0.wrapping_add(1))
    }
}

/// A message as the driver carries it. Clones share their bytes.
pub trait Payload: Clone {
    /// Bytes that it keeps in memory.
    fn weight(&self) -> usize;
}

/// What is kept for members whose connection is lost, or may be.
#[derive(Clone, Copy, Debug)]
pub struct Resume {
    /// For how long a seat is kept; zero: not at all.
    pub window: Duration,
    /// Messages kept for one seat.
    pub items: usize,
    /// Their bytes.
    pub bytes: usize,
    /// Bytes kept for all seats together, from which on each has `squeezed` only.
    pub total: usize,
    /// Bytes kept for one seat while memory is short.
    pub squeezed: usize,
}

/// What a client may do and what it understands, as the driver has found out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Terms {
    /// It knows how to come back, counts what it is told, and wants to hear of failures.
    pub resumable: bool,
    /// It may be the first in a room.
    pub may_create: bool,
    /// It may close a room to newcomers.
    pub may_lock: bool,
}

impl Terms {
    /// A client of old: everything allowed, nothing understood.
    pub const PLAIN: Self = Self {
        resumable: false,
        may_create: true,
        may_lock: false,
    };
}

/// A seat that somebody says to have, checked by the driver.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ticket {
    /// The room.
    pub room: RoomName,
    /// The id there.
    pub member: MemberId,
    /// The seat.
    pub seat: SeatId,
    /// As they were when it was given.
    pub terms: Terms,
}

/// How a connection ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Departure {
    /// The client wanted it to.
    Left,
    /// It broke, or we ended it.
    Lost,
}

/// Whether a room takes newcomers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Door {
    /// It does.
    #[default]
    Open,
    /// It does not.
    Locked,
}

/// Something a connection is to be told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Delivery<T> {
    /// The connection.
    pub to: ConnectionId,
    /// What it is told.
    pub event: Event<T>,
    /// The how-manieth message of its seat this is, if it is counted.
    pub number: Option<u64>,
}

/// Another member of the receiver's room.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Other {
    /// Its id.
    pub member: MemberId,
    /// Whether it was there before the receiver: who came later is polite.
    pub first: bool,
}

/// What happened, from the receiver's point of view.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event<T> {
    /// The receiver has a seat.
    Joined {
        /// Who and where it is.
        ticket: Ticket,
        /// Who was there before, oldest first.
        others: Vec<Other>,
        /// Whether the room takes further members.
        door: Door,
        /// It came with the ticket of a seat that is no more.
        returning: bool,
    },
    /// The receiver has its seat again. What it has missed follows.
    Resumed {
        /// Who and where it is.
        ticket: Ticket,
        /// How many messages of this client have come in, over all its connections.
        received: u64,
        /// Present if not everything that was missed could be kept.
        lost: Option<Lost>,
    },
    /// A member who came after the receiver.
    Arrived {
        /// The room of both.
        room: RoomName,
        /// The newcomer.
        member: MemberId,
        /// It was here before: after a restart, or after its window.
        returning: bool,
    },
    /// A member who left, in whatever way.
    Left {
        /// The room of the receiver.
        room: RoomName,
        /// Who left.
        member: MemberId,
    },
    /// A member whose connection is lost, and whose seat is kept.
    Away {
        /// The room of both.
        room: RoomName,
        /// Who is away.
        member: MemberId,
    },
    /// A member who has a connection again.
    Back {
        /// The room of both.
        room: RoomName,
        /// Who is back.
        member: MemberId,
        /// What was sent to it meanwhile did not all reach it.
        lost: bool,
    },
    /// Somebody opened or closed the room.
    Door {
        /// The room.
        room: RoomName,
        /// Who did it.
        by: MemberId,
        /// How it is now.
        door: Door,
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
    /// Something else that the receiver wanted was not done.
    Failed {
        /// Who it was for, if it named somebody.
        to: Option<MemberId>,
        /// Why.
        why: Failure,
    },
    /// A message of another member.
    Relayed(T),
    /// The driver's own words, in their place between everything else.
    Answered(T),
    /// Another connection has taken the receiver's seat; nothing more will come.
    Superseded,
}

/// What a client has to know that has missed more than was kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Lost {
    /// Messages sent to it so far. It counts on from there, and has missed all up to this one that
    /// it has not received.
    pub sent: u64,
    /// Who is there now.
    pub others: Vec<Other>,
    /// How the room is now.
    pub door: Door,
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
    /// A member has closed the room.
    #[error("the room is locked")]
    Locked,
    /// Nobody is there, and this client may not be the first.
    #[error("there is no such room")]
    NoSuchRoom,
    /// The connection has this very seat.
    #[error("you are in this room already")]
    AlreadyJoined,
}

impl Refusal {
    /// All of them.
    pub const ALL: [Self; 6] = [
        Self::Full,
        Self::MemberTaken,
        Self::TooManyRooms,
        Self::Locked,
        Self::NoSuchRoom,
        Self::AlreadyJoined,
    ];

    /// How the log and the metrics page call it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Full => "full",
            Self::MemberTaken => "id_taken",
            Self::TooManyRooms => "too_many_rooms",
            Self::Locked => "locked",
            Self::NoSuchRoom => "no_such_room",
            Self::AlreadyJoined => "already_joined",
        }
    }
}

/// Why a message went nowhere.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Failure {
    /// The sender has no seat.
    #[error("join a room first")]
    NotJoined,
    /// It names a sender or a room other than its own.
    #[error("uid and roomId must be your own")]
    NotYours,
    /// The member is not in the room.
    #[error("no such member is in the room")]
    NoSuchMember,
    /// Opening and closing the room is not for this client.
    #[error("you may not lock this room")]
    MayNotLock,
}

/// Who a message is from and where, as it says itself. What it does not say is not checked.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Claim {
    /// The room, if named.
    pub room: Option<RoomName>,
    /// The sender, if named.
    pub member: Option<MemberId>,
}

impl Claim {
    /// Whether it says nothing else than that `member` of `room` speaks.
    pub(super) fn agrees(&self, room: &RoomName, member: &MemberId) -> bool {
        self.room.as_ref().is_none_or(|claimed| claimed == room)
            && self.member.as_ref().is_none_or(|claimed| claimed == member)
    }
}

/// Who a message is for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Recipient {
    /// The member with this id.
    Member(MemberId),
    /// Whoever else is in the room, provided that it is exactly one.
    OnlyOther,
    /// Everybody else in the room.
    Others,
}

/// What has happened since the core was made.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    /// Seats given.
    pub joined: u64,
    /// Joins refused, by [`Refusal::ALL`].
    pub refused: [u64; Refusal::ALL.len()],
    /// Messages passed on.
    pub relayed: u64,
    /// Messages that had no receiver, or did not come from who they said.
    pub undeliverable: u64,
    /// Seats taken again by who had them.
    pub resumed: u64,
    /// Of these, those that had missed more than was kept.
    pub resumed_with_loss: u64,
}
