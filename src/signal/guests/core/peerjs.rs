//! PeerJS's clients: each has an id, and what is for one that is not there waits a little.

#[cfg(test)]
mod tests;

use std::collections::{HashMap, HashSet, VecDeque};
use std::time::{Duration, Instant};

use super::Letter;
use super::calls::{Calls, Word};
use crate::signal::core::{ConnectionId, NameError, Namespace, RoomName};
use crate::signal::dialect::peerjs::{self, Kind, Message};
use crate::signal::record::Numbers;

/// How much is held at most.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Clients, and as many ids that something waits for.
    pub clients: usize,
    /// Messages that wait for one id.
    pub items: usize,
    /// Their bytes.
    pub bytes: usize,
    /// Bytes that wait for all ids together.
    pub total: usize,
    /// For how long they wait.
    pub patience: Duration,
}

/// A client's id. Cheap to clone.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct PeerId(RoomName);

impl PeerId {
    /// Checks an id.
    pub fn new(text: &str) -> Result<Self, NameError> {
        match text.is_empty() {
            true => Err(NameError::Empty),
            false => RoomName::new(Namespace::new("peerjs"), text).map(Self),
        }
    }

    /// The id, in Unicode's composed form.
    pub fn as_str(&self) -> &str {
        self.0.as_str()
    }
}

impl AsRef<str> for PeerId {
    fn as_ref(&self) -> &str {
        self.as_str()
    }
}

/// Why a client did not get its id.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// Somebody else has it.
    Taken,
    /// There are too many.
    Full,
}

/// Everybody, and everything that waits.
#[derive(Debug)]
pub struct Realm {
    limits: Limits,
    clients: HashMap<PeerId, Client>,
    /// The inverse.
    ids: HashMap<ConnectionId, PeerId>,
    waiting: HashMap<PeerId, Queue>,
    /// When what waits for an id has waited long enough. Those that were emptied are still there.
    deadlines: VecDeque<(Instant, PeerId)>,
    bytes: usize,
    calls: Calls<PeerId>,
}

#[derive(Debug)]
struct Client {
    connection: ConnectionId,
    /// Whoever knows it is the same client.
    token: Box<str>,
}

#[derive(Debug)]
struct Queue {
    until: Instant,
    messages: Vec<(PeerId, Message)>,
    bytes: usize,
}

impl Realm {
    /// Nobody yet.
    pub fn new(limits: Limits, numbers: Numbers) -> Self {
        Self {
            calls: Calls::new(numbers, limits.clients),
            limits,
            clients: HashMap::new(),
            ids: HashMap::new(),
            waiting: HashMap::new(),
            deadlines: VecDeque::new(),
            bytes: 0,
        }
    }

    /// Other limits, for whoever comes from now on.
    pub fn limit(&mut self, limits: Limits) {
        self.limits = limits;
        self.calls.limit(limits.clients);
    }

    /// Who is in a call with whom.
    pub fn calls(&self) -> &Calls<PeerId> {
        &self.calls
    }

    /// The same, to be told what else there is.
    pub fn calls_mut(&mut self) -> &mut Calls<PeerId> {
        &mut self.calls
    }

    /// A connection wants an id. It takes it from another one that shows the same token: that one is
    /// the client's own, broken or given up. What waited for it follows.
    pub fn handle_enter(
        &mut self,
        connection: ConnectionId,
        id: &PeerId,
        token: &str,
        out: &mut Vec<Letter>,
    ) -> Result<(), Refusal> {
        let full = self.clients.len() >= self.limits.clients;
        match self.clients.get(id) {
            Some(client) if !same(&client.token, token) => return Err(Refusal::Taken),
            None if full => return Err(Refusal::Full),
            Some(_) | None => {}
        }
        self.handle_leave(connection);
        let client = Client {
            connection,
            token: token.into(),
        };
        if let Some(before) = self.clients.insert(id.clone(), client) {
            self.ids.remove(&before.connection);
            self.calls.handle_move(before.connection, connection);
            out.push(Letter::Replaced(before.connection));
        }
        self.ids.insert(connection, id.clone());
        out.extend(Letter::to(connection, peerjs::open()));
        for (from, message) in self.emptied(id) {
            let text = peerjs::deliver(&message, from.as_str(), id.as_str());
            out.extend(Letter::to(connection, text));
            if let Some(sender) = self.clients.get(&from) {
                let from = (sender.connection, &from);
                self.calls
                    .handle_word(from, (connection, id), word(message.kind));
            }
        }
        Ok(())
    }

