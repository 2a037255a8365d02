//! Whole calls, with clients that do the requests of those in the field in their order.

use http_body_util::BodyExt as _;
use hyper::client::conn::http2;
use hyper_util::rt::{TokioExecutor, TokioIo};
use serde_json::{Value, json};
use tokio_tungstenite::tungstenite::protocol::frame::coding::CloseCode;

use crate::client::{BYE, Person, Server, Socket};
use crate::door::{Reply, within};

/// What AppRTC's Android client sends with each request.
const ANDROID: [&str; 3] = [
    "Content-Type: text/plain; charset=utf-8",
    "Origin: https://appr.tc",
    "Referer: https://appr.tc",
];

/// AppRTC's Android client, as far as the server can see: whatever surprises it ends the call.
struct Android<'a> {
    server: &'a Server,
    person: Person,
    socket: Socket,
}

impl<'a> Android<'a> {
    async fn post(server: &Server, path: &str, body: &str) -> Reply {
        let reply = server.request("POST", path, &ANDROID, body).await;
        assert_eq!(reply.status, 200, "{path}");
        reply
    }

    async fn call(server: &'a Server, room: &str) -> Self {
        let answer = Self::post(server, &format!("/join/{room}"), "")
            .await
            .json();
        assert_eq!(answer["result"], "SUCCESS");
        let params = answer["params"].clone();
        for field in [
            "room_id",
            "client_id",
            "wss_url",
            "wss_post_url",
            "is_initiator",
            "pc_config",
        ] {
            assert!(params[field].is_string(), "{field}");
        }
        // An array in `urls` would be taken for an address here.
        let config: Value = serde_json::from_str(params["pc_config"].as_str().unwrap()).unwrap();
        assert_eq!(config["iceServers"], json!([]));
        let url = params["ice_server_url"].as_str().unwrap();
        let path = url
            .strip_prefix(&format!("https://{}", server.host()))
            .unwrap();
        let ice = Self::post(server, path, "").await.json();
        assert!(ice["iceServers"][0]["urls"].is_array());
        let wss = params["wss_url"].as_str().unwrap();
        assert_eq!(wss, format!("wss://{}/ws", server.host()));
        let mut socket = server.socket().await;
        let person = Person {
            id: params["client_id"].as_str().unwrap().to_owned(),
            room: room.to_owned(),
            params,
        };
        socket.register(room, &person.id).await;
        Self {
            server,
            person,
            socket,
        }
    }

    /// One who called posts and insists on the answer; one who was called uses the socket.
    async fn say(&mut self, message: &Value) {
        let body = message.to_string();
        match self.person.is_initiator() {
            true => {
                let path = format!("/message/{}/{}", self.person.room, self.person.id);
                let answer = Self::post(self.server, &path, &body).await.json();
                assert_eq!(answer["result"], "SUCCESS");
            }
            false => self.socket.send(&body).await,
        }
    }

    /// The next message, which must be one that it knows in its role.
    async fn hears(&mut self) -> Value {
        let message: Value = serde_json::from_str(&self.socket.hears().await).unwrap();
        let known = match self.person.is_initiator() {
            true => ["answer", "candidate", "remove-candidates", "bye"],
            false => ["offer", "candidate", "remove-candidates", "bye"],
        };
        assert!(
            known.contains(&message["type"].as_str().unwrap()),
            "{message}"
        );
        message
    }

    /// All at once, in whatever order it arrives.
    async fn hang_up(mut self) {
        let (room, id) = (&self.person.room, &self.person.id);
        let (leave, delete) = (
            format!("/leave/{room}/{id}"),
            format!("/collider/{room}/{id}"),
        );
        let (_, deleted, ()) = tokio::join!(
            Self::post(self.server, &leave, ""),
            self.server.request("DELETE", &delete, &ANDROID, ""),
            async {
                self.socket.send(BYE).await;
                self.socket.close(CloseCode::Normal).await;
            },
        );
        assert_eq!(deleted.status, 200);
    }
}

