//! The half of the loop that serves TCP and TLS clients.

use std::ops::Range;
use std::os::fd::AsFd;
use std::time::Instant;

use tracing::Span;

use crate::net::stream::ClientStream;
use crate::net::sys::Ready;
use crate::turn::channel::{self, Frame};
use crate::turn::core::{ConnectionId, Link, Now, Origin};

use super::super::stream::{Buffers, ReadOutcome, Stream};
use super::connections::Turned;
use super::{Token, Worker};

/// Reads from one stream before the others get their turn.
const READS_PER_TURN: usize = 4;

/// Bytes of an unfinished message that a stream without an allocation may leave with us. What such
/// a client has to say is a request of some hundred bytes; the rest would be memory for nothing.
const PENDING_WITHOUT_ALLOCATION: usize = 4 * 1024;

impl Worker {
    /// Takes a stream over; `deadline`, if it is not to have the whole of its time.
    pub(super) fn adopt(&mut self, now: Now, client: ClientStream, deadline: Option<Instant>) {
        let at = self
            .free_streams
            .last()
            .copied()
            .unwrap_or(self.streams.len() as u32);
        let Ok(mut stream) = Stream::new(client, now.instant) else {
            return;
        };
        if let Some(deadline) = deadline {
            stream.deadline = deadline;
        }
        let token = Token::Stream(at).encode();
        let added = self
            .sockets
            .poller
            .add(stream.as_fd(), token, stream.interest);
        if let Err(error) = added {
            tracing::warn!(%error, "cannot watch a client's stream");
            return;
        }
        if self.free_streams.pop().is_none() {
            self.streams.push(None);
        }
        let deadline = stream.deadline;
        if let Some(place) = self.streams.get_mut(at as usize) {
            *place = Some(Box::new(stream));
        }
        self.stream_timers.insert(at, deadline);
        // What was read before the hand-over may hold whole messages, and what TLS has buffered
        // makes no socket ready.
        self.read_stream(now, at);
        self.flush_stream(now, at);
    }

    pub(super) fn stream_ready(&mut self, now: Now, at: u32, event: &Ready) {
        if event.readable {
            if let Some(stream) = stream_mut(&mut self.streams, at) {
                stream.wake();
                if let Some(connection) = stream.connection {
                    return self.client_ready(now, at, connection, event);
                }
            }
            self.read_stream(now, at);
        }
        if event.writable {
            self.flush_stream(now, at);
        }
    }

    fn read_stream(&mut self, now: Now, at: u32) {
        for reads in 0.. {
            if self.arena.free() == 0 {
                self.flush(now);
            }
            let base = self.arena.next();
            let Some(stream) = stream_mut(&mut self.streams, at) else {
                return;
            };
            if reads >= READS_PER_TURN && !stream.holds_plaintext() {
                return;
            }
            let origin = Origin {
                link: Link::Stream(at),
                client: stream.peer,
                transport: stream.transport(),
            };
            // A message begun earlier comes first; it is shorter than a slot.
            let pending = stream.take_pending();
            let Some(slot) = self.arena.slot() else {
                return;
            };
            let Some((head, room)) = slot.split_at_mut_checked(pending.len()) else {
                return self.close_stream(at);
            };
            head.copy_from_slice(&pending);
            let outcome = stream.read(room);
            let got = match outcome {
                ReadOutcome::Bytes(got) => got,
                ReadOutcome::Later | ReadOutcome::Closed => 0,
            };
            self.arena.keep(1);
            let end = base + pending.len() + got;
            let Some(rest) = self.handle_frames(now, &origin, base..end) else {
                return self.close_stream(at);
            };
            if let Some(turned) = self.turned.take() {
                return self.turn(now, at, turned, rest);
            }
            let claims_memory = rest.len() > PENDING_WITHOUT_ALLOCATION
                && !self.core.has_allocation(Link::Stream(at));
            if outcome == ReadOutcome::Closed || claims_memory {
                return self.close_stream(at);
            }
            if let Some(stream) = stream_mut(&mut self.streams, at) {
                stream.keep_pending(pending, self.arena.bytes().get(rest).unwrap_or_default());
            }
            if outcome == ReadOutcome::Later {
                return;
            }
        }
    }

    /// Handles all whole messages in a range of the arena; returns what is left, or `None` if the
    /// stream makes no sense.
    fn handle_frames(
        &mut self,
        now: Now,
        origin: &Origin,
        mut range: Range<usize>,
    ) -> Option<Range<usize>> {
        loop {
            match channel::frame(self.arena.bytes().get(range.clone())?) {
                Frame::Incomplete => return Some(range),
                Frame::Broken => return None,
                Frame::Whole { len, consumed } => {
                    self.handle(now, origin, range.start..range.start + len);
                    match self.turned {
                        None => range.start += consumed,
                        // What follows is no message any more.
                        Some(Turned::Bound(_)) => {
                            range.start += consumed;
                            return Some(range);
                        }
                        // The other worker reads this one again.
                        Some(Turned::Away(_)) => return Some(range),
                    }
                }
            }
        }
    }

    pub(super) fn flush_stream(&mut self, now: Now, at: u32) {
        let Some(stream) = stream_mut(&mut self.streams, at) else {
            return;
        };
        if let Some(connection) = stream.connection {
            return self.carry(now, connection, false);
        }
        let mut done = stream.flush(&mut self.buffers);
        let wants = stream.wants();
        if done.is_ok() && wants != stream.interest {
            stream.interest = wants;
            let token = Token::Stream(at).encode();
            done = self.sockets.poller.modify(stream.as_fd(), token, wants);
        }
        if let Err(error) = done {
            let slot = self.core.slot_of(Link::Stream(at));
            let span = slot.map_or_else(Span::none, |slot| self.sockets.sessions.span(slot));
            tracing::debug!(parent: &span, %error, "a client's stream broke");
            self.close_stream(at);
        }
    }

    pub(super) fn close_stream(&mut self, at: u32) {
        let Some(mut stream) = self.streams.get_mut(at as usize).and_then(Option::take) else {
            return;
        };
        stream.close();
        if let Some(connection) = stream.connection {
            self.sockets.peers.remove(connection);
            self.core.handle_disconnected(ConnectionId(connection));
        }
        self.core.handle_closed(Link::Stream(at), &mut self.sockets);
        self.free_streams.push(at);
    }
}

pub(super) fn stream_mut(streams: &mut [Option<Box<Stream>>], at: u32) -> Option<&mut Stream> {
    streams.get_mut(at as usize)?.as_deref_mut()
}

/// Queues a message for a client. False: its buffer is full.
pub(super) fn push(
    streams: &mut [Option<Box<Stream>>],
    dirty: &mut Vec<u32>,
    buffers: &mut Buffers,
    at: u32,
    parts: [&[u8]; 3],
) -> bool {
    let Some(stream) = stream_mut(streams, at) else {
        return true;
    };
    let queued = stream.push(parts, buffers);
    if queued && !stream.dirty {
        stream.dirty = true;
        dirty.push(at);
    }
    queued
}
