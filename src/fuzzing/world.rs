//! Two workers, their sockets and a clock, all pretended: the core runs in it as in the process.

use std::collections::{HashMap, HashSet};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::num::NonZeroU64;
use std::ops::{Range, RangeInclusive};
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::limit::SharedRate;
use crate::net::clock;
use crate::turn::core::quota::Quota;
use crate::turn::core::{
    Action, BindError, Config, ConnectError, ConnectionId, Credentials, Discovery, Event, Host,
    IcmpError, Incoming, Link, Now, Origin, Policy, Pool, RelayId, Server,
};
use crate::turn::stun::address::Family;

/// The relayed addresses' IPv4 address; an ordinary public one.
pub const V4: Ipv4Addr = Ipv4Addr::new(9, 9, 9, 9);
/// Where IPv4 relays are really bound: this machine stands behind a 1:1 NAT.
pub const BOUND_V4: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 5);
/// The relayed addresses' IPv6 address.
pub const V6: Ipv6Addr = Ipv6Addr::new(0x2620, 0xFE, 0, 0, 0, 0, 0, 9);
/// The listening port.
pub const LISTENER: u16 = 3478;
/// Relay ports.
pub const PORTS: RangeInclusive<u16> = 50000..=50015;
/// The wall clock when a world begins.
pub const EPOCH: u64 = 1_800_000_000;
/// The secret of REST credentials.
pub const SECRET: &[u8] = b"rest secret";
/// The user with a fixed password, and the password.
pub const STATIC_USER: (&str, &[u8]) = ("alice", b"wonderland");

/// How a world differs from the usual one.
#[derive(Clone, Debug)]
pub struct Plan {
    /// Realm.
    pub realm: String,
    /// Advertised addresses; `None` for a family that is not offered.
    pub advertised: [Option<IpAddr>; 2],
    /// Relay ports.
    pub ports: RangeInclusive<u16>,
    /// Peer policy.
    pub policy: Policy,
    /// Allocations of one user.
    pub user_quota: u32,
    /// Allocations in total.
    pub total_quota: u32,
    /// Bits a second of one allocation.
    pub max_bps: u64,
    /// Bits a second of all allocations together and of each direction; 0: no limit.
    pub max_total_bps: u64,
    /// Unauthenticated answers a second.
    pub unauthenticated_per_second: u32,
    /// Listening sockets for NAT behaviour discovery; empty: there is none.
    pub doors: Vec<SocketAddr>,
    /// Whether classic STUN is answered.
    pub classic_stun: bool,
    /// Whether allocations may relay TCP connections.
    pub tcp_relays: bool,
}

impl Default for Plan {
    fn default() -> Self {
        Self {
            realm: "example.org".to_owned(),
            advertised: [Some(V4.into()), Some(V6.into())],
            ports: PORTS,
            policy: policy(),
            user_quota: 0,
            total_quota: 0,
            max_bps: 0,
            max_total_bps: 0,
            unauthenticated_per_second: 0,
            doors: Vec::new(),
            classic_stun: false,
            tcp_relays: false,
        }
    }
}

/// The usual policy: nothing allowed or denied by name.
pub fn policy() -> Policy {
    Policy::new(vec![], vec![], own_addresses(), vec![443, LISTENER])
}

/// Addresses of the pretended machine.
pub fn own_addresses() -> Vec<IpAddr> {
    vec![V4.into(), V6.into(), BOUND_V4.into()]
}

