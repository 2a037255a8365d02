//! Coming into a room: by joining, or as a client of an external room server.

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::id::{CLIENT_MAX, LOOPBACK, ROOM_MAX, is_id, is_loopback};
use super::room::{Member, Room};
use super::{CAPACITY, Refusal, Rooms, Welcome};
use crate::signal::dialect::collider::Complaint;

impl Rooms {
    pub(super) fn join(
        &mut self,
        room: &str,
        client: &str,
        loopback: bool,
        now: Instant,
    ) -> Result<Welcome, Refusal> {
        let there = self.rooms.get(room);
        if there.is_none() && self.rooms.len() >= self.limits.max_rooms {
            return Err(Refusal::TooManyRooms);
        }
        if there.is_some_and(|there| there.by_id(client).is_some()) {
            return Err(Refusal::Duplicate);
        }
        if let Some(there) = there.filter(|there| there.occupants() >= CAPACITY) {
            // A page that was reloaded would otherwise be kept out by itself, and so would a phone whose
            // user has given up before it had its socket, and tries again.
            let before = now.checked_sub(self.limits.settling);
            let Some(gone) = there.members().find(|one| one.gives_way(before)) else {
                return Err(Refusal::Full);
            };
            let gone = gone.number;
            self.end(room, gone);
        }
        let (mut messages, mut freed) = (Vec::new(), 0);
        let is_initiator = match self.rooms.get_mut(room).and_then(Room::first_joined_mut) {
            Some(other) => {
                (messages, freed) = other.stored.take();
                false
            }
            None => true,
        };
        self.held = self.held.saturating_sub(freed);
        self.add(room, client, now, self.limits.arrival);
        if loopback && is_initiator {
            self.add_loopback(room);
        }
        Ok(Welcome {
            is_initiator,
            messages,
        })
    }

    /// A client of an external room server.
    pub(super) fn stranger(
        &mut self,
        room: &str,
        client: &str,
        now: Instant,
    ) -> Result<u64, Complaint> {
        let there = self.rooms.get(room);
        let occupants = there.map_or(0, Room::occupants);
        if occupants >= CAPACITY {
            return Err(Complaint::Full);
        }
        let has_place = there.is_some() || self.rooms.len() < self.limits.max_rooms;
        let is_possible = is_id(room, ROOM_MAX) && is_id(client, CLIENT_MAX);
        if !self.limits.open || !has_place || !is_possible || is_loopback(client) {
            return Err(Complaint::Unknown);
        }
        let stored = self.rooms.get_mut(room).and_then(Room::first_joined_mut);
        // Counted as held all the time.
        let said = stored.map(|other| std::mem::take(&mut other.stored));
        let number = self.add(room, client, now, self.limits.grace);
        if let (Some(member), Some(said)) = (self.member_mut(room, number), said) {
            member.waiting = said;
        }
        Ok(number)
    }

    fn add(&mut self, room: &str, client: &str, now: Instant, patience: Duration) -> u64 {
        let (number, seat) = (self.tick(), self.numbers.seat());
        let there = match self.rooms.get_mut(room) {
            Some(there) => there,
            None => self.rooms.entry(room.into()).or_default(),
        };
        let mut member = Member::new(number, seat, client.into());
        member.silent_since = Some(now);
        let surplus = there.add(member);
        let people = there.people();
        let numbers = &mut self.numbers;
        let record = there.record.get_or_insert_with(|| numbers.open(Some(now)));
        record.has(people);
        self.clients += 1;
        if let Some(surplus) = surplus {
            self.end(room, surplus);
        }
        let name = self
            .rooms
            .get_key_value(room)
            .map(|(name, _)| Arc::clone(name));
        if let Some(name) = name {
            self.set_deadline(&name, number, Some(now + patience));
        }
        number
    }

    fn add_loopback(&mut self, room: &str) {
        let (number, seat) = (self.tick(), self.numbers.seat());
        if let Some(there) = self.rooms.get_mut(room) {
            let mut echo = Member::new(number, seat, LOOPBACK.into());
            echo.is_loopback = true;
            there.add(echo);
            self.clients += 1;
        }
    }
}
