//! What members say: passed on, or kept for who comes next.

use std::sync::Arc;
use std::time::Instant;

use super::{Lost, Rooms, Size, Told};
use crate::signal::dialect::collider::{BYE, is_bye};

impl Rooms {
    /// Passes on what a member says, or keeps it.
    pub(super) fn relay(
        &mut self,
        room: &str,
        number: u64,
        body: Arc<str>,
        now: Instant,
    ) -> Result<(), Lost> {
        let there = self.rooms.get(room).ok_or(Lost::UnknownRoom)?;
        let sender = there.by_number(number).ok_or(Lost::UnknownClient)?;
        if sender.has_said_goodbye {
            // What was still on its way belongs to a call that is over.
            return Ok(());
        }
        let hearers: Vec<u64> = there.hearers(sender).collect();
        let is_joined = sender.is_joined();
        self.touch(room, number, now);
        if is_bye(&body) {
            if let Some(sender) = self.member_mut(room, number) {
                sender.has_said_goodbye = true;
            }
            self.passed(room);
            // Before anybody hears of it: whoever answers with a new offer must find the place free.
            self.depart(room, number, now);
            for hearer in hearers {
                self.hear_goodbye(room, hearer, Arc::clone(&body));
            }
            return Ok(());
        }
        match (hearers.is_empty(), is_joined) {
            (true, true) => self.store(room, number, body)?,
            (true, false) => return Ok(()),
            (false, _) => {
                for hearer in hearers {
                    self.hear(room, hearer, Arc::clone(&body))?;
                }
            }
        }
        self.passed(room);
        Ok(())
    }

    fn passed(&mut self, room: &str) {
        let record = self
            .rooms
            .get_mut(room)
            .and_then(|there| there.record.as_mut());
        if let Some(record) = record {
            record.passed(1);
        }
    }

    pub(super) fn hear(&mut self, room: &str, number: u64, body: Arc<str>) -> Result<(), Lost> {
        let allowed = self.allowed(self.limits.waiting);
        let Some(member) = self.member_mut(room, number) else {
            return Ok(());
        };
        if let Some(socket) = member.socket {
            self.tell(socket, Told::Message(body));
            return Ok(());
        }
        let weight = body.len();
        if member.waiting.has_room(weight, allowed) {
            member.waiting.push(body);
            self.held = self.held.saturating_add(weight);
            return Ok(());
        }
        // Clients that call themselves without listening are many and mean no harm.
        match member.is_loopback {
            true => Ok(()),
            false => Err(Lost::TooManyWaiting),
        }
    }

    /// The call of this member is over: what it has said so far is for nobody else.
    pub(super) fn hear_goodbye(&mut self, room: &str, number: u64, body: Arc<str>) {
        if let Some(member) = self.member_mut(room, number) {
            let (_, freed) = member.stored.take();
            self.held = self.held.saturating_sub(freed);
        }
        if self.hear(room, number, body).is_err() {
            // It has no socket, and more waits for it than it can need. The goodbye counts most.
            let freed = self
                .member_mut(room, number)
                .map_or(0, |member| member.waiting.take().1);
            self.held = self.held.saturating_sub(freed);
            let _ = self.hear(room, number, BYE.into());
        }
    }

    pub(super) fn store(&mut self, room: &str, number: u64, body: Arc<str>) -> Result<(), Lost> {
        // Those of an open Collider wait for a socket and not for an answer.
        let allowed = self.allowed(match self.limits.open {
            true => self.limits.waiting,
            false => self.limits.stored,
        });
        let weight = body.len();
        let Some(member) = self.member_mut(room, number) else {
            return Err(Lost::UnknownClient);
        };
        if !member.stored.has_room(weight, allowed) {
            return Err(Lost::TooManyStored);
        }
        member.stored.push(body);
        self.held = self.held.saturating_add(weight);
        Ok(())
    }

    /// What may be in a queue now.
    pub(super) fn allowed(&self, size: Size) -> Size {
        match self.held > self.limits.total {
            true => Size {
                bytes: size.bytes.min(self.limits.squeezed),
                ..size
            },
            false => size,
        }
    }
}
