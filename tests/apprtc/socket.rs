//! Collider's WebSocket dialect.

use tokio_tungstenite::tungstenite::protocol::frame::coding::CloseCode;

use crate::client::{BYE, Server};

#[tokio::test]
async fn registering_has_no_answer_and_messages_pass_both_ways_in_order() {
    let server = Server::start().await;
    let (_, mut one, _, mut other) = server.pair("r").await;
    for number in 0..50 {
        one.send(&format!("to the other {number}")).await;
        other.send(&format!("to the one {number}")).await;
    }
    for number in 0..50 {
        assert_eq!(other.hears().await, format!("to the other {number}"));
        assert_eq!(one.hears().await, format!("to the one {number}"));
    }
    one.fence().await;
}

#[tokio::test]
async fn frames_spread_over_lines_are_understood() {
    let server = Server::start().await;
    let (one, other) = (server.join("r").await, server.join("r").await);
    let mut socket = server.socket().await;
    let register = format!(
        "{{\n  \"roomid\" : \"r\",\n  \"cmd\" : \"register\",\n  \"clientid\" : \"{}\"\n}}",
        one.id
    );
    socket.say(&register).await;
    let mut peer = server.registered(&other).await;
    let msg = "{\n  \"type\" : \"candidate\"\n}";
    let send = serde_json::json!({"cmd": "send", "msg": msg});
    socket
        .say(&serde_json::to_string_pretty(&send).unwrap())
        .await;
    assert_eq!(peer.hears().await, msg);
}

