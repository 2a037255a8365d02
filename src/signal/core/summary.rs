//! Rooms as somebody sees them who looks in from outside: what to list, what to say when one is
//! over, and how to end one.

use std::collections::BinaryHeap;
use std::time::{Duration, Instant};

use super::room::Room;
use super::{ConnectionId, Door, MemberId, Payload, RoomName, Rooms, SeatId};

/// A room, once made and never again. Rooms are numbered in the order in which they are made.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RoomId(u64);

impl RoomId {
    /// The room with this number.
    pub const fn new(number: u64) -> Self {
        Self(number)
    }

    /// The number.
    pub const fn number(self) -> u64 {
        self.0
    }
}

/// What a room is and has been.
#[derive(Clone, Copy, Debug)]
pub(super) struct Past {
    id: RoomId,
    opened: Option<Instant>,
    most: usize,
    messages: u64,
    spoken: Spoken,
}

/// Which kinds of clients a room has had.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Spoken {
    /// Clients that come back to their seats.
    pub resumable: bool,
    /// Others.
    pub plain: bool,
}

impl Past {
    pub(super) fn new(id: RoomId, opened: Option<Instant>) -> Self {
        Self {
            id,
            opened,
            most: 0,
            messages: 0,
            spoken: Spoken::default(),
        }
    }

    /// A member has come, and there are so many now.
    pub(super) fn joined(&mut self, members: usize, resumable: bool) {
        self.most = self.most.max(members);
        self.spoken.resumable |= resumable;
        self.spoken.plain |= !resumable;
    }

    /// A message has been passed on.
    pub(super) fn relayed(&mut self) {
        self.messages += 1;
    }

    fn story(&self, name: &RoomName, now: Option<Instant>) -> Story {
        let lasted = now.zip(self.opened);
        Story {
            id: self.id,
            name: name.clone(),
            lasted: lasted.map_or(Duration::ZERO, |(now, opened)| {
                now.saturating_duration_since(opened)
            }),
            most: self.most,
            messages: self.messages,
            spoken: self.spoken,
        }
    }
}

/// What a room has been so far, or until its end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Story {
    /// Which one.
    pub id: RoomId,
    /// How its members call it.
    pub name: RoomName,
    /// How long it has had members.
    pub lasted: Duration,
    /// Most members at a time.
    pub most: usize,
    /// Messages passed on in it.
    pub messages: u64,
    /// Who was in it.
    pub spoken: Spoken,
}

/// A room at one moment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct View {
    /// What it has been so far.
    pub story: Story,
    /// Whether it takes newcomers.
    pub door: Door,
    /// Who is in it.
    pub seats: Vec<Seat>,
}

/// A seat at one moment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Seat {
    /// Which one.
    pub id: SeatId,
    /// How its member is called.
    pub member: MemberId,
    /// `None`: it is kept for somebody who is away.
    pub connection: Option<ConnectionId>,
}

/// Whom to send away.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Target {
    /// Everybody in a room.
    Room(RoomId),
    /// One member.
    Seat(SeatId),
}

impl<T: Payload> Rooms<T> {
    /// The time of what is handed in from now on, by which rooms have an age.
    pub fn set_time(&mut self, now: Instant) {
        self.now = Some(now);
    }

    /// The next room that is over. To be called until there is none, after each `handle_*`.
    pub fn poll_ended(&mut self) -> Option<Story> {
        self.ended.pop_front()
    }

    /// The first `limit` rooms made after `after`, in that order. Looks at every room.
    pub fn views(&self, after: Option<RoomId>, limit: usize) -> Vec<View> {
        let mut first = BinaryHeap::with_capacity(limit.min(self.rooms.len()) + 1);
        for room in self.rooms.values() {
            if after.is_none_or(|after| room.past.id > after) {
                first.push(room.past.id);
                if first.len() > limit {
                    first.pop();
                }
            }
        }
        let Some(last) = first.peek().copied() else {
            return Vec::new();
        };
        let mut views: Vec<View> = self
            .rooms
            .iter()
            .filter(|(_, room)| {
                room.past.id <= last && after.is_none_or(|after| room.past.id > after)
            })
            .map(|(name, room)| self.view(name, room))
            .collect();
        views.sort_by_key(|view| view.story.id);
        views
    }

    fn view(&self, name: &RoomName, room: &Room<T>) -> View {
        View {
            story: room.past.story(name, self.now),
            door: room.door,
            seats: room
                .members()
                .map(|member| Seat {
                    id: member.seat,
                    member: member.id.clone(),
                    connection: member.connection,
                })
                .collect(),
        }
    }

    /// Takes the seats of those who are meant; the others are told that they left. Gives the
    /// connections that are to be cut, or `None` when nobody is meant. Looks at every room.
    pub fn handle_eviction(&mut self, target: Target) -> Option<Vec<ConnectionId>> {
        let (name, seats) = self.rooms.iter().find_map(|(name, room)| {
            let seats: Vec<_> = room
                .members()
                .filter(|member| match target {
                    Target::Room(id) => room.past.id == id,
                    Target::Seat(id) => member.seat == id,
                })
                .map(|member| (member.seat, member.connection))
                .collect();
            (!seats.is_empty()).then(|| (name.clone(), seats))
        })?;
        let mut cut = Vec::new();
        for (seat, connection) in seats {
            match connection {
                Some(connection) => {
                    self.seats.remove(&connection);
                    cut.push(connection);
                }
                None => self.away = self.away.saturating_sub(1),
            }
            self.remove(name.clone(), seat);
        }
        Some(cut)
    }

    /// Every room is over: the process ends.
    pub fn end_all(&mut self) {
        let now = self.now;
        let rooms = self.rooms.drain();
        self.ended
            .extend(rooms.map(|(name, room)| room.past.story(&name, now)));
        self.seats.clear();
        self.away = 0;
    }

    /// A room without members is over.
    pub(super) fn over(&mut self, name: &RoomName, room: &Room<T>) {
        self.ended.push_back(room.past.story(name, self.now));
    }
}
