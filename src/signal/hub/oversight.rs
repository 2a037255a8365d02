//! All rooms for whoever runs the appliance: seen, ended and cleared from outside, and a line in the
//! log when one is over.

use std::collections::HashSet;

use super::desk::{Desk, Known};
use super::{Cut, Hub};
use crate::signal::core::{ConnectionId, Door, RoomId, RoomName, Spoken, Story, Target, View};
use crate::signal::dialect::native::NAMESPACE;
use crate::signal::oversight::{self, Ended, Member, Room};
use crate::telemetry::log::{self, Client};

impl Hub {
    /// The first `limit` rooms after `after`: those of one world in the order in which they were
    /// made. Looks at every room.
    pub fn rooms(&self, after: Option<RoomId>, limit: usize) -> Vec<Room> {
        let shared = &self.shared;
        let mut rooms = shared.act(|desk| desk.list(after, limit));
        rooms.extend(shared.apprtc.rooms(after, limit));
        rooms.extend(shared.guests.rooms(after, limit));
        rooms.sort_by_key(|room| room.id);
        rooms.truncate(limit);
        rooms
    }

    /// Ends a room, or takes a member out of one. False: there is none of that name.
    pub fn evict(&self, target: Target) -> bool {
        let shared = &self.shared;
        shared.apprtc.evict(target)
            || shared.guests.evict(target)
            || shared.act(|desk| desk.evict(target))
    }

    /// Sends everybody away who is in no call, as at the end. For a process whose place another one
    /// has taken: who waits here waits in vain. Looks at every room.
    pub fn dismiss(&self) {
        let shared = &self.shared;
        let mut callers: HashSet<_> = shared.apprtc.callers().into_iter().collect();
        callers.extend(shared.guests.callers());
        shared.act(|desk| desk.dismiss(callers));
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

    fn dismiss(&self, mut callers: HashSet<ConnectionId>) {
        callers.extend(self.rooms.callers());
        let mut others = 0_u32;
        for (id, known) in &self.connections {
            if !callers.contains(id) {
                known.outbox.cut(Cut::Restart);
                others += 1;
            }
        }
        if others > 0 {
            tracing::debug!(others, "in no call: sent to the other process");
        }
    }

    /// The rooms that are over since this was last asked.
    pub(super) fn ended(&mut self) -> Vec<Story> {
        std::iter::from_fn(|| self.rooms.poll_ended()).collect()
    }
}

/// Tells the log of a room that is over.
pub(super) fn bury(story: &Story) {
    oversight::say(&Ended {
        id: story.id,
        dialect: dialect(&story.name, story.spoken),
        lasted: story.lasted,
        most: story.most,
        messages: story.messages,
        name: Some(story.name.as_str()),
    });
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
