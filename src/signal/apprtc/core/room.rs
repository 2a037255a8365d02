//! One room, and what is known of each client in it.

use std::sync::Arc;
use std::time::Instant;

use super::Size;
use crate::signal::core::{ConnectionId, SeatId};
use crate::signal::record::Record;

/// Whether a member has its place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Standing {
    /// It has.
    Joined,
    /// It gave it up at this moment, and may still say goodbye to who was there then.
    Left(u64),
}

/// A client.
#[derive(Debug)]
pub(super) struct Member {
    pub(super) number: u64,
    /// How the operator calls it.
    pub(super) seat: SeatId,
    pub(super) id: Arc<str>,
    pub(super) standing: Standing,
    pub(super) socket: Option<ConnectionId>,
    pub(super) was_registered: bool,
    /// Its page said that it is being left; nobody will come back to this place.
    pub(super) is_page_gone: bool,
    pub(super) has_said_goodbye: bool,
    /// Not a client, but the other end of one that calls itself.
    pub(super) is_loopback: bool,
    /// When it came, or spoke without a socket.
    pub(super) silent_since: Option<Instant>,
    /// When it is given up.
    pub(super) deadline: Option<Instant>,
    /// What it said while it was alone, for who comes next.
    pub(super) stored: Queue,
    /// What was said to it before it had a socket.
    pub(super) waiting: Queue,
}

/// Messages in order, and what they weigh.
#[derive(Debug, Default)]
pub(super) struct Queue {
    messages: Vec<Arc<str>>,
    bytes: usize,
}

impl Queue {
    /// Whether another message of this weight may be added.
    pub(super) fn has_room(&self, weight: usize, most: Size) -> bool {
        self.messages.len() < most.messages && self.bytes.saturating_add(weight) <= most.bytes
    }

    pub(super) fn push(&mut self, body: Arc<str>) {
        self.bytes += body.len();
        self.messages.push(body);
    }

    /// Empties it. The number is that of its bytes.
    pub(super) fn take(&mut self) -> (Vec<Arc<str>>, usize) {
        let Self { messages, bytes } = std::mem::take(self);
        (messages, bytes)
    }
}

impl Member {
    pub(super) fn new(number: u64, seat: SeatId, id: Arc<str>) -> Self {
        Self {
            number,
            seat,
            id,
            standing: Standing::Joined,
            socket: None,
            was_registered: false,
            is_page_gone: false,
            has_said_goodbye: false,
            is_loopback: false,
            silent_since: None,
            deadline: None,
            stored: Queue::default(),
            waiting: Queue::default(),
        }
    }

    pub(super) fn is_joined(&self) -> bool {
        self.standing == Standing::Joined
    }

    /// Whether a newcomer may have its place: its page is gone, or it has given no sign of life since
    /// `before`, when it came.
    pub(super) fn gives_way(&self, before: Option<Instant>) -> bool {
        let is_late = self
            .silent_since
            .zip(before)
            .is_some_and(|(since, before)| since <= before);
        let is_missing = !self.was_registered && !self.is_loopback && is_late;
        self.is_joined() && (self.is_page_gone || is_missing)
    }

    /// Whether this is somebody who has a place.
    pub(super) fn is_person(&self) -> bool {
        self.is_joined() && !self.is_loopback
    }
}

/// Clients with the same room name; a handful at most.
#[derive(Debug, Default)]
pub(super) struct Room {
    members: Vec<Member>,
    /// As long as somebody has a place.
    pub(super) record: Option<Record>,
}

impl Room {
    pub(super) fn members(&self) -> impl Iterator<Item = &Member> {
        self.members.iter()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.members.is_empty()
    }

    /// How many people have a place.
    pub(super) fn people(&self) -> usize {
        self.members.iter().filter(|one| one.is_person()).count()
    }

    /// What it was, if nobody has a place any more.
    pub(super) fn take_over(&mut self) -> Option<Record> {
        match self.people() {
            0 => self.record.take(),
            _ => None,
        }
    }

    /// How many places are taken.
    pub(super) fn occupants(&self) -> usize {
        self.members.iter().filter(|one| one.is_joined()).count()
    }

    pub(super) fn by_id(&self, id: &str) -> Option<&Member> {
        self.members.iter().find(|one| *one.id == *id)
    }

    pub(super) fn by_number(&self, number: u64) -> Option<&Member> {
        self.members.iter().find(|one| one.number == number)
    }

    pub(super) fn by_number_mut(&mut self, number: u64) -> Option<&mut Member> {
        self.members.iter_mut().find(|one| one.number == number)
    }

    /// The client who is there already when another one comes.
    pub(super) fn first_joined_mut(&mut self) -> Option<&mut Member> {
        self.members.iter_mut().find(|one| one.is_joined())
    }

    pub(super) fn loopback(&self) -> Option<&Member> {
        // An older one may be on its way out.
        self.members.iter().rev().find(|one| one.is_loopback)
    }

    pub(super) fn loopback_mut(&mut self) -> Option<&mut Member> {
        self.members.iter_mut().rev().find(|one| one.is_loopback)
    }

    /// Who hears what `sender` says: whoever is there, and was there before it left.
    pub(super) fn hearers<'a>(&'a self, sender: &'a Member) -> impl Iterator<Item = u64> + 'a {
        self.members
            .iter()
            .filter(|one| one.number != sender.number)
            .filter(move |one| match (sender.standing, one.standing) {
                (Standing::Joined, Standing::Joined) => true,
                (Standing::Left(moment), Standing::Joined) => one.number < moment,
                // The two ends of a call with itself leave together.
                (Standing::Left(moment), Standing::Left(same)) => {
                    moment == same && (one.is_loopback || sender.is_loopback)
                }
                (Standing::Joined, Standing::Left(_)) => false,
            })
            .map(|one| one.number)
    }

    /// Adds a member; returns one of those who have left, if there are too many of them.
    pub(super) fn add(&mut self, member: Member) -> Option<u64> {
        self.members.push(member);
        let leaving = self.members.iter().filter(|one| !one.is_joined());
        match leaving.clone().count() > LEAVING {
            true => leaving.map(|one| one.number).next(),
            false => None,
        }
    }

    pub(super) fn remove(&mut self, number: u64) -> Option<Member> {
        let index = self.members.iter().position(|one| one.number == number)?;
        Some(self.members.remove(index))
    }
}

/// Clients that have left and may still say goodbye: a few seconds' worth of people who come and go.
const LEAVING: usize = 8;
