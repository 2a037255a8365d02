//! Send, Data and ChannelData as bytes (RFC 8656 sections 11 and 12).

use proptest::prelude::*;

use super::{PEER, addr, allocated, received, stats, went_to, world};
use crate::fuzzing::client::Client;
use crate::fuzzing::world::{Outcome, World};
use crate::turn::channel::{Frame, frame};
use crate::turn::stun::{AttributeType, Class, Method, Writer};

fn permitted() -> (World, Client) {
    let (mut world, mut client, _) = allocated();
    assert_eq!(client.permit(&mut world, &[addr(PEER)]), 0);
    (world, client)
}

fn indication(client: &mut Client, fill: impl FnOnce(&mut Writer<'_>)) -> Vec<u8> {
    client.bare(Class::Indication, Method::SEND, |writer| {
        writer.xor_address(AttributeType::XOR_PEER_ADDRESS, addr(PEER));
        writer.attribute(AttributeType::DATA, b"payload");
        fill(writer);
    })
}

#[test]
fn a_send_indication_becomes_a_datagram() {
    let (mut world, mut client) = permitted();
    let packet = indication(&mut client, |_| {});
    let outcome = client.send(&mut world, &packet);
    assert!(went_to(&outcome, addr(PEER)));
    assert!(
        matches!(outcome, Outcome::ToPeer { payload, dont_fragment: false, .. } if payload == b"payload")
    );
}

#[test]
fn dont_fragment_is_passed_on() {
    let (mut world, mut client) = permitted();
    let packet = indication(&mut client, |writer| {
        writer.attribute(AttributeType::DONT_FRAGMENT, &[]);
    });
    let outcome = client.send(&mut world, &packet);
    assert!(matches!(
        outcome,
        Outcome::ToPeer {
            dont_fragment: true,
            ..
        }
    ));
}

#[test]
fn a_send_with_something_unknown_that_must_be_understood_is_dropped() {
    let (mut world, mut client) = permitted();
    let packet = indication(&mut client, |writer| {
        writer.attribute(AttributeType(0x7001), &[]);
    });
    assert_eq!(client.send(&mut world, &packet), Outcome::Nothing);
    let packet = indication(&mut client, |writer| {
        writer.attribute(AttributeType(0xF001), &[]);
    });
    assert!(went_to(&client.send(&mut world, &packet), addr(PEER)));
}

#[test]
fn a_send_without_peer_or_data_is_dropped() {
    let (mut world, mut client) = permitted();
    let packet = client.bare(Class::Indication, Method::SEND, |writer| {
        writer.xor_address(AttributeType::XOR_PEER_ADDRESS, addr(PEER));
    });
    assert_eq!(client.send(&mut world, &packet), Outcome::Nothing);
    let packet = client.bare(Class::Indication, Method::SEND, |writer| {
        writer.attribute(AttributeType::DATA, b"payload");
    });
    assert_eq!(client.send(&mut world, &packet), Outcome::Nothing);
}

#[test]
fn a_send_with_a_wrong_fingerprint_is_dropped() {
    let (mut world, mut client) = permitted();
    let mut packet = indication(&mut client, |writer| writer.fingerprint());
    assert!(went_to(&client.send(&mut world, &packet), addr(PEER)));
    *packet.last_mut().unwrap() ^= 1;
    assert_eq!(client.send(&mut world, &packet), Outcome::Nothing);
    assert_eq!(stats(&world, |stats| stats.malformed), 1);
}

#[test]
fn a_binding_indication_keeps_alive_and_is_no_fault() {
    let (mut world, mut client) = permitted();
    let packet = client.bare(Class::Indication, Method::BINDING, |_| {});
    assert_eq!(client.send(&mut world, &packet), Outcome::Nothing);
    assert_eq!(stats(&world, |stats| stats.malformed), 0);
}

#[test]
fn data_without_a_channel_is_an_indication_with_the_peers_address() {
    let (mut world, mut client) = permitted();
    let relay = client.origin.client;
    assert!(relay.is_ipv4());
    let relayed = *world.shared.sockets.keys().next().unwrap();
    let relayed = std::net::SocketAddr::new(crate::fuzzing::world::V4.into(), relayed.1);
    let (peer, number, payload) = received(world.peer(relayed, addr(PEER), b"hello")).unwrap();
    assert_eq!(
        (peer, number, payload),
        (addr(PEER), None, b"hello".to_vec())
    );
    client.bind(&mut world, 0x4000, addr(PEER));
    let (_, number, _) = received(world.peer(relayed, addr(PEER), b"hello")).unwrap();
    assert_eq!(number, Some(0x4000), "with a channel, ChannelData");
    let (peer, number, _) = received(world.peer(relayed, addr("8.8.8.8:9"), b"x")).unwrap();
    assert_eq!(
        (peer, number),
        (addr("8.8.8.8:9"), None),
        "another port has no channel"
    );
}

#[test]
fn indications_have_ids_that_differ() {
    let (mut world, client) = permitted();
    let port = world.shared.sockets.keys().next().unwrap().1;
    let relayed = std::net::SocketAddr::new(crate::fuzzing::world::V4.into(), port);
    let mut ids = std::collections::HashSet::new();
    for _ in 0..100 {
        let Some(Outcome::ToClient { bytes, link, .. }) = world.peer(relayed, addr(PEER), b"")
        else {
            panic!("permitted");
        };
        assert_eq!(link, client.origin.link);
        assert!(ids.insert(bytes[8..20].to_vec()));
    }
}

proptest! {
    #[test]
    fn on_streams_every_message_ends_at_a_multiple_of_four(
        payload in prop::collection::vec(any::<u8>(), 0..50),
        channel in any::<bool>(),
        v6 in any::<bool>(),
    ) {
        let mut world = world();
        let mut client = Client::new(0, 1, "one").over_stream(1);
        let [relay4, relay6] = client.allocate_both(&mut world);
        let (relay, peer) = if v6 {
            (relay6, addr("[2001:4860::8888]:5000"))
        } else {
            (relay4, addr(PEER))
        };
        client.permit(&mut world, &[peer]);
        if channel {
            client.bind(&mut world, 0x4000, peer);
        }
        let Some(Outcome::ToClient { bytes, .. }) = world.peer(relay, peer, &payload) else {
            return Err(TestCaseError::fail("permitted"));
        };
        let Frame::Whole { len, consumed } = frame(&bytes) else {
            return Err(TestCaseError::fail("not one message"));
        };
        prop_assert_eq!(consumed, bytes.len());
        let (_, number, data) = received(Some(Outcome::ToClient {
            worker: 0,
            link: client.origin.link,
            bytes: bytes[..len].to_vec(),
        })).unwrap();
        prop_assert_eq!(number.is_some(), channel);
        prop_assert_eq!(data, payload);
    }

    #[test]
    fn over_udp_channel_data_is_not_padded(payload in prop::collection::vec(any::<u8>(), 0..50)) {
        let (mut world, mut client, relay) = allocated();
        client.bind(&mut world, 0x4000, addr(PEER));
        let Some(Outcome::ToClient { bytes, .. }) = world.peer(relay, addr(PEER), &payload) else {
            return Err(TestCaseError::fail("permitted"));
        };
        prop_assert_eq!(bytes.len(), 4 + payload.len());
    }
}
