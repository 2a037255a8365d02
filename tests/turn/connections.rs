//! Relayed TCP connections (RFC 6062): bytes both ways, slow readers, and whom they may reach.

use std::io::{ErrorKind, Read as _, Write as _};
use std::net::{IpAddr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::time::Duration;

use callbox::net::clock;
use callbox::turn::stun::{AttributeType, Method};

use super::client::{Client, Heard};
use super::datagrams::payload;
use super::harness::{Callbox, LOCALHOST, PATIENCE, Setup, until};
use super::identity::Identity;

/// REQUESTED-TRANSPORT
const TCP: u32 = 6 << 24;

/// Where nobody may be reached, plain and in disguise.
const CLOSED: [&str; 12] = [
    "127.0.0.2",
    "0.0.0.0",
    "::ffff:127.0.0.2",
    "10.0.0.1",
    "169.254.169.254",
    "192.168.1.1",
    "224.0.0.1",
    "255.255.255.255",
    "198.51.100.1",
    "100.64.0.1",
    "172.16.0.1",
    "::ffff:10.0.0.1",
];

/// A server with relayed connections, and its certificate.
fn site(lines: &str) -> (Callbox, Arc<Identity>) {
    let identity = Arc::new(Identity::new());
    let setup = Setup {
        identity: Some(identity.clone()),
        ..Setup::default()
    };
    let callbox = setup.turn(&format!("tcp_relays = true\n{lines}")).start();
    (callbox, identity)
}

fn allocated(mut client: Client) -> (Client, SocketAddr) {
    let answer = client.request(Method::ALLOCATE, |writer| {
        writer.u32(AttributeType::REQUESTED_TRANSPORT, TCP);
    });
    assert_eq!(answer.error(), None);
    let relayed = answer.relayed();
    (client, relayed)
}

/// Asks for a connection: its name, or the error code.
fn connect(client: &mut Client, peer: SocketAddr) -> Result<u32, u16> {
    let answer = client.request(Method::CONNECT, |writer| {
        writer.xor_address(AttributeType::XOR_PEER_ADDRESS, peer);
    });
    match answer.error() {
        Some(code) => Err(code),
        None => {
            let id = answer.value(AttributeType::CONNECTION_ID).unwrap();
            Ok(u32::from_be_bytes(id.try_into().unwrap()))
        }
    }
}

/// Makes a new stream carry the connection.
fn bind(mut stream: Client, id: u32) -> Client {
    let answer = stream.request(Method::CONNECTION_BIND, |writer| {
        writer.u32(AttributeType::CONNECTION_ID, id);
    });
    assert_eq!(answer.error(), None);
    stream
}

/// A listening peer.
fn listen() -> (TcpListener, SocketAddr) {
    let listener = TcpListener::bind((LOCALHOST, 0)).unwrap();
    let address = listener.local_addr().unwrap();
    (listener, address)
}

/// A client's stream and the peer's, which are connected with each other.
fn joined(callbox: &Callbox) -> (Client, Client, TcpStream) {
    let (listener, address) = listen();
    let (mut control, relayed) = allocated(Client::tcp(callbox.address));
    let id = connect(&mut control, address).unwrap();
    let (peer, from) = listener.accept().unwrap();
    assert_eq!(from, relayed, "it comes from the relayed address");
    peer.set_read_timeout(Some(PATIENCE)).unwrap();
    peer.set_nodelay(true).unwrap();
    (control, bind(Client::tcp(callbox.address), id), peer)
}

fn read(peer: &mut TcpStream, len: usize) -> Vec<u8> {
    let mut bytes = vec![0; len];
    peer.read_exact(&mut bytes).unwrap();
    bytes
}

fn read_to_end(peer: &mut TcpStream) -> Vec<u8> {
    let mut bytes = Vec::new();
    peer.read_to_end(&mut bytes).unwrap();
    bytes
}

#[test]
fn connections_are_relayed_only_where_that_is_wanted() {
    let callbox = Setup::default().start();
    let mut client = Client::tcp(callbox.address);
    let answer = client.request(Method::ALLOCATE, |writer| {
        writer.u32(AttributeType::REQUESTED_TRANSPORT, TCP);
    });
    assert_eq!(answer.error(), Some(442));
}

#[test]
fn bytes_go_both_ways_over_tcp_and_tls_whatever_worker_the_streams_come_to() {
    let (callbox, identity) = site("workers = 3\nuser_quota = 0");
    let tcp = || Client::tcp(callbox.address);
    let tls = || Client::tls(callbox.https, identity.trust());
    for round in 0..8 {
        let (control, data) = match round % 4 {
            0 => (tcp(), tcp()),
            1 => (tcp(), tls()),
            2 => (tls(), tcp()),
            _ => (tls(), tls()),
        };
        let (listener, address) = listen();
        let (mut control, relayed) = allocated(control);
        let id = connect(&mut control, address).unwrap();
        let (mut peer, from) = listener.accept().unwrap();
        assert_eq!(from, relayed);
        peer.set_read_timeout(Some(PATIENCE)).unwrap();
        // What comes before the client has bound it is not lost.
        peer.write_all(b"early").unwrap();
        let mut data = bind(data, id);
        assert_eq!(data.takes(5), b"early");
        for part in 0..20 {
            let bytes = payload(20_000 + part, part);
            data.transmit(&bytes);
            assert_eq!(read(&mut peer, bytes.len()), bytes, "{round}, {part}");
            peer.write_all(&bytes).unwrap();
            assert_eq!(data.takes(bytes.len()), bytes, "{round}, {part}");
        }
        // The control connection is as good as before.
        assert_eq!(control.refresh(600).error(), None);
    }
}

#[test]
fn a_peer_with_permission_connects_and_others_are_closed() {
    let (callbox, _) = site("");
    let (mut control, relayed) = allocated(Client::tcp(callbox.address));
    let visit = |ip: &str| {
        let from = SocketAddr::new(ip.parse().unwrap(), 0);
        let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None);
        let socket = socket.unwrap();
        socket.bind(&from.into()).unwrap();
        socket.connect(&relayed.into()).unwrap();
        let stream = TcpStream::from(socket);
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream
    };
    let mut stranger = visit("127.0.0.2");
    assert!(matches!(stranger.read(&mut [0]), Ok(0) | Err(_)));
    let friend: IpAddr = "127.0.0.2".parse().unwrap();
    assert_eq!(control.permit(friend).error(), None);
    let mut stranger = visit("127.0.0.3");
    assert!(matches!(stranger.read(&mut [0]), Ok(0) | Err(_)));
    let mut peer = visit("127.0.0.2");
    let Heard::Attempt(from, id) = control.hears() else {
        panic!("the client hears of it");
    };
    assert_eq!(from, peer.local_addr().unwrap());
    let mut data = bind(Client::tcp(callbox.address), id);
    peer.write_all(b"hello").unwrap();
    assert_eq!(data.takes(5), b"hello");
    data.transmit(b"and to you");
    assert_eq!(read(&mut peer, 10), b"and to you");
    assert_eq!(control.overhears(), None, "of nobody else");
}

