use proptest::prelude::*;

use super::*;
use crate::net::clock;
use crate::signal::record::World;

const A: ConnectionId = ConnectionId::new(1);
const B: ConnectionId = ConnectionId::new(2);
const C: ConnectionId = ConnectionId::new(3);

fn limits() -> Limits {
    Limits {
        clients: 2,
        items: 3,
        bytes: 10_000,
        total: 1_500,
        patience: Duration::from_secs(5),
    }
}

fn realm() -> Realm {
    Realm::new(limits(), Numbers::new(World::PeerJs, 3))
}

fn id(text: &str) -> PeerId {
    PeerId::new(text).unwrap()
}

fn message(kind: Kind, to: &str) -> Message {
    Message {
        kind,
        to: Some(to.to_owned()),
        payload: Some("{}".to_owned()),
    }
}

fn enter(realm: &mut Realm, who: ConnectionId, as_whom: &str, token: &str) -> Vec<Letter> {
    let mut out = Vec::new();
    realm
        .handle_enter(who, &id(as_whom), token, &mut out)
        .unwrap();
    out
}

fn text(to: ConnectionId, text: Option<String>) -> Letter {
    Letter::Text(vec![to], text.unwrap())
}

#[test]
fn two_clients_exchange_messages_under_the_ids_that_they_have() {
    let mut realm = realm();
    assert_eq!(enter(&mut realm, A, "a", "t"), [text(A, peerjs::open())]);
    enter(&mut realm, B, "b", "u");
    let mut out = Vec::new();
    let offer = message(Kind::Offer, "b");
    assert!(realm.handle_message(A, offer.clone(), clock::now(), &mut out));
    assert_eq!(out, [text(B, peerjs::deliver(&offer, "a", "b"))]);
}

#[test]
fn an_id_in_use_is_given_up_for_the_same_token_only() {
    let mut realm = realm();
    enter(&mut realm, A, "a", "t");
    let mut out = Vec::new();
    let refused = realm.handle_enter(B, &id("a"), "T", &mut out);
    assert_eq!((refused, out.len()), (Err(Refusal::Taken), 0));
    let expected = [Letter::Replaced(A), text(B, peerjs::open())];
    assert_eq!(enter(&mut realm, B, "a", "t"), expected);
    // The old connection ends later than the new one began.
    realm.handle_leave(A);
    assert_eq!(realm.clients(), 1);
    realm.handle_leave(B);
    enter(&mut realm, C, "a", "other");
}

#[test]
fn what_is_for_somebody_who_is_not_there_yet_waits_and_arrives_in_order() {
    let mut realm = realm();
    enter(&mut realm, A, "a", "t");
    let mut out = Vec::new();
    let now = clock::now();
    let sent = [Kind::Offer, Kind::Candidate].map(|kind| message(kind, "b"));
    for one in &sent {
        assert!(realm.handle_message(A, one.clone(), now, &mut out));
    }
    assert!(out.is_empty());
    let heard = enter(&mut realm, B, "b", "u");
    let mut expected = vec![text(B, peerjs::open())];
    expected.extend(
        sent.iter()
            .map(|one| text(B, peerjs::deliver(one, "a", "b"))),
    );
    assert_eq!(heard, expected);
    realm.handle_timeout(now + Duration::from_secs(60), &mut out);
    assert!(out.is_empty(), "nothing has expired: {out:?}");
    assert_eq!(realm.bytes, 0);
}

#[test]
fn what_has_waited_too_long_is_told_once_to_each_sender() {
    let mut realm = realm();
    enter(&mut realm, A, "a", "t");
    enter(&mut realm, B, "b", "u");
    let mut out = Vec::new();
    let now = clock::now();
    for who in [A, B, A] {
        realm.handle_message(who, message(Kind::Offer, "z"), now, &mut out);
    }
    let due = realm.poll_timeout().unwrap();
    assert_eq!(due, now + Duration::from_secs(5));
    realm.handle_timeout(due - Duration::from_millis(1), &mut out);
    assert!(out.is_empty());
    realm.handle_timeout(due, &mut out);
    let expected = [
        text(A, peerjs::expire("z", "a")),
        text(B, peerjs::expire("z", "b")),
    ];
    assert_eq!(out, expected);
    assert_eq!((realm.bytes, realm.poll_timeout()), (0, None));
}

