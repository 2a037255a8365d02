//! What an address that proved nothing can make us send to it.

use super::addr;
use crate::fuzzing::client::Client;
use crate::fuzzing::world::{Outcome, Plan, World};
use crate::turn::core::auth::MAX_REALM;
use crate::turn::stun::{AttributeType, Class, Method, Writer};

/// The answer's size, and the request's.
fn sizes(
    world: &mut World,
    client: &mut Client,
    method: Method,
    fill: impl FnOnce(&mut Writer<'_>),
) -> (usize, usize) {
    let packet = client.bare(Class::Request, method, fill);
    match client.send(world, &packet) {
        Outcome::Answer(answer) => (answer.len(), packet.len()),
        other => panic!("{other:?}"),
    }
}

fn worlds() -> impl Iterator<Item = World> {
    [1, 2, 11, MAX_REALM - 1, MAX_REALM, 63, 127]
        .into_iter()
        .map(|len| {
            World::new(Plan {
                realm: "r".repeat(len),
                ..Plan::default()
            })
        })
}

#[test]
fn a_binding_over_ipv4_is_answered_with_at_most_1_6_times_its_size() {
    let mut world = World::new(Plan::default());
    let mut client = Client::new(0, 1, "one");
    for extra in 0..60 {
        for fingerprint in [false, true] {
            let (answer, request) = sizes(&mut world, &mut client, Method::BINDING, |writer| {
                if extra > 0 {
                    writer.attribute(AttributeType::SOFTWARE, &vec![b's'; extra]);
                }
                if fingerprint {
                    writer.fingerprint();
                }
            });
            assert!(answer * 10 <= request * 16, "{request} -> {answer}");
        }
    }
}

#[test]
fn a_refused_binding_is_answered_with_at_most_1_6_times_its_size() {
    let mut world = World::new(Plan::default());
    let mut client = Client::new(0, 1, "one");
    for count in 1..100 {
        let (answer, request) = sizes(&mut world, &mut client, Method::BINDING, |writer| {
            for kind in 0..count {
                writer.attribute(AttributeType(0x7000 + kind), &[]);
            }
        });
        assert!(answer * 10 <= request * 16, "{request} -> {answer}");
    }
}

#[test]
fn nothing_without_proof_is_answered_with_more_than_three_times_its_size() {
    let methods = [
        Method::BINDING,
        Method::ALLOCATE,
        Method::REFRESH,
        Method::CREATE_PERMISSION,
        Method::CHANNEL_BIND,
    ];
    for mut world in worlds() {
        for client in ["198.51.100.1:9", "[2001:db8::1]:9"] {
            let mut client = Client::at(0, addr(client), b"1900000000:x".to_vec());
            for method in methods {
                for extra in 0..80_usize {
                    let (answer, request) = sizes(&mut world, &mut client, method, |writer| {
                        if let Some(len) = extra.checked_sub(1) {
                            writer.attribute(AttributeType::SOFTWARE, &vec![b's'; len]);
                        }
                    });
                    assert!(answer <= 3 * request, "{method:?}: {request} -> {answer}");
                }
            }
        }
    }
}

#[test]
fn lies_are_answered_with_no_more_than_three_times_their_size_either() {
    for mut world in worlds() {
        let mut client = Client::new(0, 1, "one");
        client.log_in(&mut world);
        // Wrong seal, missing name, stale nonce, short and long.
        for case in 0..24_u8 {
            let packet = client.bare(Class::Request, Method::ALLOCATE, |writer| {
                if case & 1 != 0 {
                    writer.attribute(AttributeType::USERNAME, b"1900000000:x");
                }
                if case & 2 != 0 {
                    writer.attribute(AttributeType::REALM, b"");
                }
                if case & 4 != 0 {
                    writer.attribute(AttributeType::NONCE, b"");
                }
                if case & 8 != 0 {
                    writer.attribute(AttributeType::MESSAGE_INTEGRITY, &[0; 20]);
                }
                if case & 16 != 0 {
                    writer.attribute(AttributeType::MESSAGE_INTEGRITY_SHA256, &[]);
                }
            });
            match client.send(&mut world, &packet) {
                Outcome::Answer(answer) => {
                    assert!(answer.len() <= 3 * packet.len(), "case {case}");
                }
                other => panic!("{other:?}"),
            }
        }
    }
}

#[test]
fn a_first_allocate_of_28_bytes_still_gets_a_challenge_with_the_longest_realm() {
    let mut world = World::new(Plan {
        realm: "r".repeat(MAX_REALM),
        ..Plan::default()
    });
    let mut client = Client::new(0, 1, "one");
    let packet = client.bare(
        Class::Request,
        Method::ALLOCATE,
        crate::fuzzing::client::udp,
    );
    assert_eq!(packet.len(), 28);
    let answer = client.ask(&mut world, &packet);
    assert_eq!(answer.code(), 401);
    client.heed(&answer);
    assert!(client.algorithms.is_empty(), "there is no room for them");
    let answer = client.call(&mut world, Method::ALLOCATE, crate::fuzzing::client::udp);
    assert_eq!(answer.code(), 0);
}

#[test]
fn on_streams_the_challenge_is_whole_whatever_the_request() {
    let mut world = World::new(Plan::default());
    let mut client = Client::new(0, 1, "one").over_stream(1);
    let packet = client.bare(Class::Request, Method::ALLOCATE, |_| {});
    let answer = client.ask(&mut world, &packet);
    assert!(answer.has(AttributeType::PASSWORD_ALGORITHMS));
}
