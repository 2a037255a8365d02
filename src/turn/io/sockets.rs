//! A worker's sockets, and what the core asks of them.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::os::fd::AsFd;
use std::sync::{Arc, Mutex, PoisonError};

use aws_lc_rs::rand;

use crate::net::sys::{Interest, Poller};
use crate::net::udp::DatagramSocket;
use crate::turn::core::{BindError, ConnectError, ConnectionId, Event, Host, Pool, RelayId};
use crate::turn::stun::address::Family;

use super::directory::Directory;
use super::peers::Peers;
use super::sessions::Sessions;
use super::worker::Token;
use super::worker::hand_over::Left;

/// Listening and relay sockets of one worker.
pub(super) struct Sockets {
    pub(super) worker: u16,
    pub(super) poller: Poller,
    pub(super) listeners: Vec<DatagramSocket>,
    relays: Vec<Option<Relay>>,
    relay_bind: [Option<IpAddr>; 2],
    opened: u32,
    /// Connections with peers.
    pub(super) peers: Peers,
    /// Of clients that stay here when the listeners have gone to another process.
    pub(super) left: Vec<Option<Left>>,
    workers: u16,
    directory: Arc<Directory>,
    pool: Arc<Mutex<Pool>>,
    /// Who has an allocation here, as logs and operators know them.
    pub(super) sessions: Sessions,
}

/// A relay socket. Its number tells it from an earlier one in the same place.
pub(super) struct Relay {
    pub(super) socket: DatagramSocket,
    pub(super) number: u32,
    family: Family,
    port: u16,
}

impl Sockets {
    pub(super) fn new(
        (worker, workers): (u16, u16),
        listeners: Vec<DatagramSocket>,
        relay_bind: [Option<IpAddr>; 2],
        directory: Arc<Directory>,
        pool: Arc<Mutex<Pool>>,
    ) -> io::Result<Self> {
        let poller = Poller::new()?;
        for (at, listener) in listeners.iter().enumerate() {
            let token = Token::Listener(at as u32);
            poller.add(listener.as_fd(), token.encode(), Interest::Read)?;
        }
        Ok(Self {
            worker,
            poller,
            listeners,
            relays: Vec::new(),
            relay_bind,
            opened: 0,
            peers: Peers::default(),
            left: Vec::new(),
            workers,
            directory,
            pool,
            sessions: Sessions::new(worker),
        })
    }

    pub(super) fn relay(&self, id: RelayId) -> Option<&Relay> {
        self.relays.get(id.0 as usize)?.as_ref()
    }

    pub(super) fn left(&self, at: u32) -> Option<&Left> {
        self.left.get(at as usize)?.as_ref()
    }

    fn open(&mut self, id: RelayId, family: Family, port: u16) -> io::Result<()> {
        let [v4, v6] = self.relay_bind;
        let ip = match family {
            Family::V4 => v4,
            Family::V6 => v6,
        }
        .ok_or(io::ErrorKind::AddrNotAvailable)?;
        let socket = DatagramSocket::relay(ip, port)?;
        let token = Token::Relay(id.0);
        self.poller
            .add(socket.as_fd(), token.encode(), Interest::Read)?;
        let at = id.0 as usize;
        if self.relays.len() <= at {
            self.relays.resize_with(at + 1, || None);
        }
        self.opened = self.opened.wrapping_add(1);
        let relay = Relay {
            socket,
            number: self.opened,
            family,
            port,
        };
        if let Some(place) = self.relays.get_mut(at) {
            *place = Some(relay);
        }
        Ok(())
    }
}

fn refused(error: &io::Error, port: u16) -> BindError {
    if error.kind() == io::ErrorKind::AddrInUse {
        return BindError::Taken;
    }
    tracing::warn!(%error, port, "cannot open a relay socket");
    BindError::Exhausted
}

impl Host for Sockets {
    fn pool<R>(&mut self, f: impl FnOnce(&mut Pool) -> R) -> R {
        // A worker that panicked inside left counts behind that are at worst too high.
        f(&mut self.pool.lock().unwrap_or_else(PoisonError::into_inner))
    }

    fn bind(&mut self, relay: RelayId, family: Family, port: u16) -> Result<(), BindError> {
        match self.open(relay, family, port) {
            Ok(()) => {
                self.directory.set(family, port, Some(self.worker));
                Ok(())
            }
            Err(error) => Err(refused(&error, port)),
        }
    }

    fn close(&mut self, relay: RelayId) {
        // Closing the descriptor takes it out of the poller.
        if let Some(relay) = self.relays.get_mut(relay.0 as usize).and_then(Option::take) {
            self.directory.set(relay.family, relay.port, None);
        } else if let Some(listening) = self.peers.stop_listening(relay) {
            self.directory.set(listening.family, listening.port, None);
        }
    }

    fn listen(&mut self, relay: RelayId, family: Family, port: u16) -> Result<(), BindError> {
        let [v4, v6] = self.relay_bind;
        let ip = match family {
            Family::V4 => v4,
            Family::V6 => v6,
        };
        let ip = ip.ok_or(BindError::Exhausted)?;
        let opened = self.peers.listen(&self.poller, relay, (family, ip, port));
        opened.map_err(|error| refused(&error, port))?;
        self.directory.set_listening(family, port, self.worker);
        Ok(())
    }

    fn is_listening(&self, family: Family, port: u16) -> bool {
        self.directory.is_listening(family, port)
    }

    fn connect(
        &mut self,
        connection: ConnectionId,
        relay: RelayId,
        peer: SocketAddr,
    ) -> Result<(), ConnectError> {
        let span = self.sessions.span(relay.slot());
        span.in_scope(|| self.peers.connect(&self.poller, connection, relay, peer))
    }

    fn disconnect(&mut self, connection: ConnectionId) {
        self.peers.remove(connection.0);
    }

    fn has_worker(&self, worker: u16) -> bool {
        worker < self.workers
    }

    fn owner(&self, family: Family, port: u16) -> Option<u16> {
        self.directory.owner(family, port)
    }

    fn worker(&self) -> u16 {
        self.worker
    }

    fn random(&mut self, out: &mut [u8]) {
        if rand::fill(out).is_err() {
            // Only ports become guessable, and the kernel's source has never been seen to fail.
            tracing::error!("the system gave no random bytes");
        }
    }

    fn event(&mut self, event: Event<'_>) {
        self.sessions.event(&event);
    }
}
