use serde_json::{Value, json};

use super::*;
use crate::signal::core::MemberId;
use crate::signal::dialect::lobby::NAMESPACE;
use crate::signal::record::World;

const A: ConnectionId = ConnectionId::new(1);
const B: ConnectionId = ConnectionId::new(2);
const C: ConnectionId = ConnectionId::new(3);

fn lobbies() -> Lobbies {
    let limits = Limits {
        lobbies: 2,
        people: 2,
    };
    Lobbies::new(limits, Numbers::new(World::Lobby, 3))
}

fn name(text: &str) -> RoomName {
    RoomName::new(NAMESPACE, text).unwrap()
}

fn enter(
    lobbies: &mut Lobbies,
    who: ConnectionId,
    lobby: &str,
    id: &str,
) -> Result<Vec<Letter>, &'static str> {
    let person = Person {
        id: MemberId::new(id).unwrap(),
        name: "n".to_owned(),
        user_agent: "u".to_owned(),
    };
    let mut out = Vec::new();
    lobbies.handle_new(who, name(lobby), person, true, &mut out)?;
    Ok(out)
}

/// Who hears of whom.
fn seen(letters: &[Letter]) -> Vec<(Vec<ConnectionId>, Vec<String>)> {
    let read = |letter: &Letter| match letter {
        Letter::Text(to, text) => {
            let frame: Value = serde_json::from_str(text).unwrap();
            assert_eq!(frame["type"], "peers");
            let ids = frame["data"].as_array().unwrap().iter();
            let ids = ids.map(|person| person["id"].as_str().unwrap().to_owned());
            (to.clone(), ids.collect())
        }
        other => panic!("{other:?}"),
    };
    letters.iter().map(read).collect()
}

#[test]
fn everybody_sees_who_comes_and_who_goes() {
    let mut lobbies = lobbies();
    let a = vec!["1".to_owned()];
    let both = vec!["1".to_owned(), "2".to_owned()];
    assert_eq!(
        seen(&enter(&mut lobbies, A, "", "1").unwrap()),
        [(vec![A], a.clone())]
    );
    assert_eq!(
        seen(&enter(&mut lobbies, B, "", "2").unwrap()),
        [(vec![A, B], both)]
    );
    let mut out = Vec::new();
    lobbies.handle_leave(B, &mut out);
    assert_eq!(seen(&out), [(vec![A], a)]);
    lobbies.handle_leave(A, &mut out);
    assert_eq!((lobbies.lobbies(), lobbies.people()), (0, 0));
}

#[test]
fn ids_people_and_lobbies_are_limited() {
    let mut lobbies = lobbies();
    enter(&mut lobbies, A, "", "1").unwrap();
    assert_eq!(enter(&mut lobbies, B, "", "1"), Err("this id is in use"));
    enter(&mut lobbies, B, "", "2").unwrap();
    assert_eq!(enter(&mut lobbies, C, "", "3"), Err("room is full"));
    enter(&mut lobbies, C, "other", "1").unwrap();
    let none = Err("the server has no place for another room");
    assert_eq!(enter(&mut lobbies, A, "third", "1"), none);
    // The same client under another name.
    enter(&mut lobbies, B, "", "4").unwrap();
    assert_eq!(lobbies.people(), 3);
}

#[test]
fn a_message_reaches_who_it_is_for_and_nobody_speaks_for_another() {
    let mut lobbies = lobbies();
    enter(&mut lobbies, A, "", "1").unwrap();
    enter(&mut lobbies, B, "", "2").unwrap();
    enter(&mut lobbies, C, "other", "3").unwrap();
    let mut out = Vec::new();
    let carry = |lobbies: &mut Lobbies, from, to, out: &mut Vec<Letter>| {
        lobbies.handle_carry(A, "offer", from, to, "text", out)
    };
    carry(&mut lobbies, Some("1"), "2", &mut out).unwrap();
    carry(&mut lobbies, None, "2", &mut out).unwrap();
    assert_eq!(out, vec![Letter::Text(vec![B], "text".to_owned()); 2]);
    out.clear();
    assert!(carry(&mut lobbies, Some("2"), "2", &mut out).is_err());
    let lost = carry(&mut lobbies, Some("1"), "3", &mut out);
    assert_eq!(lost, Err("Peer [3] not found".to_owned()));
    let stranger = lobbies.handle_carry(ConnectionId::new(9), "offer", None, "1", "text", &mut out);
    assert_eq!(stranger, Err("send new first".to_owned()));
    assert!(out.is_empty());
}

#[test]
fn a_call_is_ended_by_one_of_the_two_in_it_and_both_are_told() {
    let mut lobbies = lobbies();
    enter(&mut lobbies, A, "", "1").unwrap();
    enter(&mut lobbies, B, "", "2").unwrap();
    let mut out = Vec::new();
    lobbies.handle_bye(B, "1-2", &mut out).unwrap();
    let told = |to: &str| json!({"type": "bye", "data": {"to": to, "session_id": "1-2"}});
    let heard: Vec<_> = out
        .drain(..)
        .map(|letter| match letter {
            Letter::Text(to, text) => (to, serde_json::from_str::<Value>(&text).unwrap()),
            other => panic!("{other:?}"),
        })
        .collect();
    assert_eq!(heard, [(vec![A], told("1")), (vec![B], told("2"))]);
    for session in ["3-4", "12", "22", "2", ""] {
        let done = lobbies.handle_bye(B, session, &mut out);
        assert_eq!(
            done,
            Err(format!("Invalid session [{session}]")),
            "{session}"
        );
    }
    assert!(out.is_empty());
    let mut left = Vec::new();
    lobbies.handle_leave(A, &mut left);
    assert!(lobbies.handle_bye(B, "1-2", &mut out).is_err());
    assert_eq!(out.len(), 1, "the one who is there is told all the same");
}
