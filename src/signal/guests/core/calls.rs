//! Which two clients of a world that has no rooms are in a call, as far as their words tell: one has
//! offered, the other has answered, and both are still there.
//!
//! Nothing depends on it but what the operator sees and how long a drain waits. So what is too much to
//! be remembered is not, and is passed on all the same.

use std::collections::{HashMap, VecDeque};
use std::time::Instant;

use crate::signal::core::{ConnectionId, RoomId, SeatId, Target};
use crate::signal::record::{self, Account, Numbers, Record, Seat, View};

/// What one client says to another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Word {
    /// An offer.
    Offer,
    /// The answer to one.
    Answer,
    /// Something else.
    Other,
}

/// All calls of a world, whose clients have names of type `N`.
#[derive(Debug)]
pub struct Calls<N> {
    numbers: Numbers,
    /// Pairs that are remembered at a time.
    most: usize,
    pairs: HashMap<Pair, Talk<N>>,
    /// With whom each client has exchanged words, the oldest first.
    others: HashMap<ConnectionId, Vec<ConnectionId>>,
    calls: usize,
    ended: VecDeque<Account>,
    now: Option<Instant>,
}

/// Two clients, in whatever order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct Pair(ConnectionId, ConnectionId);

impl Pair {
    fn new(one: ConnectionId, other: ConnectionId) -> Self {
        Self(one.min(other), one.max(other))
    }
}

/// What two clients have to do with each other.
#[derive(Debug)]
struct Talk<N> {
    members: [Member<N>; 2],
    messages: u64,
    /// Of a call.
    record: Option<Record>,
}

#[derive(Clone, Debug)]
struct Member<N> {
    connection: ConnectionId,
    name: N,
    seat: SeatId,
    has_offered: bool,
}

impl<N: Clone + AsRef<str>> Calls<N> {
    /// None yet; `most` pairs at a time.
    pub fn new(numbers: Numbers, most: usize) -> Self {
        Self {
            numbers,
            most,
            pairs: HashMap::new(),
            others: HashMap::new(),
            calls: 0,
            ended: VecDeque::new(),
            now: None,
        }
    }

    /// Another number of pairs, for whoever comes from now on.
    pub fn limit(&mut self, most: usize) {
        self.most = most;
    }

    /// The time of what is handed in from now on.
    pub fn set_time(&mut self, now: Instant) {
        self.now = Some(now);
    }

    /// A client has said something to another one, which has heard it.
    pub fn handle_word(&mut self, from: (ConnectionId, &N), to: (ConnectionId, &N), word: Word) {
        if from.0 == to.0 {
            return;
        }
        let pair = Pair::new(from.0, to.0);
        if word == Word::Offer && !self.pairs.contains_key(&pair) {
            self.remember(pair, from, to);
        }
        let now = self.now;
        let Some(talk) = self.pairs.get_mut(&pair) else {
            return;
        };
        talk.messages += 1;
        if let Some(record) = &mut talk.record {
            record.passed(1);
            return;
        }
        let [one, other] = &mut talk.members;
        let (own, other) = match one.connection == from.0 {
            true => (one, other),
            false => (other, one),
        };
        match word {
            Word::Offer => own.has_offered = true,
            Word::Answer if other.has_offered => {
                let mut record = self.numbers.open(now);
                record.has(2);
                record.passed(talk.messages);
                talk.record = Some(record);
                self.calls += 1;
            }
            Word::Answer | Word::Other => {}
        }
    }

    /// Two clients have nothing to do with each other any more.
    pub fn handle_end(&mut self, one: ConnectionId, other: ConnectionId) {
        let Some(talk) = self.pairs.remove(&Pair::new(one, other)) else {
            return;
        };
        for (own, other) in [(one, other), (other, one)] {
            if let Some(others) = self.others.get_mut(&own) {
                others.retain(|known| *known != other);
                if others.is_empty() {
                    self.others.remove(&own);
                }
            }
        }
        if let Some(record) = talk.record {
            self.calls = self.calls.saturating_sub(1);
            self.ended.push_back(record.account(None, self.now));
        }
    }

    /// A client is gone.
    pub fn handle_leave(&mut self, connection: ConnectionId) {
        for other in self.others.get(&connection).cloned().unwrap_or_default() {
            self.handle_end(connection, other);
        }
    }

