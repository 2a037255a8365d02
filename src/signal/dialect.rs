//! Wire text to and from what the core understands, one file a dialect.
//!
//! All dialects share one endpoint. A connection that asked for the subprotocol `callbox.v1` speaks
//! the native one, any other that of its first frame: the course dialect, unless that frame is of
//! another one. The course and the native dialect share their rooms, since the one contains the
//! other; further dialects have rooms of their own, so that users of two do not meet because they
//! thought of the same name.

pub mod collider;
pub mod course;
pub mod lobby;
pub mod lower;
pub mod native;
pub mod peerjs;
mod scalar;
#[cfg(test)]
mod tests;
pub mod topics;

use std::time::Duration;

use serde_json::Value;

use super::core::{Claim, Door, Event, MemberId, Recipient, RoomName};
use super::outcome::Outcome;

/// What a connection speaks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Dialect {
    /// The one-to-one course protocol.
    #[default]
    Course,
    /// Ours.
    Native,
    /// AppRTC's.
    Collider,
    /// The one-to-one course protocol with names in lower case.
    Lower,
    /// PeerJS's.
    PeerJs,
    /// y-webrtc's.
    Topics,
    /// flutter-webrtc-demo's.
    Lobby,
}

impl Dialect {
    /// The dialect that a list of WebSocket subprotocols asks for, and the name to confirm.
    pub fn of_protocols<'a>(offered: impl IntoIterator<Item = &'a str>) -> Option<Self> {
        offered
            .into_iter()
            .any(|name| name.trim() == native::PROTOCOL)
            .then_some(Self::Native)
    }

    /// What a text frame asks for.
    pub fn parse(self, text: &str) -> Result<Request, Malformed> {
        match self {
            Self::Course => course::parse(text),
            Self::Native => native::parse(text),
            Self::Collider => Ok(collider::request(text)),
            Self::Lower => lower::parse(text),
            Self::PeerJs => peerjs::parse(text),
            Self::Topics => topics::parse(text),
            Self::Lobby => lobby::parse(text),
        }
    }

    /// The text frames that tell a client of `event`; none when the dialect has no word for it. `own`
    /// is who the client is in its room.
    pub fn encode<T>(
        self,
        event: &Event<T>,
        own: Option<&MemberId>,
        welcome: Option<&Welcome<'_>>,
    ) -> Vec<String> {
        match self {
            Self::Course => course::encode(event),
            Self::Native => native::encode(event, welcome).into_iter().collect(),
            Self::Lower => lower::encode(event, own),
            // Their clients sit in other rooms.
            Self::Collider | Self::PeerJs | Self::Topics | Self::Lobby => Vec::new(),
        }
    }

    /// The answer to a frame that is not in the dialect's syntax, where one is expected.
    pub fn complaint(self) -> Option<String> {
        match self {
            Self::Course
            | Self::Lower
            | Self::Collider
            | Self::PeerJs
            | Self::Topics
            | Self::Lobby => None,
            Self::Native => native::complain(&native::Complaint::Malformed),
        }
    }

    /// Why a join or a resume came to nothing before the core was asked.
    pub fn deny(self, why: &native::Complaint) -> Option<String> {
        match self {
            Self::Course => course::deny(&why.text()),
            Self::Native => native::complain(why),
            Self::Collider => collider::complain(&why.text()),
            Self::Lower => lower::deny(&why.text()),
            Self::PeerJs => peerjs::error(&why.text()),
            Self::Lobby => lobby::error("new", &why.text()),
            // It has no word for it; the reason of the close frame says it.
            Self::Topics => None,
        }
    }

    /// Whether clients of this dialect come back to their seats.
    pub fn resumes(self) -> bool {
        self == Self::Native
    }
}

/// What the driver adds for a client that has just got its seat.
#[derive(Clone, Copy, Debug)]
pub struct Welcome<'a> {
    /// With this it comes back.
    pub ticket: &'a str,
    /// The ICE configuration.
    pub ice: &'a Value,
    /// Seats of a room.
    pub capacity: usize,
    /// How often it will be pinged.
    pub ping_interval: Duration,
    /// For how long its seat is kept.
    pub resume_window: Duration,
}

/// What a client wants.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Request {
    /// A seat.
    Join {
        /// In this room.
        room: RoomName,
        /// Under this id, or any.
        member: Option<MemberId>,
        /// What shows that it may.
        token: Option<String>,
    },
    /// Its seat of before.
    Resume {
        /// What shows that it had one.
        ticket: String,
        /// Messages that it has received in it.
        received: u64,
    },
    /// To give up its seat.
    Leave(Claim),
    /// The frame carried, as it is, to another member.
    Relay {
        /// Who it says it is from.
        claim: Claim,
        /// Who it is for.
        to: Recipient,
    },
    /// To open or close the room.
    Door {
        /// Who it says it is from.
        claim: Claim,
        /// As it shall be.
        door: Door,
    },
    /// A fresh ICE configuration.
    Ice,
    /// That it be noted how a call was connected.
    Report(Outcome),
    /// This text in return, whatever else is going on.
    Reply(String),
    /// This text in return, in its place among everything else that the client is told.
    Answer(String),
    /// This text, made of the frame, carried to others.
    Say {
        /// Who it says it is from.
        claim: Claim,
        /// Who it is for.
        to: Recipient,
        /// What they hear.
        text: String,
    },
    /// Something that is no matter of rooms.
    Ask(Ask),
    /// Something that only AppRTC's rooms know, or what is wrong with it.
    Collider(Result<collider::Command, collider::Complaint>),
    /// The frame is of this dialect. Counts if it is the first that decides.
    Speaks(Dialect),
    /// Nothing. Also the answer to whatever we do not know: it may be a heartbeat, or from a
    /// newer client.
    Nothing,
}

/// What a client of a further dialect wants.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Ask {
    /// PeerJS.
    PeerJs(peerjs::Message),
    /// y-webrtc.
    Topics(topics::Topical),
    /// flutter-webrtc-demo.
    Lobby(lobby::Wish),
}

/// The frame is not in the dialect's syntax at all.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not a JSON object")]
pub struct Malformed;
