//! One endpoint for several dialects: the first frame that says anything decides.

use serde_json::json;

use crate::harness::{Server, settings};

#[tokio::test]
async fn heartbeats_decide_nothing_and_the_first_frame_after_them_does() {
    let server = Server::start(settings()).await;
    let heartbeats = [
        (r#"{"type":"ping"}"#, r#""pong""#),
        (
            r#"{"type":"heatbeat","content":"ping"}"#,
            r#"{"type":"heatbeat","content":"pong"}"#,
        ),
        (r#"{"type":"heartbeat"}"#, r#"{"type":"heartbeat reply"}"#),
    ];
    let mut clients = Vec::new();
    for _ in 0..4 {
        let mut client = server.client().await;
        for (beat, answer) in heartbeats {
            client.say(beat).await;
            assert_eq!(client.hears_text().await, answer);
        }
        clients.push(client);
    }
    let [collider, course, lower, lobby] = &mut clients[..] else {
        panic!("four");
    };
    collider.say_json(json!({"cmd": "send", "msg": "x"})).await;
    collider
        .hears(json!({"msg": "", "error": "Client not registered"}))
        .await;
    course.join("r", "a").await;
    course.fence().await;
    lower
        .say_json(json!({"cmd": "join", "roomid": "r", "uid": "a"}))
        .await;
    lower
        .hears(json!({"cmd": "resp-join", "roomid": "r", "uid": "a"}))
        .await;
    let data = json!({"id": "a", "name": "n", "user_agent": "u"});
    lobby.say_json(json!({"type": "new", "data": data})).await;
    lobby.hears(json!({"type": "peers", "data": [data]})).await;
}

#[tokio::test]
async fn what_was_decided_stays() {
    let server = Server::start(settings()).await;
    let mut course = server.joined("r", "a").await;
    for frame in [
        json!({"cmd": "register", "roomid": "r", "clientid": "a"}),
        json!({"cmd": "join", "roomid": "r", "uid": "b"}),
        json!({"type": "new", "data": {"id": "a"}}),
    ] {
        course.say_json(frame).await;
    }
    course.fence().await;
    let mut lower = server.client().await;
    lower
        .say_json(json!({"cmd": "join", "roomid": "r", "uid": "a"}))
        .await;
    lower
        .hears(json!({"cmd": "resp-join", "roomid": "r", "uid": "a"}))
        .await;
    lower.join("r", "b").await;
    let why = "join needs roomid and uid";
    let refused = json!({"cmd": "resp-join", "roomid": "", "uid": "", "remoteuid": "", "msg": why});
    lower.hears(refused).await;
}

#[tokio::test]
async fn a_room_of_one_dialect_is_not_that_of_another() {
    let server = Server::start(settings()).await;
    let mut course = server.joined("123", "a").await;
    let mut lower = server.client().await;
    lower
        .say_json(json!({"cmd": "join", "roomid": "123", "uid": "a"}))
        .await;
    lower
        .hears(json!({"cmd": "resp-join", "roomid": "123", "uid": "a"}))
        .await;
    let mut lobby = server.client().await;
    let data = json!({"id": "a", "name": "", "user_agent": ""});
    lobby.say_json(json!({"type": "new", "data": data})).await;
    lobby.hears(json!({"type": "peers", "data": [data]})).await;
    server.all_quiet([&mut course, &mut lower]).await;
}
