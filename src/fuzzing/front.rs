//! What strangers say first: the bytes of a connection, the path of a request, the text of a frame.

use std::collections::VecDeque;
use std::path::{Component, Path};
use std::time::Duration;

use hyper::Method;

use crate::assets::negotiate::Accepted;
use crate::config::Secret;
use crate::front::route::{self, Role};
use crate::front::sniff::{self, MAX_BYTES, Sniff};
use crate::http::router::{self, Route, Upgrade, route};
use crate::ice::credential_id;
use crate::ice::wish::Wish;
use crate::net::proxy::{self, Step};
use crate::signal::core::{Claim, MEMBER_ID_MAX, MemberId, ROOM_NAME_MAX, Recipient, RoomName};
use crate::signal::dialect::lobby;
use crate::signal::dialect::topics::{MOST_TOPICS, Topical};
use crate::signal::dialect::{Ask, Dialect, Request, course, native, peerjs};
use crate::signal::frame::{Decoder, Found, Violation};
use crate::signal::ticket::Tickets;

/// The first bytes of a connection: a verdict stays what it was, and comes in time.
pub fn sniff(bytes: &[u8]) {
    let whole = sniff::sniff(bytes);
    for end in 0..bytes.len().min(MAX_BYTES) {
        let early = sniff::sniff(&bytes[..end]);
        assert!(early == Sniff::Incomplete || early == whole);
    }
    assert!(bytes.len() < MAX_BYTES || whole != Sniff::Incomplete);
    for role in Role::ALL {
        let _ = route::outer(role, whole);
        // The rest of the input as the name of a protocol.
        let _ = route::inner(role, bytes.get(1..), whole);
    }
}

/// What claims to be a balancer's header: a verdict stays what it was, and what is asked for ends
/// where the header does.
pub fn proxy_header(bytes: &[u8]) {
    let whole = proxy::parse(bytes);
    let mut asked = proxy::parse(&[]);
    for end in 0..=bytes.len() {
        let early = proxy::parse(&bytes[..end]);
        let Ok(Step::More(limit)) = asked else {
            assert_eq!(early, asked, "decided before");
            break;
        };
        assert!(end <= limit, "or the driver would have stopped reading");
        if let Ok(Step::More(more)) = early {
            assert!(more > end && more >= limit, "or the driver would stall");
        }
        asked = early;
    }
    match (asked, whole) {
        (Ok(Step::More(_)), _) => assert_eq!(asked, whole),
        (decided, whole) => assert_eq!(decided, whole),
    }
    if let Ok(Step::Done(header)) = whole {
        assert!(header.length <= bytes.len());
        let source = header.source.map(|source| source.ip());
        assert_eq!(source.map(|ip| ip.to_canonical()), source);
    }
}

/// A path from anybody: what comes out stays below the root.
pub fn router(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else {
        return;
    };
    for method in [Method::GET, Method::POST, Method::OPTIONS] {
        for upgrade in [Upgrade::None, Upgrade::WebSocket] {
            if let Route::Asset(path) = route(&method, text, upgrade, "/ws") {
                assert!(!path.starts_with('/'));
                assert!(!path.contains(['\0', '\\', '\r', '\n']));
                let below = Path::new(&path)
                    .components()
                    .all(|part| matches!(part, Component::Normal(_)));
                assert!(below, "{path:?}");
            }
        }
    }
    // Whoever stands behind a prefix is never asked for what may lie outside of it.
    if router::longest(text, ["/app"].into_iter()).is_some() {
        let plain = text.replace("%2f", "/").replace("%2F", "/");
        assert!(!plain.split('/').any(|segment| segment == ".."));
    }
    let _ = Accepted::parse(text).choose(true, true);
}

/// A frame of the course dialect: what is understood is within bounds.
pub fn course_frame(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else {
        return;
    };
    match course::parse(text) {
        Ok(Request::Join { room, member, .. }) => {
            check_room(&room);
            check_member(&member.expect("known clients name themselves"));
        }
        Ok(Request::Leave(claim)) => check_claim(&claim),
        Ok(Request::Relay { claim, to }) => {
            check_claim(&claim);
            if let Recipient::Member(member) = to {
                check_member(&member);
            }
        }
        // What we answer must be JSON: some clients die of anything else.
        Ok(Request::Reply(reply)) => {
            serde_json::from_str::<serde_json::Value>(&reply).expect("replies are JSON");
        }
        Ok(Request::Nothing | Request::Speaks(_)) | Err(_) => {}
        Ok(other) => panic!("{other:?} is not in this dialect"),
    }
}

/// The frames of a WebSocket; the first byte says in what portions they arrive. Nothing found is
/// longer than allowed, and what is found does not depend on the portions.
pub fn websocket_frame(bytes: &[u8]) {
    let Some((portion, stream)) = bytes.split_first() else {
        return;
    };
    let whole = messages(stream, stream.len().max(1));
    let portions = messages(stream, usize::from(*portion) + 1);
    assert_eq!(whole, portions, "portions must not matter");
    for message in whole.0 {
        match message {
            Found::Text(text) => assert!(text.len() <= MESSAGE_MAX),
            Found::Ping(payload) | Found::Pong(payload) => assert!(payload.len() <= 125),
            Found::Binary | Found::Close(_) => {}
        }
    }
}

/// For the test above; small, so that it is often reached.
const MESSAGE_MAX: usize = 300;

