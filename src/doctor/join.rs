//! Can a page signal: a WebSocket through the front door, and a seat in a room.

use std::net::SocketAddr;
use std::time::Duration;

use futures_util::{SinkExt as _, StreamExt as _};
use serde_json::{Value, json};
use tokio::time::timeout;
use tokio_tungstenite::tungstenite::client::IntoClientRequest as _;
use tokio_tungstenite::tungstenite::{Error, Message};

use super::dial;
use super::report::Finding;
use super::subject::Subject;
use crate::config::settings::Auth;

/// For the handshake and the answer to a join together.
const PATIENCE: Duration = Duration::from_secs(4);

/// How far a page would come.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It has a seat.
    Joined,
    /// It would need a token to get one.
    NeedsToken,
    /// Its connection is not made a WebSocket.
    Refused(u16),
    /// It has no seat, and why.
    Failed(String),
}

/// Joins a room of its own name at `door`, and leaves.
pub async fn observe(subject: &Subject, door: SocketAddr) -> Outcome {
    match timeout(PATIENCE, attempt(subject, door)).await {
        Ok(Ok(outcome)) => outcome,
        Ok(Err(error)) => Outcome::Failed(error),
        Err(_) => Outcome::Failed("no answer".to_owned()),
    }
}

async fn attempt(subject: &Subject, door: SocketAddr) -> Result<Outcome, String> {
    let host = match subject.host() {
        host if host.contains(':') => format!("[{host}]"),
        host => host,
    };
    let stream = subject
        .connect(door)
        .await
        .map_err(|closed| closed.to_string())?;
    let stream = dial::tls(stream, &host).await?;
    let url = format!(
        "wss://{host}:{}{}",
        door.port(),
        subject.settings.signaling.path
    );
    let mut request = url
        .into_client_request()
        .map_err(|error| error.to_string())?;
    let protocol =
        hyper::header::HeaderValue::from_static(crate::signal::dialect::native::PROTOCOL);
    request
        .headers_mut()
        .insert("sec-websocket-protocol", protocol);
    let mut socket = match tokio_tungstenite::client_async(request, stream).await {
        Ok((socket, _)) => socket,
        Err(Error::Http(answer)) => return Ok(Outcome::Refused(answer.status().as_u16())),
        Err(error) => return Err(error.to_string()),
    };
    let mut random = [0; 8];
    aws_lc_rs::rand::fill(&mut random).map_err(|_| "no random numbers")?;
    let room = format!("doctor-{:016x}", u64::from_be_bytes(random));
    let join = json!({"cmd": "join", "roomId": room, "uid": "doctor"}).to_string();
    socket
        .send(Message::text(join))
        .await
        .map_err(|error| error.to_string())?;
    while let Some(message) = socket.next().await {
        let message = message.map_err(|error| error.to_string())?;
        let Some(outcome) = message.to_text().ok().and_then(understand) else {
            continue;
        };
        let _ = socket
            .send(Message::text(json!({"cmd": "leave"}).to_string()))
            .await;
        let _ = socket.close(None).await;
        return Ok(outcome);
    }
    Err("the connection was closed".to_owned())
}

fn understand(text: &str) -> Option<Outcome> {
    let frame: Value = serde_json::from_str(text).ok()?;
    let code = frame
        .get("code")
        .and_then(Value::as_str)
        .unwrap_or_default();
    match frame.get("cmd")?.as_str()? {
        "joined" => Some(Outcome::Joined),
        "err-msg" if code == "token-required" => Some(Outcome::NeedsToken),
        "err-msg" | "full" => Some(Outcome::Failed(code.to_owned())),
        _ => None,
    }
}

/// Judges how far it came.
pub fn judge(outcome: &Outcome, auth: &Auth, path: &str) -> Finding {
    match (outcome, auth) {
        (Outcome::Joined, _) => Finding::ok("signaling", "a client gets a seat in a room"),
        (Outcome::NeedsToken | Outcome::Refused(401), Auth::Token(_)) => Finding::ok(
            "signaling",
            "whoever has no token gets no seat, as configured",
        ),
        (Outcome::Refused(status), _) => Finding::failed(
            "signaling.refused",
            format!("the front door makes no WebSocket of a request for {path} (status {status})"),
            "compare [signaling] path with what the clients ask for; `callbox check` shows it",
        ),
        (Outcome::Failed(why), _) => Finding::failed(
            "signaling.silent",
            format!("a client that joins a room through the front door gets no seat: {why}"),
            "`journalctl -u callbox -n 50` says more",
        ),
        (Outcome::NeedsToken, Auth::Open) => Finding::failed(
            "signaling.refused",
            "the running process asks for a token, the configuration does not",
            "`systemctl restart callbox`, which makes it read the configuration again",
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seat_is_what_counts() {
        let token = || Auth::Token(Vec::new());
        for (outcome, auth, expected) in [
            (Outcome::Joined, Auth::Open, "signaling"),
            (Outcome::NeedsToken, token(), "signaling"),
            (Outcome::NeedsToken, Auth::Open, "signaling.refused"),
            (Outcome::Refused(401), token(), "signaling"),
            (Outcome::Refused(404), token(), "signaling.refused"),
            (
                Outcome::Failed("too-many-rooms".to_owned()),
                Auth::Open,
                "signaling.silent",
            ),
        ] {
            assert_eq!(judge(&outcome, &auth, "/ws").id, expected, "{outcome:?}");
        }
    }

    #[test]
    fn answers_are_told_from_other_frames() {
        assert_eq!(
            understand(r#"{"cmd":"joined","uid":"x"}"#),
            Some(Outcome::Joined)
        );
        let refused = understand(r#"{"cmd":"err-msg","code":"token-required"}"#);
        assert_eq!(refused, Some(Outcome::NeedsToken));
        assert_eq!(understand(r#"{"cmd":"ice-servers"}"#), None);
        assert_eq!(understand("x"), None);
    }
}
