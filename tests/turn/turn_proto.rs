//! The client of turn-client-proto, which knows the SHA-256 and the password algorithms of RFC
//! 8489, over UDP and TCP.

use std::io::{ErrorKind, Read as _, Write as _};
use std::net::{SocketAddr, TcpStream, UdpSocket};
use std::time::{Duration, Instant};

use callbox::net::clock;
use callbox::turn::stun::{AttributeType, Class, Message};
use stun_types::message::IntegrityAlgorithm;
use turn_client_proto::api::{Transmit, TurnConfig, TurnEvent, TurnPollRet, TurnRecvRet};
use turn_client_proto::prelude::*;
use turn_client_proto::stun;
use turn_client_proto::tcp::TurnClientTcp;
use turn_client_proto::types::{TransportType, TurnCredentials};
use turn_client_proto::udp::TurnClientUdp;

use super::datagrams::{Echo, payload};
use super::harness::{Callbox, PASSWORD, PATIENCE, Setup, USER, until};

enum Socket {
    Udp(UdpSocket),
    Tcp(TcpStream),
}

impl Socket {
    fn local(&self) -> SocketAddr {
        match self {
            Self::Udp(socket) => socket.local_addr(),
            Self::Tcp(stream) => stream.local_addr(),
        }
        .unwrap()
    }

    fn send(&mut self, bytes: &[u8]) {
        match self {
            Self::Udp(socket) => assert_eq!(socket.send(bytes).unwrap(), bytes.len()),
            Self::Tcp(stream) => stream.write_all(bytes).unwrap(),
        }
    }

    /// What has come within a moment.
    fn receive(&mut self) -> Option<Vec<u8>> {
        let mut bytes = vec![0; 4096];
        let moment = Some(Duration::from_millis(20));
        let got = match self {
            Self::Udp(socket) => {
                socket.set_read_timeout(moment).unwrap();
                socket.recv(&mut bytes)
            }
            Self::Tcp(stream) => {
                stream.set_read_timeout(moment).unwrap();
                stream.read(&mut bytes)
            }
        };
        match got {
            Ok(len) => {
                bytes.truncate(len);
                Some(bytes)
            }
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {
                None
            }
            Err(error) => panic!("{error}"),
        }
    }
}

/// Drives a client which itself touches no socket.
struct Session<C> {
    client: C,
    socket: Socket,
    server: SocketAddr,
    start: Instant,
    events: Vec<TurnEvent>,
    heard: Vec<(SocketAddr, Vec<u8>)>,
    /// Requests that were sent.
    requests: Vec<Vec<u8>>,
}

impl<C: TurnClientApi> Session<C> {
    fn new(client: C, socket: Socket, server: SocketAddr) -> Self {
        Self {
            client,
            socket,
            server,
            start: clock::now(),
            events: Vec::new(),
            heard: Vec::new(),
            requests: Vec::new(),
        }
    }

    fn now(&self) -> stun::Instant {
        stun::Instant::from_nanos(self.start.elapsed().as_nanos() as i64 + 1)
    }

    /// Runs the client until something is so.
    fn until(&mut self, what: &str, mut is_so: impl FnMut(&mut Self) -> bool) {
        let end = clock::now() + PATIENCE;
        while !is_so(self) {
            assert!(clock::now() < end, "{what}: {:?}", self.events);
            let open = self.step();
            assert!(open, "the client gives up: {:?}", self.events);
        }
    }

    /// One round; false once the client wants no more.
    fn step(&mut self) -> bool {
        let now = self.now();
        let open = !matches!(self.client.poll(now), TurnPollRet::Closed);
        while let Some(transmit) = self.client.poll_transmit(now) {
            let bytes = transmit.data.to_vec();
            self.socket.send(&bytes);
            let request = Message::parse(&bytes).is_ok_and(|m| m.class() == Class::Request);
            self.requests.extend(request.then_some(bytes));
        }
        self.events
            .extend(std::iter::from_fn(|| self.client.poll_event()));
        let Some(bytes) = self.socket.receive() else {
            return open;
        };
        let (now, local) = (self.now(), self.socket.local());
        let transport = self.client.transport();
        let transmit = Transmit::new(bytes, transport, self.server, local);
        match self.client.recv(transmit, now) {
            TurnRecvRet::PeerData(data) => self.heard.push((data.peer, data.data().to_vec())),
            TurnRecvRet::Handled => {}
            other => panic!("{other:?}"),
        }
        while let Some(data) = self.client.poll_recv(now) {
            self.heard.push((data.peer, data.data().to_vec()));
        }
        self.events
            .extend(std::iter::from_fn(|| self.client.poll_event()));
        open
    }

    fn say(&mut self, peer: SocketAddr, bytes: &[u8]) {
        let now = self.now();
        let transmit = self
            .client
            .send_to(TransportType::Udp, peer, bytes, now)
            .unwrap();
        if let Some(transmit) = transmit {
            self.socket.send(&transmit.build().data);
        }
    }

