use serde_json::{Value, json};

use super::*;
use crate::signal::core::{Door, Other, SeatId, Terms, Ticket};

fn name(text: &str) -> RoomName {
    RoomName::new(NAMESPACE, text).unwrap()
}

fn id(text: &str) -> MemberId {
    MemberId::new(text).unwrap()
}

fn said(event: &Event<()>) -> Vec<Value> {
    let texts = encode(event, Some(&id("me")));
    let read = |text: &String| serde_json::from_str(text).unwrap();
    texts.iter().map(read).collect()
}

fn joined(others: &[&str]) -> Event<()> {
    Event::Joined {
        ticket: Ticket {
            room: name("r"),
            member: id("me"),
            seat: SeatId::new(1),
            terms: Terms::PLAIN,
        },
        others: others
            .iter()
            .map(|other| Other {
                member: id(other),
                first: true,
            })
            .collect(),
        door: Door::Open,
        returning: false,
    }
}

#[test]
fn a_join_is_answered_with_who_is_there_or_with_nobody() {
    let alone = json!({"cmd": "resp-join", "roomid": "r", "uid": "me"});
    assert_eq!(said(&joined(&[])), [alone]);
    let other = json!({"cmd": "resp-join", "roomid": "r", "uid": "me", "remoteuid": "a"});
    assert_eq!(said(&joined(&["a"])), [other]);
}

#[test]
fn the_receiver_stands_in_uid_and_the_other_in_remoteuid() {
    let (room, member) = (name("r"), id("b"));
    let arrived = Event::Arrived {
        room: room.clone(),
        member: member.clone(),
        returning: false,
    };
    let left = Event::Left { room, member };
    for (event, cmd) in [(arrived, "new-peer"), (left, "peer-leave")] {
        let expected = json!({"cmd": cmd, "roomid": "r", "uid": "me", "remoteuid": "b"});
        assert_eq!(said(&event), [expected]);
    }
}

#[test]
fn a_refusal_has_empty_names_and_says_why() {
    let refused = Event::Refused {
        room: name("r"),
        member: id("me"),
        why: Refusal::Full,
    };
    let expected = json!({
        "cmd": "resp-join", "roomid": "r", "uid": "", "remoteuid": "", "msg": "room is full"
    });
    assert_eq!(said(&refused), [expected]);
}

#[test]
fn a_description_is_addressed_anew_and_is_itself_untouched() {
    let text =
        r#"{"cmd":"offer","roomid":"r","uid":"a","remoteid":"b","sdp":{"x" : 1.50,"y":"\u00e4"}}"#;
    let Ok(Request::Say { claim, to, text }) = parse(text) else {
        panic!("it is for somebody");
    };
    assert_eq!(to, Recipient::Others);
    assert_eq!(claim.member, Some(id("a")));
    assert_eq!(
        text,
        r#"{"cmd":"offer","roomid":"r","uid":"b","remoteuid":"a","sdp":{"x" : 1.50,"y":"\u00e4"}}"#
    );
}

#[test]
fn a_frame_without_a_description_goes_to_the_others_as_it_came() {
    for text in [
        r#"{"cmd":"offer","msg":"v=0"}"#,
        r#"{"cmd":"hangup"}"#,
        r#"{"cmd":"candidate","roomid":"r","uid":"a","remoteid":-1,"msg":"{}"}"#,
    ] {
        let asked = parse(text).unwrap();
        assert!(
            matches!(
                asked,
                Request::Relay {
                    to: Recipient::Others,
                    ..
                }
            ),
            "{text}"
        );
    }
}

#[test]
fn what_cannot_be_understood_leads_to_nothing_or_is_answered() {
    for text in [
        r#"{"cmd":"new-peer"}"#,
        r#"{"cmd":"resp-leave","uid":"a"}"#,
        "{}",
    ] {
        assert_eq!(parse(text), Ok(Request::Nothing), "{text}");
    }
    for text in [
        r#"{"cmd":"join"}"#,
        r#"{"cmd":"join","roomid":"r","uid":""}"#,
    ] {
        assert!(matches!(parse(text), Ok(Request::Reply(_))), "{text}");
    }
    for text in ["", "[]", "1", r#"{"cmd":"join","cmd":"leave"}"#] {
        assert_eq!(parse(text), Err(Malformed), "{text}");
    }
    assert_eq!(
        parse(r#"{"type":"ping"}"#),
        Ok(Request::Reply("\"pong\"".to_owned()))
    );
}
