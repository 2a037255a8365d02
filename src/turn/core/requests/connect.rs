//! Connect, ConnectionBind and the connections of peers (RFC 6062 section 5).

use std::net::SocketAddr;

use crate::turn::core::allocation::{Allocation, Reach};
use crate::turn::core::connections::{Asked, ConnectionId, MAX_CONNECTIONS, State};
use crate::turn::core::data::{DOWN, UP, within_rate, within_total};
use crate::turn::core::host::Host;
use crate::turn::core::policy::{Rule, Verdict};
use crate::turn::core::pool::index;
use crate::turn::core::reply::{self, Head};
use crate::turn::core::server::{Action, Incoming, Link, Now, Origin, RelayId, Server, Transport};
use crate::turn::stun::address::{self, Family};
use crate::turn::stun::{AttributeType, Class, ErrorCode, Message, Method, Writer};

use super::Exchange;

/// Which way bytes go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Direction {
    /// From the client.
    ToPeer,
    /// From the peer.
    ToClient,
}

impl Server {
    /// RFC 6062 section 5.2. The answer comes when the peer has answered, or has not for too long.
    pub(super) fn connect(
        &mut self,
        exchange: &Exchange<'_, '_>,
        host: &mut impl Host,
    ) -> Result<Action, ErrorCode> {
        let slot = self.owned(exchange)?;
        let request = exchange.request;
        let peer = request
            .value(AttributeType::XOR_PEER_ADDRESS)
            .and_then(|value| address::decode_xor(value, request.transaction_id()))
            .ok_or(ErrorCode::BadRequest)?;
        let peer = self.canonical(peer);
        let family = Family::of(peer.ip());
        let allocation = self.allocation(slot).ok_or(ErrorCode::AllocationMismatch)?;
        let streams = allocation.streams.as_ref().ok_or(ErrorCode::BadRequest)?;
        let count = streams.len();
        let relay = allocation
            .relay(family)
            .ok_or(ErrorCode::PeerAddressFamilyMismatch)?;
        let refusal = match self.config.policy.peer(peer) {
            Verdict::Denied(rule) => Some(rule),
            Verdict::InternalOnly if !host.is_listening(family, peer.port()) => {
                Some(Rule::OwnAddress)
            }
            // TCP would connect the relay's socket with itself.
            _ if peer == relay.advertised => Some(Rule::OwnAddress),
            Verdict::Allowed | Verdict::InternalOnly => None,
        };
        if let Some(rule) = refusal {
            return Err(self.forbid(rule));
        }
        if self.is_connected(slot, peer) {
            return Err(ErrorCode::ConnectionAlreadyExists);
        }
        if count >= MAX_CONNECTIONS {
            return Err(ErrorCode::InsufficientCapacity);
        }
        let asked = Asked {
            link: exchange.origin.link,
            head: Head::of(request),
            key: exchange.auth.key,
            seal: exchange.auth.seal,
        };
        let state = State::Connecting(Box::new(asked));
        let id = self
            .add_connection(exchange.now, slot, peer, state, host)
            .ok_or(ErrorCode::InsufficientCapacity)?;
        // Behind a 1:1 NAT our own relays are reached where they are bound: few NATs turn
        // connections back.
        let here = self.config.bound[index(family)];
        let own = self.config.advertised[index(family)] == Some(peer.ip());
        let dial = match here {
            Some(ip) if own => SocketAddr::new(ip, peer.port()),
            _ => peer,
        };
        if host.connect(id, relay.id, dial).is_err() {
            self.drop_connection(id);
            return Err(ErrorCode::ConnectionTimeoutOrFailure);
        }
        Ok(Action::Nothing)
    }

    /// A connection that [`Host::connect`] began is there, or has failed. What the client is told
    /// is written to `answer`.
    pub fn handle_connected(
        &mut self,
        now: Now,
        id: ConnectionId,
        connected: bool,
        answer: &mut [u8],
        host: &mut impl Host,
    ) -> Action {
        let connections = self.connections.as_mut();
        let Some(connection) = connections.and_then(|all| all.get_mut(id)) else {
            return Action::Nothing;
        };
        if !matches!(connection.state, State::Connecting(_)) {
            return Action::Nothing;
        }
        let State::Connecting(asked) = std::mem::replace(&mut connection.state, State::Waiting)
        else {
            return Action::Nothing;
        };
        let seal = Some((&asked.key, asked.seal));
        let len = if connected {
            if let Some(connections) = &mut self.connections {
                connections.wait(id, State::Waiting, now.instant);
            }
            self.stats.connections_made += 1;
            self.stats.answers.success(Method::CONNECT);
            reply::write(asked.head, Class::Success, answer, seal, |writer| {
                writer.u32(AttributeType::CONNECTION_ID, id.0);
            })
        } else {
            self.drop_connection(id);
            host.disconnect(id);
            let code = ErrorCode::ConnectionTimeoutOrFailure;
            self.stats.answers.error(Method::CONNECT, code);
            reply::write(asked.head, Class::Error, answer, seal, |writer| {
                writer.error_code(code);
            })
        };
        let link = asked.link;
        len.map_or(Action::Nothing, |len| Action::Tell { link, len })
    }

