//! Copies of the course protocol with `roomid`, `remoteid` and `sdp`, and those that leave out even more.

use serde_json::{Value, json};

use crate::harness::{Client, Server, settings};

async fn join(client: &mut Client, uid: &str) {
    client
        .say_json(json!({"cmd": "join", "roomid": "r", "uid": uid}))
        .await;
}

fn told(cmd: &str, uid: &str, remote: &str) -> Value {
    json!({"cmd": cmd, "roomid": "r", "uid": uid, "remoteuid": remote})
}

async fn pair(server: &Server) -> (Client, Client) {
    let mut first = server.client().await;
    join(&mut first, "a").await;
    first
        .hears(json!({"cmd": "resp-join", "roomid": "r", "uid": "a"}))
        .await;
    let mut second = server.client().await;
    join(&mut second, "b").await;
    second.hears(told("resp-join", "b", "a")).await;
    first.hears(told("new-peer", "a", "b")).await;
    (first, second)
}

#[tokio::test]
async fn joins_leaves_and_descriptions_in_lower_case_name_receiver_and_sender() {
    let server = Server::start(settings()).await;
    let (mut first, mut second) = pair(&server).await;
    let frame = |cmd: &str, uid: &str, remote: &str| json!({"cmd": cmd, "roomid": "r", "uid": uid, "remoteid": remote, "sdp": "{\"type\":\"x\"}"});
    let heard = |cmd: &str, uid: &str, remote: &str| json!({"cmd": cmd, "roomid": "r", "uid": uid, "remoteuid": remote, "sdp": "{\"type\":\"x\"}"});
    first.say_json(frame("offer", "a", "b")).await;
    second.hears(heard("offer", "b", "a")).await;
    second.say_json(frame("answer", "b", "a")).await;
    first.hears(heard("answer", "a", "b")).await;
    first.say_json(frame("candidate", "a", "b")).await;
    second.hears(heard("candidate", "b", "a")).await;
    first
        .say_json(json!({"cmd": "leave", "roomid": "r", "uid": "a"}))
        .await;
    first.hears(told("resp-leave", "a", "")).await;
    second.hears(told("peer-leave", "b", "a")).await;
    first
        .say_json(json!({"cmd": "leave", "roomid": "r", "uid": "a"}))
        .await;
    first.hears(told("resp-leave", "", "")).await;
    join(&mut first, "a").await;
    first.hears(told("resp-join", "a", "b")).await;
    second.hears(told("new-peer", "b", "a")).await;
}

#[tokio::test]
async fn the_third_in_lower_case_is_given_empty_names() {
    let server = Server::start(settings()).await;
    let (mut first, mut second) = pair(&server).await;
    let mut third = server.client().await;
    join(&mut third, "c").await;
    let mut refused = told("resp-join", "", "");
    refused["msg"] = json!("room is full");
    third.hears(refused).await;
    server
        .all_quiet([&mut first, &mut second, &mut third])
        .await;
}

#[tokio::test]
async fn a_crash_in_lower_case_is_told_and_frees_the_seat() {
    let server = Server::start(settings()).await;
    let (mut first, second) = pair(&server).await;
    drop(second);
    first.hears(told("peer-leave", "a", "b")).await;
    let mut third = server.client().await;
    join(&mut third, "b").await;
    third.hears(told("resp-join", "b", "a")).await;
}

#[tokio::test]
async fn a_frame_that_names_nobody_goes_to_the_other_member_by_connection() {
    let server = Server::start(settings()).await;
    let (mut first, mut second) = pair(&server).await;
    for text in [
        r#"{"cmd":"offer","msg":"{\"type\":\"offer\"}"}"#,
        r#"{"cmd":"candidate","msg":"{}"}"#,
    ] {
        first.say(text).await;
        assert_eq!(second.hears_text().await, text);
    }
    second.say(r#"{"cmd":"answer","msg":"x"}"#).await;
    assert_eq!(first.hears_text().await, r#"{"cmd":"answer","msg":"x"}"#);
}

#[tokio::test]
async fn nobody_in_lower_case_speaks_for_another_or_into_another_room() {
    let server = Server::start(settings()).await;
    let (mut first, mut second) = pair(&server).await;
    for frame in [
        json!({"cmd": "offer", "roomid": "r", "uid": "b", "remoteid": "b", "sdp": ""}),
        json!({"cmd": "offer", "roomid": "s", "uid": "a", "remoteid": "b", "sdp": ""}),
        json!({"cmd": "new-peer", "roomid": "r", "uid": "b", "remoteuid": "x"}),
    ] {
        first.say_json(frame).await;
    }
    server.all_quiet([&mut first, &mut second]).await;
}
