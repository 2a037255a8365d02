//! The way into signaling.

use std::num::NonZeroUsize;
use std::sync::atomic::Ordering;

use futures_util::{SinkExt as _, StreamExt as _};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio_tungstenite::tungstenite::client::IntoClientRequest as _;
use tokio_tungstenite::tungstenite::{Error, Message};
use tokio_tungstenite::{WebSocketStream, client_async};

use crate::door::{Door, Setup, within};

type Socket = WebSocketStream<tokio_rustls::client::TlsStream<tokio::net::TcpStream>>;

/// The status, where it is not a WebSocket.
async fn connect(door: &Door, path: &str, origin: Option<&str>) -> Result<Socket, u16> {
    let stream = door.tls(&["http/1.1"]).await;
    let url = format!("wss://localhost:{}{path}", door.https.port());
    let mut request = url.into_client_request().unwrap();
    if let Some(origin) = origin {
        request
            .headers_mut()
            .insert("origin", origin.parse().unwrap());
    }
    match within(client_async(request, stream)).await {
        Ok((socket, _)) => Ok(socket),
        Err(Error::Http(response)) => Err(response.status().as_u16()),
        Err(other) => panic!("{other}"),
    }
}

/// A heartbeat is answered in a room and out of it.
async fn assert_alive(socket: &mut Socket) {
    let beat = Message::text(r#"{"type":"heartbeat"}"#);
    socket.send(beat).await.unwrap();
    let answer = within(socket.next()).await.unwrap().unwrap();
    assert!(answer.to_text().unwrap().contains("heartbeat"));
}

#[tokio::test]
async fn any_path_leads_to_signaling() {
    let door = Door::open().await;
    for path in ["/ws", "/", "/x?uid=1", "/r/room", "/deep/er"] {
        let mut socket = connect(&door, path, None).await.unwrap();
        assert_alive(&mut socket).await;
    }
    let accepted = &door.services.stats().websockets;
    assert_eq!(accepted.load(Ordering::Relaxed), 5);
}

#[tokio::test]
async fn pages_of_ours_and_programs_come_in_and_foreign_pages_do_not() {
    let mut setup = Setup::default();
    setup.settings.host = vec!["call.example".to_owned()];
    let door = setup.open().await;
    let own = format!("https://localhost:{}", door.https.port());
    for origin in [
        None,
        Some(&*own),
        Some("https://call.example"),
        Some("null"),
        Some("https://appr.tc"),
        Some("https://friend.example"),
    ] {
        let mut socket = connect(&door, "/ws", origin).await.unwrap();
        assert_alive(&mut socket).await;
    }
    let plain = own.replace("https", "http");
    for origin in ["https://evil.example", "https://localhost", &plain] {
        let refused = connect(&door, "/ws", Some(origin)).await;
        assert_eq!(refused.err(), Some(403), "{origin}");
    }
    let refused = &door.services.stats().foreign_origins;
    assert_eq!(refused.load(Ordering::Relaxed), 3);
}

#[tokio::test]
async fn a_frame_sent_together_with_the_handshake_is_not_lost() {
    let door = Door::open().await;
    let mut stream = door.tls(&["http/1.1"]).await;
    let mut bytes = b"GET /ws HTTP/1.1\r\nHost: localhost\r\nConnection: keep-alive, Upgrade\r\n\
        Upgrade: websocket\r\nSec-WebSocket-Version: 13\r\n\
        Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n"
        .to_vec();
    // A masked text frame; a mask of zeros changes nothing.
    let text = br#"{"type":"heartbeat"}"#;
    bytes.extend([0x81, 0x80 | text.len() as u8, 0, 0, 0, 0]);
    bytes.extend(text);
    stream.write_all(&bytes).await.unwrap();
    let mut answer = Vec::new();
    while !answer.windows(9).any(|window| window == b"heartbeat") {
        let mut piece = [0; 1024];
        let length = within(stream.read(&mut piece)).await.unwrap();
        assert_ne!(length, 0, "{:?}", String::from_utf8_lossy(&answer));
        answer.extend_from_slice(&piece[..length]);
    }
    assert!(answer.starts_with(b"HTTP/1.1 101"));
}

#[tokio::test]
async fn a_bad_handshake_is_told_what_is_wrong() {
    let door = Door::open().await;
    let ask = async |path: &str, lines: &[&str]| door.get(path, lines).await;
    let plain = ask("/ws", &[]).await;
    assert_eq!(
        (plain.status, plain.header("upgrade")),
        (426, Some("websocket"))
    );
    let old = ["Upgrade: websocket", "Sec-WebSocket-Version: 8"];
    let reply = ask("/ws", &old).await;
    // `get` asks to close, so what is missing first is the upgrade in Connection.
    assert_eq!(reply.status, 426);
    assert_eq!(reply.header("sec-websocket-version"), Some("13"));
    for key in ["short", "not base64 at all!!!!!!!", ""] {
        let key = format!("Sec-WebSocket-Key: {key}");
        let lines = ["Upgrade: websocket", "Sec-WebSocket-Version: 13", &key];
        assert_eq!(ask("/ws", &lines).await.status, 400, "{key}");
    }
}

#[tokio::test]
async fn a_session_keeps_its_connections_slot() {
    let mut setup = Setup::default();
    setup.settings.front.max_per_ip = NonZeroUsize::new(1).unwrap();
    setup.settings.front.idle_timeout = std::time::Duration::from_millis(50);
    setup.settings.front.header_timeout = std::time::Duration::from_millis(500);
    let door = setup.open().await;
    let mut socket = connect(&door, "/ws", None).await.unwrap();
    // Longer than HTTP may be idle: those deadlines are over.
    tokio::time::sleep(std::time::Duration::from_millis(700)).await;
    assert_alive(&mut socket).await;
    let second = crate::door::tls(door.https, door.trusting(&[])).await;
    assert!(second.is_err());
    assert_alive(&mut socket).await;
}

#[tokio::test]
async fn a_client_that_offers_our_subprotocol_is_answered_in_it() {
    let door = Door::open().await;
    for (offered, chosen) in [
        ("callbox.v1", Some("callbox.v1")),
        ("chat, callbox.v1", Some("callbox.v1")),
        ("chat", None),
    ] {
        let url = format!("wss://localhost:{}/ws", door.https.port());
        let mut request = url.into_client_request().unwrap();
        let headers = request.headers_mut();
        headers.insert("sec-websocket-protocol", offered.parse().unwrap());
        let stream = door.tls(&["http/1.1"]).await;
        let (mut socket, answer) = match within(client_async(request, stream)).await {
            Ok(both) => both,
            // The client library insists on an answer; browsers do not.
            Err(Error::Protocol(_)) if chosen.is_none() => continue,
            Err(other) => panic!("{other}"),
        };
        let confirmed = answer.headers().get("sec-websocket-protocol");
        assert_eq!(confirmed.map(|name| name.to_str().unwrap()), chosen);
        let join = Message::text(r#"{"cmd":"join","roomId":"1","uid":"a"}"#);
        socket.send(join).await.unwrap();
        let answer = within(socket.next()).await.unwrap().unwrap();
        assert!(answer.to_text().unwrap().starts_with(r#"{"cmd":"joined""#));
    }
}

#[tokio::test]
async fn a_network_that_opens_too_many_is_told_to_wait() {
    let mut setup = Setup::default();
    setup.settings.signaling.prefix_connections_per_second = 1;
    let door = setup.open().await;
    // What is refilled meanwhile passes as well.
    let mut accepted = 0;
    while let Ok(mut socket) = connect(&door, "/ws", None).await {
        assert_alive(&mut socket).await;
        accepted += 1;
        assert!(accepted < 500, "nobody was refused");
    }
    assert!(accepted >= 10);
    let limited = &door.services.stats().websockets_limited;
    assert_eq!(limited.load(Ordering::Relaxed), 1);
}
