//! Frames of clients in use, and frames of nobody's.

use proptest::prelude::*;
use serde_json::{Value, json};
use unicode_normalization::UnicodeNormalization as _;

use super::*;
use crate::signal::core::{Door, Other, SeatId, Terms, Ticket};

fn room(name: &str) -> RoomName {
    RoomName::new(NAMESPACE, name).unwrap()
}

fn member(id: &str) -> MemberId {
    MemberId::new(id).unwrap()
}

fn claim(room_name: Option<&str>, id: Option<&str>) -> Claim {
    Claim {
        room: room_name.map(room),
        member: id.map(member),
    }
}

fn told(event: &Event<()>) -> Option<Value> {
    let mut frames = encode(event);
    assert!(frames.len() < 2);
    let text = frames.pop()?;
    Some(serde_json::from_str(&text).unwrap())
}

fn reply_to(text: &str) -> Option<Value> {
    match parse(text) {
        Ok(Request::Reply(reply)) => Some(serde_json::from_str(&reply).unwrap()),
        _ => None,
    }
}

#[test]
fn a_join_names_room_and_member() {
    let expected = Ok(Request::Join {
        room: room("123"),
        member: Some(member("k3x9")),
        token: None,
    });
    for text in [
        r#"{"cmd":"join","roomId":"123","uid":"k3x9"}"#,
        "{\n  \"uid\" : \"k3x9\",\n  \"roomId\" : \"123\",\n  \"cmd\" : \"join\"\n}",
        r#" {"cmd":"jo\u0069n","roomId":"123","uid":"k3x9","extra":{"deep":[1,2]}}"#,
    ] {
        assert_eq!(parse(text), expected, "{text}");
    }
}

