//! Three clients and some peers do whatever the input says, against a model that knows who has
//! permitted whom.

mod grants;
mod script;

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::Duration;

use crate::turn::channel;
use crate::turn::core::{IcmpError, Link, Transport, Verdict};
use crate::turn::stun::address::{Family, decode_xor};
use crate::turn::stun::{AttributeType, Class, Message, Method, Writer};

use super::client::{Answer, Client, channel_data, udp};
use super::world::{BOUND_V4, Outcome, Plan, STATIC_USER, V4, World};
use grants::Grants;
use script::Script;

/// Listening sockets, so that NAT behaviour discovery has all its parts.
const DOORS: [SocketAddr; 4] = [
    SocketAddr::new(IpAddr::V4(V4), 3478),
    SocketAddr::new(IpAddr::V4(V4), 443),
    SocketAddr::new(IpAddr::V4(OTHER_V4), 3478),
    SocketAddr::new(IpAddr::V4(OTHER_V4), 443),
];
const OTHER_V4: Ipv4Addr = Ipv4Addr::new(9, 9, 9, 10);

/// Runs the input; panics when an invariant breaks.
pub fn run(input: &[u8]) {
    let mut script = Script(input);
    let mut run = Run::new();
    // Bounded, so that a long input costs no more than a short one is worth.
    for _ in 0..200 {
        let Some(step) = script.byte() else { break };
        run.step(step, &mut script);
        run.world.audit();
    }
    // One late look at the timers must do; second by second would take most of the run's time.
    run.world.pass_unnoticed(Duration::from_secs(2 * 3600));
    run.world.pass(Duration::from_secs(1));
    // Looking for a token that nobody has makes the pool notice which have expired.
    assert_eq!(
        run.world.shared.pool.redeem(&[0; 8], run.world.now.instant),
        None
    );
    run.world.audit();
    assert!(run.world.shared.sockets.is_empty(), "a socket was left");
    assert_eq!(run.world.shared.pool.quota.allocations(), 0);
    assert_eq!(run.world.shared.pool.reserved(Family::V4), 0);
}

struct Run {
    world: World,
    clients: Vec<Client>,
    grants: Vec<Grants>,
    last: Vec<Vec<u8>>,
    token: Vec<u8>,
}

impl Run {
    fn new() -> Self {
        let (user, password) = STATIC_USER;
        let clients = vec![
            Client::new(0, 1, "one"),
            Client::new(1, 2, "").named(user, password).over_stream(7),
            Client::new(0, 3, "three").with_sha256(),
        ];
        Self {
            world: World::new(Plan {
                user_quota: 2,
                total_quota: 3,
                doors: DOORS.to_vec(),
                classic_stun: true,
                tcp_relays: true,
                ..Plan::default()
            }),
            grants: clients.iter().map(|_| Grants::default()).collect(),
            last: vec![Vec::new(); clients.len()],
            clients,
            token: vec![1; 8],
        }
    }

    fn step(&mut self, step: u8, script: &mut Script<'_>) {
        let who = usize::from(step >> 4) % self.clients.len();
        match step & 0x0F {
            0 => self.log_in(who),
            1 => self.allocate(who, script),
            2 => self.refresh(who, script),
            3 => self.permit(who, script),
            4 => self.bind(who, script),
            5 | 6 => self.send(who, script),
            7 | 8 => self.send_over_channel(who, script),
            9 => self.receive(who, script),
            10 => self.time(script),
            11 => self.close(who),
            12 => {
                let packet = script.bytes();
                self.deliver(who, packet);
            }
            13 => self.strange_request(who, script),
            14 => {
                let again = self.last[who].clone();
                self.deliver(who, again);
            }
            _ => self.machine(script),
        }
    }

