//! The packet path: Send and Data indications, ChannelData, and delivery between our own
//! allocations (RFC 8656 sections 11 and 12).

use std::net::SocketAddr;
use std::ops::Range;
use std::sync::Arc;
use std::time::Instant;

use crate::limit::SharedRate;
use crate::turn::channel::{self, ChannelNumber};
use crate::turn::stun::address::{self, Family};
use crate::turn::stun::header::HEADER_LEN;
use crate::turn::stun::message::Fingerprint;
use crate::turn::stun::{AttributeType, Class, Message, Method, TransactionId, Writer};

use super::allocation::{Allocation, Reach};
use super::host::Host;
use super::policy::{Rule, Verdict};
use super::pool::index;
use super::server::{Action, Header, Link, Origin, Server};

/// Directions of [`Allocation::rate`] and of the total rate.
pub(super) const UP: usize = 0;
pub(super) const DOWN: usize = 1;

impl Server {
    /// ChannelData from a client.
    pub(super) fn channel_data(
        &mut self,
        now: Instant,
        origin: &Origin,
        number: ChannelNumber,
        len: usize,
        host: &impl Host,
    ) -> Action {
        let Some((slot, allocation)) = self.of_link(&origin.link, now) else {
            return self.not_permitted();
        };
        let Some(peer) = allocation.peer_of(number, now) else {
            return self.not_permitted();
        };
        let payload = channel::HEADER..channel::HEADER + len;
        self.relay_out(now, slot, peer, payload, false, host)
    }

    /// An indication from a client: Send, or nothing.
    pub(super) fn indication(
        &mut self,
        now: Instant,
        origin: &Origin,
        message: &Message<'_>,
        host: &impl Host,
    ) -> Action {
        if message.method() != Method::SEND {
            // A Binding indication is a keep-alive (RFC 8489 section 6.3.2); the rest is nonsense.
            if message.method() == Method::BINDING {
                return Action::Nothing;
            }
            return self.malformed();
        }
        let (mut peer, mut data, mut dont_fragment) = (None, None, false);
        for attribute in message.attributes() {
            match attribute.kind {
                AttributeType::XOR_PEER_ADDRESS if peer.is_none() => {
                    peer = address::decode_xor(attribute.value, message.transaction_id());
                }
                AttributeType::DATA if data.is_none() => {
                    let start = attribute.offset + 4;
                    data = Some(start..start + attribute.value.len());
                }
                AttributeType::DONT_FRAGMENT => dont_fragment = true,
                AttributeType::FINGERPRINT if message.fingerprint() == Fingerprint::Invalid => {
                    return self.malformed();
                }
                // RFC 8489 section 6.3.2: an unknown one that must be understood voids it all.
                kind if kind.is_comprehension_required() && !super::requests::is_known(kind) => {
                    return self.malformed();
                }
                _ => {}
            }
        }
        let (Some(peer), Some(data)) = (peer, data) else {
            return self.malformed();
        };
        let peer = self.canonical(peer);
        let Some((slot, allocation)) = self.of_link(&origin.link, now) else {
            return self.not_permitted();
        };
        if allocation.permission(peer.ip(), now).is_none() || allocation.streams.is_some() {
            return self.not_permitted();
        }
        // The permission was judged for the address; the port counts too.
        if peer.port() == 0 || self.config.policy.is_own_listener(peer) {
            let rule = if peer.port() == 0 {
                Rule::Port
            } else {
                Rule::OwnListener
            };
            return self.refused_peer(rule);
        }
        self.relay_out(now, slot, peer, data, dont_fragment, host)
    }

    /// A payload that is permitted, on its way out.
    fn relay_out(
        &mut self,
        now: Instant,
        slot: u32,
        peer: SocketAddr,
        payload: Range<usize>,
        dont_fragment: bool,
        host: &impl Host,
    ) -> Action {
        let family = Family::of(peer.ip());
        let limit = self.config.max_bps_per_allocation;
        let Some(allocation) = self
            .slots
            .get_mut(slot as usize)
            .and_then(Option::as_deref_mut)
        else {
            return Action::Nothing;
        };
        let Some(relay) = allocation.relay(family) else {
            return self.not_permitted();
        };
        if !within_rate(allocation, UP, payload.len(), limit, now)
            || !within_total(&self.config.total_rate, UP, payload.len(), now)
        {
            self.stats.over_rate += 1;
            return Action::Nothing;
        }
        allocation.to_peers.count(payload.len());
        let transport = allocation.origin.transport;
        self.stats.to_peers.of(transport).count(payload.len());
        if !self.config.policy.is_own(peer.ip()) {
            return Action::ToPeer {
                relay: relay.id,
                peer,
                payload,
                dont_fragment,
            };
        }
        // Our own address: relayed addresses are reached inside the process, hairpin or not.
        match host.owner(family, peer.port()) {
            Some(worker) if worker == host.worker() => {
                self.deliver(now, peer, relay.advertised, payload)
            }
            Some(worker) => Action::ToWorker {
                worker,
                relayed: peer,
                source: relay.advertised,
                payload,
            },
            None if self.config.policy.peer(peer) != Verdict::Allowed => self.not_permitted(),
            // Another program on this machine, where the policy lets it be reached.
            None => Action::ToPeer {
                relay: relay.id,
                peer,
                payload,
                dont_fragment,
            },
        }
    }

    /// A payload from one relayed address of ours to another.
    pub(super) fn deliver(
        &mut self,
        now: Instant,
        relayed: SocketAddr,
        source: SocketAddr,
        payload: Range<usize>,
    ) -> Action {
        let family = Family::of(relayed.ip());
        let Some(slot) = self.by_port[index(family)].get(&relayed.port()).copied() else {
            return self.not_permitted();
        };
        let action = self.relay_in(now, slot, source, payload);
        if !matches!(action, Action::Nothing) {
            self.stats.internal += 1;
        }
        action
    }

