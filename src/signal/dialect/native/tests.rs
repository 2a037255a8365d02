//! Frames of the native dialect, against their specification.

use std::time::Duration;

use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;
use crate::signal::core::{Failure, Lost, Other, Refusal, SeatId, Terms, Ticket};

const SPECIFICATION: &str = include_str!("../../../../docs/signaling.md");

fn room(name: &str) -> RoomName {
    RoomName::new(NAMESPACE, name).unwrap()
}

fn member(id: &str) -> MemberId {
    MemberId::new(id).unwrap()
}

fn claim(name: Option<&str>, id: Option<&str>) -> Claim {
    Claim {
        room: name.map(room),
        member: id.map(member),
    }
}

fn ticket() -> Ticket {
    Ticket {
        room: room("123"),
        member: member("k3x9"),
        seat: SeatId::new(1),
        terms: Terms {
            resumable: true,
            may_create: true,
            may_lock: true,
        },
    }
}

fn other(id: &str) -> Other {
    Other {
        member: member(id),
        first: true,
    }
}

/// The words for an event.
fn told(event: &Event<()>) -> String {
    let ice = json!({
        "iceServers": [{"urls": ["stun:call.example.com:3478"]}],
        "iceTransportPolicy": "all",
        "ttl": 43200,
        "expires_at": 1_790_043_200_u64,
    });
    let welcome = Welcome {
        ticket: "AQMA…",
        ice: &ice,
        capacity: 2,
        ping_interval: Duration::from_secs(20),
        resume_window: Duration::from_secs(30),
    };
    encode(event, Some(&welcome)).unwrap()
}

/// The code of the complaint about a frame.
fn complaint(text: &str) -> String {
    match parse(text) {
        Ok(Request::Answer(answer)) => {
            let answer: Value = serde_json::from_str(&answer).unwrap();
            assert_eq!(answer["cmd"], "err-msg");
            answer["code"].as_str().unwrap().to_owned()
        }
        other => panic!("{text}: {other:?}"),
    }
}

#[test]
fn the_specification_has_each_frame_of_the_server_as_it_is() {
    let (here, aa) = (room("123"), member("aa"));
    let about = |make: fn(RoomName, MemberId) -> Event<()>| told(&make(here.clone(), aa.clone()));
    let door = |door| {
        told(&Event::Door {
            room: here.clone(),
            by: aa.clone(),
            door,
        })
    };
    let failed = Event::Failed {
        to: Some(aa.clone()),
        why: Failure::NoSuchMember,
    };
    let refused = |why| {
        told(&Event::Refused {
            room: here.clone(),
            member: member("k3x9"),
            why,
        })
    };
    let frames = [
        told(&Event::Joined {
            ticket: ticket(),
            others: vec![other("aa")],
            door: Door::Open,
            returning: false,
        }),
        told(&Event::Resumed {
            ticket: ticket(),
            received: 7,
            lost: None,
        }),
        told(&Event::Resumed {
            ticket: ticket(),
            received: 7,
            lost: Some(Lost {
                sent: 310,
                others: vec![other("aa")],
                door: Door::Open,
            }),
        }),
        about(|room, member| Event::Arrived {
            room,
            member,
            returning: false,
        }),
        about(|room, member| Event::Left { room, member }),
        about(|room, member| Event::Away { room, member }),
        about(|room, member| Event::Back {
            room,
            member,
            lost: false,
        }),
        door(Door::Locked),
        door(Door::Open),
        told(&failed),
        refused(Refusal::Full),
        refused(Refusal::MemberTaken),
        complain(&Complaint::Missing("uid")).unwrap(),
    ];
    for frame in frames {
        assert!(SPECIFICATION.contains(&frame), "not specified: {frame}");
    }
}

#[test]
fn the_specification_lists_every_code() {
    let codes = [
        "malformed",
        "missing-key",
        "reserved-cmd",
        "bad-name",
        "bad-report",
        "bad-ticket",
        "token-required",
        "token-invalid",
        "token-mismatch",
        "full",
        "uid-taken",
        "too-many-rooms",
        "locked",
        "no-such-room",
        "already-joined",
        "not-joined",
        "not-yours",
        "no-such-member",
        "may-not-lock",
    ];
    for code in codes {
        assert!(SPECIFICATION.contains(&format!("| `{code}` |")), "{code}");
    }
}

