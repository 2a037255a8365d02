//! PeerJS's frames: `OFFER`, `ANSWER`, `CANDIDATE` and `LEAVE` between clients, `OPEN`, `EXPIRE`,
//! `ID-TAKEN` and `ERROR` from the server, `HEARTBEAT` to it.
//!
//! Owns the JSON of these frames. Who is there, and what waits for whom, is
//! [`crate::signal::guests`]' business.

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use super::scalar::Scalar;
use super::{Ask, Malformed, Request};

/// The key of every PeerServer that nobody has changed.
pub const KEY: &str = "peerjs";

/// What a client says to another one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Message {
    /// Its kind.
    pub kind: Kind,
    /// Who it is for; nobody, if the sender leaves.
    pub to: Option<String>,
    /// JSON that is none of our business, as it was sent.
    pub payload: Option<String>,
}

/// What may be said to another client.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A description, and with it a connection.
    Offer,
    /// The other side's.
    Answer,
    /// An ICE candidate.
    Candidate,
    /// The sender closes its connections with the receiver.
    Leave,
}

impl Kind {
    /// The word for it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Offer => "OFFER",
            Self::Answer => "ANSWER",
            Self::Candidate => "CANDIDATE",
            Self::Leave => "LEAVE",
        }
    }
}

/// What a frame asks for.
pub(super) fn parse(text: &str) -> Result<Request, Malformed> {
    // serde would also fill the fields from an array, in order.
    if !text.trim_ascii_start().starts_with('{') {
        return Err(Malformed);
    }
    let frame: Frame<'_> = serde_json::from_str(text).map_err(|_| Malformed)?;
    let kind = match frame.kind.as_str() {
        Some("OFFER") => Kind::Offer,
        Some("ANSWER") => Kind::Answer,
        Some("CANDIDATE") => Kind::Candidate,
        Some("LEAVE") => Kind::Leave,
        // A heartbeat, or from a newer client.
        _ => return Ok(Request::Nothing),
    };
    Ok(Request::Ask(Ask::PeerJs(Message {
        kind,
        to: frame
            .to
            .as_str()
            .filter(|to| !to.is_empty())
            .map(str::to_owned),
        payload: frame.payload.map(|payload| payload.get().to_owned()),
    })))
}

/// The frame that brings a message of `from` to `to`.
pub fn deliver(message: &Message, from: &str, to: &str) -> Option<String> {
    let payload: Option<&str> = message.payload.as_deref();
    let payload = payload.map(serde_json::from_str::<&RawValue>);
    told(&Told {
        kind: message.kind.name(),
        src: Some(from),
        dst: Some(to),
        payload: payload.transpose().ok()?,
    })
}

/// The client has its id.
pub fn open() -> Option<String> {
    told(&Told::<()>::of("OPEN"))
}

/// To `to`: what it has sent to `from` waited in vain.
pub fn expire(from: &str, to: &str) -> Option<String> {
    told(&Told::<()> {
        src: Some(from),
        dst: Some(to),
        ..Told::of("EXPIRE")
    })
}

/// Somebody else has the id.
pub fn id_taken() -> Option<String> {
    said("ID-TAKEN", "ID is taken")
}

/// The client cannot come in.
pub fn error(msg: &str) -> Option<String> {
    said("ERROR", msg)
}

fn said(kind: &str, msg: &str) -> Option<String> {
    told(&Told {
        payload: Some(Msg { msg }),
        ..Told::of(kind)
    })
}

/// The fields that the server looks at.
#[derive(Deserialize)]
struct Frame<'a> {
    #[serde(borrow, default, rename = "type")]
    kind: Scalar<'a>,
    #[serde(borrow, default, rename = "dst")]
    to: Scalar<'a>,
    #[serde(borrow, default)]
    payload: Option<&'a RawValue>,
}

#[derive(Serialize)]
struct Told<'a, P> {
    #[serde(rename = "type")]
    kind: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    src: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    dst: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    payload: Option<P>,
}

impl<'a, P> Told<'a, P> {
    const fn of(kind: &'a str) -> Self {
        Self {
            kind,
            src: None,
            dst: None,
            payload: None,
        }
    }
}

#[derive(Serialize)]
struct Msg<'a> {
    msg: &'a str,
}

/// Text always has a JSON form.
fn told<P: Serialize>(frame: &Told<'_, P>) -> Option<String> {
    serde_json::to_string(frame).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(text: &str) -> Message {
        match parse(text) {
            Ok(Request::Ask(Ask::PeerJs(message))) => message,
            other => panic!("{text}: {other:?}"),
        }
    }

    #[test]
    fn messages_are_carried_with_their_payload_untouched() {
        let text =
            r#"{"type":"OFFER","payload":{"sdp":{"a": 1.0},"x":"\u003c"},"dst":"b","src":"z"}"#;
        let message = message(text);
        assert_eq!(
            (message.kind, message.to.as_deref()),
            (Kind::Offer, Some("b"))
        );
        assert_eq!(
            deliver(&message, "a", "b").unwrap(),
            r#"{"type":"OFFER","src":"a","dst":"b","payload":{"sdp":{"a": 1.0},"x":"\u003c"}}"#
        );
    }

    #[test]
    fn a_leave_may_be_for_nobody_and_without_a_payload() {
        let leave = message(r#"{"type":"LEAVE"}"#);
        assert_eq!(
            (leave.kind, leave.to, leave.payload),
            (Kind::Leave, None, None)
        );
        let told = deliver(&message(r#"{"type":"LEAVE","dst":"b"}"#), "a", "b");
        assert_eq!(told.unwrap(), r#"{"type":"LEAVE","src":"a","dst":"b"}"#);
    }

    #[test]
    fn heartbeats_and_the_servers_own_words_lead_to_nothing() {
        for kind in [
            "HEARTBEAT",
            "OPEN",
            "EXPIRE",
            "ID-TAKEN",
            "ERROR",
            "offer",
            "",
        ] {
            let text = format!(r#"{{"type":"{kind}","dst":"b"}}"#);
            assert_eq!(parse(&text), Ok(Request::Nothing), "{text}");
        }
        for text in ["", "[]", "null", r#"{"type":"OFFER","type":"LEAVE"}"#] {
            assert_eq!(parse(text), Err(Malformed), "{text}");
        }
    }

    #[test]
    fn the_servers_words_are_those_that_clients_know() {
        assert_eq!(open().unwrap(), r#"{"type":"OPEN"}"#);
        assert_eq!(
            expire("b", "a").unwrap(),
            r#"{"type":"EXPIRE","src":"b","dst":"a"}"#
        );
        assert_eq!(
            id_taken().unwrap(),
            r#"{"type":"ID-TAKEN","payload":{"msg":"ID is taken"}}"#
        );
        assert_eq!(
            error("no").unwrap(),
            r#"{"type":"ERROR","payload":{"msg":"no"}}"#
        );
    }
}
