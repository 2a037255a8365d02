//! What one seat was told and may have missed: a bounded queue with numbers.
//!
//! Both sides count, nobody writes numbers: the n-th message after `joined` is number n on either
//! end, so a relayed text need not be touched.

use std::collections::VecDeque;
use std::time::Instant;

use super::{Event, Payload, Resume};

/// Memory that all logs share.
#[derive(Debug)]
pub(super) struct Budget {
    limits: Resume,
    used: usize,
}

/// One seat's.
#[derive(Debug)]
pub(super) struct Log<T> {
    /// Messages sent to this seat so far, and so the number of the last.
    sent: u64,
    /// The latest of them, without those that are known to have arrived.
    kept: VecDeque<Event<T>>,
    bytes: usize,
    /// Messages that came from this seat.
    pub(super) received: u64,
    /// The client has shown that it knows its ticket. A seat is not kept for one that does not:
    /// it would come as a stranger and find its own ghost in its place.
    pub(super) proven: bool,
    /// Until when the seat is kept, while it has no connection.
    pub(super) away: Option<Instant>,
}

/// What a client that comes back is to be told.
#[derive(Debug)]
pub(super) enum Missed<T> {
    /// All of these, the first of which has this number.
    Kept(u64, Vec<Event<T>>),
    /// Not all can be told any more. So many were sent, and the client is to count on from there:
    /// it would be wrong to begin anew, since it may never hear that it should.
    Lost(u64),
}

impl Budget {
    pub(super) fn new(limits: Resume) -> Self {
        Self { limits, used: 0 }
    }

    pub(super) fn limit(&mut self, limits: Resume) {
        self.limits = limits;
    }

    pub(super) fn limits(&self) -> &Resume {
        &self.limits
    }

    #[cfg(test)]
    pub(super) fn used(&self) -> usize {
        self.used
    }

    fn of_one(&self) -> usize {
        match self.used > self.limits.total {
            true => self.limits.squeezed,
            false => self.limits.bytes,
        }
    }
}

impl<T: Payload> Log<T> {
    pub(super) fn new() -> Self {
        Self {
            sent: 0,
            kept: VecDeque::new(),
            bytes: 0,
            received: 0,
            proven: false,
            away: None,
        }
    }

    /// Takes note of a message to this seat and gives it its number.
    pub(super) fn record(&mut self, event: Event<T>, budget: &mut Budget) -> u64 {
        self.sent += 1;
        let weight = weight(&event);
        self.kept.push_back(event);
        self.bytes += weight;
        budget.used += weight;
        // The oldest are the most likely to have arrived.
        while self.kept.len() > budget.limits.items || self.bytes > budget.of_one() {
            if self.forget_first(budget).is_none() {
                break;
            }
        }
        self.sent
    }

    /// The client has everything up to this number.
    pub(super) fn acknowledge(&mut self, upto: u64, budget: &mut Budget) {
        self.proven = true;
        if upto > self.sent {
            return;
        }
        while self.sent - (self.kept.len() as u64) < upto {
            if self.forget_first(budget).is_none() {
                break;
            }
        }
        if self.kept.is_empty() && self.kept.capacity() > KEPT {
            self.kept = VecDeque::new();
        }
    }

    /// What a client has missed that has got everything up to `received`.
    pub(super) fn resume(&mut self, received: u64, budget: &mut Budget) -> Missed<T> {
        self.proven = true;
        self.away = None;
        let dropped = self.sent - self.kept.len() as u64;
        if !(dropped..=self.sent).contains(&received) {
            self.clear(budget);
            return Missed::Lost(self.sent);
        }
        self.acknowledge(received, budget);
        // Kept until they are known to have arrived: this connection may break as well.
        Missed::Kept(received + 1, self.kept.iter().cloned().collect())
    }

    /// Gives back the memory.
    pub(super) fn clear(&mut self, budget: &mut Budget) {
        budget.used -= self.bytes;
        self.bytes = 0;
        self.kept = VecDeque::new();
    }

    fn forget_first(&mut self, budget: &mut Budget) -> Option<()> {
        let weight = weight(&self.kept.pop_front()?);
        self.bytes -= weight;
        budget.used -= weight;
        Some(())
    }
}

/// Bytes that an event keeps in memory, about.
fn weight<T: Payload>(event: &Event<T>) -> usize {
    let text = match event {
        Event::Relayed(text) | Event::Answered(text) => text.weight(),
        _ => 0,
    };
    text.saturating_add(size_of::<Event<T>>())
}

/// Places kept when the queue has run empty.
const KEPT: usize = 8;
