//! Giving up a place, and being forgotten.

use std::sync::Arc;
use std::time::Instant;

use super::Rooms;
use super::room::{Room, Standing};
use crate::signal::dialect::collider::BYE;

impl Rooms {
    /// A member gives up its place, and keeps its voice as long as it has a socket, or for a while.
    pub(super) fn depart(&mut self, room: &str, number: u64, now: Instant) {
        let moment = self.tick();
        let Some((name, there)) = self.rooms.get_key_value(room) else {
            return;
        };
        let name = Arc::clone(name);
        let is_unheard = there
            .members()
            .all(|other| other.number == number || !other.is_joined() || other.is_loopback);
        let Some(member) = self.member_mut(&name, number) else {
            return;
        };
        if !member.is_joined() {
            return;
        }
        member.standing = Standing::Left(moment);
        let done = is_unheard || member.has_said_goodbye;
        let socket = member.socket;
        self.conclude(&name);
        match (socket, done) {
            (Some(_), _) => {}
            (None, true) => self.end(&name, number),
            (None, false) => self.set_deadline(&name, number, Some(now + self.limits.grace)),
        }
        self.silence(&name, moment);
    }

    /// A room in which nobody has a place any more is over, even if goodbyes are still to be said.
    fn conclude(&mut self, room: &str) {
        let over = self.rooms.get_mut(room).and_then(Room::take_over);
        let now = self.now;
        self.ended
            .extend(over.map(|record| record.account(Some(room), now)));
    }

    /// Who calls itself leaves with itself.
    fn silence(&mut self, room: &str, moment: u64) {
        let echo = self.rooms.get_mut(room).and_then(Room::loopback_mut);
        let Some(echo) = echo.filter(|echo| echo.is_joined()) else {
            return;
        };
        echo.standing = Standing::Left(moment);
        let number = echo.number;
        if echo.socket.is_none() {
            self.end(room, number);
        }
    }

    /// Forgets a member. Whoever knew it and has heard no goodbye hears one from us.
    pub(super) fn end(&mut self, room: &str, number: u64) {
        self.set_deadline_none(room, number);
        let Some(there) = self.rooms.get_mut(room) else {
            return;
        };
        let Some(mut member) = there.remove(number) else {
            return;
        };
        let hearers: Vec<u64> = match member.has_said_goodbye || member.is_loopback {
            true => Vec::new(),
            false => there.hearers(&member).collect(),
        };
        let is_owner = member.is_joined() && !member.is_loopback;
        let freed = member.stored.take().1 + member.waiting.take().1;
        self.conclude(room);
        if self.rooms.get(room).is_some_and(Room::is_empty) {
            self.rooms.remove(room);
        }
        self.clients = self.clients.saturating_sub(1);
        self.held = self.held.saturating_sub(freed);
        if let Some(socket) = member.socket {
            self.sockets.remove(&socket);
        }
        if is_owner {
            let moment = self.tick();
            self.silence(room, moment);
        }
        for hearer in hearers {
            self.counters.goodbyes += 1;
            self.hear_goodbye(room, hearer, BYE.into());
        }
    }
}
