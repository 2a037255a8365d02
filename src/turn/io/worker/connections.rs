//! The half of the loop that carries TCP connections between clients and peers (RFC 6062).
//!
//! Nothing is read from one side while enough waits for the other, so a slow reader slows down its
//! own counterpart, in the end by TCP, and costs a fixed amount of memory.

use std::io;
use std::ops::Range;
use std::os::fd::AsFd;
use std::time::{Duration, Instant};

use crate::net::sys::{Interest, Ready};
use crate::turn::core::{ConnectionId, Direction, Incoming, Now, RelayId};

use super::super::mailbox::Mail;
use super::super::peers::{ENOUGH, Orphan};
use super::super::stream::ReadOutcome;
use super::streams::stream_mut;
use super::{Token, Worker};

/// Peers accepted from one relay before the others get their turn.
const ACCEPTS_PER_TURN: usize = 16;

/// Reads from each side before the others get their turn.
const READS_PER_TURN: usize = 4;

/// Bytes of one read.
const CHUNK: usize = 16 * 1024;

/// How long what a rate or the lack of descriptors has stopped stays so.
const PAUSE: Duration = Duration::from_millis(20);

/// What a message has made of the stream that it came by.
#[derive(Clone, Copy, Debug)]
pub(super) enum Turned {
    /// It carries this connection from now on.
    Bound(ConnectionId),
    /// It is another worker's.
    Away(u16),
}

/// What goes on after a while.
#[derive(Debug, Default)]
pub(super) struct Paused {
    pub(super) until: Option<Instant>,
    connections: Vec<u32>,
    relays: Vec<u32>,
}

impl Worker {
    /// Follows what a message has made of its stream; `rest` of the arena came behind it.
    pub(super) fn turn(&mut self, now: Now, at: u32, turned: Turned, rest: Range<usize>) {
        let rest = self.arena.bytes().get(rest).unwrap_or_default();
        match turned {
            Turned::Bound(id) => {
                if self.chunk.is_empty() {
                    self.chunk = vec![0; CHUNK];
                }
                let stream = stream_mut(&mut self.streams, at);
                let peer = self.sockets.peers.get_mut(id.0);
                let (Some(stream), Some(peer)) = (stream, peer) else {
                    return self.close_stream(at);
                };
                stream.connection = Some(id.0);
                peer.client = Some(at);
                if !rest.is_empty() {
                    peer.queue(rest);
                    let (way, len) = (Direction::ToPeer, rest.len());
                    peer.to_peer.debt = self.core.handle_stream_bytes(now, id, way, len);
                }
                self.carry(now, id.0, false);
            }
            Turned::Away(worker) => {
                let taken = self.streams.get_mut(at as usize).and_then(Option::take);
                let Some(mut stream) = taken else {
                    return;
                };
                self.free_streams.push(at);
                stream.keep_pending(Vec::new(), rest);
                // Answers to what came before; if they do not fit, the client is not reading.
                let _ = stream.flush(&mut self.buffers);
                let removed = self.sockets.poller.remove(stream.as_fd());
                let deadline = stream.deadline;
                if removed.is_ok()
                    && let Some(client) = stream.into_client()
                    && let Some(mailbox) = self.mailboxes.get(usize::from(worker))
                {
                    let client = Box::new(client);
                    mailbox.send(Mail::Moved { client, deadline });
                }
            }
        }
    }

