//! flutter-webrtc-demo's protocol, as its client speaks it.

use serde_json::{Value, json};

use crate::harness::{Client, Server, settings};

fn person(id: &str) -> Value {
    json!({"id": id, "name": "phone", "user_agent": "flutter-webrtc/dart"})
}

fn peers(ids: &[&str]) -> Value {
    let people: Vec<_> = ids.iter().map(|id| person(id)).collect();
    json!({"type": "peers", "data": people})
}

async fn new(client: &mut Client, id: &str) {
    client
        .say_json(json!({"type": "new", "data": person(id)}))
        .await;
}

async fn pair(server: &Server) -> (Client, Client) {
    let mut first = server.client().await;
    new(&mut first, "111111").await;
    first.hears(peers(&["111111"])).await;
    let mut second = server.client().await;
    new(&mut second, "222222").await;
    first.hears(peers(&["111111", "222222"])).await;
    second.hears(peers(&["111111", "222222"])).await;
    (first, second)
}

#[tokio::test]
async fn a_call_is_made_and_ended_among_those_who_see_each_other() {
    let server = Server::start(settings()).await;
    let (mut first, mut second) = pair(&server).await;
    let session = "111111-222222";
    for kind in ["offer", "candidate"] {
        let data =
            json!({"to": "222222", "from": "111111", "session_id": session, "media": "data"});
        let frame = json!({"type": kind, "data": data}).to_string();
        first.say(&frame).await;
        assert_eq!(second.hears_text().await, frame);
    }
    let frame = json!({"type": "answer", "data": {"to": "111111", "session_id": session}});
    second.say_json(frame.clone()).await;
    first.hears(frame).await;
    second
        .say_json(json!({"type": "bye", "data": {"session_id": session, "from": "222222"}}))
        .await;
    let bye = |to: &str| json!({"type": "bye", "data": {"to": to, "session_id": session}});
    first.hears(bye("111111")).await;
    second.hears(bye("222222")).await;
}

#[tokio::test]
async fn whoever_leaves_or_vanishes_is_seen_no_more() {
    let server = Server::start(settings()).await;
    let (mut first, mut second) = pair(&server).await;
    second.say_json(json!({"type": "leave", "data": {}})).await;
    first.hears(peers(&["111111"])).await;
    new(&mut second, "222222").await;
    first.hears(peers(&["111111", "222222"])).await;
    drop(second);
    first.hears(peers(&["111111"])).await;
}

#[tokio::test]
async fn errors_name_the_request_and_the_reason() {
    let server = Server::start(settings()).await;
    let (mut first, _second) = pair(&server).await;
    for (frame, reason) in [
        (
            json!({"type": "offer", "data": {"to": "333333", "from": "111111"}}),
            "Peer [333333] not found",
        ),
        (
            json!({"type": "offer", "data": {"to": "222222", "from": "222222"}}),
            "from must be your own id",
        ),
        (
            json!({"type": "bye", "data": {"session_id": "222222-333333"}}),
            "Invalid session [222222-333333]",
        ),
    ] {
        first.say_json(frame.clone()).await;
        let data = json!({"request": frame["type"], "reason": reason});
        first.hears(json!({"type": "error", "data": data})).await;
    }
    let mut third = server.client().await;
    new(&mut third, "111111").await;
    let data = json!({"request": "new", "reason": "this id is in use"});
    third.hears(json!({"type": "error", "data": data})).await;
}

#[tokio::test]
async fn a_keepalive_is_answered_and_lobbies_are_apart() {
    let server = Server::start(settings()).await;
    let (mut first, _second) = pair(&server).await;
    first
        .say_json(json!({"type": "keepalive", "data": {}}))
        .await;
    first.hears(json!({"type": "keepalive", "data": {}})).await;
    let mut other = Client::at_path(server.address, "/ws?room=other").await;
    new(&mut other, "111111").await;
    other.hears(peers(&["111111"])).await;
    other
        .say_json(json!({"type": "offer", "data": {"to": "222222"}}))
        .await;
    assert_eq!(other.hears_json().await["type"], "error");
    first
        .say_json(json!({"type": "keepalive", "data": {}}))
        .await;
    first.hears(json!({"type": "keepalive", "data": {}})).await;
}
