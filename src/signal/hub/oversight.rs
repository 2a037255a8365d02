//! All rooms for whoever runs the appliance: seen and ended from outside. A question waits for the
//! hub's turn like any other command, and no longer than `PATIENCE`. AppRTC's rooms and those of the
//! further dialects are asked directly.

use std::time::Duration;

use tokio::sync::oneshot;

use super::{Command, Cut, Hub, Known, Owner};
use crate::net::clock;
use crate::signal::core::{Door, RoomId, RoomName, Spoken, Story, Target, View};
use crate::signal::dialect::native::NAMESPACE;
use crate::signal::oversight::{self, Ended, Member, Room};
use crate::telemetry::log::{self, Client};

/// How long the hub may take to answer.
const PATIENCE: Duration = Duration::from_secs(2);

/// The hub did not answer in time, or has ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("signaling is too busy to answer, or has ended")]
pub struct Busy;

impl Hub {
    /// The first `limit` rooms after `after`: those of one world in the order in which they were made.
    pub async fn rooms(&self, after: Option<RoomId>, limit: usize) -> Result<Vec<Room>, Busy> {
        let mut rooms = self.ask(|reply| Command::List(after, limit, reply)).await?;
        for world in [
            self.shared.apprtc.rooms(after, limit),
            self.shared.guests.rooms(after, limit),
        ] {
            rooms.extend(world);
        }
        rooms.sort_by_key(|room| room.id);
        rooms.truncate(limit);
        Ok(rooms)
    }

    /// Ends a room, or takes a member out of one. False: there is none of that name.
    pub async fn evict(&self, target: Target) -> Result<bool, Busy> {
        if self.shared.apprtc.evict(target) || self.shared.guests.evict(target) {
            return Ok(true);
        }
        self.ask(|reply| Command::Evict(target, reply)).await
    }

    async fn ask<T>(
        &self,
        question: impl FnOnce(oneshot::Sender<T>) -> Command,
    ) -> Result<T, Busy> {
        let (reply, answer) = oneshot::channel();
        let asked = async {
            let sent = self.shared.mailbox.send(question(reply)).await;
            sent.map_err(|_| Busy)?;
            answer.await.map_err(|_| Busy)
        };
        tokio::time::timeout(PATIENCE, asked)
            .await
            .unwrap_or(Err(Busy))
    }
}

impl Owner {
    pub(super) fn list(&mut self, after: Option<RoomId>, limit: usize) -> Vec<Room> {
        self.rooms.set_time(clock::now());
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

    pub(super) fn evict(&mut self, target: Target) -> bool {
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

    /// Tells the log of rooms that are over.
    pub(super) fn bury(&mut self) {
        while let Some(story) = self.rooms.poll_ended() {
            say(&story);
        }
    }
}

fn say(story: &Story) {
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
