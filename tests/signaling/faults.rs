//! Clients that die, hang or misbehave, and their peers.

use std::process::Command;
use std::time::{Duration, Instant};

use callbox::config::settings;
use callbox::net::clock;
use futures_util::SinkExt as _;
use socket2::SockRef;
use tokio::time::sleep;
use tokio_tungstenite::tungstenite::Message;

use crate::harness::{Client, PATIENCE, Server, settings};

/// What people are promised.
const AT_ONCE: Duration = Duration::from_secs(1);

async fn hears_of_the_end_at_once(peer: &mut Client, uid: &str, since: Instant) {
    peer.hears_cmd("peer-leave", uid).await;
    let waited = clock::now() - since;
    assert!(waited < AT_ONCE, "heard after {waited:?}");
}

#[tokio::test]
async fn a_connection_that_is_reset_is_a_leave_at_once() {
    let server = Server::start(settings()).await;
    let (first, mut second) = server.pair("123").await;
    let raw = first.socket.get_ref();
    SockRef::from(raw).set_linger(Some(Duration::ZERO)).unwrap();
    let since = clock::now();
    drop(first);
    hears_of_the_end_at_once(&mut second, "a", since).await;
}

#[tokio::test]
async fn a_connection_that_ends_without_a_close_frame_is_a_leave_at_once() {
    let server = Server::start(settings()).await;
    let (first, mut second) = server.pair("123").await;
    let since = clock::now();
    drop(first);
    hears_of_the_end_at_once(&mut second, "a", since).await;
}

#[tokio::test]
async fn a_close_frame_is_a_leave_before_the_connection_has_ended() {
    let server = Server::start(settings()).await;
    let (mut first, mut second) = server.pair("123").await;
    let since = clock::now();
    first.socket.send(Message::Close(None)).await.unwrap();
    hears_of_the_end_at_once(&mut second, "a", since).await;
}

#[tokio::test]
async fn the_seat_of_a_client_that_is_sent_away_is_free_before_it_has_gone() {
    let server = Server::start(settings()).await;
    let (mut first, mut second) = server.pair("123").await;
    let since = clock::now();
    // The close frame that this causes is never read, let alone answered.
    first.socket.send(Message::binary("x")).await.unwrap();
    hears_of_the_end_at_once(&mut second, "a", since).await;
}

#[tokio::test]
async fn what_was_said_just_before_the_end_still_arrives_first() {
    let server = Server::start(settings()).await;
    let (mut first, mut second) = server.pair("123").await;
    let bye = r#"{"cmd":"hangup","roomId":"123","uid":"a","remoteUid":"b"}"#;
    first.say(bye).await;
    drop(first);
    assert_eq!(second.hears_text().await, bye);
    second.hears_cmd("peer-leave", "a").await;
}

#[tokio::test]
async fn a_client_process_that_is_killed_is_a_leave_at_once() {
    let server = Server::start(settings()).await;
    let mut second = server.joined("123", "b").await;
    let mut process = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "faults::a_process_that_waits_to_be_killed"])
        .arg("--ignored")
        .env(SERVER, server.address.to_string())
        .spawn()
        .unwrap();
    second.hears_cmd("new-peer", "a").await;
    let since = clock::now();
    // SIGKILL: the process does nothing more, not even close its socket.
    process.kill().unwrap();
    hears_of_the_end_at_once(&mut second, "a", since).await;
    process.wait().unwrap();
}

/// Address of the server, for the process that is killed.
const SERVER: &str = "CALLBOX_TEST_SERVER";

#[tokio::test]
#[ignore = "run as a process of its own by the test before it"]
async fn a_process_that_waits_to_be_killed() {
    let Ok(address) = std::env::var(SERVER) else {
        return;
    };
    let mut client = Client::at(address.parse().unwrap()).await;
    client.join("123", "a").await;
    client.hears_cmd("resp-join", "b").await;
    sleep(PATIENCE).await;
}

#[tokio::test]
async fn a_silent_peer_is_gone_after_the_idle_timeout() {
    let server = Server::start(settings::Signaling {
        ping_interval: Duration::from_millis(100),
        idle_timeout: Duration::from_millis(800),
        ..settings()
    })
    .await;
    // Not read from again, this one answers no ping: as a phone that has lost its network.
    let (_silent, mut second) = server.pair("123").await;
    second.hears_cmd("peer-leave", "a").await;
    server.stats_become(|now| now.silent == 1).await;
    // Its seat can be had again.
    let mut third = server.client().await;
    third.join("123", "c").await;
    third.hears_cmd("resp-join", "b").await;
}

