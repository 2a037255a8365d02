//! The one-to-one course protocol: `join`, `resp-join`, `new-peer`, `offer`, `answer`,
//! `candidate`, `leave`, `peer-leave`.
//!
//! Owns the JSON of these frames. What is sent is a superset that the known variants of the client
//! also understand; docs/signaling.md is the description for users. Who may do what is the core's
//! business.

#[cfg(test)]
mod tests;

use serde::{Deserialize, Serialize};

use super::scalar::Scalar;
use super::{Dialect, Malformed, Request, lobby};
use crate::signal::core::{
    Claim, Event, MemberId, NameError, Namespace, Recipient, Refusal, RoomName,
};

/// Where the rooms of this dialect live.
pub const NAMESPACE: Namespace = Namespace::new("course");

/// Never carried from client to client: each would be taken for our own word, or means something
/// to a server only (heartbeats and commands of related protocols).
const NOT_RELAYED: [&str; 18] = [
    "resp-join",
    "new-peer",
    "peer-leave",
    "full",
    "resp-leave",
    "err-msg",
    "ping",
    "pong",
    "keepLive",
    "respKeepLive",
    "",
    // Words of the native dialect, whose clients sit in the same rooms.
    "joined",
    "resumed",
    "peer-away",
    "peer-back",
    "locked",
    "unlocked",
    "ice-servers",
];

/// What a frame asks for.
///
/// A key that occurs twice makes the frame malformed: a browser would believe the second, so what
/// we checked and what the receiver sees could differ.
pub fn parse(text: &str) -> Result<Request, Malformed> {
    // serde would also fill the fields from an array, in order.
    if !text.trim_ascii_start().starts_with('{') {
        return Err(Malformed);
    }
    let frame: Frame<'_> = serde_json::from_str(text).map_err(|_| Malformed)?;
    Ok(match frame.cmd.as_str() {
        Some("join") if frame.is_lower() => Request::Speaks(Dialect::Lower),
        Some("join") => frame.join(),
        Some("register" | "send") => Request::Speaks(Dialect::Collider),
        Some("leave") => frame.claim().map_or(Request::Nothing, Request::Leave),
        Some(cmd) if is_ours(cmd) => Request::Nothing,
        Some(_) => frame.relay(),
        None => match frame.kind.as_str() {
            Some(kind) if lobby::is_first(kind) => Request::Speaks(Dialect::Lobby),
            kind => heartbeat(kind),
        },
    })
}

/// Whether a command is the server's own word, or meant for it.
pub(super) fn is_ours(cmd: &str) -> bool {
    NOT_RELAYED.contains(&cmd)
}

/// The three heartbeats in use that expect something back, the second in its own spelling.
pub(super) fn heartbeat(kind: Option<&str>) -> Request {
    let reply = match kind {
        Some("ping") => r#""pong""#,
        Some("heatbeat") => r#"{"type":"heatbeat","content":"pong"}"#,
        Some("heartbeat") => r#"{"type":"heartbeat reply"}"#,
        _ => return Request::Nothing,
    };
    Request::Reply(reply.to_owned())
}

/// The frames that tell a client of `event`.
pub fn encode<T>(event: &Event<T>) -> Vec<String> {
    let told = match event {
        // One frame for each. A client alone in its room is told nothing.
        Event::Joined { ticket, others, .. } => {
            let frames = others.iter().map(|other| Told::RespJoin {
                room: ticket.room.as_str(),
                remote: other.member.as_str(),
                remotes: [other.member.as_str()],
            });
            return frames.filter_map(|told| told.text()).collect();
        }
        Event::Arrived { room, member, .. } => Told::NewPeer(Peer::new(room, member)),
        Event::Left { room, member } => Told::PeerLeave(Peer::new(room, member)),
        Event::Refused { room, member, why } => {
            let refused = Refused {
                room: Some(room.as_str()),
                uid: Some(member.as_str()),
                msg: &why.to_string(),
            };
            let told = match why {
                Refusal::Full => Told::Full(refused).text(),
                _ => Told::ErrMsg(refused).text(),
            };
            return told.into_iter().collect();
        }
        // The text of others is not ours to write; of the rest these clients know nothing.
        Event::Relayed(_)
        | Event::Answered(_)
        | Event::Resumed { .. }
        | Event::Away { .. }
        | Event::Back { .. }
        | Event::Door { .. }
        | Event::Failed { .. }
        | Event::Superseded => return Vec::new(),
    };
    told.text().into_iter().collect()
}