    fn log_in(&mut self, who: usize) {
        let packet = self.clients[who].bare(Class::Request, Method::ALLOCATE, |writer| {
            udp(writer);
            writer.attribute(AttributeType::SOFTWARE, b"long enough for the long nonce");
        });
        if let Some(answer) = self.deliver(who, packet) {
            // On top of an allocation it is still a challenge: nothing is said without proof.
            assert_eq!(answer.code(), 401);
            self.clients[who].heed(&answer);
        }
    }

    fn allocate(&mut self, who: usize, script: &mut Script<'_>) {
        let wishes = script.next();
        let lifetime = script.pick(&[0, 1, 600, 777, 3600, u32::MAX]);
        let token = self.token.clone();
        let packet = self.clients[who].signed(Method::ALLOCATE, |writer| {
            match wishes & 16 {
                0 => udp(writer),
                _ => writer.attribute(AttributeType::REQUESTED_TRANSPORT, &[6, 0, 0, 0]),
            }
            writer.u32(AttributeType::LIFETIME, lifetime);
            if wishes & 1 != 0 {
                writer.attribute(AttributeType::ADDITIONAL_ADDRESS_FAMILY, &[2, 0, 0, 0]);
            }
            if wishes & 2 != 0 {
                writer.attribute(AttributeType::EVEN_PORT, &[wishes & 0x80]);
            }
            if wishes & 4 != 0 {
                writer.attribute(AttributeType::REQUESTED_ADDRESS_FAMILY, &[2, 0, 0, 0]);
            }
            if wishes & 8 != 0 {
                writer.attribute(AttributeType::RESERVATION_TOKEN, &token);
            }
        });
        if let Some(answer) = self.deliver(who, packet)
            && answer.code() == 0
            && answer.has(AttributeType::RESERVATION_TOKEN)
        {
            self.token = answer.value(AttributeType::RESERVATION_TOKEN).to_vec();
        }
    }

    fn refresh(&mut self, who: usize, script: &mut Script<'_>) {
        let lifetime = script.pick(&[0, 1, 600, 3600, u32::MAX]);
        let family = script.pick(&[0, 0, 1, 2]);
        let packet = self.clients[who].signed(Method::REFRESH, |writer| {
            writer.u32(AttributeType::LIFETIME, lifetime);
            if family != 0 {
                let value = [family, 0, 0, 0];
                writer.attribute(AttributeType::REQUESTED_ADDRESS_FAMILY, &value);
            }
        });
        self.deliver(who, packet);
    }

    fn permit(&mut self, who: usize, script: &mut Script<'_>) {
        let peers = [self.peer_of(script), self.peer_of(script)];
        let count = script.pick(&[1, 2]);
        let packet = self.clients[who].signed(Method::CREATE_PERMISSION, |writer| {
            for peer in &peers[..count] {
                writer.xor_address(AttributeType::XOR_PEER_ADDRESS, *peer);
            }
        });
        self.deliver(who, packet);
    }

    fn bind(&mut self, who: usize, script: &mut Script<'_>) {
        let peer = self.peer_of(script);
        let number = number(script);
        let packet = self.clients[who].signed(Method::CHANNEL_BIND, |writer| {
            writer.u32(AttributeType::CHANNEL_NUMBER, u32::from(number) << 16);
            writer.xor_address(AttributeType::XOR_PEER_ADDRESS, peer);
        });
        self.deliver(who, packet);
    }

    fn send(&mut self, who: usize, script: &mut Script<'_>) {
        let peer = self.peer_of(script);
        let payload = script.bytes();
        let packet = self.clients[who].bare(Class::Indication, Method::SEND, |writer| {
            writer.xor_address(AttributeType::XOR_PEER_ADDRESS, peer);
            writer.attribute(AttributeType::DATA, &payload);
        });
        self.deliver(who, packet);
    }

    fn send_over_channel(&mut self, who: usize, script: &mut Script<'_>) {
        let packet = channel_data(number(script), &script.bytes());
        self.deliver(who, packet);
    }