#[tokio::test]
async fn a_session_that_is_cancelled_gives_up_its_seat() {
    let server = Server::start(settings()).await;
    let mut second = server.joined("123", "b").await;
    let (mut first, session) = server.client_with_its_session().await;
    first.join("123", "a").await;
    first.hears_cmd("resp-join", "b").await;
    second.hears_cmd("new-peer", "a").await;
    let since = clock::now();
    session.abort();
    hears_of_the_end_at_once(&mut second, "a", since).await;
}

#[tokio::test]
async fn garbage_from_one_client_disturbs_nobody() {
    let server = Server::start(settings()).await;
    let (mut first, mut second) = server.pair("123").await;
    for garbage in ["{", "\u{7f}", r#"{"cmd":{}}"#, r#"{"cmd":"leave","uid":5}"#] {
        let mut vandal = server.client().await;
        vandal.join("456", "v").await;
        for _ in 0..5 {
            vandal.say(garbage).await;
        }
        vandal.fence().await;
    }
    server.all_quiet([&mut first, &mut second]).await;
    let offer = r#"{"cmd":"offer","roomId":"123","uid":"a","remoteUid":"b","msg":"x"}"#;
    first.say(offer).await;
    assert_eq!(second.hears_text().await, offer);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_peer_that_does_not_read_holds_up_nobody_and_is_cut_off() {
    let server = Server::start_with(
        settings::Signaling {
            messages_per_second: 0,
            ..settings()
        },
        Some(4096),
    )
    .await;
    let mut slow = server.client_with_little_memory().await;
    slow.join("slow", "s").await;
    slow.fence().await;
    let mut writer = server.client().await;
    writer.join("slow", "w").await;
    writer.hears_cmd("resp-join", "s").await;
    let (mut first, mut second) = server.pair("123").await;

    let body = "x".repeat(60_000);
    let big = format!(r#"{{"cmd":"message","uid":"w","remoteUid":"s","msg":"{body}"}}"#);
    let offer = r#"{"cmd":"offer","roomId":"123","uid":"a","remoteUid":"b","msg":"x"}"#;
    for _ in 0..40 {
        writer.say(&big).await;
        let since = clock::now();
        first.say(offer).await;
        assert_eq!(second.hears_text().await, offer);
        let waited = clock::now() - since;
        assert!(waited < AT_ONCE, "held up for {waited:?}");
    }
    // 40 x 60 kB is more than the queue and the kernel hold together.
    writer.hears_cmd("peer-leave", "s").await;
    server.stats_become(|now| now.too_slow == 1).await;
}

#[tokio::test]
async fn a_peer_that_writes_but_does_not_read_is_cut_off_when_its_time_is_over() {
    let server = Server::start_with(
        settings::Signaling {
            ping_interval: Duration::from_millis(100),
            idle_timeout: Duration::from_millis(1000),
            messages_per_second: 0,
            ..settings()
        },
        Some(4096),
    )
    .await;
    let mut slow = server.client_with_little_memory().await;
    slow.join("slow", "s").await;
    slow.fence().await;
    let mut writer = server.client().await;
    writer.join("slow", "w").await;
    writer.hears_cmd("resp-join", "s").await;
    let body = "x".repeat(60_000);
    let big = format!(r#"{{"cmd":"message","uid":"w","remoteUid":"s","msg":"{body}"}}"#);
    // Less than the queue holds, so that it is not the queue that runs over.
    for _ in 0..5 {
        writer.say(&big).await;
    }
    // Alive by any measure but one, until its own connection ends.
    let talking = async {
        while slow
            .socket
            .send(Message::text(r#"{"cmd":"ping"}"#))
            .await
            .is_ok()
        {
            sleep(Duration::from_millis(50)).await;
        }
    };
    // The writer has to stay alive meanwhile: its answers to pings are its sign of life.
    let told = writer.hears_cmd("peer-leave", "s");
    tokio::join!(talking, told);
    server
        .stats_become(|now| now.too_slow == 1 && now.silent == 0)
        .await;
}