/// What became of a packet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Nothing left the server.
    Nothing,
    /// Sent back to where it came from.
    Answer(Vec<u8>),
    /// Sent back, and from now on the stream carries a connection.
    Bound {
        /// The answer.
        bytes: Vec<u8>,
        /// The connection.
        connection: ConnectionId,
    },
    /// The stream goes to another worker.
    HandOver {
        /// Which.
        worker: usize,
    },
    /// Sent by another listening socket, or to another port of the client's.
    AnswerVia {
        /// The socket, where it is another.
        socket: Option<u16>,
        /// The destination.
        to: SocketAddr,
        /// The answer.
        bytes: Vec<u8>,
    },
    /// Sent from a relay socket.
    ToPeer {
        /// The advertised address of that socket.
        relayed: SocketAddr,
        /// The destination.
        peer: SocketAddr,
        /// What it will read.
        payload: Vec<u8>,
        /// Whether routers must not cut it.
        dont_fragment: bool,
    },
    /// Sent to a client.
    ToClient {
        /// The worker that sends.
        worker: usize,
        /// The way to it.
        link: Link,
        /// Header, payload and padding.
        bytes: Vec<u8>,
    },
}

/// What the workers share.
#[derive(Debug)]
pub struct Shared {
    /// The pool.
    pub pool: Pool,
    /// Relay sockets by family and port.
    pub sockets: HashMap<(Family, u16), (usize, RelayId)>,
    /// Relays that listen for connections, by family and port.
    pub listening: HashMap<(Family, u16), (usize, RelayId)>,
    /// Connections with peers, and where those that were begun here lead.
    pub connections: HashMap<ConnectionId, Option<SocketAddr>>,
    /// Ports that other programs hold.
    pub taken: HashSet<u16>,
    /// Whether the machine has sockets left.
    pub exhausted: bool,
    /// Sockets opened so far.
    pub opened: usize,
    /// Log lines: name of the event and reason.
    pub events: Vec<String>,
    random: u64,
}

/// Workers, sockets and clock.
#[derive(Debug)]
pub struct World {
    /// What it was made from.
    pub plan: Plan,
    /// Credentials of all workers.
    pub credentials: Arc<Credentials>,
    /// The workers.
    pub servers: Vec<Server>,
    /// What they share.
    pub shared: Shared,
    /// What clients were told when something had taken too long.
    pub late: Vec<Outcome>,
    /// The time.
    pub now: Now,
    began: Instant,
}

struct Desk<'a> {
    worker: usize,
    shared: &'a mut Shared,
}

impl Host for Desk<'_> {
    fn pool<R>(&mut self, f: impl FnOnce(&mut Pool) -> R) -> R {
        f(&mut self.shared.pool)
    }

    fn bind(&mut self, relay: RelayId, family: Family, port: u16) -> Result<(), BindError> {
        if self.shared.exhausted {
            return Err(BindError::Exhausted);
        }
        if self.shared.taken.contains(&port) {
            return Err(BindError::Taken);
        }
        let ids = self.shared.sockets.values();
        assert!(!ids.into_iter().any(|at| *at == (self.worker, relay)));
        let before = self
            .shared
            .sockets
            .insert((family, port), (self.worker, relay));
        assert_eq!(before, None, "a port that is in use was given out");
        self.shared.opened += 1;
        Ok(())
    }

    fn close(&mut self, relay: RelayId) {
        let count = |shared: &Shared| shared.sockets.len() + shared.listening.len();
        let before = count(self.shared);
        let gone = (self.worker, relay);
        self.shared.sockets.retain(|_, at| *at != gone);
        self.shared.listening.retain(|_, at| *at != gone);
        assert_eq!(count(self.shared) + 1, before, "closed exactly once");
    }

    fn listen(&mut self, relay: RelayId, family: Family, port: u16) -> Result<(), BindError> {
        self.bind(relay, family, port)?;
        let here = self.shared.sockets.remove(&(family, port));
        let here = here.expect("it was just bound");
        self.shared.listening.insert((family, port), here);
        Ok(())
    }

    fn is_listening(&self, family: Family, port: u16) -> bool {
        self.shared.listening.contains_key(&(family, port))
    }

    fn connect(
        &mut self,
        connection: ConnectionId,
        relay: RelayId,
        peer: SocketAddr,
    ) -> Result<(), ConnectError> {
        let from = (self.worker, relay);
        let mut listening = self.shared.listening.values();
        assert!(listening.any(|at| *at == from), "from an open relay");
        if self.shared.exhausted {
            return Err(ConnectError);
        }
        let before = self.shared.connections.insert(connection, Some(peer));
        assert_eq!(before, None, "a name that is in use was given out");
        Ok(())
    }

    fn disconnect(&mut self, connection: ConnectionId) {
        let was = self.shared.connections.remove(&connection);
        assert!(was.is_some(), "disconnected exactly once");
    }

    fn has_worker(&self, worker: u16) -> bool {
        worker < 2
    }

    fn owner(&self, family: Family, port: u16) -> Option<u16> {
        let (worker, _) = self.shared.sockets.get(&(family, port))?;
        Some(*worker as u16)
    }

    fn worker(&self) -> u16 {
        self.worker as u16
    }

    fn random(&mut self, out: &mut [u8]) {
        for byte in out {
            self.shared.random ^= self.shared.random << 13;
            self.shared.random ^= self.shared.random >> 7;
            self.shared.random ^= self.shared.random << 17;
            *byte = self.shared.random as u8;
        }
    }

    fn event(&mut self, event: Event<'_>) {
        let line = match event {
            Event::Allocated { .. } => "allocated".to_owned(),
            Event::Ended { reason, .. } => format!("ended {reason:?}"),
        };
        self.shared.events.push(line);
    }
}

