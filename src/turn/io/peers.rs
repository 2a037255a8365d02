//! TCP connections with peers (RFC 6062): sockets and what waits to be written to them. Which
//! connection belongs to whom is the core's business, when bytes flow the worker's.

use std::collections::HashMap;
use std::io::{self, Read, Write};
use std::net::{IpAddr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::os::fd::{AsFd, BorrowedFd};

use crate::net::sys::{Interest, Poller};
use crate::net::tcp;
use crate::turn::core::{ConnectError, ConnectionId, Direction, RelayId};
use crate::turn::stun::address::Family;

use super::stream::ReadOutcome;
use super::worker::Token;

/// Bytes that wait for one side before no more are read from the other.
pub(super) const ENOUGH: usize = 64 * 1024;

/// All peers of a worker, and where they connect to.
#[derive(Default)]
pub(super) struct Peers {
    relays: HashMap<u32, Listening>,
    peers: HashMap<u32, Box<Peer>>,
    /// Streams of clients whose connection is over, to be closed.
    pub(super) orphans: Vec<Orphan>,
}

/// A relay that listens.
pub(super) struct Listening {
    pub(super) listener: TcpListener,
    pub(super) family: Family,
    pub(super) port: u16,
}

/// A client's stream, and the connection it was bound to.
#[derive(Clone, Copy)]
pub(super) struct Orphan {
    pub(super) stream: u32,
    pub(super) connection: u32,
}

/// One connection with a peer.
pub(super) struct Peer {
    socket: TcpStream,
    /// The client's stream that carries its data.
    pub(super) client: Option<u32>,
    /// Not connected yet.
    pub(super) connecting: bool,
    waiting: Vec<u8>,
    written: usize,
    interest: Interest,
    /// The poller does not know it at present.
    resting: bool,
    /// The two ways.
    pub(super) to_peer: Way,
    pub(super) to_client: Way,
}

/// One direction of a connection.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Way {
    /// Its source has said its last word.
    pub(super) ended: bool,
    /// And its destination has been told so.
    pub(super) closed: bool,
    /// Bytes that the rates have not admitted yet, though they are on their way.
    pub(super) debt: usize,
}

impl Way {
    /// Whether more may be read, as far as it is known here.
    pub(super) fn is_open(&self) -> bool {
        !self.ended && self.debt == 0
    }
}

impl Peers {
    pub(super) fn listen(
        &mut self,
        poller: &Poller,
        id: RelayId,
        (family, ip, port): (Family, IpAddr, u16),
    ) -> io::Result<()> {
        let listener = tcp::relay(ip, port)?;
        let token = Token::PeerListener(id.0).encode();
        poller.add(listener.as_fd(), token, Interest::Read)?;
        let listening = Listening {
            listener,
            family,
            port,
        };
        self.relays.insert(id.0, listening);
        Ok(())
    }

    pub(super) fn listening(&self, id: u32) -> Option<&Listening> {
        self.relays.get(&id)
    }

    pub(super) fn stop_listening(&mut self, id: RelayId) -> Option<Listening> {
        self.relays.remove(&id.0)
    }

    pub(super) fn connect(
        &mut self,
        poller: &Poller,
        id: ConnectionId,
        relay: RelayId,
        to: SocketAddr,
    ) -> Result<(), ConnectError> {
        let from = self
            .relays
            .get(&relay.0)
            .and_then(|relay| relay.listener.local_addr().ok())
            .ok_or(ConnectError)?;
        tcp::connect(from, to)
            .and_then(|socket| self.add(poller, id, socket, true))
            .map_err(|error| {
                tracing::debug!(%error, "no connection to a peer");
                ConnectError
            })
    }

    /// Takes over a connection; until a client binds it, nothing is read.
    pub(super) fn add(
        &mut self,
        poller: &Poller,
        id: ConnectionId,
        socket: TcpStream,
        connecting: bool,
    ) -> io::Result<()> {
        let interest = match connecting {
            true => Interest::Write,
            false => Interest::Nothing,
        };
        poller.add(socket.as_fd(), Token::Peer(id.0).encode(), interest)?;
        let peer = Peer {
            socket,
            client: None,
            connecting,
            waiting: Vec::new(),
            written: 0,
            interest,
            resting: false,
            to_peer: Way::default(),
            to_client: Way::default(),
        };
        self.peers.insert(id.0, Box::new(peer));
        Ok(())
    }

    pub(super) fn get_mut(&mut self, id: u32) -> Option<&mut Peer> {
        self.peers.get_mut(&id).map(Box::as_mut)
    }

    /// Closes a connection. The client's stream is left to be closed.
    pub(super) fn remove(&mut self, id: u32) {
        if let Some(peer) = self.peers.remove(&id)
            && let Some(stream) = peer.client
        {
            let orphan = Orphan {
                stream,
                connection: id,
            };
            self.orphans.push(orphan);
        }
    }
}

impl Peer {
    /// Whether it has been connected; asked once the socket can be written.
    pub(super) fn is_connected(&self) -> bool {
        matches!(self.socket.take_error(), Ok(None)) && self.socket.peer_addr().is_ok()
    }

    pub(super) fn read(&mut self, out: &mut [u8]) -> ReadOutcome {
        match self.socket.read(out) {
            Ok(0) => ReadOutcome::Closed,
            Ok(n) => ReadOutcome::Bytes(n),
            Err(error)
                if matches!(
                    error.kind(),
                    io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted
                ) =>
            {
                ReadOutcome::Later
            }
            Err(_) => ReadOutcome::Closed,
        }
    }

    /// Bytes that wait to be written.
    pub(super) fn backlog(&self) -> usize {
        self.waiting.len() - self.written
    }

    pub(super) fn queue(&mut self, bytes: &[u8]) {
        if self.written > 0 && self.waiting.capacity() - self.waiting.len() < bytes.len() {
            self.waiting.drain(..self.written);
            self.written = 0;
        }
        self.waiting.extend_from_slice(bytes);
    }

    /// Writes what waits, as far as the peer takes it.
    pub(super) fn flush(&mut self) -> io::Result<()> {
        while self.written < self.waiting.len() {
            let rest = self.waiting.get(self.written..).unwrap_or_default();
            match self.socket.write(rest) {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(n) => self.written += n,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        // A connection that has nothing to say holds no memory.
        self.waiting = Vec::new();
        self.written = 0;
        Ok(())
    }

    /// Nothing more will be written.
    pub(super) fn finish(&self) {
        let _ = self.socket.shutdown(Shutdown::Write);
    }

    pub(super) fn watch(&mut self, poller: &Poller, id: u32, wants: Interest) -> io::Result<()> {
        if wants != self.interest {
            self.interest = wants;
            let token = Token::Peer(id).encode();
            match std::mem::take(&mut self.resting) {
                true => poller.add(self.socket.as_fd(), token, wants)?,
                false => poller.modify(self.socket.as_fd(), token, wants)?,
            }
        }
        Ok(())
    }

    /// Lets the poller forget it until it is watched for something else, if it is watched for
    /// nothing.
    pub(super) fn rest(&mut self, poller: &Poller) {
        if self.interest == Interest::Nothing && poller.remove(self.socket.as_fd()).is_ok() {
            self.resting = true;
        }
    }

    pub(super) fn way(&mut self, direction: Direction) -> &mut Way {
        match direction {
            Direction::ToPeer => &mut self.to_peer,
            Direction::ToClient => &mut self.to_client,
        }
    }
}

impl AsFd for Peer {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}