fn candidate(number: u32) -> Value {
    json!({"type": "candidate", "label": 0, "id": "audio", "candidate": format!("candidate:{number}")})
}

#[tokio::test]
async fn two_android_phones_call_each_other_and_hang_up() {
    let server = Server::start().await;
    let mut caller = Android::call(&server, "120031").await;
    assert!(caller.person.is_initiator());
    caller.say(&json!({"type": "offer", "sdp": "v=0"})).await;
    caller.say(&candidate(1)).await;
    let mut called = Android::call(&server, "120031").await;
    let said: Vec<Value> = called
        .person
        .messages()
        .iter()
        .map(|message| serde_json::from_str(message).unwrap())
        .collect();
    assert_eq!(said, [json!({"type": "offer", "sdp": "v=0"}), candidate(1)]);
    called.say(&json!({"type": "answer", "sdp": "v=0"})).await;
    called.say(&candidate(2)).await;
    caller.say(&candidate(3)).await;
    assert_eq!(caller.hears().await["type"], "answer");
    assert_eq!(caller.hears().await, candidate(2));
    assert_eq!(called.hears().await, candidate(3));
    let removed = json!({"type": "remove-candidates", "candidates": [{"label": 0, "id": "audio"}]});
    called.say(&removed).await;
    assert_eq!(caller.hears().await, removed);
    caller.hang_up().await;
    assert_eq!(called.hears().await["type"], "bye");
    // There is one goodbye, whichever of the three was the first to arrive.
    called.socket.fence().await;
    called.hang_up().await;
    assert!(server.join("120031").await.is_initiator());
}

#[tokio::test]
async fn whoever_hangs_up_first_the_other_hears_one_goodbye() {
    let server = Server::start().await;
    for turn in 0..20 {
        let room = format!("r{turn}");
        let caller = Android::call(&server, &room).await;
        let mut called = Android::call(&server, &room).await;
        caller.hang_up().await;
        assert_eq!(called.hears().await["type"], "bye");
        called.socket.fence().await;
        let next = server.join(&room).await;
        assert!(!next.is_initiator());
    }
}

