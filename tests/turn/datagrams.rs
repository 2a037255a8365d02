//! Datagrams on their way: sizes, trains, addresses, workers, and sends that fail.

use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::os::fd::AsFd as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;

use callbox::net::sys::{SendScratch, SocketFamily};
use callbox::turn::channel::{self, ChannelNumber};

use super::client::{Client, Heard, Wire};
use super::harness::{Callbox, Setup, free_port};
use super::identity::Identity;

/// Sends back whatever it gets, until dropped.
pub(crate) struct Echo {
    pub(crate) address: SocketAddr,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Echo {
    pub(crate) fn start(ip: &str) -> Self {
        let socket = UdpSocket::bind((ip.parse::<IpAddr>().unwrap(), 0)).unwrap();
        let address = socket.local_addr().unwrap();
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = stop.clone();
        let thread = std::thread::spawn(move || {
            let mut bytes = vec![0; 70_000];
            loop {
                let Ok((len, from)) = socket.recv_from(&mut bytes) else {
                    continue;
                };
                if stopped.load(Ordering::Acquire) {
                    return;
                }
                let _ = socket.send_to(&bytes[..len], from);
            }
        });
        Self {
            address,
            stop,
            thread: Some(thread),
        }
    }
}

impl Drop for Echo {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Release);
        let socket = UdpSocket::bind((self.address.ip(), 0)).unwrap();
        let _ = socket.send_to(b"stop", self.address);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// A payload that differs from its neighbours in every part.
pub(crate) fn payload(len: usize, seed: usize) -> Vec<u8> {
    (0..len).map(|n| (n * 7 + n / 251 + seed) as u8).collect()
}

fn echoes(callbox: &Callbox, ip: &str) {
    let echo = Echo::start(ip);
    let (mut client, _) = Client::udp(callbox.address).allocated();
    assert_eq!(client.permit(echo.address.ip()).error(), None);
    // 65,507 bytes are the longest datagram over IPv4; the header of ChannelData is 4 of them,
    // that of a Send indication 36 or more.
    for len in [0, 1, 3, 1200, 1472, 1473, 9000, 60_000, 65_468] {
        client.send(echo.address, &payload(len, 1));
        assert_eq!(
            client.hears(),
            Heard::Data(echo.address, payload(len, 1)),
            "{len} bytes"
        );
    }
    assert_eq!(client.bind(0x4000, echo.address).error(), None);
    for len in [0, 1, 3, 1200, 1472, 1473, 9000, 60_000, 65_503] {
        client.say(0x4000, &payload(len, 2));
        assert_eq!(
            client.hears(),
            Heard::Channel(0x4000, payload(len, 2)),
            "{len} bytes"
        );
    }
}

#[test]
fn datagrams_of_every_length_arrive_whole_both_ways() {
    echoes(&Setup::default().start(), "127.0.0.1");
}

#[test]
fn trains_arrive_uncut_and_in_order() {
    const CARS: usize = 8;
    let callbox = Setup::default().start();
    let echo = Echo::start("127.0.0.1");
    let (mut client, _) = Client::udp(callbox.address).allocated();
    assert_eq!(client.bind(0x4000, echo.address).error(), None);
    let Wire::Udp(socket) = &client.wire else {
        unreachable!()
    };
    let socket = socket.try_clone().unwrap();
    let number = ChannelNumber::new(0x4000).unwrap();
    for (train, len) in [1100, 200, 1, 1228, 1100, 63].into_iter().enumerate() {
        // Equal packets, the last one shorter: what the kernel joins on the way in and cuts on
        // the way out.
        let cars: Vec<_> = (0..CARS)
            .map(|car| payload(len - usize::from(car == CARS - 1), train * CARS + car))
            .collect();
        let framed: Vec<Vec<u8>> = cars
            .iter()
            .map(|car| [&channel::header(number, car.len() as u16), car.as_slice()].concat())
            .collect();
        let joined = framed.concat();
        let mut scratch = SendScratch::default();
        let mut batch = scratch.batch(SocketFamily::V4);
        if train % 2 == 0 {
            batch.message(callbox.address, None, Some(len as u16 + 4));
            batch.part(&joined);
        } else {
            for car in &framed {
                batch.message(callbox.address, None, None);
                batch.part(car);
            }
        }
        batch.send(socket.as_fd(), |_, error| panic!("{error}"));
        for (n, car) in cars.into_iter().enumerate() {
            let heard = client.hears();
            assert_eq!(
                heard,
                Heard::Channel(0x4000, car),
                "car {n} of train {train}"
            );
        }
    }
}

#[test]
fn a_wildcard_listener_answers_from_the_address_that_was_asked() {
    for listen in ["0.0.0.0", "[::]"] {
        let setup = Setup {
            listen: vec![listen],
            ..Setup::default()
        };
        let callbox = setup.start();
        let echo = Echo::start("127.0.0.1");
        for ip in ["127.0.0.2", "127.0.0.3"] {
            let server = SocketAddr::new(ip.parse().unwrap(), callbox.address.port());
            // A connected socket hears nobody but the address it has asked.
            let local = "127.0.0.1".parse().unwrap();
            let (mut client, _) = Client::udp_from(local, server).allocated();
            assert_eq!(client.bind(0x4000, echo.address).error(), None);
            client.say(0x4000, b"from there");
            assert_eq!(client.hears().payload(), b"from there");
        }
    }
}

#[test]
fn sends_that_fail_never_end_an_allocation() {
    let setup = Setup {
        allow_peers: vec!["127.0.0.0/8", "240.0.0.0/4"],
        ..Setup::default()
    };
    let callbox = setup.start();
    let echo = Echo::start("127.0.0.1");
    let (mut client, _) = Client::udp(callbox.address).allocated();
    let closed = SocketAddr::new("127.0.0.1".parse().unwrap(), free_port());
    // No route, or not from here, or nobody there: whatever the kernel says.
    let peers = [closed, "240.0.0.1:9".parse().unwrap()];
    for peer in peers {
        assert_eq!(client.permit(peer.ip()).error(), None, "{peer}");
    }
    for _ in 0..20 {
        for peer in peers {
            client.send(peer, b"into the void");
        }
        client.send(echo.address, b"still here");
        loop {
            match client.hears() {
                Heard::Error(..) => {}
                heard => break assert_eq!(heard.payload(), b"still here"),
            }
        }
    }
    assert_eq!(client.refresh(600).error(), None);
}

#[test]
fn allocations_of_different_workers_reach_each_other_inside_the_process() {
    // Nothing is allowed on loopback: through sockets nothing would get from one to another.
    let setup = Setup {
        allow_peers: Vec::new(),
        ..Setup::default()
    };
    let callbox = setup.turn("workers = 2\nuser_quota = 0").start();
    // The kernel chooses the worker by the client's port. That twelve clients all get the same
    // one happens once in two thousand runs.
    let mut clients: Vec<_> = (0..12)
        .map(|_| Client::udp(callbox.address).allocated())
        .collect();
    let relayed: Vec<_> = clients.iter().map(|(_, relayed)| *relayed).collect();
    for (client, own) in &mut clients {
        assert_eq!(client.permit(own.ip()).error(), None);
    }
    for (from, source) in relayed.iter().enumerate() {
        for (to, target) in relayed.iter().enumerate() {
            if from == to {
                continue;
            }
            let text = format!("from {from} to {to}").into_bytes();
            clients[from].0.send(*target, &text);
            assert_eq!(clients[to].0.hears(), Heard::Data(*source, text));
        }
    }
}

#[test]
fn a_nonce_survives_a_restart() {
    let setup = Setup::default();
    let callbox = setup.start();
    let (client, _) = Client::udp(callbox.address).allocated();
    let nonce = client.nonce();
    let callbox = Callbox::start(&setup, callbox.stop());
    let mut client = Client::udp(callbox.address);
    client.set_challenge(b"callbox", &nonce);
    let allocate = |writer: &mut callbox::turn::stun::Writer<'_>| {
        let kind = callbox::turn::stun::AttributeType::REQUESTED_TRANSPORT;
        writer.u32(kind, 17 << 24);
    };
    let method = callbox::turn::stun::Method::ALLOCATE;
    assert_eq!(client.request_once(method, allocate).error(), None);
    // The same nonce in the name of another address is refused.
    let elsewhere = "127.0.0.2".parse().unwrap();
    let mut stranger = Client::udp_from(elsewhere, callbox.address);
    stranger.set_challenge(b"callbox", &nonce);
    assert_eq!(stranger.request_once(method, allocate).error(), Some(438));
}

