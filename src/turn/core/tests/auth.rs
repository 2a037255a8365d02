//! The long-term credential mechanism (RFC 8489 section 9.2).

use super::{PEER, addr, allocated, seconds, world};
use crate::fuzzing::client::{Client, rest_password, udp, write};
use crate::fuzzing::world::{EPOCH, Outcome, STATIC_USER, World};
use crate::turn::core::auth::PASSWORD_ALGORITHMS;
use crate::turn::stun::integrity::userhash;
use crate::turn::stun::{Algorithm, AttributeType, Class, Key, Method, Writer};

/// An Allocate sealed by hand.
fn request(client: &mut Client, fill: impl FnOnce(&mut Writer<'_>)) -> Vec<u8> {
    let id = client.transaction();
    write(Class::Request, Method::ALLOCATE, id, |writer| {
        udp(writer);
        fill(writer);
    })
}

fn logged_in(world: &mut World) -> Client {
    let mut client = Client::new(0, 1, "one");
    client.log_in(world);
    client
}

#[test]
fn without_credentials_the_answer_is_401_with_realm_nonce_and_algorithms() {
    let mut world = world();
    let mut client = Client::new(0, 1, "one");
    let challenge = client.log_in(&mut world);
    assert_eq!(challenge.code(), 401);
    assert_eq!(challenge.value(AttributeType::REALM), b"example.org");
    assert!(
        challenge
            .value(AttributeType::NONCE)
            .starts_with(b"obMatJos2gAAA"),
        "the cookie announces password algorithms"
    );
    assert_eq!(
        challenge.value(AttributeType::PASSWORD_ALGORITHMS),
        PASSWORD_ALGORITHMS
    );
    assert!(!challenge.has(AttributeType::MESSAGE_INTEGRITY));
}

#[test]
fn the_right_password_is_believed_and_the_answer_is_sealed_alike() {
    for sha256 in [false, true] {
        let mut world = world();
        let mut client = logged_in(&mut world);
        if sha256 {
            client = client.with_sha256();
        }
        let answer = client.call(&mut world, Method::ALLOCATE, udp);
        assert_eq!(answer.code(), 0);
        assert_eq!(answer.message().verify_sha1(&client.key()), !sha256);
        assert_eq!(answer.message().verify_sha256(&client.key()), sha256);
        assert_eq!(answer.has(AttributeType::MESSAGE_INTEGRITY), !sha256);
    }
}

#[test]
fn a_wrong_password_is_401_again() {
    for sha256 in [false, true] {
        let mut world = world();
        let mut client = logged_in(&mut world);
        if sha256 {
            client = client.with_sha256();
        }
        client.password = b"guess".to_vec();
        let answer = client.call(&mut world, Method::ALLOCATE, udp);
        assert_eq!(answer.code(), 401);
        assert!(answer.has(AttributeType::NONCE));
        assert!(!answer.has(AttributeType::MESSAGE_INTEGRITY));
    }
}

#[test]
fn an_unknown_user_is_told_no_more_than_one_with_a_wrong_password() {
    let mut world = world();
    let mut client = logged_in(&mut world).named("mallory", b"x");
    let unknown = client.call(&mut world, Method::ALLOCATE, udp);
    let mut client = logged_in(&mut world).named(STATIC_USER.0, b"x");
    let wrong = client.call(&mut world, Method::ALLOCATE, udp);
    assert_eq!(unknown.code(), 401);
    assert_eq!(unknown.0[20..], wrong.0[20..], "header apart");
}

#[test]
fn users_with_fixed_passwords_are_known() {
    let mut world = world();
    let mut client = logged_in(&mut world).named(STATIC_USER.0, STATIC_USER.1);
    assert_eq!(client.call(&mut world, Method::ALLOCATE, udp).code(), 0);
}

#[test]
fn a_hashed_name_is_found_among_fixed_users() {
    let mut world = world();
    let mut client = logged_in(&mut world)
        .named(STATIC_USER.0, STATIC_USER.1)
        .with_sha256();
    client.hashed = true;
    assert_eq!(client.call(&mut world, Method::ALLOCATE, udp).code(), 0);
    assert_eq!(client.permit(&mut world, &[addr(PEER)]), 0);
}

#[test]
fn a_hashed_rest_name_is_known_once_it_has_an_allocation() {
    let (mut world, mut client, _) = allocated();
    client.hashed = true;
    assert_eq!(client.permit(&mut world, &[addr(PEER)]), 0);
    let mut stranger = Client::new(0, 9, "two");
    stranger.log_in(&mut world);
    stranger.hashed = true;
    assert_eq!(stranger.call(&mut world, Method::ALLOCATE, udp).code(), 401);
}

#[test]
fn a_stale_nonce_is_438_and_the_answer_has_one_that_works() {
    let (mut world, mut client, _) = allocated();
    client.nonce = b"from another server".to_vec();
    let answer = client.refresh(&mut world, 600);
    assert_eq!(answer.code(), 438);
    client.heed(&answer);
    assert_eq!(client.refresh(&mut world, 600).code(), 0);
}

#[test]
fn a_nonce_goes_stale_with_time() {
    let mut world = world();
    let mut client = logged_in(&mut world).named(STATIC_USER.0, STATIC_USER.1);
    world.pass(seconds(25 * 3600));
    let answer = client.call(&mut world, Method::ALLOCATE, udp);
    assert_eq!(answer.code(), 438);
    client.heed(&answer);
    assert_eq!(client.call(&mut world, Method::ALLOCATE, udp).code(), 0);
}

#[test]
fn a_nonce_of_another_address_is_stale() {
    let mut world = world();
    let other = logged_in(&mut world);
    let mut client = Client::new(0, 2, "one");
    client.heed(&client_challenge(&mut world));
    client.nonce.clone_from(&other.nonce);
    assert_eq!(client.call(&mut world, Method::ALLOCATE, udp).code(), 438);
}

fn client_challenge(world: &mut World) -> crate::fuzzing::client::Answer {
    Client::new(0, 2, "one").log_in(world)
}

#[test]
fn a_stale_nonce_says_nothing_about_a_wrong_password() {
    let mut world = world();
    let mut client = logged_in(&mut world);
    client.nonce = b"old".to_vec();
    client.password = b"guess".to_vec();
    assert_eq!(client.call(&mut world, Method::ALLOCATE, udp).code(), 401);
}

#[test]
fn a_seal_without_name_realm_or_nonce_is_400() {
    let mut world = world();
    let mut client = logged_in(&mut world);
    let key = client.key();
    let all = [
        (AttributeType::USERNAME, client.username.clone()),
        (AttributeType::REALM, client.realm.clone()),
        (AttributeType::NONCE, client.nonce.clone()),
    ];
    for missing in 0..all.len() {
        let packet = request(&mut client, |writer| {
            for (index, (kind, value)) in all.iter().enumerate() {
                if index != missing {
                    writer.attribute(*kind, value);
                }
            }
            writer.message_integrity(&key);
        });
        let answer = client.ask(&mut world, &packet);
        assert_eq!(answer.code(), 400);
        assert!(!answer.has(AttributeType::NONCE));
    }
}

#[test]
fn bidding_down_is_400() {
    // What the client says it was offered, what it chose, and the answer.
    type Case = (Option<&'static [u8]>, Option<&'static [u8]>, u16);
    let offered: &'static [u8] = &PASSWORD_ALGORITHMS;
    let cases: [Case; 9] = [
        // RFC 8489 section 9.2.4: neither means MD5.
        (None, None, 0),
        (Some(offered), Some(&[0, 1, 0, 0]), 0),
        (Some(offered), Some(&[0, 2, 0, 0]), 401),
        // One without the other.
        (Some(offered), None, 400),
        (None, Some(&[0, 1, 0, 0]), 400),
        // Somebody on the way has taken the stronger one out of the offer, or reordered it.
        (Some(&[0, 1, 0, 0]), Some(&[0, 1, 0, 0]), 400),
        (Some(&[0, 1, 0, 0, 0, 2, 0, 0]), Some(&[0, 1, 0, 0]), 400),
        // Not in the offer.
        (Some(offered), Some(&[0, 3, 0, 0]), 400),
        (Some(offered), Some(&[0, 1]), 400),
    ];
    for (algorithms, algorithm, expected) in cases {
        let mut world = world();
        let mut client = logged_in(&mut world);
        let key = client.key();
        let (name, realm, nonce) = (
            client.username.clone(),
            client.realm.clone(),
            client.nonce.clone(),
        );
        let packet = request(&mut client, |writer| {
            writer.attribute(AttributeType::USERNAME, &name);
            writer.attribute(AttributeType::REALM, &realm);
            writer.attribute(AttributeType::NONCE, &nonce);
            if let Some(value) = algorithms {
                writer.attribute(AttributeType::PASSWORD_ALGORITHMS, value);
            }
            if let Some(value) = algorithm {
                writer.attribute(AttributeType::PASSWORD_ALGORITHM, value);
            }
            // The MD5 key in every case.
            writer.message_integrity(&key);
        });
        let answer = client.ask(&mut world, &packet);
        assert_eq!(answer.code(), expected, "{algorithms:?} {algorithm:?}");
    }
}

#[test]
fn taking_the_feature_bits_out_of_the_nonce_spoils_it() {
    let mut world = world();
    let mut client = logged_in(&mut world);
    client.nonce = client.nonce.split_off(13);
    assert_eq!(client.call(&mut world, Method::ALLOCATE, udp).code(), 438);
}

#[test]
fn of_two_seals_both_must_fit() {
    let mut world = world();
    let mut client = logged_in(&mut world).with_sha256();
    let good = client.key();
    let bad = Key::long_term(Algorithm::Sha256, b"x", b"y", b"z");
    let (name, realm, nonce) = (
        client.username.clone(),
        client.realm.clone(),
        client.nonce.clone(),
    );
    for (sha1, sha256, expected) in [(&bad, &good, 401), (&good, &bad, 401), (&good, &good, 0)] {
        let packet = request(&mut client, |writer| {
            writer.attribute(AttributeType::USERNAME, &name);
            writer.attribute(AttributeType::REALM, &realm);
            writer.attribute(AttributeType::NONCE, &nonce);
            writer.attribute(AttributeType::PASSWORD_ALGORITHMS, &PASSWORD_ALGORITHMS);
            writer.attribute(AttributeType::PASSWORD_ALGORITHM, &[0, 2, 0, 0]);
            writer.message_integrity(sha1);
            writer.message_integrity_sha256(sha256);
        });
        let answer = client.ask(&mut world, &packet);
        assert_eq!(answer.code(), expected);
    }
}

#[test]
fn a_credential_that_is_over_allocates_no_more_but_keeps_what_it_has() {
    let (mut world, mut client, _) = allocated();
    for _ in 0..6 {
        world.pass(seconds(590));
        assert_eq!(client.refresh(&mut world, 600).code(), 0);
    }
    world.pass(seconds(500));
    assert!(world.now.unix > EPOCH + 3600, "the name says an hour");
    assert_eq!(client.refresh(&mut world, 600).code(), 0);
    assert_eq!(client.permit(&mut world, &[addr(PEER)]), 0);
    assert_eq!(client.refresh(&mut world, 0).code(), 0);
    assert_eq!(client.call(&mut world, Method::ALLOCATE, udp).code(), 401);
}

#[test]
fn another_users_request_on_the_same_five_tuple_is_441() {
    let (mut world, client, _) = allocated();
    let mut other = client.named(STATIC_USER.0, STATIC_USER.1);
    // Ids of its own, lest it look like a retransmission.
    for _ in 0..10 {
        other.transaction();
    }
    assert_eq!(other.refresh(&mut world, 0).code(), 441);
    assert_eq!(other.permit(&mut world, &[addr(PEER)]), 441);
    assert_eq!(other.bind(&mut world, 0x4000, addr(PEER)), 441);
    assert_eq!(world.servers[0].allocations(), 1);
}

#[test]
fn rest_names_of_the_same_person_but_another_time_are_another_user() {
    let (mut world, mut client, _) = allocated();
    client.username = format!("{}:one", EPOCH + 7200).into_bytes();
    client.password = rest_password(&client.username);
    assert_eq!(client.refresh(&mut world, 600).code(), 441);
}

#[test]
fn a_userhash_of_the_wrong_length_finds_nobody() {
    let mut world = world();
    let mut client = logged_in(&mut world);
    let key = Key::long_term(
        Algorithm::Md5,
        STATIC_USER.0.as_bytes(),
        &client.realm,
        STATIC_USER.1,
    );
    let hash = userhash(STATIC_USER.0.as_bytes(), &client.realm);
    let (realm, nonce) = (client.realm.clone(), client.nonce.clone());
    let packet = request(&mut client, |writer| {
        writer.attribute(AttributeType::USERHASH, &hash[..31]);
        writer.attribute(AttributeType::REALM, &realm);
        writer.attribute(AttributeType::NONCE, &nonce);
        writer.message_integrity(&key);
    });
    assert_eq!(client.ask(&mut world, &packet).code(), 401);
}

#[test]
fn errors_indications_and_answers_are_never_answered() {
    let mut world = world();
    let mut client = Client::new(0, 1, "one");
    for class in [Class::Indication, Class::Success, Class::Error] {
        for method in 0..=0x0F {
            let packet = client.bare(class, Method::new(method), udp);
            assert_eq!(
                client.send(&mut world, &packet),
                Outcome::Nothing,
                "{class:?} {method}"
            );
        }
    }
}

#[test]
fn requests_of_unknown_methods_and_of_methods_for_indications_are_not_answered() {
    let mut world = world();
    let mut client = Client::new(0, 1, "one");
    for method in [0, 2, 5, 6, 7, 0x0A, 0xFFF] {
        let packet = client.bare(Class::Request, Method::new(method), udp);
        assert_eq!(client.send(&mut world, &packet), Outcome::Nothing);
    }
}

#[test]
fn a_request_with_a_wrong_fingerprint_is_not_answered() {
    let mut world = world();
    let mut client = Client::new(0, 1, "one");
    let mut packet = client.bare(Class::Request, Method::BINDING, |writer| {
        writer.fingerprint()
    });
    let answer = client.ask(&mut world, &packet);
    assert!(
        answer.has(AttributeType::FINGERPRINT),
        "asked with, answered with"
    );
    *packet.last_mut().unwrap() ^= 1;
    assert_eq!(client.send(&mut world, &packet), Outcome::Nothing);
}
