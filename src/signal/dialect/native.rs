//! Our own dialect, `callbox.v1`: the course messages, and what they lack. Joins are always
//! answered, seats can be resumed, failures have codes.
//!
//! Owns the JSON of these frames; docs/signaling.md is their specification. Every text frame of a
//! client leads to exactly one step of the core, since both sides count them.

#[cfg(test)]
mod tests;
mod told;

use serde::Deserialize;

use super::scalar::Scalar;
use super::{Malformed, Request, Welcome, course};
use crate::signal::access::TokenError;
use crate::signal::core::{
    Claim, Door, Event, MemberId, NameError, Namespace, Recipient, RoomName,
};
use crate::signal::outcome::Outcome;

/// The WebSocket subprotocol.
pub const PROTOCOL: &str = "callbox.v1";

/// Its clients meet those of the course dialect, whose messages they understand.
pub const NAMESPACE: Namespace = course::NAMESPACE;

/// Never carried from client to client: each is the server's own word, or meant for it.
const RESERVED: [&str; 24] = [
    "",
    "err-msg",
    "full",
    "ice-servers",
    "joined",
    "keepLive",
    "locked",
    "new-peer",
    "peer-away",
    "peer-back",
    "peer-leave",
    "ping",
    "pong",
    "register",
    "report",
    "reported",
    "resp-join",
    "resp-leave",
    "respKeepLive",
    "resumed",
    "send",
    "unlocked",
    "join",
    "resume",
];