#[test]
fn a_room_id_may_be_a_number() {
    for (text, name) in [
        (r#"{"cmd":"join","roomId":0,"uid":"a"}"#, "0"),
        (r#"{"cmd":"join","roomId":100,"uid":"a"}"#, "100"),
        (r#"{"cmd":"join","roomId":"100","uid":"a"}"#, "100"),
    ] {
        let expected = Request::Join {
            room: room(name),
            member: Some(member("a")),
            token: None,
        };
        assert_eq!(parse(text), Ok(expected), "{text}");
    }
}

#[test]
fn a_join_that_cannot_be_is_answered() {
    let long_room = format!(
        r#"{{"cmd":"join","roomId":"{}","uid":"a"}}"#,
        "r".repeat(257)
    );
    let long_uid = format!(
        r#"{{"cmd":"join","roomId":"1","uid":"{}"}}"#,
        "u".repeat(65)
    );
    for (text, msg) in [
        (r#"{"cmd":"join","uid":"a"}"#, "join needs roomId and uid"),
        (
            r#"{"cmd":"join","roomId":"1"}"#,
            "join needs roomId and uid",
        ),
        (
            r#"{"cmd":"join","roomId":["1"],"uid":"a"}"#,
            "join needs roomId and uid",
        ),
        (
            r#"{"cmd":"join","roomId":"1","uid":""}"#,
            "uid must not be empty",
        ),
        (
            r#"{"cmd":"join","roomId":"a\u0007","uid":"a"}"#,
            "roomId must not contain control characters",
        ),
        (&*long_room, "roomId must not be longer than 256 bytes"),
        (&*long_uid, "uid must not be longer than 64 bytes"),
    ] {
        assert_eq!(
            reply_to(text),
            Some(json!({"cmd": "err-msg", "msg": msg})),
            "{text}"
        );
    }
}

#[test]
fn offer_answer_candidate_and_unknown_commands_are_relayed() {
    for cmd in [
        "offer",
        "answer",
        "candidate",
        "hangup",
        "message",
        "sdp-offer",
    ] {
        let text = format!(
            r#"{{"cmd":"{cmd}","roomId":"1","uid":"a","remoteUid":"b","msg":"{{\"type\":1}}"}}"#
        );
        let expected = Request::Relay {
            claim: claim(Some("1"), Some("a")),
            to: Recipient::Member(member("b")),
        };
        assert_eq!(parse(&text), Ok(expected), "{cmd}");
    }
}

#[test]
fn a_frame_without_names_goes_to_the_only_other_member() {
    assert_eq!(
        parse(r#"{"cmd":"offer","msg":{"sdp":"v=0"}}"#),
        Ok(Request::Relay {
            claim: Claim::default(),
            to: Recipient::OnlyOther,
        })
    );
}

#[test]
fn minus_one_is_nobody_rather_than_anybody() {
    assert_eq!(
        parse(r#"{"cmd":"offer","roomId":"1","uid":"a","remoteUid":-1}"#),
        Ok(Request::Relay {
            claim: claim(Some("1"), Some("a")),
            to: Recipient::Member(member("-1")),
        })
    );
}

#[test]
fn a_name_that_nobody_can_have_leads_nowhere() {
    let long = "x".repeat(300);
    for text in [
        r#"{"cmd":"offer","roomId":"1","uid":"","remoteUid":"b"}"#.to_owned(),
        r#"{"cmd":"offer","roomId":"1","uid":"a","remoteUid":""}"#.to_owned(),
        format!(r#"{{"cmd":"offer","roomId":"{long}","uid":"a","remoteUid":"b"}}"#),
        format!(r#"{{"cmd":"leave","roomId":"{long}","uid":"a"}}"#),
    ] {
        assert_eq!(parse(&text), Ok(Request::Nothing), "{text}");
    }
}

#[test]
fn a_leave_says_who_leaves_what() {
    assert_eq!(
        parse(r#"{"cmd":"leave","roomId":"1","uid":"a","remoteUid":-1}"#),
        Ok(Request::Leave(claim(Some("1"), Some("a"))))
    );
    assert_eq!(
        parse(r#"{"cmd":"leave"}"#),
        Ok(Request::Leave(Claim::default()))
    );
}

#[test]
fn words_of_the_server_are_never_relayed() {
    for cmd in [
        "resp-join",
        "new-peer",
        "peer-leave",
        "full",
        "resp-leave",
        "err-msg",
        "ping",
    ] {
        let text = format!(r#"{{"cmd":"{cmd}","roomId":"1","uid":"a","remoteUid":"b"}}"#);
        assert_eq!(parse(&text), Ok(Request::Nothing), "{cmd}");
    }
}

#[test]
fn words_of_collider_are_no_words_of_this_dialect() {
    for cmd in ["register", "send"] {
        let text = format!(r#"{{"cmd":"{cmd}","roomId":"1","uid":"a","remoteUid":"b"}}"#);
        let speaks = Request::Speaks(Dialect::Collider);
        assert_eq!(parse(&text), Ok(speaks), "{cmd}");
    }
}

#[test]
fn each_heartbeat_gets_the_answer_its_client_waits_for() {
    assert_eq!(
        parse(r#"{"type":"ping"}"#),
        Ok(Request::Reply(r#""pong""#.to_owned()))
    );
    assert_eq!(
        reply_to(r#"{"type":"heatbeat","content":"ping"}"#),
        Some(json!({"type": "heatbeat", "content": "pong"}))
    );
    assert_eq!(
        reply_to(r#"{"type":"heartbeat"}"#),
        Some(json!({"type": "heartbeat reply"}))
    );
}

#[test]
fn what_is_not_known_is_not_an_error() {
    for text in [
        "{}",
        r#"{"type":"hello"}"#,
        r#"{"eventCode":"ping"}"#,
        r#"{"cmd":null,"type":null}"#,
        r#"{"cmd":["join"]}"#,
    ] {
        assert_eq!(parse(text), Ok(Request::Nothing), "{text}");
    }
}

#[test]
fn what_is_not_an_object_is_malformed() {
    for text in [
        "",
        "ping",
        "\"pong\"",
        "17",
        "null",
        r#"["join",null,"1","a"]"#,
        r#"{"cmd":"join""#,
        r#"{"cmd":"join"} trailing"#,
        r#"{'cmd':'join'}"#,
    ] {
        assert_eq!(parse(text), Err(Malformed), "{text}");
    }
}

#[test]
fn nesting_however_deep_is_no_danger() {
    let (open, close) = ("[".repeat(30_000), "]".repeat(30_000));
    for key in ["msg", "uid"] {
        let text = format!(r#"{{"cmd":"message","{key}":{open}1{close}}}"#);
        assert!(matches!(parse(&text), Ok(Request::Relay { .. })), "{key}");
        let unclosed = format!(r#"{{"cmd":"message","{key}":{open}"#);
        assert_eq!(parse(&unclosed), Err(Malformed), "{key}");
    }
}

#[test]
fn a_key_said_twice_is_malformed() {
    let text = r#"{"cmd":"offer","uid":"a","uid":"b","remoteUid":"c"}"#;
    assert_eq!(parse(text), Err(Malformed));
}

#[test]
fn every_event_has_the_words_that_each_variant_of_the_client_reads() {
    let (room, id) = (room("房\"1"), member("aa"));
    let (here, who) = (room.clone(), id.clone());
    assert_eq!(
        told(&Event::Arrived {
            room: here,
            member: who,
            returning: false,
        }),
        Some(json!({"cmd": "new-peer", "roomId": "房\"1", "uid": "aa", "remoteUid": "aa"}))
    );
    let (here, who) = (room.clone(), id.clone());
    assert_eq!(
        told(&Event::Left {
            room: here,
            member: who
        }),
        Some(json!({"cmd": "peer-leave", "roomId": "房\"1", "uid": "aa", "remoteUid": "aa"}))
    );
    let joined = |others: &[&str]| {
        let event = Event::<()>::Joined {
            ticket: Ticket {
                room: room.clone(),
                member: id.clone(),
                seat: SeatId::new(1),
                terms: Terms::PLAIN,
            },
            others: others
                .iter()
                .map(|id| Other {
                    member: member(id),
                    first: true,
                })
                .collect(),
            door: Door::Open,
            returning: false,
        };
        let frames = encode(&event);
        let values: Vec<Value> = frames
            .iter()
            .map(|text| serde_json::from_str(text).unwrap())
            .collect();
        values
    };
    assert_eq!(joined(&[]), [] as [Value; 0]);
    let present = |id: &str| json!({"cmd": "resp-join", "roomId": "房\"1", "remoteUid": id, "remoteIds": [id]});
    assert_eq!(joined(&["x", "y"]), [present("x"), present("y")]);
}

#[test]
fn a_refused_join_is_told_why() {
    let refused = |why| {
        told(&Event::Refused {
            room: room("1"),
            member: member("aa"),
            why,
        })
    };
    assert_eq!(
        refused(Refusal::Full),
        Some(json!({"cmd": "full", "roomId": "1", "uid": "aa", "msg": "room is full"}))
    );
    for why in [Refusal::MemberTaken, Refusal::TooManyRooms] {
        assert_eq!(
            refused(why),
            Some(json!({"cmd": "err-msg", "roomId": "1", "uid": "aa", "msg": why.to_string()}))
        );
    }
}

proptest! {
    #[test]
    fn no_text_makes_the_parser_panic(text in ".{0,300}") {
        let _ = parse(&text);
    }

    #[test]
    fn no_arrangement_of_known_keys_makes_the_parser_panic(
        entries in proptest::collection::vec(
            ("(cmd|type|roomId|uid|remoteUid|msg|x)", "(\"[^\"\\\\]{0,70}\"|-?[0-9]{1,25}|null|true|\\[\\]|\\{\\}|1e400|\"\\\\ud800\")"),
            0..8,
        )
    ) {
        let fields: Vec<String> = entries.iter().map(|(key, value)| format!("\"{key}\":{value}")).collect();
        let _ = parse(&format!("{{{}}}", fields.join(",")));
    }

    #[test]
    fn any_valid_name_survives_the_way_in_and_out(name in "\\PC{0,64}", id in "\\PC{1,16}") {
        let text = json!({"cmd": "join", "roomId": &name, "uid": &id}).to_string();
        let Ok(Request::Join { room, member: Some(member), .. }) = parse(&text) else {
            return Err(TestCaseError::fail(text));
        };
        let composed = |text: &str| text.nfc().collect::<String>();
        let (name, id) = (composed(&name), composed(&id));
        prop_assert_eq!(room.as_str(), &name);
        let said = told(&Event::Arrived { room, member, returning: false }).unwrap();
        prop_assert_eq!(&said["roomId"], &json!(name));
        prop_assert_eq!(&said["remoteUid"], &json!(id));
    }
}
