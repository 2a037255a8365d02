//! Leaving on purpose.

use serde_json::json;

use crate::harness::{Server, settings, settings_for};

#[tokio::test]
async fn a_leave_is_told_to_the_rest() {
    let server = Server::start(settings()).await;
    let (mut first, mut second) = server.pair("123").await;
    first
        .say(r#"{"cmd":"leave","roomId":"123","uid":"a","remoteUid":"b"}"#)
        .await;
    second
        .hears(json!({"cmd": "peer-leave", "roomId": "123", "uid": "a", "remoteUid": "a"}))
        .await;
    server.all_quiet([&mut first, &mut second]).await;
}

#[tokio::test]
async fn who_has_left_may_join_again_on_the_same_connection() {
    let server = Server::start(settings()).await;
    let (mut first, mut second) = server.pair("123").await;
    for _ in 0..3 {
        first
            .say(r#"{"cmd":"leave","roomId":"123","uid":"a"}"#)
            .await;
        second.hears_cmd("peer-leave", "a").await;
        first.join("123", "a").await;
        first.hears_cmd("resp-join", "b").await;
        second.hears_cmd("new-peer", "a").await;
    }
}

#[tokio::test]
async fn nobody_can_leave_for_somebody_else() {
    let server = Server::start(settings_for(3)).await;
    let (mut first, mut second) = server.pair("123").await;
    let mut stranger = server.client().await;
    let leave = r#"{"cmd":"leave","roomId":"123","uid":"a"}"#;
    stranger.say(leave).await;
    second.say(leave).await;
    server
        .all_quiet([&mut first, &mut second, &mut stranger])
        .await;
    let offer = r#"{"cmd":"offer","roomId":"123","uid":"b","remoteUid":"a","msg":"x"}"#;
    second.say(offer).await;
    assert_eq!(first.hears_text().await, offer);
}

#[tokio::test]
async fn leaving_a_room_that_one_is_not_in_is_nothing() {
    let server = Server::start(settings()).await;
    let (mut first, mut second) = server.pair("123").await;
    first
        .say(r#"{"cmd":"leave","roomId":"nowhere","uid":"a"}"#)
        .await;
    server.all_quiet([&mut first, &mut second]).await;
}
