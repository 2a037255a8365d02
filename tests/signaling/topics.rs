//! y-webrtc's protocol, as its client speaks it.

use serde_json::json;

use crate::harness::{Client, Server, settings};

async fn subscribed(server: &Server, topics: &[&str]) -> Client {
    let mut client = Client::at_path(server.address, "/y").await;
    client
        .say_json(json!({"type": "subscribe", "topics": topics}))
        .await;
    alive(&mut client).await;
    client
}

/// Everything said before has been dealt with.
async fn alive(client: &mut Client) {
    client.say_json(json!({"type": "ping"})).await;
    client.hears(json!({"type": "pong"})).await;
}

#[tokio::test]
async fn what_is_published_reaches_all_subscribers_with_their_number() {
    let server = Server::start(settings()).await;
    let mut first = subscribed(&server, &["doc", "other"]).await;
    let mut second = subscribed(&server, &["doc"]).await;
    let mut stranger = subscribed(&server, &["else"]).await;
    let data = json!({"type": "announce", "from": "x"});
    first
        .say_json(json!({"type": "publish", "topic": "doc", "data": data}))
        .await;
    let heard = json!({"type": "publish", "topic": "doc", "data": data, "clients": 2});
    first.hears(heard.clone()).await;
    second.hears(heard).await;
    alive(&mut stranger).await;
    second
        .say_json(json!({"type": "unsubscribe", "topics": ["doc"]}))
        .await;
    alive(&mut second).await;
    first
        .say_json(json!({"type": "publish", "topic": "doc", "data": "b64"}))
        .await;
    first
        .hears(json!({"type": "publish", "topic": "doc", "data": "b64", "clients": 1}))
        .await;
    alive(&mut second).await;
}

#[tokio::test]
async fn who_has_not_subscribed_is_neither_heard_nor_told() {
    let server = Server::start(settings()).await;
    let mut first = subscribed(&server, &["doc"]).await;
    let mut second = subscribed(&server, &[]).await;
    second
        .say_json(json!({"type": "publish", "topic": "doc", "data": 1}))
        .await;
    second
        .say_json(json!({"type": "publish", "topic": "nothing", "data": 1}))
        .await;
    alive(&mut second).await;
    alive(&mut first).await;
    server.stats_become(|stats| stats.undeliverable == 2).await;
}

#[tokio::test]
async fn a_subscriber_that_is_gone_is_counted_no_more() {
    let server = Server::start(settings()).await;
    let mut first = subscribed(&server, &["doc"]).await;
    drop(subscribed(&server, &["doc"]).await);
    server.stats_become(|stats| stats.connections == 1).await;
    first
        .say_json(json!({"type": "publish", "topic": "doc", "data": 1}))
        .await;
    assert_eq!(first.hears_json().await["clients"], 1);
}

#[tokio::test]
async fn one_topic_too_many_is_refused_and_said_so() {
    let server = Server::start(callbox::config::settings::Signaling {
        max_rooms: 1,
        ..settings()
    })
    .await;
    let _first = subscribed(&server, &["doc"]).await;
    let mut second = Client::at_path(server.address, "/y").await;
    second
        .say_json(json!({"type": "subscribe", "topics": ["more"]}))
        .await;
    let reason = "the server has no place for another room";
    second
        .hears(json!({"type": "error", "topic": "more", "reason": reason}))
        .await;
}