fn told(worker: usize, action: &Action, answer: &[u8]) -> Outcome {
    match action {
        Action::Tell { link, len } => Outcome::ToClient {
            worker,
            link: *link,
            bytes: answer[..*len].to_vec(),
        },
        _ => Outcome::Nothing,
    }
}

impl World {
    /// Two workers without allocations.
    pub fn new(plan: Plan) -> Self {
        let (user, password) = STATIC_USER;
        let users = [(user.to_owned(), password.to_vec())];
        let credentials = Credentials::new(&plan.realm, SECRET, b"nonce secret", users);
        let credentials = Arc::new(credentials);
        let now = Now {
            instant: clock::now(),
            unix: EPOCH,
        };
        let config = Config {
            credentials: credentials.clone(),
            policy: Arc::new(plan.policy.clone()),
            advertised: plan.advertised,
            bound: [Some(BOUND_V4.into()), Some(V6.into())],
            max_bps_per_allocation: plan.max_bps,
            total_rate: NonZeroU64::new(plan.max_total_bps).map(|rate| {
                let rate = || SharedRate::new(rate, now.instant);
                Arc::new([rate(), rate()])
            }),
            unauthenticated_per_second: plan.unauthenticated_per_second,
            discovery: (!plan.doors.is_empty()).then(|| Arc::new(Discovery::new(&plan.doors))),
            classic_stun: plan.classic_stun,
            tcp_relays: plan.tcp_relays,
        };
        let server = |seed| Server::new(config.clone(), seed, now.instant);
        let quota = Quota::new(plan.user_quota, plan.total_quota);
        Self {
            servers: vec![server(1), server(2)],
            shared: Shared {
                pool: Pool::new(plan.ports.clone(), quota),
                sockets: HashMap::new(),
                listening: HashMap::new(),
                connections: HashMap::new(),
                taken: HashSet::new(),
                exhausted: false,
                opened: 0,
                events: Vec::new(),
                random: 0x9E37_79B9_7F4A_7C15,
            },
            late: Vec::new(),
            credentials,
            began: now.instant,
            now,
            plan,
        }
    }

