//! Collider's frames, which AppRTC's clients speak: `register` and `send` in, `msg` and `error` out.
//!
//! Owns the JSON of these frames and the words of the errors, which are Collider's own. Who is in
//! which room is [`crate::signal::apprtc`]'s business; docs/signaling.md is the description for users.

use std::borrow::Cow;

use serde::{Deserialize, Serialize};

use super::Request;

/// What a frame asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Command {
    /// The socket belongs to this client.
    Register {
        /// Its room.
        room: String,
        /// The id that joining has given it.
        client: String,
    },
    /// A message for the other client.
    Send(String),
}

/// Why a frame leads to nothing.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Complaint {
    /// No JSON object, or one with fields of the wrong type. Clients match on the first words.
    #[error("websocket.JSON.Receive error: {0}")]
    Malformed(String),
    /// `send` came first.
    #[error("Client not registered")]
    NotRegistered,
    /// `register` came twice over one socket.
    #[error("Duplicated register request")]
    RegisteredTwice,
    /// Somebody else has a socket under this id that is known to others.
    #[error("Duplicated registration")]
    Taken,
    /// `register` without its fields.
    #[error("Invalid register request: missing 'clientid' or 'roomid'")]
    RegisterLacks,
    /// An id that joining has not given to anybody, or not any more.
    #[error("Invalid register request: no client of this room has this 'clientid', join first")]
    Unknown,
    /// `send` without its field.
    #[error("Invalid send request: missing 'msg'")]
    SendLacks,
    /// Two others are there.
    #[error("Max room capacity reached")]
    Full,
    /// A frame of another kind.
    #[error("Invalid message: unexpected 'cmd'")]
    Unexpected,
}

impl Complaint {
    /// Whether the connection ends with it.
    pub fn is_final(&self) -> bool {
        !matches!(self, Self::Unexpected)
    }
}

/// What a frame asks for. Each frame stands for itself: what it leaves out was not said.
pub fn parse(text: &str) -> Result<Command, Complaint> {
    // serde would also fill the fields from an array, in order.
    if !text.trim_ascii_start().starts_with('{') {
        return Err(Complaint::Malformed("not an object".to_owned()));
    }
    let frame: Frame<'_> =
        serde_json::from_str(text).map_err(|error| Complaint::Malformed(error.to_string()))?;
    let given = |text: Option<Text<'_>>| {
        text.map(|text| text.0.into_owned())
            .filter(|text| !text.is_empty())
    };
    match frame.cmd.as_ref().map(|cmd| &*cmd.0) {
        Some("register") => match (given(frame.roomid), given(frame.clientid)) {
            (Some(room), Some(client)) => Ok(Command::Register { room, client }),
            _ => Err(Complaint::RegisterLacks),
        },
        Some("send") => match given(frame.msg) {
            Some(msg) => Ok(Command::Send(msg)),
            None => Err(Complaint::SendLacks),
        },
        _ => Err(Complaint::Unexpected),
    }
}

/// What [`parse`] found, as sessions take it.
pub(super) fn request(text: &str) -> Request {
    Request::Collider(parse(text))
}

/// The frame that brings a client what the other one has sent.
pub fn deliver(msg: &str) -> Option<String> {
    told(msg, "")
}

/// The frame that tells a client what was wrong.
pub fn complain(why: &str) -> Option<String> {
    told("", why)
}

/// Both keys always: clients take a frame without `msg` for a broken server.
fn told(msg: &str, error: &str) -> Option<String> {
    serde_json::to_string(&Told { msg, error }).ok()
}

/// The message in which a client says that it hangs up.
pub const BYE: &str = r#"{"type":"bye"}"#;

/// Whether a message says that its sender hangs up. Messages are else nobody's business but the
/// clients'.
pub fn is_bye(msg: &str) -> bool {
    #[derive(Deserialize)]
    struct Kind<'a> {
        #[serde(borrow, rename = "type")]
        kind: Text<'a>,
    }
    // Descriptions are long, and this is shorter: no need to read those to their end.
    msg.len() <= LONGEST_BYE
        && msg.trim_ascii_start().starts_with('{')
        && serde_json::from_str::<Kind<'_>>(msg).is_ok_and(|message| message.kind.0 == "bye")
}

