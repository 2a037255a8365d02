//! y-webrtc's topics: who has subscribed to one hears what is published under it, its own words too.

use std::collections::hash_map::Entry;
use std::collections::{HashMap, VecDeque};
use std::time::Instant;

use super::Letter;
use crate::signal::core::{ConnectionId, RoomId, RoomName, SeatId, Target};
use crate::signal::dialect::topics::{self, Publication};
use crate::signal::record::{self, Account, Numbers, Record, Seat, View};

/// How much is held at most.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Topics with subscribers.
    pub topics: usize,
    /// Subscribers of one topic.
    pub subscribers: usize,
    /// Topics of one subscriber.
    pub of_one: usize,
}

/// Which topics a client may have; whatever it likes, if nothing is said.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Only {
    /// This one.
    pub topic: RoomName,
    /// Even if nobody else has it.
    pub may_create: bool,
}

/// All topics.
#[derive(Debug)]
pub struct Topics {
    limits: Limits,
    /// No entry is ever empty.
    topics: HashMap<RoomName, Topic>,
    /// The inverse.
    subscribers: HashMap<ConnectionId, Vec<RoomName>>,
    numbers: Numbers,
    ended: VecDeque<Account>,
    now: Option<Instant>,
}

#[derive(Debug)]
struct Topic {
    subscribers: Vec<(ConnectionId, SeatId)>,
    /// Until the end of the process.
    record: Option<Record>,
}

impl Topic {
    fn has(&self, connection: ConnectionId) -> bool {
        self.subscribers.iter().any(|(one, _)| *one == connection)
    }
}

impl Topics {
    /// None yet.
    pub fn new(limits: Limits, numbers: Numbers) -> Self {
        Self {
            limits,
            topics: HashMap::new(),
            subscribers: HashMap::new(),
            numbers,
            ended: VecDeque::new(),
            now: None,
        }
    }

    /// The time of what is handed in from now on.
    pub fn set_time(&mut self, now: Instant) {
        self.now = Some(now);
    }

    /// Other limits, for whoever comes from now on.
    pub fn limit(&mut self, limits: Limits) {
        self.limits = limits;
    }

    /// A client wants to hear what is published under these topics. Is there one that it does not get,
    /// it is told so.
    pub fn handle_subscribe(
        &mut self,
        connection: ConnectionId,
        topics: Vec<RoomName>,
        only: Option<&Only>,
        out: &mut Vec<Letter>,
    ) -> usize {
        let mut refused = 0;
        for topic in topics {
            if let Err(why) = self.subscribe(connection, &topic, only) {
                refused += 1;
                out.extend(Letter::to(connection, topics::refuse(&topic, why)));
            }
        }
        refused
    }

    /// A client has heard enough of these topics.
    pub fn handle_unsubscribe(&mut self, connection: ConnectionId, topics: &[RoomName]) {
        for topic in topics {
            if let Some(own) = self.subscribers.get_mut(&connection) {
                own.retain(|one| one != topic);
            }
            self.forget(connection, topic);
        }
        if self.subscribers.get(&connection).is_some_and(Vec::is_empty) {
            self.subscribers.remove(&connection);
        }
    }

    /// A client says something to all subscribers of a topic, of whom it must be one. Whether it is.
    pub fn handle_publish(
        &mut self,
        connection: ConnectionId,
        publication: &Publication,
        out: &mut Vec<Letter>,
    ) -> bool {
        let topic = self.topics.get_mut(&publication.topic);
        let Some(topic) = topic.filter(|topic| topic.has(connection)) else {
            return false;
        };
        let text = publication.text(topic.subscribers.len());
        let everybody = topic.subscribers.iter().map(|(one, _)| *one);
        out.push(Letter::Text(everybody.collect(), text));
        if let Some(record) = &mut topic.record {
            record.passed(1);
        }
        true
    }

    /// A connection has ended.
    pub fn handle_leave(&mut self, connection: ConnectionId) {
        for topic in self.subscribers.remove(&connection).unwrap_or_default() {
            self.forget(connection, &topic);
        }
    }

