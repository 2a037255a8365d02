//! How allocations go on and end (RFC 8656 section 8).

use super::{PEER, addr, allocated, received, seconds, stats, world};
use crate::fuzzing::client::{Answer, Client, udp};
use crate::fuzzing::world::{Outcome, World};
use crate::turn::core::Action;
use crate::turn::core::allocation::Allocation;
use crate::turn::stun::address::Family;
use crate::turn::stun::{AttributeType, Method};

fn refresh_family(client: &mut Client, world: &mut World, lifetime: u32, family: u8) -> Answer {
    client.call(world, Method::REFRESH, |writer| {
        writer.u32(AttributeType::LIFETIME, lifetime);
        writer.attribute(AttributeType::REQUESTED_ADDRESS_FAMILY, &[family, 0, 0, 0]);
    })
}

/// Everything that an allocation had is back.
fn assert_all_returned(world: &World) {
    world.audit();
    assert!(world.shared.sockets.is_empty());
    assert_eq!(world.shared.pool.free(Family::V4), 16);
    assert_eq!(world.shared.pool.free(Family::V6), 16);
    assert_eq!(world.shared.pool.quota.allocations(), 0);
    let made = stats(world, |stats| stats.allocations_made);
    assert_eq!(made, stats(world, |stats| stats.allocations_ended.total()));
    let ends = world
        .shared
        .events
        .iter()
        .filter(|e| e.starts_with("ended"));
    assert_eq!(ends.count() as u64, made);
}

#[test]
fn lifetimes_are_kept_between_ten_minutes_and_an_hour() {
    for (wanted, granted) in [
        (0, 600),
        (1, 600),
        (600, 600),
        (1234, 1234),
        (3600, 3600),
        (3601, 3600),
        (u32::MAX, 3600),
    ] {
        let mut world = world();
        let mut client = Client::new(0, 1, "one");
        client.log_in(&mut world);
        let answer = client.call(&mut world, Method::ALLOCATE, |writer| {
            udp(writer);
            writer.u32(AttributeType::LIFETIME, wanted);
        });
        assert_eq!(answer.lifetime(), Some(granted), "Allocate {wanted}");
        if wanted > 0 {
            let answer = client.refresh(&mut world, wanted);
            assert_eq!(answer.lifetime(), Some(granted), "Refresh {wanted}");
        }
    }
}

#[test]
fn an_allocation_ends_when_its_lifetime_is_over_and_not_before() {
    let (mut world, mut client, _) = allocated();
    world.pass(seconds(599));
    assert_eq!(world.servers[0].allocations(), 1);
    assert_eq!(client.permit(&mut world, &[addr(PEER)]), 0);
    world.pass(seconds(3));
    assert_eq!(world.servers[0].allocations(), 0);
    assert_eq!(world.shared.events, ["allocated", "ended Expired"]);
    assert_all_returned(&world);
}

#[test]
fn an_allocation_that_is_over_serves_nobody_even_before_its_timer_comes_up() {
    let (mut world, mut client, relay) = allocated();
    world.pass(seconds(400));
    assert_eq!(client.bind(&mut world, 0x4000, addr(PEER)), 0);
    world.pass_unnoticed(seconds(200));
    assert_eq!(world.servers[0].allocations(), 1, "the driver is late");
    assert_eq!(
        client.send_to(&mut world, addr(PEER), b"x"),
        Outcome::Nothing
    );
    assert_eq!(client.send_over(&mut world, 0x4000, b"x"), Outcome::Nothing);
    assert_eq!(received(world.peer(relay, addr(PEER), b"x")), None);
    assert_eq!(client.refresh(&mut world, 600).code(), 437);
    assert_eq!(client.call(&mut world, Method::ALLOCATE, udp).code(), 0);
    world.audit();
}

#[test]
fn refreshing_prolongs() {
    let (mut world, mut client, _) = allocated();
    for _ in 0..5 {
        world.pass(seconds(500));
        assert_eq!(client.refresh(&mut world, 600).lifetime(), Some(600));
    }
    world.pass(seconds(599));
    assert_eq!(world.servers[0].allocations(), 1);
    world.pass(seconds(2));
    assert_all_returned(&world);
}