#[test]
fn peers_that_are_not_there_or_not_allowed_are_refused() {
    let (callbox, _) = site("");
    let (mut control, _) = allocated(Client::tcp(callbox.address));
    let (listener, closed) = listen();
    drop(listener);
    assert_eq!(connect(&mut control, closed), Err(447));
    let (_listener, open) = listen();
    assert!(connect(&mut control, open).is_ok());
    assert_eq!(connect(&mut control, open), Err(446));
    // Our own doors stay closed, however open loopback is.
    for own in [callbox.address, callbox.https] {
        assert_eq!(connect(&mut control, own), Err(403));
    }

    let strict = Setup {
        allow_peers: Vec::new(),
        ..Setup::default()
    };
    let callbox = strict.turn("tcp_relays = true").start();
    let (mut control, relayed) = allocated(Client::tcp(callbox.address));
    let witness = TcpListener::bind((IpAddr::from([0, 0, 0, 0]), 0)).unwrap();
    let port = witness.local_addr().unwrap().port();
    for ip in CLOSED {
        let peer = SocketAddr::new(ip.parse().unwrap(), port);
        assert_eq!(connect(&mut control, peer), Err(403), "{peer}");
    }
    let neighbour = SocketAddr::new(relayed.ip(), port);
    assert_eq!(connect(&mut control, neighbour), Err(403), "not a relay");
    witness.set_nonblocking(true).unwrap();
    assert_eq!(
        witness.accept().unwrap_err().kind(),
        ErrorKind::WouldBlock,
        "nobody came"
    );
    // Another relay of ours is reached even so.
    let (mut other, at_other) = allocated(Client::tcp(callbox.address));
    assert_eq!(other.permit(relayed.ip()).error(), None);
    let id = connect(&mut control, at_other).unwrap();
    let Heard::Attempt(from, theirs) = other.hears() else {
        panic!("the other hears of it");
    };
    assert_eq!(from, relayed);
    let mut one = bind(Client::tcp(callbox.address), id);
    let mut two = bind(Client::tcp(callbox.address), theirs);
    one.transmit(b"from relay to relay");
    assert_eq!(two.takes(19), b"from relay to relay");
}

