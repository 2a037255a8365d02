//! PeerJS's protocol, as its client speaks it.

use std::time::Duration;

use callbox::config::settings;
use callbox::net::clock;
use serde_json::json;

use crate::harness::{Client, Server, settings};

async fn client(server: &Server, id: &str, token: &str) -> Client {
    let query = format!("key=peerjs&id={id}&token={token}&version=1.5.5");
    Client::at_path(server.address, &format!("/peerjs?{query}")).await
}

/// With an id.
async fn opened(server: &Server, id: &str, token: &str) -> Client {
    let mut client = client(server, id, token).await;
    client.hears(json!({"type": "OPEN"})).await;
    client
}

#[tokio::test]
async fn offers_answers_candidates_and_leaves_arrive_with_their_sender() {
    let server = Server::start(settings()).await;
    let mut alice = opened(&server, "alice", "t").await;
    let mut bob = opened(&server, "bob", "u").await;
    for kind in ["OFFER", "CANDIDATE", "LEAVE"] {
        let payload = json!({"sdp": {"type": "x"}, "connectionId": "dc_1"});
        // Whoever the sender says to be, it is the one that it is.
        let frame = json!({"type": kind, "src": "eve", "dst": "bob", "payload": payload});
        alice.say_json(frame).await;
        let heard = json!({"type": kind, "src": "alice", "dst": "bob", "payload": payload});
        bob.hears(heard).await;
    }
    bob.say_json(json!({"type": "HEARTBEAT"})).await;
    bob.say_json(json!({"type": "ANSWER", "dst": "alice", "payload": {}}))
        .await;
    let answer = json!({"type": "ANSWER", "src": "bob", "dst": "alice", "payload": {}});
    alice.hears(answer).await;
}

#[tokio::test]
async fn an_id_is_taken_back_with_its_token_and_with_no_other() {
    let server = Server::start(settings()).await;
    let mut alice = opened(&server, "alice", "secret").await;
    let mut eve = client(&server, "alice", "guess").await;
    eve.hears(json!({"type": "ID-TAKEN", "payload": {"msg": "ID is taken"}}))
        .await;
    assert_eq!(eve.hears_close_next().await.0, 1000);
    let mut again = opened(&server, "alice", "secret").await;
    assert_eq!(alice.hears_close_next().await.0, 1008);
    let mut bob = opened(&server, "bob", "u").await;
    bob.say_json(json!({"type": "OFFER", "dst": "alice", "payload": 1}))
        .await;
    let offer = json!({"type": "OFFER", "src": "bob", "dst": "alice", "payload": 1});
    again.hears(offer).await;
    drop(again);
    server.stats_become(|stats| stats.connections == 1).await;
    opened(&server, "alice", "guess").await;
}

#[tokio::test]
async fn what_is_for_a_peer_that_comes_soon_waits_for_it_and_else_expires() {
    let server = Server::start(settings()).await;
    let mut alice = opened(&server, "alice", "t").await;
    let since = clock::now();
    for n in 0..3 {
        alice
            .say_json(json!({"type": "CANDIDATE", "dst": "bob", "payload": n}))
            .await;
        alice
            .say_json(json!({"type": "OFFER", "dst": "nobody", "payload": n}))
            .await;
    }
    // It has been dealt with when this has.
    alice
        .say_json(json!({"type": "OFFER", "dst": "alice", "payload": null}))
        .await;
    assert_eq!(alice.hears_json().await["type"], "OFFER");
    let mut bob = opened(&server, "bob", "u").await;
    if since.elapsed() > Duration::from_secs(4) {
        // The machine is too slow to tell.
        return;
    }
    for n in 0..3 {
        let heard = json!({"type": "CANDIDATE", "src": "alice", "dst": "bob", "payload": n});
        bob.hears(heard).await;
    }
    alice
        .hears(json!({"type": "EXPIRE", "src": "nobody", "dst": "alice"}))
        .await;
    assert!(
        since.elapsed() >= Duration::from_secs(4),
        "as long as its own server waits"
    );
    alice
        .say_json(json!({"type": "OFFER", "dst": "alice", "payload": null}))
        .await;
    assert_eq!(alice.hears_json().await["type"], "OFFER", "it expires once");
}

#[tokio::test]
async fn who_lacks_something_or_has_another_key_is_told_so_and_closed() {
    let server = Server::start(settings()).await;
    for (query, why) in [
        (
            "key=peerjs&id=a",
            "No id, token, or key supplied to websocket server",
        ),
        ("", "No id, token, or key supplied to websocket server"),
        ("key=other&id=a&token=t", "Invalid key provided"),
        (
            "key=peerjs&id=a%00&token=t",
            "id must not contain control characters",
        ),
    ] {
        let mut client = Client::at_path(server.address, &format!("/peerjs/peerjs?{query}")).await;
        client
            .hears(json!({"type": "ERROR", "payload": {"msg": why}}))
            .await;
        assert_eq!(client.hears_close_next().await.0, 1000);
    }
}

#[tokio::test]
async fn one_peer_too_many_is_refused() {
    let server = Server::start(settings::Signaling {
        max_rooms: 1,
        ..settings()
    })
    .await;
    let _alice = opened(&server, "alice", "t").await;
    let mut bob = client(&server, "bob", "t").await;
    let why = "Server has reached its concurrent user limit";
    bob.hears(json!({"type": "ERROR", "payload": {"msg": why}}))
        .await;
}

#[tokio::test]
async fn garbage_from_a_peer_ends_its_connection_only() {
    let server = Server::start(settings()).await;
    let mut alice = opened(&server, "alice", "t").await;
    let mut bob = opened(&server, "bob", "t").await;
    for _ in 0..12 {
        bob.say("[]").await;
    }
    assert_eq!(bob.is_closed().await.0, 1008);
    server.stats_become(|stats| stats.connections == 1).await;
    alice
        .say_json(json!({"type": "OFFER", "dst": "alice", "payload": 1}))
        .await;
    assert_eq!(alice.hears_json().await["src"], "alice");
}