/// Tells a client why it cannot join.
pub fn deny(msg: &str) -> Option<String> {
    let refused = Refused {
        room: None,
        uid: None,
        msg,
    };
    Told::ErrMsg(refused).text()
}

/// The fields that a server of this protocol looks at. `msg` is not among them.
#[derive(Deserialize)]
struct Frame<'a> {
    #[serde(borrow, default)]
    cmd: Scalar<'a>,
    #[serde(borrow, default, rename = "type")]
    kind: Scalar<'a>,
    #[serde(borrow, default, rename = "roomId")]
    room: Scalar<'a>,
    /// As related clients write it.
    #[serde(borrow, default)]
    roomid: Scalar<'a>,
    #[serde(borrow, default)]
    uid: Scalar<'a>,
    #[serde(borrow, default, rename = "remoteUid")]
    remote: Scalar<'a>,
    /// Where the operator demands one, the page has been changed to bring it.
    #[serde(borrow, default)]
    token: Scalar<'a>,
}

impl Frame<'_> {
    fn is_lower(&self) -> bool {
        self.room.as_str().is_none() && self.roomid.as_str().is_some()
    }

    fn join(&self) -> Request {
        // Without these the frame is of another dialect, or of a program that is being written.
        let (Some(room), Some(uid)) = (self.room.as_str(), self.uid.as_str()) else {
            return refuse("join needs roomId and uid");
        };
        match (RoomName::new(NAMESPACE, room), MemberId::new(uid)) {
            (Ok(room), Ok(member)) => Request::Join {
                room,
                member: Some(member),
                token: self.token.as_str().map(str::to_owned),
            },
            (Err(wrong), _) => refuse(&format!("roomId {wrong}")),
            (_, Err(wrong)) => refuse(&format!("uid {wrong}")),
        }
    }

    fn relay(&self) -> Request {
        let to = match self.remote.as_str().map(MemberId::new) {
            None => Recipient::OnlyOther,
            Some(Ok(member)) => Recipient::Member(member),
            Some(Err(_)) => return Request::Nothing,
        };
        self.claim()
            .map_or(Request::Nothing, |claim| Request::Relay { claim, to })
    }

    /// An impossible name cannot be the sender's own, so the frame leads to nothing.
    fn claim(&self) -> Result<Claim, NameError> {
        Ok(Claim {
            room: self
                .room
                .as_str()
                .map(|room| RoomName::new(NAMESPACE, room))
                .transpose()?,
            member: self.uid.as_str().map(MemberId::new).transpose()?,
        })
    }
}

fn refuse(msg: &str) -> Request {
    deny(msg).map_or(Request::Nothing, Request::Reply)
}

/// What we say to clients.
#[derive(Serialize)]
#[serde(tag = "cmd", rename_all = "kebab-case")]
enum Told<'a> {
    RespJoin {
        #[serde(rename = "roomId")]
        room: &'a str,
        #[serde(rename = "remoteUid")]
        remote: &'a str,
        /// Just the one: a client that walks this list must meet each member once, however many
        /// frames the mesh is made of.
        #[serde(rename = "remoteIds")]
        remotes: [&'a str; 1],
    },
    NewPeer(Peer<'a>),
    PeerLeave(Peer<'a>),
    Full(Refused<'a>),
    ErrMsg(Refused<'a>),
}

/// Some clients read `uid`, some `remoteUid`.
#[derive(Serialize)]
struct Peer<'a> {
    #[serde(rename = "roomId")]
    room: &'a str,
    uid: &'a str,
    #[serde(rename = "remoteUid")]
    remote: &'a str,
}

#[derive(Serialize)]
struct Refused<'a> {
    #[serde(rename = "roomId", skip_serializing_if = "Option::is_none")]
    room: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    uid: Option<&'a str>,
    msg: &'a str,
}

impl Told<'_> {
    /// Text and arrays of text always have a JSON form.
    fn text(&self) -> Option<String> {
        serde_json::to_string(self).ok()
    }
}

impl<'a> Peer<'a> {
    fn new(room: &'a RoomName, member: &'a MemberId) -> Self {
        Self {
            room: room.as_str(),
            uid: member.as_str(),
            remote: member.as_str(),
        }
    }
}
