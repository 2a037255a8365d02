//! When a session has to do something because nothing else happened. Pure: told the time.

use std::time::{Duration, Instant};

use crate::config::settings;

/// The clocks of a session.
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
    /// When the client needs fresh credentials.
    renewal: Option<Instant>,
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
    /// Fresh credentials are to be sent.
    Renew,
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
            renewal: None,
        }
    }

    /// Credentials have been sent, and are to be sent again at `at`.
    pub(super) fn renew_at(&mut self, at: Instant) {
        self.renewal = Some(at);
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
        let stuck = self.stuck.map(|since| since + self.write_timeout);
        let silent = self.heard + self.idle_timeout;
        [stuck, self.renewal]
            .into_iter()
            .flatten()
            .fold(self.next_ping.min(silent), Instant::min)
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
        } else if self.renewal.is_some_and(|at| now >= at) {
            self.renewal = None;
            Due::Renew
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
    use crate::config::Settings;
    use crate::net::clock;

    fn timing(now: Instant) -> Timing {
        Timing::new(&Settings::builtin("/".into()).signaling, now)
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

    #[test]
    fn credentials_are_renewed_once_at_their_time() {
        let start = clock::now();
        let mut timing = timing(start);
        timing.renew_at(start + seconds(7));
        assert_eq!(timing.deadline(), start + seconds(7));
        assert_eq!(timing.due(start + seconds(6)), Due::Nothing);
        assert_eq!(timing.due(start + seconds(7)), Due::Renew);
        assert_eq!(timing.due(start + seconds(8)), Due::Nothing);
        assert_eq!(timing.deadline(), start + seconds(20));
    }
}
