//! What strangers cannot use up.

use crate::client::Server;
use crate::door::Setup;

#[tokio::test]
async fn what_waits_for_one_client_is_bounded_in_number() {
    let mut setup = Setup::default();
    setup.settings.signaling.messages_per_second = 0;
    let server = Server::with(setup).await;
    let person = server.join("r").await;
    let mut socket = server.registered(&person).await;
    for number in 0..1024 {
        socket.send(&number.to_string()).await;
    }
    socket.fence().await;
    assert_eq!(server.message(&person, "x").await, "ERROR");
    let next = server.join("r").await;
    assert_eq!(next.messages().len(), 1024);
    assert_eq!(next.messages()[1023], "1023");
}

#[tokio::test]
async fn what_waits_for_one_client_is_bounded_in_bytes() {
    let server = Server::start().await;
    let (first, second) = (server.join("r").await, server.join("r").await);
    let large = "x".repeat(64 * 1024);
    let path = format!("/message/r/{}", first.id);
    for _ in 0..4 {
        assert_eq!(server.message(&first, &large).await, "SUCCESS");
    }
    // As if it could not be passed on to Collider.
    let refused = server.post(&path, "x").await;
    assert_eq!((refused.status, refused.text()), (500, ""));
    let too_large = server.post(&path, &"x".repeat(64 * 1024 + 1)).await;
    assert_eq!(too_large.status, 413);
    let mut other = server.socket().await;
    other.register("r", &second.id).await;
    for _ in 0..4 {
        assert_eq!(other.hears().await.len(), large.len());
    }
    // Alone, it may say more to who comes next.
    let alone = server.join("alone").await;
    for _ in 0..16 {
        assert_eq!(server.message(&alone, &large).await, "SUCCESS");
    }
    assert_eq!(server.message(&alone, "x").await, "ERROR");
    assert_eq!(server.join("alone").await.messages().len(), 16);
}

#[tokio::test]
async fn rooms_are_bounded_and_a_room_too_many_is_an_error() {
    let mut setup = Setup::default();
    setup.settings.signaling.max_rooms = 2;
    let server = Server::with(setup).await;
    let first = server.join("one").await;
    server.join("two").await;
    let refused = server.try_join("three").await;
    assert_eq!(refused["result"], "ERROR");
    assert_eq!(refused["params"], serde_json::json!({"messages": []}));
    server.join("one").await;
    server.leave(&first).await;
    assert_eq!(server.try_join("three").await["result"], "ERROR");
}

#[tokio::test]
async fn joins_and_messages_of_one_network_are_limited() {
    let mut setup = Setup::default();
    setup.settings.signaling.prefix_connections_per_second = 1;
    setup.settings.signaling.prefix_messages_per_second = 1;
    let server = Server::strict(setup).await;
    let person = server.join("r").await;
    for (path, body) in [
        ("/join/other".to_owned(), ""),
        (format!("/message/r/{}", person.id), "x"),
        (format!("/collider/r/{}", person.id), "x"),
    ] {
        let mut reply = server.post(&path, body).await;
        for _ in 0..200 {
            if reply.status == 429 {
                break;
            }
            assert_eq!(reply.status, 200, "{path}");
            reply = server.post(&path, body).await;
        }
        assert_eq!(reply.status, 429, "{path}");
        assert_eq!(reply.header("retry-after"), Some("1"));
    }
}

#[tokio::test]
async fn a_message_of_which_each_byte_needs_an_escape_ends_nobody() {
    let server = Server::start().await;
    let (person, _one, _, mut other) = server.pair("r").await;
    let large = "\u{1}".repeat(64 * 1024);
    assert_eq!(server.message(&person, &large).await, "SUCCESS");
    assert_eq!(other.hears().await, large);
    other.fence().await;
}