    /// Takes the connections of peers that have come to a relay.
    pub(super) fn accept_peers(&mut self, now: Now, relay: u32) {
        for _ in 0..ACCEPTS_PER_TURN {
            let Some(listening) = self.sockets.peers.listening(relay) else {
                return;
            };
            let (socket, source) = match listening.listener.accept() {
                Ok(accepted) => accepted,
                Err(error) => match error.kind() {
                    io::ErrorKind::ConnectionAborted | io::ErrorKind::Interrupted => continue,
                    io::ErrorKind::WouldBlock => return,
                    _ => {
                        // It would be ready again at once.
                        let span = self.sockets.sessions.span(RelayId(relay).slot());
                        tracing::warn!(parent: &span, %error, "cannot accept a peer's connection");
                        if self
                            .sockets
                            .poller
                            .remove(listening.listener.as_fd())
                            .is_ok()
                        {
                            self.paused.relays.push(relay);
                            self.paused.until.get_or_insert(now.instant + PAUSE);
                        }
                        return;
                    }
                },
            };
            let id = RelayId(relay);
            let answer = self.answer.as_mut_slice();
            let sockets = &mut self.sockets;
            let incoming = self.core.handle_incoming(now, id, source, answer, sockets);
            let Incoming::Accepted { connection, action } = incoming else {
                continue;
            };
            let added = socket
                .set_nonblocking(true)
                .and_then(|()| socket.set_nodelay(true))
                .and_then(|()| {
                    sockets
                        .peers
                        .add(&sockets.poller, connection, socket, false)
                });
            match added {
                Ok(()) => self.perform(action, None, 0),
                Err(error) => {
                    let span = self.sockets.sessions.span(id.slot());
                    tracing::debug!(parent: &span, %error, "a peer's connection broke");
                    self.core.handle_disconnected(connection);
                }
            }
        }
    }

    pub(super) fn peer_ready(&mut self, now: Now, id: u32, event: &Ready) {
        let Some(peer) = self.sockets.peers.get_mut(id) else {
            return;
        };
        if peer.connecting {
            peer.connecting = false;
            let connected = !event.failed && peer.is_connected();
            let connected = connected
                && peer
                    .watch(&self.sockets.poller, id, Interest::Nothing)
                    .is_ok();
            let answer = self.answer.as_mut_slice();
            let (id, sockets) = (ConnectionId(id), &mut self.sockets);
            let action = self
                .core
                .handle_connected(now, id, connected, answer, sockets);
            return self.perform(action, None, 0);
        }
        if peer.client.is_none() {
            // It was reset before anybody wanted it.
            if event.failed {
                self.end_connection(id);
            }
            return;
        }
        self.carry(now, id, event.failed);
        // Closed both ways, but what came is still to be read: later, and without being told so
        // for ever.
        if event.hung_up
            && let Some(peer) = self.sockets.peers.get_mut(id)
        {
            peer.rest(&self.sockets.poller);
        }
    }

    /// The client's side of a connection is ready.
    pub(super) fn client_ready(&mut self, now: Now, at: u32, id: u32, event: &Ready) {
        self.carry(now, id, event.failed);
        if event.hung_up
            && let Some(stream) = stream_mut(&mut self.streams, at)
            && stream.connection == Some(id)
            && stream.interest == Interest::Nothing
            && self.sockets.poller.remove(stream.as_fd()).is_ok()
        {
            stream.resting = true;
        }
    }

    /// Carries bytes both ways, as far as they go. `failed`: one of the sockets will not be of any
    /// use any more, once it has been read.
    pub(super) fn carry(&mut self, now: Now, id: u32, failed: bool) {
        if self.try_carry(now, id).is_err() || failed {
            return self.end_connection(id);
        }
        let Some(peer) = self.sockets.peers.get_mut(id) else {
            return;
        };
        if peer.to_peer.closed && peer.to_client.closed {
            return self.end_connection(id);
        }
        let in_debt = peer.to_peer.debt > 0 || peer.to_client.debt > 0;
        if in_debt && !self.paused.connections.contains(&id) {
            self.paused.connections.push(id);
            self.paused.until.get_or_insert(now.instant + PAUSE);
        }
    }