#[tokio::test]
async fn a_phone_calls_itself_over_one_socket() {
    let server = Server::start().await;
    let answer = Android::post(&server, "/join/loop?debug=loopback", "")
        .await
        .json();
    assert_eq!(answer["params"]["is_initiator"], "true");
    let id = answer["params"]["client_id"].as_str().unwrap();
    let mut socket = server.socket().await;
    socket.register("loop", id).await;
    for _ in 0..3 {
        let path = format!("/message/loop/{id}");
        let posted = Android::post(&server, &path, r#"{"type":"offer"}"#).await;
        assert_eq!(posted.json()["result"], "SUCCESS");
    }
    // It answers itself, and hears nothing of it from here.
    socket.fence().await;
}

#[tokio::test]
async fn two_web_pages_call_each_other_and_the_one_who_stays_calls_again() {
    let server = Server::start().await;
    // Socket and join in parallel; the caller posts everything, candidates at the same time.
    let (mut one, first) = tokio::join!(server.socket(), server.join("120031?vsc=VP8"));
    one.register("120031", &first.id).await;
    let offer = r#"{"sdp":"v=0","type":"offer"}"#;
    let candidates = [candidate(1).to_string(), candidate(2).to_string()];
    tokio::join!(
        server.message(&first, offer),
        server.message(&first, &candidates[0]),
        server.message(&first, &candidates[1]),
    );
    let (mut other, second) = tokio::join!(server.socket(), server.join("120031"));
    let mut messages = second.messages();
    messages.sort_unstable();
    let mut expected = vec![offer, &candidates[0], &candidates[1]];
    expected.sort_unstable();
    assert_eq!(messages, expected);
    other.register("120031", &second.id).await;
    other.send(r#"{"sdp":"v=0","type":"answer"}"#).await;
    assert_eq!(one.hears().await, r#"{"sdp":"v=0","type":"answer"}"#);
    // Hanging up: leave, then a goodbye, then the end of the socket, then delete.
    server.leave(&second).await;
    other.send(BYE).await;
    other.close(CloseCode::Normal).await;
    server.delete(&second).await;
    assert_eq!(one.hears().await, BYE);
    let again = r#"{"sdp":"v=1","type":"offer"}"#;
    assert_eq!(server.message(&first, again).await, "SUCCESS");
    // The other one presses "rejoin", which makes it somebody new.
    let (mut other, third) = tokio::join!(server.socket(), server.join("120031"));
    assert_ne!(third.id, second.id);
    assert_eq!(third.messages(), [again]);
    other.register("120031", &third.id).await;
    other.send("answer").await;
    assert_eq!(one.hears().await, "answer");
}

#[tokio::test]
async fn a_web_page_whose_socket_is_gone_posts_to_collider() {
    let server = Server::start().await;
    let first = server.join("r").await;
    let mut one = server.registered(&first).await;
    let second = server.join("r").await;
    let base = second.params["wss_post_url"].as_str().unwrap();
    let url = format!("{base}/{}/{}", second.room, second.id);
    let path = url
        .strip_prefix(&format!("https://{}", server.host()))
        .unwrap();
    let reply = server.post(path, "answer").await;
    assert_eq!(reply.text(), "OK\n");
    assert_eq!(one.hears().await, "answer");
}

#[tokio::test]
async fn ios_asks_for_its_relay_before_it_joins() {
    let server = Server::start().await;
    let params = server.get("/params").await.json();
    let url = params["ice_server_url"].as_str().unwrap();
    let path = url
        .strip_prefix(&format!("https://{}", server.host()))
        .unwrap();
    let ice = server
        .request("POST", path, &["Referer: https://appr.tc"], "")
        .await
        .json();
    let relay = &ice["iceServers"][1];
    assert!(
        relay["credential"].is_string() && relay["username"].is_string(),
        "{ice}"
    );
    assert_eq!(server.try_join("r").await["result"], "SUCCESS");
}

#[tokio::test]
async fn ios_makes_its_requests_over_http2() {
    let server = Server::start().await;
    let stream = TokioIo::new(server.door.tls(&["h2"]).await);
    let (client, connection) = http2::handshake(TokioExecutor::new(), stream)
        .await
        .unwrap();
    server
        .door
        .drain
        .spawn(async move { drop(connection.await) });
    let ask = async |method: &str, url: &str, body: &str| {
        let request = hyper::Request::builder()
            .method(method)
            .uri(url)
            .header("referer", "https://appr.tc")
            .body(body.to_owned())
            .unwrap();
        let mut client = client.clone();
        within(client.ready()).await.unwrap();
        let answer = within(client.send_request(request)).await.unwrap();
        assert_eq!(answer.status(), 200, "{method} {url}");
        let body = within(answer.into_body().collect()).await.unwrap();
        serde_json::from_slice::<Value>(&body.to_bytes()).unwrap_or_default()
    };
    let site = format!("https://{}", server.host());
    let params = ask("GET", &format!("{site}/params"), "").await;
    let ice = ask("POST", params["ice_server_url"].as_str().unwrap(), "").await;
    assert!(ice["iceServers"][0]["urls"].is_array());
    let joined = ask("POST", &format!("{site}/join/r"), "").await;
    let joined = &joined["params"];
    let text = |field: &str| joined[field].as_str().unwrap().to_owned();
    assert_eq!(text("wss_url"), format!("wss://{}/ws", server.host()));
    let own = format!("r/{}", text("client_id"));
    let posted = ask("POST", &format!("{site}/message/{own}"), "{\n}").await;
    assert_eq!(posted["result"], "SUCCESS");
    let other = server.join("r").await;
    assert_eq!(other.messages(), ["{\n}"]);
    ask("POST", &format!("{site}/leave/{own}"), "").await;
    let post_url = text("wss_post_url");
    ask("DELETE", &format!("{post_url}/{own}"), "").await;
    assert_eq!(server.try_join("r").await["result"], "SUCCESS");
}