    /// A packet from a client.
    pub fn client(&mut self, worker: usize, origin: &Origin, packet: &[u8]) -> Outcome {
        let mut answer = [0xA5; 2048];
        let mut desk = Desk {
            worker,
            shared: &mut self.shared,
        };
        let server = &mut self.servers[worker];
        let action = server.handle_client(self.now, origin, packet, &mut answer, &mut desk);
        match action {
            Action::Answer(len) => return Outcome::Answer(answer[..len].to_vec()),
            Action::AnswerVia { len, socket, to } => {
                let bytes = answer[..len].to_vec();
                return Outcome::AnswerVia { socket, to, bytes };
            }
            Action::Bound { len, connection } => {
                let bytes = answer[..len].to_vec();
                return Outcome::Bound { bytes, connection };
            }
            Action::HandOver { worker } => {
                let worker = usize::from(worker);
                return Outcome::HandOver { worker };
            }
            _ => {}
        }
        self.carry_out(worker, action, packet)
    }

    /// A datagram to one of our relayed addresses. `None`: nobody listens there.
    pub fn peer(
        &mut self,
        relayed: SocketAddr,
        source: SocketAddr,
        payload: &[u8],
    ) -> Option<Outcome> {
        let at = (Family::of(relayed.ip()), relayed.port());
        let (worker, relay) = *self.shared.sockets.get(&at)?;
        let action = self.servers[worker].handle_peer(self.now, relay, source, payload.len());
        Some(self.carry_out(worker, action, payload))
    }

    /// An ICMP error for what was sent from one of our relayed addresses.
    pub fn icmp(&mut self, relayed: SocketAddr, error: &IcmpError) -> Option<Outcome> {
        let at = (Family::of(relayed.ip()), relayed.port());
        let (worker, relay) = *self.shared.sockets.get(&at)?;
        let mut answer = [0xA5; 2048];
        let action = self.servers[worker].handle_icmp(self.now, relay, error, &mut answer);
        Some(told(worker, &action, &answer))
    }

    /// The outcome of a connection that was begun.
    pub fn connected(&mut self, id: ConnectionId, connected: bool) -> Outcome {
        let worker = usize::from(id.worker());
        let mut answer = [0xA5; 2048];
        let mut desk = Desk {
            worker,
            shared: &mut self.shared,
        };
        let server = &mut self.servers[worker];
        let action = server.handle_connected(self.now, id, connected, &mut answer, &mut desk);
        told(worker, &action, &answer)
    }

    /// A peer connects to one of our relayed addresses. `None`: nobody listens there, or the
    /// connection was refused.
    pub fn incoming(
        &mut self,
        relayed: SocketAddr,
        source: SocketAddr,
    ) -> Option<(ConnectionId, Outcome)> {
        let at = (Family::of(relayed.ip()), relayed.port());
        let (worker, relay) = *self.shared.listening.get(&at)?;
        let mut answer = [0xA5; 2048];
        let mut desk = Desk {
            worker,
            shared: &mut self.shared,
        };
        let server = &mut self.servers[worker];
        match server.handle_incoming(self.now, relay, source, &mut answer, &mut desk) {
            Incoming::Refused => None,
            Incoming::Accepted { connection, action } => {
                let before = self.shared.connections.insert(connection, None);
                assert_eq!(before, None, "a name that is in use was given out");
                Some((connection, told(worker, &action, &answer)))
            }
        }
    }

    /// One side of a connection is gone, and so the driver closes the other.
    pub fn disconnected(&mut self, id: ConnectionId) {
        if self.shared.connections.remove(&id).is_some() {
            self.servers[usize::from(id.worker())].handle_disconnected(id);
        }
    }

    /// A client's stream closes.
    pub fn close(&mut self, worker: usize, link: Link) {
        let mut desk = Desk {
            worker,
            shared: &mut self.shared,
        };
        self.servers[worker].handle_closed(link, &mut desk);
    }

    /// Ends everything.
    pub fn stop(&mut self) {
        for worker in 0..self.servers.len() {
            let mut desk = Desk {
                worker,
                shared: &mut self.shared,
            };
            self.servers[worker].stop(&mut desk);
        }
    }

