//! Allocate (RFC 8656 section 7).

use super::{allocated, seconds, stats, world};
use crate::fuzzing::client::{Answer, Client, udp};
use crate::fuzzing::world::{Outcome, PORTS, Plan, STATIC_USER, V4, V6, World};
use crate::turn::stun::address::Family;
use crate::turn::stun::{AttributeType, Class, Method, Writer, error};

fn client(world: &mut World, host: u8) -> Client {
    let mut client = Client::new(0, host, &format!("user {host}"));
    client.log_in(world);
    client
}

fn allocate(world: &mut World, host: u8, fill: impl FnOnce(&mut Writer<'_>)) -> Answer {
    client(world, host).call(world, Method::ALLOCATE, |writer| {
        udp(writer);
        fill(writer);
    })
}

fn even(next: bool) -> impl FnOnce(&mut Writer<'_>) {
    move |writer| writer.attribute(AttributeType::EVEN_PORT, &[if next { 0x80 } else { 0 }])
}

fn family(kind: AttributeType, value: u8) -> impl FnOnce(&mut Writer<'_>) {
    move |writer| writer.attribute(kind, &[value, 0, 0, 0])
}

#[test]
fn success_names_relay_lifetime_and_the_clients_own_address() {
    let mut world = world();
    let mut client = client(&mut world, 1);
    let answer = client.call(&mut world, Method::ALLOCATE, udp);
    assert_eq!(answer.code(), 0);
    let [relayed] = answer.relayed()[..] else {
        panic!("one address");
    };
    assert_eq!(relayed.ip(), V4);
    assert!(PORTS.contains(&relayed.port()));
    assert_eq!(answer.lifetime(), Some(600));
    assert_eq!(
        answer.addresses(AttributeType::XOR_MAPPED_ADDRESS),
        [client.origin.client]
    );
    assert!(!answer.has(AttributeType::RESERVATION_TOKEN));
    assert_eq!(world.shared.events, ["allocated"]);
}

#[test]
fn a_second_allocate_on_the_same_five_tuple_is_437() {
    let (mut world, mut client, _) = allocated();
    assert_eq!(client.call(&mut world, Method::ALLOCATE, udp).code(), 437);
    assert_eq!(world.servers[0].allocations(), 1);
}

#[test]
fn a_retransmitted_allocate_is_answered_the_same() {
    let mut world = World::new(Plan {
        advertised: [Some(V4.into()), None],
        ..Plan::default()
    });
    let mut client = client(&mut world, 1);
    for extra in [
        None,
        Some((AttributeType::EVEN_PORT, &[0x80][..])),
        Some((AttributeType::ADDITIONAL_ADDRESS_FAMILY, &[2, 0, 0, 0][..])),
    ] {
        let packet = client.signed(Method::ALLOCATE, |writer| {
            udp(writer);
            if let Some((kind, value)) = extra {
                writer.attribute(kind, value);
            }
        });
        let first = client.ask(&mut world, &packet);
        assert_eq!(first.code(), 0);
        assert_eq!(client.ask(&mut world, &packet).0, first.0, "{extra:?}");
        assert_eq!(world.servers[0].allocations(), 1);
        client.refresh(&mut world, 0);
    }
}

#[test]
fn another_users_allocate_with_the_same_transaction_is_441() {
    let (mut world, mut client, _) = allocated();
    client.refresh(&mut world, 0);
    let id = client.transaction();
    let packet = client.signed_as(id, Method::ALLOCATE, udp);
    assert_eq!(client.ask(&mut world, &packet).code(), 0);
    let other = client.named(STATIC_USER.0, STATIC_USER.1);
    let packet = other.signed_as(id, Method::ALLOCATE, udp);
    assert_eq!(other.ask(&mut world, &packet).code(), 441);
}

#[test]
fn transports_other_than_udp_are_442_and_none_is_400() {
    let mut world = world();
    for (value, code) in [
        (&[17, 0, 0, 0][..], 0),
        (&[6, 0, 0, 0], 442),
        (&[0, 0, 0, 17], 442),
        (&[17], 400),
    ] {
        let mut client = client(&mut world, 1);
        let answer = client.call(&mut world, Method::ALLOCATE, |writer| {
            writer.attribute(AttributeType::REQUESTED_TRANSPORT, value);
        });
        assert_eq!(answer.code(), code, "{value:?}");
        client.refresh(&mut world, 0);
    }
    let answer = client(&mut world, 1).call(&mut world, Method::ALLOCATE, |_| {});
    assert_eq!(answer.code(), 400);
}

#[test]
fn a_family_that_is_not_offered_is_440() {
    let mut world = World::new(Plan {
        advertised: [Some(V4.into()), None],
        ..Plan::default()
    });
    let requested = AttributeType::REQUESTED_ADDRESS_FAMILY;
    assert_eq!(allocate(&mut world, 1, family(requested, 2)).code(), 440);
    assert_eq!(allocate(&mut world, 1, family(requested, 3)).code(), 440);
    assert_eq!(allocate(&mut world, 1, family(requested, 1)).code(), 0);
}

#[test]
fn one_family_can_be_asked_for() {
    let mut world = world();
    let answer = allocate(
        &mut world,
        1,
        family(AttributeType::REQUESTED_ADDRESS_FAMILY, 2),
    );
    assert_eq!(answer.relayed()[0].ip(), V6);
    assert_eq!(answer.relayed().len(), 1);
}

#[test]
fn both_families_come_with_one_allocation() {
    let mut world = world();
    let mut client = client(&mut world, 1);
    let [v4, v6] = client.allocate_both(&mut world);
    assert_eq!((v4.ip(), v6.ip()), (V4.into(), V6.into()));
    assert_eq!(world.servers[0].allocations(), 1);
    world.audit();
}

#[test]
fn both_families_may_be_asked_for_by_the_number_of_debians_coturn() {
    let mut world = world();
    let mut client = client(&mut world, 1);
    client.log_in(&mut world);
    let answer = client.call(&mut world, Method::ALLOCATE, |writer| {
        udp(writer);
        writer.attribute(
            AttributeType::DRAFT_ADDITIONAL_ADDRESS_FAMILY,
            &[2, 0, 0, 0],
        );
    });
    assert_eq!(answer.relayed().len(), 2);
}

#[test]
fn when_one_of_two_families_fails_the_answer_says_which_and_why() {
    for (offered, missing) in [
        ([Some(V4.into()), None], Family::V6),
        ([None, Some(V6.into())], Family::V4),
    ] {
        let mut world = World::new(Plan {
            advertised: offered,
            ..Plan::default()
        });
        let answer = allocate(
            &mut world,
            1,
            family(AttributeType::ADDITIONAL_ADDRESS_FAMILY, 2),
        );
        assert_eq!(answer.code(), 0, "{missing:?}");
        assert_eq!(answer.relayed().len(), 1);
        let value = answer.value(AttributeType::ADDRESS_ERROR_CODE);
        assert_eq!(value[0], missing.value());
        assert_eq!(error::decode(value), Some(440));
        world.audit();
    }
}

#[test]
fn when_both_families_fail_it_is_an_error() {
    let mut world = world();
    world.shared.exhausted = true;
    let answer = allocate(
        &mut world,
        1,
        family(AttributeType::ADDITIONAL_ADDRESS_FAMILY, 2),
    );
    assert_eq!(answer.code(), 508);
    world.audit();
}

#[test]
fn wishes_that_contradict_each_other_are_400() {
    let requested = (AttributeType::REQUESTED_ADDRESS_FAMILY, vec![1, 0, 0, 0]);
    let additional = (AttributeType::ADDITIONAL_ADDRESS_FAMILY, vec![2, 0, 0, 0]);
    let additional_v4 = (AttributeType::ADDITIONAL_ADDRESS_FAMILY, vec![1, 0, 0, 0]);
    let even = (AttributeType::EVEN_PORT, vec![0]);
    let even_next = (AttributeType::EVEN_PORT, vec![0x80]);
    let token = (AttributeType::RESERVATION_TOKEN, vec![1; 8]);
    let short_token = (AttributeType::RESERVATION_TOKEN, vec![1; 7]);
    let long_even = (AttributeType::EVEN_PORT, vec![0; 2]);
    let short_lifetime = (AttributeType::LIFETIME, vec![0; 3]);
    let mut world = world();
    for wishes in [
        vec![&requested, &additional],
        vec![&additional_v4],
        vec![&additional, &even_next],
        vec![&token, &even],
        vec![&token, &requested],
        vec![&token, &additional],
        vec![&short_token],
        vec![&long_even],
        vec![&short_lifetime],
    ] {
        let answer = allocate(&mut world, 1, |writer| {
            for (kind, value) in &wishes {
                writer.attribute(*kind, value);
            }
        });
        assert_eq!(answer.code(), 400, "{wishes:?}");
    }
    assert_eq!(allocate(&mut world, 1, |_| {}).code(), 0);
}

#[test]
fn an_even_port_is_even() {
    let mut world = world();
    for host in 1..=8 {
        let answer = allocate(&mut world, host, even(false));
        assert_eq!(answer.relayed()[0].port() % 2, 0);
        assert!(!answer.has(AttributeType::RESERVATION_TOKEN));
    }
    // The sixteen ports have no more than eight even ones.
    assert_eq!(allocate(&mut world, 9, even(false)).code(), 508);
    world.audit();
}

#[test]
fn the_next_port_waits_for_its_token_which_is_good_once() {
    let mut world = world();
    let first = allocate(&mut world, 1, even(true));
    let token = first.value(AttributeType::RESERVATION_TOKEN).to_vec();
    world.audit();
    let redeem = |writer: &mut Writer<'_>| {
        writer.attribute(AttributeType::RESERVATION_TOKEN, &token);
    };
    let second = allocate(&mut world, 2, redeem);
    assert_eq!(second.relayed()[0].port(), first.relayed()[0].port() + 1);
    assert_eq!(allocate(&mut world, 3, redeem).code(), 508);
    world.audit();
}

