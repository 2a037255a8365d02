//! The room server's routes and its state machine.

use serde_json::json;

use crate::client::Server;

#[tokio::test]
async fn joining_gives_every_field_in_the_types_that_clients_read() {
    let server = Server::start().await;
    let answer = server.try_join("120031").await;
    assert_eq!(answer["result"], "SUCCESS");
    let params = answer["params"].as_object().unwrap();
    for text in [
        "client_id",
        "room_id",
        "room_link",
        "is_initiator",
        "wss_url",
        "wss_post_url",
        "ice_server_url",
        "ice_server_transports",
        "pc_config",
        "pc_constraints",
        "offer_options",
        "media_constraints",
        "is_loopback",
        "include_loopback_js",
        "bypass_join_confirmation",
        "version_info",
        "header_message",
    ] {
        assert!(params[text].is_string(), "{text}: {}", params[text]);
    }
    for list in ["messages", "error_messages", "warning_messages"] {
        assert_eq!(params[list], json!([]), "{list}");
    }
    assert_eq!(params.len(), 20);
    assert_eq!(params["room_id"], "120031");
    assert_eq!(params["is_initiator"], "true");
}

#[tokio::test]
async fn ids_are_long_random_and_fit_the_routes() {
    let server = Server::start().await;
    let (one, other) = (server.join("one").await, server.join("other").await);
    assert_ne!(one.id, other.id);
    for id in [&one.id, &other.id] {
        assert!(id.len() >= 22, "{id}");
        assert!(id.bytes().all(|b| b.is_ascii_alphanumeric()), "{id}");
    }
}

#[tokio::test]
async fn the_first_is_initiator_and_the_second_gets_its_messages_in_order() {
    let server = Server::start().await;
    let first = server.join("r").await;
    assert!(first.is_initiator());
    let said = [
        "candidate first",
        "{\"type\":\"offer\"}",
        "candidate",
        "candidate",
    ];
    for message in said {
        assert_eq!(server.message(&first, message).await, "SUCCESS");
    }
    let second = server.join("r").await;
    assert!(!second.is_initiator());
    assert_eq!(second.messages(), said);
    // Returned once: the next one gets what is said from then on.
    server.leave(&second).await;
    let third = server.join("r").await;
    assert_eq!(third.messages(), [""; 0]);
}

#[tokio::test]
async fn a_third_client_is_told_that_the_room_is_full_in_the_shape_of_all_errors() {
    let server = Server::start().await;
    let _pair = (server.join("r").await, server.join("r").await);
    let expected = json!({"result": "FULL", "params": {"messages": []}});
    assert_eq!(server.try_join("r").await, expected);
}

#[tokio::test]
async fn the_one_who_stays_is_initiator_for_the_one_who_comes() {
    let server = Server::start().await;
    let (first, second) = (server.join("r").await, server.join("r").await);
    server.leave(&first).await;
    server.message(&second, "new offer").await;
    let third = server.join("r").await;
    assert!(!third.is_initiator());
    assert_eq!(third.messages(), ["new offer"]);
    server.leave(&second).await;
    server.leave(&third).await;
    assert!(server.join("r").await.is_initiator());
}

#[tokio::test]
async fn messages_of_strangers_are_told_apart() {
    let server = Server::start().await;
    let result = async |path: &str| server.post(path, "x").await.json();
    assert_eq!(
        result("/message/r/c").await,
        json!({"result": "UNKNOWN_ROOM"})
    );
    let person = server.join("r").await;
    assert_eq!(
        result("/message/r/c").await,
        json!({"result": "UNKNOWN_CLIENT"})
    );
    server.leave(&person).await;
    assert_eq!(server.message(&person, "x").await, "UNKNOWN_ROOM");
}

#[tokio::test]
async fn messages_are_any_text_in_utf8() {
    let server = Server::start().await;
    let person = server.join("r").await;
    assert_eq!(
        server.message(&person, "室 🎥 \"\\u0000\"\n").await,
        "SUCCESS"
    );
    assert_eq!(server.message(&person, "").await, "ERROR");
    let path = format!("/message/r/{}", person.id);
    let request = format!(
        "POST {path} HTTP/1.1\r\nHost: {}\r\nConnection: close\r\nContent-Length: 2\r\n\r\n",
        server.host()
    );
    let mut bytes = request.into_bytes();
    bytes.extend([0xc3, 0x28]);
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    let mut stream = server.door.tls(&["http/1.1"]).await;
    stream.write_all(&bytes).await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    assert!(answer.ends_with(r#"{"result":"ERROR"}"#), "{answer}");
    let other = server.join("r").await;
    assert_eq!(other.messages(), ["室 🎥 \"\\u0000\"\n"]);
}

#[tokio::test]
async fn leaving_is_always_well_and_so_is_its_old_name() {
    let server = Server::start().await;
    let person = server.join("r").await;
    for path in [
        "/leave/nobody/knows".to_owned(),
        "/leave/r/stranger".to_owned(),
        format!("/bye/r/{}", person.id),
        format!("/leave/r/{}", person.id),
        format!("/bye/r/{}", person.id),
    ] {
        let reply = server.post(&path, "").await;
        assert_eq!((reply.status, reply.text()), (200, ""), "{path}");
    }
    assert!(server.join("r").await.is_initiator());
}

#[tokio::test]
async fn known_paths_refuse_other_methods_and_other_paths_are_unknown() {
    let server = Server::start().await;
    for (method, path, status) in [
        ("GET", "/join/r", 405),
        ("PUT", "/join/r", 405),
        ("GET", "/message/r/c", 405),
        ("DELETE", "/leave/r/c", 405),
        ("POST", "/params", 405),
        ("GET", "/a/", 405),
        ("GET", "/join/a.b", 404),
        ("GET", "/join/a%20b", 404),
        ("GET", "/join/", 404),
        ("GET", "/join/a/", 404),
        ("GET", "/message/a", 404),
        ("GET", "/compute/status/i/z", 404),
        ("GET", "/probe/collider", 404),
    ] {
        let reply = server.request(method, path, &[], "").await;
        assert_eq!(reply.status, status, "{method} {path}");
    }
}

#[tokio::test]
async fn reports_are_judged_and_forgotten() {
    let server = Server::start().await;
    let good = json!({
        "type": "event",
        "request_time_ms": 1,
        "event": {"event_type": "icecandidate", "event_time_ms": 2.5},
    });
    let mut bad = vec![json!({}), json!([]), json!("event")];
    for (field, value) in [
        ("type", json!("other")),
        ("request_time_ms", json!("1")),
        ("event", json!({"event_type": "x"})),
        ("event", json!({"event_time_ms": 1})),
    ] {
        let mut report = good.clone();
        report[field] = value;
        bad.push(report);
    }
    let result = async |body: &str| server.post("/a/", body).await.json()["result"].clone();
    assert_eq!(result(&good.to_string()).await, "SUCCESS");
    for report in bad {
        assert_eq!(
            result(&report.to_string()).await,
            "INVALID_REQUEST",
            "{report}"
        );
    }
    assert_eq!(result("not JSON").await, "INVALID_REQUEST");
}

#[tokio::test]
async fn rooms_of_one_name_in_two_dialects_are_two_rooms() {
    let server = Server::start().await;
    let mut course = server.socket().await;
    course
        .say(r#"{"cmd":"join","roomId":"123","uid":"a"}"#)
        .await;
    assert!(server.join("123").await.is_initiator());
    assert!(!server.join("123").await.is_initiator());
}
