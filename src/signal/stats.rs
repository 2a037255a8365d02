//! Numbers about signaling, written by the hub and the sessions, read by whoever publishes them.

use std::sync::atomic::{AtomicU64, Ordering};

use super::core::Refusal;
use super::outcome::Outcome;

/// Shared counters. Each is exact by itself; two read together may be a moment apart.
#[derive(Debug, Default)]
pub struct Stats {
    pub(super) connections: AtomicU64,
    pub(super) rooms: AtomicU64,
    pub(super) members: AtomicU64,
    pub(super) away: AtomicU64,
    pub(super) joined: AtomicU64,
    pub(super) refused: [AtomicU64; Refusal::ALL.len()],
    pub(super) denied: AtomicU64,
    pub(super) relayed: AtomicU64,
    pub(super) undeliverable: AtomicU64,
    /// The same for dialects that are no matter of the rooms.
    pub(super) guests_relayed: AtomicU64,
    pub(super) guests_undeliverable: AtomicU64,
    pub(super) resumed: AtomicU64,
    pub(super) resumed_with_loss: AtomicU64,
    pub(super) malformed: AtomicU64,
    pub(super) too_slow: AtomicU64,
    pub(super) too_fast: AtomicU64,
    pub(super) silent: AtomicU64,
    pub(super) outcomes: [AtomicU64; Outcome::ALL.len()],
}

/// [`Stats`] at one moment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Snapshot {
    /// WebSockets open now.
    pub connections: u64,
    /// Rooms with members now.
    pub rooms: u64,
    /// Seats taken now.
    pub members: u64,
    /// Of these, seats kept for clients that lost their connection.
    pub away: u64,
    /// Seats given since the start.
    pub joined: u64,
    /// Joins refused by the rooms, by [`Refusal::ALL`].
    pub refused: [u64; Refusal::ALL.len()],
    /// Joins and resumes refused before the rooms were asked: no token, or not a good one.
    pub denied: u64,
    /// Messages passed on.
    pub relayed: u64,
    /// Messages without a receiver, or not from who they said.
    pub undeliverable: u64,
    /// Seats taken again by clients that had lost their connection.
    pub resumed: u64,
    /// Of these, those whose client had missed more than was kept.
    pub resumed_with_loss: u64,
    /// Messages that were not a JSON object.
    pub malformed: u64,
    /// Connections ended because they did not read what was sent to them.
    pub too_slow: u64,
    /// Connections ended because they sent more than allowed.
    pub too_fast: u64,
    /// Connections ended because nothing came from them any more.
    pub silent: u64,
    /// What clients say about the ways of their calls, by [`Outcome::ALL`].
    pub outcomes: [u64; Outcome::ALL.len()],
}

impl Stats {
    /// All numbers as they are now.
    pub fn snapshot(&self) -> Snapshot {
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        Snapshot {
            connections: read(&self.connections),
            rooms: read(&self.rooms),
            members: read(&self.members),
            away: read(&self.away),
            joined: read(&self.joined),
            refused: self.refused.each_ref().map(read),
            denied: read(&self.denied),
            relayed: read(&self.relayed) + read(&self.guests_relayed),
            undeliverable: read(&self.undeliverable) + read(&self.guests_undeliverable),
            resumed: read(&self.resumed),
            resumed_with_loss: read(&self.resumed_with_loss),
            malformed: read(&self.malformed),
            too_slow: read(&self.too_slow),
            too_fast: read(&self.too_fast),
            silent: read(&self.silent),
            outcomes: self.outcomes.each_ref().map(read),
        }
    }

    pub(super) fn ended_as(&self, outcome: Outcome) {
        if let Some(counter) = self.outcomes.get(outcome.index()) {
            Self::add(counter);
        }
    }

    pub(super) fn add(counter: &AtomicU64) {
        counter.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn set(counter: &AtomicU64, value: u64) {
        counter.store(value, Ordering::Relaxed);
    }
}
