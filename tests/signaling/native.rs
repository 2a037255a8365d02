//! The native dialect: joins that are answered, roles, locks, failures with codes.

use std::time::Duration;

use callbox::config::settings;
use callbox::signal::outcome::Outcome;
use serde_json::{Value, json};

use crate::harness::{Client, Server, settings, settings_for};

/// A client of the native dialect that counts as the specification demands.
pub(crate) struct Native {
    pub(crate) client: Client,
    pub(crate) received: u64,
    pub(crate) ticket: String,
}

impl Native {
    pub(crate) async fn connect(server: &Server) -> Self {
        Self {
            client: Client::native_at(server.address).await,
            received: 0,
            ticket: String::new(),
        }
    }

    /// Has a seat, and the server knows that it knows.
    pub(crate) async fn joined(server: &Server, room: &str, uid: &str) -> (Self, Value) {
        let mut native = Self::connect(server).await;
        native
            .say(json!({"cmd": "join", "roomId": room, "uid": uid}))
            .await;
        let joined = native.hears_cmd("joined").await;
        native.fence().await;
        (native, joined)
    }

    /// Comes back over a new connection.
    pub(crate) async fn resume(self, server: &Server) -> (Self, Value) {
        let mut next = Self {
            client: Client::native_at(server.address).await,
            received: self.received,
            ticket: self.ticket,
        };
        next.say(json!({"cmd": "resume", "ticket": next.ticket, "received": next.received}))
            .await;
        let answer = next.hears().await;
        (next, answer)
    }

    pub(crate) async fn say(&mut self, frame: Value) {
        self.client.say(&frame.to_string()).await;
    }

    /// The next frame.
    pub(crate) async fn hears(&mut self) -> Value {
        let heard: Value = serde_json::from_str(&self.client.hears_text().await).unwrap();
        match heard["cmd"].as_str().unwrap() {
            "joined" => self.received = 0,
            "resumed" => {
                if let Some(sent) = heard["sent"].as_u64() {
                    self.received = sent;
                }
            }
            _ => self.received += 1,
        }
        if let Some(ticket) = heard["ticket"].as_str() {
            self.ticket = ticket.to_owned();
        }
        heard
    }

    pub(crate) async fn hears_cmd(&mut self, cmd: &str) -> Value {
        let heard = self.hears().await;
        assert_eq!(heard["cmd"], cmd, "{heard}");
        heard
    }

    /// A message of `uid` with this text, and nothing before it.
    pub(crate) async fn hears_of(&mut self, uid: &str, msg: &str) {
        let heard = self.hears().await;
        assert_eq!((&heard["uid"], &heard["msg"]), (&json!(uid), &json!(msg)));
    }

    /// The server has dealt with all that was said, pongs included.
    pub(crate) async fn fence(&mut self) {
        self.say(json!({"cmd": "ping"})).await;
        self.hears_cmd("pong").await;
    }

    pub(crate) async fn tells(&mut self, uid: &str, to: &str, msg: &str) {
        self.say(json!({"cmd": "offer", "uid": uid, "remoteUid": to, "msg": msg}))
            .await;
    }
}

#[tokio::test]
async fn a_join_is_always_answered_with_all_that_a_call_needs() {
    let server = Server::start(settings()).await;
    let (mut first, joined) = Native::joined(&server, "123", "a").await;
    assert_eq!(joined["members"], json!([]));
    assert_eq!(
        (&joined["roomId"], &joined["uid"]),
        (&json!("123"), &json!("a"))
    );
    assert_eq!(
        (&joined["capacity"], &joined["locked"]),
        (&json!(2), &json!(false))
    );
    assert_eq!(joined["pingInterval"], 20_000);
    assert_eq!(joined["resumeWindow"], 30_000);
    let turn = &joined["ice"]["iceServers"][1];
    assert_eq!(turn["urls"][0], "turn:callbox.test:3478?transport=udp");
    assert!(
        turn["username"].as_str().unwrap().contains(":123.a."),
        "{turn}"
    );

    let (mut second, joined) = Native::joined(&server, "123", "b").await;
    assert_eq!(joined["members"], json!([{"uid": "a", "polite": true}]));
    let arrived = first.hears_cmd("new-peer").await;
    assert_eq!(
        (&arrived["uid"], &arrived["polite"]),
        (&json!("b"), &json!(false))
    );

    let mut third = Native::connect(&server).await;
    third.say(json!({"cmd": "join", "roomId": "123"})).await;
    assert_eq!(third.hears_cmd("full").await["code"], "full");
    third.say(json!({"cmd": "join", "roomId": "124"})).await;
    let joined = third.hears_cmd("joined").await;
    assert_eq!(joined["uid"].as_str().unwrap().len(), 16, "one was made");
    second
        .say(json!({"cmd": "join", "roomId": "123", "uid": "b"}))
        .await;
    assert_eq!(second.hears_cmd("err-msg").await["code"], "already-joined");
}

