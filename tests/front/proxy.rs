//! Behind a load balancer: who a connection is from is what the PROXY header says.

use std::net::SocketAddr;
use std::num::NonZeroUsize;
use std::time::Duration;

use callbox::config::settings::Network;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use crate::door::{BINDING, Door, PATIENCE, Setup, ask, count, tls_over, until, within};

const GET: &str = "GET / HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n";

/// A door that believes what loopback says.
fn balanced() -> Setup {
    let mut setup = Setup::default();
    setup.settings.front.proxy_protocol = vec![Network {
        address: [127, 0, 0, 0].into(),
        prefix: 8,
    }];
    setup
}

fn v1(source: &str) -> Vec<u8> {
    let source: SocketAddr = source.parse().unwrap();
    let (family, to) = match source.is_ipv4() {
        true => ("TCP4", "192.0.2.1"),
        false => ("TCP6", "2001:db8::1"),
    };
    let (ip, port) = (source.ip(), source.port());
    format!("PROXY {family} {ip} {to} {port} 443\r\n").into_bytes()
}

/// Version 2 with a value behind the addresses.
fn v2(source: &str) -> Vec<u8> {
    let SocketAddr::V4(source) = source.parse().unwrap() else {
        panic!("this helper knows IPv4 alone");
    };
    let mut header = b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x13".to_vec();
    header.extend(source.ip().octets());
    header.extend([192, 0, 2, 1]);
    header.extend(source.port().to_be_bytes());
    header.extend([1, 0xBB, 4, 0, 4, 1, 2, 3, 4]);
    header
}

const LOCAL: &[u8] = b"\r\n\r\n\0\r\nQUIT\n\x20\0\0\0";

async fn introduced(address: SocketAddr, header: &[u8]) -> TcpStream {
    let mut stream = TcpStream::connect(address).await.unwrap();
    stream.write_all(header).await.unwrap();
    stream
}

/// What comes before the end.
async fn rest(mut stream: TcpStream) -> Vec<u8> {
    let mut bytes = Vec::new();
    let _ = within(stream.read_to_end(&mut bytes)).await;
    bytes
}

#[tokio::test]
async fn a_balancers_header_stands_in_front_of_whatever_is_spoken() {
    let mut door = balanced().open().await;
    for header in [v1("203.0.113.9:4242"), v2("203.0.113.9:4242")] {
        // Plain HTTP on either port.
        for address in [door.https, door.http] {
            let stream = introduced(address, &header).await;
            assert_eq!(ask(stream, GET).await.status, 308);
        }
        // TLS, and HTTP inside.
        let stream = introduced(door.https, &header).await;
        let stream = tls_over(stream, door.trusting(&["http/1.1"])).await;
        assert_eq!(ask(stream.unwrap(), GET).await.status, 200);
        // TURN over TCP on either port, with the header and the first message in one segment.
        for address in [door.https, door.turn] {
            let stream = introduced(address, &[&header, BINDING].concat()).await;
            let handed = door.turn_client().await;
            assert_eq!(handed.peer, "203.0.113.9:4242".parse().unwrap());
            assert_eq!(handed.received, BINDING);
            drop(stream);
        }
        // TURN over TLS.
        let stream = introduced(door.turn, &header).await;
        let mut stream = tls_over(stream, door.trusting(&[])).await.unwrap();
        stream.write_all(BINDING).await.unwrap();
        let handed = door.turn_client().await;
        assert_eq!(handed.peer, "203.0.113.9:4242".parse().unwrap());
    }
    let stream = introduced(door.turn, &[&v1("[2001:db8::9]:7"), BINDING].concat()).await;
    let handed = door.turn_client().await;
    assert_eq!(handed.peer, "[2001:db8::9]:7".parse().unwrap());
    drop(stream);
}

#[tokio::test]
async fn a_header_may_come_in_any_portions() {
    let mut door = balanced().open().await;
    for header in [v1("203.0.113.9:4242"), v2("203.0.113.9:4242")] {
        let mut stream = TcpStream::connect(door.turn).await.unwrap();
        stream.set_nodelay(true).unwrap();
        for byte in [&header, BINDING].concat() {
            stream.write_all(&[byte]).await.unwrap();
            tokio::task::yield_now().await;
        }
        let handed = door.turn_client().await;
        assert_eq!(handed.peer, "203.0.113.9:4242".parse().unwrap());
    }
}

#[tokio::test]
async fn a_balancer_may_also_speak_for_itself() {
    let mut door = balanced().open().await;
    for header in [LOCAL, b"PROXY UNKNOWN\r\n"] {
        let stream = introduced(door.turn, &[header, BINDING].concat()).await;
        let handed = door.turn_client().await;
        assert_eq!(handed.peer, stream.local_addr().unwrap());
    }
}