#[test]
fn a_token_is_worthless_after_its_time() {
    let mut world = world();
    let first = allocate(&mut world, 1, even(true));
    let token = first.value(AttributeType::RESERVATION_TOKEN).to_vec();
    world.pass(seconds(31));
    let answer = allocate(&mut world, 2, |writer| {
        writer.attribute(AttributeType::RESERVATION_TOKEN, &token);
    });
    assert_eq!(answer.code(), 508);
    assert_eq!(world.shared.pool.free(Family::V4), 15);
    world.audit();
}

#[test]
fn reservations_cannot_take_the_whole_range() {
    let mut world = world();
    let mut client = client(&mut world, 1);
    let mut reserved = 0;
    for _ in 0..PORTS.count() {
        let answer = client.call(&mut world, Method::ALLOCATE, |writer| {
            udp(writer);
            even(true)(writer);
        });
        reserved += usize::from(answer.code() == 0);
        client.refresh(&mut world, 0);
    }
    assert_eq!(reserved, 2, "an eighth of sixteen ports");
    assert_eq!(allocate(&mut world, 2, |_| {}).code(), 0);
    world.audit();
}

#[test]
fn ports_that_other_programs_hold_are_passed_over() {
    let mut world = world();
    world.shared.taken = PORTS.filter(|port| *port != 50007).collect();
    // Sixteen attempts are enough for sixteen ports.
    let answer = allocate(&mut world, 1, |_| {});
    assert_eq!(answer.relayed()[0].port(), 50007);
    assert_eq!(world.shared.pool.free(Family::V4), 15);
    world.audit();
}