#[tokio::test]
async fn a_message_is_carried_unchanged_and_one_without_receiver_goes_to_all() {
    let server = Server::start(settings_for(3)).await;
    let (mut a, _) = Native::joined(&server, "123", "a").await;
    let (mut b, _) = Native::joined(&server, "123", "b").await;
    let (mut c, _) = Native::joined(&server, "123", "c").await;
    for name in ["b", "c"] {
        assert_eq!(a.hears_cmd("new-peer").await["uid"], name);
    }
    b.hears_cmd("new-peer").await;
    let text = r#"{ "cmd":"x-draw","uid":"a" , "remoteUid":"c","msg":{"n":1.50} }"#;
    a.client.say(text).await;
    assert_eq!(c.client.hears_text().await, text);
    c.received += 1;
    a.say(json!({"cmd": "chat", "uid": "a", "msg": "hello"}))
        .await;
    b.hears_of("a", "hello").await;
    c.hears_of("a", "hello").await;
    a.fence().await;

    a.tells("a", "z", "x").await;
    let failed = a.hears_cmd("err-msg").await;
    assert_eq!(
        (&failed["code"], &failed["remoteUid"]),
        (&json!("no-such-member"), &json!("z"))
    );
    a.tells("b", "c", "forged").await;
    assert_eq!(a.hears_cmd("err-msg").await["code"], "not-yours");
    a.client.say("{").await;
    assert_eq!(a.hears_cmd("err-msg").await["code"], "malformed");
    let mut stranger = Native::connect(&server).await;
    stranger.tells("x", "a", "x").await;
    assert_eq!(stranger.hears_cmd("err-msg").await["code"], "not-joined");
    c.fence().await;
    b.fence().await;
}

