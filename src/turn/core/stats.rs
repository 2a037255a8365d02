//! What a worker has counted. Plain numbers; the driver publishes them.

mod answers;

use super::Transport;
use super::host::EndReason;
use super::policy::Rule;

pub use answers::{Answers, Row};

/// Counters since the start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Stats {
    /// Requests answered.
    pub answers: Answers,
    /// Allocations made.
    pub allocations_made: u64,
    /// Allocations ended.
    pub allocations_ended: Ended,
    /// Unauthenticated requests left unanswered: their prefix had no token, or the answer would
    /// have been too big for the request.
    pub unanswered: u64,
    /// Bytes that are no message, or a message nobody should send.
    pub malformed: u64,
    /// Packets and payload bytes from clients to peers, by the client's transport.
    pub to_peers: ByTransport,
    /// Packets and payload bytes from peers to clients, by the client's transport.
    pub to_clients: ByTransport,
    /// Of those, packets between two allocations of ours.
    pub internal: u64,
    /// Packets dropped for want of a permission or a channel.
    pub not_permitted: u64,
    /// Requests and packets refused by the peer policy.
    pub refused_peers: RefusedPeers,
    /// ICMP errors passed on to clients.
    pub icmp_errors: u64,
    /// TCP connections with peers, whoever began them.
    pub connections_made: u64,
    /// Packets dropped by a bandwidth limit.
    pub over_rate: u64,
}

/// Counters by [`EndReason`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Ended([u64; EndReason::ALL.len()]);

impl Ended {
    pub(super) fn count(&mut self, reason: EndReason) {
        count(&EndReason::ALL, &mut self.0, reason);
    }

    /// Each reason with its number.
    pub fn iter(&self) -> impl Iterator<Item = (EndReason, u64)> + use<> {
        EndReason::ALL.into_iter().zip(self.0)
    }

    /// For whatever reason.
    pub fn total(&self) -> u64 {
        self.0.iter().sum()
    }
}

/// Counters by [`Rule`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RefusedPeers([u64; Rule::ALL.len()]);

impl RefusedPeers {
    pub(super) fn count(&mut self, rule: Rule) {
        count(&Rule::ALL, &mut self.0, rule);
    }

    /// Each rule with its number.
    pub fn iter(&self) -> impl Iterator<Item = (Rule, u64)> + use<> {
        Rule::ALL.into_iter().zip(self.0)
    }
}

fn count<T: PartialEq>(all: &[T], counters: &mut [u64], it: T) {
    for (known, counter) in all.iter().zip(counters) {
        *counter += u64::from(*known == it);
    }
}

/// What clients of each transport have sent or were sent.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ByTransport {
    /// UDP.
    pub udp: Traffic,
    /// TCP.
    pub tcp: Traffic,
    /// TLS over TCP.
    pub tls: Traffic,
}

impl ByTransport {
    pub(super) fn of(&mut self, transport: Transport) -> &mut Traffic {
        match transport {
            Transport::Udp => &mut self.udp,
            Transport::Tcp => &mut self.tcp,
            Transport::Tls => &mut self.tls,
        }
    }

    /// All transports together.
    pub fn total(&self) -> Traffic {
        Traffic {
            packets: self.udp.packets + self.tcp.packets + self.tls.packets,
            bytes: self.udp.bytes + self.tcp.bytes + self.tls.bytes,
        }
    }
}

/// Packets and payload bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Traffic {
    /// Packets.
    pub packets: u64,
    /// Payload bytes.
    pub bytes: u64,
}

impl Traffic {
    /// Counts one packet.
    pub fn count(&mut self, bytes: usize) {
        self.packets += 1;
        self.bytes += bytes as u64;
    }
}
