//! Listeners for clients that have a port of their own compiled in.

use std::sync::atomic::Ordering;

use futures_util::{SinkExt as _, StreamExt as _};
use serde_json::{Value, json};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::client::IntoClientRequest as _;
use tokio_tungstenite::{WebSocketStream, client_async};

use crate::door::{Door, Setup, ask, tls, within};

/// From a page that we know nothing of.
async fn opened<S>(stream: S, path: &str) -> WebSocketStream<S>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let mut request = format!("ws://192.0.2.1{path}")
        .into_client_request()
        .unwrap();
    let origin = "http://192.168.0.143:5500".parse().unwrap();
    request.headers_mut().insert("origin", origin);
    within(client_async(request, stream)).await.unwrap().0
}

async fn join<S>(socket: &mut WebSocketStream<S>, uid: &str)
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let frame = json!({"cmd": "join", "roomId": "100", "uid": uid}).to_string();
    socket.send(Message::text(frame)).await.unwrap();
    // Answered after the join.
    let beat = Message::text(r#"{"type":"ping"}"#);
    socket.send(beat).await.unwrap();
}

async fn hears<S>(socket: &mut WebSocketStream<S>) -> Value
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let text = within(socket.next()).await.unwrap().unwrap();
    serde_json::from_str(text.to_text().unwrap()).unwrap()
}

#[tokio::test]
async fn old_clients_meet_over_plain_and_protected_listeners_from_any_page_on_any_path() {
    let door = Door::open().await;
    let plain = TcpStream::connect(door.ws).await.unwrap();
    let mut first = opened(plain, "/").await;
    join(&mut first, "a").await;
    assert_eq!(hears(&mut first).await, json!("pong"));
    let protected = tls(door.wss, door.trusting(&[])).await.unwrap();
    let mut second = opened(protected, "/any/where?uid=b").await;
    join(&mut second, "b").await;
    assert_eq!(hears(&mut first).await["cmd"], "new-peer");
    let heard = [hears(&mut second).await, hears(&mut second).await];
    assert!(heard.iter().any(|frame| frame["cmd"] == "resp-join"));
    let foreign = &door.services.stats().foreign_origins;
    assert_eq!(foreign.load(Ordering::Relaxed), 0);
}

#[tokio::test]
async fn a_listener_for_old_clients_has_neither_pages_nor_credentials() {
    let door = Door::open().await;
    for path in ["/", "/ice", "/r/room", "/ws", "/join/room", "/peerjs/id"] {
        let request = format!("GET {path} HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n");
        let plain = TcpStream::connect(door.ws).await.unwrap();
        let answer = ask(plain, &request).await;
        assert_eq!(
            (answer.status, answer.text()),
            (426, "This is a WebSocket\n"),
            "{path}"
        );
        let protected = tls(door.wss, door.trusting(&["http/1.1"])).await.unwrap();
        assert_eq!(ask(protected, &request).await.status, 426, "{path}");
    }
}

#[tokio::test]
async fn collider_is_found_under_the_paths_that_it_has_on_a_port_of_its_own() {
    let mut setup = Setup::default();
    setup.settings.signaling.open_collider = true;
    let door = setup.open().await;
    let request = async |method: &str, path: &str, body: &str| {
        let request = format!(
            "{method} {path} HTTP/1.1\r\nHost: a:8089\r\nOrigin: https://apprtc.example\r\n\
             Connection: close\r\nContent-Length: {}\r\n\r\n{body}",
            body.len()
        );
        let protected = tls(door.wss, door.trusting(&["http/1.1"])).await.unwrap();
        ask(protected, &request).await
    };
    // A room server of somebody else's passes on what a client has said, and the client says goodbye.
    let protected = tls(door.wss, door.trusting(&[])).await.unwrap();
    let mut socket = opened(protected, "/ws").await;
    let frame = json!({"cmd": "register", "roomid": "r", "clientid": "one"}).to_string();
    socket.send(Message::text(frame)).await.unwrap();
    socket
        .send(Message::text(r#"{"cmd":"fence"}"#))
        .await
        .unwrap();
    assert_eq!(hears(&mut socket).await["msg"], "");
    let posted = request("POST", "/r/other", "offer").await;
    assert_eq!((posted.status, posted.text()), (200, "OK\n"));
    assert_eq!(posted.header("access-control-allow-origin"), Some("*"));
    assert_eq!(hears(&mut socket).await["msg"], "offer");
    let asked = request("OPTIONS", "/r/other", "").await;
    let methods = asked.header("access-control-allow-methods");
    assert_eq!((asked.status, methods), (200, Some("POST, DELETE")));
    let deleted = request("DELETE", "/r/other", "").await;
    assert_eq!((deleted.status, deleted.text()), (200, "OK\n"));
    assert_eq!(hears(&mut socket).await["msg"], r#"{"type":"bye"}"#);
    assert!(request("GET", "/status", "").await.json()["upsec"].is_number());
    let wrong = request("POST", "/join/r/x", "y").await;
    assert_eq!(wrong.status, 500);
    assert!(wrong.text().starts_with("Invalid path: /join/r/x"));
}

#[tokio::test]
async fn a_protected_listener_does_not_speak_http2() {
    let door = Door::open().await;
    let refused = tls(door.wss, door.trusting(&["h2"])).await;
    assert!(refused.is_err());
    let stream = tls(door.wss, door.trusting(&["h2", "http/1.1"]))
        .await
        .unwrap();
    let chosen = stream.get_ref().1.alpn_protocol();
    assert_eq!(chosen, Some(&b"http/1.1"[..]));
}
