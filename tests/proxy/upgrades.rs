//! Connections that change their protocol, and what becomes of them.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio_rustls::client::TlsStream;

use crate::application::{Application, Connection, SHORT, door, header, status};
use crate::door::{Door, PATIENCE, Setup, within};

const ASK: &str = "GET /app/echo HTTP/1.1\r\nHost: a\r\nConnection: keep-alive, Upgrade\r\n\
    Upgrade: echo/1\r\n\r\n";
const AGREED: &str = "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\n\
    Upgrade: echo/1\r\nX-App: yes\r\n\r\n";

/// Changes to a protocol in which everything comes back.
async fn echo() -> Application {
    Application::start(|_, mut connection: Connection| async move {
        if connection.head().await.is_none() {
            return;
        }
        connection.say(AGREED).await;
        while let Some(bytes) = connection
            .until(|bytes| (!bytes.is_empty()).then_some(bytes.len()))
            .await
        {
            let _ = connection.stream.write_all(&bytes).await;
        }
    })
    .await
}

/// A tunnel to it.
async fn tunnel(door: &Door) -> TlsStream<TcpStream> {
    let mut visitor = door.tls(&["http/1.1"]).await;
    visitor.write_all(ASK.as_bytes()).await.unwrap();
    let head = head(&mut visitor).await;
    assert_eq!(status(&head), 101, "{head}");
    visitor
}

async fn head(visitor: &mut TlsStream<TcpStream>) -> String {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        let mut byte = [0];
        within(visitor.read_exact(&mut byte)).await.unwrap();
        head.extend(byte);
    }
    String::from_utf8(head).unwrap()
}

async fn echoes(visitor: &mut TlsStream<TcpStream>, text: &[u8]) {
    visitor.write_all(text).await.unwrap();
    let mut back = vec![0; text.len()];
    within(visitor.read_exact(&mut back)).await.unwrap();
    assert_eq!(back, text);
}

#[tokio::test]
async fn any_protocol_passes_and_nothing_is_lost_at_the_change() {
    let application = Application::start(|_, mut connection| async move {
        let head = connection.head().await.unwrap();
        assert_eq!(header(&head, "upgrade"), Some("echo/1"));
        assert_eq!(header(&head, "connection"), Some("upgrade"));
        assert_eq!(header(&head, "x-forwarded-proto"), Some("https"));
        // Said in one breath with the agreement.
        connection.say(&format!("{AGREED}welcome")).await;
        let early = connection
            .until(|bytes| (bytes.len() >= 5).then_some(5))
            .await;
        assert_eq!(early.as_deref(), Some(&b"early"[..]));
        connection.say("goodbye").await;
    })
    .await;
    let door = door(vec![application.at("/app")]).await;
    let mut visitor = door.tls(&["http/1.1"]).await;
    visitor
        .write_all(format!("{ASK}early").as_bytes())
        .await
        .unwrap();
    let head = head(&mut visitor).await;
    assert_eq!(status(&head), 101);
    assert_eq!(header(&head, "upgrade"), Some("echo/1"));
    assert_eq!(header(&head, "connection"), Some("upgrade"));
    assert_eq!(header(&head, "x-app"), Some("yes"));
    let mut rest = String::new();
    within(visitor.read_to_string(&mut rest)).await.unwrap();
    assert_eq!(rest, "welcomegoodbye");
}

#[tokio::test]
async fn a_tunnel_has_no_deadline_but_its_own() {
    let application = echo().await;
    let mut proxied = application.at("/app");
    proxied.read_timeout = SHORT;
    proxied.send_timeout = SHORT;
    proxied.connect_timeout = Duration::from_secs(5);
    let mut setup = Setup::default();
    setup.settings.front.idle_timeout = SHORT;
    setup.settings.proxy = vec![proxied.clone()];
    let door = setup.open().await;
    let mut visitor = tunnel(&door).await;
    echoes(&mut visitor, b"one").await;
    tokio::time::sleep(SHORT * 4).await;
    echoes(&mut visitor, b"two").await;

    let mut setup = Setup::default();
    proxied.upgrade_timeout = Some(SHORT);
    setup.settings.proxy = vec![proxied];
    let door = setup.open().await;
    let mut visitor = tunnel(&door).await;
    for _ in 0..4 {
        echoes(&mut visitor, b"still here").await;
    }
    let mut rest = Vec::new();
    within(visitor.read_to_end(&mut rest)).await.unwrap();
    assert_eq!(rest, b"");
}

