//! When a connection has been quiet for too long, or said too much. Pure: the time is an argument.
//!
//! hyper has one timer for a request's header, which also runs between requests; we want a short
//! one for the header (nobody needs long to send it) and a long one for keep-alive. While a request
//! is being answered, the time that the answer takes to make is not the client's: what runs then is
//! the time to send a body and to take the answer, and it runs on unless both get somewhere.

use std::time::{Duration, Instant};

use super::frames::Frames;

/// How long a client may take.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// For the first request, and for a header once it has begun.
    pub header: Duration,
    /// Between requests, and for each 16 KiB of a body.
    pub idle: Duration,
}

/// For what is left to be said on a connection that nobody uses.
pub(super) const GOODBYE: Duration = Duration::from_secs(1);

/// Bytes within one idle timeout by which a transfer is going on: with the default of 75 s, 218
/// bytes a second. Less is a client that wants to keep the connection, not the answer.
pub(super) const PROGRESS: usize = 16 * 1024;

/// What frames of HTTP/2 that are no requests may cost: at once, and a second.
const CHATTER: u32 = 1000;
const CHATTER_PER_SECOND: u32 = 100;
/// A request that is taken back has been work; a browser takes back what was scrolled away.
const RESET_COST: u32 = 10;
/// A request brings a priority with it, or a window.
const EARNED_BY_REQUEST: u32 = 2;
/// Bytes of answers that a client may acknowledge with a window each; half a usual frame.
const EARNED_BY_BYTES: usize = 8 * 1024;

/// What is spoken, since only one of the two has headers outside of requests.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Protocol {
    Http1,
    Http2,
}

/// What the connection is late with, or has too much of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Late {
    /// A request, or a part of one, or taking the answer: there is nothing to say goodbye to.
    Stalled,
    /// The next request: the client is told that there will be no answer to one.
    Idle,
    /// It does not stop sending what nobody asked for.
    Flooding,
}

/// Whose turn it is in one exchange of a request and its answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Turn {
    /// The client sends a body, or takes an answer.
    Client,
    /// The answer is being made.
    Server,
}

/// What has happened on one connection, as far as deadlines depend on it.
#[derive(Debug)]
pub(super) struct Activity {
    opened: Instant,
    requests: bool,
    in_flight: usize,
    /// Exchanges in which it is the client's turn.
    waiting_for_client: usize,
    /// Bytes that were to be sent do not fit into the socket.
    blocked: bool,
    /// When the client last did what it was waited for.
    last: Instant,
    /// Bytes since then, each way.
    received: usize,
    sent: usize,
    /// The first byte of a header that is not complete.
    header_since: Option<Instant>,
    /// The process is ending.
    draining_since: Option<Instant>,
    /// For HTTP/2.
    frames: Option<Budget>,
    cut: bool,
}

/// How much a client may still chat.
#[derive(Debug)]
struct Budget {
    frames: Frames,
    left: u32,
    refilled: Instant,
    unpaid: usize,
    overdrawn: bool,
}

impl Activity {
    pub(super) fn new(protocol: Protocol, now: Instant) -> Self {
        Self {
            opened: now,
            requests: false,
            in_flight: 0,
            waiting_for_client: 0,
            blocked: false,
            last: now,
            received: 0,
            sent: 0,
            header_since: None,
            draining_since: None,
            frames: (protocol == Protocol::Http2).then(|| Budget::new(now)),
            cut: false,
        }
    }

    /// Whether nothing has been asked yet.
    pub(super) fn is_fresh(&self) -> bool {
        !self.requests
    }

    /// Bytes came.
    pub(super) fn read(&mut self, now: Instant, bytes: &[u8]) {
        let body = match &mut self.frames {
            Some(budget) => budget.read(now, bytes),
            // Bytes between the requests of HTTP/1 are the next one's header.
            None if self.in_flight == 0 => {
                self.header_since.get_or_insert(now);
                return;
            }
            None => bytes.len(),
        };
        self.received += body;
        if self.received >= PROGRESS {
            self.moved(now);
        }
    }

    /// Bytes were taken over by the socket, or by what encrypts for it.
    pub(super) fn wrote(&mut self, now: Instant, bytes: usize) {
        if let Some(budget) = &mut self.frames {
            budget.wrote(bytes);
        }
        self.sent += bytes;
        // Where nothing waits, whatever is to be said has been. HTTP/2 also says what the client
        // alone wants, such as answers to its pings.
        if self.sent >= PROGRESS || (self.frames.is_none() && !self.blocked) {
            self.moved(now);
        }
    }

