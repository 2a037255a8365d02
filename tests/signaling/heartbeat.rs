//! Keep-alives: ours, and those that clients have made up.

use std::time::Duration;

use callbox::config::settings;
use futures_util::StreamExt as _;
use serde_json::json;
use tokio_tungstenite::tungstenite::Message;

use crate::harness::{Server, settings};

#[tokio::test]
async fn a_ping_object_is_answered_with_the_json_text_pong() {
    let server = Server::start(settings()).await;
    let mut client = server.client().await;
    client.say(r#"{"type":"ping"}"#).await;
    assert_eq!(client.hears_text().await, "\"pong\"");
}

#[tokio::test]
async fn a_heatbeat_is_answered_in_its_own_spelling() {
    let server = Server::start(settings()).await;
    let mut client = server.client().await;
    client.say(r#"{"type":"heatbeat","content":"ping"}"#).await;
    client
        .hears(json!({"type": "heatbeat", "content": "pong"}))
        .await;
}

#[tokio::test]
async fn a_heartbeat_is_answered_with_a_heartbeat_reply() {
    let server = Server::start(settings()).await;
    let mut client = server.client().await;
    client.say(r#"{"type":"heartbeat"}"#).await;
    client.hears(json!({"type": "heartbeat reply"})).await;
}

#[tokio::test]
async fn heartbeats_are_answered_in_a_room_too_and_the_peer_does_not_hear_them() {
    let server = Server::start(settings()).await;
    let (mut first, mut second) = server.pair("123").await;
    first.say(r#"{"type":"heartbeat"}"#).await;
    first.hears(json!({"type": "heartbeat reply"})).await;
    server.all_quiet([&mut first, &mut second]).await;
}

#[tokio::test]
async fn an_echoed_ping_command_and_unknown_heartbeats_are_borne_in_silence() {
    let server = Server::start(settings()).await;
    let (mut first, mut second) = server.pair("123").await;
    for text in [
        r#"{"cmd":"ping"}"#,
        r#"{"eventCode":"ping"}"#,
        r#"{"cmd":"keepLive","uid":"a"}"#,
        r#"{"type":"tick"}"#,
        "{}",
    ] {
        first.say(text).await;
    }
    server.all_quiet([&mut first, &mut second]).await;
}

#[tokio::test]
async fn a_keep_alive_that_is_not_json_does_not_end_the_connection() {
    let server = Server::start(settings()).await;
    let mut client = server.joined("123", "a").await;
    for _ in 0..5 {
        client.say("ping").await;
    }
    server.all_quiet([&mut client]).await;
}

#[tokio::test]
async fn a_client_that_only_answers_pings_outlives_the_idle_timeout() {
    let server = Server::start(settings::Signaling {
        ping_interval: Duration::from_millis(60),
        idle_timeout: Duration::from_millis(600),
        ..settings()
    })
    .await;
    let mut client = server.joined("123", "a").await;
    // Reading is what makes this client answer. Thirty pings take three times the timeout.
    let mut pings = 0;
    while pings < 30 {
        match client.socket.next().await {
            Some(Ok(Message::Ping(_))) => pings += 1,
            other => panic!("waited for a ping, got {other:?}"),
        }
    }
    let mut peer = server.client().await;
    peer.join("123", "b").await;
    peer.hears_cmd("resp-join", "a").await;
    client.hears_cmd("new-peer", "b").await;
}

#[tokio::test]
async fn a_ping_of_the_client_is_answered_with_its_own_bytes() {
    use futures_util::SinkExt as _;
    let server = Server::start(settings()).await;
    let mut client = server.client().await;
    client
        .socket
        .send(Message::Ping("are you there".into()))
        .await
        .unwrap();
    let answer = client.socket.next().await.unwrap().unwrap();
    assert_eq!(answer, Message::Pong("are you there".into()));
}
