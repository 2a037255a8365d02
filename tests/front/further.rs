//! The further dialects from outside: their paths, what they ask over HTTP, and the way to their worlds.

use futures_util::{SinkExt as _, StreamExt as _};
use serde_json::{Value, json};
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::{WebSocketStream, client_async};

use crate::door::{Door, within};

type Socket = WebSocketStream<tokio_rustls::client::TlsStream<tokio::net::TcpStream>>;

async fn connect(door: &Door, path: &str) -> Socket {
    let stream = door.tls(&["http/1.1"]).await;
    let url = format!("wss://localhost:{}{path}", door.https.port());
    within(client_async(url, stream)).await.unwrap().0
}

async fn hears(socket: &mut Socket) -> Value {
    let text = within(socket.next()).await.unwrap().unwrap();
    serde_json::from_str(text.to_text().unwrap()).unwrap()
}

#[tokio::test]
async fn peerjs_is_given_an_id_under_each_path_that_its_client_asks() {
    let door = Door::open().await;
    let mut ids = std::collections::HashSet::new();
    for path in [
        "/peerjs/id",
        "/peerjs/peerjs/id?ts=1&version=1.5.5",
        "/peerjs/key/id",
    ] {
        let answer = door.get(path, &[]).await;
        assert_eq!((answer.status, answer.body.len()), (200, 36), "{path}");
        assert_eq!(answer.header("cache-control"), Some("no-store"));
        assert!(ids.insert(answer.text().to_owned()));
    }
    assert_eq!(door.get("/peerjs", &[]).await.json()["name"], "callbox");
    assert_eq!(door.get("/peerjs/peerjs/peers", &[]).await.status, 401);
    let friend = door
        .get("/peerjs/id", &["Origin: https://friend.example"])
        .await;
    let reader = friend.header("access-control-allow-origin");
    assert_eq!(
        (friend.status, reader),
        (200, Some("https://friend.example"))
    );
    let foreign = door
        .get("/peerjs/id", &["Origin: https://evil.example"])
        .await;
    assert_eq!(foreign.status, 403);
}

#[tokio::test]
async fn the_path_decides_for_peerjs_and_y_webrtc() {
    let door = Door::open().await;
    for path in ["/peerjs", "/peerjs/peerjs"] {
        let id = path.len();
        let mut socket = connect(&door, &format!("{path}?key=peerjs&id={id}&token=t")).await;
        assert_eq!(hears(&mut socket).await, json!({"type": "OPEN"}));
    }
    let mut socket = connect(&door, "/y").await;
    let ping = Message::text(r#"{"type":"ping"}"#);
    socket.send(ping).await.unwrap();
    assert_eq!(hears(&mut socket).await, json!({"type": "pong"}));
    assert_eq!(door.get("/y", &[]).await.status, 426);
}

#[tokio::test]
async fn flutter_webrtc_demo_finds_its_credentials() {
    let door = Door::open().await;
    let path = "/api/turn?service=turn&username=flutter-webrtc";
    let answer = door.get(path, &[]).await.json();
    let user = answer["username"].as_str().unwrap();
    assert!(
        user.split_once(':').unwrap().0.parse::<u64>().is_ok(),
        "{user}"
    );
    assert!(
        answer["password"].is_string() && answer["ttl"].is_u64(),
        "{answer}"
    );
    let first = answer["uris"][0].as_str().unwrap();
    assert!(first.starts_with("turn:localhost:"), "{first}");
}
