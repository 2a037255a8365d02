//! The rooms as the operator sees and ends them.

use std::time::Instant;

use super::{CAPACITY, Rooms, Told};
use crate::signal::core::{ConnectionId, RoomId, Target};
use crate::signal::record::{self, Account, Record, Seat, View};

impl Rooms {
    /// The next room that is over. To be called until there is none, after each `handle_*`.
    pub fn poll_ended(&mut self) -> Option<Account> {
        self.ended.pop_front()
    }

    /// Every room is over: the process ends. Nobody is told.
    pub fn end_all(&mut self, now: Instant) {
        let records = self
            .rooms
            .iter_mut()
            .filter_map(|(name, room)| Some((name, room.record.take()?)));
        let accounts = records.map(|(name, record)| record.account(Some(name), Some(now)));
        self.ended.extend(accounts);
    }

    /// The sockets of those who are in rooms with two clients.
    pub fn callers(&self) -> impl Iterator<Item = ConnectionId> {
        let calls = self.rooms.values();
        let calls = calls.filter(|room| room.occupants() >= CAPACITY);
        calls.flat_map(|room| room.members().filter_map(|member| member.socket))
    }

    /// The first `limit` rooms after `after`. Ids of clients are not shown: whoever knows one can speak
    /// for the client.
    pub fn views(&self, after: Option<RoomId>, limit: usize, now: Instant) -> Vec<View> {
        let rooms = self.rooms.iter().filter_map(|(name, room)| {
            let record: &Record = room.record.as_ref()?;
            Some((record.id(), (name, room, record)))
        });
        record::page(rooms, after, limit, |(name, room, record)| View {
            account: record.account(Some(name), Some(now)),
            seats: room
                .members()
                .filter(|member| member.is_person())
                .map(|member| Seat {
                    id: member.seat,
                    name: None,
                    connection: member.socket,
                })
                .collect(),
        })
    }

    /// Takes the places of those who are meant, and has their connections ended; others hear a goodbye.
    /// False: nobody is meant. Looks at every room.
    pub fn handle_eviction(&mut self, target: Target, now: Instant) -> bool {
        self.now = Some(now);
        let found = self.rooms.iter().find_map(|(name, room)| {
            let id = room.record.as_ref()?.id();
            let members = room
                .members()
                .filter(|member| member.is_joined() && record::is_meant(target, id, member.seat));
            let meant: Vec<_> = members
                .map(|member| (member.number, member.socket))
                .collect();
            (!meant.is_empty()).then(|| (name.clone(), meant))
        });
        let Some((room, meant)) = found else {
            return false;
        };
        for (number, socket) in meant {
            self.end(&room, number);
            if let Some(socket) = socket {
                // The other end of a call with oneself may have gone with the first.
                self.sockets.remove(&socket);
                self.tell(socket, Told::Evicted);
            }
        }
        true
    }
}
