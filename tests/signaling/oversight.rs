//! Rooms as the operator sees them: listed and ended.

use std::time::Duration;

use callbox::signal::core::Target;
use serde_json::json;
use tokio::io::AsyncWriteExt as _;

use crate::harness::{Server, settings, settings_for};
use crate::native::Native;

#[tokio::test]
async fn rooms_are_listed_in_the_order_in_which_they_were_made_page_by_page() {
    let server = Server::start(settings()).await;
    let mut members = Vec::new();
    for room in ["one", "two", "three"] {
        members.push(server.joined(room, "a").await);
    }
    let mut other = server.client().await;
    other.join("two", "b").await;
    other.hears_cmd("resp-join", "a").await;
    let first = server.hub.rooms(None, 2);
    assert_eq!(first.len(), 2);
    let rest = server.hub.rooms(Some(first[1].id), 2);
    assert_eq!(rest.len(), 1);
    let none = server.hub.rooms(Some(rest[0].id), 2);
    assert!(none.is_empty());
    assert_eq!((first[0].members.len(), first[0].most), (1, 1));
    assert_eq!((first[1].members.len(), first[1].most), (2, 2));
    for room in first.iter().chain(&rest) {
        assert_eq!(room.dialect, "course");
        assert_eq!(room.name, None, "names are private");
        for member in &room.members {
            assert_eq!(member.client.as_deref(), Some("127.0.0.0/24"));
            assert_eq!(member.name, None);
        }
    }
}

#[tokio::test]
async fn messages_of_a_room_are_counted() {
    let server = Server::start(settings()).await;
    let (mut first, mut second) = server.pair("123").await;
    for n in 0..3 {
        let offer =
            json!({"cmd": "offer", "roomId": "123", "uid": "a", "remoteUid": "b", "msg": n});
        first.say(&offer.to_string()).await;
        second.hears(offer).await;
    }
    let rooms = server.hub.rooms(None, 10);
    assert_eq!((rooms[0].messages, rooms[0].most), (3, 2));
    assert!(rooms[0].age < Duration::from_secs(600));
}

#[tokio::test]
async fn a_member_that_the_operator_sends_away_has_left_for_the_others() {
    let server = Server::start(settings_for(3)).await;
    let (mut first, mut second) = server.pair("123").await;
    let rooms = server.hub.rooms(None, 10);
    let target = Target::Seat(rooms[0].members[1].id);
    assert!(server.hub.evict(target));
    first.hears_cmd("peer-leave", "b").await;
    assert_eq!(
        second.is_closed().await,
        (1008, "ended by the operator".to_owned())
    );
    assert!(!server.hub.evict(target), "not twice");
    server
        .stats_become(|now| now.members == 1 && now.connections == 1)
        .await;
}

#[tokio::test]
async fn a_room_that_the_operator_ends_is_no_more_and_its_name_is_free() {
    let server = Server::start(settings()).await;
    let (mut first, mut second) = server.pair("123").await;
    let rooms = server.hub.rooms(None, 10);
    let target = Target::Room(rooms[0].id);
    assert!(server.hub.evict(target));
    for client in [&mut first, &mut second] {
        assert_eq!(client.is_closed().await.1, "ended by the operator");
    }
    server
        .stats_become(|now| now.rooms == 0 && now.members == 0)
        .await;
    assert!(!server.hub.evict(target));
    let _ = server.pair("123").await;
}

#[tokio::test]
async fn the_seat_of_somebody_who_is_away_can_be_ended_too() {
    let server = Server::start(settings()).await;
    let (mut member, _) = Native::joined(&server, "123", "a").await;
    // Its seat is kept once it has answered the ping that follows.
    member.fence().await;
    let rooms = server.hub.rooms(None, 10);
    assert_eq!(rooms[0].dialect, "native");
    member.client.socket.get_mut().shutdown().await.unwrap();
    server.stats_become(|now| now.away == 1).await;
    let rooms = server.hub.rooms(None, 10);
    assert_eq!(rooms[0].members[0].client, None);
    let target = Target::Seat(rooms[0].members[0].id);
    assert!(server.hub.evict(target));
    server
        .stats_become(|now| now.away == 0 && now.rooms == 0 && now.members == 0)
        .await;
}
