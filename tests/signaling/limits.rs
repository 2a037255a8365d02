//! What a client may do, and what it is told when it does more.

use callbox::config::settings;
use futures_util::SinkExt as _;
use serde_json::json;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::time::timeout;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::protocol::frame::Frame;
use tokio_tungstenite::tungstenite::protocol::frame::coding::{Data, OpCode};

use crate::harness::{PATIENCE, Server, settings};

fn closed(code: u16, reason: &str) -> (u16, String) {
    (code, reason.to_owned())
}

#[tokio::test]
async fn a_flood_of_messages_ends_the_connection_and_the_peer_is_told() {
    let server = Server::start(settings()).await;
    let (mut first, mut second) = server.pair("123").await;
    let offer = r#"{"cmd":"offer","roomId":"123","uid":"a","remoteUid":"b","msg":"x"}"#;
    // The rest of what is written may meet a connection that has ended.
    let _ = first.say_until_refused(offer, 400).await;
    assert_eq!(first.is_closed().await, closed(1008, "too many messages"));
    let mut relayed = 0;
    loop {
        let text = second.hears_text().await;
        if text != offer {
            assert!(text.contains("peer-leave"), "{text}");
            break;
        }
        relayed += 1;
    }
    assert!((150..=250).contains(&relayed), "{relayed} were relayed");
    server.stats_become(|now| now.too_fast == 1).await;
}

#[tokio::test]
async fn a_flood_of_control_frames_counts_as_one_too() {
    let server = Server::start(settings()).await;
    let mut client = server.client().await;
    for _ in 0..400 {
        if client.socket.send(Message::Pong("x".into())).await.is_err() {
            break;
        }
    }
    assert_eq!(client.is_closed().await, closed(1008, "too many messages"));
}

#[tokio::test]
async fn the_largest_message_passes() {
    let server = Server::start(settings()).await;
    let (mut first, mut second) = server.pair("123").await;
    let frame = |body: &str| {
        format!(r#"{{"cmd":"offer","roomId":"123","uid":"a","remoteUid":"b","msg":"{body}"}}"#)
    };
    let room = settings().max_message - frame("").len();
    let largest = frame(&"x".repeat(room));
    first.say(&largest).await;
    assert_eq!(second.hears_text().await, largest);

    first.say(&frame(&"x".repeat(room + 1))).await;
    assert_eq!(first.is_closed().await, closed(1009, "message too big"));
    second.hears_cmd("peer-leave", "a").await;
}

#[tokio::test]
async fn who_is_still_writing_a_huge_message_learns_that_it_is_too_big() {
    let server = Server::start(settings()).await;
    let mut client = server.client().await;
    // Far more than the kernel holds. Reset in the midst of it, the client would fail here, and on
    // some systems never see the close frame.
    let huge = "x".repeat(16 << 20);
    client.socket.send(Message::text(huge)).await.unwrap();
    assert_eq!(client.is_closed().await, closed(1009, "message too big"));
}

#[tokio::test]
async fn a_message_in_many_pieces_is_measured_as_a_whole() {
    let server = Server::start(settings()).await;
    let mut client = server.client().await;
    let piece = "x".repeat(20 * 1024);
    for number in 0..4 {
        let data = if number == 0 {
            Data::Text
        } else {
            Data::Continue
        };
        let frame = Frame::message(piece.clone(), OpCode::Data(data), false);
        client.socket.send(Message::Frame(frame)).await.unwrap();
    }
    assert_eq!(client.is_closed().await, closed(1009, "message too big"));
}

#[tokio::test]
async fn a_binary_message_is_not_taken() {
    let server = Server::start(settings()).await;
    let mut client = server.client().await;
    let join = r#"{"cmd":"join","roomId":"123","uid":"a"}"#;
    client.socket.send(Message::binary(join)).await.unwrap();
    assert_eq!(
        client.is_closed().await,
        closed(1003, "only text messages are understood")
    );
    client.ends().await;
}

#[tokio::test]
async fn text_that_is_not_utf8_is_not_taken() {
    let server = Server::start(settings()).await;
    let mut client = server.client().await;
    let frame = Frame::message(vec![b'{', 0xff, b'}'], OpCode::Data(Data::Text), true);
    client.socket.send(Message::Frame(frame)).await.unwrap();
    assert_eq!(client.is_closed().await, closed(1007, "text is not UTF-8"));
    client.ends().await;
}

#[tokio::test]
async fn a_frame_without_a_mask_is_a_violation_of_the_protocol() {
    let server = Server::start(settings()).await;
    let mut client = server.client().await;
    let raw = client.socket.get_mut();
    raw.write_all(b"\x81\x02{}").await.unwrap();
    assert_eq!(client.is_closed().await.0, 1002);
}

#[tokio::test]
async fn malformed_messages_are_ignored_until_there_are_too_many() {
    let server = Server::start(settings()).await;
    let (mut first, mut second) = server.pair("123").await;
    for text in ["{", "", "null", "[]", "\u{0}", r#"{"cmd":"join""#] {
        first.say(text).await;
    }
    server.all_quiet([&mut first, &mut second]).await;
    let offer = r#"{"cmd":"offer","roomId":"123","uid":"a","remoteUid":"b","msg":"x"}"#;
    first.say(offer).await;
    assert_eq!(second.hears_text().await, offer);

    let _ = first.say_until_refused("{", 30).await;
    assert_eq!(
        first.is_closed().await,
        closed(1008, "too many messages that are not JSON objects")
    );
    second.hears_cmd("peer-leave", "a").await;
    server.all_quiet([&mut second]).await;
}

#[tokio::test]
async fn no_rate_means_no_limit() {
    let server = Server::start(settings::Signaling {
        messages_per_second: 0,
        ..settings()
    })
    .await;
    let mut client = server.client().await;
    client
        .say_until_refused(r#"{"cmd":"ping"}"#, 2000)
        .await
        .unwrap();
    client.fence().await;
}

#[tokio::test]
async fn the_server_closes_the_connection_after_the_handshake_of_closing() {
    let server = Server::start(settings()).await;
    let (mut first, mut second) = server.pair("123").await;
    first.socket.send(Message::Close(None)).await.unwrap();
    second.hears_cmd("peer-leave", "a").await;
    first.ends().await;
    let mut rest = Vec::new();
    let raw = first.socket.get_mut();
    timeout(PATIENCE, raw.read_to_end(&mut rest))
        .await
        .expect("closed in time")
        .unwrap();
    assert!(rest.is_empty(), "{rest:?}");
}

#[tokio::test]
async fn what_is_larger_than_was_allowed_when_its_receiver_came_reaches_it() {
    let server = Server::start(settings()).await;
    let (mut first, _second) = server.pair("123").await;
    server
        .apply(&settings::Signaling {
            max_message: 1 << 20,
            room_capacity: 3.try_into().unwrap(),
            ..settings()
        })
        .await;
    let mut third = server.client().await;
    third.join("123", "c").await;
    first.hears_cmd("new-peer", "c").await;
    let msg = "x".repeat(900_000);
    let offer = json!({"cmd": "offer", "roomId": "123", "uid": "c", "remoteUid": "a", "msg": msg});
    third.say_json(offer.clone()).await;
    first.hears(offer).await;
}