#[test]
fn who_closes_is_heard_to_the_end_and_so_is_the_answer() {
    let (callbox, _) = site("");
    let (_control, mut data, mut peer) = joined(&callbox);
    let question = payload(300_000, 1);
    let answer = payload(400_000, 2);
    let writer = {
        let mut socket = data.socket().try_clone().unwrap();
        let question = question.clone();
        std::thread::spawn(move || {
            socket.write_all(&question).unwrap();
            socket.shutdown(Shutdown::Write).unwrap();
        })
    };
    assert_eq!(read_to_end(&mut peer), question);
    writer.join().unwrap();
    let expected = answer.clone();
    let replier = std::thread::spawn(move || {
        peer.write_all(&answer).unwrap();
    });
    assert_eq!(data.takes(expected.len()), expected);
    replier.join().unwrap();
    assert!(data.is_closed());

    // And the other way about.
    let (_control, mut data, mut peer) = joined(&callbox);
    peer.write_all(b"that is all").unwrap();
    peer.shutdown(Shutdown::Write).unwrap();
    assert_eq!(data.takes(100), b"that is all");
    data.transmit(b"good-bye");
    data.socket().shutdown(Shutdown::Write).unwrap();
    assert_eq!(read_to_end(&mut peer), b"good-bye");
}

#[test]
fn everything_ends_with_the_allocation() {
    let (callbox, _) = site("");
    let (mut control, mut data, mut peer) = joined(&callbox);
    assert_eq!(control.refresh(0).error(), None);
    assert!(data.is_closed());
    assert!(matches!(peer.read(&mut [0]), Ok(0) | Err(_)));

    let (control, mut data, mut peer) = joined(&callbox);
    drop(control);
    assert!(data.is_closed());
    assert!(matches!(peer.read(&mut [0]), Ok(0) | Err(_)));

    // A data connection that breaks takes its peer along, but not the allocation.
    let (mut control, data, mut peer) = joined(&callbox);
    socket2::SockRef::from(data.socket())
        .set_linger(Some(Duration::ZERO))
        .unwrap();
    drop(data);
    assert!(matches!(peer.read(&mut [0]), Ok(0) | Err(_)));
    assert_eq!(control.refresh(600).error(), None);
}

