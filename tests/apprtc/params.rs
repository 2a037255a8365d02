//! The `params` object: what does not depend on a browser. The rest of its rules are tested where
//! they are written, in `src/signal/apprtc/params/tests.rs`.

use callbox::config::settings::RoomLink;
use serde_json::{Value, json};

use crate::client::Server;
use crate::door::Setup;

/// A field that holds JSON.
fn inner(params: &Value, field: &str) -> Value {
    serde_json::from_str(params[field].as_str().unwrap()).unwrap()
}

#[tokio::test]
async fn the_page_may_show_its_link() {
    for (room_link, scheme) in [
        (RoomLink::Absolute, "https:"),
        (RoomLink::ProtocolRelative, ""),
        (RoomLink::Http, "http:"),
    ] {
        let mut setup = Setup::default();
        setup.settings.signaling.room_link = room_link;
        // The page's own origin, and not the name that the operator has given it.
        setup.settings.host = vec!["call.example".to_owned()];
        let server = Server::with(setup).await;
        let person = server.join("120031?asbr=64&vsc=VP8&x=%27%3C").await;
        let expected = format!(
            "{scheme}//{}/r/120031?asbr=64&vsc=VP8&x=%27%3C",
            server.host()
        );
        assert_eq!(person.params["room_link"], expected);
    }
}

#[tokio::test]
async fn plain_http_leads_to_https_first() {
    let server = Server::start().await;
    let stream = tokio::net::TcpStream::connect(server.door.http)
        .await
        .unwrap();
    let request = "GET /r/120031?a=b HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n";
    let reply = crate::door::ask(stream, request).await;
    assert_eq!(reply.status, 308);
    let expected = format!("https://{}/r/120031?a=b", server.host());
    assert_eq!(reply.header("location"), Some(&*expected));
}

#[tokio::test]
async fn params_alone_know_nothing_of_rooms() {
    let server = Server::start().await;
    let reply = server.get("/params?tt=tcp&hd=true&minre=1").await;
    assert_eq!(reply.status, 200);
    let params = reply.json();
    for field in [
        "result",
        "room_id",
        "room_link",
        "client_id",
        "is_initiator",
        "messages",
    ] {
        assert_eq!(params.get(field), None, "{field}");
    }
    assert_eq!(params["ice_server_transports"], "tcp");
    assert_eq!(params["warning_messages"].as_array().unwrap().len(), 1);
    assert_eq!(inner(&params, "pc_config")["iceServers"], json!([]));
    let media = inner(&params, "media_constraints");
    assert_eq!(media["video"]["mandatory"]["minWidth"], "1280");
}

#[tokio::test]
async fn collider_is_where_the_page_is() {
    let server = Server::start().await;
    let person = server.join("r").await;
    let host = server.host();
    assert_eq!(person.params["wss_url"], format!("wss://{host}/ws"));
    let post = format!("https://{host}/collider");
    assert_eq!(person.params["wss_post_url"], post);
    let other = server.join("r?wshpp=col.example:8089&wstls=false").await;
    assert_eq!(other.params["wss_url"], "ws://col.example:8089/ws");
    assert_eq!(other.params["wss_post_url"], "http://col.example:8089");
}

#[tokio::test]
async fn browsers_are_told_what_suits_them_and_need_not_say_who_they_are() {
    let server = Server::start().await;
    let chrome = "User-Agent: Mozilla/5.0 (X11; Linux x86_64) Chrome/130.0 Safari/537.36";
    let path = "/join/r";
    let asked = server.request("POST", path, &[chrome], "").await.json();
    let media = inner(&asked["params"], "media_constraints");
    assert_eq!(media["video"]["optional"][0]["minWidth"], "1280");
    let unnamed = server.join("r").await;
    let media = inner(&unnamed.params, "media_constraints");
    assert_eq!(media, json!({"audio": true, "video": true}));
}

#[tokio::test]
async fn the_ice_configuration_is_asked_for_with_the_key_and_has_arrays() {
    let server = Server::start().await;
    let person = server.join("r").await;
    let url = person.params["ice_server_url"].as_str().unwrap();
    let path = url
        .strip_prefix(&format!("https://{}", server.host()))
        .unwrap();
    let origin = ["Origin: https://appr.tc", "Referer: https://appr.tc"];
    let reply = server.request("POST", path, &origin, "").await;
    assert_eq!(reply.status, 200);
    let answer = reply.json();
    for one in answer["iceServers"].as_array().unwrap() {
        assert!(one["urls"].is_array(), "{one}");
    }
    assert_eq!(answer["lifetimeDuration"], "43200s");
    let username = answer["iceServers"][1]["username"].as_str().unwrap();
    assert!(username.contains(":r."), "{username}");
    assert!(
        !username.contains(&person.id),
        "the id is a secret: {username}"
    );
}
