//! When a session has to do something because nothing else happened. Pure: told the time.

use std::time::{Duration, Instant};

use crate::config::settings;

/// The three clocks of a session.
#[derive(Debug)]
pub(super) struct Timing {
    ping_interval: Duration,
    idle_timeout: Duration,
    write_timeout: Duration,
    /// When anything last came.
    heard: Instant,
    next_ping: Instant,
    /// Since when the peer has not taken what we have for it.
    stuck: Option<Instant>,
}

/// What is to be done now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Due {
    /// Nothing came for too long.
    Silent,
    /// The peer takes nothing.
    Stuck,
    /// A ping is to be sent.
    Ping,
    /// Nothing.
    Nothing,
}

impl Timing {
    pub(super) fn new(settings: &settings::Signaling, now: Instant) -> Self {
        let ping_interval = settings.ping_interval.max(SHORTEST);
        let idle_timeout = settings.idle_timeout.max(SHORTEST);
        Self {
            ping_interval,
            idle_timeout,
            write_timeout: idle_timeout.min(WRITE_TIMEOUT),
            heard: now,
            next_ping: now + ping_interval,
            stuck: None,
        }
    }

    /// A frame came, whatever was in it.
    pub(super) fn heard(&mut self, now: Instant) {
        self.heard = now;
    }

    /// Something is waiting to be written, and the peer takes nothing.
    pub(super) fn stuck(&mut self, now: Instant) {
        self.stuck.get_or_insert(now);
    }

    /// Everything has been written.
    pub(super) fn flushed(&mut self) {
        self.stuck = None;
    }

    /// When to ask [`Timing::due`] next.
    pub(super) fn deadline(&self) -> Instant {
        let next = self.next_ping.min(self.heard + self.idle_timeout);
        self.stuck
            .map_or(next, |since| next.min(since + self.write_timeout))
    }

    /// What to do at `now`. A ping that is due is taken as sent.
    pub(super) fn due(&mut self, now: Instant) -> Due {
        if self
            .stuck
            .is_some_and(|since| now >= since + self.write_timeout)
        {
            Due::Stuck
        } else if now >= self.heard + self.idle_timeout {
            Due::Silent
        } else if now >= self.next_ping {
            // Whoever is talking gets one too: proxies in between count silence in each direction.
            self.next_ping = now + self.ping_interval;
            Due::Ping
        } else {
            Due::Nothing
        }
    }
}

/// How long a message may wait for a peer that has stopped reading.
const WRITE_TIMEOUT: Duration = Duration::from_secs(20);

/// Shorter intervals would be a busy loop.
const SHORTEST: Duration = Duration::from_millis(10);

#[cfg(test)]
mod tests {
    use super::*;
    use crate::net::clock;
    use std::num::NonZeroUsize;

    fn timing(now: Instant) -> Timing {
        let settings = settings::Signaling {
            path: "/ws".into(),
            ping_interval: Duration::from_secs(20),
            idle_timeout: Duration::from_secs(60),
            room_capacity: NonZeroUsize::MIN,
            max_message: 1,
            max_rooms: 1,
            messages_per_second: 1,
            allowed_origins: Vec::new(),
        };
        Timing::new(&settings, now)
    }

    const fn seconds(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    #[test]
    fn a_peer_that_answers_pings_is_never_idle() {
        let mut now = clock::now();
        let mut timing = timing(now);
        for _ in 0..1000 {
            assert_eq!(timing.deadline(), now + seconds(20));
            now += seconds(20);
            assert_eq!(timing.due(now), Due::Ping);
            timing.heard(now);
        }
    }

    #[test]
    fn a_peer_that_answers_nothing_is_pinged_twice_and_then_gone() {
        let start = clock::now();
        let mut timing = timing(start);
        assert_eq!(timing.due(start + seconds(19)), Due::Nothing);
        assert_eq!(timing.due(start + seconds(20)), Due::Ping);
        assert_eq!(timing.due(start + seconds(20)), Due::Nothing);
        assert_eq!(timing.due(start + seconds(40)), Due::Ping);
        assert_eq!(timing.deadline(), start + seconds(60));
        assert_eq!(timing.due(start + seconds(60)), Due::Silent);
    }

    #[test]
    fn a_peer_that_talks_but_does_not_read_is_cut_off() {
        let start = clock::now();
        let mut timing = timing(start);
        timing.stuck(start + seconds(1));
        timing.stuck(start + seconds(15));
        timing.heard(start + seconds(20));
        assert_eq!(timing.due(start + seconds(20)), Due::Ping);
        assert_eq!(timing.deadline(), start + seconds(21));
        assert_eq!(timing.due(start + seconds(21)), Due::Stuck);
    }

    #[test]
    fn a_peer_that_catches_up_is_not() {
        let start = clock::now();
        let mut timing = timing(start);
        timing.stuck(start);
        timing.flushed();
        timing.stuck(start + seconds(15));
        assert_eq!(timing.due(start + seconds(30)), Due::Ping);
        assert_eq!(timing.deadline(), start + seconds(35));
    }
}
