//! Wire text to and from what the core understands, one file a dialect.
//!
//! All dialects share one endpoint; a connection speaks the dialect of its first frame. The course
//! dialect is the only one so far. Each has a namespace of its own, so that users of two dialects
//! do not meet because they thought of the same room name.

pub mod course;
mod scalar;

use super::core::{Claim, Event, MemberId, Recipient, RoomName};

/// What a connection speaks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Dialect {
    /// The one-to-one course protocol.
    #[default]
    Course,
}

impl Dialect {
    /// What a text frame asks for.
    pub fn parse(self, text: &str) -> Result<Request, Malformed> {
        match self {
            Self::Course => course::parse(text),
        }
    }

    /// The text frame that tells a client of `event`; `None` when the dialect has no word for it.
    pub fn encode<T>(self, event: &Event<T>) -> Option<String> {
        match self {
            Self::Course => course::encode(event),
        }
    }
}

/// What a client wants.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Request {
    /// A seat.
    Join {
        /// In this room.
        room: RoomName,
        /// Under this id.
        member: MemberId,
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
    /// This text in return, whatever else is going on.
    Reply(String),
    /// Nothing. Also the answer to whatever we do not know: it may be a heartbeat, or from a
    /// newer client.
    Nothing,
}

/// The frame is not in the dialect's syntax at all.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not a JSON object")]
pub struct Malformed;