    fn receive(&mut self, who: usize, script: &mut Script<'_>) {
        let source = self.peer_of(script);
        let payload = script.bytes();
        for relayed in self.grants[who].relays.clone() {
            match self.world.peer(relayed, source, &payload) {
                None | Some(Outcome::Nothing) => {}
                Some(outcome) => {
                    let to = self.check_delivery(&outcome, source, &payload);
                    // The port may be another's by now.
                    assert!(self.grants[to].relays.contains(&relayed));
                }
            }
        }
    }

    fn time(&mut self, script: &mut Script<'_>) {
        let seconds = script.pick(&[0, 1, 29, 30, 31, 299, 300, 301, 599, 600, 1100, 4000]);
        let duration = Duration::from_millis(seconds * 1000 + u64::from(script.next()));
        if script.next() & 1 == 0 {
            self.world.pass(duration);
        } else {
            self.world.pass_unnoticed(duration);
        }
    }

    fn close(&mut self, who: usize) {
        let client = &self.clients[who];
        if matches!(client.origin.link, Link::Stream(_)) {
            self.world.close(client.worker, client.origin.link);
            self.grants[who] = Grants::default();
        }
    }

    /// A request with the right credentials and any attributes.
    fn strange_request(&mut self, who: usize, script: &mut Script<'_>) {
        let method = Method::new(u16::from(script.next() % 16));
        let attributes: Vec<(u16, Vec<u8>)> = (0..script.next() % 5)
            .map(|_| {
                let kind = u16::from_be_bytes([script.next() & 0x80, script.next()]);
                (kind, script.bytes())
            })
            .collect();
        let packet = self.clients[who].signed(method, |writer: &mut Writer<'_>| {
            for (kind, value) in &attributes {
                writer.attribute(AttributeType(*kind), value);
            }
        });
        self.deliver(who, packet);
    }

    /// The machine under the server changes.
    fn machine(&mut self, script: &mut Script<'_>) {
        match script.next() % 8 {
            0 => self.world.shared.exhausted ^= true,
            1 => self.world.shared.taken.clear(),
            3 => self.path_error(script),
            4 => self.connect(script),
            5 => self.visit(script),
            6 => self.bind_connection(script),
            _ => {
                let offset = u16::from(script.next() % 16);
                self.world.shared.taken.insert(50000 + offset);
            }
        }
    }

    /// Somebody with a relay for connections wants one, and gets it or does not.
    fn connect(&mut self, script: &mut Script<'_>) {
        let peer = self.peer_of(script);
        let who = usize::from(script.next()) % self.clients.len();
        let packet = self.clients[who].signed(Method::CONNECT, |writer| {
            writer.xor_address(AttributeType::XOR_PEER_ADDRESS, peer);
        });
        let before: Vec<_> = self.world.shared.connections.keys().copied().collect();
        self.deliver(who, packet);
        let begun = self.world.shared.connections.iter();
        let begun = begun.filter(|(id, _)| !before.contains(id));
        let begun: Vec<_> = begun.map(|(id, to)| (*id, *to)).collect();
        for (id, to) in begun {
            let to = known_as(to.expect("it was begun here"));
            let verdict = self.world.plan.policy.peer(to);
            let ours = self.grants.iter().any(|grants| grants.relays.contains(&to));
            assert!(verdict == Verdict::Allowed || verdict == Verdict::InternalOnly && ours);
            match script.next() % 4 {
                0 => {}
                outcome => drop(self.world.connected(id, outcome > 1)),
            }
        }
    }

    /// A peer connects to every relay.
    fn visit(&mut self, script: &mut Script<'_>) {
        let peer = self.peer_of(script);
        let relays = self.grants.iter().flat_map(|grants| grants.relays.clone());
        for relayed in relays.collect::<Vec<_>>() {
            if let Some((_, Outcome::ToClient { link, .. })) = self.world.incoming(relayed, peer) {
                let to = self.clients.iter().position(|c| c.origin.link == link);
                let grants = &self.grants[to.expect("it goes to a client")];
                assert!(grants.permits(known_as(peer).ip(), self.world.now.instant));
                assert!(grants.relays.contains(&relayed));
            }
        }
    }

    /// Somebody binds a connection, perhaps not their own, or one is closed.
    fn bind_connection(&mut self, script: &mut Script<'_>) {
        let mut all: Vec<_> = self.world.shared.connections.keys().copied().collect();
        all.sort_by_key(|id| id.0);
        let Some(id) = all.get(usize::from(script.next()) % all.len().max(1)) else {
            return;
        };
        match script.next() % 4 {
            0 => self.world.disconnected(*id),
            who => {
                let who = usize::from(who) % self.clients.len();
                let mut stranger = self.clients[who].clone();
                stranger.worker = usize::from(id.worker());
                let packet = stranger
                    .over_stream(99)
                    .signed(Method::CONNECTION_BIND, |writer| {
                        writer.u32(AttributeType::CONNECTION_ID, id.0);
                    });
                let mut stranger = self.clients[who].clone().over_stream(99);
                stranger.worker = usize::from(id.worker());
                stranger.send(&mut self.world, &packet);
            }
        }
    }

    /// An ICMP error, about anybody, comes to every relay.
    fn path_error(&mut self, script: &mut Script<'_>) {
        let error = IcmpError {
            peer: self.peer_of(script),
            kind: script.next(),
            code: script.next(),
            mtu: 1280,
        };
        let relays = self.grants.iter().flat_map(|grants| grants.relays.clone());
        for relayed in relays.collect::<Vec<_>>() {
            let Some(Outcome::ToClient { link, bytes, .. }) = self.world.icmp(relayed, &error)
            else {
                continue;
            };
            let to = self.clients.iter().position(|c| c.origin.link == link);
            let grants = &self.grants[to.expect("it goes to a client")];
            let peer = known_as(error.peer);
            assert!(grants.permits(peer.ip(), self.world.now.instant));
            assert!(grants.relays.contains(&relayed));
            let message = Message::parse(&bytes).expect("a Data indication");
            assert!(message.find(AttributeType::ICMP).is_some());
        }
    }

    /// A peer's address: public, forbidden, or somebody's relay under either of its names.
    fn peer_of(&self, script: &mut Script<'_>) -> SocketAddr {
        let which = usize::from(script.next());
        let fixed = [
            SocketAddr::from(([8, 8, 8, 8], 5000)),
            SocketAddr::from(([8, 8, 8, 8], 5001)),
            SocketAddr::from(([8, 8, 4, 4], 5000)),
            SocketAddr::from(([0x2001, 0x4860, 0, 0, 0, 0, 0, 0x8888], 5000)),
            SocketAddr::from(([192, 168, 1, 1], 5000)),
            SocketAddr::from(([9, 9, 9, 9], 3478)),
            SocketAddr::from(([0, 0, 0, 0, 0, 0xFFFF, 0x0808, 0x0808], 5000)),
        ];
        let relays = self.grants.iter().flat_map(|grants| grants.relays.clone());
        let bound = relays
            .clone()
            .filter(SocketAddr::is_ipv4)
            .map(|relay| SocketAddr::new(BOUND_V4.into(), relay.port()));
        let all: Vec<SocketAddr> = fixed
            .into_iter()
            .chain(relays.clone())
            .chain(bound)
            .collect();
        all[which % all.len()]
    }

    /// Hands a packet in and checks everything that comes of it.
    fn deliver(&mut self, who: usize, packet: Vec<u8>) -> Option<Answer> {
        let outcome = self.clients[who].send(&mut self.world, &packet);
        let answer = match &outcome {
            Outcome::Nothing => None,
            Outcome::Answer(bytes) if Message::parse(&packet).is_err() => {
                // Classic STUN: the address, or why not.
                assert_eq!(bytes[4..20], packet[4..20], "the same transaction");
                assert!(bytes.len() <= 3 * packet.len());
                None
            }
            Outcome::Answer(bytes) => {
                let answer = Answer(bytes.clone());
                self.note(who, &packet, &answer);
                Some(answer)
            }
            Outcome::Bound { bytes, connection } => {
                assert!(self.world.shared.connections.contains_key(connection));
                let answer = Answer(bytes.clone());
                self.note(who, &packet, &answer);
                Some(answer)
            }
            Outcome::HandOver { worker } => {
                assert_ne!(*worker, self.clients[who].worker);
                None
            }
            Outcome::AnswerVia { socket, to, bytes } => {
                let client = self.clients[who].origin;
                assert_eq!(to.ip(), client.client.ip(), "nobody else hears of it");
                assert!(socket.is_none_or(|socket| usize::from(socket) < DOORS.len()));
                assert!(bytes.len() <= 3 * packet.len());
                let answer = Answer(bytes.clone());
                assert_eq!(answer.message().method(), Method::BINDING);
                None
            }
            Outcome::ToPeer {
                relayed,
                peer,
                payload,
                ..
            } => {
                self.check_sending(who, *peer);
                assert!(self.grants[who].relays.contains(relayed));
                assert_eq!(self.world.plan.policy.peer(*peer), Verdict::Allowed);
                assert!(contains(&packet, payload));
                None
            }
            Outcome::ToClient { .. } => {
                let (peer, payload) = self.target(who, &packet);
                self.check_sending(who, peer);
                let relays = &self.grants[who].relays;
                let same = relays.iter().find(|r| r.is_ipv4() == peer.is_ipv4());
                let source = *same.expect("it left from a relay");
                let to = self.check_delivery(&outcome, source, &payload);
                assert!(self.grants[to].relays.contains(&peer));
                None
            }
        };
        self.last[who] = packet;
        answer
    }

    /// The sender must have permitted the peer, or bound a channel to it.
    fn check_sending(&self, who: usize, peer: SocketAddr) {
        let now = self.world.now.instant;
        let grants = &self.grants[who];
        assert!(
            grants.permits(peer.ip(), now) || grants.has_channel_to(peer, now),
            "{who} sent to {peer} without permission"
        );
    }

    /// The receiver must have permitted the source. Returns who received.
    fn check_delivery(&self, outcome: &Outcome, source: SocketAddr, payload: &[u8]) -> usize {
        let Outcome::ToClient {
            link,
            bytes,
            worker,
        } = outcome
        else {
            panic!("{outcome:?} is no delivery");
        };
        let now = self.world.now.instant;
        let mut clients = self.clients.iter();
        let to = clients
            .position(|client| client.origin.link == *link)
            .expect("it goes to a client");
        assert_eq!(self.clients[to].worker, *worker);
        let grants = &self.grants[to];
        let source = SocketAddr::new(source.ip().to_canonical(), source.port());
        assert!(
            grants.permits(source.ip(), now),
            "{to} did not permit {source}"
        );
        match channel::parse(bytes) {
            Some((number, len)) => {
                let (peer, expires) = grants.channels[&number.value()];
                assert_eq!(peer, source);
                assert!(expires > now);
                assert_eq!(&bytes[4..4 + len], payload);
                let stream = matches!(link, Link::Stream(_));
                assert!(!stream || bytes.len().is_multiple_of(4));
            }
            None => {
                assert!(!grants.has_channel_to(source, now));
                let message = Message::parse(bytes).expect("a Data indication");
                assert_eq!(message.method(), Method::DATA);
                assert_eq!(message.value(AttributeType::DATA), Some(payload));
                let peer = message.value(AttributeType::XOR_PEER_ADDRESS);
                let peer = peer.and_then(|value| decode_xor(value, message.transaction_id()));
                assert_eq!(peer, Some(source));
            }
        }
        to
    }

    /// Whom a packet that was relayed meant, and what it said.
    fn target(&self, who: usize, packet: &[u8]) -> (SocketAddr, Vec<u8>) {
        if let Some((number, len)) = channel::parse(packet) {
            let (peer, _) = self.grants[who].channels[&number.value()];
            return (peer, packet[4..4 + len].to_vec());
        }
        let message = Message::parse(packet).expect("only a message is relayed");
        let peer = message.value(AttributeType::XOR_PEER_ADDRESS);
        let peer = peer.and_then(|value| decode_xor(value, message.transaction_id()));
        let data = message.value(AttributeType::DATA).expect("it has data");
        (known_as(peer.expect("it names a peer")), data.to_vec())
    }

    /// Takes over what an answer grants.
    fn note(&mut self, who: usize, packet: &[u8], answer: &Answer) {
        let request = Message::parse(packet).expect("only messages are answered");
        assert_eq!(request.class(), Class::Request);
        let message = answer.message();
        assert_eq!(message.transaction_id(), request.transaction_id());
        assert_eq!(message.method(), request.method());
        let proved = answer.has(AttributeType::MESSAGE_INTEGRITY)
            || answer.has(AttributeType::MESSAGE_INTEGRITY_SHA256);
        let udp = self.clients[who].origin.transport == Transport::Udp;
        assert!(proved || !udp || answer.0.len() <= 3 * packet.len());
        if answer.code() != 0 {
            return;
        }
        assert!(proved || request.method() == Method::BINDING);
        let now = self.world.now.instant;
        let grants = &mut self.grants[who];
        let peers = request
            .attributes()
            .filter(|a| a.kind == AttributeType::XOR_PEER_ADDRESS)
            .map(|a| known_as(decode_xor(a.value, request.transaction_id()).expect("accepted")));
        let lifetime = answer.lifetime().map(u64::from).unwrap_or_default();
        let expires = now + Duration::from_secs(lifetime);
        match request.method() {
            Method::ALLOCATE => {
                let relays = answer.relayed();
                if relays != grants.relays || !grants.lives(now) {
                    *grants = Grants {
                        relays,
                        ..Grants::default()
                    };
                }
                grants.expires = Some(expires);
            }
            Method::REFRESH if lifetime > 0 => grants.expires = Some(expires),
            Method::REFRESH => {
                let family = request.value(AttributeType::REQUESTED_ADDRESS_FAMILY);
                match family.and_then(|value| value.first()) {
                    Some(family) if grants.relays.len() == 2 => {
                        grants
                            .relays
                            .retain(|r| Family::of(r.ip()).value() != *family);
                    }
                    _ => *grants = Grants::default(),
                }
            }
            Method::CREATE_PERMISSION => {
                let until = now + Duration::from_secs(300);
                grants
                    .permissions
                    .extend(peers.map(|peer| (peer.ip(), until)));
            }
            Method::CHANNEL_BIND => {
                let number = request
                    .u32(AttributeType::CHANNEL_NUMBER)
                    .expect("accepted");
                for peer in peers.take(1) {
                    let permission = now + Duration::from_secs(300);
                    grants.permissions.insert(peer.ip(), permission);
                    let channel = now + Duration::from_secs(600);
                    grants
                        .channels
                        .insert((number >> 16) as u16, (peer, channel));
                }
            }
            _ => {}
        }
    }
}

fn number(script: &mut Script<'_>) -> u16 {
    script.pick(&[0x4000, 0x4001, 0x4FFF, 0x7FFF, 0x3FFF])
}

/// The one name of a peer: no IPv4 in IPv6, and relays of ours by their advertised address.
fn known_as(peer: SocketAddr) -> SocketAddr {
    let ip = peer.ip().to_canonical();
    let ip = if ip == BOUND_V4 { V4.into() } else { ip };
    SocketAddr::new(ip, peer.port())
}

fn contains(packet: &[u8], payload: &[u8]) -> bool {
    payload.is_empty()
        || packet
            .windows(payload.len())
            .any(|window| window == payload)
}
