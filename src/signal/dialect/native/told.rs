//! The server's frames of the native dialect.

use serde::Serialize;
use serde_json::Value;

use super::Complaint;
use crate::signal::core::{Door, Event, Failure, Lost, MemberId, Other, Refusal, Ticket};
use crate::signal::dialect::Welcome;

pub(super) fn event<T>(event: &Event<T>, welcome: Option<&Welcome<'_>>) -> Option<String> {
    let told = match event {
        Event::Joined {
            ticket,
            others,
            door,
            returning,
        } => Told::Joined(Joined {
            seat: Seat::new(ticket, welcome?),
            returning: *returning,
            state: State::new(others, *door),
        }),
        Event::Resumed {
            ticket,
            received,
            lost,
        } => Told::Resumed(Resumed {
            seat: Seat::new(ticket, welcome?),
            received: *received,
            sent: lost.as_ref().map(|lost| lost.sent),
            lost: lost.is_some(),
            state: lost
                .as_ref()
                .map(|Lost { others, door, .. }| State::new(others, *door)),
        }),
        Event::Arrived {
            room,
            member,
            returning,
        } => Told::NewPeer(Peer {
            returning: Some(*returning),
            // Whoever was there first holds on to its own offer when two collide.
            polite: Some(false),
            ..Peer::new(room.as_str(), member)
        }),
        Event::Left { room, member } => Told::PeerLeave(Peer::new(room.as_str(), member)),
        Event::Away { room, member } => Told::PeerAway(Peer::new(room.as_str(), member)),
        Event::Back { room, member, lost } => Told::PeerBack(Peer {
            lost: Some(*lost),
            ..Peer::new(room.as_str(), member)
        }),
        Event::Door { room, by, door } => {
            let by = Peer::new(room.as_str(), by);
            match door {
                Door::Locked => Told::Locked(by),
                Door::Open => Told::Unlocked(by),
            }
        }
        Event::Refused { room, member, why } => {
            let refused = Wrong {
                room: Some(room.as_str()),
                uid: Some(member.as_str()),
                ..Wrong::new(refusal(*why), why.to_string())
            };
            match why {
                Refusal::Full => Told::Full(refused),
                _ => Told::ErrMsg(refused),
            }
        }
        Event::Failed { to, why } => Told::ErrMsg(Wrong {
            remote: to.as_ref().map(MemberId::as_str),
            ..Wrong::new(failure(*why), why.to_string())
        }),
        // These are words already, or told by the close code.
        Event::Relayed(_) | Event::Answered(_) | Event::Superseded => return None,
    };
    told.text()
}

pub(super) fn complaint(why: &Complaint) -> Option<String> {
    Told::ErrMsg(Wrong::new(why.code(), why.text())).text()
}

pub(super) fn ice_servers(welcome: &Welcome<'_>) -> Option<String> {
    Told::IceServers {
        ice: welcome.ice,
        ticket: welcome.ticket,
    }
    .text()
}

fn refusal(why: Refusal) -> &'static str {
    match why {
        Refusal::Full => "full",
        Refusal::MemberTaken => "uid-taken",
        Refusal::TooManyRooms => "too-many-rooms",
        Refusal::Locked => "locked",
        Refusal::NoSuchRoom => "no-such-room",
        Refusal::AlreadyJoined => "already-joined",
    }
}

fn failure(why: Failure) -> &'static str {
    match why {
        Failure::NotJoined => "not-joined",
        Failure::NotYours => "not-yours",
        Failure::NoSuchMember => "no-such-member",
        Failure::MayNotLock => "may-not-lock",
    }
}

#[derive(Serialize)]
#[serde(tag = "cmd", rename_all = "kebab-case")]
enum Told<'a> {
    Joined(Joined<'a>),
    Resumed(Resumed<'a>),
    NewPeer(Peer<'a>),
    PeerLeave(Peer<'a>),
    PeerAway(Peer<'a>),
    PeerBack(Peer<'a>),
    Locked(Peer<'a>),
    Unlocked(Peer<'a>),
    IceServers { ice: &'a Value, ticket: &'a str },
    Full(Wrong<'a>),
    ErrMsg(Wrong<'a>),
}

#[derive(Serialize)]
struct Joined<'a> {
    #[serde(flatten)]
    seat: Seat<'a>,
    returning: bool,
    #[serde(flatten)]
    state: State<'a>,
}

#[derive(Serialize)]
struct Resumed<'a> {
    #[serde(flatten)]
    seat: Seat<'a>,
    received: u64,
    lost: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    sent: Option<u64>,
    #[serde(flatten)]
    state: Option<State<'a>>,
}

/// The client's own place, and what it needs to fill it. Durations in milliseconds.
#[derive(Serialize)]
struct Seat<'a> {
    #[serde(rename = "roomId")]
    room: &'a str,
    uid: &'a str,
    capacity: usize,
    #[serde(rename = "mayLock")]
    may_lock: bool,
    ticket: &'a str,
    #[serde(rename = "pingInterval")]
    ping_interval: u64,
    #[serde(rename = "resumeWindow")]
    resume_window: u64,
    ice: &'a Value,
}

/// The room as it is.
#[derive(Serialize)]
struct State<'a> {
    locked: bool,
    members: Vec<Member<'a>>,
}

/// Another member, and how the receiver behaves towards it.
#[derive(Serialize)]
struct Member<'a> {
    uid: &'a str,
    polite: bool,
}

/// The same name twice, as in the course dialect.
#[derive(Serialize)]
struct Peer<'a> {
    #[serde(rename = "roomId")]
    room: &'a str,
    uid: &'a str,
    #[serde(rename = "remoteUid")]
    remote: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    polite: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    returning: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    lost: Option<bool>,
}

#[derive(Serialize)]
struct Wrong<'a> {
    code: &'a str,
    msg: String,
    #[serde(rename = "roomId", skip_serializing_if = "Option::is_none")]
    room: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    uid: Option<&'a str>,
    #[serde(rename = "remoteUid", skip_serializing_if = "Option::is_none")]
    remote: Option<&'a str>,
}

impl Told<'_> {
    /// Text, numbers and what came out of JSON always have a JSON form.
    fn text(&self) -> Option<String> {
        serde_json::to_string(self).ok()
    }
}

impl<'a> Seat<'a> {
    fn new(ticket: &'a Ticket, welcome: &Welcome<'a>) -> Self {
        let millis =
            |time: std::time::Duration| u64::try_from(time.as_millis()).unwrap_or(u64::MAX);
        Self {
            room: ticket.room.as_str(),
            uid: ticket.member.as_str(),
            capacity: welcome.capacity,
            may_lock: ticket.terms.may_lock,
            ticket: welcome.ticket,
            ping_interval: millis(welcome.ping_interval),
            resume_window: millis(welcome.resume_window),
            ice: welcome.ice,
        }
    }
}

impl<'a> State<'a> {
    fn new(others: &'a [Other], door: Door) -> Self {
        Self {
            locked: door == Door::Locked,
            members: others
                .iter()
                .map(|other| Member {
                    uid: other.member.as_str(),
                    polite: other.first,
                })
                .collect(),
        }
    }
}

impl<'a> Peer<'a> {
    fn new(room: &'a str, member: &'a MemberId) -> Self {
        Self {
            room,
            uid: member.as_str(),
            remote: member.as_str(),
            polite: None,
            returning: None,
            lost: None,
        }
    }
}

impl<'a> Wrong<'a> {
    fn new(code: &'a str, msg: String) -> Self {
        Self {
            code,
            msg,
            room: None,
            uid: None,
            remote: None,
        }
    }
}