#[tokio::test]
async fn an_upgrade_outside_of_every_proxy_is_signaling() {
    let application = echo().await;
    let door = door(vec![application.at("/app")]).await;
    let ask = |path: &str| {
        format!(
            "GET {path} HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
             Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n"
        )
    };
    for (path, accepted) in [
        ("/ws", true),
        ("/", true),
        ("/elsewhere", true),
        ("/app", false),
        ("/app/ws", false),
    ] {
        let mut visitor = door.tls(&["http/1.1"]).await;
        visitor.write_all(ask(path).as_bytes()).await.unwrap();
        let head = head(&mut visitor).await;
        assert_eq!(
            header(&head, "sec-websocket-accept").is_some(),
            accepted,
            "{path}: {head}"
        );
    }
    assert_eq!(application.count(), 2);
    assert_eq!(door.services.stats().websockets.load(Ordering::Relaxed), 3);
}

#[tokio::test]
async fn a_refused_upgrade_is_an_answer_and_a_clean_end() {
    let application =
        Application::saying("HTTP/1.1 403 Forbidden\r\nContent-Length: 2\r\n\r\nno").await;
    let door = door(vec![application.at("/app")]).await;
    let reply = door.ask(ASK).await;
    assert_eq!((reply.status, reply.text()), (403, "no"));
    assert_eq!(reply.header("connection"), Some("close"));
}

#[tokio::test]
async fn an_upgrade_that_the_application_may_not_see_is_an_ordinary_request() {
    let application = Application::saying(crate::application::OK).await;
    let door = door(vec![application.at("/app")]).await;
    for lines in [
        &[
            "Connection: Upgrade, HTTP2-Settings",
            "Upgrade: h2c",
            "HTTP2-Settings: AAMAAABk",
        ][..],
        &["Upgrade: websocket"],
    ] {
        let reply = door.get("/app", lines).await;
        assert_eq!(reply.status, 200, "{lines:?}");
    }
    let heard = application.heard().to_ascii_lowercase();
    assert!(
        !heard.contains("upgrade") && !heard.contains("http2"),
        "{heard}"
    );
}

#[tokio::test]
async fn the_end_of_one_side_is_the_end_of_the_tunnel() {
    // The application ends.
    let application = Application::start(|_, mut connection| async move {
        connection.head().await;
        connection.say(AGREED).await;
    })
    .await;
    let door = door(vec![application.at("/app")]).await;
    let mut visitor = tunnel(&door).await;
    assert_eq!(
        within(visitor.read_to_end(&mut Vec::new())).await.unwrap(),
        0
    );

    // The visitor ends.
    let (sender, mut ended) = tokio::sync::mpsc::channel(1);
    let application = Application::start(move |_, mut connection| {
        let sender = sender.clone();
        async move {
            connection.head().await;
            connection.say(AGREED).await;
            connection.closed().await;
            sender.send(()).await.unwrap();
        }
    })
    .await;
    let door = crate::application::door(vec![application.at("/app")]).await;
    drop(tunnel(&door).await);
    within(ended.recv()).await.unwrap();
}

#[tokio::test]
async fn the_drain_ends_tunnels_at_once() {
    let application = echo().await;
    let door = door(vec![application.at("/app")]).await;
    let mut visitor = tunnel(&door).await;
    echoes(&mut visitor, b"hello").await;
    door.drain.begin();
    assert_eq!(
        within(visitor.read_to_end(&mut Vec::new())).await.unwrap(),
        0
    );
    assert!(door.drain.finish(PATIENCE).await);
}

#[tokio::test]
async fn a_tunnel_leaves_its_place_to_others_and_keeps_its_connections_slot() {
    let application = echo().await;
    let mut setup = Setup::default();
    let mut proxied = application.at("/app");
    proxied.max_connections = std::num::NonZeroUsize::MIN;
    setup.settings.proxy = vec![proxied];
    setup.settings.front.max_per_ip = std::num::NonZeroUsize::new(2).unwrap();
    let door = setup.open().await;
    let mut first = tunnel(&door).await;
    let mut second = tunnel(&door).await;
    echoes(&mut first, b"one").await;
    echoes(&mut second, b"two").await;
    assert!(
        crate::door::tls(door.https, door.trusting(&[]))
            .await
            .is_err()
    );
}

#[tokio::test]
async fn a_tunnel_whose_reader_is_slow_does_not_grow() {
    let sent = Arc::new(AtomicU64::new(0));
    let counter = sent.clone();
    let application = Application::start(move |_, mut connection| {
        let sent = counter.clone();
        async move {
            connection.head().await;
            connection.say(AGREED).await;
            let piece = vec![b'x'; 64 * 1024];
            while connection.stream.write_all(&piece).await.is_ok() {
                sent.fetch_add(piece.len() as u64, Ordering::SeqCst);
            }
        }
    })
    .await;
    let door = door(vec![application.at("/app")]).await;
    let visitor = tunnel(&door).await;
    let mut last = 0;
    let mut same = 0;
    while same < 5 {
        tokio::time::sleep(Duration::from_millis(50)).await;
        let now = sent.load(Ordering::SeqCst);
        same = if now == last && now > 0 { same + 1 } else { 0 };
        last = now;
        assert!(
            now < 40_000_000,
            "{now} bytes for a visitor who reads nothing"
        );
    }
    drop(visitor);
}