    fn echoes(&mut self, echo: &Echo) {
        for n in 0..20 {
            // It does not pad ChannelData on streams, as RFC 8656 section 12.5 asks: there only
            // multiples of four get through.
            let step = match self.socket {
                Socket::Udp(_) => 1,
                Socket::Tcp(_) => 4,
            };
            let message = payload(100 + n * step, n);
            self.say(echo.address, &message);
            self.until("an echo", |session| !session.heard.is_empty());
            assert_eq!(self.heard.remove(0), (echo.address, message));
        }
    }

    /// Allocate, permission, Send and Data, channel, ChannelData, and the end.
    fn uses_everything(&mut self, echo: &Echo) {
        self.until("an allocation", |session| {
            session.client.relayed_addresses().next().is_some()
        });
        let (_, relayed) = self.client.relayed_addresses().next().unwrap();
        assert_eq!(relayed.ip(), self.server.ip());
        let (now, ip) = (self.now(), echo.address.ip());
        self.client
            .create_permission(TransportType::Udp, ip, now)
            .unwrap();
        self.until("a permission", |session| {
            session.client.have_permission(TransportType::Udp, ip)
        });
        self.echoes(echo);
        let now = self.now();
        self.client
            .bind_channel(TransportType::Udp, echo.address, now)
            .unwrap();
        self.until("a channel", |session| {
            let mut events = session.events.iter();
            events.any(|event| matches!(event, TurnEvent::ChannelCreated(..)))
        });
        self.echoes(echo);
        let now = self.now();
        self.client.delete(now).unwrap();
        until("the relayed port is closed", || {
            self.step();
            UdpSocket::bind(relayed).is_ok()
        });
    }

    /// How many requests carry an attribute.
    fn carrying(&self, kind: AttributeType) -> usize {
        let has = |bytes: &&Vec<u8>| Message::parse(bytes).unwrap().value(kind).is_some();
        self.requests.iter().filter(has).count()
    }
}

fn config(algorithms: &[IntegrityAlgorithm]) -> TurnConfig {
    let mut config = TurnConfig::new(TurnCredentials::new(USER, PASSWORD));
    config.set_supported_integrity(algorithms[0]);
    for algorithm in algorithms {
        config.add_supported_integrity(*algorithm);
    }
    config
}

fn udp(callbox: &Callbox, config: TurnConfig) -> Session<TurnClientUdp> {
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    socket.connect(callbox.address).unwrap();
    let local = socket.local_addr().unwrap();
    let client = TurnClientUdp::allocate(local, callbox.address, config);
    Session::new(client, Socket::Udp(socket), callbox.address)
}

fn tcp(callbox: &Callbox, config: TurnConfig) -> Session<TurnClientTcp> {
    let stream = TcpStream::connect(callbox.address).unwrap();
    let local = stream.local_addr().unwrap();
    let client = TurnClientTcp::allocate(local, callbox.address, config);
    Session::new(client, Socket::Tcp(stream), callbox.address)
}

const SHA1: &[IntegrityAlgorithm] = &[IntegrityAlgorithm::Sha1];
const BOTH: &[IntegrityAlgorithm] = &[IntegrityAlgorithm::Sha1, IntegrityAlgorithm::Sha256];
const SHA256: &[IntegrityAlgorithm] = &[IntegrityAlgorithm::Sha256];

/// What was really agreed upon, judged by the requests that were sent.
fn check<C: TurnClientApi>(session: &Session<C>, sha256: bool, name: &str) {
    let counts = [
        AttributeType::MESSAGE_INTEGRITY,
        AttributeType::MESSAGE_INTEGRITY_SHA256,
        AttributeType::PASSWORD_ALGORITHM,
    ]
    .map(|kind| session.carrying(kind));
    let [by_sha1, by_sha256, chosen] = counts;
    assert_eq!(by_sha256 > 0, sha256, "{name}: {counts:?}");
    assert!(chosen > 0 || !sha256, "{name}: {counts:?}");
    assert_eq!(by_sha1 > 0, !sha256, "{name}: {counts:?}");
}

#[test]
fn turn_client_proto_seals_with_sha_256_where_it_can() {
    let callbox = Setup::default().start();
    let echo = Echo::start("127.0.0.1");
    for (algorithms, sha256) in [(SHA1, false), (BOTH, true), (SHA256, true)] {
        let mut over_udp = udp(&callbox, config(algorithms));
        over_udp.uses_everything(&echo);
        check(&over_udp, sha256, &format!("UDP {algorithms:?}"));
        let mut over_tcp = tcp(&callbox, config(algorithms));
        over_tcp.uses_everything(&echo);
        check(&over_tcp, sha256, &format!("TCP {algorithms:?}"));
    }
}
