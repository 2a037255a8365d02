//! The peer policy as clients and peers meet it: every address through every door.

use std::net::{IpAddr, SocketAddr};

use super::{addr, received};
use crate::fuzzing::client::{Answer, Client};
use crate::fuzzing::world::{Outcome, Plan, World, policy};
use crate::turn::core::{Policy, Verdict};
use crate::turn::stun::{AttributeType, Method};

/// What becomes of a peer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fate {
    /// Open in both directions.
    Open,
    /// An address of ours: relays that live there are reached, other programs are not.
    Internal,
    /// Forbidden everywhere.
    Shut,
    /// The address may be permitted, since relays of ours live there; this port never.
    Listener,
}

use Fate::{Internal, Listener, Open, Shut};

const MATRIX: &[(&str, Fate)] = &[
    // Ordinary addresses, next to special ranges too.
    ("8.8.8.8:53", Open),
    ("1.1.1.1:1", Open),
    ("9.255.255.255:5000", Open),
    ("11.0.0.0:5000", Open),
    ("100.63.255.255:5000", Open),
    ("100.128.0.0:5000", Open),
    ("172.15.255.255:5000", Open),
    ("172.32.0.0:5000", Open),
    ("192.167.255.255:5000", Open),
    ("223.255.255.255:5000", Open),
    ("[2001:4860:4860::8888]:53", Open),
    ("[2606:4700::1111]:65535", Open),
    ("[::ffff:8.8.8.8]:53", Open),
    ("9.9.9.9:8080", Internal),
    // This host, this network.
    ("0.0.0.0:5000", Shut),
    ("0.1.2.3:5000", Shut),
    ("[::]:5000", Shut),
    ("127.0.0.1:5000", Shut),
    ("127.255.255.254:5000", Shut),
    ("[::1]:5000", Shut),
    // Private.
    ("10.0.0.1:5000", Shut),
    ("100.64.0.1:5000", Shut),
    ("172.16.0.1:5000", Shut),
    ("172.31.255.255:5000", Shut),
    ("192.168.0.1:5000", Shut),
    ("[fc00::1]:5000", Shut),
    ("[fd12:3456::1]:5000", Shut),
    ("[fec0::1]:5000", Shut),
    // Link-local and cloud metadata.
    ("169.254.1.1:5000", Shut),
    ("169.254.169.254:80", Shut),
    ("169.254.170.2:80", Shut),
    ("100.100.100.200:80", Shut),
    ("168.63.129.16:80", Shut),
    ("[fe80::1]:5000", Shut),
    ("[febf::1]:5000", Shut),
    ("[fd00:ec2::254]:80", Shut),
    // Protocol assignments, documentation, benchmarks, retired.
    ("192.0.0.8:5000", Shut),
    ("192.0.2.1:5000", Shut),
    ("192.31.196.1:5000", Shut),
    ("192.52.193.1:5000", Shut),
    ("192.88.99.1:5000", Shut),
    ("192.175.48.1:5000", Shut),
    ("198.18.0.1:5000", Shut),
    ("198.19.255.255:5000", Shut),
    ("198.51.100.1:5000", Shut),
    ("203.0.113.1:5000", Shut),
    ("[100::1]:5000", Shut),
    ("[2001:db8::1]:5000", Shut),
    ("[2001:2::1]:5000", Shut),
    ("[2001:10::1]:5000", Shut),
    ("[2001:20::1]:5000", Shut),
    ("[2620:4f:8000::1]:5000", Shut),
    ("[3fff::1]:5000", Shut),
    ("[5f00::1]:5000", Shut),
    // Multicast, reserved, broadcast.
    ("224.0.0.1:5000", Shut),
    ("239.255.255.250:1900", Shut),
    ("240.0.0.1:5000", Shut),
    ("255.255.255.255:5000", Shut),
    ("[ff02::1]:5000", Shut),
    ("[ff0e::1]:5000", Shut),
    // IPv4 in disguise: mapped, compatible, translated, 6to4, NAT64, Teredo.
    ("[::ffff:127.0.0.1]:5000", Shut),
    ("[::ffff:10.0.0.1]:5000", Shut),
    ("[::ffff:169.254.169.254]:80", Shut),
    ("[::127.0.0.1]:5000", Shut),
    ("[::10.0.0.1]:5000", Shut),
    ("[::8.8.8.8]:5000", Shut),
    ("[::ffff:0:127.0.0.1]:5000", Shut),
    ("[2002:7f00:1::1]:5000", Shut),
    ("[2002:a00:1::1]:5000", Shut),
    ("[2002:808:808::1]:5000", Shut),
    ("[64:ff9b::7f00:1]:5000", Shut),
    ("[64:ff9b::a00:1]:5000", Shut),
    ("[64:ff9b::a9fe:a9fe]:80", Shut),
    ("[64:ff9b::808:808]:5000", Open),
    ("[64:ff9b:1::808:808]:5000", Shut),
    ("[2001:0:808:808::f5ff:fffe]:5000", Shut),
    ("[2001:0:a00:1::f7f7:f7f7]:5000", Shut),
    // Where this process listens, by every name of the machine.
    ("9.9.9.9:3478", Listener),
    ("9.9.9.9:443", Listener),
    ("10.0.0.5:3478", Listener),
    ("[2620:fe::9]:443", Listener),
    ("[::ffff:9.9.9.9]:3478", Listener),
    // A NAT64 on the way would bring it back to us.
    ("[64:ff9b::909:909]:3478", Listener),
    ("127.0.0.1:3478", Shut),
    ("0.0.0.0:3478", Shut),
    ("[::]:443", Shut),
    ("[2002:909:909::1]:3478", Shut),
];

