//! Collider's own HTTP.

use serde_json::Value;

use crate::client::{BYE, Server};
use crate::door::{Reply, Setup};

fn assert_open_to_all_pages(reply: &Reply) {
    assert_eq!(reply.header("access-control-allow-origin"), Some("*"));
    let methods = reply.header("access-control-allow-methods");
    assert_eq!(methods, Some("POST, DELETE"));
}

#[tokio::test]
async fn a_posted_message_is_one_of_that_client() {
    let server = Server::start().await;
    let (person, _one, _, mut other) = server.pair("r").await;
    let path = format!("/collider/r/{}", person.id);
    let reply = server.post(&path, "posted").await;
    assert_eq!((reply.status, reply.text()), (200, "OK\n"));
    assert_open_to_all_pages(&reply);
    assert_eq!(other.hears().await, "posted");
    server.post(&path, BYE).await;
    assert_eq!(other.hears().await, BYE);
    assert_eq!(server.try_join("r").await["result"], "SUCCESS");
}

#[tokio::test]
async fn posts_that_cannot_be_delivered_say_why() {
    let server = Server::start().await;
    let person = server.join("r").await;
    for (path, body, words) in [
        (
            format!("/collider/r/{}", person.id),
            "",
            "Empty request body",
        ),
        (
            "/collider/r/made-up".to_owned(),
            "x",
            "Failed to send the message: unknown client",
        ),
        ("/collider/r".to_owned(), "x", "Invalid path: /collider/r"),
        ("/collider/r/c/x".to_owned(), "x", "Invalid path: "),
    ] {
        let reply = server.post(&path, body).await;
        assert_eq!(reply.status, 500, "{path}");
        assert!(reply.text().starts_with(words), "{path}: {}", reply.text());
        assert_open_to_all_pages(&reply);
    }
}

#[tokio::test]
async fn deleting_ends_the_client_and_its_socket_and_is_always_well() {
    let server = Server::start().await;
    let (person, mut one, _, mut other) = server.pair("r").await;
    server.delete(&person).await;
    one.ends().await;
    assert_eq!(other.hears().await, BYE);
    server.delete(&person).await;
    server.leave(&person).await;
    assert_eq!(server.try_join("r").await["result"], "SUCCESS");
    other.fence().await;
    let unknown = server.request("DELETE", "/collider/no/body", &[], "").await;
    assert_eq!((unknown.status, unknown.text()), (200, "OK\n"));
    assert_open_to_all_pages(&unknown);
}

#[tokio::test]
async fn a_page_elsewhere_may_ask_whether_it_may_delete() {
    let server = Server::start().await;
    for method in ["OPTIONS", "GET", "PUT"] {
        let headers = [
            "Origin: https://elsewhere.example",
            "Access-Control-Request-Method: DELETE",
        ];
        let reply = server.request(method, "/collider/r/c", &headers, "").await;
        assert_eq!((reply.status, reply.text()), (200, ""), "{method}");
        assert_open_to_all_pages(&reply);
    }
}

#[tokio::test]
async fn the_status_has_numbers_that_monitors_read() {
    let server = Server::start().await;
    let (_, _one, _, _other) = server.pair("r").await;
    server.post("/collider/x", "y").await;
    let reply = server.get("/collider/status").await;
    assert_eq!(reply.status, 200);
    assert_open_to_all_pages(&reply);
    let status = reply.json();
    assert!(status["upsec"].as_f64().unwrap() >= 0.0);
    for (field, expected) in [("openws", 2), ("totalws", 2), ("httperrors", 1)] {
        assert_eq!(status[field], Value::from(expected), "{field}");
    }
    assert!(status["wserrors"].is_u64());
}

#[tokio::test]
async fn clients_of_another_room_server_are_served_only_where_that_is_wanted() {
    let mut setup = Setup::default();
    setup.settings.signaling.open_collider = true;
    let server = Server::with(setup).await;
    let reply = server.post("/collider/r/one", "offer").await;
    assert_eq!(reply.text(), "OK\n");
    let mut other = server.socket().await;
    other.register("r", "other").await;
    assert_eq!(other.hears().await, "offer");
    let mut one = server.socket().await;
    one.register("r", "one").await;
    other.send("answer").await;
    assert_eq!(one.hears().await, "answer");
    let mut third = server.socket().await;
    third.register("r", "third").await;
    assert_eq!(third.hears_error().await, "Max room capacity reached");
}