#[test]
fn what_cannot_be_kept_expires_at_once() {
    let mut realm = realm();
    enter(&mut realm, A, "a", "t");
    let mut out = Vec::new();
    let now = clock::now();
    for _ in 0..3 {
        assert!(realm.handle_message(A, message(Kind::Candidate, "z"), now, &mut out));
    }
    assert!(!realm.handle_message(A, message(Kind::Candidate, "z"), now, &mut out));
    assert_eq!(out, [text(A, peerjs::expire("z", "a"))]);
    // Two ids, and no more bytes.
    assert!(realm.handle_message(A, message(Kind::Offer, "y"), now, &mut out));
    assert!(!realm.handle_message(A, message(Kind::Offer, "x"), now, &mut out));
    assert!(realm.handle_message(A, message(Kind::Offer, "y"), now, &mut out));
    assert!(!realm.handle_message(A, message(Kind::Offer, "y"), now, &mut out));
}

#[test]
fn a_leave_does_not_wait_and_one_for_nobody_gives_up_the_id() {
    let mut realm = realm();
    enter(&mut realm, A, "a", "t");
    let mut out = Vec::new();
    let now = clock::now();
    assert!(!realm.handle_message(A, message(Kind::Leave, "z"), now, &mut out));
    assert!(realm.poll_timeout().is_none() && out.is_empty());
    let leave = Message {
        kind: Kind::Leave,
        to: None,
        payload: None,
    };
    realm.handle_message(A, leave, now, &mut out);
    assert_eq!(realm.clients(), 0);
    assert!(!realm.handle_message(A, message(Kind::Offer, "z"), now, &mut out));
}

#[test]
fn too_many_clients_are_refused() {
    let mut realm = realm();
    enter(&mut realm, A, "a", "t");
    enter(&mut realm, B, "b", "t");
    let mut out = Vec::new();
    assert_eq!(
        realm.handle_enter(C, &id("c"), "t", &mut out),
        Err(Refusal::Full)
    );
    // One of those who are there comes back all the same.
    realm.handle_enter(C, &id("b"), "t", &mut out).unwrap();
}

/// What may happen.
#[derive(Clone, Copy, Debug)]
enum Step {
    Enter(u8, u8, u8),
    Say(u8, u8, u8),
    Leave(u8),
    Wait(u8),
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        (0..6u8, 0..4u8, 0..2u8).prop_map(|(who, id, token)| Step::Enter(who, id, token)),
        (0..6u8, 0..6u8, 0..4u8).prop_map(|(who, to, kind)| Step::Say(who, to, kind)),
        (0..6u8).prop_map(Step::Leave),
        (0..7u8).prop_map(Step::Wait),
    ]
}

proptest! {
    #[test]
    fn ids_belong_to_one_connection_and_memory_is_given_back(steps in prop::collection::vec(step(), 0..200)) {
        let numbers = Numbers::new(World::PeerJs, 3);
        let mut realm = Realm::new(Limits { clients: 3, ..limits() }, numbers);
        let mut now = clock::now();
        let mut out = Vec::new();
        for step in steps {
            match step {
                Step::Enter(who, name, token) => {
                    let who = ConnectionId::new(who.into());
                    let _ = realm.handle_enter(who, &id(&name.to_string()), &token.to_string(), &mut out);
                }
                Step::Say(who, to, kind) => {
                    let kinds = [Kind::Offer, Kind::Answer, Kind::Candidate, Kind::Leave];
                    let one = message(kinds[usize::from(kind)], &to.to_string());
                    realm.handle_message(ConnectionId::new(who.into()), one, now, &mut out);
                }
                Step::Leave(who) => realm.handle_leave(ConnectionId::new(who.into())),
                Step::Wait(seconds) => {
                    now += Duration::from_secs(seconds.into());
                    realm.handle_timeout(now, &mut out);
                }
            }
            prop_assert!(realm.clients.len() <= 3);
            prop_assert_eq!(realm.clients.len(), realm.ids.len());
            for (id, client) in &realm.clients {
                prop_assert_eq!(realm.ids.get(&client.connection), Some(id));
            }
            prop_assert!(realm.bytes <= limits().total);
            let held: usize = realm.waiting.values().map(|queue| queue.bytes).sum();
            prop_assert_eq!(held, realm.bytes);
            prop_assert!(realm.waiting.keys().all(|id| !realm.clients.contains_key(id)));
        }
        realm.handle_timeout(now + Duration::from_secs(60), &mut out);
        prop_assert!(realm.waiting.is_empty() && realm.deadlines.is_empty());
    }
}