    /// A datagram that arrived at a relay socket.
    pub(super) fn peer_datagram(
        &mut self,
        now: Instant,
        slot: u32,
        family: Family,
        source: SocketAddr,
        len: usize,
    ) -> Action {
        let source = SocketAddr::new(source.ip().to_canonical(), source.port());
        if Family::of(source.ip()) != family {
            return self.not_permitted();
        }
        if self.config.policy.is_own_listener(source) {
            return self.refused_peer(Rule::OwnListener);
        }
        // The socket may have been closed while its last datagrams were being read.
        let reach = self
            .allocation(slot)
            .filter(|allocation| allocation.relay(family).is_some())
            .and_then(|allocation| allocation.permission(source.ip(), now));
        match reach {
            Some(Reach::Anywhere) => self.relay_in(now, slot, source, 0..len),
            Some(Reach::InternalOnly) => self.refused_peer(Rule::OwnAddress),
            None => self.not_permitted(),
        }
    }

    fn relay_in(
        &mut self,
        now: Instant,
        slot: u32,
        source: SocketAddr,
        payload: Range<usize>,
    ) -> Action {
        let limit = self.config.max_bps_per_allocation;
        let Some(allocation) = self
            .slots
            .get_mut(slot as usize)
            .and_then(Option::as_deref_mut)
        else {
            return Action::Nothing;
        };
        if allocation.expires <= now || allocation.permission(source.ip(), now).is_none() {
            return self.not_permitted();
        }
        if !within_rate(allocation, DOWN, payload.len(), limit, now)
            || !within_total(&self.config.total_rate, DOWN, payload.len(), now)
        {
            self.stats.over_rate += 1;
            return Action::Nothing;
        }
        allocation.to_client.count(payload.len());
        let transport = allocation.origin.transport;
        self.stats.to_clients.of(transport).count(payload.len());
        let link = allocation.origin.link;
        let Ok(len) = u16::try_from(payload.len()) else {
            return Action::Nothing;
        };
        let header = match allocation.channel_of(source, now) {
            Some(number) => {
                let padding = match link {
                    Link::Stream(_) => padding(payload.len()),
                    Link::Datagram { .. } => 0,
                };
                Header::new(&channel::header(number, len), padding)
            }
            None => match data_header(self.indications.next(), source, len) {
                Some(header) => header,
                None => return Action::Nothing,
            },
        };
        Action::ToClient {
            link,
            header,
            payload,
        }
    }

    /// The one form of an address by which permissions and channels know it: no IPv4 in IPv6, and
    /// our relays by their advertised address even when named by the address they are bound to.
    pub(super) fn canonical(&self, peer: SocketAddr) -> SocketAddr {
        let mut ip = peer.ip().to_canonical();
        let family = index(Family::of(ip));
        if self.config.bound[family] == Some(ip)
            && let Some(advertised) = self.config.advertised[family]
        {
            ip = advertised;
        }
        SocketAddr::new(ip, peer.port())
    }

    pub(super) fn refused_peer(&mut self, rule: Rule) -> Action {
        self.stats.refused_peers.count(rule);
        Action::Nothing
    }

    pub(super) fn not_permitted(&mut self) -> Action {
        self.stats.not_permitted += 1;
        Action::Nothing
    }
}

pub(super) fn within_rate(
    allocation: &mut Allocation,
    direction: usize,
    bytes: usize,
    limit: u64,
    now: Instant,
) -> bool {
    match &mut allocation.rate {
        Some(rate) => rate[direction].take(bytes, limit, now),
        None => true,
    }
}

pub(super) fn within_total(
    total: &Option<Arc<[SharedRate; 2]>>,
    direction: usize,
    bytes: usize,
    now: Instant,
) -> bool {
    match total {
        Some(rates) => rates[direction].take(bytes, now),
        None => true,
    }
}

const fn padding(len: usize) -> usize {
    len.next_multiple_of(4) - len
}

/// Everything of a Data indication that stands before its payload. `None` if it would be longer
/// than a STUN message can be.
fn data_header(id: TransactionId, peer: SocketAddr, len: u16) -> Option<Header> {
    let mut bytes = [0; Header::MAX];
    let mut writer = Writer::new(&mut bytes, Class::Indication, Method::DATA, id);
    writer.xor_address(AttributeType::XOR_PEER_ADDRESS, peer);
    let head = writer.finish().ok()?;
    let end = head + 4;
    let payload = usize::from(len);
    let total = u16::try_from(end - HEADER_LEN + payload + padding(payload)).ok()?;
    bytes[head..head + 2].copy_from_slice(&AttributeType::DATA.0.to_be_bytes());
    bytes[head + 2..end].copy_from_slice(&len.to_be_bytes());
    bytes[2..4].copy_from_slice(&total.to_be_bytes());
    Some(Header::new(&bytes[..end], padding(payload)))
}

/// Transaction ids of indications. They answer nothing and guard nothing, so they need only
/// differ: a SplitMix64 sequence from a random start.
#[derive(Debug)]
pub(super) struct Indications(u64);

impl Indications {
    pub(super) fn new(seed: u64) -> Self {
        Self(seed)
    }

    pub(super) fn next(&mut self) -> TransactionId {
        let mut id = [0; 12];
        for part in id.chunks_mut(8) {
            self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
            let mut z = self.0;
            z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
            z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
            z ^= z >> 31;
            part.copy_from_slice(&z.to_ne_bytes()[..part.len()]);
        }
        TransactionId(id)
    }
}