#[test]
fn a_reserved_next_port_is_given_back_when_the_even_one_cannot_be_had() {
    let mut world = world();
    world.shared.taken = PORTS.collect();
    assert_eq!(allocate(&mut world, 1, even(true)).code(), 508);
    assert_eq!(world.shared.pool.free(Family::V4), 16);
    assert_eq!(world.shared.pool.reserved(Family::V4), 0);
    assert_eq!(world.shared.pool.quota.allocations(), 0);
}

#[test]
fn when_no_port_is_left_the_answer_is_508_and_nothing_is_lost() {
    let mut world = world();
    for host in 1..=16 {
        assert_eq!(allocate(&mut world, host, |_| {}).code(), 0);
    }
    assert_eq!(allocate(&mut world, 17, |_| {}).code(), 508);
    assert_eq!(world.shared.pool.quota.allocations(), 16);
    world.audit();
}

#[test]
fn unknown_attributes_that_must_be_understood_are_420_and_named() {
    let mut world = world();
    let answer = allocate(&mut world, 1, |writer| {
        for kind in [0x7000, 0x0030, 0xC000, 0x0002, 0x0004, 0x0005] {
            writer.attribute(AttributeType(kind), &[]);
        }
    });
    assert_eq!(answer.code(), 420);
    assert_eq!(
        answer.value(AttributeType::UNKNOWN_ATTRIBUTES),
        [0x70, 0, 0, 0x30, 0, 2, 0, 4, 0, 5]
    );
    assert!(answer.has(AttributeType::MESSAGE_INTEGRITY));
    assert_eq!(world.servers[0].allocations(), 0);
}

