//! When a connection has been quiet for too long. Pure: the time is an argument.
//!
//! hyper has one timer for a request's header, which also runs between requests; we want a short
//! one for the header (nobody needs long to send it) and a long one for keep-alive.

use std::time::{Duration, Instant};

/// How long a client may take.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// For the first request, and for a header once it has begun.
    pub header: Duration,
    /// Between requests, and without a byte moving during one.
    pub idle: Duration,
}

/// For what is left to be said on a connection that nobody uses.
pub(super) const GOODBYE: Duration = Duration::from_secs(1);

/// What is spoken, since only one of the two has headers outside of requests.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Protocol {
    Http1,
    Http2,
}

/// What the connection is late with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Late {
    /// A request, or a byte of one: there is nothing to say goodbye to.
    Stalled,
    /// The next request: the client is told that there will be no answer to one.
    Idle,
}

/// What has happened on one connection, as far as deadlines depend on it.
#[derive(Debug)]
pub(super) struct Activity {
    protocol: Protocol,
    opened: Instant,
    requests: bool,
    in_flight: usize,
    /// A byte moved or a request ended.
    last: Instant,
    /// The first byte of a header that is not complete.
    header_since: Option<Instant>,
    /// The process is ending.
    draining_since: Option<Instant>,
}

impl Activity {
    pub(super) fn new(protocol: Protocol, now: Instant) -> Self {
        Self {
            protocol,
            opened: now,
            requests: false,
            in_flight: 0,
            last: now,
            header_since: None,
            draining_since: None,
        }
    }

    pub(super) fn read(&mut self, now: Instant) {
        // Bytes between the requests of HTTP/2 are also pings, acknowledgements and windows: they
        // say nothing about a header, and do not count as use either.
        match self.protocol {
            Protocol::Http1 if self.in_flight == 0 => {
                self.header_since.get_or_insert(now);
            }
            Protocol::Http2 if self.in_flight == 0 => {}
            _ => self.last = now,
        }
    }

    pub(super) fn wrote(&mut self, now: Instant) {
        if self.protocol == Protocol::Http1 || self.in_flight > 0 {
            self.last = now;
        }
    }

    pub(super) fn request_began(&mut self, now: Instant) {
        self.requests = true;
        self.in_flight += 1;
        self.header_since = None;
        self.last = now;
    }

    pub(super) fn request_ended(&mut self, now: Instant) {
        self.in_flight = self.in_flight.saturating_sub(1);
        self.last = now;
    }

    pub(super) fn drain_began(&mut self, now: Instant) {
        self.draining_since = Some(now);
    }

    /// Until when something must have happened, and what it is late with then.
    pub(super) fn deadline(&self, limits: &Limits) -> (Instant, Late) {
        if self.in_flight > 0 {
            (self.last + limits.idle, Late::Stalled)
        } else if let Some(since) = self.draining_since {
            // hyper lets a client that has not begun finish its beginning; it may never.
            (since.max(self.last) + GOODBYE, Late::Stalled)
        } else if !self.requests {
            (self.opened + limits.header, Late::Stalled)
        } else if let Some(since) = self.header_since {
            (since + limits.header, Late::Stalled)
        } else {
            (self.last + limits.idle, Late::Idle)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::net::clock;

    const LIMITS: Limits = Limits {
        header: Duration::from_secs(10),
        idle: Duration::from_secs(75),
    };

    #[test]
    fn the_first_request_is_due_within_the_header_timeout_however_slowly_it_comes() {
        let start = clock::now();
        let at = |seconds| start + Duration::from_secs(seconds);
        for protocol in [Protocol::Http1, Protocol::Http2] {
            let mut activity = Activity::new(protocol, start);
            activity.read(at(3));
            activity.read(at(9));
            activity.wrote(at(9));
            assert_eq!(activity.deadline(&LIMITS), (at(10), Late::Stalled));
        }
    }

    #[test]
    fn between_requests_there_is_more_time_until_a_header_begins() {
        let start = clock::now();
        let at = |seconds| start + Duration::from_secs(seconds);
        let mut activity = Activity::new(Protocol::Http1, start);
        activity.read(at(1));
        activity.request_began(at(1));
        activity.request_ended(at(2));
        assert_eq!(activity.deadline(&LIMITS), (at(77), Late::Idle));
        activity.read(at(50));
        activity.read(at(59));
        assert_eq!(activity.deadline(&LIMITS), (at(60), Late::Stalled));
        activity.request_began(at(59));
        activity.request_ended(at(60));
        assert_eq!(activity.deadline(&LIMITS), (at(135), Late::Idle));
    }

    #[test]
    fn a_request_lives_as_long_as_bytes_move() {
        let start = clock::now();
        let at = |seconds| start + Duration::from_secs(seconds);
        for protocol in [Protocol::Http1, Protocol::Http2] {
            let mut activity = Activity::new(protocol, start);
            activity.request_began(at(1));
            activity.wrote(at(70));
            activity.read(at(140));
            assert_eq!(activity.deadline(&LIMITS), (at(215), Late::Stalled));
        }
    }

    #[test]
    fn the_drain_waits_for_answers_and_for_nothing_else() {
        let start = clock::now();
        let at = |seconds| start + Duration::from_secs(seconds);
        let mut activity = Activity::new(Protocol::Http2, start);
        activity.drain_began(at(2));
        assert_eq!(activity.deadline(&LIMITS), (at(3), Late::Stalled));
        activity.request_began(at(2));
        assert_eq!(activity.deadline(&LIMITS), (at(77), Late::Stalled));
        activity.request_ended(at(9));
        assert_eq!(activity.deadline(&LIMITS), (at(10), Late::Stalled));
    }

    #[test]
    fn pings_do_not_keep_an_unused_http2_connection() {
        let start = clock::now();
        let at = |seconds| start + Duration::from_secs(seconds);
        let mut activity = Activity::new(Protocol::Http2, start);
        activity.request_began(at(1));
        activity.request_began(at(1));
        activity.request_ended(at(2));
        activity.request_ended(at(3));
        activity.read(at(40));
        activity.wrote(at(40));
        assert_eq!(activity.deadline(&LIMITS), (at(78), Late::Idle));
    }
}
