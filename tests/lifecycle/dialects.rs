//! Rooms of every dialect, as the operator sees and ends them, and as a drain waits for them.

use std::process::Command;

use serde_json::{Value, json};

use crate::hand_over;
use crate::harness::{Course, Process, Site, until};

/// In no log and on no page.
const SECRET_NAME: &str = "wintergarden";

/// What is asked of the HTTPS port, of which the body comes back.
fn post(site: &Site, path: &str, body: &str) -> Value {
    let output = Command::new("curl")
        .args(["-sk", "--max-time", "20", "--data", body, "--resolve"])
        .arg(format!("call.example:{}:127.0.0.1", site.https))
        .arg(format!("https://call.example:{}{path}", site.https))
        .output()
        .unwrap();
    serde_json::from_slice(&output.stdout).unwrap()
}

fn say(client: &mut Course, frame: Value) {
    client.say(&frame.to_string());
}

fn hears(client: &mut Course) -> Value {
    serde_json::from_str(&client.hears().unwrap()).unwrap()
}

/// Two in a call, who have said `messages` to each other.
struct Call {
    dialect: &'static str,
    people: [Course; 2],
    messages: u64,
}

fn apprtc(site: &Site) -> Call {
    let room = SECRET_NAME;
    let join = || {
        let joined = post(site, &format!("/join/{room}"), "");
        let id = joined["params"]["client_id"].as_str().unwrap().to_owned();
        let mut socket = site.course();
        say(
            &mut socket,
            json!({"cmd": "register", "roomid": room, "clientid": id}),
        );
        say(&mut socket, json!({"cmd": "fence"}));
        assert_eq!(hears(&mut socket)["msg"], "");
        (id, socket)
    };
    let ((id, mut one), (_, mut other)) = (join(), join());
    let posted = post(site, &format!("/message/{room}/{id}"), "offer");
    assert_eq!(posted["result"], "SUCCESS");
    assert_eq!(hears(&mut other)["msg"], "offer");
    say(&mut other, json!({"cmd": "send", "msg": "answer"}));
    assert_eq!(hears(&mut one)["msg"], "answer");
    Call {
        dialect: "apprtc",
        people: [one, other],
        messages: 2,
    }
}

fn peerjs(site: &Site) -> Call {
    let enter = |id: &str| {
        let path = format!("/peerjs?key=peerjs&id={id}{SECRET_NAME}&token=t");
        let mut client = site.client_at(&path);
        assert_eq!(hears(&mut client)["type"], "OPEN");
        client
    };
    let [mut one, mut other] = ["a", "b"].map(enter);
    for (kind, from, to, name) in [
        ("OFFER", 0, 1, "b"),
        ("ANSWER", 1, 0, "a"),
        ("CANDIDATE", 0, 1, "b"),
    ] {
        let people = [&mut one, &mut other];
        let dst = format!("{name}{SECRET_NAME}");
        say(
            people[from],
            json!({"type": kind, "dst": dst, "payload": {}}),
        );
        assert_eq!(hears(people[to])["type"], kind);
    }
    Call {
        dialect: "peerjs",
        people: [one, other],
        messages: 3,
    }
}

fn topic(site: &Site) -> Call {
    let mut people = [(); 2].map(|()| {
        let mut client = site.client_at("/y");
        say(
            &mut client,
            json!({"type": "subscribe", "topics": [SECRET_NAME]}),
        );
        say(&mut client, json!({"type": "ping"}));
        assert_eq!(hears(&mut client)["type"], "pong");
        client
    });
    say(
        &mut people[0],
        json!({"type": "publish", "topic": SECRET_NAME, "data": 1}),
    );
    for client in &mut people {
        assert_eq!(hears(client)["clients"], 2);
    }
    Call {
        dialect: "y-webrtc",
        people,
        messages: 1,
    }
}

