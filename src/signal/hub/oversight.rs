//! The rooms for whoever runs the appliance: seen and ended from outside, and a line in the log
//! when one is over.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use super::desk::{Desk, Known};
use super::{Cut, Hub};
use crate::signal::core::{Door, RoomId, RoomName, SeatId, Spoken, Story, Target, View};
use crate::signal::dialect::native::NAMESPACE;
use crate::telemetry::log::{self, Client};

/// Not the name of a room or a seat.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not the name of a room or a member")]
pub struct NotAnId;

/// Names a room, or a member of one, among all that this process ever has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Id(pub Target);

impl fmt::Display for Id {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Target::Room(id) => write!(f, "r{:016x}", id.number()),
            Target::Seat(id) => write!(f, "m{:016x}", id.number()),
        }
    }
}

impl FromStr for Id {
    type Err = NotAnId;

    fn from_str(text: &str) -> Result<Self, NotAnId> {
        let (kind, digits) = text.split_at_checked(1).ok_or(NotAnId)?;
        let plain = digits.len() == 16 && digits.bytes().all(|digit| digit.is_ascii_hexdigit());
        let number = u64::from_str_radix(digits, 16).map_err(|_| NotAnId)?;
        match (kind, plain) {
            ("r", true) => Ok(Self(Target::Room(RoomId::new(number)))),
            ("m", true) => Ok(Self(Target::Seat(SeatId::new(number)))),
            _ => Err(NotAnId),
        }
    }
}

/// A room at one moment.
#[derive(Clone, Debug)]
pub struct Room {
    /// Which one.
    pub id: RoomId,
    /// What its members speak.
    pub dialect: &'static str,
    /// How they call it, unless the log keeps that to itself.
    pub name: Option<String>,
    /// How long it has had members.
    pub age: Duration,
    /// Most members at a time.
    pub most: usize,
    /// Messages passed on in it.
    pub messages: u64,
    /// Whether it is closed to newcomers.
    pub locked: bool,
    /// Who is in it.
    pub members: Vec<Member>,
}

/// A member at one moment.
#[derive(Clone, Debug)]
pub struct Member {
    /// Its seat.
    pub id: SeatId,
    /// What it calls itself, unless the log keeps that to itself.
    pub name: Option<String>,
    /// Its address as the log shows it; `None`: it is away, and its seat is kept.
    pub client: Option<String>,
}

impl Hub {
    /// The first `limit` rooms made after `after`. Looks at every room.
    pub fn rooms(&self, after: Option<RoomId>, limit: usize) -> Vec<Room> {
        self.shared.act(|desk| desk.list(after, limit))
    }

    /// Ends a room, or takes a member out of one. False: there is none of that name.
    pub fn evict(&self, target: Target) -> bool {
        self.shared.act(|desk| desk.evict(target))
    }
}

impl Desk {
    fn list(&self, after: Option<RoomId>, limit: usize) -> Vec<Room> {
        let views = self.rooms.views(after, limit);
        views.into_iter().map(|view| self.room(view)).collect()
    }

    fn room(&self, view: View) -> Room {
        let story = view.story;
        let members = view.seats.into_iter().map(|seat| {
            let known = seat.connection.and_then(|id| self.connections.get(&id));
            Member {
                id: seat.id,
                name: log::personal(seat.member.as_str().to_owned()),
                client: known.map(|known| Client(known.client).to_string()),
            }
        });
        Room {
            id: story.id,
            dialect: dialect(&story.name, story.spoken),
            name: log::personal(story.name.as_str().to_owned()),
            age: story.lasted,
            most: story.most,
            messages: story.messages,
            locked: view.door == Door::Locked,
            members: members.collect(),
        }
    }

    fn evict(&mut self, target: Target) -> bool {
        let Some(connections) = self.rooms.handle_eviction(target) else {
            return false;
        };
        for id in connections {
            if let Some(Known { outbox, .. }) = self.connections.get(&id) {
                outbox.cut(Cut::Evicted);
            }
        }
        true
    }

    /// The rooms that are over since this was last asked.
    pub(super) fn ended(&mut self) -> Vec<Story> {
        std::iter::from_fn(|| self.rooms.poll_ended()).collect()
    }
}

/// Tells the log of a room that is over.
pub(super) fn bury(story: &Story) {
    let name = log::personal(story.name.as_str().to_owned());
    // It stands alone: whoever collects these lines needs no other.
    tracing::info!(
        target: "callbox::session",
        parent: None,
        room = %Id(Target::Room(story.id)),
        dialect = dialect(&story.name, story.spoken),
        seconds = story.lasted.as_secs_f64(),
        most_members = story.most,
        messages = story.messages,
        name,
        "room ended"
    );
}

/// What the members of a room speak.
fn dialect(name: &RoomName, spoken: Spoken) -> &'static str {
    if name.namespace() != NAMESPACE {
        return name.namespace().label();
    }
    // These two share their rooms.
    match (spoken.resumable, spoken.plain) {
        (true, true) => "native and course",
        (true, false) => "native",
        _ => "course",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_read_as_it_is_written_and_in_no_other_way() {
        for id in [
            Id(Target::Room(RoomId::new(0xABC))),
            Id(Target::Seat(SeatId::new(u64::MAX))),
        ] {
            assert_eq!(id.to_string().parse(), Ok(id));
        }
        for wrong in [
            "",
            "r",
            "r12",
            "x0000000000000abc",
            "r+000000000000abc",
            "r00000000000000abc",
            "\u{661}000000000000abcd",
        ] {
            assert_eq!(wrong.parse::<Id>(), Err(NotAnId), "{wrong}");
        }
    }
}
