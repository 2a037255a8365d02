//! How long and how often: deadlines, limits, and the end.

use std::num::NonZeroUsize;
use std::time::Duration;

use callbox::net::clock;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use crate::door::{BINDING, Door, PATIENCE, Setup, ask, ask_on, count, tls, until, within};

const SHORT: Duration = Duration::from_millis(200);
const GET: &str = "GET / HTTP/1.1\r\nHost: localhost\r\n\r\n";

/// Waits for the end of the stream; tells how long that took and what came before.
async fn cut<S: tokio::io::AsyncRead + Unpin>(mut stream: S) -> (Duration, Vec<u8>) {
    let start = clock::now();
    let mut bytes = Vec::new();
    let _ = within(stream.read_to_end(&mut bytes)).await;
    (clock::now() - start, bytes)
}

#[tokio::test]
async fn a_client_that_does_not_finish_its_handshake_is_cut() {
    let mut setup = Setup::default();
    setup.settings.front.handshake_timeout = SHORT;
    let door = setup.open().await;
    // Nothing; the beginning of STUN; the beginning of a TLS record.
    for start in [&b""[..], &BINDING[..7], b"\x16\x03\x01\x02\x00\x01"] {
        let mut stream = TcpStream::connect(door.https).await.unwrap();
        stream.write_all(start).await.unwrap();
        let (after, answer) = cut(stream).await;
        assert!(after < PATIENCE / 2, "{start:?}: {after:?}");
        assert_eq!(answer, b"");
    }
    until("counted", || count(&door.stats.slow) == 3).await;
}

#[tokio::test]
async fn dripping_bytes_does_not_move_the_handshake_deadline() {
    let mut setup = Setup::default();
    setup.settings.front.handshake_timeout = SHORT;
    let door = setup.open().await;
    let stream = TcpStream::connect(door.https).await.unwrap();
    let (mut read, mut write) = stream.into_split();
    // A record that promises 16 KiB and comes in single bytes.
    let drip = door.drain.spawn(async move {
        write
            .write_all(b"\x16\x03\x01\x3f\xff\x01\x00\x3f\xfb")
            .await?;
        let mut tick = tokio::time::interval(SHORT / 8);
        loop {
            tick.tick().await;
            write.write_all(b"\x03").await?;
        }
        #[expect(unreachable_code, reason = "names the error type")]
        Ok::<(), std::io::Error>(())
    });
    let start = clock::now();
    let _ = within(read.read_to_end(&mut Vec::new())).await;
    assert!(clock::now() - start < PATIENCE / 2);
    drip.abort();
}

#[tokio::test]
async fn a_client_that_is_silent_after_its_handshake_is_cut() {
    let mut setup = Setup::default();
    setup.settings.front.header_timeout = SHORT;
    let door = setup.open().await;
    for alpn in [&[][..], &["stun.turn"], &["http/1.1"], &["h2"]] {
        let (after, _) = cut(door.tls(alpn).await).await;
        assert!(after < PATIENCE / 2, "{alpn:?}: {after:?}");
    }
}

#[tokio::test]
async fn a_header_that_does_not_end_is_cut_also_on_a_connection_in_use() {
    let mut setup = Setup::default();
    setup.settings.front.header_timeout = SHORT;
    let door = setup.open().await;
    let mut stream = door.tls(&["http/1.1"]).await;
    assert_eq!(ask_on(&mut stream, GET).await.status, 200);
    // Idle is allowed for longer than a header.
    tokio::time::sleep(SHORT * 2).await;
    assert_eq!(ask_on(&mut stream, GET).await.status, 200);
    stream
        .write_all(b"GET / HTTP/1.1\r\nHost: l")
        .await
        .unwrap();
    let (after, answer) = cut(stream).await;
    assert!(after < PATIENCE / 2, "{after:?}");
    assert_eq!(answer, b"");
}

#[tokio::test]
async fn a_connection_without_requests_is_closed_after_the_idle_timeout() {
    let mut setup = Setup::default();
    setup.settings.front.idle_timeout = SHORT;
    let door = setup.open().await;
    let mut stream = door.tls(&["http/1.1"]).await;
    assert_eq!(ask_on(&mut stream, GET).await.status, 200);
    let (after, _) = cut(stream).await;
    assert!(after < PATIENCE / 2, "{after:?}");
}

#[tokio::test]
async fn a_body_that_does_not_come_is_not_waited_for() {
    let mut setup = Setup::default();
    setup.settings.front.header_timeout = SHORT;
    let door = setup.open().await;
    let request = "POST /ice HTTP/1.1\r\nHost: localhost\r\nContent-Length: 10\r\n\r\n{";
    let mut stream = door.tls(&["http/1.1"]).await;
    assert_eq!(ask_on(&mut stream, request).await.status, 408);
}

