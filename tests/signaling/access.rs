//! Who may join where a token is needed, and keys that change under way.

use std::fs;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use callbox::config::settings::{self, Auth};
use callbox::net::clock;
use jsonwebtoken::{EncodingKey, Header, encode};
use serde_json::{Value, json};
use tokio::time::{sleep, timeout};

use crate::harness::{Client, PATIENCE, Server, settings};
use crate::native::Native;

const SECRET: &str = "0123456789abcdef0123456789abcdef";
const OTHER: &str = "fedcba9876543210fedcba9876543210";

/// A file with a key, gone when the test is.
struct KeyFile(PathBuf);

impl KeyFile {
    fn new(secret: &str) -> Self {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let name = format!("callbox-token-key-{}-{number}", std::process::id());
        let file = Self(std::env::temp_dir().join(name));
        file.write(secret);
        file
    }

    fn write(&self, secret: &str) {
        let next = self.0.with_extension("next");
        fs::write(&next, secret).unwrap();
        fs::rename(next, &self.0).unwrap();
    }

    fn settings(&self) -> settings::Signaling {
        settings::Signaling {
            auth: Auth::Token(vec![self.0.clone()]),
            ..settings()
        }
    }
}

impl Drop for KeyFile {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.0);
    }
}

fn token(mut claims: Value, secret: &str) -> String {
    claims["exp"] = json!(clock::unix_time() + 60);
    let key = EncodingKey::from_secret(secret.as_bytes());
    encode(&Header::default(), &claims, &key).unwrap()
}

/// The `code`, or the `cmd`, of the answer to a join with this token.
async fn join(client: &mut Native, room: &str, uid: &str, token: Option<&str>) -> String {
    let mut frame = json!({"cmd": "join", "roomId": room, "uid": uid});
    if let Some(token) = token {
        frame["token"] = json!(token);
    }
    client.say(frame).await;
    let answer = client.hears().await;
    let word = answer.get("code").unwrap_or_else(|| &answer["cmd"]);
    word.as_str().unwrap().to_owned()
}

#[tokio::test]
async fn a_join_needs_a_token_for_this_room_and_this_user() {
    let key = KeyFile::new(SECRET);
    let server = Server::start(key.settings()).await;
    let mut client = Native::connect(&server).await;
    let good = token(json!({"room": "123", "user": "alice"}), SECRET);
    let forged = token(json!({"room": "123", "user": "alice"}), OTHER);
    for (room, uid, token, code) in [
        ("123", "alice", None, "token-required"),
        ("123", "alice", Some("x"), "token-invalid"),
        ("123", "alice", Some(&*forged), "token-invalid"),
        ("124", "alice", Some(&*good), "token-mismatch"),
        ("123", "mallory", Some(&*good), "token-mismatch"),
        ("123", "alicexy", Some(&*good), "token-mismatch"),
        ("123", "alice:phone", Some(&*good), "joined"),
    ] {
        assert_eq!(
            join(&mut client, room, uid, token).await,
            code,
            "{room} {uid}"
        );
    }
    // Who says no name is called by the token's.
    let mut second = Native::connect(&server).await;
    second
        .say(json!({"cmd": "join", "roomId": "123", "token": good}))
        .await;
    assert_eq!(second.hears_cmd("joined").await["uid"], "alice");
    second.say(json!({"cmd": "lock"})).await;
    assert_eq!(second.hears_cmd("err-msg").await["code"], "may-not-lock");
    // Coming back needs the ticket only.
    second.fence().await;
    let (_, answer) = second.resume(&server).await;
    assert_eq!(answer["cmd"], "resumed");
}

#[tokio::test]
async fn a_token_may_forbid_to_open_a_room_and_allow_to_lock_it() {
    let key = KeyFile::new(SECRET);
    let server = Server::start(key.settings()).await;
    let guest = token(json!({"room": "123", "may_create": false}), SECRET);
    let host = token(json!({"room": "123", "may_lock": true}), SECRET);
    let mut first = Native::connect(&server).await;
    assert_eq!(
        join(&mut first, "123", "g", Some(&guest)).await,
        "no-such-room"
    );
    let mut second = Native::connect(&server).await;
    assert_eq!(join(&mut second, "123", "h", Some(&host)).await, "joined");
    assert_eq!(join(&mut first, "123", "g", Some(&guest)).await, "joined");
    second.hears_cmd("new-peer").await;
    second.say(json!({"cmd": "lock"})).await;
    second.hears_cmd("locked").await;
}

#[tokio::test]
async fn a_course_client_brings_its_token_in_the_join() {
    let key = KeyFile::new(SECRET);
    let server = Server::start(key.settings()).await;
    let mut client = server.client().await;
    client.join("123", "k3x9").await;
    client
        .hears(json!({"cmd": "err-msg", "msg": "a token is needed to join"}))
        .await;
    let token = token(json!({"room": "123"}), SECRET);
    let join = json!({"cmd": "join", "roomId": "123", "uid": "k3x9", "token": token});
    client.say(&join.to_string()).await;
    client.fence().await;
    server.stats_become(|now| now.members == 1).await;
}

