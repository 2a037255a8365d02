//! ChannelBind and ChannelData (RFC 8656 section 12).

use super::{PEER, addr, allocated, received, seconds, went_to};
use crate::fuzzing::world::Outcome;
use crate::turn::core::allocation::MAX_CHANNELS;
use crate::turn::stun::{AttributeType, Method};

const OTHER: &str = "8.8.4.4:5000";

#[test]
fn a_channel_carries_both_ways() {
    let (mut world, mut client, relay) = allocated();
    assert_eq!(client.bind(&mut world, 0x4000, addr(PEER)), 0);
    let out = client.send_over(&mut world, 0x4000, b"out");
    assert_eq!(
        out,
        Outcome::ToPeer {
            relayed: relay,
            peer: addr(PEER),
            payload: b"out".to_vec(),
            dont_fragment: false,
        }
    );
    let (_, number, payload) = received(world.peer(relay, addr(PEER), b"in")).unwrap();
    assert_eq!((number, payload), (Some(0x4000), b"in".to_vec()));
}

#[test]
fn a_channel_lasts_ten_minutes_and_its_permission_five() {
    let (mut world, mut client, relay) = allocated();
    client.refresh(&mut world, 3600);
    assert_eq!(client.bind(&mut world, 0x4000, addr(PEER)), 0);
    world.pass(seconds(299));
    assert!(received(world.peer(relay, addr(PEER), b"x")).is_some());
    world.pass(seconds(1));
    assert_eq!(received(world.peer(relay, addr(PEER), b"x")), None);
    client.permit(&mut world, &[addr(PEER)]);
    world.pass(seconds(299));
    let (_, number, _) = received(world.peer(relay, addr(PEER), b"x")).unwrap();
    assert_eq!(number, Some(0x4000));
    assert!(went_to(
        &client.send_over(&mut world, 0x4000, b"x"),
        addr(PEER)
    ));
    world.pass(seconds(1));
    assert_eq!(client.send_over(&mut world, 0x4000, b"x"), Outcome::Nothing);
    client.permit(&mut world, &[addr(PEER)]);
    let (peer, number, _) = received(world.peer(relay, addr(PEER), b"x")).unwrap();
    assert_eq!(
        (peer, number),
        (addr(PEER), None),
        "a Data indication again"
    );
}

#[test]
fn binding_again_renews_channel_and_permission() {
    let (mut world, mut client, relay) = allocated();
    client.refresh(&mut world, 3600);
    for _ in 0..4 {
        assert_eq!(client.bind(&mut world, 0x4000, addr(PEER)), 0);
        world.pass(seconds(290));
        assert!(received(world.peer(relay, addr(PEER), b"x")).is_some());
    }
}

#[test]
fn a_number_has_one_peer_and_a_peer_one_number() {
    let (mut world, mut client, relay) = allocated();
    assert_eq!(client.bind(&mut world, 0x4000, addr(PEER)), 0);
    assert_eq!(client.bind(&mut world, 0x4000, addr(OTHER)), 400);
    assert_eq!(client.bind(&mut world, 0x4001, addr(PEER)), 400);
    assert_eq!(
        received(world.peer(relay, addr(OTHER), b"x")),
        None,
        "what is refused permits nothing"
    );
    // Another port is another peer.
    assert_eq!(client.bind(&mut world, 0x4001, addr("8.8.8.8:5001")), 0);
    assert_eq!(client.bind(&mut world, 0x4002, addr(OTHER)), 0);
}

#[test]
fn a_number_is_free_once_its_binding_is_over() {
    let (mut world, mut client, _) = allocated();
    client.refresh(&mut world, 3600);
    assert_eq!(client.bind(&mut world, 0x4000, addr(PEER)), 0);
    world.pass(seconds(600));
    assert_eq!(client.bind(&mut world, 0x4000, addr(OTHER)), 0);
    assert_eq!(client.bind(&mut world, 0x4001, addr(PEER)), 0);
}

#[test]
fn numbers_out_of_range_are_400() {
    let (mut world, mut client, _) = allocated();
    for number in [0, 1, 0x3FFF, 0x8000, 0xFFFF] {
        assert_eq!(
            client.bind(&mut world, number, addr(PEER)),
            400,
            "{number:#x}"
        );
    }
    for (number, peer) in [
        (0x4000, "8.8.8.8:1"),
        (0x4FFF, "8.8.8.8:2"),
        (0x7FFF, "8.8.8.8:3"),
    ] {
        assert_eq!(
            client.bind(&mut world, number, addr(peer)),
            0,
            "{number:#x}"
        );
    }
}

#[test]
fn a_request_without_number_or_peer_is_400() {
    let (mut world, mut client, _) = allocated();
    let answer = client.call(&mut world, Method::CHANNEL_BIND, |writer| {
        writer.xor_address(AttributeType::XOR_PEER_ADDRESS, addr(PEER));
    });
    assert_eq!(answer.code(), 400);
    let answer = client.call(&mut world, Method::CHANNEL_BIND, |writer| {
        writer.u32(AttributeType::CHANNEL_NUMBER, 0x4000_0000);
    });
    assert_eq!(answer.code(), 400);
    let answer = client.call(&mut world, Method::CHANNEL_BIND, |writer| {
        writer.attribute(AttributeType::CHANNEL_NUMBER, &[0x40, 0]);
        writer.xor_address(AttributeType::XOR_PEER_ADDRESS, addr(PEER));
    });
    assert_eq!(answer.code(), 400);
}

#[test]
fn channels_are_limited() {
    let (mut world, mut client, _) = allocated();
    for n in 0..=MAX_CHANNELS as u16 {
        let peer = addr(&format!("8.8.8.8:{}", 6000 + n));
        let expected = if usize::from(n) < MAX_CHANNELS {
            0
        } else {
            508
        };
        assert_eq!(client.bind(&mut world, 0x4000 + n, peer), expected, "{n}");
    }
}

#[test]
fn channel_data_without_a_channel_goes_nowhere() {
    let (mut world, mut client, _) = allocated();
    client.bind(&mut world, 0x4000, addr(PEER));
    assert_eq!(client.send_over(&mut world, 0x4001, b"x"), Outcome::Nothing);
    assert_eq!(client.send_over(&mut world, 0x3FFF, b"x"), Outcome::Nothing);
}

#[test]
fn channel_data_that_claims_more_than_came_goes_nowhere() {
    let (mut world, mut client, _) = allocated();
    client.bind(&mut world, 0x4000, addr(PEER));
    let outcome = client.send(&mut world, &[0x40, 0, 0, 5, 1, 2, 3, 4]);
    assert_eq!(outcome, Outcome::Nothing);
    assert_eq!(client.send(&mut world, &[0x40, 0, 0]), Outcome::Nothing);
}

#[test]
fn empty_channel_data_is_an_empty_datagram() {
    let (mut world, mut client, relay) = allocated();
    client.bind(&mut world, 0x4000, addr(PEER));
    let out = client.send_over(&mut world, 0x4000, b"");
    assert!(matches!(out, Outcome::ToPeer { ref payload, .. } if payload.is_empty()));
    let (_, number, payload) = received(world.peer(relay, addr(PEER), b"")).unwrap();
    assert_eq!((number, payload), (Some(0x4000), vec![]));
}
