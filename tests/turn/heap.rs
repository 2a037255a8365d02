//! No heap allocation per relayed packet: the workers run inside the test, whose allocator counts
//! by thread.
//!
//! TLS is the exception, and is held to a number instead: rustls puts each record that it seals or
//! opens into a buffer of its own.

use std::cell::RefCell;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use callbox::config::settings::Network;
use callbox::net::listen;
use callbox::net::stream::{ClientStream, TurnSink};
use callbox::turn::core::quota::Quota;
use callbox::turn::core::{Config, Credentials, Policy, Pool};
use callbox::turn::io::{Plan, Workers, start};
use rustls::ServerConnection;

use super::allocator;
use super::client::{Client, Wire};
use super::datagrams::Echo;
use super::harness::{LOCALHOST, PASSWORD, SECRET, USER, relay_ports, until};
use super::identity::Identity;

/// Messages under way at once: less than any socket's buffer holds.
const WINDOW: usize = 16;

/// Messages of one measurement, each way.
const MESSAGES: usize = 2_000;

/// Buffers grow to what the busiest round needs, and which round that is depends on scheduling.
/// An allocation for each packet, or even for each round, would be there every time.
const ATTEMPTS: usize = 10;

/// Workers in this process.
struct Site {
    workers: Option<Workers>,
    sink: TurnSink,
    udp: SocketAddr,
    identity: Identity,
    _alone: MutexGuard<'static, ()>,
}

impl Site {
    fn start(workers: usize) -> Self {
        // The counters tell threads by name: another server's must not run meanwhile.
        static ALONE: Mutex<()> = Mutex::new(());
        let alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
        let any = SocketAddr::new(LOCALHOST, 0);
        let sockets = listen::udp(any, workers.try_into().unwrap(), "test").unwrap();
        let udp = sockets[0].local_addr().unwrap();
        let loopback = Network {
            address: "127.0.0.0".parse().unwrap(),
            prefix: 8,
        };
        let users = [(USER.to_owned(), PASSWORD.as_bytes().to_vec())];
        let config = Config {
            credentials: Arc::new(Credentials::new(
                "test",
                SECRET.as_bytes(),
                b"secret of the nonces",
                users,
            )),
            policy: Arc::new(Policy::new(
                vec![loopback],
                Vec::new(),
                vec![LOCALHOST],
                vec![udp.port()],
            )),
            advertised: [Some(LOCALHOST), None],
            bound: [None, None],
            max_bps_per_allocation: 0,
            total_rate: None,
            unauthenticated_per_second: 0,
            discovery: None,
            classic_stun: false,
            tcp_relays: false,
        };
        let [relays, _] = relay_ports();
        let workers = start(Plan {
            config,
            relay_bind: [Some(LOCALHOST), None],
            pool: Pool::new(relays, Quota::new(0, 0)),
            listeners: sockets.into_iter().map(|socket| vec![socket]).collect(),
        })
        .unwrap();
        Self {
            sink: workers.sink(),
            workers: Some(workers),
            udp,
            identity: Identity::new(),
            _alone: alone,
        }
    }

    fn udp(&self) -> (Client, SocketAddr) {
        Client::udp(self.udp).allocated()
    }

    /// A client whose stream has just been given to the next worker.
    fn tcp(&self) -> (Client, SocketAddr) {
        let (near, far) = connection();
        self.hand_over(far, None);
        let pending = Vec::new();
        let stream = near;
        Client::over(Wire::Tcp { stream, pending }).allocated()
    }

    fn tls(&self) -> (Client, SocketAddr) {
        let (near, mut far) = connection();
        let config = self.identity.server();
        let handshake = std::thread::spawn(move || {
            let mut server = ServerConnection::new(config).unwrap();
            while server.is_handshaking() {
                server.complete_io(&mut far).unwrap();
            }
            (server, far)
        });
        let mut wire = Wire::tls(near, self.identity.trust());
        if let Wire::Tls { stream, .. } = &mut wire {
            while stream.conn.is_handshaking() {
                stream.conn.complete_io(&mut stream.sock).unwrap();
            }
        }
        let (server, far) = handshake.join().unwrap();
        self.hand_over(far, Some(Box::new(server)));
        Client::over(wire).allocated()
    }

    fn hand_over(&self, socket: TcpStream, tls: Option<Box<ServerConnection>>) {
        let (peer, local) = (socket.peer_addr().unwrap(), socket.local_addr().unwrap());
        socket.set_nodelay(true).unwrap();
        (self.sink)(ClientStream {
            socket,
            tls,
            peer,
            local,
            received: Vec::new(),
            permit: Box::new(()),
        });
    }
}

impl Drop for Site {
    fn drop(&mut self) {
        if let Some(workers) = self.workers.take() {
            workers.stop();
        }
    }
}

fn connection() -> (TcpStream, TcpStream) {
    let listener = TcpListener::bind((LOCALHOST, 0)).unwrap();
    let near = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    near.set_nodelay(true).unwrap();
    (near, listener.accept().unwrap().0)
}

/// What the workers allocate while this happens, at best.
fn allocations(mut happen: impl FnMut()) -> u64 {
    let mut least = u64::MAX;
    for _ in 0..ATTEMPTS {
        let before = allocator::of_threads("turn-");
        happen();
        least = least.min(allocator::of_threads("turn-") - before);
        if least == 0 {
            break;
        }
    }
    least
}

/// Sends windows of messages, and hears as many at the other end before it goes on.
fn relay(mut say: impl FnMut(usize), mut hear: impl FnMut(usize)) {
    for _ in 0..MESSAGES / WINDOW {
        (0..WINDOW).for_each(&mut say);
        (0..WINDOW).for_each(&mut hear);
    }
}