fn flutter(site: &Site) -> Call {
    let enter = |id: &str| {
        let mut client = site.client_at(&format!("/ws?room={SECRET_NAME}"));
        let data = json!({"id": id, "name": SECRET_NAME, "user_agent": ""});
        say(&mut client, json!({"type": "new", "data": data}));
        assert_eq!(hears(&mut client)["type"], "peers");
        client
    };
    let (mut one, mut other) = (enter("1"), enter("2"));
    assert_eq!(hears(&mut one)["type"], "peers");
    say(
        &mut one,
        json!({"type": "offer", "data": {"from": "1", "to": "2"}}),
    );
    assert_eq!(hears(&mut other)["type"], "offer");
    say(
        &mut other,
        json!({"type": "answer", "data": {"from": "2", "to": "1"}}),
    );
    assert_eq!(hears(&mut one)["type"], "answer");
    Call {
        dialect: "flutter",
        people: [one, other],
        messages: 2,
    }
}

fn rooms(site: &Site, query: &str) -> (Vec<Value>, Value) {
    let answer = site
        .admin(&format!("GET /sessions?only=rooms&{query}"))
        .unwrap();
    let (_, body) = answer.split_once("\r\n\r\n").unwrap();
    assert!(!body.contains(SECRET_NAME), "{body}");
    let page: Value = serde_json::from_str(body).unwrap();
    (
        page["rooms"].as_array().unwrap().clone(),
        page["next"].clone(),
    )
}

fn end(site: &Site, id: &Value) -> bool {
    let request = format!("DELETE /sessions/{}", id.as_str().unwrap());
    site.admin(&request).unwrap().starts_with("HTTP/1.0 200")
}

const DIALECTS: [fn(&Site) -> Call; 4] = [apprtc, peerjs, topic, flutter];

#[test]
fn rooms_of_every_dialect_are_seen_ended_and_told_of() {
    let site = Site::new("dialects", "", "");
    let process = site.start();
    let mut calls: Vec<_> = DIALECTS.iter().map(|call| call(&site)).collect();
    // Page by page, as well as all at once.
    let (all, _) = rooms(&site, "");
    let (mut paged, mut cursor) = (Vec::new(), Value::Null);
    loop {
        let query = cursor.as_str().map(|cursor| format!("&cursor={cursor}"));
        let (page, next) = rooms(&site, &format!("limit=3{}", query.unwrap_or_default()));
        paged.extend(page.iter().map(|room| room["id"].clone()));
        cursor = next;
        if cursor.is_null() {
            break;
        }
    }
    let ids: Vec<_> = all.iter().map(|room| room["id"].clone()).collect();
    assert_eq!(paged, ids);
    assert_eq!(ids.len(), 4);
    for call in &mut calls {
        let room = all
            .iter()
            .find(|room| room["dialect"] == call.dialect)
            .unwrap();
        assert_eq!(room["most_members"], 2, "{room}");
        assert_eq!(room["messages"], call.messages, "{room}");
        assert_eq!(room["members"].as_array().unwrap().len(), 2);
        for member in room["members"].as_array().unwrap() {
            assert_eq!(member["client"], "127.0.0.0/24", "{room}");
        }
        let [one, other] = &mut call.people;
        assert!(end(&site, &room["id"]));
        assert_eq!(
            [one.closed(), other.closed()],
            [1008, 1008],
            "{}",
            call.dialect
        );
        assert!(!end(&site, &room["id"]), "not twice");
        let line = format!("most_members=2 messages={}", call.messages);
        let said = |line_of: &str| {
            line_of.contains(&format!("room ended room={}", room["id"].as_str().unwrap()))
                && line_of.contains(&format!("dialect=\"{}\" seconds=", call.dialect))
                && line_of.contains(&line)
        };
        until(call.dialect, || process.log().lines().any(said));
    }
    assert!(rooms(&site, "").0.is_empty());
    assert!(!process.log().contains(SECRET_NAME));
    let metrics = site.admin("GET /metrics").unwrap();
    until("nobody is left", || {
        site.admin("GET /metrics")
            .unwrap()
            .contains("callbox_signaling_guests{dialect=\"flutter\"} 0")
    });
    assert!(
        metrics.contains("callbox_signaling_guest_rooms{dialect=\"y-webrtc\"} 0"),
        "{metrics}"
    );
}