    /// Bytes wait for the client to read.
    pub(super) fn blocked(&mut self, now: Instant) {
        if !self.blocked {
            self.blocked = true;
            self.moved(now);
        }
    }

    /// None wait any more.
    pub(super) fn flushed(&mut self) {
        self.blocked = false;
    }

    /// A header is complete.
    pub(super) fn request_began(&mut self, now: Instant, turn: Turn) {
        self.requests = true;
        self.in_flight += 1;
        self.header_since = None;
        self.waiting_for_client += usize::from(turn == Turn::Client);
        self.moved(now);
    }

    /// It became the other side's turn.
    pub(super) fn turned(&mut self, now: Instant, turn: Turn) {
        match turn {
            Turn::Client => {
                self.waiting_for_client += 1;
                self.moved(now);
            }
            Turn::Server => self.waiting_for_client = self.waiting_for_client.saturating_sub(1),
        }
    }

    /// The client took the next piece of an answer, and it is its turn again.
    pub(super) fn took(&mut self, now: Instant) {
        self.moved(now);
    }

    /// The answer has been handed over.
    pub(super) fn request_ended(&mut self, now: Instant, turn: Turn) {
        self.in_flight = self.in_flight.saturating_sub(1);
        if turn == Turn::Client {
            self.waiting_for_client = self.waiting_for_client.saturating_sub(1);
        }
        self.moved(now);
    }

    pub(super) fn drain_began(&mut self, now: Instant) {
        self.draining_since = Some(now);
    }

    /// Nothing more is said to this client.
    pub(super) fn cut(&mut self) {
        self.cut = true;
    }

    pub(super) fn is_cut(&self) -> bool {
        self.cut
    }

    fn moved(&mut self, now: Instant) {
        self.last = now;
        self.received = 0;
        self.sent = 0;
    }

    /// Until when something must have happened, and what it is late with then.
    pub(super) fn deadline(&self, limits: &Limits) -> (Instant, Late) {
        if self.frames.as_ref().is_some_and(|frames| frames.overdrawn) {
            return (self.opened, Late::Flooding);
        }
        if self.waiting_for_client > 0 || (self.in_flight > 0 && self.blocked) {
            (self.last + limits.idle, Late::Stalled)
        } else if self.in_flight > 0 {
            // Who makes the answer has deadlines of its own.
            (self.last + FAR, Late::Stalled)
        } else if let Some(since) = self.draining_since {
            // hyper lets a client that has not begun finish its beginning; it may never.
            (since.max(self.last) + GOODBYE, Late::Stalled)
        } else if !self.requests {
            (self.opened + limits.header, Late::Stalled)
        } else if let Some(since) = self.header_since {
            (since + limits.header, Late::Stalled)
        } else if self.blocked {
            (self.last + limits.idle, Late::Stalled)
        } else {
            (self.last + limits.idle, Late::Idle)
        }
    }
}

/// For where there is no deadline.
const FAR: Duration = Duration::from_secs(24 * 3600);

impl Budget {
    fn new(now: Instant) -> Self {
        Self {
            frames: Frames::new(),
            left: CHATTER,
            refilled: now,
            unpaid: 0,
            overdrawn: false,
        }
    }

    /// Bytes of bodies among these.
    fn read(&mut self, now: Instant, bytes: &[u8]) -> usize {
        let seen = self.frames.read(bytes);
        self.earn(seen.headers.saturating_mul(EARNED_BY_REQUEST));
        let cost = seen
            .resets
            .saturating_mul(RESET_COST)
            .saturating_add(seen.chatter);
        if cost > 0 {
            self.refill(now);
            match self.left.checked_sub(cost) {
                Some(left) => self.left = left,
                None => self.overdrawn = true,
            }
        }
        seen.body
    }

    fn wrote(&mut self, bytes: usize) {
        self.unpaid += bytes;
        self.earn((self.unpaid / EARNED_BY_BYTES) as u32);
        self.unpaid %= EARNED_BY_BYTES;
    }

    fn refill(&mut self, now: Instant) {
        let elapsed = now.saturating_duration_since(self.refilled).as_millis();
        let gained = elapsed * u128::from(CHATTER_PER_SECOND) / 1000;
        if gained > 0 {
            self.refilled = now;
            self.earn(gained.min(u128::from(CHATTER)) as u32);
        }
    }

    fn earn(&mut self, gained: u32) {
        self.left = self.left.saturating_add(gained).min(CHATTER);
    }
}

#[cfg(test)]
mod tests;