#[tokio::test]
async fn each_mistake_is_told_in_colliders_words_and_ends_the_connection() {
    let server = Server::start().await;
    let person = server.join("r").await;
    let unexpected = r#"{"cmd":"dance"}"#;
    let register = format!(
        r#"{{"cmd":"register","roomid":"r","clientid":"{}"}}"#,
        person.id
    );
    for (frames, words) in [
        (vec![r#"{"cmd":"send","msg":"x"}"#], "Client not registered"),
        (vec![&*register, &*register], "Duplicated register request"),
        (
            vec![r#"{"cmd":"register","roomid":"r"}"#],
            "Invalid register request: missing 'clientid' or 'roomid'",
        ),
        (
            vec![r#"{"cmd":"register","clientid":"c"}"#],
            "Invalid register request: missing 'clientid' or 'roomid'",
        ),
        (
            vec![r#"{"cmd":"register","roomid":"r","clientid":"made-up"}"#],
            "Invalid register request: no client of this room has this 'clientid', join first",
        ),
        (
            vec![&*register, r#"{"cmd":"send"}"#],
            "Invalid send request: missing 'msg'",
        ),
        (
            vec![&*register, r#"{"cmd":"send","msg":""}"#],
            "Invalid send request: missing 'msg'",
        ),
        (vec![&*register, "{"], "websocket.JSON.Receive error: "),
        (vec![&*register, "[]"], "websocket.JSON.Receive error: "),
    ] {
        let mut socket = server.socket().await;
        for frame in &frames {
            socket.say(frame).await;
        }
        let error = socket.hears_error().await;
        assert!(error.starts_with(words), "{frames:?}: {error}");
        socket.ends().await;
    }
    let mut socket = server.registered(&person).await;
    socket.say(unexpected).await;
    assert_eq!(
        socket.hears_error().await,
        "Invalid message: unexpected 'cmd'"
    );
    socket.fence().await;
}

#[tokio::test]
async fn a_frame_stands_for_itself_and_repeats_nothing_of_the_one_before() {
    let server = Server::start().await;
    let (_, mut one, _, mut other) = server.pair("r").await;
    one.send("once").await;
    one.say(r#"{"msg":"without a command"}"#).await;
    assert_eq!(one.hears_error().await, "Invalid message: unexpected 'cmd'");
    assert_eq!(other.hears().await, "once");
    other.fence().await;
}

#[tokio::test]
async fn a_third_client_finds_no_place_at_collider_either() {
    let server = Server::start().await;
    let (_, _one, _, _other) = server.pair("r").await;
    let mut third = server.socket().await;
    third.register("r", "third").await;
    assert_eq!(third.hears_error().await, "Max room capacity reached");
    third.ends().await;
}

#[tokio::test]
async fn a_client_that_comes_back_over_another_network_takes_its_place_again() {
    let server = Server::start().await;
    let (person, mut dead, _, mut other) = server.pair("r").await;
    let mut alive = server.registered(&person).await;
    dead.ends().await;
    other.send("over the new one").await;
    assert_eq!(alive.hears().await, "over the new one");
    alive.send("hello again").await;
    assert_eq!(other.hears().await, "hello again");
}

#[tokio::test]
async fn programs_old_pages_and_phones_may_connect_and_foreign_pages_may_not() {
    let server = Server::start().await;
    let own = format!("https://{}", server.host());
    for origin in [None, Some("null"), Some("https://appr.tc"), Some(&*own)] {
        let mut socket = server.socket_from("/ws", origin).await.unwrap();
        socket.send("x").await;
        assert_eq!(socket.hears_error().await, "Client not registered");
    }
    let foreign = Some("https://evil.example");
    assert_eq!(server.socket_from("/ws", foreign).await.err(), Some(403));
}

#[tokio::test]
async fn the_first_frame_decides_the_dialect_and_a_heartbeat_does_not() {
    let server = Server::start().await;
    let person = server.join("r").await;
    let mut socket = server.socket_from("/collider/ws", None).await.unwrap();
    socket.say(r#"{"type":"ping"}"#).await;
    socket.register("r", &person.id).await;
    let other = server.join("r").await;
    let mut peer = server.registered(&other).await;
    peer.send("x").await;
    // The answer to the heartbeat is not of this dialect.
    use futures_util::StreamExt as _;
    let pong = socket.raw().next().await.unwrap().unwrap();
    assert_eq!(pong.to_text().unwrap(), "\"pong\"");
    assert_eq!(socket.hears().await, "x");
    // A course client stays one, whatever it says later.
    let mut course = server.socket().await;
    course.say(r#"{"cmd":"join","roomId":"r","uid":"a"}"#).await;
    course.register("r", &person.id).await;
    course.say(r#"{"type":"ping"}"#).await;
    let pong = course.raw().next().await.unwrap().unwrap();
    assert_eq!(pong.to_text().unwrap(), "\"pong\"");
}

#[tokio::test]
async fn what_is_said_before_the_other_registers_waits_for_it() {
    let server = Server::start().await;
    let first = server.join("r").await;
    let second = server.join("r").await;
    let mut one = server.registered(&first).await;
    one.send("1").await;
    one.fence().await;
    assert_eq!(server.message(&first, "2").await, "SUCCESS");
    let mut other = server.socket().await;
    other.register("r", &second.id).await;
    assert_eq!(other.hears().await, "1");
    assert_eq!(other.hears().await, "2");
}

#[tokio::test]
async fn what_is_said_before_the_other_joins_comes_with_its_place() {
    let server = Server::start().await;
    let first = server.join("r").await;
    let mut one = server.registered(&first).await;
    // As much over the socket as by post: there is one queue.
    server.message(&first, "1").await;
    one.send("2").await;
    one.fence().await;
    server.message(&first, "3").await;
    let second = server.join("r").await;
    assert_eq!(second.messages(), ["1", "2", "3"]);
    let mut other = server.registered(&second).await;
    one.send("4").await;
    assert_eq!(other.hears().await, "4");
}

#[tokio::test]
async fn a_goodbye_after_leaving_is_still_heard() {
    let server = Server::start().await;
    let (person, mut one, _, mut other) = server.pair("r").await;
    server.leave(&person).await;
    one.send(BYE).await;
    assert_eq!(other.hears().await, BYE);
    one.close(CloseCode::Normal).await;
    server.delete(&person).await;
    // Once, however often the end is told.
    other.fence().await;
    assert!(!server.join("r").await.is_initiator());
}

#[tokio::test]
async fn a_goodbye_frees_the_place_before_it_is_heard() {
    let server = Server::start().await;
    for turn in 0..20 {
        let room = format!("r{turn}");
        let (_, mut one, second, mut other) = server.pair(&room).await;
        one.send("{ \"type\" : \"bye\" }").await;
        other.hears().await;
        // The survivor makes a new offer at once, which is for whoever comes next.
        server.message(&second, "new offer").await;
        assert_eq!(server.join(&room).await.messages(), ["new offer"]);
    }
}

#[tokio::test]
async fn who_calls_itself_hears_itself_under_both_spellings() {
    for name in ["LOOPBACK_CLIENT_ID", "loopback_client_id"] {
        let server = Server::start().await;
        let person = server.join("r?debug=loopback").await;
        assert!(person.is_initiator());
        assert_eq!(person.params["is_loopback"], "true");
        assert_eq!(server.try_join("r").await["result"], "FULL");
        server.message(&person, "offer").await;
        let mut echo = server.socket().await;
        echo.register("r", name).await;
        assert_eq!(echo.hears().await, "offer");
        let mut own = server.registered(&person).await;
        echo.send("answer").await;
        assert_eq!(own.hears().await, "answer");
        server.leave(&person).await;
        assert!(server.join("r").await.is_initiator());
    }
    // Nobody else has such an id.
    let server = Server::start().await;
    server.join("r").await;
    let mut stranger = server.socket().await;
    stranger.register("r", "LOOPBACK_CLIENT_ID").await;
    assert!(stranger.hears_error().await.starts_with("Invalid register"));
}
