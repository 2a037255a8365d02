//! Leaving the listening sockets to another process, while the allocations stay here.
//!
//! Both processes hold the same UDP sockets, and whoever reads first gets a datagram. So before the
//! other one begins to read, each client of ours gets a socket of its own on the same port, connected
//! to its address: the kernel prefers it for what that client sends. Answers still leave through the
//! listener.

use std::io;
use std::net::SocketAddr;
use std::os::fd::AsFd as _;

use crate::net::sys::{BATCH, Interest};
use crate::net::udp::DatagramSocket;
use crate::turn::core::{Link, Now, Origin};

use super::{BATCHES_PER_TURN, Token, Worker, segments};

/// A client whose allocation stays here.
pub(in crate::turn::io) struct Left {
    socket: DatagramSocket,
    origin: Origin,
}

impl Worker {
    /// From now on the listeners are read by somebody else.
    pub(super) fn hand_over(&mut self, now: Now) {
        // Streams stay here whether they have an allocation already or ask for one now.
        self.leaving = true;
        let mut failed = 0_u32;
        for origin in self.core.clients() {
            if let Err(error) = self.keep(origin) {
                failed += 1;
                tracing::debug!(%error, "a client gets no socket of its own");
            }
        }
        if failed > 0 {
            tracing::warn!(
                failed,
                "relays whose clients are lost to the new process, for want of sockets (raise LimitNOFILE)"
            );
        }
        for at in 0..self.sockets.listeners.len() as u32 {
            // What came before the clients had sockets of their own lies here.
            self.read_listener(now, at);
            if let Some(listener) = self.sockets.listeners.get(at as usize) {
                // It was added when the worker began.
                let _ = self.sockets.poller.remove(listener.as_fd());
            }
        }
        self.flush(now);
    }

    fn keep(&mut self, origin: Origin) -> io::Result<()> {
        let Link::Datagram {
            socket,
            local,
            client,
        } = origin.link
        else {
            return Ok(());
        };
        let listener = self.sockets.listeners.get(usize::from(socket));
        let bound = listener.ok_or(io::ErrorKind::NotFound)?.local_addr()?;
        // On a socket bound to one address the destination is always that one.
        let ip = match local.is_unspecified() {
            true => bound.ip(),
            false => local,
        };
        let local = SocketAddr::new(ip.to_canonical(), bound.port());
        let client = SocketAddr::new(client.ip().to_canonical(), client.port());
        let socket = DatagramSocket::of_client(local, client)?;
        let at = self.sockets.left.len() as u32;
        let token = Token::Client(at).encode();
        self.sockets
            .poller
            .add(socket.as_fd(), token, Interest::Read)?;
        self.sockets.left.push(Some(Left { socket, origin }));
        Ok(())
    }

    /// Reads what a client of ours has sent since.
    pub(super) fn read_client(&mut self, now: Now, at: u32) {
        for _ in 0..BATCHES_PER_TURN {
            let Some(origin) = self.sockets.left(at).map(|left| left.origin) else {
                return;
            };
            let got = self.receive_batch(now, |sockets| Some(&sockets.left(at)?.socket));
            let received = std::mem::take(&mut self.received);
            for (base, packet) in &received {
                // Between binding and connecting anybody's could come in.
                let is_from_client = same(packet.source, origin.client);
                if packet.truncated || !is_from_client {
                    continue;
                }
                for range in segments(*base, packet) {
                    self.handle(now, &origin, range);
                }
            }
            self.received = received;
            if got < BATCH {
                return;
            }
        }
    }

    /// Gives the port of clients whose allocations have ended to the new process.
    pub(super) fn forget_clients(&mut self) {
        for left in &mut self.sockets.left {
            let over = |left: &Left| !self.core.has_allocation(left.origin.link);
            if left.as_ref().is_some_and(over) {
                // Closing the descriptor takes it out of the poller.
                *left = None;
            }
        }
    }
}

fn same(one: SocketAddr, other: SocketAddr) -> bool {
    one.port() == other.port() && one.ip().to_canonical() == other.ip().to_canonical()
}
