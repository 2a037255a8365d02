//! ICMP errors on their way to the client (RFC 8656 section 11.5).

use super::{addr, allocated, seconds, stats};
use crate::fuzzing::client::Client;
use crate::fuzzing::world::{Outcome, World};
use crate::turn::core::IcmpError;
use crate::turn::stun::address::decode_xor;
use crate::turn::stun::{AttributeType, Class, Message, Method};

const PEER: &str = "8.8.8.8:5000";
const PEER_V6: &str = "[2001:4860:4860::8888]:5000";

fn error(peer: &str, kind: u8, code: u8) -> IcmpError {
    IcmpError {
        peer: addr(peer),
        kind,
        code,
        mtu: 1280,
    }
}

/// The value of ICMP that the client reads.
fn told(outcome: Option<Outcome>, peer: &str) -> Option<Vec<u8>> {
    let Some(Outcome::ToClient { bytes, .. }) = outcome else {
        return None;
    };
    let message = Message::parse(&bytes).unwrap();
    assert_eq!(message.class(), Class::Indication);
    assert_eq!(message.method(), Method::DATA);
    assert!(message.find(AttributeType::DATA).is_none());
    let value = message.value(AttributeType::XOR_PEER_ADDRESS).unwrap();
    assert_eq!(
        decode_xor(value, message.transaction_id()),
        Some(addr(peer))
    );
    Some(message.value(AttributeType::ICMP).unwrap().to_vec())
}

fn both() -> (World, Client, [std::net::SocketAddr; 2]) {
    let mut world = super::world();
    let mut client = Client::new(0, 1, "one");
    let relays = client.allocate_both(&mut world);
    let peers = [addr(PEER), addr(PEER_V6)];
    assert_eq!(client.permit(&mut world, &peers), 0);
    (world, client, relays)
}

#[test]
fn the_client_is_told_type_and_code_and_which_peer() {
    let (mut world, _, [v4, v6]) = both();
    let value = told(world.icmp(v4, &error(PEER, 3, 3)), PEER);
    assert_eq!(value, Some(vec![0, 0, 3, 3, 0, 0, 0, 0]));
    let value = told(world.icmp(v6, &error(PEER_V6, 1, 4)), PEER_V6);
    assert_eq!(value, Some(vec![0, 0, 1, 4, 0, 0, 0, 0]));
    assert_eq!(stats(&world, |s| s.icmp_errors), 2);
}

#[test]
fn only_what_was_too_big_comes_with_an_mtu() {
    let (mut world, _, [v4, v6]) = both();
    let value = told(world.icmp(v4, &error(PEER, 3, 4)), PEER);
    assert_eq!(value, Some(vec![0, 0, 3, 4, 0, 0, 5, 0]));
    let value = told(world.icmp(v6, &error(PEER_V6, 2, 0)), PEER_V6);
    assert_eq!(value, Some(vec![0, 0, 2, 0, 0, 0, 5, 0]));
}

#[test]
fn other_kinds_of_messages_are_not_passed_on() {
    let (mut world, _, [v4, v6]) = both();
    for kind in (0..=255).filter(|kind| ![3, 11].contains(kind)) {
        assert_eq!(told(world.icmp(v4, &error(PEER, kind, 0)), PEER), None);
    }
    for kind in (0..=255).filter(|kind| ![1, 2, 3].contains(kind)) {
        let outcome = world.icmp(v6, &error(PEER_V6, kind, 0));
        assert_eq!(told(outcome, PEER_V6), None);
    }
}

#[test]
fn errors_about_a_peer_without_permission_are_dropped() {
    let (mut world, mut client, relay) = allocated();
    assert_eq!(told(world.icmp(relay, &error(PEER, 3, 3)), PEER), None);
    client.permit(&mut world, &[addr(PEER)]);
    assert!(told(world.icmp(relay, &error(PEER, 3, 3)), PEER).is_some());
    world.pass(seconds(300));
    assert_eq!(told(world.icmp(relay, &error(PEER, 3, 3)), PEER), None);
    // At an address of ours a permission reaches relays only, and those send no ICMP.
    client.permit(&mut world, &[addr("9.9.9.9:1")]);
    let outcome = world.icmp(relay, &error("9.9.9.9:8080", 3, 3));
    assert_eq!(told(outcome, "9.9.9.9:8080"), None);
    // The wrong family for this socket.
    let outcome = world.icmp(relay, &error(PEER_V6, 1, 4));
    assert_eq!(told(outcome, PEER_V6), None);
}

#[test]
fn an_allocation_is_told_ten_at_once_and_then_ten_a_second() {
    let (mut world, mut client, relay) = allocated();
    client.permit(&mut world, &[addr(PEER)]);
    let heard = |world: &mut World| {
        (0..100)
            .filter(|_| told(world.icmp(relay, &error(PEER, 3, 3)), PEER).is_some())
            .count()
    };
    assert_eq!(heard(&mut world), 10);
    world.pass(std::time::Duration::from_millis(500));
    assert_eq!(heard(&mut world), 5);
    world.pass(seconds(60));
    assert_eq!(heard(&mut world), 10);
}

#[test]
fn an_allocation_that_is_over_hears_nothing() {
    let (mut world, mut client, relay) = allocated();
    client.permit(&mut world, &[addr(PEER)]);
    client.refresh(&mut world, 0);
    assert_eq!(world.icmp(relay, &error(PEER, 3, 3)), None);
}