#[tokio::test]
async fn a_client_of_the_course_and_one_of_ours_can_call_each_other() {
    let server = Server::start(settings()).await;
    let (mut ours, _) = Native::joined(&server, "123", "a").await;
    let mut course = server.client().await;
    course.join("123", "b").await;
    course.hears_cmd("resp-join", "a").await;
    ours.hears_cmd("new-peer").await;
    let offer = r#"{"cmd":"offer","roomId":"123","uid":"a","remoteUid":"b","msg":"{}"}"#;
    ours.client.say(offer).await;
    assert_eq!(course.hears_text().await, offer);
    course
        .say(r#"{"cmd":"answer","roomId":"123","uid":"b","remoteUid":"a","msg":"x"}"#)
        .await;
    ours.hears_of("b", "x").await;
    // Words that only the server says do not come from a neighbour.
    course
        .say(r#"{"cmd":"peer-away","roomId":"123","uid":"b","remoteUid":"a"}"#)
        .await;
    ours.fence().await;
    // It knows nothing of being away: it hears nothing until the seat is given up.
    drop(ours);
    server.stats_become(|now| now.away == 1).await;
    course.fence().await;
}

#[tokio::test]
async fn a_member_can_lock_the_room_and_open_it_again() {
    let server = Server::start(settings()).await;
    let (mut first, _) = Native::joined(&server, "123", "a").await;
    first.say(json!({"cmd": "lock"})).await;
    assert_eq!(first.hears_cmd("locked").await["uid"], "a");
    let mut second = Native::connect(&server).await;
    let join = json!({"cmd": "join", "roomId": "123", "uid": "b"});
    second.say(join.clone()).await;
    assert_eq!(second.hears_cmd("err-msg").await["code"], "locked");
    let mut course = server.client().await;
    course.join("123", "c").await;
    let refused =
        json!({"cmd": "err-msg", "roomId": "123", "uid": "c", "msg": "the room is locked"});
    course.hears(refused).await;
    first.say(json!({"cmd": "unlock"})).await;
    first.hears_cmd("unlocked").await;
    second.say(join).await;
    second.hears_cmd("joined").await;
}

#[tokio::test]
async fn fresh_credentials_come_before_the_old_ones_expire() {
    let server = Server::start_giving(settings(), None, Duration::from_secs(2)).await;
    let (mut client, joined) = Native::joined(&server, "123", "a").await;
    let first = joined["ice"]["expires_at"].as_u64().unwrap();
    let before = client.ticket.clone();
    let pushed = client.hears_cmd("ice-servers").await;
    assert!(pushed["ice"]["expires_at"].as_u64().unwrap() > first);
    assert_ne!(client.ticket, before);
    client.say(json!({"cmd": "ice"})).await;
    client.hears_cmd("ice-servers").await;
}

#[tokio::test]
async fn closing_with_a_word_is_leaving_and_without_one_is_not() {
    use tokio_tungstenite::tungstenite::protocol::CloseFrame;
    use tokio_tungstenite::tungstenite::protocol::frame::coding::CloseCode;

    let server = Server::start(settings()).await;
    let (mut first, _) = Native::joined(&server, "123", "a").await;
    for (code, expected) in [
        (Some(CloseCode::Away), "peer-leave"),
        (Some(CloseCode::Normal), "peer-leave"),
        (None, "peer-away"),
    ] {
        let (mut second, _) = Native::joined(&server, "123", "b").await;
        first.hears_cmd("new-peer").await;
        let frame = code.map(|code| CloseFrame {
            code,
            reason: "".into(),
        });
        second.client.socket.close(frame).await.unwrap();
        assert_eq!(first.hears_cmd(expected).await["uid"], "b");
    }
}

#[tokio::test]
async fn who_sends_too_much_is_told_with_a_code_of_its_own() {
    let server = Server::start(settings::Signaling {
        messages_per_second: 1,
        ..settings()
    })
    .await;
    let (mut client, _) = Native::joined(&server, "123", "a").await;
    let _ = client
        .client
        .say_until_refused(r#"{"cmd":"lock"}"#, 400)
        .await;
    assert_eq!(
        client.client.is_closed().await,
        (4429, "too many messages".to_owned())
    );
}

#[tokio::test]
async fn a_report_of_how_a_call_was_connected_is_counted_and_nothing_else() {
    let server = Server::start(settings()).await;
    let (mut first, _) = Native::joined(&server, "123", "a").await;
    let (mut second, _) = Native::joined(&server, "123", "b").await;
    first.hears_cmd("new-peer").await;
    let report = json!({"cmd": "report", "path": "relay", "transport": "tls"});
    first.say(report.clone()).await;
    assert_eq!(first.hears().await, json!({"cmd": "reported"}));
    first.say(json!({"cmd": "report", "path": "failed"})).await;
    assert_eq!(first.hears().await, json!({"cmd": "reported"}));
    first
        .say(json!({"cmd": "report", "path": "192.0.2.1", "transport": "udp"}))
        .await;
    assert_eq!(first.hears_cmd("err-msg").await["code"], "bad-report");

    let mut stranger = Native::connect(&server).await;
    stranger.say(report).await;
    assert_eq!(stranger.hears_cmd("err-msg").await["code"], "not-joined");

    // The other member has heard nothing of it: this is the first thing after the join.
    first.tells("a", "b", "x").await;
    assert_eq!(second.hears().await["cmd"], "offer");
    let outcomes = server.hub.stats().snapshot().outcomes;
    let counted = Outcome::ALL.iter().zip(outcomes);
    let counted: Vec<_> = counted.filter(|(_, count)| *count > 0).collect();
    assert_eq!(counted, [(&("relay", "tls"), 1), (&("failed", "none"), 1)]);
}