    /// A client says something. Whether anybody was there to hear it, or may be soon.
    pub fn handle_message(
        &mut self,
        connection: ConnectionId,
        message: Message,
        now: Instant,
        out: &mut Vec<Letter>,
    ) -> bool {
        let Some(from) = self.ids.get(&connection).cloned() else {
            return false;
        };
        let Some(to) = &message.to else {
            if message.kind == Kind::Leave {
                self.handle_leave(connection);
            }
            return false;
        };
        let Ok(to) = PeerId::new(to) else {
            out.extend(Letter::to(connection, peerjs::expire(to, from.as_str())));
            return false;
        };
        if let Some(client) = self.clients.get(&to) {
            let text = peerjs::deliver(&message, from.as_str(), to.as_str());
            out.extend(Letter::to(client.connection, text));
            match message.kind {
                Kind::Leave => self.calls.handle_end(connection, client.connection),
                kind => {
                    let to = (client.connection, &to);
                    self.calls.handle_word((connection, &from), to, word(kind));
                }
            }
            return true;
        }
        if message.kind == Kind::Leave {
            // Who is gone need not be told.
            return false;
        }
        let kept = self.keep(&to, from.clone(), message, now);
        if !kept {
            let text = peerjs::expire(to.as_str(), from.as_str());
            out.extend(Letter::to(connection, text));
        }
        kept
    }

    /// A connection gives up its id, if it has one.
    pub fn handle_leave(&mut self, connection: ConnectionId) {
        if let Some(id) = self.ids.remove(&connection) {
            self.clients.remove(&id);
            self.calls.handle_leave(connection);
        }
    }

    /// When to call [`Realm::handle_timeout`] next. May be earlier than there is something to do.
    pub fn poll_timeout(&self) -> Option<Instant> {
        self.deadlines.front().map(|(until, _)| *until)
    }

    /// Tells those whose messages have waited long enough.
    pub fn handle_timeout(&mut self, now: Instant, out: &mut Vec<Letter>) {
        while self
            .deadlines
            .front()
            .is_some_and(|(until, _)| *until <= now)
        {
            let Some((until, id)) = self.deadlines.pop_front() else {
                return;
            };
            let due = self.waiting.get(&id).is_some_and(|q| q.until == until);
            if !due {
                continue;
            }
            // Each once, however much it has said.
            let mut told = HashSet::new();
            for (from, _) in self.emptied(&id) {
                let sender = self.clients.get(&from).map(|client| client.connection);
                if let Some(sender) = sender
                    && told.insert(sender)
                {
                    let text = peerjs::expire(id.as_str(), from.as_str());
                    out.extend(Letter::to(sender, text));
                }
            }
        }
    }

    /// How many clients there are.
    pub fn clients(&self) -> usize {
        self.clients.len()
    }

    fn keep(&mut self, to: &PeerId, from: PeerId, message: Message, now: Instant) -> bool {
        let weight = message.payload.as_ref().map_or(0, String::len) + OVERHEAD;
        let limits = self.limits;
        if self.bytes + weight > limits.total {
            return false;
        }
        if !self.waiting.contains_key(to) {
            if self.waiting.len() >= limits.clients {
                return false;
            }
            let until = now + limits.patience;
            self.deadlines.push_back((until, to.clone()));
            let queue = Queue {
                until,
                messages: Vec::new(),
                bytes: 0,
            };
            self.waiting.insert(to.clone(), queue);
        }
        let Some(queue) = self.waiting.get_mut(to) else {
            return false;
        };
        if queue.messages.len() >= limits.items || queue.bytes + weight > limits.bytes {
            return false;
        }
        queue.bytes += weight;
        self.bytes += weight;
        queue.messages.push((from, message));
        true
    }

    /// What waited for an id.
    fn emptied(&mut self, id: &PeerId) -> Vec<(PeerId, Message)> {
        let Some(queue) = self.waiting.remove(id) else {
            return Vec::new();
        };
        self.bytes -= queue.bytes;
        queue.messages
    }
}

fn word(kind: Kind) -> Word {
    match kind {
        Kind::Offer => Word::Offer,
        Kind::Answer => Word::Answer,
        Kind::Candidate | Kind::Leave => Word::Other,
    }
}

/// What a message costs beside its text.
const OVERHEAD: usize = 256;

/// In a time that does not tell how much of it was right.
fn same(one: &str, other: &str) -> bool {
    let differences = one
        .bytes()
        .zip(other.bytes())
        .fold(0, |all, (one, other)| all | (one ^ other));
    one.len() == other.len() && differences == 0
}