/// Far beyond what anybody writes to say goodbye.
const LONGEST_BYE: usize = 1024;

#[derive(Deserialize)]
struct Frame<'a> {
    #[serde(borrow, default)]
    cmd: Option<Text<'a>>,
    #[serde(borrow, default)]
    roomid: Option<Text<'a>>,
    #[serde(borrow, default)]
    clientid: Option<Text<'a>>,
    #[serde(borrow, default)]
    msg: Option<Text<'a>>,
}

/// A newtype, since serde borrows a bare `Cow` in an `Option` only when told how.
#[derive(Deserialize)]
struct Text<'a>(#[serde(borrow)] Cow<'a, str>);

#[derive(Serialize)]
struct Told<'a> {
    msg: &'a str,
    error: &'a str,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_are_understood_however_they_are_spaced() {
        let register = Command::Register {
            room: "r".to_owned(),
            client: "c".to_owned(),
        };
        for text in [
            r#"{"cmd":"register","roomid":"r","clientid":"c"}"#,
            "{\n  \"clientid\" : \"c\",\n  \"cmd\" : \"register\",\n  \"roomid\" : \"r\"\n}\n",
            r#"  {"cmd":"register","roomid":"r","clientid":"c","extra":[1]}"#,
        ] {
            assert_eq!(parse(text), Ok(register.clone()), "{text}");
        }
        let msg = r#"{"type":"bye"}"#;
        let text = serde_json::json!({"cmd": "send", "msg": msg}).to_string();
        assert_eq!(parse(&text), Ok(Command::Send(msg.to_owned())));
    }

    #[test]
    fn errors_have_colliders_words() {
        for (text, words) in [
            (r#"{"cmd":"register"}"#, "Invalid register request: missing"),
            (
                r#"{"cmd":"register","roomid":"","clientid":"c"}"#,
                "Invalid register request: missing 'clientid' or 'roomid'",
            ),
            (r#"{"cmd":"send"}"#, "Invalid send request: missing 'msg'"),
            (
                r#"{"cmd":"send","msg":""}"#,
                "Invalid send request: missing 'msg'",
            ),
            (r#"{"cmd":"dance"}"#, "Invalid message: unexpected 'cmd'"),
            ("{}", "Invalid message: unexpected 'cmd'"),
            ("", "websocket.JSON.Receive error: "),
            ("[\"send\"]", "websocket.JSON.Receive error: "),
            (
                r#"{"cmd":"send","msg":{}}"#,
                "websocket.JSON.Receive error: ",
            ),
            (r#"{"cmd":1}"#, "websocket.JSON.Receive error: "),
        ] {
            let why = parse(text).unwrap_err();
            assert!(why.to_string().starts_with(words), "{text}: {why}");
            assert_eq!(why.is_final(), why != Complaint::Unexpected);
        }
    }

    #[test]
    fn what_is_told_has_both_keys() {
        assert_eq!(deliver("a\"b").unwrap(), r#"{"msg":"a\"b","error":""}"#);
        assert_eq!(complain("no").unwrap(), r#"{"msg":"","error":"no"}"#);
    }

    #[test]
    fn a_goodbye_is_told_from_talk_about_it() {
        for text in [
            BYE,
            "{ \"type\" : \"bye\" }",
            "{\n\"x\":1,\"type\":\"bye\"}\n",
        ] {
            assert!(is_bye(text), "{text}");
        }
        for text in [
            "bye",
            "",
            r#"{"type":"offer","sdp":"bye"}"#,
            r#"{"kind":"bye"}"#,
            r#"{"type":["bye"]}"#,
            r#"["bye"]"#,
        ] {
            assert!(!is_bye(text), "{text}");
        }
    }
}