    /// How many topics have subscribers.
    pub fn topics(&self) -> usize {
        self.topics.len()
    }

    /// How many clients there are.
    pub fn clients(&self) -> usize {
        self.subscribers.len()
    }

    /// How many topics have two subscribers or more. Looks at every topic.
    pub fn calls(&self) -> usize {
        let topics = self.topics.values();
        topics.filter(|topic| topic.subscribers.len() > 1).count()
    }

    /// The next topic that is over.
    pub fn poll_ended(&mut self) -> Option<Account> {
        self.ended.pop_front()
    }

    /// Every topic is over: the process ends.
    pub fn end_all(&mut self) {
        let now = self.now;
        let ended = self.topics.iter_mut().filter_map(|(name, topic)| {
            let record = topic.record.take()?;
            Some(record.account(Some(name.as_str()), now))
        });
        self.ended.extend(ended);
    }

    /// The first `limit` topics after `after`.
    pub fn views(&self, after: Option<RoomId>, limit: usize) -> Vec<View> {
        record::page(self.recorded(), after, limit, |(name, topic, record)| {
            View {
                account: record.account(Some(name.as_str()), self.now),
                seats: topic
                    .subscribers
                    .iter()
                    .map(|&(connection, id)| Seat {
                        id,
                        name: None,
                        connection: Some(connection),
                    })
                    .collect(),
            }
        })
    }

    /// The connections of those who are meant.
    pub fn find(&self, target: Target) -> Vec<ConnectionId> {
        let subscribers = self.recorded().flat_map(|(id, (_, topic, _))| {
            let subscribers = topic.subscribers.iter();
            subscribers.filter(move |(_, seat)| record::is_meant(target, id, *seat))
        });
        subscribers.map(|(connection, _)| *connection).collect()
    }

    fn recorded(&self) -> impl Iterator<Item = (RoomId, (&RoomName, &Topic, &Record))> + Clone {
        self.topics.iter().filter_map(|(name, topic)| {
            let record = topic.record.as_ref()?;
            Some((record.id(), (name, topic, record)))
        })
    }

    fn subscribe(
        &mut self,
        connection: ConnectionId,
        topic: &RoomName,
        only: Option<&Only>,
    ) -> Result<(), &'static str> {
        let limits = self.limits;
        let exists = self.topics.contains_key(topic);
        if only.is_some_and(|only| only.topic.as_str() != topic.as_str()) {
            return Err("the token is for another room");
        }
        if only.is_some_and(|only| !only.may_create) && !exists {
            return Err("there is no such room");
        }
        let own = self.subscribers.get(&connection);
        if own.is_some_and(|own| own.contains(topic)) {
            return Ok(());
        }
        if own.is_some_and(|own| own.len() >= limits.of_one) {
            return Err("too many topics");
        }
        if !exists && self.topics.len() >= limits.topics {
            return Err("the server has no place for another room");
        }
        let numbers = &mut self.numbers;
        let entry = self.topics.entry(topic.clone());
        let there = entry.or_insert_with(|| Topic {
            subscribers: Vec::new(),
            record: Some(numbers.open(self.now)),
        });
        if there.subscribers.len() >= limits.subscribers {
            return Err("room is full");
        }
        there.subscribers.push((connection, numbers.seat()));
        if let Some(record) = &mut there.record {
            record.has(there.subscribers.len());
        }
        self.subscribers
            .entry(connection)
            .or_default()
            .push(topic.clone());
        Ok(())
    }

    fn forget(&mut self, connection: ConnectionId, topic: &RoomName) {
        if let Entry::Occupied(mut entry) = self.topics.entry(topic.clone()) {
            let subscribers = &mut entry.get_mut().subscribers;
            subscribers.retain(|(one, _)| *one != connection);
            if subscribers.is_empty() {
                let (name, topic) = entry.remove_entry();
                let record = topic.record.iter();
                let account = |record: &Record| record.account(Some(name.as_str()), self.now);
                self.ended.extend(record.map(account));
            }
        }
    }
}

#[cfg(test)]
mod tests;
