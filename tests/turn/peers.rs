//! Whom a client may reach, seen from the sockets that must not be reached.

use std::net::{IpAddr, SocketAddr, UdpSocket};

use callbox::turn::stun::{AttributeType, Method};

use super::client::Client;
use super::harness::{Callbox, SILENCE, Setup, free_port};

/// Addresses that end on this machine or its neighbours, plain and in disguise.
const CLOSED: [&str; 14] = [
    "127.0.0.2",
    "0.0.0.0",
    "::ffff:127.0.0.2",
    "10.0.0.1",
    "169.254.169.254",
    "192.168.1.1",
    "224.0.0.1",
    "255.255.255.255",
    "::",
    "::127.0.0.2",
    "64:ff9b::127.0.0.2",
    "2002:7f00:2::1",
    "fd00:ec2::254",
    "fe80::1",
];

fn strict() -> Setup {
    Setup {
        external_ip: vec!["127.0.0.1", "::1"],
        allow_peers: Vec::new(),
        ..Setup::default()
    }
}

/// Hears whatever reaches a port of this machine, by any address.
fn catch_all() -> (UdpSocket, u16) {
    let port = free_port();
    let socket = UdpSocket::bind(("::", port)).unwrap();
    socket.set_read_timeout(Some(SILENCE)).unwrap();
    (socket, port)
}

/// A client with an allocation of both families.
fn dual(callbox: &Callbox) -> (Client, SocketAddr) {
    let mut client = Client::udp(callbox.address);
    let answer = client.request(Method::ALLOCATE, |writer| {
        writer.u32(AttributeType::REQUESTED_TRANSPORT, 17 << 24);
        writer.u32(AttributeType::ADDITIONAL_ADDRESS_FAMILY, 2 << 24);
    });
    assert_eq!(answer.error(), None);
    assert_eq!(answer.value(AttributeType::ADDRESS_ERROR_CODE), None);
    let relayed = answer.relayed();
    (client, relayed)
}

#[test]
fn nobody_is_reached_at_an_address_that_is_closed() {
    let callbox = strict().start();
    let (mut client, _) = dual(&callbox);
    let (witness, port) = catch_all();
    for (at, text) in CLOSED.iter().enumerate() {
        let ip: IpAddr = text.parse().unwrap();
        let peer = SocketAddr::new(ip, port);
        assert_eq!(client.permit(ip).error(), Some(403), "{ip}");
        let number = 0x4000 + at as u16;
        assert_eq!(client.bind(number, peer).error(), Some(403), "{ip}");
        client.send(peer, b"by Send");
        client.say(number, b"by channel");
    }
    // An answer to a request that was sent last: everything before it has been dealt with.
    assert_eq!(client.refresh(600).error(), None);
    assert!(witness.recv_from(&mut [0; 64]).is_err());
}

#[test]
fn at_our_own_address_only_relayed_addresses_are_reached() {
    let callbox = strict().start();
    let (mut client, relayed) = Client::udp(callbox.address).allocated();
    let (mut other, at_other) = Client::udp(callbox.address).allocated();
    let (witness, port) = catch_all();
    // Asked for by the address alone, it may be about another relayed address: it is granted.
    assert_eq!(client.permit(relayed.ip()).error(), None);
    assert_eq!(other.permit(relayed.ip()).error(), None);
    client.send(SocketAddr::new(relayed.ip(), port), b"to a service");
    client.bind(0x4001, SocketAddr::new(relayed.ip(), port));
    client.say(0x4001, b"to a service");
    client.send(at_other, b"to the other");
    assert_eq!(other.hears().payload(), b"to the other");
    assert!(witness.recv_from(&mut [0; 64]).is_err());
    // Nor does anybody on this machine get in by the permission.
    let local = UdpSocket::bind("127.0.0.1:0").unwrap();
    local.send_to(b"from a service", relayed).unwrap();
    assert_eq!(client.overhears(), None);
}

#[test]
fn our_own_listeners_are_closed_even_where_loopback_is_open() {
    let callbox = Setup::default().start();
    let (mut client, _) = Client::udp(callbox.address).allocated();
    assert_eq!(client.permit(callbox.address.ip()).error(), None);
    for port in [callbox.address.port(), callbox.https.port()] {
        for ip in ["127.0.0.1", "127.0.0.9", "::ffff:127.0.0.1"] {
            let peer = SocketAddr::new(ip.parse().unwrap(), port);
            assert_eq!(client.bind(0x4000, peer).error(), Some(403), "{peer}");
        }
    }
    // Sent all the same, this would be answered.
    let id = callbox::turn::stun::TransactionId([1; 12]);
    let binding = Client::udp(callbox.address).compose(Method::BINDING, id, |_| {});
    client.send(callbox.address, &binding);
    assert_eq!(client.overhears(), None);
}

#[test]
fn only_who_has_a_permission_gets_in_from_outside() {
    let callbox = Setup::default().start();
    let (mut client, relayed) = Client::udp(callbox.address).allocated();
    assert_eq!(client.permit("127.0.0.2".parse().unwrap()).error(), None);
    for stranger in ["127.0.0.1", "127.0.0.3"] {
        let socket = UdpSocket::bind((stranger, 0)).unwrap();
        socket.send_to(b"stranger", relayed).unwrap();
    }
    let friend = UdpSocket::bind("127.0.0.2:0").unwrap();
    friend.send_to(b"friend", relayed).unwrap();
    assert_eq!(client.hears().payload(), b"friend");
    assert_eq!(client.overhears(), None);
}

#[test]
fn a_denied_network_is_closed_inside_an_allowed_one() {
    let callbox = Setup::default()
        .turn("deny_peers = [\"127.0.0.2/32\"]")
        .start();
    let (mut client, _) = Client::udp(callbox.address).allocated();
    assert_eq!(
        client.permit("127.0.0.2".parse().unwrap()).error(),
        Some(403)
    );
    assert_eq!(client.permit("127.0.0.3".parse().unwrap()).error(), None);
}
