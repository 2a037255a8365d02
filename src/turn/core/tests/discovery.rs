//! NAT behaviour discovery (RFC 5780), in a world with a second address.

use std::net::SocketAddr;

use super::addr;
use crate::fuzzing::client::{Answer, Client};
use crate::fuzzing::world::{Outcome, Plan, World};
use crate::turn::stun::{AttributeType, Class, Method, Writer};

const DOORS: [&str; 4] = [
    "9.9.9.9:3478",
    "9.9.9.9:443",
    "9.9.9.10:3478",
    "9.9.9.10:443",
];

fn world(doors: &[&str]) -> World {
    World::new(Plan {
        doors: doors.iter().map(|door| addr(door)).collect(),
        ..Plan::default()
    })
}

fn ask(
    world: &mut World,
    client: &mut Client,
    fill: impl FnOnce(&mut Writer<'_>),
) -> (Option<u16>, SocketAddr, Answer) {
    let packet = client.bare(Class::Request, Method::BINDING, fill);
    let outcome = client.send(world, &packet);
    match outcome {
        Outcome::Answer(bytes) => (None, client.origin.client, Answer(bytes)),
        Outcome::AnswerVia { socket, to, bytes } => (socket, to, Answer(bytes)),
        other => panic!("{other:?}"),
    }
}

fn code(world: &mut World, fill: impl FnOnce(&mut Writer<'_>)) -> u16 {
    ask(world, &mut Client::new(0, 1, "one"), fill).2.code()
}

#[test]
fn a_plain_binding_tells_of_the_other_address_within_the_limit() {
    let mut world = world(&DOORS);
    let mut client = Client::new(0, 1, "one");
    let (_, _, answer) = ask(&mut world, &mut client, |_| {});
    assert_eq!(answer.code(), 0);
    assert_eq!(
        answer.value(AttributeType::OTHER_ADDRESS),
        [0, 1, 1, 0xBB, 9, 9, 9, 10]
    );
    assert_eq!(
        answer.value(AttributeType::RESPONSE_ORIGIN),
        [0, 1, 0x0D, 0x96, 9, 9, 9, 9]
    );
    assert!(!answer.has(AttributeType::MAPPED_ADDRESS), "no room for it");
    assert!(answer.0.len() <= 60);
    // Who sends more is told more.
    let (_, _, answer) = ask(&mut world, &mut client, |writer| {
        writer.u32(AttributeType::CHANGE_REQUEST, 0);
    });
    assert!(answer.has(AttributeType::MAPPED_ADDRESS));
}

#[test]
fn change_request_without_another_address_is_420() {
    for (doors, codes) in [
        (&DOORS[..2], [0, 0, 420, 420]),
        (&DOORS[..1], [420; 4]),
        (&[][..], [420; 4]),
    ] {
        let mut world = world(doors);
        for (flags, expected) in [0, 2, 4, 6].into_iter().zip(codes) {
            let code = code(&mut world, |writer| {
                writer.u32(AttributeType::CHANGE_REQUEST, flags);
            });
            assert_eq!(code, expected, "{flags} with {} doors", doors.len());
        }
    }
    let mut world = world(&DOORS[..2]);
    let mut client = Client::new(0, 1, "one");
    let (socket, _, answer) = ask(&mut world, &mut client, |writer| {
        writer.u32(AttributeType::CHANGE_REQUEST, 2);
    });
    assert_eq!(socket, Some(1));
    assert!(!answer.has(AttributeType::OTHER_ADDRESS), "there is none");
    assert_eq!(
        answer.value(AttributeType::RESPONSE_ORIGIN),
        [0, 1, 1, 0xBB, 9, 9, 9, 9]
    );
}

#[test]
fn the_response_port_is_one_of_the_clients_own() {
    let mut world = world(&DOORS);
    let mut client = Client::new(0, 1, "one");
    for value in [&[0x12, 0x34, 0, 0][..], &[0x12, 0x34]] {
        let (socket, to, answer) = ask(&mut world, &mut client, |writer| {
            writer.attribute(AttributeType::RESPONSE_PORT, value);
        });
        assert_eq!((socket, answer.code()), (None, 0));
        assert_eq!(to, SocketAddr::new(client.origin.client.ip(), 0x1234));
    }
    for value in [&[0, 0, 0, 0][..], &[1], &[1, 2, 3], &[]] {
        let code = code(&mut world, |writer| {
            writer.attribute(AttributeType::RESPONSE_PORT, value);
        });
        assert_eq!(code, 400, "{value:?}");
    }
}

#[test]
fn response_port_and_padding_together_are_400_and_go_nowhere_else() {
    let mut world = world(&DOORS);
    let mut client = Client::new(0, 1, "one");
    let (_, to, answer) = ask(&mut world, &mut client, |writer| {
        writer.u32(AttributeType::RESPONSE_PORT, 0x1234 << 16);
        writer.attribute(AttributeType::PADDING, &[0; 1500]);
    });
    assert_eq!((to, answer.code()), (client.origin.client, 400));
}

#[test]
fn padding_makes_the_answer_no_longer_than_a_frame() {
    let mut world = world(&DOORS);
    let mut client = Client::new(0, 1, "one");
    for (asked, given) in [(0, 0), (1, 1), (8, 8), (1500, 1500), (1700, 1500)] {
        let (_, _, answer) = ask(&mut world, &mut client, |writer| {
            writer.attribute(AttributeType::PADDING, &vec![b'p'; asked]);
        });
        assert_eq!(answer.value(AttributeType::PADDING), vec![0; given]);
    }
}

#[test]
fn a_discovery_is_answered_with_at_most_three_times_its_size() {
    let doors = [
        DOORS.to_vec(),
        vec![
            "[2620:fe::9]:3478",
            "[2620:fe::9]:443",
            "[2620:fe::a]:3478",
            "[2620:fe::a]:443",
        ],
    ];
    for (doors, client) in doors.iter().zip(["198.51.100.1:9", "[2001:db8::1]:9"]) {
        let mut world = world(doors);
        let mut client = Client::at(0, addr(client), b"1900000000:x".to_vec());
        for case in 0..64_usize {
            let packet = client.bare(Class::Request, Method::BINDING, |writer| {
                if case & 1 != 0 {
                    writer.u32(AttributeType::CHANGE_REQUEST, 6);
                }
                if case & 2 != 0 {
                    writer.u32(AttributeType::RESPONSE_PORT, 0x1234 << 16);
                }
                if case & 4 != 0 {
                    writer.attribute(AttributeType::PADDING, &vec![0; case * 4]);
                }
                if case & 8 != 0 {
                    writer.attribute(AttributeType::SOFTWARE, &vec![b's'; case]);
                }
                if case & 16 != 0 {
                    writer.fingerprint();
                }
            });
            let (Outcome::Answer(bytes) | Outcome::AnswerVia { bytes, .. }) =
                client.send(&mut world, &packet)
            else {
                panic!("case {case}");
            };
            assert!(bytes.len() <= 3 * packet.len(), "case {case}");
        }
    }
}

#[test]
fn over_streams_there_is_nothing_to_discover() {
    let mut world = world(&DOORS);
    let mut client = Client::new(0, 1, "one").over_stream(1);
    let (_, _, answer) = ask(&mut world, &mut client, |_| {});
    assert!(!answer.has(AttributeType::OTHER_ADDRESS));
    let (_, _, answer) = ask(&mut world, &mut client, |writer| {
        writer.u32(AttributeType::CHANGE_REQUEST, 2);
    });
    assert_eq!(answer.code(), 420);
}
