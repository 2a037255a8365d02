//! Clients over TCP: framing, readers that do not read, connections that break.

use std::io::{self, Read as _, Write as _};
use std::net::{Shutdown, TcpStream, UdpSocket};
use std::sync::Arc;
use std::time::Duration;

use callbox::net::clock;
use callbox::turn::stun::{AttributeType, Method, TransactionId};
use socket2::SockRef;

use super::client::{Client, Heard, Wire};
use super::datagrams::{Echo, payload};
use super::harness::{PATIENCE, Setup, until};
use super::identity::Identity;

#[test]
fn a_stream_may_come_byte_by_byte_on_either_port() {
    let callbox = Setup::default().start();
    let echo = Echo::start("127.0.0.1");
    for server in [callbox.address, callbox.https] {
        let mut client = Client::tcp(server);
        let id = TransactionId([4; 12]);
        let allocate = client.compose(Method::ALLOCATE, id, |writer| {
            writer.u32(AttributeType::REQUESTED_TRANSPORT, 17 << 24);
        });
        for byte in &allocate {
            client.transmit(&[*byte]);
        }
        let answer = client.receive(clock::now() + PATIENCE);
        assert!(answer.is_some(), "a challenge");
        let (mut client, _) = client.allocated();
        assert_eq!(client.bind(0x4000, echo.address).error(), None);
        // A frame of five bytes and three of padding, cut everywhere.
        for byte in [0x40, 0, 0, 5, 1, 2, 3, 4, 5, 0, 0, 0] {
            client.transmit(&[byte]);
        }
        assert_eq!(client.hears(), Heard::Channel(0x4000, vec![1, 2, 3, 4, 5]));
    }
}

#[test]
fn messages_of_every_length_pass_a_stream_whole() {
    let identity = Arc::new(Identity::new());
    let setup = Setup {
        identity: Some(identity.clone()),
        ..Setup::default()
    };
    let callbox = setup.start();
    let echo = Echo::start("127.0.0.1");
    for client in [
        Client::tcp(callbox.address),
        Client::tls(callbox.https, identity.trust()),
    ] {
        let (mut client, _) = client.allocated();
        assert_eq!(client.permit(echo.address.ip()).error(), None);
        for len in [0, 1, 2, 3, 4, 1500, 9000, 65_000] {
            client.send(echo.address, &payload(len, 1));
            assert_eq!(
                client.hears(),
                Heard::Data(echo.address, payload(len, 1)),
                "{len} bytes"
            );
        }
        assert_eq!(client.bind(0x4000, echo.address).error(), None);
        for len in [0, 1, 2, 3, 4, 1500, 9000, 65_507] {
            client.say(0x4000, &payload(len, 2));
            assert_eq!(
                client.hears(),
                Heard::Channel(0x4000, payload(len, 2)),
                "{len} bytes"
            );
        }
    }
}

#[test]
fn garbage_closes_its_own_stream_and_no_other() {
    let callbox = Setup::default().start();
    let echo = Echo::start("127.0.0.1");
    let (mut good, _) = Client::tcp(callbox.address).allocated();
    assert_eq!(good.bind(0x4000, echo.address).error(), None);
    let (mut bad, _) = Client::tcp(callbox.address).allocated();
    for garbage in [
        &[0xC0, 1, 2, 3, 4, 5, 6, 7][..],
        // STUN without the cookie.
        &[0, 1, 0, 0, 1, 2, 3, 4],
    ] {
        bad.transmit(garbage);
        assert!(bad.is_closed());
        bad = Client::tcp(callbox.address).allocated().0;
    }
    good.say(0x4000, b"undisturbed");
    assert_eq!(good.hears().payload(), b"undisturbed");
}

#[test]
fn a_stranger_cannot_leave_a_long_message_unfinished_with_us() {
    let callbox = Setup::default().start();
    let mut stream = TcpStream::connect(callbox.address).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    // The header of a Binding request that says 60,000 bytes will follow.
    let mut begun = vec![0, 1, 0xEA, 0x60, 0x21, 0x12, 0xA4, 0x42];
    begun.resize(8_000, 0);
    stream.write_all(&begun).unwrap();
    let ended = stream.read(&mut [0; 100]);
    let reset = |error: &io::Error| error.kind() == io::ErrorKind::ConnectionReset;
    assert!(
        matches!(&ended, Ok(0)) || ended.as_ref().is_err_and(reset),
        "{ended:?}"
    );
}

#[test]
fn a_reader_that_stops_costs_only_its_own_packets() {
    let callbox = Setup::default().start();
    let echo = Echo::start("127.0.0.1");
    let (mut other, _) = Client::tcp(callbox.address).allocated();
    assert_eq!(other.bind(0x4000, echo.address).error(), None);
    let (mut stuck, relayed) = Client::tcp(callbox.address).allocated();
    let source = UdpSocket::bind("127.0.0.1:0").unwrap();
    let from = source.local_addr().unwrap();
    assert_eq!(stuck.bind(0x4000, from).error(), None);
    let before = callbox.resident();
    // 40 MB: what sockets hold in the kernel is a small part of it.
    for n in 0..33_000_u32 {
        source.send_to(&[n as u8; 1200], relayed).unwrap();
        if n % 100 == 0 {
            // Also keeps the source from outrunning the server.
            other.say(0x4000, &n.to_be_bytes());
            assert_eq!(other.hears().payload(), n.to_be_bytes());
        }
    }
    let grown = callbox.resident().saturating_sub(before);
    assert!(grown < 4096, "{grown} KiB for a client that does not read");
    // It reads again, and in the end hears what is sent now.
    let mut old = 0_u32;
    until("the client catches up", || {
        source.send_to(b"now", relayed).unwrap();
        let soon = clock::now() + Duration::from_millis(100);
        while let Some(heard) = stuck.hears_until(soon) {
            let payload = heard.payload();
            if payload == b"now" {
                return true;
            }
            assert_eq!(payload.len(), 1200, "packets are dropped whole");
            old += 1;
        }
        false
    });
    assert!(old < 33_000, "nothing was dropped: nothing is proved");
}

#[test]
fn a_connection_that_ends_or_breaks_frees_its_allocation() {
    let callbox = Setup::default().turn("total_quota = 1").start();
    for abruptly in [false, true] {
        let mut client = Client::tcp(callbox.address);
        let mut answer = client.allocate();
        until("the one before is gone", || {
            if answer.error().is_some() {
                answer = client.allocate();
            }
            answer.error().is_none()
        });
        let relayed = answer.relayed();
        assert_eq!(
            Client::tcp(callbox.address).allocate().error(),
            Some(508),
            "the only one"
        );
        let Wire::Tcp { stream, .. } = &client.wire else {
            unreachable!()
        };
        if abruptly {
            let socket = SockRef::from(stream);
            socket.set_linger(Some(Duration::ZERO)).unwrap();
        } else {
            stream.shutdown(Shutdown::Write).unwrap();
        }
        drop(client);
        until("the relayed port is closed", || {
            UdpSocket::bind(relayed).is_ok()
        });
    }
}
