//! Clients of the course protocol that differ a little from the common one.

use serde_json::json;

use crate::harness::{Client, Server, settings};

#[tokio::test]
async fn a_client_that_reads_uid_and_remote_ids_finds_them() {
    let server = Server::start(settings()).await;
    let mut first = server.joined("r", "a").await;
    let mut second = server.client().await;
    second.join("r", "b").await;
    let joined = json!({"cmd": "resp-join", "roomId": "r", "remoteUid": "a", "remoteIds": ["a"]});
    second.hears(joined).await;
    let told = |cmd: &str| json!({"cmd": cmd, "roomId": "r", "uid": "b", "remoteUid": "b"});
    first.hears(told("new-peer")).await;
    drop(second);
    first.hears(told("peer-leave")).await;
}

#[tokio::test]
async fn a_client_that_knows_full_and_chats_by_message_is_served() {
    let server = Server::start(settings()).await;
    let (mut first, mut second) = server.pair("r").await;
    let mut third = server.client().await;
    third.join("r", "c").await;
    let full = json!({"cmd": "full", "roomId": "r", "uid": "c", "msg": "room is full"});
    third.hears(full).await;
    let chat = r#"{"cmd":"message","roomId":"r","uid":"a","msg":"hello"}"#;
    first.say(chat).await;
    assert_eq!(second.hears_text().await, chat);
    server
        .all_quiet([&mut first, &mut second, &mut third])
        .await;
}

#[tokio::test]
async fn a_client_that_shows_err_msg_learns_why_it_cannot_join() {
    let server = Server::start(settings()).await;
    let _first = server.joined("r", "a").await;
    let mut second = server.client().await;
    second.join("r", "a").await;
    let why = "this uid is already in the room";
    second
        .hears(json!({"cmd": "err-msg", "roomId": "r", "uid": "a", "msg": why}))
        .await;
}

#[tokio::test]
async fn other_names_for_descriptions_are_carried_like_these() {
    let server = Server::start(settings()).await;
    let (mut first, mut second) = server.pair("r").await;
    let offer = r#"{"cmd":"sdp-offer","roomId":"r","uid":"a","remoteUid":"b","msg":"v=0"}"#;
    first.say(offer).await;
    assert_eq!(second.hears_text().await, offer);
    let answer = r#"{"cmd":"sdp-answer","roomId":"r","uid":"b","remoteUid":"a","msg":"v=0"}"#;
    second.say(answer).await;
    assert_eq!(first.hears_text().await, answer);
}

#[tokio::test]
async fn a_hangup_is_carried_to_the_other_member() {
    let server = Server::start(settings()).await;
    let (mut first, mut second) = server.pair("r").await;
    let hangup = r#"{"cmd":"hangup","roomId":"r","uid":"a","remoteUid":"b"}"#;
    first.say(hangup).await;
    assert_eq!(second.hears_text().await, hangup);
    server.all_quiet([&mut first, &mut second]).await;
}

#[tokio::test]
async fn a_client_that_connects_anew_without_joining_again_is_let_alone() {
    let server = Server::start(settings()).await;
    let (mut first, second) = server.pair("r").await;
    drop(second);
    first.hears_cmd("peer-leave", "b").await;
    let mut again = Client::at_path(server.address, "/ws?uid=b").await;
    again
        .say(r#"{"cmd":"offer","roomId":"r","uid":"b","remoteUid":"a","msg":""}"#)
        .await;
    server.all_quiet([&mut first, &mut again]).await;
}
