//! Calls that survive the loss of their signaling.

use std::time::Duration;

use callbox::config::settings;
use serde_json::json;
use tokio::io::AsyncWriteExt as _;

use crate::harness::{Server, settings};
use crate::native::Native;

async fn pair(server: &Server) -> (Native, Native) {
    let (mut first, _) = Native::joined(server, "123", "a").await;
    let (second, _) = Native::joined(server, "123", "b").await;
    first.hears_cmd("new-peer").await;
    (first, second)
}

/// Breaks a connection as a network does, and waits until the server knows.
async fn cut(server: &Server, native: &mut Native) {
    native.client.socket.get_mut().shutdown().await.unwrap();
    server.stats_become(|now| now.away == 1).await;
}

#[tokio::test]
async fn a_lost_connection_costs_nothing_if_the_client_comes_back() {
    let server = Server::start(settings()).await;
    let (mut first, mut second) = pair(&server).await;
    cut(&server, &mut second).await;
    assert_eq!(first.hears_cmd("peer-away").await["uid"], "b");
    for text in ["one", "two", "three"] {
        first.tells("a", "b", text).await;
    }
    first.fence().await;
    let (mut second, resumed) = second.resume(&server).await;
    assert_eq!(resumed["cmd"], "resumed");
    assert_eq!(resumed["lost"], false);
    assert!(resumed["ice"]["iceServers"].is_array());
    for text in ["one", "two", "three"] {
        second.hears_of("a", text).await;
    }
    assert_eq!(first.hears_cmd("peer-back").await["lost"], false);
    second.tells("b", "a", "four").await;
    first.hears_of("b", "four").await;
    server
        .stats_become(|now| now.away == 0 && now.resumed == 1)
        .await;
}

#[tokio::test]
async fn the_client_learns_which_of_its_messages_have_arrived() {
    let server = Server::start(settings()).await;
    let (mut first, mut second) = pair(&server).await;
    // The fence of the join is the first.
    second.tells("b", "a", "one").await;
    second.tells("b", "a", "two").await;
    second.fence().await;
    cut(&server, &mut second).await;
    let (_, resumed) = second.resume(&server).await;
    assert_eq!(resumed["received"], 4);
    for text in ["one", "two"] {
        first.hears_of("b", text).await;
    }
}

#[tokio::test]
async fn a_seat_that_nobody_came_back_to_is_free_after_the_window() {
    let server = Server::start(settings::Signaling {
        resume_window: Duration::from_millis(300),
        ..settings()
    })
    .await;
    let (mut first, mut second) = pair(&server).await;
    cut(&server, &mut second).await;
    first.hears_cmd("peer-away").await;
    assert_eq!(first.hears_cmd("peer-leave").await["uid"], "b");
    // The ticket is still worth a seat, if one is free.
    let (_second, answer) = second.resume(&server).await;
    assert_eq!(
        (&answer["cmd"], &answer["returning"]),
        (&json!("joined"), &json!(true))
    );
    assert_eq!(first.hears_cmd("new-peer").await["returning"], true);
}

#[tokio::test]
async fn without_a_window_a_lost_connection_is_a_lost_seat() {
    let server = Server::start(settings::Signaling {
        resume_window: Duration::ZERO,
        ..settings()
    })
    .await;
    let (mut first, second) = pair(&server).await;
    drop(second);
    first.hears_cmd("peer-leave").await;
}

#[tokio::test]
async fn a_half_open_connection_gives_way_to_its_own_ticket() {
    let server = Server::start(settings()).await;
    let (mut first, ghost) = pair(&server).await;
    let (ticket, received) = (ghost.ticket.clone(), ghost.received);
    // Its network is gone, and the server has not heard of it.
    let mut ghost = ghost.client;
    let second = Native {
        client: server.client().await,
        received,
        ticket,
    };
    let (mut second, resumed) = second.resume(&server).await;
    assert_eq!(resumed["cmd"], "resumed");
    first.hears_cmd("peer-back").await;
    let superseded = (4409, "resumed over another connection".to_owned());
    assert_eq!(ghost.is_closed().await, superseded);
    first.tells("a", "b", "still there").await;
    second.hears_of("a", "still there").await;
    second.tells("b", "a", "yes").await;
    first.hears_of("b", "yes").await;
}