/// A client with relays of both families.
fn client() -> (World, Client, [SocketAddr; 2]) {
    let mut world = World::new(Plan::default());
    let mut client = Client::new(0, 1, "one");
    let relays = client.allocate_both(&mut world);
    (world, client, relays)
}

fn relay_for(relays: [SocketAddr; 2], peer: SocketAddr) -> SocketAddr {
    relays[usize::from(peer.ip().to_canonical().is_ipv6())]
}

#[test]
fn create_permission() {
    for (peer, fate) in MATRIX {
        let (mut world, mut client, _) = client();
        let expected = if *fate == Shut { 403 } else { 0 };
        assert_eq!(client.permit(&mut world, &[addr(peer)]), expected, "{peer}");
        let mixed = client.permit(&mut world, &[addr("8.8.4.4:1"), addr(peer)]);
        assert_eq!(mixed, expected, "{peer} in company");
    }
}

#[test]
fn channel_bind() {
    for (peer, fate) in MATRIX {
        let (mut world, mut client, _) = client();
        let expected = match fate {
            Open | Internal => 0,
            Shut | Listener => 403,
        };
        assert_eq!(
            client.bind(&mut world, 0x4000, addr(peer)),
            expected,
            "{peer}"
        );
        let out = client.send_over(&mut world, 0x4000, b"x");
        let flows = matches!(out, Outcome::ToPeer { .. });
        assert_eq!(flows, *fate == Open, "{peer}");
    }
}

#[test]
fn send() {
    for (peer, fate) in MATRIX {
        let (mut world, mut client, _) = client();
        client.permit(&mut world, &[addr(peer)]);
        let out = client.send_to(&mut world, addr(peer), b"x");
        let flows = matches!(out, Outcome::ToPeer { .. });
        assert_eq!(flows, *fate == Open, "{peer}: {out:?}");
    }
}

#[test]
fn inbound() {
    for (peer, fate) in MATRIX {
        let (mut world, mut client, relays) = client();
        client.permit(&mut world, &[addr(peer)]);
        let relay = relay_for(relays, addr(peer));
        let heard = received(world.peer(relay, addr(peer), b"x")).is_some();
        assert_eq!(heard, *fate == Open, "{peer}");
    }
}

