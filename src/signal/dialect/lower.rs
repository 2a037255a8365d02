//! The course protocol as some copies write it: `roomid` and `remoteuid` in lower case, `sdp` in place
//! of `msg`, joins and leaves always answered, the receiver named in `uid`.
//!
//! Owns the JSON of these frames. A frame without `sdp` is of a client that knows neither and leaves it
//! to the server who else there is: that one goes to the others as it came.

#[cfg(test)]
mod tests;

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use super::scalar::Scalar;
use super::{Malformed, Request, course};
use crate::signal::core::{
    Claim, Event, MemberId, NameError, Namespace, Recipient, Refusal, RoomName,
};

/// Where the rooms of this dialect live.
pub const NAMESPACE: Namespace = Namespace::new("lower");

/// What a frame asks for.
pub fn parse(text: &str) -> Result<Request, Malformed> {
    // serde would also fill the fields from an array, in order.
    if !text.trim_ascii_start().starts_with('{') {
        return Err(Malformed);
    }
    let frame: Frame<'_> = serde_json::from_str(text).map_err(|_| Malformed)?;
    Ok(match frame.cmd.as_str() {
        Some("join") => frame.join(),
        Some("leave") => frame.claim().map_or(Request::Nothing, Request::Leave),
        Some(cmd) if course::is_ours(cmd) => Request::Nothing,
        Some(cmd) => frame.relay(cmd),
        None => course::heartbeat(frame.kind.as_str()),
    })
}

/// The frames that tell a client, who sits in a room as `own`, of `event`.
pub fn encode<T>(event: &Event<T>, own: Option<&MemberId>) -> Vec<String> {
    let own = own.map(MemberId::as_str).unwrap_or_default();
    let about = |cmd, room: &RoomName, remote: Option<&MemberId>| {
        told(&Told {
            cmd,
            roomid: room.as_str(),
            uid: own,
            remoteuid: remote.map(MemberId::as_str),
            msg: None,
        })
    };
    match event {
        // One that is alone is told so by the absence of a name.
        Event::Joined { ticket, others, .. } if others.is_empty() => {
            about("resp-join", &ticket.room, None).into_iter().collect()
        }
        Event::Joined { ticket, others, .. } => others
            .iter()
            .filter_map(|other| about("resp-join", &ticket.room, Some(&other.member)))
            .collect(),
        Event::Arrived { room, member, .. } => {
            about("new-peer", room, Some(member)).into_iter().collect()
        }
        Event::Left { room, member } => about("peer-leave", room, Some(member))
            .into_iter()
            .collect(),
        Event::Refused { room, why, .. } => refused(
            room.as_str(),
            match why {
                Refusal::Full => "room is full".to_owned(),
                why => why.to_string(),
            },
        )
        .into_iter()
        .collect(),
        // The text of others is not ours to write; of the rest these clients know nothing.
        Event::Relayed(_)
        | Event::Answered(_)
        | Event::Resumed { .. }
        | Event::Away { .. }
        | Event::Back { .. }
        | Event::Door { .. }
        | Event::Failed { .. }
        | Event::Superseded => Vec::new(),
    }
}

/// Tells a client why it cannot join.
pub fn deny(msg: &str) -> Option<String> {
    refused("", msg.to_owned())
}

/// The answer to a leave; `own` is what it was in the room, if it was there.
pub fn left(room: &str, own: Option<&MemberId>) -> Option<String> {
    told(&Told {
        cmd: "resp-leave",
        roomid: room,
        uid: own.map(MemberId::as_str).unwrap_or_default(),
        remoteuid: Some(""),
        msg: None,
    })
}

/// The fields that a server of this protocol looks at.
#[derive(Deserialize)]
struct Frame<'a> {
    #[serde(borrow, default)]
    cmd: Scalar<'a>,
    #[serde(borrow, default, rename = "type")]
    kind: Scalar<'a>,
    #[serde(borrow, default)]
    roomid: Scalar<'a>,
    #[serde(borrow, default)]
    uid: Scalar<'a>,
    #[serde(borrow, default)]
    remoteid: Scalar<'a>,
    #[serde(borrow, default)]
    sdp: Option<&'a RawValue>,
    #[serde(borrow, default)]
    token: Scalar<'a>,
}

impl Frame<'_> {
    fn join(&self) -> Request {
        let (Some(room), Some(uid)) = (self.roomid.as_str(), self.uid.as_str()) else {
            return refuse("join needs roomid and uid");
        };
        match (RoomName::new(NAMESPACE, room), MemberId::new(uid)) {
            (Ok(room), Ok(member)) => Request::Join {
                room,
                member: Some(member),
                token: self.token.as_str().map(str::to_owned),
            },
            (Err(wrong), _) => refuse(&format!("roomid {wrong}")),
            (_, Err(wrong)) => refuse(&format!("uid {wrong}")),
        }
    }

    fn relay(&self, cmd: &str) -> Request {
        let Ok(claim) = self.claim() else {
            return Request::Nothing;
        };
        let to = Recipient::Others;
        let Some(sdp) = self.sdp else {
            return Request::Relay { claim, to };
        };
        // The receiver reads its own name in `uid`, and the sender's in `remoteuid`.
        let text = told(&Described {
            cmd,
            roomid: self.roomid.as_str(),
            uid: self.remoteid.as_str(),
            remoteuid: self.uid.as_str(),
            sdp,
        });
        match text {
            Some(text) => Request::Say { claim, to, text },
            None => Request::Nothing,
        }
    }

    /// An impossible name cannot be the sender's own, so the frame leads to nothing.
    fn claim(&self) -> Result<Claim, NameError> {
        let room = self.roomid.as_str();
        let room = room.map(|room| RoomName::new(NAMESPACE, room));
        Ok(Claim {
            room: room.transpose()?,
            member: self.uid.as_str().map(MemberId::new).transpose()?,
        })
    }
}

fn refuse(msg: &str) -> Request {
    deny(msg).map_or(Request::Nothing, Request::Reply)
}

/// That its names are empty is how clients see it; `msg` is for people.
fn refused(room: &str, msg: String) -> Option<String> {
    told(&Told {
        cmd: "resp-join",
        roomid: room,
        uid: "",
        remoteuid: Some(""),
        msg: Some(msg),
    })
}

/// What we say to clients.
#[derive(Serialize)]
struct Told<'a> {
    cmd: &'a str,
    roomid: &'a str,
    uid: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    remoteuid: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    msg: Option<String>,
}

/// What they say to each other.
#[derive(Serialize)]
struct Described<'a> {
    cmd: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    roomid: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    uid: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    remoteuid: Option<&'a str>,
    sdp: &'a RawValue,
}

/// Text always has a JSON form.
fn told<T: Serialize>(frame: &T) -> Option<String> {
    serde_json::to_string(frame).ok()
}