/// Writes until nothing more is taken for a while; how much was.
fn fill(socket: &TcpStream) -> usize {
    socket.set_nonblocking(true).unwrap();
    let (mut total, mut last) = (0, clock::now());
    while clock::now() - last < Duration::from_millis(500) {
        // The bytes that come next, so that their order can be checked.
        let bytes: Vec<u8> = (total..total + 65_536).map(|n| (n / 7) as u8).collect();
        match { socket }.write(&bytes) {
            Ok(n) => (total, last) = (total + n, clock::now()),
            Err(error) if error.kind() == ErrorKind::WouldBlock => {
                std::thread::sleep(Duration::from_millis(5));
            }
            Err(error) => panic!("{error}"),
        }
    }
    socket.set_nonblocking(false).unwrap();
    total
}

#[test]
fn a_side_that_does_not_read_slows_down_the_other_and_nobody_else() {
    /// What the kernel may keep for both sockets, and then some.
    const MOST: usize = 64 << 20;
    let (callbox, _) = site("user_quota = 0");
    let (_control, mut data, mut peer) = joined(&callbox);
    let before = callbox.resident();
    let sent = fill(data.socket());
    let sent_back = fill(&peer);
    assert!(sent < MOST && sent_back < MOST, "{sent}, {sent_back}");
    let grown = callbox.resident().saturating_sub(before);
    assert!(grown < 4096, "{grown} KiB for one connection");
    // Others go on meanwhile.
    let (_other_control, mut other, mut other_peer) = joined(&callbox);
    other.transmit(b"not stuck");
    assert_eq!(read(&mut other_peer, 9), b"not stuck");
    // Nothing was lost.
    let expected = |len: usize| (0..len).map(|n| (n / 7) as u8).collect::<Vec<u8>>();
    assert!(read(&mut peer, sent) == expected(sent));
    assert!(data.takes(sent_back) == expected(sent_back));
}

#[test]
fn the_bandwidth_limit_slows_a_connection_down_and_loses_nothing() {
    // A million bytes a second, and as many at once.
    let (callbox, _) = site("max_bps_per_allocation = 8000000");
    let (_control, data, mut peer) = joined(&callbox);
    let bytes = payload(3_000_000, 5);
    let began = clock::now();
    let mut socket = data.socket().try_clone().unwrap();
    let copy = bytes.clone();
    let writer = std::thread::spawn(move || socket.write_all(&copy).unwrap());
    assert!(read(&mut peer, bytes.len()) == bytes);
    let took = clock::now() - began;
    writer.join().unwrap();
    // Two seconds less what was on its way already.
    assert!(took > Duration::from_millis(1500), "{took:?}");
}

#[test]
fn connections_by_the_hundred_leave_nothing_behind() {
    let (callbox, _) = site("workers = 2\nuser_quota = 0");
    let (listener, address) = listen();
    let (mut control, _) = allocated(Client::tcp(callbox.address));
    let before = callbox.open_files();
    for round in 0..200 {
        let id = connect(&mut control, address).unwrap();
        let (mut peer, _) = listener.accept().unwrap();
        peer.set_read_timeout(Some(PATIENCE)).unwrap();
        match round % 5 {
            // Never bound, by one or the other's fault.
            0 => {
                socket2::SockRef::from(&peer)
                    .set_linger(Some(Duration::ZERO))
                    .unwrap();
                drop(peer);
            }
            // Reset: a port that has closed in an orderly way cannot be connected to again soon.
            _ => {
                let mut data = bind(Client::tcp(callbox.address), id);
                data.transmit(b"x");
                assert_eq!(read(&mut peer, 1), b"x");
                socket2::SockRef::from(&peer)
                    .set_linger(Some(Duration::ZERO))
                    .unwrap();
                drop(peer);
                assert!(data.is_closed());
            }
        }
        // The server has to notice before the same peer can be asked for again.
        until("the connection is gone", || callbox.open_files() <= before);
    }
}
