//! One room: its members in the order in which they came.

use super::log::{Budget, Log};
use super::summary::Past;
use super::{ConnectionId, Door, Event, MemberId, Other, Payload, SeatId, Terms};

/// Members are found by walking: a room holds a handful, and order is what the protocol asks for.
#[derive(Debug)]
pub(super) struct Room<T> {
    members: Vec<Member<T>>,
    pub(super) door: Door,
    pub(super) past: Past,
}

/// A seat that is taken.
#[derive(Debug)]
pub(super) struct Member<T> {
    pub(super) id: MemberId,
    pub(super) seat: SeatId,
    /// None while the seat is kept for somebody who lost theirs.
    pub(super) connection: Option<ConnectionId>,
    pub(super) terms: Terms,
    /// Of a seat that can be resumed. On the heap: most members of most dialects have none.
    pub(super) log: Option<Box<Log<T>>>,
}

impl<T: Payload> Member<T> {
    /// Takes note of an event for this member. Gives the number it has there.
    pub(super) fn record(&mut self, event: &Event<T>, budget: &mut Budget) -> Option<u64> {
        let log = self.log.as_mut()?;
        Some(log.record(event.clone(), budget))
    }

    /// A message of this member came in.
    pub(super) fn count(&mut self) {
        if let Some(log) = &mut self.log {
            log.received += 1;
        }
    }
}

impl<T> Room<T> {
    /// An empty room.
    pub(super) fn new(past: Past) -> Self {
        Self {
            members: Vec::new(),
            door: Door::Open,
            past,
        }
    }

    pub(super) fn members(&self) -> impl Iterator<Item = &Member<T>> {
        self.members.iter()
    }

    pub(super) fn len(&self) -> usize {
        self.members.len()
    }

    /// Members who are not away.
    pub(super) fn present(&self) -> usize {
        let connected = |member: &&Member<T>| member.connection.is_some();
        self.members.iter().filter(connected).count()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.members.is_empty()
    }

    pub(super) fn members_mut(&mut self) -> impl Iterator<Item = &mut Member<T>> {
        self.members.iter_mut()
    }

    pub(super) fn by_id(&self, id: &MemberId) -> Option<&Member<T>> {
        self.members.iter().find(|member| member.id == *id)
    }

    pub(super) fn by_connection(&self, connection: ConnectionId) -> Option<&Member<T>> {
        self.members
            .iter()
            .find(|member| member.connection == Some(connection))
    }

    pub(super) fn by_connection_mut(&mut self, connection: ConnectionId) -> Option<&mut Member<T>> {
        self.members
            .iter_mut()
            .find(|member| member.connection == Some(connection))
    }

    pub(super) fn by_seat_mut(&mut self, seat: SeatId) -> Option<&mut Member<T>> {
        self.members.iter_mut().find(|member| member.seat == seat)
    }

    /// The others, as the member in `seat` sees them.
    pub(super) fn others(&self, seat: SeatId) -> Vec<Other> {
        let mut first = true;
        let mut others = Vec::with_capacity(self.members.len().saturating_sub(1));
        for member in &self.members {
            if member.seat == seat {
                first = false;
            } else {
                others.push(Other {
                    member: member.id.clone(),
                    first,
                });
            }
        }
        others
    }

    pub(super) fn add(&mut self, member: Member<T>) {
        let resumable = member.terms.resumable;
        self.members.push(member);
        self.past.joined(self.members.len(), resumable);
    }

    pub(super) fn remove(&mut self, seat: SeatId) -> Option<Member<T>> {
        let at = self.members.iter().position(|member| member.seat == seat)?;
        Some(self.members.remove(at))
    }
}