/// Why a frame leads to nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Complaint {
    /// It is no JSON object, or has a key twice.
    #[error("not a JSON object")]
    Malformed,
    /// It has no `cmd`, or one that is the server's.
    #[error("this cmd is not for clients to send")]
    Reserved,
    /// It lacks a key.
    #[error("{0} is missing")]
    Missing(&'static str),
    /// It reports something that cannot be.
    #[error("there is no such path or transport")]
    Report,
    /// A name in it cannot be.
    #[error("{0} {1}")]
    Name(&'static str, NameError),
    /// There is no seat that this could be for.
    #[error("join a room first")]
    NotJoined,
    /// The ticket is not one of ours, or too old.
    #[error("this ticket is not valid, join instead")]
    Ticket,
    /// Joining needs a token here.
    #[error("a token is needed to join")]
    TokenRequired,
    /// The token is not good.
    #[error("the token is not valid: {0}")]
    Token(TokenError),
    /// The token is good, for something else.
    #[error("the token is for another {0}")]
    TokenFor(&'static str),
}

impl Complaint {
    /// For programs.
    pub fn code(&self) -> &'static str {
        match self {
            Self::Malformed => "malformed",
            Self::Reserved => "reserved-cmd",
            Self::Missing(_) => "missing-key",
            Self::Report => "bad-report",
            Self::Name(..) => "bad-name",
            Self::NotJoined => "not-joined",
            Self::Ticket => "bad-ticket",
            Self::TokenRequired => "token-required",
            Self::Token(_) => "token-invalid",
            Self::TokenFor(_) => "token-mismatch",
        }
    }

    /// For people.
    pub fn text(&self) -> String {
        self.to_string()
    }
}

/// The frame that says that a report has been noted.
pub const REPORTED: &str = r#"{"cmd":"reported"}"#;

/// What a frame asks for. Never [`Request::Nothing`] nor [`Request::Reply`].
pub fn parse(text: &str) -> Result<Request, Malformed> {
    // serde would also fill the fields from an array, in order.
    if !text.trim_ascii_start().starts_with('{') {
        return Err(Malformed);
    }
    let frame: Frame<'_> = serde_json::from_str(text).map_err(|_| Malformed)?;
    let asked = match frame.cmd.as_str() {
        Some("join") => frame.join(),
        Some("resume") => frame.resume(),
        Some("leave") => frame.claim().map(Request::Leave),
        Some("lock") => frame.door(Door::Locked),
        Some("unlock") => frame.door(Door::Open),
        Some("ice") => Ok(Request::Ice),
        Some("report") => frame.report(),
        Some("ping") => Ok(Request::Answer(r#"{"cmd":"pong"}"#.to_owned())),
        Some(cmd) if !RESERVED.contains(&cmd) => frame.relay(),
        Some(_) => Err(Complaint::Reserved),
        None => Err(Complaint::Missing("cmd")),
    };
    asked.or_else(|why| complain(&why).map(Request::Answer).ok_or(Malformed))
}

/// The frame that tells a client of `event`.
pub fn encode<T>(event: &Event<T>, welcome: Option<&Welcome<'_>>) -> Option<String> {
    told::event(event, welcome)
}

/// The frame that says why something was not done.
pub fn complain(why: &Complaint) -> Option<String> {
    told::complaint(why)
}

/// The frame with a fresh ICE configuration and ticket.
pub fn ice_servers(welcome: &Welcome<'_>) -> Option<String> {
    told::ice_servers(welcome)
}

/// The fields that the server looks at. `msg` is not among them.
#[derive(Deserialize)]
struct Frame<'a> {
    #[serde(borrow, default)]
    cmd: Scalar<'a>,
    #[serde(borrow, default, rename = "roomId")]
    room: Scalar<'a>,
    #[serde(borrow, default)]
    uid: Scalar<'a>,
    #[serde(borrow, default, rename = "remoteUid")]
    remote: Scalar<'a>,
    #[serde(borrow, default)]
    token: Scalar<'a>,
    #[serde(borrow, default)]
    ticket: Scalar<'a>,
    #[serde(borrow, default)]
    received: Scalar<'a>,
    #[serde(borrow, default)]
    path: Scalar<'a>,
    #[serde(borrow, default)]
    transport: Scalar<'a>,
}

impl Frame<'_> {
    fn join(&self) -> Result<Request, Complaint> {
        let claim = self.claim()?;
        Ok(Request::Join {
            room: claim.room.ok_or(Complaint::Missing("roomId"))?,
            member: claim.member,
            token: self.token.as_str().map(str::to_owned),
        })
    }

    fn resume(&self) -> Result<Request, Complaint> {
        let ticket = self.ticket.as_str().ok_or(Complaint::Missing("ticket"))?;
        let received = self.received.as_str().and_then(|text| text.parse().ok());
        Ok(Request::Resume {
            ticket: ticket.to_owned(),
            received: received.ok_or(Complaint::Missing("received"))?,
        })
    }

    fn report(&self) -> Result<Request, Complaint> {
        let path = self.path.as_str().ok_or(Complaint::Missing("path"))?;
        let outcome = Outcome::new(path, self.transport.as_str());
        outcome.map(Request::Report).ok_or(Complaint::Report)
    }

    fn door(&self, door: Door) -> Result<Request, Complaint> {
        let claim = self.claim()?;
        Ok(Request::Door { claim, door })
    }

    fn relay(&self) -> Result<Request, Complaint> {
        let claim = self.claim()?;
        // The receiver gets these very bytes, and has to know from whom.
        if claim.member.is_none() {
            return Err(Complaint::Missing("uid"));
        }
        let to = match self.remote.as_str().map(MemberId::new) {
            None => Recipient::Others,
            Some(Ok(member)) => Recipient::Member(member),
            Some(Err(wrong)) => return Err(Complaint::Name("remoteUid", wrong)),
        };
        Ok(Request::Relay { claim, to })
    }

    fn claim(&self) -> Result<Claim, Complaint> {
        let room = self.room.as_str().map(|room| {
            RoomName::new(NAMESPACE, room).map_err(|wrong| Complaint::Name("roomId", wrong))
        });
        let member = self
            .uid
            .as_str()
            .map(|uid| MemberId::new(uid).map_err(|wrong| Complaint::Name("uid", wrong)));
        Ok(Claim {
            room: room.transpose()?,
            member: member.transpose()?,
        })
    }
}
