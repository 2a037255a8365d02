//! Quotas, bandwidth, rate limits and draining.

use super::{PEER, addr, allocated, seconds, stats, went_to};
use crate::fuzzing::client::{Client, udp};
use crate::fuzzing::world::{EPOCH, Outcome, Plan, World};
use crate::turn::stun::{Class, Method};

fn try_allocate(world: &mut World, host: u8, id: &str) -> (Client, u16) {
    let mut client = Client::new(usize::from(host % 2), host, id);
    client.log_in(world);
    let code = client.call(world, Method::ALLOCATE, udp).code();
    (client, code)
}

#[test]
fn a_users_quota_is_486_and_is_given_back() {
    let mut world = World::new(Plan {
        user_quota: 2,
        ..Plan::default()
    });
    let (mut first, code) = try_allocate(&mut world, 1, "one");
    assert_eq!(code, 0);
    assert_eq!(try_allocate(&mut world, 2, "one").1, 0, "on another worker");
    assert_eq!(try_allocate(&mut world, 3, "one").1, 486);
    assert_eq!(try_allocate(&mut world, 4, "two").1, 0, "another user");
    first.refresh(&mut world, 0);
    assert_eq!(try_allocate(&mut world, 5, "one").1, 0);
    world.pass(seconds(700));
    assert_eq!(world.shared.pool.quota.allocations(), 0);
    assert_eq!(try_allocate(&mut world, 6, "one").1, 0);
}

#[test]
fn a_fresh_rest_name_of_the_same_person_counts_for_the_same_quota() {
    let mut world = World::new(Plan {
        user_quota: 1,
        ..Plan::default()
    });
    assert_eq!(try_allocate(&mut world, 1, "one").1, 0);
    let name = format!("{}:one", EPOCH + 7200).into_bytes();
    let mut later = Client::at(0, addr("198.51.100.9:1"), name);
    later.log_in(&mut world);
    assert_eq!(later.call(&mut world, Method::ALLOCATE, udp).code(), 486);
}

#[test]
fn the_total_quota_is_508_and_is_given_back() {
    let mut world = World::new(Plan {
        total_quota: 2,
        ..Plan::default()
    });
    let (mut first, _) = try_allocate(&mut world, 1, "one");
    assert_eq!(try_allocate(&mut world, 2, "two").1, 0);
    assert_eq!(try_allocate(&mut world, 3, "three").1, 508);
    first.refresh(&mut world, 0);
    assert_eq!(try_allocate(&mut world, 4, "four").1, 0);
}

#[test]
fn an_allocation_that_fails_for_want_of_a_port_costs_no_quota() {
    let mut world = World::new(Plan {
        user_quota: 1,
        ..Plan::default()
    });
    world.shared.exhausted = true;
    assert_eq!(try_allocate(&mut world, 1, "one").1, 508);
    world.shared.exhausted = false;
    assert_eq!(try_allocate(&mut world, 1, "one").1, 0);
    world.audit();
}

#[test]
fn bandwidth_in_total_is_shared_by_all_allocations_of_all_workers() {
    let mut world = World::new(Plan {
        max_total_bps: 8000,
        ..Plan::default()
    });
    let mut clients = [Client::new(0, 1, "one"), Client::new(1, 2, "two")];
    for client in &mut clients {
        client.allocate(&mut world);
        client.permit(&mut world, &[addr(PEER)]);
    }
    let mut sent = [0, 0];
    for _ in 0..20 {
        for (client, sent) in clients.iter_mut().zip(&mut sent) {
            let outcome = client.send_to(&mut world, addr(PEER), &[0; 100]);
            *sent += usize::from(went_to(&outcome, addr(PEER)));
        }
    }
    assert_eq!(sent, [5, 5]);
    assert_eq!(stats(&world, |stats| stats.over_rate), 30);
}

#[test]
fn bandwidth_is_limited_each_way() {
    // 1000 bytes a second.
    let mut world = World::new(Plan {
        max_bps: 8000,
        ..Plan::default()
    });
    let mut client = Client::new(0, 1, "one");
    let relay = client.allocate(&mut world);
    client.permit(&mut world, &[addr(PEER)]);
    for round in 0..3 {
        let sent = (0..20)
            .filter(|_| {
                went_to(
                    &client.send_to(&mut world, addr(PEER), &[0; 100]),
                    addr(PEER),
                )
            })
            .count();
        let heard = (0..20)
            .filter(|_| world.peer(relay, addr(PEER), &[0; 100]) != Some(Outcome::Nothing))
            .count();
        assert_eq!((sent, heard), (10, 10), "round {round}");
        world.pass(seconds(1));
    }
    assert_eq!(stats(&world, |stats| stats.over_rate), 60);
    assert_eq!(stats(&world, |stats| stats.to_peers.total().bytes), 3000);
    assert_eq!(stats(&world, |stats| stats.to_clients.total().bytes), 3000);
}

#[test]
fn draining_refuses_allocations_and_keeps_those_there_are() {
    let (mut world, mut client, _) = allocated();
    world.servers[0].drain();
    assert_eq!(client.refresh(&mut world, 600).code(), 0);
    assert_eq!(client.permit(&mut world, &[addr(PEER)]), 0);
    assert!(went_to(
        &client.send_to(&mut world, addr(PEER), b"x"),
        addr(PEER)
    ));
    let mut other = Client::new(0, 2, "two");
    other.log_in(&mut world);
    assert_eq!(other.call(&mut world, Method::ALLOCATE, udp).code(), 508);
}

#[test]
fn unauthenticated_answers_are_limited_by_prefix_and_authenticated_ones_are_not() {
    let mut world = World::new(Plan {
        unauthenticated_per_second: 5,
        ..Plan::default()
    });
    let mut client = Client::new(0, 1, "one");
    client.allocate(&mut world);
    let mut neighbour = Client::new(0, 77, "x");
    let mut answered = 0;
    for n in 0..200 {
        let method = if n % 2 == 0 {
            Method::BINDING
        } else {
            Method::ALLOCATE
        };
        let packet = neighbour.bare(Class::Request, method, udp);
        answered += usize::from(neighbour.send(&mut world, &packet) != Outcome::Nothing);
    }
    // A burst of twice the rate in each of two tables, less the login above.
    assert_eq!(answered, 19);
    assert_eq!(stats(&world, |stats| stats.unanswered), 181);
    let packet = client.signed(Method::REFRESH, |_| {});
    for _ in 0..50 {
        assert_eq!(client.ask(&mut world, &packet).code(), 0);
    }
    // The same for wrong passwords, stale nonces and nonsense.
    client.password = b"wrong".to_vec();
    let packet = client.signed(Method::REFRESH, |_| {});
    assert_eq!(client.send(&mut world, &packet), Outcome::Nothing);
    let mut stranger = Client::at(0, addr("203.0.113.7:9"), b"x".to_vec());
    let packet = stranger.bare(Class::Request, Method::BINDING, |_| {});
    assert_ne!(stranger.send(&mut world, &packet), Outcome::Nothing);
    world.pass(seconds(1));
    let packet = neighbour.bare(Class::Request, Method::BINDING, |_| {});
    assert_ne!(neighbour.send(&mut world, &packet), Outcome::Nothing);
}