#[tokio::test]
async fn each_further_dialect_brings_its_token_and_is_told_what_is_wrong_with_it() {
    let key = KeyFile::new(SECRET);
    let server = Server::start(key.settings()).await;
    let address = server.address;
    let at = |path: String| async move { Client::at_path(address, &path).await };
    let good = |room: &str| token(json!({"room": room, "user": "alice"}), SECRET);
    // PeerJS: its own token is this one.
    let (peerjs, other) = (good("peerjs"), good("other"));
    for (id, token, why) in [
        ("alice", "x", "the token is not valid: not a JSON Web Token"),
        ("alice", &*other, "the token is for another room"),
        ("bob", &*peerjs, "the token is for another user"),
    ] {
        let mut client = at(format!("/peerjs?key=peerjs&id={id}&token={token}")).await;
        client
            .hears(json!({"type": "ERROR", "payload": {"msg": why}}))
            .await;
        assert_eq!(client.is_closed().await.0, 1000);
    }
    let mut client = at(format!("/peerjs?key=peerjs&id=alice&token={peerjs}")).await;
    client.hears(json!({"type": "OPEN"})).await;
    // y-webrtc: in its address; the topic is the room.
    let mut client = at("/y".to_owned()).await;
    assert_eq!(
        client.is_closed().await,
        (1008, "a token is needed to join".to_owned())
    );
    let mut client = at(format!("/y?token={}", good("doc"))).await;
    client
        .say_json(json!({"type": "subscribe", "topics": ["doc", "diary"]}))
        .await;
    let reason = "the token is for another room";
    client
        .hears(json!({"type": "error", "topic": "diary", "reason": reason}))
        .await;
    client
        .say_json(json!({"type": "publish", "topic": "doc"}))
        .await;
    assert_eq!(client.hears_json().await["clients"], 1);
    // flutter-webrtc-demo: in its address or its first frame.
    let data = json!({"id": "alice", "name": "", "user_agent": ""});
    let mut client = at("/ws".to_owned()).await;
    client.say_json(json!({"type": "new", "data": data})).await;
    let error = json!({"request": "new", "reason": "a token is needed to join"});
    client.hears(json!({"type": "error", "data": error})).await;
    let mut with_token = data.clone();
    with_token["token"] = json!(good("team"));
    client
        .say_json(json!({"type": "new", "data": with_token}))
        .await;
    client.hears(json!({"type": "peers", "data": [data]})).await;
    let mut client = at(format!("/ws?room=diary&token={}", good("team"))).await;
    client.say_json(json!({"type": "new", "data": data})).await;
    let error = json!({"request": "new", "reason": "the token is for another room"});
    client.hears(json!({"type": "error", "data": error})).await;
    // In lower case: in the join, as in the course dialect.
    let mut client = at("/ws".to_owned()).await;
    let join = json!({"cmd": "join", "roomid": "r", "uid": "alice", "token": good("r")});
    client.say_json(join).await;
    client
        .hears(json!({"cmd": "resp-join", "roomid": "r", "uid": "alice"}))
        .await;
}

#[tokio::test]
async fn who_came_when_anybody_could_subscribes_to_nothing_new_without_a_token() {
    let key = KeyFile::new(SECRET);
    let server = Server::start(settings()).await;
    let subscribe = |topic: &str| json!({"type": "subscribe", "topics": [topic]});
    let good = token(json!({"room": "diary"}), SECRET);
    let mut client = Client::at_path(server.address, "/y").await;
    let mut other = Client::at_path(server.address, &format!("/y?token={good}")).await;
    for client in [&mut client, &mut other] {
        client.say_json(subscribe("doc")).await;
        client.say_json(json!({"type": "ping"})).await;
        client.hears(json!({"type": "pong"})).await;
    }
    server.apply(&key.settings()).await;
    client.say_json(subscribe("diary")).await;
    let reason = "a token is needed to join";
    let refused =
        |topic: &str, reason: &str| json!({"type": "error", "topic": topic, "reason": reason});
    client.hears(refused("diary", reason)).await;
    other.say_json(subscribe("diary")).await;
    other.say_json(subscribe("secrets")).await;
    other
        .hears(refused("secrets", "the token is for another room"))
        .await;
    // What they have they keep.
    let published = json!({"type": "publish", "topic": "doc", "data": 1});
    client.say_json(published).await;
    assert_eq!(other.hears_json().await["clients"], 2);
}

#[tokio::test]
async fn keys_change_without_a_restart_and_a_broken_file_changes_nothing() {
    let key = KeyFile::new(SECRET);
    let server = Server::start(key.settings()).await;
    let old = token(json!({"room": "123"}), SECRET);
    let new = token(json!({"room": "123"}), OTHER);
    let mut client = Native::connect(&server).await;
    key.write("too short");
    sleep(Duration::from_millis(100)).await;
    assert_eq!(join(&mut client, "123", "a", Some(&old)).await, "joined");
    key.write(OTHER);
    let changed = async {
        loop {
            let mut client = Native::connect(&server).await;
            if join(&mut client, "123", "b", Some(&new)).await == "joined" {
                return client;
            }
            sleep(Duration::from_millis(10)).await;
        }
    };
    let _second = timeout(PATIENCE, changed)
        .await
        .expect("the new key in time");
    // Who is inside stays, and the old key opens nothing any more.
    client.hears_cmd("new-peer").await;
    let mut third = Native::connect(&server).await;
    assert_eq!(
        join(&mut third, "123", "c", Some(&old)).await,
        "token-invalid"
    );
}

#[tokio::test]
async fn the_messages_of_a_network_are_counted_over_all_its_connections() {
    let server = Server::start(settings::Signaling {
        messages_per_second: 0,
        prefix_messages_per_second: 10,
        ..settings()
    })
    .await;
    let mut first = server.client().await;
    let mut second = server.client().await;
    for client in [&mut first, &mut second] {
        let _ = client.say_until_refused(r#"{"cmd":"ping"}"#, 60).await;
    }
    assert_eq!(
        second.is_closed().await,
        (1008, "too many messages".to_owned())
    );
}
