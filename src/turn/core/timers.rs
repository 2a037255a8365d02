//! A timer wheel of one-second slots: inserting and expiring cost the same at any size.
//!
//! A deadline that moves away is not moved here: when a key comes up, the owner says whether it is
//! really over and puts it back otherwise. One that comes nearer leaves its old entry behind, which
//! is dropped when its slot comes up; since only a nearer deadline adds an entry, no sequence of
//! requests can grow the wheel.

use std::time::{Duration, Instant};

/// Slots, hence seconds, a turn of the wheel takes; later deadlines come up early and go back.
const SLOTS: usize = 1024;

/// The wheel. Keys are small numbers of the owner's, such as slots of a table.
#[derive(Debug)]
pub struct Wheel {
    slots: Box<[Vec<u32>]>,
    origin: Instant,
    /// Seconds since `origin` up to which slots have been emptied.
    done: u64,
    len: usize,
    /// By key, the second in which it comes up; 0 = not at all.
    armed: Vec<u64>,
}

impl Wheel {
    /// An empty wheel.
    pub fn new(now: Instant) -> Self {
        Self {
            slots: vec![Vec::new(); SLOTS].into(),
            origin: now,
            done: 0,
            len: 0,
            armed: Vec::new(),
        }
    }

    /// The key comes up within a second after `deadline`, or earlier: when that is far away, or
    /// when an earlier deadline was inserted before and has not come up yet.
    pub fn insert(&mut self, key: u32, deadline: Instant) {
        let due = self.tick(deadline) + 1;
        let tick = due.clamp(self.done + 1, self.done + SLOTS as u64 - 1);
        let at = key as usize;
        if self.armed.len() <= at {
            self.armed.resize(at + 1, 0);
        }
        if (1..=tick).contains(&self.armed[at]) {
            return;
        }
        self.armed[at] = tick;
        self.slots[tick as usize % SLOTS].push(key);
        self.len += 1;
    }

    /// When [`Wheel::expire`] should next be called.
    pub fn next(&self) -> Option<Instant> {
        (self.len > 0).then(|| self.origin + Duration::from_secs(self.done + 1))
    }

    /// Takes out everything that has come up by `now`.
    pub fn expire(&mut self, now: Instant, due: &mut Vec<u32>) {
        let until = self.tick(now);
        if self.len == 0 {
            self.done = until;
            return;
        }
        // After a long sleep one turn empties every slot.
        let steps = (until - self.done.min(until)).min(SLOTS as u64);
        for tick in self.done + 1..=self.done + steps {
            let slot = &mut self.slots[tick as usize % SLOTS];
            self.len -= slot.len();
            for key in slot.drain(..) {
                let armed = &mut self.armed[key as usize];
                if *armed == tick {
                    *armed = 0;
                    due.push(key);
                }
            }
            slot.shrink_to(16);
        }
        self.done = self.done.max(until);
    }

    fn tick(&self, at: Instant) -> u64 {
        at.saturating_duration_since(self.origin).as_secs()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::net::clock;

    fn expired(wheel: &mut Wheel, now: Instant) -> Vec<u32> {
        let mut due = Vec::new();
        wheel.expire(now, &mut due);
        due
    }

    #[test]
    fn deadlines_come_up_in_their_second_and_never_early() {
        let start = clock::now();
        let mut wheel = Wheel::new(start);
        let second = Duration::from_secs(1);
        wheel.insert(1, start + second * 5);
        wheel.insert(2, start + second * 600);
        assert!(expired(&mut wheel, start + second * 5).is_empty());
        assert_eq!(expired(&mut wheel, start + second * 6), [1]);
        assert!(expired(&mut wheel, start + second * 600).is_empty());
        assert_eq!(expired(&mut wheel, start + second * 601), [2]);
        assert_eq!(wheel.next(), None);
    }

    #[test]
    fn a_deadline_that_comes_nearer_counts_and_is_reported_once() {
        let start = clock::now();
        let mut wheel = Wheel::new(start);
        let second = Duration::from_secs(1);
        wheel.insert(7, start + second * 900);
        wheel.insert(7, start + second * 30);
        assert_eq!(expired(&mut wheel, start + second * 31), [7]);
        assert!(expired(&mut wheel, start + second * 901).is_empty());
        assert_eq!(wheel.next(), None);
    }

    #[test]
    fn inserting_again_and_again_does_not_grow_the_wheel() {
        let start = clock::now();
        let mut wheel = Wheel::new(start);
        for n in 0..100_000 {
            let seconds = if n % 2 == 0 { 600 } else { 3600 };
            wheel.insert(1, start + Duration::from_secs(seconds));
        }
        assert!(wheel.len <= 2, "{} entries for one key", wheel.len);
    }

    #[test]
    fn far_deadlines_and_long_sleeps_lose_nothing() {
        let start = clock::now();
        let mut wheel = Wheel::new(start);
        let second = Duration::from_secs(1);
        wheel.insert(1, start + second * 100_000);
        wheel.insert(2, start);
        let mut all = expired(&mut wheel, start + second * 50_000);
        all.sort_unstable();
        assert_eq!(
            all,
            [1, 2],
            "what is far away comes up early, to be put back"
        );
        wheel.insert(3, start);
        assert_eq!(expired(&mut wheel, start + second * 50_001), [3]);
    }
}
