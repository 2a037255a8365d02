//! What the operator is told of rooms that are not [`super::core`]'s: AppRTC's, and what comes closest
//! to a room in the further dialects. Numbers, and what each has been. Pure.

use std::collections::BinaryHeap;
use std::time::{Duration, Instant};

use super::core::{ConnectionId, RoomId, SeatId, Target};

/// A set of rooms apart from all others.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum World {
    /// Rooms of AppRTC.
    AppRtc,
    /// Calls between two clients of PeerJS.
    PeerJs,
    /// Topics of y-webrtc.
    Topics,
    /// Calls between two clients of flutter-webrtc-demo.
    Lobby,
}

impl World {
    /// What its clients speak, for people.
    pub const fn dialect(self) -> &'static str {
        match self {
            Self::AppRtc => "apprtc",
            Self::PeerJs => "peerjs",
            Self::Topics => "y-webrtc",
            Self::Lobby => "flutter",
        }
    }

    /// The first bits of its rooms' numbers. Those of [`super::core::Rooms`] begin with a zero.
    const fn prefix(self) -> u64 {
        match self {
            Self::AppRtc => 0b100,
            Self::PeerJs => 0b101,
            Self::Topics => 0b110,
            Self::Lobby => 0b111,
        }
    }
}

/// Gives the rooms of one world and their members numbers that nothing else of this process has, nor
/// had in an earlier one. In the order of these numbers worlds stand one after the other, and each
/// one's rooms in the order in which they were made.
#[derive(Debug)]
pub struct Numbers {
    world: World,
    room: u64,
    seat: u64,
}

impl Numbers {
    /// Begins somewhere.
    pub const fn new(world: World, random: u64) -> Self {
        Self {
            world,
            // Never near its end.
            room: world.prefix() << 61 | random >> 4,
            seat: random.rotate_left(32),
        }
    }

    /// The next room begins.
    pub fn open(&mut self, now: Option<Instant>) -> Record {
        self.room += 1;
        Record {
            id: RoomId::new(self.room),
            world: self.world,
            opened: now,
            most: 0,
            messages: 0,
        }
    }

    /// The next member's number.
    pub fn seat(&mut self) -> SeatId {
        self.seat = self.seat.wrapping_add(1);
        SeatId::new(self.seat)
    }
}

/// What a room is and has been.
#[derive(Clone, Copy, Debug)]
pub struct Record {
    id: RoomId,
    world: World,
    opened: Option<Instant>,
    most: usize,
    messages: u64,
}

impl Record {
    /// Which room it is.
    pub fn id(&self) -> RoomId {
        self.id
    }

    /// There are so many members now.
    pub fn has(&mut self, members: usize) {
        self.most = self.most.max(members);
    }

    /// Messages have been passed on.
    pub fn passed(&mut self, messages: u64) {
        self.messages += messages;
    }

    /// The same for whoever wants to know, of a room that its members call so.
    pub fn account(&self, name: Option<&str>, now: Option<Instant>) -> Account {
        let lasted = now.zip(self.opened);
        Account {
            id: self.id,
            world: self.world,
            name: name.map(Box::from),
            lasted: lasted.map_or(Duration::ZERO, |(now, opened)| {
                now.saturating_duration_since(opened)
            }),
            most: self.most,
            messages: self.messages,
        }
    }
}

/// What a room has been so far, or until its end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Account {
    /// Which one.
    pub id: RoomId,
    /// Where it is.
    pub world: World,
    /// How its members call it, if it has a name.
    pub name: Option<Box<str>>,
    /// How long it has had members.
    pub lasted: Duration,
    /// Most members at a time.
    pub most: usize,
    /// Messages passed on in it.
    pub messages: u64,
}

/// A room at one moment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct View {
    /// What it has been so far.
    pub account: Account,
    /// Who is in it.
    pub seats: Vec<Seat>,
}

/// A member at one moment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Seat {
    /// Which one.
    pub id: SeatId,
    /// What it calls itself, if that is no secret.
    pub name: Option<Box<str>>,
    /// `None`: it has lost its connection, or has not opened one yet.
    pub connection: Option<ConnectionId>,
}

/// Whether a member with this number, in this room, is meant.
pub fn is_meant(target: Target, room: RoomId, seat: SeatId) -> bool {
    match target {
        Target::Room(id) => id == room,
        Target::Seat(id) => id == seat,
    }
}

/// The first `limit` of these rooms after `after`, in order, as `view` shows them.
pub fn page<T>(
    rooms: impl Iterator<Item = (RoomId, T)> + Clone,
    after: Option<RoomId>,
    limit: usize,
    mut view: impl FnMut(T) -> View,
) -> Vec<View> {
    let is_later = |id: RoomId| after.is_none_or(|after| id > after);
    let mut first = BinaryHeap::new();
    for (id, _) in rooms.clone().filter(|(id, _)| is_later(*id)) {
        first.push(id);
        if first.len() > limit {
            first.pop();
        }
    }
    let Some(last) = first.peek().copied() else {
        return Vec::new();
    };
    let mut views: Vec<View> = rooms
        .filter(|(id, _)| is_later(*id) && *id <= last)
        .map(|(_, room)| view(room))
        .collect();
    views.sort_by_key(|view| view.account.id);
    views
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn worlds_stand_one_after_the_other_whatever_they_begin_with() {
        let worlds = [World::AppRtc, World::PeerJs, World::Topics, World::Lobby];
        for random in [0, 1, u64::MAX / 3, u64::MAX] {
            let mut before = RoomId::new(u64::MAX >> 1);
            for world in worlds {
                let mut numbers = Numbers::new(world, random);
                for _ in 0..3 {
                    let id = numbers.open(None).id();
                    assert!(id > before, "{world:?} {random}");
                    before = id;
                }
                assert_ne!(numbers.seat(), numbers.seat());
            }
        }
    }

    #[test]
    fn pages_follow_each_other_without_gaps() {
        let mut numbers = Numbers::new(World::Topics, 7);
        let mut records: Vec<_> = (0..5).map(|_| numbers.open(None)).collect();
        records.reverse();
        let rooms = || records.iter().map(|record| (record.id(), record));
        let view = |record: &Record| View {
            account: record.account(None, None),
            seats: Vec::new(),
        };
        let mut seen = Vec::new();
        let mut after = None;
        loop {
            let page = page(rooms(), after, 2, view);
            let Some(last) = page.last() else { break };
            after = Some(last.account.id);
            seen.extend(page.iter().map(|view| view.account.id));
        }
        records.reverse();
        let all: Vec<_> = records.iter().map(Record::id).collect();
        assert_eq!(seen, all);
    }
}