#[tokio::test]
async fn a_header_larger_than_any_browser_sends_is_refused() {
    let door = Door::open().await;
    let big = "x".repeat(40 * 1024);
    let reply = door.get("/", &[&format!("X-Big: {big}")]).await;
    assert_eq!(reply.status, 431);
    let many: Vec<String> = (0..100).map(|n| format!("X-{n}: y")).collect();
    let many: Vec<&str> = many.iter().map(String::as_str).collect();
    assert_eq!(door.get("/", &many).await.status, 431);
}

#[tokio::test]
async fn an_address_has_its_share_of_connections_and_no_more() {
    let mut setup = Setup::default();
    setup.settings.front.max_per_ip = NonZeroUsize::new(2).unwrap();
    let door = setup.open().await;
    let mut first = door.tls(&["http/1.1"]).await;
    let second = door.tls(&["http/1.1"]).await;
    assert!(tls(door.https, door.trusting(&[])).await.is_err());
    assert_eq!(count(&door.stats.shed_address), 1);
    // Those who were first are not disturbed.
    assert_eq!(ask_on(&mut first, GET).await.status, 200);
    drop(second);
    let end = clock::now() + PATIENCE;
    while tls(door.https, door.trusting(&[])).await.is_err() {
        assert!(clock::now() < end, "the slot never came back");
    }
}

#[tokio::test]
async fn the_appliance_has_room_for_so_many_and_no_more() {
    let mut setup = Setup::default();
    setup.settings.front.max_connections = NonZeroUsize::new(1).unwrap();
    let door = setup.open().await;
    let mut first = door.tls(&["http/1.1"]).await;
    assert!(tls(door.https, door.trusting(&[])).await.is_err());
    assert_eq!(count(&door.stats.shed_full), 1);
    assert_eq!(ask_on(&mut first, GET).await.status, 200);
}

#[tokio::test]
async fn a_turn_client_keeps_its_slot_until_its_worker_lets_go() {
    let mut setup = Setup::default();
    setup.settings.front.max_per_ip = NonZeroUsize::new(1).unwrap();
    let mut door = setup.open().await;
    let mut stream = TcpStream::connect(door.turn).await.unwrap();
    stream.write_all(BINDING).await.unwrap();
    let handed = door.turn_client().await;
    assert!(tls(door.https, door.trusting(&[])).await.is_err());
    drop(handed);
    let page = ask(door.tls(&[]).await, "GET / HTTP/1.0\r\n\r\n").await;
    assert_eq!(page.status, 200);
}

#[tokio::test]
async fn the_drain_ends_idle_connections_and_lets_nobody_in() {
    let door = Door::open().await;
    let mut idle = door.tls(&["http/1.1"]).await;
    assert_eq!(ask_on(&mut idle, GET).await.status, 200);
    let http2 = door.tls(&["h2"]).await;
    let undecided = TcpStream::connect(door.https).await.unwrap();
    let accepted = || door.stats.accepted.iter().map(count).sum::<u64>();
    until("all accepted", || accepted() == 3).await;
    door.drain.begin();
    for after in [
        cut(idle).await.0,
        cut(undecided).await.0,
        cut(http2).await.0,
    ] {
        assert!(after < PATIENCE / 2, "{after:?}");
    }
    assert!(door.drain.finish(PATIENCE).await);
    assert!(TcpStream::connect(door.https).await.is_err());
}

#[tokio::test]
async fn a_door_without_descriptors_opens_again_when_there_are_some() {
    const FEW: &str = "CALLBOX_TEST_FEW_DESCRIPTORS";
    if std::env::var_os(FEW).is_none() {
        // In a process of its own, since the limit is the whole process's.
        let this = std::env::current_exe().unwrap();
        let name = "limits::a_door_without_descriptors_opens_again_when_there_are_some";
        let child = std::process::Command::new("prlimit")
            .args(["--nofile=64:64".as_ref(), this.as_os_str()])
            .args(["--exact", name, "--nocapture"])
            .env(FEW, "1")
            .output()
            .unwrap();
        assert!(child.status.success(), "{child:?}");
        return;
    }
    let door = Door::open().await;
    let mut crowd = Vec::new();
    while let Ok(stream) = TcpStream::connect(door.https).await {
        crowd.push(stream);
    }
    // The last of the crowd took the last descriptor, whatever was accepted in between: the next
    // of the backlog cannot have one.
    until("an accept that failed", || count(&door.stats.starved) > 0).await;
    drop(crowd);
    let end = clock::now() + PATIENCE;
    loop {
        match tls(door.https, door.trusting(&[])).await {
            Ok(stream) => {
                assert_eq!(ask(stream, "GET / HTTP/1.0\r\n\r\n").await.status, 200);
                return;
            }
            Err(error) => assert!(clock::now() < end, "still closed: {error}"),
        }
    }
}