fn messages(stream: &[u8], portion: usize) -> (VecDeque<Found>, Option<Violation>) {
    let mut decoder = Decoder::new(MESSAGE_MAX);
    let (mut found, mut rest) = (VecDeque::new(), Vec::new());
    for bytes in stream.chunks(portion) {
        rest.extend_from_slice(bytes);
        match decoder.decode(&mut rest, &mut found) {
            Ok(taken) => drop(rest.drain(..taken)),
            Err(violation) => return (found, Some(violation)),
        }
    }
    (found, None)
}

/// A frame of our own dialect: what is understood is within bounds, and leads to one step of the
/// rooms, since clients count.
pub fn native_frame(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else {
        return;
    };
    match native::parse(text) {
        Ok(Request::Join { room, member, .. }) => {
            check_room(&room);
            member.iter().for_each(check_member);
        }
        Ok(Request::Leave(claim) | Request::Door { claim, .. }) => check_claim(&claim),
        Ok(Request::Relay { claim, to }) => {
            check_claim(&claim);
            assert!(claim.member.is_some());
            if let Recipient::Member(member) = to {
                check_member(&member);
            }
        }
        Ok(Request::Answer(answer)) => {
            let answer: serde_json::Value = serde_json::from_str(&answer).expect("JSON");
            assert!(answer["cmd"] == "pong" || answer["code"].is_string());
        }
        Ok(Request::Resume { ticket, .. }) => {
            let tickets = Tickets::new(&Secret::new("north"));
            assert_eq!(tickets.open(&ticket, native::NAMESPACE, 0), None);
        }
        Ok(Request::Ice | Request::Report(_)) | Err(_) => {}
        Ok(Request::Reply(_) | Request::Nothing) => panic!("not counted"),
        Ok(other) => panic!("{other:?} is not in this dialect"),
    }
}

/// A frame of a dialect that is not ours; the first byte says which. What is understood is within bounds,
/// and what is made of it is JSON again.
pub fn further_frame(bytes: &[u8]) {
    const DIALECTS: [Dialect; 5] = [
        Dialect::Lower,
        Dialect::PeerJs,
        Dialect::Topics,
        Dialect::Lobby,
        Dialect::Collider,
    ];
    let Some((which, rest)) = bytes.split_first() else {
        return;
    };
    let Ok(text) = std::str::from_utf8(rest) else {
        return;
    };
    let dialect = DIALECTS[usize::from(*which) % DIALECTS.len()];
    let json = |text: &str| -> serde_json::Value { serde_json::from_str(text).expect("JSON") };
    // Numbers beyond all bounds and the like are carried all the same, but cannot be compared.
    let is_comparable = serde_json::from_str::<serde_json::Value>(text).is_ok();
    let Ok(request) = dialect.parse(text) else {
        return;
    };
    if !is_comparable {
        return;
    }
    match request {
        Request::Join { room, member, .. } => {
            check_room(&room);
            member.iter().for_each(check_member);
        }
        Request::Leave(claim) | Request::Relay { claim, .. } => check_claim(&claim),
        Request::Say {
            claim, text: said, ..
        } => {
            check_claim(&claim);
            assert_eq!(json(&said)["sdp"], json(text)["sdp"]);
        }
        Request::Reply(reply) => assert!(json(&reply).is_object() || json(&reply).is_string()),
        Request::Ask(Ask::PeerJs(message)) => {
            let told = peerjs::deliver(&message, "a", "b").expect("it was read");
            assert_eq!(json(&told)["src"], "a");
            // Nothing else than what was sent.
            let payload = json(&told).get("payload").cloned();
            assert_eq!(payload.unwrap_or_default(), json(text)["payload"]);
        }
        Request::Ask(Ask::Topics(topical)) => match topical {
            Topical::Subscribe(topics) | Topical::Unsubscribe(topics) => {
                assert!(topics.len() <= MOST_TOPICS);
                topics.iter().for_each(check_room);
            }
            Topical::Publish(publication) => {
                check_room(&publication.topic);
                let mut expected = json(text);
                expected["clients"] = 7.into();
                assert_eq!(json(&publication.text(7)), expected);
            }
        },
        Request::Ask(Ask::Lobby(wish)) => {
            if let lobby::Wish::New { person, .. } = wish {
                check_member(&person.id);
                assert!(
                    person
                        .name
                        .chars()
                        .count()
                        .max(person.user_agent.chars().count())
                        <= 64
                );
            }
        }
        Request::Collider(_) | Request::Nothing => {}
        other => panic!("{other:?} is not in {dialect:?}"),
    }
}

fn check_claim(claim: &Claim) {
    claim.room.iter().for_each(check_room);
    claim.member.iter().for_each(check_member);
}

fn check_room(room: &RoomName) {
    assert!(room.as_str().len() <= ROOM_NAME_MAX);
}

fn check_member(member: &MemberId) {
    assert!((1..=MEMBER_ID_MAX).contains(&member.as_str().len()));
}

/// Reads what a client wishes for, query and body with a line break between them.
pub fn ice_wish(bytes: &[u8]) {
    let (query, body) = match bytes.iter().position(|byte| *byte == b'\n') {
        Some(at) => bytes.split_at(at),
        None => (bytes, &[][..]),
    };
    let Ok(query) = std::str::from_utf8(query) else {
        return;
    };
    let longest = Duration::from_secs(43_200);
    let wish = Wish::asked(query).or_posted(body.trim_ascii_start());
    let lifetime = wish.lifetime(longest);
    assert!((60..=43_200).contains(&lifetime.as_secs()));
    let id = credential_id(wish.names.iter().map(String::as_str), 0);
    assert!(id.len() <= 128 && id.bytes().all(|b| b.is_ascii_graphic() && b != b':'));
}