#[tokio::test]
async fn who_has_missed_more_than_is_kept_is_told_and_goes_on_from_there() {
    let server = Server::start(settings::Signaling {
        messages_per_second: 100_000,
        ..settings()
    })
    .await;
    let (mut first, mut second) = pair(&server).await;
    cut(&server, &mut second).await;
    first.hears_cmd("peer-away").await;
    for _ in 0..3 {
        for number in 0..100 {
            first.tells("a", "b", &number.to_string()).await;
        }
        first.fence().await;
    }
    let (mut second, resumed) = second.resume(&server).await;
    assert_eq!(resumed["lost"], true);
    assert_eq!(resumed["members"], json!([{"uid": "a", "polite": true}]));
    assert_eq!(first.hears_cmd("peer-back").await["lost"], true);
    first.tells("a", "b", "anew").await;
    second.hears_of("a", "anew").await;
    cut(&server, &mut second).await;
    let (_, resumed) = second.resume(&server).await;
    assert_eq!(resumed["lost"], false);
    server.stats_become(|now| now.resumed_with_loss == 1).await;
}

#[tokio::test]
async fn after_a_restart_both_take_their_names_again_and_nobody_hears_of_a_leave() {
    let before = Server::start(settings()).await;
    let (mut first, mut second) = pair(&before).await;
    before.drain.begin();
    let restart = (1012, "service restart".to_owned());
    assert_eq!(first.client.hears_close_next().await, restart);
    assert_eq!(second.client.hears_close_next().await, restart);

    let after = Server::start(settings()).await;
    let (mut second, answer) = second.resume(&after).await;
    assert_eq!(answer["cmd"], "joined");
    assert_eq!(
        (&answer["uid"], &answer["returning"]),
        (&json!("b"), &json!(true))
    );
    let (mut first, answer) = first.resume(&after).await;
    assert_eq!(answer["members"], json!([{"uid": "b", "polite": true}]));
    let arrived = second.hears_cmd("new-peer").await;
    assert_eq!(
        (&arrived["uid"], &arrived["returning"]),
        (&json!("a"), &json!(true))
    );
    first.tells("a", "b", "still there").await;
    second.hears_of("a", "still there").await;
}

#[tokio::test]
async fn a_ticket_that_is_not_ours_is_refused_with_a_code() {
    let server = Server::start(settings()).await;
    let mut client = Native::connect(&server).await;
    client
        .say(json!({"cmd": "resume", "ticket": "AQMA", "received": 0}))
        .await;
    assert_eq!(client.hears_cmd("err-msg").await["code"], "bad-ticket");
    client.say(json!({"cmd": "join", "roomId": "123"})).await;
    client.hears_cmd("joined").await;
}

#[tokio::test]
async fn many_pairs_that_lose_their_connections_lose_no_message() {
    const PAIRS: usize = 20;
    const MESSAGES: usize = 30;
    let server = Server::start(settings::Signaling {
        messages_per_second: 100_000,
        ..settings()
    })
    .await;
    let calls = (0..PAIRS).map(|number| {
        let server = &server;
        async move {
            let room = number.to_string();
            let (mut first, _) = Native::joined(server, &room, "a").await;
            let (mut second, _) = Native::joined(server, &room, "b").await;
            first.hears_cmd("new-peer").await;
            let mut next = 0;
            for message in 0..MESSAGES {
                first.tells("a", "b", &message.to_string()).await;
                if (message + number) % 7 == 0 {
                    // Whatever was under way is lost with the connection, seen by the server or not.
                    let resumed;
                    (second, resumed) = second.resume(server).await;
                    assert_eq!(resumed["lost"], false);
                }
                if (message + number) % 3 == 0 {
                    second.hears_of("a", &next.to_string()).await;
                    next += 1;
                }
            }
            while next < MESSAGES {
                second.hears_of("a", &next.to_string()).await;
                next += 1;
            }
        }
    });
    futures_util::future::join_all(calls).await;
}