#[test]
fn the_udp_side_of_the_https_port_is_turn_where_it_is_asked_for() {
    let identity = Arc::new(Identity::new());
    let setup = Setup {
        beside_https: true,
        identity: Some(identity.clone()),
        ..Setup::default()
    };
    let callbox = setup.start();
    let echo = Echo::start("127.0.0.1");
    // TCP there is the front door's as ever, which takes TURN too.
    let clients = [
        Client::udp(callbox.https),
        Client::tcp(callbox.https),
        Client::udp(callbox.address),
        Client::tcp(callbox.address),
    ];
    for client in clients {
        let (mut client, _) = client.allocated();
        assert_eq!(client.bind(0x4000, echo.address).error(), None);
        client.say(0x4000, b"by any door");
        assert_eq!(
            client.hears(),
            Heard::Channel(0x4000, b"by any door".to_vec())
        );
    }
    // The first of each is offered.
    let offered = ice(Client::tls(callbox.https, identity.trust()));
    let port = callbox.address.port();
    for url in [
        "stun:localhost:P",
        "turn:localhost:P?transport=udp",
        "turn:localhost:P?transport=tcp",
    ] {
        let url = url.replace('P', &port.to_string());
        assert!(offered.contains(&format!("\"{url}\"")), "{url}: {offered}");
    }
    let only_there = Setup {
        listen: Vec::new(),
        ..setup
    };
    let callbox = only_there.start();
    let offered = ice(Client::tls(callbox.https, identity.trust()));
    let port = callbox.https.port();
    for url in [
        "turn:localhost:P?transport=udp",
        "turn:localhost:P?transport=tcp",
    ] {
        let url = url.replace('P', &port.to_string());
        assert!(offered.contains(&format!("\"{url}\"")), "{url}: {offered}");
    }
}

/// What the front door offers.
fn ice(mut browser: Client) -> String {
    browser.transmit(b"GET /ice HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n");
    String::from_utf8_lossy(&browser.takes(100_000)).into_owned()
}
