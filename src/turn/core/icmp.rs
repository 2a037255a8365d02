//! ICMP errors for what a relay socket sent (RFC 8656 section 11.5), passed on to the client.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use crate::turn::stun::address::Family;
use crate::turn::stun::{AttributeType, Class, Method, Writer};

use super::allocation::Reach;
use super::server::{Action, Now, RelayId, Server};

/// What came back for a datagram.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct IcmpError {
    /// Where the datagram was going.
    pub peer: SocketAddr,
    /// Type of the ICMP or, for an IPv6 peer, ICMPv6 message.
    pub kind: u8,
    /// Its code.
    pub code: u8,
    /// The next hop's MTU, where the message was about that.
    pub mtu: u32,
}

/// Errors an allocation is told of at once; then one each [`INTERVAL`]. Routers limit them as
/// well, and a client that sends to a closed port needs to hear it once or twice.
const BURST: u32 = 10;

/// See [`BURST`].
const INTERVAL: Duration = Duration::from_millis(100);

/// How many errors an allocation has been told of lately.
#[derive(Clone, Copy, Debug)]
pub(super) struct IcmpLimit(Instant);

impl IcmpLimit {
    pub(super) fn new(now: Instant) -> Self {
        Self(now)
    }

    fn take(&mut self, now: Instant) -> bool {
        let next = self.0.max(now) + INTERVAL;
        let may = next <= now + INTERVAL * BURST;
        if may {
            self.0 = next;
        }
        may
    }
}

impl IcmpError {
    /// The types that are passed on: destination unreachable, packet too big, time exceeded.
    fn is_of_interest(&self) -> bool {
        match Family::of(self.peer.ip()) {
            Family::V4 => matches!(self.kind, 3 | 11),
            Family::V6 => matches!(self.kind, 1..=3),
        }
    }

    /// The value of ICMP (RFC 8656 section 18.13).
    fn encode(&self) -> [u8; 8] {
        let too_big = match Family::of(self.peer.ip()) {
            Family::V4 => (self.kind, self.code) == (3, 4),
            Family::V6 => self.kind == 2,
        };
        let [a, b, c, d] = if too_big { self.mtu } else { 0 }.to_be_bytes();
        [0, 0, self.kind, self.code, a, b, c, d]
    }
}

impl Server {
    /// Handles an error for a datagram that a relay socket sent. What the client is told is written
    /// to `answer`.
    pub fn handle_icmp(
        &mut self,
        now: Now,
        relay: RelayId,
        error: &IcmpError,
        answer: &mut [u8],
    ) -> Action {
        let now = now.instant;
        let peer = self.canonical(error.peer);
        let error = IcmpError { peer, ..*error };
        if !error.is_of_interest() {
            return Action::Nothing;
        }
        let Some(allocation) = self.allocation_mut(relay.slot()) else {
            return Action::Nothing;
        };
        // Anybody can forge such a message, so it must at least be about a peer of the client's.
        let is_peer = allocation.expires > now
            && allocation.relay(relay.family()).is_some()
            && relay.family() == Family::of(peer.ip())
            && allocation.permission(peer.ip(), now) == Some(Reach::Anywhere);
        if !is_peer {
            return self.not_permitted();
        }
        if !allocation.icmp.take(now) {
            return Action::Nothing;
        }
        let link = allocation.origin.link;
        let id = self.indications.next();
        let mut writer = Writer::new(answer, Class::Indication, Method::DATA, id);
        writer.xor_address(AttributeType::XOR_PEER_ADDRESS, peer);
        writer.attribute(AttributeType::ICMP, &error.encode());
        match writer.finish() {
            Ok(len) => {
                self.stats.icmp_errors += 1;
                Action::Tell { link, len }
            }
            Err(_) => Action::Nothing,
        }
    }
}
