//! Until when members without a socket are waited for.

use std::sync::Arc;
use std::time::Instant;

use super::Rooms;

impl Rooms {
    /// When [`Rooms::handle_timeout`] is next needed.
    pub fn poll_timeout(&self) -> Option<Instant> {
        self.deadlines.keys().next().map(|(at, _)| *at)
    }

    /// Gives up those whose time has come.
    pub fn handle_timeout(&mut self, now: Instant) {
        self.now = Some(now);
        while let Some(entry) = self.deadlines.first_entry() {
            let (at, number) = *entry.key();
            if at > now {
                return;
            }
            let room = entry.remove();
            self.end(&room, number);
        }
    }

    /// A member without a socket shows that it lives.
    pub(super) fn touch(&mut self, room: &str, number: u64, now: Instant) {
        let Some((name, there)) = self.rooms.get_key_value(room) else {
            return;
        };
        let Some(member) = there.by_number(number) else {
            return;
        };
        if member.socket.is_some() || !member.is_joined() || member.is_loopback {
            return;
        }
        let patience = match member.was_registered {
            true => self.limits.grace,
            false => self.limits.arrival,
        };
        let name = Arc::clone(name);
        if let Some(member) = self.member_mut(&name, number) {
            member.silent_since = Some(now);
        }
        self.set_deadline(&name, number, Some(now + patience));
    }

    pub(super) fn set_deadline(&mut self, room: &Arc<str>, number: u64, at: Option<Instant>) {
        let Some(member) = self.member_mut(room, number) else {
            return;
        };
        let before = std::mem::replace(&mut member.deadline, at);
        if let Some(before) = before {
            self.deadlines.remove(&(before, number));
        }
        if let Some(at) = at {
            self.deadlines.insert((at, number), Arc::clone(room));
        }
    }

    pub(super) fn set_deadline_none(&mut self, room: &str, number: u64) {
        let before = self
            .member_mut(room, number)
            .and_then(|member| member.deadline.take());
        if let Some(before) = before {
            self.deadlines.remove(&(before, number));
        }
    }
}
