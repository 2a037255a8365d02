//! Joining: who gets a seat, and who is told.

use serde_json::json;

use crate::harness::{Client, Server, settings, settings_for};
use callbox::config::settings;

#[tokio::test]
async fn nothing_is_sent_on_connect() {
    let server = Server::start(settings()).await;
    let mut client = server.client().await;
    client.fence().await;
}

#[tokio::test]
async fn joining_an_absent_room_makes_it_and_is_not_answered() {
    let server = Server::start(settings()).await;
    let mut client = server.client().await;
    client.join("123", "a").await;
    server.all_quiet([&mut client]).await;
    server.stats_become(|now| now.rooms >= 1).await;
}

#[tokio::test]
async fn the_second_and_the_first_hear_of_each_other() {
    let server = Server::start(settings()).await;
    let mut first = server.joined("123", "aa").await;
    let mut second = server.client().await;
    second.join("123", "bb").await;
    first
        .hears(json!({"cmd": "new-peer", "roomId": "123", "uid": "bb", "remoteUid": "bb"}))
        .await;
    second
        .hears(json!({"cmd": "resp-join", "roomId": "123", "remoteUid": "aa", "remoteIds": ["aa"]}))
        .await;
    server.all_quiet([&mut first, &mut second]).await;
}

#[tokio::test]
async fn in_a_mesh_the_newcomer_hears_of_each_member_in_the_order_in_which_they_came() {
    let server = Server::start(settings_for(4)).await;
    let mut members: Vec<(Client, &str)> = Vec::new();
    for uid in ["c", "a", "b"] {
        let mut newcomer = server.client().await;
        newcomer.join("mesh", uid).await;
        for (member, id) in &mut members {
            newcomer.hears_cmd("resp-join", id).await;
            member.hears_cmd("new-peer", uid).await;
        }
        newcomer.fence().await;
        members.push((newcomer, uid));
    }
}

#[tokio::test]
async fn the_third_is_told_that_the_room_is_full_and_the_members_hear_nothing() {
    let server = Server::start(settings()).await;
    let (mut first, mut second) = server.pair("123").await;
    let mut third = server.client().await;
    third.join("123", "c").await;
    third
        .hears(json!({"cmd": "full", "roomId": "123", "uid": "c", "msg": "room is full"}))
        .await;
    server
        .all_quiet([&mut first, &mut second, &mut third])
        .await;
}

#[tokio::test]
async fn a_refusal_costs_no_seat_that_one_has() {
    let server = Server::start(settings()).await;
    let (_first, _second) = server.pair("full").await;
    let (mut here, mut there) = server.pair("other").await;
    here.join("full", "a2").await;
    here.hears(json!({"cmd": "full", "roomId": "full", "uid": "a2", "msg": "room is full"}))
        .await;
    let offer = r#"{"cmd":"offer","roomId":"other","uid":"a","remoteUid":"b","msg":"x"}"#;
    here.say(offer).await;
    assert_eq!(there.hears_text().await, offer);
}

#[tokio::test]
async fn a_member_of_a_full_room_may_join_it_again_and_nobody_is_told() {
    let server = Server::start(settings()).await;
    let (mut first, mut second) = server.pair("123").await;
    first.join("123", "a").await;
    server.all_quiet([&mut first, &mut second]).await;
    let offer = r#"{"cmd":"offer","roomId":"123","uid":"a","remoteUid":"b","msg":"x"}"#;
    first.say(offer).await;
    assert_eq!(second.hears_text().await, offer);
}

#[tokio::test]
async fn a_uid_in_use_is_not_taken_over() {
    let server = Server::start(settings()).await;
    let mut owner = server.joined("123", "a").await;
    let mut other = server.client().await;
    other.join("123", "a").await;
    other
        .hears(json!({
            "cmd": "err-msg", "roomId": "123", "uid": "a",
            "msg": "this uid is already in the room",
        }))
        .await;
    // The end of the one who was refused is nothing to the one who was not.
    drop(other);
    server.stats_become(|now| now.connections == 1).await;
    server.all_quiet([&mut owner]).await;
    let mut peer = server.client().await;
    peer.join("123", "b").await;
    peer.hears_cmd("resp-join", "a").await;
    owner.hears_cmd("new-peer", "b").await;
}

#[tokio::test]
async fn a_uid_is_free_again_when_its_connection_has_ended() {
    let server = Server::start(settings()).await;
    let (first, mut second) = server.pair("123").await;
    drop(first);
    second.hears_cmd("peer-leave", "a").await;
    let mut again = server.client().await;
    again.join("123", "a").await;
    again.hears_cmd("resp-join", "b").await;
    second.hears_cmd("new-peer", "a").await;
}

#[tokio::test]
async fn joining_another_room_leaves_the_first() {
    let server = Server::start(settings()).await;
    let (mut first, mut second) = server.pair("one").await;
    first.join("two", "a").await;
    second
        .hears(json!({"cmd": "peer-leave", "roomId": "one", "uid": "a", "remoteUid": "a"}))
        .await;
    // The seat is really free.
    let mut third = server.client().await;
    third.join("one", "c").await;
    third.hears_cmd("resp-join", "b").await;
    server.all_quiet([&mut first]).await;
}

#[tokio::test]
async fn a_room_id_that_is_a_number_is_the_room_of_its_digits() {
    let server = Server::start(settings()).await;
    for (number, text) in [("0", "0"), ("100", "100")] {
        let mut first = server.client().await;
        first
            .say(&format!(r#"{{"cmd":"join","roomId":{number},"uid":"a"}}"#))
            .await;
        first.fence().await;
        let mut second = server.client().await;
        second.join(text, "b").await;
        second.hears_cmd("resp-join", "a").await;
        first.hears_cmd("new-peer", "b").await;
    }
}

#[tokio::test]
async fn a_join_that_cannot_be_understood_is_answered_and_the_next_one_counts() {
    let server = Server::start(settings()).await;
    let mut client = server.client().await;
    client.join("123", "").await;
    client
        .hears(json!({"cmd": "err-msg", "msg": "uid must not be empty"}))
        .await;
    client.join("123", "a").await;
    server.all_quiet([&mut client]).await;
    server.stats_become(|now| now.rooms >= 1).await;
}

#[tokio::test]
async fn one_room_too_many_is_refused() {
    let server = Server::start(settings::Signaling {
        max_rooms: 1,
        ..settings()
    })
    .await;
    let _first = server.joined("one", "a").await;
    let mut second = server.client().await;
    second.join("two", "b").await;
    second
        .hears(json!({
            "cmd": "err-msg", "roomId": "two", "uid": "b",
            "msg": "the server has no place for another room",
        }))
        .await;
    second.join("one", "b").await;
    second.hears_cmd("resp-join", "a").await;
}

#[tokio::test]
async fn an_empty_room_is_freed() {
    let server = Server::start(settings()).await;
    let mut clients = Vec::new();
    for number in 0..20 {
        clients.push(server.joined(&number.to_string(), "a").await);
    }
    server
        .stats_become(|now| (now.rooms, now.members) == (20, 20))
        .await;
    for client in &mut clients[..10] {
        client.say(r#"{"cmd":"leave"}"#).await;
    }
    server
        .stats_become(|now| (now.rooms, now.members, now.connections) == (10, 10, 20))
        .await;
    clients.clear();
    server
        .stats_become(|now| (now.rooms, now.members, now.connections) == (0, 0, 0))
        .await;
}
