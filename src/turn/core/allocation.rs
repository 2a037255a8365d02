//! One allocation: its relayed addresses, permissions and channels (RFC 8656 sections 6, 9, 12).

use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, Instant};

use crate::limit::ByteBucket;
use crate::turn::channel::ChannelNumber;
use crate::turn::stun::address::Family;
use crate::turn::stun::{ErrorCode, TransactionId};

use super::connections::ConnectionId;
use super::icmp::IcmpLimit;
use super::pool::{ReservationToken, index};
use super::server::{Origin, RelayId};
use super::stats::Traffic;

/// RFC 8656 section 9.
pub const PERMISSION_LIFETIME: Duration = Duration::from_secs(300);

/// RFC 8656 section 12.
pub const CHANNEL_LIFETIME: Duration = Duration::from_secs(600);

/// Peer addresses an allocation may have permissions for. A call has a handful of candidates; the
/// limit is far above, and small enough to search in order.
pub const MAX_PERMISSIONS: usize = 64;

/// Channels of an allocation.
pub const MAX_CHANNELS: usize = 64;

/// One client's relay.
#[derive(Debug)]
pub struct Allocation {
    pub(super) origin: Origin,
    pub(super) username: Box<[u8]>,
    pub(super) relays: [Option<Relay>; 2],
    /// The Allocate that made it, to know a retransmission by.
    pub(super) transaction: TransactionId,
    /// What else the answer to it said; hardly any has this.
    pub(super) extras: Option<Box<Extras>>,
    pub(super) lifetime: Duration,
    pub(super) expires: Instant,
    pub(super) permissions: Vec<Permission>,
    pub(super) channels: Vec<Channel>,
    /// Connections with peers, where it relays streams instead of datagrams (RFC 6062).
    pub(super) streams: Option<Vec<ConnectionId>>,
    pub(super) rate: Option<Box<[ByteBucket; 2]>>,
    pub(super) icmp: IcmpLimit,
    pub(super) to_peers: Traffic,
    pub(super) to_client: Traffic,
}

/// Parts of an Allocate answer that cannot be read off the allocation.
#[derive(Clone, Copy, Debug)]
pub(super) struct Extras {
    /// The reserved next port, for EVEN-PORT.
    pub(super) token: Option<ReservationToken>,
    /// The family that could not be had, for ADDITIONAL-ADDRESS-FAMILY.
    pub(super) failed: Option<(Family, ErrorCode)>,
}

/// A relayed transport address.
#[derive(Clone, Copy, Debug)]
pub struct Relay {
    pub(super) id: RelayId,
    pub(super) advertised: SocketAddr,
}

/// Lets one peer address send to the client.
#[derive(Clone, Copy, Debug)]
pub(super) struct Permission {
    pub(super) peer: IpAddr,
    pub(super) reach: Reach,
    pub(super) expires: Instant,
}

/// How far the peer policy lets a permission reach; judged once, when it is made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Reach {
    /// Through the relay socket, or inside the process.
    Anywhere,
    /// To relayed addresses of ours only.
    InternalOnly,
}

/// Short name of a peer.
#[derive(Clone, Copy, Debug)]
pub(super) struct Channel {
    pub(super) number: ChannelNumber,
    pub(super) peer: SocketAddr,
    pub(super) expires: Instant,
}

/// Why a channel cannot be bound.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum ChannelError {
    /// The number or the peer is bound otherwise: 400.
    Conflict,
    /// Too many: 508.
    Full,
}

impl Allocation {
    /// The relay of a family.
    pub(super) fn relay(&self, family: Family) -> Option<Relay> {
        self.relays[index(family)]
    }

    /// The first relayed address, for logs.
    pub(super) fn advertised(&self) -> Option<SocketAddr> {
        self.relays.iter().flatten().map(|r| r.advertised).next()
    }

    /// The permission of a peer address.
    pub(super) fn permission(&self, peer: IpAddr, now: Instant) -> Option<Reach> {
        self.permissions
            .iter()
            .find(|p| p.peer == peer && p.expires > now)
            .map(|p| p.reach)
    }

    /// How many of these addresses would be new.
    pub(super) fn has_room_for(&mut self, peers: &[(IpAddr, Reach)], now: Instant) -> bool {
        self.permissions.retain(|p| p.expires > now);
        let new = peers
            .iter()
            .filter(|(ip, _)| !self.permissions.iter().any(|p| p.peer == *ip))
            .count();
        self.permissions.len() + new <= MAX_PERMISSIONS
    }

    /// Makes or refreshes a permission; [`Allocation::has_room_for`] has been asked.
    pub(super) fn permit(&mut self, peer: IpAddr, reach: Reach, now: Instant) {
        let expires = now + PERMISSION_LIFETIME;
        match self.permissions.iter_mut().find(|p| p.peer == peer) {
            Some(permission) => permission.expires = expires,
            None => self.permissions.push(Permission {
                peer,
                reach,
                expires,
            }),
        }
    }

    /// Binds or refreshes a channel.
    pub(super) fn bind_channel(
        &mut self,
        number: ChannelNumber,
        peer: SocketAddr,
        now: Instant,
    ) -> Result<(), ChannelError> {
        self.channels.retain(|c| c.expires > now);
        let expires = now + CHANNEL_LIFETIME;
        let full = self.channels.len() >= MAX_CHANNELS;
        let bound = self
            .channels
            .iter_mut()
            .find(|c| c.number == number || c.peer == peer);
        match bound {
            Some(channel) if channel.number == number && channel.peer == peer => {
                channel.expires = expires;
            }
            Some(_) => return Err(ChannelError::Conflict),
            None if full => return Err(ChannelError::Full),
            None => self.channels.push(Channel {
                number,
                peer,
                expires,
            }),
        }
        Ok(())
    }

    /// The peer behind a channel number.
    pub(super) fn peer_of(&self, number: ChannelNumber, now: Instant) -> Option<SocketAddr> {
        self.channels
            .iter()
            .find(|c| c.number == number && c.expires > now)
            .map(|c| c.peer)
    }

    /// The channel number of a peer.
    pub(super) fn channel_of(&self, peer: SocketAddr, now: Instant) -> Option<ChannelNumber> {
        self.channels
            .iter()
            .find(|c| c.peer == peer && c.expires > now)
            .map(|c| c.number)
    }

    /// Seconds left, rounded up.
    pub(super) fn seconds_left(&self, now: Instant) -> u32 {
        let left = self.expires.saturating_duration_since(now);
        (left.as_millis().div_ceil(1000)).min(u128::from(u32::MAX)) as u32
    }
}
