//! The end of the process, as clients see it.

use std::time::Duration;

use crate::harness::{Client, Server, settings};

#[tokio::test]
async fn everybody_is_told_of_a_restart_and_nobody_that_their_peer_left() {
    let server = Server::start(settings()).await;
    let mut idle = server.client().await;
    idle.fence().await;
    let mut pairs = Vec::new();
    for room in 0..20 {
        pairs.push(server.pair(&room.to_string()).await);
    }
    server.drain.begin();
    let restart = (1012, "service restart".to_owned());
    assert_eq!(idle.is_closed().await, restart);
    for (first, second) in &mut pairs {
        for client in [first, second] {
            // `is_closed` would pass over a text, and `peer-leave` is what ends a running call.
            assert_eq!(client.hears_close_next().await, restart);
            client.ends().await;
        }
    }
}

#[tokio::test]
async fn clients_that_answer_the_close_make_the_restart_quick() {
    let server = Server::start(settings()).await;
    let (mut first, mut second) = server.pair("123").await;
    server.drain.begin();
    assert_eq!(first.is_closed().await.0, 1012);
    assert_eq!(second.is_closed().await.0, 1012);
    first.ends().await;
    second.ends().await;
    assert!(server.drain.finish(Duration::from_secs(1)).await);
}

#[tokio::test]
async fn a_client_that_ignores_the_close_does_not_hold_up_the_restart() {
    let server = Server::start(settings()).await;
    let _never_read_again = server.joined("123", "a").await;
    server.drain.begin();
    assert!(server.drain.finish(Duration::from_secs(5)).await);
}

#[tokio::test]
async fn who_comes_while_the_server_restarts_is_sent_away() {
    let server = Server::start(settings()).await;
    let mut before = server.client().await;
    before.fence().await;
    server.drain.begin();
    assert_eq!(before.is_closed().await.0, 1012);
    let mut after = server.client().await;
    assert_eq!(after.is_closed().await.0, 1012);
}

#[tokio::test]
async fn what_was_already_said_is_still_delivered() {
    let server = Server::start(settings()).await;
    let (mut first, mut second) = server.pair("123").await;
    let answer = r#"{"cmd":"answer","roomId":"123","uid":"a","remoteUid":"b","msg":"x"}"#;
    first.say(answer).await;
    server.stats_become(|now| now.relayed == 1).await;
    server.drain.begin();
    assert_eq!(second.hears_text().await, answer);
    assert_eq!(second.is_closed().await.0, 1012);
}

#[tokio::test]
async fn before_the_end_only_those_are_sent_away_who_can_take_their_seats_elsewhere() {
    let server = Server::start(settings()).await;
    let (mut first, mut second) = server.pair("123").await;
    let mut native = Client::native_at(server.address).await;
    server.drain.announce();
    assert_eq!(native.is_closed().await.0, 1012);
    assert_eq!(server.hub.calls(), 1);
    let offer = r#"{"cmd":"offer","roomId":"123","uid":"a","remoteUid":"b","msg":"x"}"#;
    first.say(offer).await;
    assert_eq!(second.hears_text().await, offer);
    let mut newcomer = server.client().await;
    assert_eq!(newcomer.is_closed().await.0, 1012);
    first
        .say(r#"{"cmd":"leave","roomId":"123","uid":"a"}"#)
        .await;
    second.hears_cmd("peer-leave", "a").await;
    assert_eq!(server.hub.calls(), 0);
    server.drain.begin();
    assert_eq!(second.is_closed().await.0, 1012);
}
