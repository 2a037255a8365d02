//! What the admin listener shows of sessions: allocations first, then rooms, page by page.

use serde_json::{Value, json};

use crate::admin::sessions::{Failure, Kind, Later, Sessions, Wish};
use crate::signal::core::{RoomId, Target};
use crate::signal::hub::Hub;
use crate::signal::oversight::{Id, Room};
use crate::turn::core::Traffic;
use crate::turn::io::{self, Place, Session, SessionId, SessionTable};

/// Both kinds of sessions.
pub(super) struct Everything {
    pub(super) allocations: SessionTable,
    pub(super) hub: Hub,
}

/// Where a page begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Cursor {
    Allocations(Place),
    Rooms(Option<RoomId>),
}

impl Cursor {
    fn of(wish: &Wish) -> Result<Self, Failure> {
        let cursor = match (&wish.cursor, wish.only) {
            (Some(text), _) => Self::parse(text).ok_or(Failure::Cursor)?,
            (None, Some(Kind::Rooms)) => Self::Rooms(None),
            (None, _) => Self::Allocations(Place::default()),
        };
        match (cursor, wish.only) {
            (Self::Rooms(_), Some(Kind::Allocations))
            | (Self::Allocations(_), Some(Kind::Rooms)) => Err(Failure::Cursor),
            _ => Ok(cursor),
        }
    }

    fn parse(text: &str) -> Option<Self> {
        if text == "rooms" {
            return Some(Self::Rooms(None));
        }
        if let Ok(Id(Target::Room(last))) = text.parse() {
            return Some(Self::Rooms(Some(last)));
        }
        let (worker, slot) = text.strip_prefix('a')?.split_once('-')?;
        Some(Self::Allocations(Place {
            worker: worker.parse().ok()?,
            slot: slot.parse().ok()?,
        }))
    }

    fn text(self) -> String {
        match self {
            Self::Allocations(place) => format!("a{}-{}", place.worker, place.slot),
            Self::Rooms(None) => "rooms".to_owned(),
            Self::Rooms(Some(room)) => Id(Target::Room(room)).to_string(),
        }
    }
}

impl Sessions for Everything {
    fn page(&self, wish: Wish) -> Later<'_, Value> {
        Box::pin(async move {
            let mut allocations = Vec::new();
            let mut rooms = Vec::new();
            let mut next = Some(Cursor::of(&wish)?);
            if let Some(Cursor::Allocations(from)) = next {
                let (found, rest) = self.allocations.list(from, wish.limit).await?;
                allocations = found;
                next = match (rest, wish.only) {
                    (Some(place), _) => Some(Cursor::Allocations(place)),
                    (None, Some(Kind::Allocations)) => None,
                    (None, _) => Some(Cursor::Rooms(None)),
                };
            }
            let left = wish.limit - allocations.len();
            if let Some(Cursor::Rooms(after)) = next
                && left > 0
            {
                rooms = self.hub.rooms(after, left);
                let last = rooms.last().filter(|_| rooms.len() == left);
                next = last.map(|room| Cursor::Rooms(Some(room.id)));
            }
            Ok(json!({
                "allocations": allocations.iter().map(allocation).collect::<Vec<_>>(),
                "rooms": rooms.iter().map(room).collect::<Vec<_>>(),
                "next": next.map(Cursor::text),
            }))
        })
    }

    fn end(&self, id: String) -> Later<'_, ()> {
        Box::pin(async move {
            let ended = if let Ok(id) = id.parse::<SessionId>() {
                self.allocations.end(id).await?
            } else if let Ok(Id(target)) = id.parse() {
                self.hub.evict(target)
            } else {
                false
            };
            if ended {
                tracing::info!(session = id, "ended by the operator");
            }
            ended.then_some(()).ok_or(Failure::Unknown)
        })
    }
}

impl From<io::Busy> for Failure {
    fn from(_: io::Busy) -> Self {
        Self::Busy
    }
}

fn allocation(session: &Session) -> Value {
    let [v4, v6] = session.ports;
    json!({
        "id": session.id.to_string(),
        "client": session.client,
        "transport": session.transport.name(),
        "relay_ports": { "ipv4": v4, "ipv6": v6 },
        "age_seconds": session.age.as_secs(),
        "expires_in_seconds": session.expires_in.as_secs(),
        "permissions": session.permissions,
        "channels": session.channels,
        "sent": traffic(&session.to_peers),
        "received": traffic(&session.to_client),
        "user": session.user,
    })
}

fn traffic(traffic: &Traffic) -> Value {
    json!({ "packets": traffic.packets, "bytes": traffic.bytes })
}

fn room(room: &Room) -> Value {
    let members: Vec<Value> = room
        .members
        .iter()
        .map(|member| {
            json!({
                "id": Id(Target::Seat(member.id)).to_string(),
                "client": member.client,
                "away": member.client.is_none(),
                "name": member.name,
            })
        })
        .collect();
    json!({
        "id": Id(Target::Room(room.id)).to_string(),
        "dialect": room.dialect,
        "age_seconds": room.age.as_secs(),
        "most_members": room.most,
        "messages": room.messages,
        "locked": room.locked,
        "members": members,
        "name": room.name,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cursor_is_read_as_it_is_written() {
        for cursor in [
            Cursor::Allocations(Place { worker: 1, slot: 7 }),
            Cursor::Rooms(None),
            Cursor::Rooms(Some(RoomId::new(0xABC))),
        ] {
            assert_eq!(Cursor::parse(&cursor.text()), Some(cursor));
        }
        for wrong in ["", "a1", "a1-x", "room", "m0000000000000abc", "a1-7-3"] {
            assert_eq!(Cursor::parse(wrong), None, "{wrong}");
        }
    }
}