#[test]
fn each_frame_of_a_client_is_understood() {
    let both = claim(Some("123"), Some("k3x9"));
    let relay = |to| Request::Relay {
        claim: both.clone(),
        to,
    };
    for (text, expected) in [
        (
            r#"{"cmd":"join","roomId":"123","uid":"k3x9"}"#,
            Request::Join {
                room: room("123"),
                member: Some(member("k3x9")),
                token: None,
            },
        ),
        (
            r#"{"cmd":"join","roomId":123,"token":"eyJ"}"#,
            Request::Join {
                room: room("123"),
                member: None,
                token: Some("eyJ".to_owned()),
            },
        ),
        (
            r#"{"cmd":"resume","ticket":"AQMA…","received":12}"#,
            Request::Resume {
                ticket: "AQMA…".to_owned(),
                received: 12,
            },
        ),
        (
            r#"{"cmd":"offer","roomId":"123","uid":"k3x9","remoteUid":"aa","msg":{"sdp":"v=0…"}}"#,
            relay(Recipient::Member(member("aa"))),
        ),
        (
            r#"{"cmd":"chat","roomId":"123","uid":"k3x9","msg":"hello"}"#,
            relay(Recipient::Others),
        ),
        (
            r#"{"cmd":"lock"}"#,
            Request::Door {
                claim: Claim::default(),
                door: Door::Locked,
            },
        ),
        (
            r#"{"cmd":"unlock","roomId":"123","uid":"k3x9"}"#,
            Request::Door {
                claim: both.clone(),
                door: Door::Open,
            },
        ),
        (r#"{"cmd":"leave"}"#, Request::Leave(Claim::default())),
        (r#"{"cmd":"ice"}"#, Request::Ice),
        (
            r#"{"cmd":"report","path":"relay","transport":"tls"}"#,
            Request::Report(Outcome::new("relay", Some("tls")).unwrap()),
        ),
        (
            r#"{"cmd":"ping"}"#,
            Request::Answer(r#"{"cmd":"pong"}"#.to_owned()),
        ),
    ] {
        assert_eq!(parse(text), Ok(expected), "{text}");
    }
}

#[test]
fn what_cannot_be_done_is_answered_with_a_code() {
    for (text, code) in [
        ("{}", "missing-key"),
        (r#"{"cmd":"join"}"#, "missing-key"),
        (r#"{"cmd":"join","roomId":"\u0007"}"#, "bad-name"),
        (r#"{"cmd":"join","roomId":"1","uid":""}"#, "bad-name"),
        (r#"{"cmd":"resume","ticket":"x"}"#, "missing-key"),
        (
            r#"{"cmd":"resume","ticket":"x","received":-1}"#,
            "missing-key",
        ),
        (r#"{"cmd":"offer","remoteUid":"aa"}"#, "missing-key"),
        (r#"{"cmd":"offer","uid":"a","remoteUid":""}"#, "bad-name"),
        (r#"{"cmd":"peer-leave","uid":"a"}"#, "reserved-cmd"),
        (r#"{"cmd":"joined","uid":"a"}"#, "reserved-cmd"),
        (r#"{"cmd":""}"#, "reserved-cmd"),
        (r#"{"cmd":"report"}"#, "missing-key"),
        (r#"{"cmd":"report","path":"192.0.2.1"}"#, "bad-report"),
        (r#"{"cmd":"report","path":"host"}"#, "bad-report"),
        (r#"{"cmd":"reported","uid":"a"}"#, "reserved-cmd"),
    ] {
        assert_eq!(complaint(text), code, "{text}");
    }
    for text in [
        "",
        "[]",
        "1",
        r#"{"cmd":"join""#,
        r#"{"cmd":"a","cmd":"b"}"#,
    ] {
        assert_eq!(parse(text), Err(Malformed), "{text}");
    }
}

#[test]
fn nothing_that_the_server_says_passes_from_client_to_client() {
    for cmd in RESERVED {
        let native = json!({"cmd": cmd, "uid": "a", "roomId": "1", "received": 0}).to_string();
        assert!(
            !matches!(parse(&native), Ok(Request::Relay { .. })),
            "{cmd}"
        );
    }
    // Both dialects meet in the same rooms: what one may not say, the other may not either.
    for event in [
        "joined",
        "resumed",
        "peer-away",
        "peer-back",
        "locked",
        "unlocked",
        "ice-servers",
    ] {
        let frame = json!({"cmd": event, "uid": "a", "remoteUid": "b"}).to_string();
        assert_eq!(course::parse(&frame), Ok(Request::Nothing), "{event}");
    }
}

proptest! {
    #[test]
    fn no_text_makes_the_parser_panic(text in ".{0,300}") {
        let _ = parse(&text);
    }

    #[test]
    fn every_frame_leads_to_one_step_that_is_counted(
        entries in proptest::collection::vec(
            ("(cmd|roomId|uid|remoteUid|ticket|received|token|msg)",
             "(\"(join|resume|leave|lock|ice|ping|report|offer)\"|\"[^\"\\\\]{0,70}\"|-?[0-9]{1,25}|null|true|\\[\\]|\\{\\})"),
            0..8,
        )
    ) {
        let fields: Vec<String> = entries.iter().map(|(key, value)| format!("\"{key}\":{value}")).collect();
        let parsed = parse(&format!("{{{}}}", fields.join(",")));
        prop_assert!(!matches!(parsed, Ok(Request::Nothing | Request::Reply(_))));
    }
}
