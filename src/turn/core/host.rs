//! What the core asks of its driver while it handles a packet.

use std::net::SocketAddr;

use crate::turn::stun::address::Family;

use super::connections::ConnectionId;
use super::pool::Pool;
use super::server::{RelayId, Transport};
use super::stats::Traffic;

/// The driver's side. Calls are synchronous, so an answer is ready when its request has been
/// handled and no request waits half done.
pub trait Host {
    /// Runs `f` on what all workers share. Not called for relayed packets.
    fn pool<R>(&mut self, f: impl FnOnce(&mut Pool) -> R) -> R;

    /// Opens a relay socket. From now on its packets come to
    /// [`Server::handle_peer`](super::Server::handle_peer).
    fn bind(&mut self, relay: RelayId, family: Family, port: u16) -> Result<(), BindError>;

    /// Closes a relay socket, or stops listening.
    fn close(&mut self, relay: RelayId);

    /// Listens for the connections of peers (RFC 6062). From now on they come to
    /// [`Server::handle_incoming`](super::Server::handle_incoming).
    fn listen(&mut self, relay: RelayId, family: Family, port: u16) -> Result<(), BindError>;

    /// Whether one of our relays listens for connections at this port, on any worker.
    fn is_listening(&self, family: Family, port: u16) -> bool;

    /// Begins to connect from where the relay listens. The outcome comes to
    /// [`Server::handle_connected`](super::Server::handle_connected).
    fn connect(
        &mut self,
        connection: ConnectionId,
        relay: RelayId,
        peer: SocketAddr,
    ) -> Result<(), ConnectError>;

    /// Closes a connection and the client's stream that carries its data, if any.
    fn disconnect(&mut self, connection: ConnectionId);

    /// Which worker has an allocation at this port of ours, if any.
    fn owner(&self, family: Family, port: u16) -> Option<u16>;

    /// This worker's number, as [`Host::owner`] gives it.
    fn worker(&self) -> u16;

    /// Whether there is a worker of that number.
    fn has_worker(&self, worker: u16) -> bool;

    /// Random bytes that nobody can guess.
    fn random(&mut self, out: &mut [u8]);

    /// Something worth a line in a log.
    fn event(&mut self, event: Event<'_>);
}

/// Why a relay socket could not be opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BindError {
    /// Another program has the port: try the next one.
    #[error("the port is taken")]
    Taken,
    /// The machine has run out of something, or lacks the family.
    #[error("no more sockets")]
    Exhausted,
}

/// A connection that could not even be begun.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the connection cannot be begun")]
pub struct ConnectError;

/// Lives of allocations.
#[derive(Debug)]
pub enum Event<'a> {
    /// An allocation was made.
    Allocated {
        /// Its place; taken again by another once this one has ended.
        slot: u32,
        /// The client's transport address.
        client: SocketAddr,
        /// How the client speaks to us.
        transport: Transport,
        /// The account it counts for.
        account: &'a [u8],
        /// The advertised relayed address; the first, where there are two.
        relayed: SocketAddr,
    },
    /// An allocation is over.
    Ended {
        /// Its place.
        slot: u32,
        /// The client's transport address.
        client: SocketAddr,
        /// How the client spoke to us.
        transport: Transport,
        /// The account it counted for.
        account: &'a [u8],
        /// The advertised relayed address; the first, where there were two.
        relayed: SocketAddr,
        /// Why.
        reason: EndReason,
        /// From the client to peers.
        to_peers: Traffic,
        /// From peers to the client.
        to_client: Traffic,
    },
}

/// Why an allocation ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EndReason {
    /// The client gave it back.
    Released,
    /// The client did not refresh it.
    Expired,
    /// The client's stream closed.
    Closed,
    /// The server is stopping.
    Stopped,
    /// The operator ended it.
    Operator,
}

impl EndReason {
    /// All of them.
    pub const ALL: [Self; 5] = [
        Self::Released,
        Self::Expired,
        Self::Closed,
        Self::Stopped,
        Self::Operator,
    ];

    /// How the log and the metrics page call it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Released => "released",
            Self::Expired => "expired",
            Self::Closed => "closed",
            Self::Stopped => "stopped",
            Self::Operator => "operator",
        }
    }
}
