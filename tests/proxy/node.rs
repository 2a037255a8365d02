//! A real application, written for node, behind the door.

use std::io::{BufRead as _, BufReader};
use std::net::SocketAddr;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use futures_util::{SinkExt as _, StreamExt as _};
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::client::IntoClientRequest as _;
use tokio_tungstenite::{WebSocketStream, client_async};

use crate::application::{SHORT, proxy};
use crate::door::{Door, Setup, within};

struct Node {
    process: Child,
    address: SocketAddr,
}

impl Node {
    /// Starts it on this port; 0 is a free one.
    async fn start(port: u16) -> Self {
        let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/proxy/app.js");
        let mut process = Command::new("node")
            .arg(script)
            .env("PORT", port.to_string())
            .stdout(Stdio::piped())
            .spawn()
            .expect("node is needed");
        let output = process.stdout.take().unwrap();
        let port = tokio::task::spawn_blocking(|| {
            let mut line = String::new();
            BufReader::new(output).read_line(&mut line).map(|_| line)
        });
        let port = within(port).await.unwrap().unwrap();
        Self {
            process,
            address: SocketAddr::new("127.0.0.1".parse().unwrap(), port.trim().parse().unwrap()),
        }
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

type Socket = WebSocketStream<tokio_rustls::client::TlsStream<tokio::net::TcpStream>>;

async fn socket(door: &Door) -> Socket {
    let stream = door.tls(&["http/1.1"]).await;
    let url = format!("wss://localhost:{}/app/socket", door.https.port());
    let request = url.into_client_request().unwrap();
    let (socket, response) = within(client_async(request, stream)).await.unwrap();
    assert_eq!(response.status(), 101);
    socket
}

async fn echoes(socket: &mut Socket, text: &str) {
    socket.send(Message::text(text)).await.unwrap();
    let back = within(socket.next()).await.unwrap().unwrap();
    assert_eq!(back.to_text().unwrap(), text);
}

/// A door whose every deadline is short.
async fn hasty_door(address: SocketAddr) -> Door {
    let mut setup = Setup::default();
    setup.settings.front.idle_timeout = SHORT;
    let mut proxied = proxy("/app", address);
    proxied.read_timeout = SHORT * 10;
    proxied.send_timeout = SHORT * 10;
    setup.settings.proxy = vec![proxied];
    setup.open().await
}

#[tokio::test]
async fn a_node_application_works_and_its_quiet_websocket_stays() {
    let node = Node::start(0).await;
    let door = hasty_door(node.address).await;
    let mut socket = socket(&door).await;
    echoes(&mut socket, "hello").await;

    let page = door.get("/app/", &[]).await;
    assert_eq!(page.status, 200);
    assert!(page.text().ends_with("<p>127.0.0.1"), "{}", page.text());
    assert_eq!(door.get("/app/missing", &[]).await.text(), "no such thing");
    let body = "x".repeat(100_000);
    let post = format!(
        "POST /app/count HTTP/1.1\r\nHost: a\r\nConnection: close\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    );
    assert!(door.ask(&post).await.text().ends_with("100000"));
    let stream = door.ask("GET /app/stream HTTP/1.0\r\n\r\n").await;
    assert_eq!(
        stream.text(),
        "piece 5\npiece 4\npiece 3\npiece 2\npiece 1\n"
    );

    // Longer than any deadline of HTTP here.
    tokio::time::sleep(quiet()).await;
    echoes(&mut socket, "still here").await;
    socket.close(None).await.unwrap();
    let last = within(socket.next()).await.unwrap().unwrap();
    assert!(last.is_close());
}

/// How long the WebSocket says nothing; `CALLBOX_TEST_QUIET=300` for the real thing.
fn quiet() -> Duration {
    let seconds = std::env::var("CALLBOX_TEST_QUIET").ok();
    let seconds = seconds.and_then(|text| text.parse().ok());
    seconds.map_or(SHORT * 12, Duration::from_secs)
}

#[tokio::test]
async fn a_node_application_may_restart_and_is_missed_only_while_it_is_down() {
    let node = Node::start(0).await;
    let address = node.address;
    let door = hasty_door(address).await;
    let mut socket = socket(&door).await;
    for _ in 0..3 {
        assert_eq!(door.get("/app/", &[]).await.status, 200);
    }
    drop(node);
    // Its WebSocket ends with it, and is not left hanging.
    assert!(
        within(socket.next())
            .await
            .is_none_or(|message| message.is_err())
    );
    for _ in 0..3 {
        assert_eq!(door.get("/app/", &[]).await.status, 502);
    }
    assert_eq!(door.get("/", &[]).await.status, 200);

    let _node = Node::start(address.port()).await;
    // From the first request on: no connection of before is used.
    assert_eq!(door.get("/app/", &[]).await.status, 200);
    let mut again = crate::node::socket(&door).await;
    echoes(&mut again, "back").await;
}
