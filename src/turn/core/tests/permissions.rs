//! CreatePermission (RFC 8656 sections 9 and 10).

use super::{PEER, addr, allocated, received, seconds, stats, went_to};
use crate::fuzzing::world::Outcome;
use crate::turn::core::allocation::MAX_PERMISSIONS;
use crate::turn::stun::{AttributeType, Method};

fn peers(count: usize) -> Vec<std::net::SocketAddr> {
    (0..count)
        .map(|n| addr(&format!("8.8.{n}.1:5000")))
        .collect()
}

#[test]
fn a_peer_without_permission_is_not_heard_and_not_spoken_to() {
    let (mut world, mut client, relay) = allocated();
    assert_eq!(received(world.peer(relay, addr(PEER), b"x")), None);
    assert_eq!(
        client.send_to(&mut world, addr(PEER), b"x"),
        Outcome::Nothing
    );
    assert_eq!(stats(&world, |stats| stats.not_permitted), 2);
}

#[test]
fn a_permission_is_for_an_address_and_any_port() {
    let (mut world, mut client, relay) = allocated();
    assert_eq!(client.permit(&mut world, &[addr(PEER)]), 0);
    let other_port = addr("8.8.8.8:9");
    assert!(received(world.peer(relay, other_port, b"x")).is_some());
    assert!(went_to(
        &client.send_to(&mut world, other_port, b"x"),
        other_port
    ));
    let other_address = addr("8.8.8.9:5000");
    assert_eq!(received(world.peer(relay, other_address, b"x")), None);
}

#[test]
fn a_permission_lasts_five_minutes() {
    let (mut world, mut client, relay) = allocated();
    assert_eq!(client.permit(&mut world, &[addr(PEER)]), 0);
    world.pass(seconds(299));
    assert!(received(world.peer(relay, addr(PEER), b"x")).is_some());
    assert!(went_to(
        &client.send_to(&mut world, addr(PEER), b"x"),
        addr(PEER)
    ));
    world.pass(seconds(1));
    assert_eq!(received(world.peer(relay, addr(PEER), b"x")), None);
    assert_eq!(
        client.send_to(&mut world, addr(PEER), b"x"),
        Outcome::Nothing
    );
}

#[test]
fn only_asking_again_renews_a_permission() {
    let (mut world, mut client, relay) = allocated();
    client.permit(&mut world, &[addr(PEER)]);
    world.pass(seconds(200));
    // Neither traffic nor Refresh does.
    client.send_to(&mut world, addr(PEER), b"x");
    world.peer(relay, addr(PEER), b"x");
    client.refresh(&mut world, 600);
    world.pass(seconds(100));
    assert_eq!(received(world.peer(relay, addr(PEER), b"x")), None);
    client.permit(&mut world, &[addr(PEER)]);
    world.pass(seconds(200));
    client.permit(&mut world, &[addr(PEER)]);
    world.pass(seconds(200));
    assert!(received(world.peer(relay, addr(PEER), b"x")).is_some());
}

#[test]
fn one_request_can_permit_several_peers_or_none_of_them() {
    let (mut world, mut client, relay) = allocated();
    let good = peers(3);
    assert_eq!(client.permit(&mut world, &good), 0);
    for peer in &good {
        assert!(received(world.peer(relay, *peer, b"x")).is_some());
    }
    let (fresh, forbidden) = (addr("8.1.1.1:1"), addr("10.0.0.1:1"));
    assert_eq!(client.permit(&mut world, &[fresh, forbidden]), 403);
    assert_eq!(received(world.peer(relay, fresh, b"x")), None);
}

#[test]
fn the_65th_permission_is_508_until_one_is_over() {
    let (mut world, mut client, _) = allocated();
    let all = peers(MAX_PERMISSIONS + 1);
    assert_eq!(client.permit(&mut world, &all), 508);
    assert_eq!(client.permit(&mut world, &all[..MAX_PERMISSIONS - 1]), 0);
    world.pass(seconds(100));
    assert_eq!(client.permit(&mut world, &all[MAX_PERMISSIONS - 1..]), 508);
    assert_eq!(client.permit(&mut world, &all[MAX_PERMISSIONS..]), 0);
    assert_eq!(client.bind(&mut world, 0x4000, addr("8.1.1.1:1")), 508);
    // Those that are there can still be renewed.
    assert_eq!(client.permit(&mut world, &all[..2]), 0);
    world.pass(seconds(250));
    assert_eq!(client.permit(&mut world, &peers(20)), 0);
}

#[test]
fn the_same_peer_many_times_is_one_permission() {
    let (mut world, mut client, _) = allocated();
    let same = vec![addr(PEER); MAX_PERMISSIONS + 10];
    assert_eq!(client.permit(&mut world, &same), 0);
    assert_eq!(client.permit(&mut world, &peers(MAX_PERMISSIONS - 1)), 0);
}

#[test]
fn a_request_without_a_peer_or_with_a_broken_one_is_400() {
    let (mut world, mut client, _) = allocated();
    assert_eq!(client.permit(&mut world, &[]), 400);
    let answer = client.call(&mut world, Method::CREATE_PERMISSION, |writer| {
        writer.attribute(AttributeType::XOR_PEER_ADDRESS, &[0, 1, 2, 3]);
    });
    assert_eq!(answer.code(), 400);
}

#[test]
fn a_peer_of_a_family_without_relay_is_443() {
    let (mut world, mut client, _) = allocated();
    let v6 = addr("[2001:4860::8888]:5000");
    assert_eq!(client.permit(&mut world, &[v6]), 443);
    assert_eq!(client.permit(&mut world, &[addr(PEER), v6]), 443);
    assert_eq!(client.bind(&mut world, 0x4000, v6), 443);
    assert_eq!(client.send_to(&mut world, v6, b"x"), Outcome::Nothing);
}

#[test]
fn ipv4_written_as_ipv6_is_ipv4() {
    let (mut world, mut client, relay) = allocated();
    assert_eq!(
        client.permit(&mut world, &[addr("[::ffff:8.8.8.8]:5000")]),
        0
    );
    assert!(received(world.peer(relay, addr(PEER), b"x")).is_some());
    assert!(received(world.peer(relay, addr("[::ffff:8.8.8.8]:5000"), b"x")).is_some());
}