#[test]
fn unknown_attributes_of_a_binding_are_420_too() {
    let mut world = world();
    let mut client = Client::new(0, 1, "one");
    let packet = client.bare(Class::Request, Method::BINDING, |writer| {
        writer.attribute(AttributeType::CHANGE_REQUEST, &[0; 4]);
    });
    let answer = client.ask(&mut world, &packet);
    assert_eq!(answer.code(), 420);
    assert_eq!(answer.value(AttributeType::UNKNOWN_ATTRIBUTES), [0, 3]);
}

#[test]
fn a_binding_is_answered_with_the_address_it_came_from() {
    let mut world = world();
    let mut client = Client::new(0, 1, "one");
    let packet = client.bare(Class::Request, Method::BINDING, |_| {});
    let answer = client.ask(&mut world, &packet);
    assert_eq!(
        answer.addresses(AttributeType::XOR_MAPPED_ADDRESS),
        [client.origin.client]
    );
    assert_eq!(
        stats(&world, |stats| stats.answers.successes(Method::BINDING)),
        1
    );
}

#[test]
fn an_ipv4_client_of_a_socket_for_both_families_is_told_its_ipv4_address() {
    let mut world = world();
    let mut client = Client::at(0, super::addr("[::ffff:198.51.100.1]:7"), b"x".to_vec());
    let packet = client.bare(Class::Request, Method::BINDING, |_| {});
    let answer = client.ask(&mut world, &packet);
    assert_eq!(
        answer.addresses(AttributeType::XOR_MAPPED_ADDRESS),
        [super::addr("198.51.100.1:7")]
    );
}

#[test]
fn requests_without_an_allocation_are_437() {
    let mut world = world();
    let mut client = client(&mut world, 1);
    assert_eq!(client.refresh(&mut world, 600).code(), 437);
    assert_eq!(client.refresh(&mut world, 0).code(), 437);
    let peer = super::addr(super::PEER);
    assert_eq!(client.permit(&mut world, &[peer]), 437);
    assert_eq!(client.bind(&mut world, 0x4000, peer), 437);
    assert_eq!(client.send_to(&mut world, peer, b"x"), Outcome::Nothing);
    assert_eq!(client.send_over(&mut world, 0x4000, b"x"), Outcome::Nothing);
}