    /// Time passes, and timers fire when they are due.
    pub fn pass(&mut self, duration: Duration) {
        let until = self.now.instant + duration;
        while let Some(at) = self.next_timer().filter(|at| *at <= until) {
            self.set(at.max(self.now.instant));
            self.fire();
        }
        self.set(until);
    }

    /// Time passes while the timers sleep: the driver is late.
    pub fn pass_unnoticed(&mut self, duration: Duration) {
        self.set(self.now.instant + duration);
    }

    /// Panics unless every port is free, reserved or bound, and all books agree.
    pub fn audit(&self) {
        let count = self.plan.ports.clone().count() as u32;
        for family in [Family::V4, Family::V6] {
            let sockets = self.shared.sockets.keys();
            let bound = sockets.chain(self.shared.listening.keys());
            let bound = bound.filter(|(f, _)| *f == family);
            let accounted = self.shared.pool.free(family)
                + self.shared.pool.reserved(family)
                + bound.count() as u32;
            assert_eq!(accounted, count, "a port of {family:?} was lost or doubled");
        }
        let allocations: usize = self.servers.iter().map(Server::allocations).sum();
        assert_eq!(self.shared.pool.quota.allocations() as usize, allocations);
        for server in &self.servers {
            server.audit();
        }
    }

    fn next_timer(&self) -> Option<Instant> {
        self.servers.iter().filter_map(Server::poll_timeout).min()
    }

    fn fire(&mut self) {
        for worker in 0..self.servers.len() {
            let mut desk = Desk {
                worker,
                shared: &mut self.shared,
            };
            self.servers[worker].handle_timeout(self.now, &mut desk);
            let mut answer = [0xA5; 2048];
            let server = &mut self.servers[worker];
            while let Some(action) = server.expire_connection(self.now, &mut answer, &mut desk) {
                let outcome = told(worker, &action, &answer);
                if outcome != Outcome::Nothing {
                    self.late.push(outcome);
                }
            }
        }
    }

    fn set(&mut self, to: Instant) {
        self.now = Now {
            instant: to,
            unix: EPOCH + (to - self.began).as_secs(),
        };
    }

    fn carry_out(&mut self, worker: usize, action: Action, packet: &[u8]) -> Outcome {
        let cut = |range: Range<usize>| packet[range].to_vec();
        match action {
            Action::Nothing
            | Action::Answer(_)
            | Action::AnswerVia { .. }
            | Action::Bound { .. }
            | Action::HandOver { .. }
            | Action::Tell { .. } => Outcome::Nothing,
            Action::ToPeer {
                relay,
                peer,
                payload,
                dont_fragment,
            } => Outcome::ToPeer {
                relayed: self.relayed(worker, relay),
                peer,
                payload: cut(payload),
                dont_fragment,
            },
            Action::ToClient {
                link,
                header,
                payload,
            } => {
                let mut bytes = header.as_bytes().to_vec();
                bytes.extend(cut(payload));
                bytes.resize(bytes.len() + header.padding(), 0);
                Outcome::ToClient {
                    worker,
                    link,
                    bytes,
                }
            }
            Action::ToWorker {
                worker: other,
                relayed,
                source,
                payload,
            } => {
                assert_ne!(usize::from(other), worker, "this worker could do it itself");
                let other = usize::from(other);
                let action =
                    self.servers[other].handle_internal(self.now, relayed, source, payload);
                self.carry_out(other, action, packet)
            }
        }
    }

    fn relayed(&self, worker: usize, relay: RelayId) -> SocketAddr {
        let (family, port) = self
            .shared
            .sockets
            .iter()
            .find(|(_, at)| **at == (worker, relay))
            .map(|(key, _)| *key)
            .expect("packets leave from open sockets");
        match family {
            Family::V4 => SocketAddr::new(V4.into(), port),
            Family::V6 => SocketAddr::new(V6.into(), port),
        }
    }
}