    /// A peer has connected to where a relay listens (RFC 6062 section 5.3). What the client is
    /// told is written to `answer`.
    pub fn handle_incoming(
        &mut self,
        now: Now,
        relay: RelayId,
        source: SocketAddr,
        answer: &mut [u8],
        host: &mut impl Host,
    ) -> Incoming {
        let peer = self.canonical(source);
        let family = Family::of(peer.ip());
        let slot = relay.slot();
        if peer.port() == 0 || self.config.policy.is_own_listener(peer) {
            self.refused_peer(Rule::OwnListener);
            return Incoming::Refused;
        }
        let Some(allocation) = self.allocation(slot) else {
            return Incoming::Refused;
        };
        let link = allocation.origin.link;
        let may = match allocation.permission(peer.ip(), now.instant) {
            Some(Reach::Anywhere) => true,
            Some(Reach::InternalOnly) => host.is_listening(family, peer.port()),
            None => false,
        };
        let has_room = allocation
            .streams
            .as_ref()
            .is_some_and(|streams| streams.len() < MAX_CONNECTIONS);
        if !may || allocation.expires <= now.instant || family != relay.family() {
            self.not_permitted();
            return Incoming::Refused;
        }
        if !has_room || self.is_connected(slot, peer) {
            return Incoming::Refused;
        }
        let Some(id) = self.add_connection(now, slot, peer, State::Waiting, host) else {
            return Incoming::Refused;
        };
        self.stats.connections_made += 1;
        let transaction = self.indications.next();
        let method = Method::CONNECTION_ATTEMPT;
        let mut writer = Writer::new(answer, Class::Indication, method, transaction);
        writer.u32(AttributeType::CONNECTION_ID, id.0);
        writer.xor_address(AttributeType::XOR_PEER_ADDRESS, peer);
        let action = match writer.finish() {
            Ok(len) => Action::Tell { link, len },
            Err(_) => Action::Nothing,
        };
        Incoming::Accepted {
            connection: id,
            action,
        }
    }

    /// Who has to look at a ConnectionBind, if it is another worker: the client's new stream came
    /// to any of them. Nothing is believed here.
    pub(super) fn hand_over(
        &self,
        origin: &Origin,
        request: &Message<'_>,
        host: &impl Host,
    ) -> Option<Action> {
        let worker = connection_id(request)?.worker();
        let new = matches!(origin.link, Link::Stream(_)) && !self.has_allocation(origin.link);
        (new && worker != host.worker() && host.has_worker(worker))
            .then_some(Action::HandOver { worker })
    }

    /// Whose connection a ConnectionBind is about.
    pub(super) fn connection_owner(&self, request: &Message<'_>) -> Option<&Allocation> {
        let connections = self.connections.as_ref()?;
        let connection = connections.get(connection_id(request)?)?;
        self.allocation(connection.allocation)
    }

    /// RFC 6062 section 5.4.
    pub(super) fn connection_bind(
        &mut self,
        exchange: &mut Exchange<'_, '_>,
    ) -> Result<Action, ErrorCode> {
        let origin = exchange.origin;
        if origin.transport == Transport::Udp || self.has_allocation(origin.link) {
            return Err(ErrorCode::BadRequest);
        }
        let id = connection_id(exchange.request).ok_or(ErrorCode::BadRequest)?;
        let owner = self
            .connection_owner(exchange.request)
            .ok_or(ErrorCode::BadRequest)?;
        if owner.username != exchange.auth.username {
            return Err(ErrorCode::WrongCredentials);
        }
        let connections = self.connections.as_mut();
        match connections.and_then(|all| all.get_mut(id)) {
            Some(connection) if matches!(connection.state, State::Waiting) => {
                connection.state = State::Bound;
            }
            _ => return Err(ErrorCode::BadRequest),
        }
        let seal = Some((&exchange.auth.key, exchange.auth.seal));
        let head = Head::of(exchange.request);
        let len = reply::write(head, Class::Success, exchange.answer, seal, |writer| {
            writer.u32(AttributeType::CONNECTION_ID, id.0);
        });
        let len = len.ok_or(ErrorCode::ServerError)?;
        Ok(Action::Bound {
            len,
            connection: id,
        })
    }

    /// One side of a bound connection has closed; the other gets what is left, for a while.
    pub fn handle_closing(&mut self, now: Now, id: ConnectionId) {
        let connections = self.connections.as_mut();
        if let Some(connections) = connections
            && let Some(connection) = connections.get(id)
            && matches!(connection.state, State::Bound)
        {
            connections.wait(id, State::Closing, now.instant);
        }
    }

