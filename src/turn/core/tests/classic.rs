//! Clients from before the magic cookie (RFC 3489).

use super::addr;
use crate::fuzzing::client::Client;
use crate::fuzzing::world::{Outcome, Plan, World};

const ID: [u8; 16] = *b"a classic client";

fn world() -> World {
    World::new(Plan {
        classic_stun: true,
        ..Plan::default()
    })
}

/// A request with these attributes.
fn request(kind: u16, attributes: &[u8]) -> Vec<u8> {
    let mut bytes = kind.to_be_bytes().to_vec();
    bytes.extend((attributes.len() as u16).to_be_bytes());
    bytes.extend(ID);
    bytes.extend(attributes);
    bytes
}

fn answer(world: &mut World, packet: &[u8]) -> Option<Vec<u8>> {
    let client = Client::new(0, 1, "one");
    match client.send(world, packet) {
        Outcome::Answer(bytes) => {
            assert_eq!(bytes[4..20], ID);
            assert_eq!(usize::from(bytes[3]) + 20, bytes.len());
            assert!(bytes.len() <= 3 * packet.len());
            Some(bytes)
        }
        Outcome::Nothing => None,
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_client_without_the_cookie_is_told_its_address_if_that_is_wanted() {
    let packet = request(1, &[]);
    let told = answer(&mut world(), &packet).unwrap();
    assert_eq!(told[..4], [1, 1, 0, 12]);
    // 198.51.100.1, port 40000, as it is.
    assert_eq!(told[20..], [0, 1, 0, 8, 0, 1, 0x9C, 0x40, 198, 51, 100, 1]);
    assert_eq!(answer(&mut super::world(), &packet), None);
}

#[test]
fn an_ipv6_client_is_told_too() {
    let client = Client::at(0, addr("[2001:db8::1]:9"), b"x".to_vec());
    let Outcome::Answer(bytes) = client.send(&mut world(), &request(1, &[])) else {
        panic!("no answer");
    };
    assert_eq!(bytes[20..28], [0, 1, 0, 20, 0, 2, 0, 9]);
    assert_eq!(bytes.len(), 44);
}

#[test]
fn wishes_of_classic_clients_are_420() {
    let mut world = world();
    for (attribute, refused) in [
        // CHANGE-REQUEST: nothing, the port, the address.
        (&[0, 3, 0, 4, 0, 0, 0, 0][..], false),
        (&[0, 3, 0, 4, 0, 0, 0, 2], true),
        (&[0, 3, 0, 4, 0, 0, 0, 4], true),
        // RESPONSE-ADDRESS of somebody else.
        (&[0, 2, 0, 8, 0, 1, 0, 80, 192, 0, 2, 1], true),
        // USERNAME, an optional one, an unknown one.
        (&[0, 6, 0, 4, b'n', b'a', b'm', b'e'], false),
        (&[0x80, 0x20, 0, 4, 1, 2, 3, 4], false),
        (&[0x7F, 0xFF, 0, 0], true),
    ] {
        let told = answer(&mut world, &request(1, attribute)).unwrap();
        assert_eq!(told[1] == 0x11, refused, "{attribute:?}");
        if refused {
            let [a, b] = [attribute[0], attribute[1]];
            let value = [0, 9, 0, 4, 0, 0, 4, 20, 0, 10, 0, 4, a, b, a, b];
            assert_eq!(told[20..], value);
        }
    }
}

#[test]
fn nothing_but_a_binding_request_counts_as_classic() {
    let mut world = world();
    for kind in [0, 2, 0x101, 0x111, 0x11, 3, 4, 0x102] {
        assert_eq!(answer(&mut world, &request(kind, &[])), None, "{kind}");
    }
    let whole = request(1, &[0, 6, 0, 4, 1, 2, 3, 4]);
    for cut in 0..whole.len() {
        assert_eq!(answer(&mut world, &whole[..cut]), None, "{cut} bytes");
    }
    // An attribute that reaches past the end.
    assert_eq!(
        answer(&mut world, &request(1, &[0, 6, 0, 5, 1, 2, 3, 4])),
        None
    );
    // Over a stream it is no STUN at all.
    let stream = Client::new(0, 1, "one").over_stream(1);
    assert_eq!(stream.send(&mut world, &whole), Outcome::Nothing);
}

#[test]
fn classic_answers_are_limited_like_any_other() {
    let mut world = World::new(Plan {
        classic_stun: true,
        unauthenticated_per_second: 5,
        ..Plan::default()
    });
    let packet = request(1, &[]);
    let told = (0..100).filter(|_| answer(&mut world, &packet).is_some());
    assert!(told.count() <= 20);
}
