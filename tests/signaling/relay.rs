//! Messages between members.

use std::fmt::Write as _;

use crate::harness::{Server, settings, settings_for};

#[tokio::test]
async fn offer_answer_and_candidates_arrive_byte_for_byte() {
    let server = Server::start(settings()).await;
    let (mut first, mut second) = server.pair("123").await;
    for text in [
        r#"{"cmd":"offer","roomId":"123","uid":"a","remoteUid":"b","msg":"{\"type\":\"offer\",\"sdp\":\"v=0\\r\\n\"}"}"#,
        "{ \"msg\" : \"\\u00e9\\/é\" ,\n\t\"uid\":\"a\", \"remoteUid\":\"b\",\"roomId\":\"123\",\"cmd\":\"offer\" }\n ",
        r#"{"cmd":"candidate","roomId":"123","uid":"a","remoteUid":"b","msg":{"candidate":"candidate:1","sdpMLineIndex":0,"n":1.00}}"#,
        r#"{"cmd":"answer","roomId":"123","uid":"a","remoteUid":"b","extra":[1e3,null,"\ud83d\ude00"]}"#,
        r#"{"cmd":"hangup","roomId":"123","uid":"a","remoteUid":"b"}"#,
        r#"{"cmd":"message","roomId":"123","uid":"a","remoteUid":"b","msg":"你好"}"#,
    ] {
        first.say(text).await;
        assert_eq!(second.hears_text().await, text);
    }
    server.all_quiet([&mut first, &mut second]).await;
}

#[tokio::test]
async fn a_message_that_names_no_receiver_goes_to_the_only_other_member() {
    let server = Server::start(settings()).await;
    let (mut first, mut second) = server.pair("123").await;
    for text in [
        r#"{"cmd":"offer","msg":{"sdp":"v=0"}}"#,
        r#"{"cmd":"hangup","roomId":"123","uid":"a"}"#,
    ] {
        first.say(text).await;
        assert_eq!(second.hears_text().await, text);
    }
}