const PAYLOAD: [u8; 200] = [7; 200];

#[test]
fn a_datagram_is_relayed_without_the_heap() {
    let site = Site::start(1);
    let echo = Echo::start("127.0.0.1");
    let mut clients: Vec<_> = (0..4).map(|_| site.udp().0).collect();
    let setting_up = allocator::of_threads("turn-");
    assert!(setting_up > 10, "allocations are counted: {setting_up}");
    for client in &mut clients {
        assert_eq!(client.permit(echo.address.ip()).error(), None);
    }
    // Several clients at once, so that packets of different sockets alternate.
    let relayed = RefCell::new(&mut clients);
    let indications = allocations(|| {
        relay(
            |n| relayed.borrow_mut()[n % 4].send(echo.address, &PAYLOAD),
            |n| assert_eq!(relayed.borrow_mut()[n % 4].hears().payload(), PAYLOAD),
        );
    });
    assert_eq!(indications, 0, "Send and Data indications");
    for client in relayed.borrow_mut().iter_mut() {
        assert_eq!(client.bind(0x4000, echo.address).error(), None);
    }
    let channel = allocations(|| {
        relay(
            |n| relayed.borrow_mut()[n % 4].say(0x4000, &PAYLOAD),
            |n| assert_eq!(relayed.borrow_mut()[n % 4].hears().payload(), PAYLOAD),
        );
    });
    assert_eq!(channel, 0, "ChannelData, both ways");
}

#[test]
fn a_payload_from_relay_to_relay_takes_nothing_from_the_heap() {
    let site = Site::start(1);
    let ((mut one, at_one), (mut other, at_other)) = (site.udp(), site.udp());
    assert_eq!(one.bind(0x4000, at_other).error(), None);
    assert_eq!(other.bind(0x4000, at_one).error(), None);
    let inside = allocations(|| {
        relay(
            |_| one.say(0x4000, &PAYLOAD),
            |_| assert_eq!(other.hears().payload(), PAYLOAD),
        );
    });
    assert_eq!(inside, 0);
}

#[test]
fn a_payload_that_crosses_workers_takes_nothing_from_the_heap() {
    let site = Site::start(2);
    // Streams are handed out in turn, so these two belong to different workers.
    let ((mut one, at_one), (mut other, at_other)) = (site.tcp(), site.tcp());
    assert_eq!(one.bind(0x4000, at_other).error(), None);
    assert_eq!(other.bind(0x4000, at_one).error(), None);
    let across = allocations(|| {
        relay(
            |_| one.say(0x4000, &PAYLOAD),
            |_| assert_eq!(other.hears().payload(), PAYLOAD),
        );
        relay(
            |_| other.say(0x4000, &PAYLOAD),
            |_| assert_eq!(one.hears().payload(), PAYLOAD),
        );
    });
    assert_eq!(across, 0);
    until("each worker has shown its one allocation", || {
        let counts = site.workers.as_ref().unwrap().stats();
        counts.iter().all(|stats| stats.allocations_made == 1)
    });
}

#[test]
fn a_message_over_tcp_takes_nothing_from_the_heap_even_when_it_comes_in_pieces() {
    let site = Site::start(1);
    let echo = Echo::start("127.0.0.1");
    let (mut client, _) = site.tcp();
    assert_eq!(client.bind(0x4000, echo.address).error(), None);
    let client = RefCell::new(client);
    let whole = allocations(|| {
        relay(
            |_| client.borrow_mut().say(0x4000, &PAYLOAD),
            |_| assert_eq!(client.borrow_mut().hears().payload(), PAYLOAD),
        );
    });
    assert_eq!(whole, 0, "whole messages");
    // More than a small buffer holds at once, on the way back.
    let large = [9; 1200];
    let many = allocations(|| {
        relay(
            |_| client.borrow_mut().say(0x4000, &large),
            |_| assert_eq!(client.borrow_mut().hears().payload(), large),
        );
    });
    assert_eq!(many, 0, "large messages");
    let mut frame = vec![0x40, 0, 0, 200];
    frame.extend_from_slice(&PAYLOAD);
    let pieces = allocations(|| {
        for _ in 0..MESSAGES / 4 {
            // The first piece has been read by the time the answer to what follows it comes.
            client.borrow_mut().say(0x4000, b"before");
            client.borrow_mut().transmit(&frame[..99]);
            assert_eq!(client.borrow_mut().hears().payload(), b"before");
            client.borrow_mut().transmit(&frame[99..]);
            assert_eq!(client.borrow_mut().hears().payload(), PAYLOAD);
        }
    });
    assert_eq!(pieces, 0, "messages in pieces");
}

#[test]
fn a_message_over_tls_allocates_what_rustls_does_for_its_records() {
    let site = Site::start(1);
    let echo = Echo::start("127.0.0.1");
    let (mut client, _) = site.tls();
    assert_eq!(client.bind(0x4000, echo.address).error(), None);
    let there_and_back = allocations(|| {
        // One at a time: each is a record of its own, both ways.
        for _ in 0..MESSAGES / 4 {
            client.say(0x4000, &PAYLOAD);
            assert_eq!(client.hears().payload(), PAYLOAD);
        }
    });
    let each = there_and_back as f64 / (MESSAGES / 4) as f64;
    assert!((0.1..=TLS_ALLOCATIONS).contains(&each), "{each:.2}");
}

/// rustls 0.23 needs one for the record it opens and one for the record it seals.
const TLS_ALLOCATIONS: f64 = 2.1;