#[test]
fn connect_and_be_connected_to() {
    for (peer, fate) in MATRIX {
        let mut world = World::new(Plan {
            tcp_relays: true,
            ..Plan::default()
        });
        let mut client = Client::new(0, 1, "one").over_stream(1);
        client.log_in(&mut world);
        let v6 = addr(peer).ip().to_canonical().is_ipv6();
        let answer = client.call(&mut world, Method::ALLOCATE, |writer| {
            crate::fuzzing::client::tcp(writer);
            if v6 {
                writer.attribute(AttributeType::REQUESTED_ADDRESS_FAMILY, &[2, 0, 0, 0]);
            }
        });
        let relay = answer.relayed()[0];
        client.permit(&mut world, &[addr(peer)]);
        let incoming = world.incoming(relay, addr(peer));
        let got_in = incoming.is_some();
        if let Some((id, _)) = incoming {
            world.disconnected(id);
        }
        let packet = client.signed(Method::CONNECT, |writer| {
            writer.xor_address(AttributeType::XOR_PEER_ADDRESS, addr(peer));
        });
        let outcome = client.send(&mut world, &packet);
        match fate {
            Open => {
                assert_eq!(outcome, Outcome::Nothing, "{peer}");
                assert_eq!(world.shared.connections.len(), 1, "{peer}");
                assert!(got_in, "{peer}");
            }
            Internal | Shut | Listener => {
                let Outcome::Answer(bytes) = outcome else {
                    panic!("{peer}: {outcome:?}");
                };
                assert_eq!(Answer(bytes).code(), 403, "{peer}");
                assert!(world.shared.connections.is_empty(), "{peer}");
                assert!(!got_in, "{peer}");
            }
        }
    }
}

#[test]
fn port_zero_is_nobody() {
    let (mut world, mut client, _) = client();
    let nobody = addr("8.8.8.8:0");
    assert_eq!(client.bind(&mut world, 0x4000, nobody), 403);
    assert_eq!(
        client.permit(&mut world, &[nobody]),
        0,
        "ports do not count"
    );
    assert_eq!(client.send_to(&mut world, nobody, b"x"), Outcome::Nothing);
}

#[test]
fn the_matrix_has_the_policys_word_for_it() {
    let policy = policy();
    for (peer, fate) in MATRIX {
        let verdict = policy.peer(addr(peer));
        assert_eq!(verdict == Verdict::Allowed, *fate == Open, "{peer}");
    }
}

#[test]
fn what_is_opened_by_name_is_open_and_its_disguises_are_not() {
    let network = |address: &str, prefix| crate::config::settings::Network {
        address: address.parse::<IpAddr>().unwrap(),
        prefix,
    };
    let plan = Plan {
        policy: Policy::new(
            vec![network("192.168.0.0", 16)],
            vec![network("192.168.66.0", 24), network("8.8.8.8", 32)],
            vec![],
            vec![],
        ),
        ..Plan::default()
    };
    let mut world = World::new(plan);
    let mut client = Client::new(0, 1, "one");
    client.allocate_both(&mut world);
    for (peer, code) in [
        ("192.168.1.1:1", 0),
        ("[::ffff:192.168.1.1]:1", 0),
        ("192.168.66.1:1", 403),
        ("[::ffff:192.168.66.1]:1", 403),
        ("[64:ff9b::c0a8:4201]:1", 403),
        ("8.8.8.8:1", 403),
        ("[64:ff9b::808:808]:1", 403),
        ("[2002:c0a8:101::1]:1", 403),
        ("[::192.168.1.1]:1", 403),
        ("10.0.0.1:1", 403),
    ] {
        assert_eq!(client.permit(&mut world, &[addr(peer)]), code, "{peer}");
    }
}
