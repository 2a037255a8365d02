//! What a client hears of peers that are not there.

use std::net::{IpAddr, SocketAddr, UdpSocket};

use callbox::turn::stun::{AttributeType, Method};

use super::client::{Client, Heard};
use super::datagrams::Echo;
use super::harness::{Callbox, Setup};

/// Type and code of "port unreachable".
const CLOSED_V4: [u8; 8] = [0, 0, 3, 3, 0, 0, 0, 0];
const CLOSED_V6: [u8; 8] = [0, 0, 1, 4, 0, 0, 0, 0];

/// A port where nobody listens.
fn closed(ip: &str) -> SocketAddr {
    let socket = UdpSocket::bind((ip.parse::<IpAddr>().unwrap(), 0)).unwrap();
    socket.local_addr().unwrap()
}

fn both() -> Callbox {
    let setup = Setup {
        external_ip: vec!["127.0.0.1", "::1"],
        ..Setup::default()
    };
    setup.start()
}

#[test]
fn a_closed_port_is_reported_with_type_and_code() {
    let callbox = both();
    for (mut client, name) in [
        (Client::udp(callbox.address), "udp"),
        (Client::tcp(callbox.address), "tcp"),
    ] {
        let answer = client.request(Method::ALLOCATE, |writer| {
            writer.u32(AttributeType::REQUESTED_TRANSPORT, 17 << 24);
            writer.u32(AttributeType::ADDITIONAL_ADDRESS_FAMILY, 2 << 24);
        });
        assert_eq!(answer.error(), None);
        for (peer, value) in [(closed("127.0.0.1"), CLOSED_V4), (closed("::1"), CLOSED_V6)] {
            assert_eq!(client.permit(peer.ip()).error(), None);
            client.send(peer, b"is anybody there?");
            assert_eq!(client.hears(), Heard::Error(peer, value.to_vec()), "{name}");
        }
        // A channel says no peer, so the error is an indication here too.
        let peer = closed("127.0.0.2");
        assert_eq!(client.bind(0x4000, peer).error(), None);
        client.say(0x4000, b"nor here?");
        assert_eq!(client.hears(), Heard::Error(peer, CLOSED_V4.to_vec()));
    }
}

#[test]
fn errors_about_one_peer_lose_no_packet_to_another() {
    const ROUNDS: usize = 200;
    let callbox = Setup::default().start();
    let (mut client, _) = Client::udp(callbox.address).allocated();
    let (echo, closed) = (Echo::start("127.0.0.1"), closed("127.0.0.1"));
    assert_eq!(client.bind(0x4000, echo.address).error(), None);
    assert_eq!(client.bind(0x4001, closed).error(), None);
    let mut errors = 0;
    for round in 0..ROUNDS {
        // Together, so that they leave in one batch, the error of one waiting for the next.
        for number in [0x4001, 0x4001, 0x4000, 0x4001] {
            client.say(number, &round.to_be_bytes());
        }
        loop {
            match client.hears() {
                Heard::Error(peer, value) => {
                    assert_eq!((peer, &value[..]), (closed, &CLOSED_V4[..]));
                    errors += 1;
                }
                heard => {
                    assert_eq!(heard.payload(), round.to_be_bytes());
                    break;
                }
            }
        }
    }
    assert!(errors >= 1, "some are reported");
}