    /// A connection is over, and so is the client's stream for it: the driver has closed both.
    pub fn handle_disconnected(&mut self, id: ConnectionId) {
        self.drop_connection(id);
    }

    /// Ends one connection that has waited long enough. What the client is told is written to
    /// `answer`. To be called after [`Server::handle_timeout`] until it returns `None`.
    pub fn expire_connection(
        &mut self,
        now: Now,
        answer: &mut [u8],
        host: &mut impl Host,
    ) -> Option<Action> {
        loop {
            let connections = self.connections.as_mut()?;
            let mut due = std::mem::take(&mut connections.due);
            connections.timers.expire(now.instant, &mut due);
            let next = due.pop();
            connections.due = due;
            let slot = next?;
            let Some(connection) = connections.at(slot) else {
                continue;
            };
            let (id, deadline) = (connection.id, connection.deadline);
            match connection.state {
                State::Bound => {}
                _ if deadline > now.instant => connections.timers.insert(slot, deadline),
                State::Connecting(_) => {
                    return Some(self.handle_connected(now, id, false, answer, host));
                }
                State::Waiting | State::Closing => {
                    self.drop_connection(id);
                    host.disconnect(id);
                    return Some(Action::Nothing);
                }
            }
        }
    }

    /// Counts bytes of a bound connection. Returns how many of them the rates do not admit yet:
    /// the driver reads no more that way until [`Server::pay`] has brought it down to zero.
    pub fn handle_stream_bytes(
        &mut self,
        now: Now,
        id: ConnectionId,
        direction: Direction,
        len: usize,
    ) -> usize {
        let connections = self.connections.as_ref();
        let slot = connections.and_then(|all| Some(all.get(id)?.allocation));
        if let Some(allocation) = slot.and_then(|slot| self.allocation_mut(slot)) {
            match direction {
                Direction::ToPeer => allocation.to_peers.count(len),
                Direction::ToClient => allocation.to_client.count(len),
            }
            let transport = allocation.origin.transport;
            match direction {
                Direction::ToPeer => self.stats.to_peers.of(transport).count(len),
                Direction::ToClient => self.stats.to_clients.of(transport).count(len),
            }
        }
        self.pay(now, id, direction, len)
    }

    /// Takes as much of `debt` out of the rates as they give; returns what is left of it.
    pub fn pay(
        &mut self,
        now: Now,
        id: ConnectionId,
        direction: Direction,
        mut debt: usize,
    ) -> usize {
        let limit = self.config.max_bps_per_allocation;
        if limit == 0 && self.config.total_rate.is_none() {
            return 0;
        }
        let connections = self.connections.as_ref();
        let slot = connections.and_then(|all| Some(all.get(id)?.allocation));
        let total = self.config.total_rate.clone();
        let Some(allocation) = slot.and_then(|slot| self.allocation_mut(slot)) else {
            return 0;
        };
        let way = match direction {
            Direction::ToPeer => UP,
            Direction::ToClient => DOWN,
        };
        while debt > 0 {
            // Small enough for the slowest rate, whose bucket holds a second's worth.
            let piece = debt.min(PIECE);
            if !within_rate(allocation, way, piece, limit, now.instant)
                || !within_total(&total, way, piece, now.instant)
            {
                break;
            }
            debt -= piece;
        }
        debt
    }

    fn is_connected(&self, slot: u32, peer: SocketAddr) -> bool {
        let (Some(all), Some(allocation)) = (&self.connections, self.allocation(slot)) else {
            return false;
        };
        let ids = allocation.streams.iter().flatten();
        ids.filter_map(|id| all.get(*id)).any(|it| it.peer == peer)
    }

    fn add_connection(
        &mut self,
        now: Now,
        slot: u32,
        peer: SocketAddr,
        state: State,
        host: &impl Host,
    ) -> Option<ConnectionId> {
        let connections = self.connections.as_mut()?;
        let id = connections.insert(host.worker(), slot, peer, state, now.instant)?;
        if let Some(streams) = self.allocation_mut(slot).and_then(|it| it.streams.as_mut()) {
            streams.push(id);
        }
        Some(id)
    }

    fn drop_connection(&mut self, id: ConnectionId) {
        let Some(slot) = self.forget_connection(id) else {
            return;
        };
        if let Some(streams) = self.allocation_mut(slot).and_then(|it| it.streams.as_mut()) {
            streams.retain(|other| *other != id);
        }
    }

    /// Takes it out of the table; the slot of its allocation.
    pub(in crate::turn::core) fn forget_connection(&mut self, id: ConnectionId) -> Option<u32> {
        Some(self.connections.as_mut()?.remove(id)?.allocation)
    }
}

/// Bytes that are taken out of a rate at once.
const PIECE: usize = 512;

fn connection_id(request: &Message<'_>) -> Option<ConnectionId> {
    request.u32(AttributeType::CONNECTION_ID).map(ConnectionId)
}
