//! The lobbies of flutter-webrtc-demo: everybody in one sees who is there, and calls whom it likes.

use std::collections::HashMap;
use std::collections::hash_map::Entry;

use super::Letter;
use super::calls::{Calls, Word};
use crate::signal::core::{ConnectionId, MemberId, RoomName};
use crate::signal::dialect::lobby::{self, Person};
use crate::signal::record::Numbers;

/// How much is held at most.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Lobbies with people in them.
    pub lobbies: usize,
    /// People in one.
    pub people: usize,
}

/// All lobbies.
#[derive(Debug)]
pub struct Lobbies {
    limits: Limits,
    /// No entry is ever empty.
    lobbies: HashMap<RoomName, Vec<Seat>>,
    /// The inverse.
    seats: HashMap<ConnectionId, RoomName>,
    calls: Calls<MemberId>,
}

#[derive(Debug)]
struct Seat {
    connection: ConnectionId,
    person: Person,
}

impl Lobbies {
    /// None yet.
    pub fn new(limits: Limits, numbers: Numbers) -> Self {
        Self {
            calls: Calls::new(numbers, limits.lobbies),
            limits,
            lobbies: HashMap::new(),
            seats: HashMap::new(),
        }
    }

    /// Other limits, for whoever comes from now on.
    pub fn limit(&mut self, limits: Limits) {
        self.limits = limits;
        self.calls.limit(limits.lobbies);
    }

    /// Who is in a call with whom.
    pub fn calls(&self) -> &Calls<MemberId> {
        &self.calls
    }

    /// The same, to be told what else there is.
    pub fn calls_mut(&mut self) -> &mut Calls<MemberId> {
        &mut self.calls
    }

    /// A client wants to be seen in a lobby, and everybody there is told. It leaves another one.
    pub fn handle_new(
        &mut self,
        connection: ConnectionId,
        lobby: RoomName,
        person: Person,
        may_create: bool,
        out: &mut Vec<Letter>,
    ) -> Result<(), &'static str> {
        let people = self.lobbies.get(&lobby);
        if people.is_none() && !may_create {
            return Err("there is no such room");
        }
        if people.is_none() && self.lobbies.len() >= self.limits.lobbies {
            return Err("the server has no place for another room");
        }
        let others = || {
            let people = people.into_iter().flatten();
            people.filter(|seat| seat.connection != connection)
        };
        if others().any(|seat| seat.person.id == person.id) {
            return Err("this id is in use");
        }
        if others().count() >= self.limits.people {
            return Err("room is full");
        }
        match self.seats.get(&connection) {
            // It says anew who it is.
            Some(before) if *before == lobby => {
                let people = self.lobbies.get_mut(&lobby).into_iter().flatten();
                for seat in people.filter(|seat| seat.connection == connection) {
                    seat.person = person.clone();
                }
            }
            _ => {
                self.handle_leave(connection, out);
                let people = self.lobbies.entry(lobby.clone()).or_default();
                people.push(Seat { connection, person });
                self.seats.insert(connection, lobby.clone());
            }
        }
        self.tell(&lobby, out);
        Ok(())
    }

    /// A client says something of this kind to another one.
    pub fn handle_carry(
        &mut self,
        connection: ConnectionId,
        kind: &str,
        from: Option<&str>,
        to: &str,
        text: &str,
        out: &mut Vec<Letter>,
    ) -> Result<(), String> {
        let own = self.own(connection)?;
        if from.is_some_and(|from| from != own.person.id.as_str()) {
            return Err("from must be your own id".to_owned());
        }
        let other = self.other(connection, to)?;
        out.push(Letter::Text(vec![other.connection], text.to_owned()));
        let word = match kind {
            "offer" => Word::Offer,
            "answer" => Word::Answer,
            _ => Word::Other,
        };
        let (own, other) = (
            own.person.id.clone(),
            (other.connection, other.person.id.clone()),
        );
        self.calls
            .handle_word((connection, &own), (other.0, &other.1), word);
        Ok(())
    }

    /// A client ends a call, which is named by the two in it. Both are told.
    pub fn handle_bye<'a>(
        &mut self,
        connection: ConnectionId,
        session: &'a str,
        out: &mut Vec<Letter>,
    ) -> Result<(), String> {
        let own = self.own(connection)?.person.id.as_str();
        let caller = |session: &'a str| session.strip_suffix(own)?.strip_suffix('-');
        let called = |session: &'a str| session.strip_prefix(own)?.strip_prefix('-');
        let Some(other) = called(session).or_else(|| caller(session)) else {
            return Err(format!("Invalid session [{session}]"));
        };
        let other = self.other(connection, other);
        let told = other
            .iter()
            .map(|seat| (seat.connection, seat.person.id.as_str()));
        for (to, id) in told.chain([(connection, own)]) {
            out.extend(Letter::to(to, lobby::bye(id, session)));
        }
        let other = other?.connection;
        self.calls.handle_end(connection, other);
        Ok(())
    }

    /// A connection has ended, or its client wants to be seen no more.
    pub fn handle_leave(&mut self, connection: ConnectionId, out: &mut Vec<Letter>) {
        let Some(name) = self.seats.remove(&connection) else {
            return;
        };
        self.calls.handle_leave(connection);
        if let Entry::Occupied(mut entry) = self.lobbies.entry(name.clone()) {
            entry.get_mut().retain(|seat| seat.connection != connection);
            if entry.get().is_empty() {
                entry.remove();
            }
        }
        self.tell(&name, out);
    }

    /// How many lobbies there are.
    pub fn lobbies(&self) -> usize {
        self.lobbies.len()
    }

    /// How many people are in them.
    pub fn people(&self) -> usize {
        self.seats.len()
    }

    fn people_of(&self, connection: ConnectionId) -> impl Iterator<Item = &Seat> {
        let lobby = self.seats.get(&connection);
        let people = lobby.and_then(|lobby| self.lobbies.get(lobby));
        people.into_iter().flatten()
    }

    fn own(&self, connection: ConnectionId) -> Result<&Seat, String> {
        self.people_of(connection)
            .find(|seat| seat.connection == connection)
            .ok_or_else(|| "send new first".to_owned())
    }

    fn other(&self, connection: ConnectionId, id: &str) -> Result<&Seat, String> {
        self.people_of(connection)
            .find(|seat| seat.person.id.as_str() == id)
            .ok_or_else(|| format!("Peer [{id}] not found"))
    }

    /// Everybody in a lobby hears who is there.
    fn tell(&self, lobby: &RoomName, out: &mut Vec<Letter>) {
        let Some(people) = self.lobbies.get(lobby) else {
            return;
        };
        if let Some(text) = lobby::peers(people.iter().map(|seat| &seat.person)) {
            let everybody = people.iter().map(|seat| seat.connection).collect();
            out.push(Letter::Text(everybody, text));
        }
    }
}

#[cfg(test)]
mod tests;