#[test]
fn refreshing_may_shorten() {
    let (mut world, mut client, _) = allocated();
    assert_eq!(client.refresh(&mut world, 3600).code(), 0);
    world.pass(seconds(10));
    assert_eq!(client.refresh(&mut world, 600).code(), 0);
    world.pass(seconds(601));
    assert_all_returned(&world);
}

#[test]
fn refreshing_without_a_lifetime_means_ten_minutes() {
    let (mut world, mut client, _) = allocated();
    let answer = client.call(&mut world, Method::REFRESH, |_| {});
    assert_eq!(answer.lifetime(), Some(600));
}

#[test]
fn refreshing_with_zero_gives_everything_back() {
    let (mut world, mut client, _) = allocated();
    let answer = client.refresh(&mut world, 0);
    assert_eq!((answer.code(), answer.lifetime()), (0, Some(0)));
    assert_eq!(world.shared.events, ["allocated", "ended Released"]);
    assert_all_returned(&world);
    assert_eq!(client.call(&mut world, Method::ALLOCATE, udp).code(), 0);
}

#[test]
fn one_family_of_two_can_be_given_back() {
    let mut world = world();
    let mut client = Client::new(0, 1, "one");
    let [v4, v6] = client.allocate_both(&mut world);
    let (peer4, peer6) = (addr(PEER), addr("[2001:4860::8888]:5000"));
    assert_eq!(client.permit(&mut world, &[peer4, peer6]), 0);
    let (_, closed) = world.shared.sockets[&(Family::V4, v4.port())];
    assert_eq!(refresh_family(&mut client, &mut world, 0, 1).code(), 0);
    world.audit();
    let late = world.servers[0].handle_peer(world.now, closed, peer4, 1);
    assert!(matches!(late, Action::Nothing), "read before it was closed");
    assert_eq!(world.peer(v4, peer4, b"x"), None, "its socket is closed");
    assert_eq!(client.send_to(&mut world, peer4, b"x"), Outcome::Nothing);
    assert!(received(world.peer(v6, peer6, b"x")).is_some());
    assert_eq!(client.permit(&mut world, &[peer4]), 443);
    assert_eq!(refresh_family(&mut client, &mut world, 0, 1).code(), 443);
    assert_eq!(refresh_family(&mut client, &mut world, 600, 2).code(), 0);
    assert_eq!(refresh_family(&mut client, &mut world, 0, 2).code(), 0);
    assert_all_returned(&world);
}

#[test]
fn refreshing_a_family_that_was_never_allocated_is_443() {
    let (mut world, mut client, _) = allocated();
    assert_eq!(refresh_family(&mut client, &mut world, 600, 2).code(), 443);
    assert_eq!(refresh_family(&mut client, &mut world, 0, 2).code(), 443);
    assert_eq!(world.servers[0].allocations(), 1);
    assert_eq!(refresh_family(&mut client, &mut world, 600, 1).code(), 0);
}

#[test]
fn when_its_stream_closes_an_allocation_ends() {
    let mut world = world();
    let mut client = Client::new(1, 1, "one").over_stream(5);
    client.allocate(&mut world);
    world.close(1, client.origin.link);
    world.close(1, client.origin.link);
    assert_eq!(world.shared.events, ["allocated", "ended Closed"]);
    assert_all_returned(&world);
}

#[test]
fn when_the_server_stops_every_allocation_ends() {
    let mut world = world();
    for host in 1..=4 {
        let mut client = Client::new(usize::from(host % 2), host, "one");
        client.allocate_both(&mut world);
    }
    world.stop();
    assert_all_returned(&world);
}

#[test]
fn a_slot_that_is_used_again_is_not_ended_by_the_timer_of_its_predecessor() {
    let (mut world, mut client, _) = allocated();
    world.pass(seconds(300));
    client.refresh(&mut world, 0);
    client.allocate(&mut world);
    world.pass(seconds(400));
    assert_eq!(world.servers[0].allocations(), 1);
    world.pass(seconds(201));
    assert_all_returned(&world);
}

#[test]
fn an_allocation_is_small() {
    // With a handful of permissions and channels, its name and its place in the tables, it must
    // stay well below 3 KB.
    let size = size_of::<Allocation>();
    assert!(size <= 400, "{size} bytes");
}