#[test]
fn one_member_is_sent_away_and_the_other_one_hears_of_it() {
    let site = Site::new("member", "", "");
    let _process = site.start();
    for call in DIALECTS {
        let Call {
            people: [mut one, mut other],
            dialect,
            ..
        } = call(&site);
        let (all, _) = rooms(&site, "");
        let member = |client: usize| all[0]["members"][client]["id"].clone();
        assert!(end(&site, &member(1)));
        assert_eq!(other.closed(), 1008, "{dialect}");
        match dialect {
            "apprtc" => assert_eq!(hears(&mut one)["msg"], r#"{"type":"bye"}"#),
            "flutter" => assert_eq!(hears(&mut one)["data"].as_array().unwrap().len(), 1),
            _ => {}
        }
        assert!(!end(&site, &member(1)));
        drop(one);
        until("the room is over", || {
            rooms(&site, "")
                .0
                .iter()
                .all(|room| room["dialect"] == "apprtc")
        });
        for room in rooms(&site, "").0 {
            end(&site, &room["id"]);
        }
    }
}

#[test]
fn a_drain_waits_for_the_calls_of_every_dialect() {
    let site = Site::new("dialects-drain", "drain_timeout = '1h'", "");
    let mut process = site.start();
    let calls: Vec<_> = DIALECTS.iter().map(|call| call(&site)).collect();
    process.signal("-TERM");
    process.says("rooms=4");
    for (done, mut call) in calls.into_iter().enumerate() {
        assert!(process.is_running(), "{}", call.dialect);
        // They go on to be served.
        match call.dialect {
            "y-webrtc" => {
                let publish = json!({"type": "publish", "topic": SECRET_NAME, "data": 2});
                say(&mut call.people[0], publish);
                assert_eq!(hears(&mut call.people[1])["data"], 2);
            }
            "apprtc" => {
                say(
                    &mut call.people[0],
                    json!({"cmd": "send", "msg": r#"{"type":"bye"}"#}),
                );
                assert_eq!(hears(&mut call.people[1])["msg"], r#"{"type":"bye"}"#);
            }
            _ => {}
        }
        drop(call);
        assert!(done == 3 || process.is_running());
    }
    assert_eq!(process.ended(), Some(0));
    assert!(process.log().contains("no calls are left: stopping"));
    assert_eq!(process.log().matches("room ended").count(), 4);
}

#[test]
fn after_a_hand_over_who_is_in_no_call_is_sent_to_where_the_others_come() {
    let site = hand_over::site_with("dialects-taken-over", "drain_timeout = '300ms'");
    let sockets = hand_over::sockets(&site);
    let mut old = Process::start(&site, &sockets);
    let calls: Vec<_> = DIALECTS.iter().map(|call| call(&site)).collect();
    let mut alone = site.client_at("/peerjs?key=peerjs&id=alone&token=t");
    assert_eq!(hears(&mut alone)["type"], "OPEN");
    let _new = Process::start(&site, &sockets);
    assert_eq!(alone.closed(), 1012);
    for mut call in calls {
        let [one, other] = &mut call.people;
        match call.dialect {
            // Newcomers of the topic would not be seen from here.
            "y-webrtc" => assert_eq!([one.closed(), other.closed()], [1012; 2]),
            "apprtc" => {
                say(one, json!({"cmd": "send", "msg": "more"}));
                assert_eq!(hears(other)["msg"], "more");
            }
            "peerjs" => {
                let dst = format!("b{SECRET_NAME}");
                say(one, json!({"type": "CANDIDATE", "dst": dst, "payload": {}}));
                assert_eq!(hears(other)["type"], "CANDIDATE");
            }
            _ => {
                say(
                    one,
                    json!({"type": "candidate", "data": {"from": "1", "to": "2"}}),
                );
                assert_eq!(hears(other)["type"], "candidate");
            }
        }
        assert!(old.is_running(), "{}", call.dialect);
    }
    assert_eq!(old.ended(), Some(0));
    old.says("no calls are left: stopping");
}
