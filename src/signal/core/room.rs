//! One room: its members in the order in which they came.

use super::{ConnectionId, MemberId};

/// Members are found by walking: a room holds a handful, and order is what the protocol asks for.
#[derive(Debug, Default)]
pub(super) struct Room {
    members: Vec<Member>,
}

/// A seat that is taken.
#[derive(Debug)]
pub(super) struct Member {
    pub(super) connection: ConnectionId,
    pub(super) id: MemberId,
}

impl Room {
    pub(super) fn len(&self) -> usize {
        self.members.len()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.members.is_empty()
    }

    pub(super) fn members(&self) -> impl Iterator<Item = &Member> {
        self.members.iter()
    }

    pub(super) fn by_id(&self, id: &MemberId) -> Option<&Member> {
        self.members.iter().find(|member| member.id == *id)
    }

    pub(super) fn by_connection(&self, connection: ConnectionId) -> Option<&Member> {
        self.members
            .iter()
            .find(|member| member.connection == connection)
    }

    /// The one member besides `connection`, if there is exactly one.
    pub(super) fn only_other(&self, connection: ConnectionId) -> Option<&Member> {
        let mut others = self
            .members
            .iter()
            .filter(|member| member.connection != connection);
        let first = others.next();
        if others.next().is_some() { None } else { first }
    }

    pub(super) fn add(&mut self, connection: ConnectionId, id: MemberId) {
        self.members.push(Member { connection, id });
    }

    pub(super) fn remove(&mut self, connection: ConnectionId) -> Option<Member> {
        let at = self
            .members
            .iter()
            .position(|member| member.connection == connection)?;
        Some(self.members.remove(at))
    }
}