#[tokio::test]
async fn a_message_that_names_no_receiver_among_three_goes_nowhere() {
    let server = Server::start(settings_for(3)).await;
    let (mut first, mut second) = server.pair("123").await;
    let mut third = server.client().await;
    third.join("123", "c").await;
    for present in ["a", "b"] {
        third.hears_cmd("resp-join", present).await;
    }
    first.hears_cmd("new-peer", "c").await;
    second.hears_cmd("new-peer", "c").await;
    first.say(r#"{"cmd":"offer","msg":"x"}"#).await;
    server
        .all_quiet([&mut first, &mut second, &mut third])
        .await;
}

#[tokio::test]
async fn in_a_mesh_only_the_one_who_is_named_hears_it() {
    let server = Server::start(settings_for(3)).await;
    let (mut first, mut second) = server.pair("123").await;
    let mut third = server.client().await;
    third.join("123", "c").await;
    for present in ["a", "b"] {
        third.hears_cmd("resp-join", present).await;
    }
    first.hears_cmd("new-peer", "c").await;
    second.hears_cmd("new-peer", "c").await;
    let text = r#"{"cmd":"offer","roomId":"123","uid":"b","remoteUid":"c","msg":"x"}"#;
    second.say(text).await;
    assert_eq!(third.hears_text().await, text);
    server
        .all_quiet([&mut first, &mut second, &mut third])
        .await;
}

#[tokio::test]
async fn a_message_under_a_false_name_or_into_another_room_goes_nowhere() {
    let server = Server::start(settings_for(3)).await;
    let (mut first, mut second) = server.pair("123").await;
    let mut stranger = server.joined("999", "s").await;
    for text in [
        r#"{"cmd":"offer","roomId":"123","uid":"a","remoteUid":"b","msg":"as somebody else"}"#,
        r#"{"cmd":"offer","roomId":"123","uid":"s","remoteUid":"b","msg":"into another room"}"#,
        r#"{"cmd":"offer","roomId":"999","uid":"s","remoteUid":"b","msg":"to somebody elsewhere"}"#,
        r#"{"cmd":"offer","uid":"s","remoteUid":"b","msg":"without a room"}"#,
        r#"{"cmd":"offer","remoteUid":"s","msg":"to myself"}"#,
    ] {
        stranger.say(text).await;
    }
    second
        .say(r#"{"cmd":"offer","roomId":"123","uid":"a","remoteUid":"a","msg":"as my peer"}"#)
        .await;
    server
        .all_quiet([&mut first, &mut second, &mut stranger])
        .await;
    assert_eq!(server.hub.stats().snapshot().undeliverable, 6);
}

#[tokio::test]
async fn who_has_not_joined_is_not_relayed() {
    let server = Server::start(settings()).await;
    let (mut first, mut second) = server.pair("123").await;
    let mut outsider = server.client().await;
    outsider
        .say(r#"{"cmd":"offer","roomId":"123","uid":"a","remoteUid":"b","msg":"x"}"#)
        .await;
    outsider.say(r#"{"cmd":"offer","msg":"x"}"#).await;
    server
        .all_quiet([&mut first, &mut second, &mut outsider])
        .await;
}

#[tokio::test]
async fn the_words_of_the_server_cannot_be_put_into_its_mouth() {
    let server = Server::start(settings()).await;
    let (mut first, mut second) = server.pair("123").await;
    for cmd in [
        "resp-join",
        "new-peer",
        "peer-leave",
        "full",
        "resp-leave",
        "err-msg",
    ] {
        first
            .say(&format!(
                r#"{{"cmd":"{cmd}","roomId":"123","uid":"a","remoteUid":"b"}}"#
            ))
            .await;
    }
    server.all_quiet([&mut first, &mut second]).await;
}

#[tokio::test]
async fn nothing_is_kept_for_somebody_who_is_not_there_yet() {
    let server = Server::start(settings()).await;
    let mut first = server.joined("123", "a").await;
    first
        .say(r#"{"cmd":"offer","roomId":"123","uid":"a","remoteUid":"b","msg":"early"}"#)
        .await;
    first.fence().await;
    let mut second = server.client().await;
    second.join("123", "b").await;
    second.hears_cmd("resp-join", "a").await;
    first.hears_cmd("new-peer", "b").await;
    server.all_quiet([&mut first, &mut second]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_newcomer_hears_who_is_there_before_it_hears_an_offer() {
    let server = Server::start(settings()).await;
    for round in 0..50 {
        let room = round.to_string();
        let mut first = server.joined(&room, "a").await;
        let mut second = server.client().await;
        let offer =
            format!(r#"{{"cmd":"offer","roomId":"{room}","uid":"a","remoteUid":"b","msg":"x"}}"#);
        second.join(&room, "b").await;
        first.hears_cmd("new-peer", "b").await;
        first.say(&offer).await;
        second.hears_cmd("resp-join", "a").await;
        assert_eq!(second.hears_text().await, offer);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_offer_and_a_hundred_candidates_arrive_in_order_in_both_directions() {
    let server = Server::start(settings()).await;
    let (mut first, mut second) = server.pair("123").await;
    let frames = |from: &str, to: &str| -> Vec<String> {
        (0..101)
            .map(|number| {
                let cmd = if number == 0 { "offer" } else { "candidate" };
                let mut text = format!(
                    r#"{{"cmd":"{cmd}","roomId":"123","uid":"{from}","remoteUid":"{to}","msg":"#
                );
                let _ = write!(text, r#""{number}"}}"#);
                text
            })
            .collect()
    };
    let (there, back) = (frames("a", "b"), frames("b", "a"));
    for (one, other) in there.iter().zip(&back) {
        first.say(one).await;
        second.say(other).await;
    }
    for (one, other) in there.iter().zip(&back) {
        assert_eq!(&second.hears_text().await, one);
        assert_eq!(&first.hears_text().await, other);
    }
}