    /// A client has another connection now, which is nobody else's any more.
    pub fn handle_move(&mut self, before: ConnectionId, after: ConnectionId) {
        if before == after {
            return;
        }
        self.handle_leave(after);
        for other in self.others.remove(&before).unwrap_or_default() {
            let Some(mut talk) = self.pairs.remove(&Pair::new(before, other)) else {
                continue;
            };
            for member in talk.members.iter_mut() {
                if member.connection == before {
                    member.connection = after;
                }
            }
            self.pairs.insert(Pair::new(after, other), talk);
            self.others.entry(after).or_default().push(other);
            for known in self.others.get_mut(&other).into_iter().flatten() {
                if *known == before {
                    *known = after;
                }
            }
        }
    }

    /// How many calls there are.
    pub fn calls(&self) -> usize {
        self.calls
    }

    /// Who is in one.
    pub fn callers(&self) -> impl Iterator<Item = ConnectionId> {
        let members = self.recorded().flat_map(|(_, (talk, _))| &talk.members);
        members.map(|member| member.connection)
    }

    /// The next call that is over.
    pub fn poll_ended(&mut self) -> Option<Account> {
        self.ended.pop_front()
    }

    /// Every call is over: the process ends.
    pub fn end_all(&mut self) {
        let records = self
            .pairs
            .values_mut()
            .filter_map(|talk| talk.record.take());
        let now = self.now;
        self.ended
            .extend(records.map(|record| record.account(None, now)));
        self.calls = 0;
    }

    /// The first `limit` calls after `after`.
    pub fn views(&self, after: Option<RoomId>, limit: usize) -> Vec<View> {
        record::page(self.recorded(), after, limit, |(talk, record)| View {
            account: record.account(None, self.now),
            seats: talk.members.iter().map(Member::view).collect(),
        })
    }

    /// The connections of those who are meant.
    pub fn find(&self, target: Target) -> Vec<ConnectionId> {
        let members = self.recorded().flat_map(|(id, (talk, _))| {
            let members = talk.members.iter();
            members.filter(move |member| record::is_meant(target, id, member.seat))
        });
        members.map(|member| member.connection).collect()
    }

    fn recorded(&self) -> impl Iterator<Item = (RoomId, (&Talk<N>, &Record))> + Clone {
        self.pairs.values().filter_map(|talk| {
            let record = talk.record.as_ref()?;
            Some((record.id(), (talk, record)))
        })
    }

    fn remember(&mut self, pair: Pair, from: (ConnectionId, &N), to: (ConnectionId, &N)) {
        let has_place = [from.0, to.0].map(|one| self.makes_place(one));
        if has_place != [true, true] || self.pairs.len() >= self.most {
            return;
        }
        let members = [from, to].map(|(connection, name)| Member {
            connection,
            name: name.clone(),
            seat: self.numbers.seat(),
            has_offered: false,
        });
        let talk = Talk {
            members,
            messages: 0,
            record: None,
        };
        self.pairs.insert(pair, talk);
        for (own, other) in [(from.0, to.0), (to.0, from.0)] {
            self.others.entry(own).or_default().push(other);
        }
    }

    /// Forgets the oldest offer that nobody has answered, if a client has had too many.
    fn makes_place(&mut self, connection: ConnectionId) -> bool {
        let others = self.others.get(&connection);
        let Some(others) = others.filter(|others| others.len() >= OF_ONE) else {
            return true;
        };
        let unanswered = others.iter().copied().find(|other| {
            let talk = self.pairs.get(&Pair::new(connection, *other));
            talk.is_some_and(|talk| talk.record.is_none())
        });
        match unanswered {
            Some(other) => self.handle_end(connection, other),
            None => return false,
        }
        true
    }
}

impl<N: AsRef<str>> Member<N> {
    fn view(&self) -> Seat {
        Seat {
            id: self.seat,
            name: Some(self.name.as_ref().into()),
            connection: Some(self.connection),
        }
    }
}

/// Others with whom one client has exchanged words: a mesh of more does not work.
const OF_ONE: usize = 32;

#[cfg(test)]
mod tests;