#[tokio::test]
async fn a_balancer_that_says_nothing_or_nonsense_is_not_served() {
    let door = balanced().open().await;
    for bytes in [
        GET.as_bytes(),
        BINDING,
        b"\x16\x03\x01\x02\x00\x01",
        b"PROXY TCP4 203.0.113.9\r\n",
        b"\r\n\r\n\0\r\nQUIT\n\x21\x11\xff\xff",
    ] {
        let stream = introduced(door.https, bytes).await;
        assert_eq!(rest(stream).await, b"", "{bytes:?}");
    }
    until("counted", || count(&door.stats.unintroduced) == 5).await;
}

#[tokio::test]
async fn a_balancers_silence_has_the_deadline_of_a_handshake() {
    let mut setup = balanced();
    setup.settings.front.handshake_timeout = Duration::from_millis(200);
    let door = setup.open().await;
    for start in [&b""[..], b"PROXY TCP4 203.", &LOCAL[..13]] {
        let stream = introduced(door.http, start).await;
        assert_eq!(rest(stream).await, b"");
    }
    until("counted", || count(&door.stats.slow) == 3).await;
}

#[tokio::test]
async fn nobody_else_can_say_who_they_are() {
    let mut setup = balanced();
    setup.settings.front.proxy_protocol[0].address = [10, 0, 0, 0].into();
    let mut door = setup.open().await;
    for header in [v1("203.0.113.9:4242"), v2("203.0.113.9:4242")] {
        let stream = introduced(door.turn, &[&header, BINDING].concat()).await;
        assert_eq!(rest(stream).await, b"");
        let stream = introduced(door.https, &header).await;
        assert!(tls_over(stream, door.trusting(&[])).await.is_err());
    }
    assert_eq!(count(&door.stats.turn), 0);
    // Without a header they are served under their own address.
    let stream = introduced(door.turn, BINDING).await;
    let handed = door.turn_client().await;
    assert_eq!(handed.peer, stream.local_addr().unwrap());
}

#[tokio::test]
async fn shares_are_those_of_the_clients_and_not_of_their_balancer() {
    let mut setup = balanced();
    setup.settings.front.max_per_ip = NonZeroUsize::new(1).unwrap();
    let mut door = setup.open().await;
    let mut held = Vec::new();
    for client in ["203.0.113.1:1", "203.0.113.2:1", "203.0.113.3:1"] {
        let stream = introduced(door.turn, &[&v1(client), BINDING].concat()).await;
        held.push((stream, door.turn_client().await));
    }
    let second = introduced(door.turn, &[&v2("203.0.113.2:2"), BINDING].concat()).await;
    assert_eq!(rest(second).await, b"");
    until("counted", || count(&door.stats.shed_address) == 1).await;
    held.clear();
    let again = introduced(door.turn, &[&v2("203.0.113.2:2"), BINDING].concat()).await;
    assert_eq!(door.turn_client().await.peer.port(), 2);
    drop(again);
}

#[tokio::test]
async fn the_rate_of_ice_configurations_is_the_clients_as_well() {
    let door = balanced().open().await;
    let ask_ice = async |client: &str| {
        let stream = introduced(door.https, &v1(client)).await;
        let stream = tls_over(stream, door.trusting(&["http/1.1"])).await;
        let mut stream = stream.unwrap();
        let request = "GET /ice HTTP/1.1\r\nHost: localhost\r\n\r\n";
        let mut last = 0;
        for _ in 0..300 {
            last = crate::door::ask_on(&mut stream, request).await.status;
            if last == 429 {
                break;
            }
        }
        last
    };
    assert_eq!(within_long(ask_ice("203.0.113.9:1")).await, 429);
    let stream = introduced(door.https, &v1("198.51.100.9:1")).await;
    let stream = tls_over(stream, door.trusting(&["http/1.1"]))
        .await
        .unwrap();
    let request = "GET /ice HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n";
    assert_eq!(ask(stream, request).await.status, 200);
}

async fn within_long<F: Future>(work: F) -> F::Output {
    tokio::time::timeout(3 * PATIENCE, work)
        .await
        .expect("it takes too long")
}

#[tokio::test]
async fn without_the_setting_a_header_is_nobodys_language() {
    let door = Door::open().await;
    let stream = introduced(door.turn, &v1("203.0.113.9:4242")).await;
    assert_eq!(rest(stream).await, b"");
    let stream = introduced(door.https, &v2("203.0.113.9:4242")).await;
    assert_eq!(rest(stream).await, b"");
}
