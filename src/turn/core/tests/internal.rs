//! Delivery between two of our own relayed addresses.

use std::net::SocketAddr;

use super::{addr, received, stats, world};
use crate::fuzzing::client::Client;
use crate::fuzzing::world::{BOUND_V4, LISTENER, Outcome, Plan, V4, World, own_addresses};
use crate::turn::core::Policy;

/// Two clients with relays: on one worker or on two.
fn pair(world: &mut World, apart: bool) -> [(Client, SocketAddr); 2] {
    let mut first = Client::new(0, 1, "one");
    let mut second = Client::new(usize::from(apart), 2, "two").over_stream(3);
    let relays = [first.allocate(world), second.allocate(world)];
    [(first, relays[0]), (second, relays[1])]
}

#[test]
fn a_packet_to_a_relay_of_ours_goes_straight_to_its_client() {
    for apart in [false, true] {
        let mut world = world();
        let [(mut first, relay1), (mut second, relay2)] = pair(&mut world, apart);
        assert_eq!(first.permit(&mut world, &[relay2]), 0);
        assert_eq!(second.permit(&mut world, &[relay1]), 0);
        let outcome = first.send_to(&mut world, relay2, b"hello");
        let Outcome::ToClient { worker, link, .. } = &outcome else {
            panic!("apart: {apart}: {outcome:?}");
        };
        assert_eq!((*worker, *link), (second.worker, second.origin.link));
        let (source, number, payload) = received(Some(outcome)).unwrap();
        assert_eq!(
            source, relay1,
            "the source is the advertised relayed address"
        );
        assert_eq!((number, payload), (None, b"hello".to_vec()));
        let internal = stats(&world, |stats| stats.internal);
        assert_eq!(internal, 1);
    }
}

#[test]
fn channels_work_inside_too() {
    for apart in [false, true] {
        let mut world = world();
        let [(mut first, relay1), (mut second, relay2)] = pair(&mut world, apart);
        assert_eq!(first.bind(&mut world, 0x4000, relay2), 0);
        assert_eq!(second.bind(&mut world, 0x4123, relay1), 0);
        let outcome = first.send_over(&mut world, 0x4000, b"hello");
        let (_, number, payload) = received(Some(outcome)).unwrap();
        assert_eq!((number, payload), (Some(0x4123), b"hello".to_vec()));
        let outcome = second.send_over(&mut world, 0x4123, b"back");
        let (_, number, payload) = received(Some(outcome)).unwrap();
        assert_eq!((number, payload), (Some(0x4000), b"back".to_vec()));
    }
}

#[test]
fn both_sides_must_have_permitted_each_other() {
    for apart in [false, true] {
        let mut world = world();
        let [(mut first, relay1), (mut second, relay2)] = pair(&mut world, apart);
        let mut try_it = |world: &mut World| first.send_to(world, relay2, b"x");
        assert_eq!(try_it(&mut world), Outcome::Nothing, "neither");
        assert_eq!(second.permit(&mut world, &[relay1]), 0);
        assert_eq!(try_it(&mut world), Outcome::Nothing, "only the receiver");
        second.refresh(&mut world, 0);
        second.allocate(&mut world);
        assert_eq!(first.permit(&mut world, &[relay2]), 0);
        assert_eq!(
            first.send_to(&mut world, relay2, b"x"),
            Outcome::Nothing,
            "only the sender"
        );
        assert_eq!(stats(&world, |stats| stats.internal), 0);
    }
}

#[test]
fn a_relay_named_by_the_address_it_is_bound_to_is_the_same_relay() {
    let mut world = world();
    let [(mut first, relay1), (mut second, relay2)] = pair(&mut world, false);
    let bound = |relay: SocketAddr| SocketAddr::new(BOUND_V4.into(), relay.port());
    assert_eq!(first.permit(&mut world, &[bound(relay2)]), 0);
    assert_eq!(second.permit(&mut world, &[relay1]), 0);
    let outcome = first.send_to(&mut world, bound(relay2), b"x");
    let (source, _, _) = received(Some(outcome)).unwrap();
    assert_eq!(source, relay1);
    assert!(received(Some(first.send_to(&mut world, relay2, b"x"))).is_some());
}

#[test]
fn a_packet_to_a_relay_port_nobody_has_goes_nowhere() {
    let mut world = world();
    let [(mut first, _), (_, relay2)] = pair(&mut world, false);
    assert_eq!(first.permit(&mut world, &[relay2]), 0);
    let free = world
        .plan
        .ports
        .clone()
        .find(|port| world.shared.sockets.keys().all(|(_, taken)| taken != port));
    let nobody = SocketAddr::new(V4.into(), free.unwrap());
    assert_eq!(first.send_to(&mut world, nobody, b"x"), Outcome::Nothing);
}

#[test]
fn a_client_may_talk_to_itself() {
    let mut world = world();
    let mut client = Client::new(0, 1, "one");
    let relay = client.allocate(&mut world);
    assert_eq!(client.permit(&mut world, &[relay]), 0);
    let (source, _, payload) = received(Some(client.send_to(&mut world, relay, b"me"))).unwrap();
    assert_eq!((source, payload), (relay, b"me".to_vec()));
}

#[test]
fn what_is_left_of_another_worker_is_dropped() {
    let mut world = world();
    let [(mut first, relay1), (mut second, relay2)] = pair(&mut world, true);
    first.permit(&mut world, &[relay2]);
    second.permit(&mut world, &[relay1]);
    // The allocation ends between hand-over and arrival.
    let now = world.now;
    second.refresh(&mut world, 0);
    let action = world.servers[1].handle_internal(now, relay2, relay1, 0..3);
    assert!(matches!(action, crate::turn::core::Action::Nothing));
}

/// A machine whose only address is private: relays there are advertised as they are.
fn private_world() -> World {
    World::new(Plan {
        advertised: [Some(BOUND_V4.into()), None],
        policy: Policy::new(vec![], vec![], own_addresses(), vec![LISTENER]),
        ..Plan::default()
    })
}

#[test]
fn a_permission_for_a_private_address_of_ours_lets_only_internal_delivery_in() {
    let mut world = private_world();
    let [(mut first, relay1), (mut second, relay2)] = pair(&mut world, false);
    assert_eq!(relay1.ip(), BOUND_V4);
    assert_eq!(first.permit(&mut world, &[relay2]), 0);
    assert_eq!(second.permit(&mut world, &[relay1]), 0);
    assert!(received(Some(first.send_to(&mut world, relay2, b"x"))).is_some());
    // Another program on this machine: neither heard nor reached.
    let program = SocketAddr::new(BOUND_V4.into(), 8080);
    assert_eq!(received(world.peer(relay1, program, b"x")), None);
    assert_eq!(first.send_to(&mut world, program, b"x"), Outcome::Nothing);
    assert_eq!(
        first.bind(&mut world, 0x4000, program),
        0,
        "as far as anybody can tell"
    );
    assert_eq!(first.send_over(&mut world, 0x4000, b"x"), Outcome::Nothing);
    // A neighbour in the same network has no permission at all.
    assert_eq!(first.permit(&mut world, &[addr("10.0.0.6:50000")]), 403);
}