    fn try_carry(&mut self, now: Now, id: u32) -> io::Result<()> {
        let gone = || io::Error::from(io::ErrorKind::NotConnected);
        let name = ConnectionId(id);
        let peer = self.sockets.peers.get_mut(id).ok_or_else(gone)?;
        let at = peer.client.ok_or_else(gone)?;
        let stream = stream_mut(&mut self.streams, at).ok_or_else(gone)?;
        let chunk = self.chunk.as_mut_slice();

        for direction in [Direction::ToPeer, Direction::ToClient] {
            let way = peer.way(direction);
            if way.debt > 0 {
                way.debt = self.core.pay(now, name, direction, way.debt);
            }
        }
        for reads in 0.. {
            // What TLS has decrypted makes no socket ready, so it is not left for the next turn.
            if !peer.to_peer.is_open()
                || peer.backlog() >= ENOUGH
                || (reads >= READS_PER_TURN && !stream.holds_plaintext())
            {
                break;
            }
            match stream.read(chunk) {
                ReadOutcome::Bytes(len) => {
                    peer.queue(chunk.get(..len).unwrap_or_default());
                    let way = Direction::ToPeer;
                    peer.to_peer.debt = self.core.handle_stream_bytes(now, name, way, len);
                    peer.flush()?;
                }
                ReadOutcome::Later => break,
                ReadOutcome::Closed => {
                    peer.to_peer.ended = true;
                    self.core.handle_closing(now, name);
                }
            }
        }
        for _ in 0..READS_PER_TURN {
            if !peer.to_client.is_open() || stream.backlog() >= ENOUGH {
                break;
            }
            match peer.read(chunk) {
                ReadOutcome::Bytes(len) => {
                    let bytes = chunk.get(..len).unwrap_or_default();
                    if !stream.push([bytes, &[], &[]], &mut self.buffers) {
                        return Err(io::ErrorKind::OutOfMemory.into());
                    }
                    let way = Direction::ToClient;
                    peer.to_client.debt = self.core.handle_stream_bytes(now, name, way, len);
                    stream.flush(&mut self.buffers)?;
                }
                ReadOutcome::Later => break,
                ReadOutcome::Closed => {
                    peer.to_client.ended = true;
                    self.core.handle_closing(now, name);
                }
            }
        }
        peer.flush()?;
        stream.flush(&mut self.buffers)?;
        let written = stream.wants() == Interest::Read;
        if peer.to_peer.ended && !peer.to_peer.closed && peer.backlog() == 0 {
            peer.to_peer.closed = true;
            peer.finish();
        }
        if peer.to_client.ended && !peer.to_client.closed && written {
            peer.to_client.closed = true;
            stream.finish();
        }

        let read = peer.to_peer.is_open() && peer.backlog() < ENOUGH;
        let wants = interest(read, stream.wants() != Interest::Read);
        if wants != stream.interest {
            stream.interest = wants;
            let token = Token::Stream(at).encode();
            let poller = &self.sockets.poller;
            match std::mem::take(&mut stream.resting) {
                true => poller.add(stream.as_fd(), token, wants)?,
                false => poller.modify(stream.as_fd(), token, wants)?,
            }
        }
        let read = peer.to_client.is_open() && stream.backlog() < ENOUGH;
        let wants = interest(read, peer.backlog() > 0);
        peer.watch(&self.sockets.poller, id, wants)
    }

    /// Closes both sides of a connection.
    fn end_connection(&mut self, id: u32) {
        self.sockets.peers.remove(id);
        self.core.handle_disconnected(ConnectionId(id));
        self.close_orphans();
    }

    /// Closes streams whose connection is over.
    pub(super) fn close_orphans(&mut self) {
        while let Some(Orphan { stream, connection }) = self.sockets.peers.orphans.pop() {
            // Another may be in its place.
            let carries = stream_mut(&mut self.streams, stream)
                .is_some_and(|stream| stream.connection == Some(connection));
            if carries {
                self.close_stream(stream);
            }
        }
    }

    /// Ends what has waited too long.
    pub(super) fn expire_connections(&mut self, now: Now) {
        loop {
            let answer = self.answer.as_mut_slice();
            let expired = self.core.expire_connection(now, answer, &mut self.sockets);
            match expired {
                Some(action) => self.perform(action, None, 0),
                None => return self.flush(now),
            }
        }
    }

    /// Goes on with what was paused.
    pub(super) fn resume(&mut self, now: Now) {
        if self.paused.until.is_none_or(|until| until > now.instant) {
            return;
        }
        let Paused {
            connections,
            relays,
            ..
        } = std::mem::take(&mut self.paused);
        for relay in relays {
            if let Some(listening) = self.sockets.peers.listening(relay) {
                let token = Token::PeerListener(relay).encode();
                let listener = listening.listener.as_fd();
                // Where even that fails, it stays closed.
                let _ = self.sockets.poller.add(listener, token, Interest::Read);
            }
        }
        for connection in connections {
            self.carry(now, connection, false);
        }
    }
}

fn interest(read: bool, write: bool) -> Interest {
    match (read, write) {
        (true, true) => Interest::ReadWrite,
        (true, false) => Interest::Read,
        (false, true) => Interest::Write,
        (false, false) => Interest::Nothing,
    }
}
