//! Allocations as the operator sees them: listed, ended, and in the log.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};

use serde_json::Value;

use super::client::{Client, rest_credential};
use super::datagrams::Echo;
use super::harness::{Callbox, LOCALHOST, PATIENCE, Setup, free_port, until};

/// A callbox with an admin listener.
struct Site {
    callbox: Callbox,
    admin: SocketAddr,
}

impl Site {
    fn start(turn: &str, log: &str) -> Self {
        let admin = SocketAddr::new(LOCALHOST, free_port());
        let setup = Setup {
            turn: format!("{turn}\n[admin]\nlisten = \"{admin}\"\n"),
            log: log.to_owned(),
            ..Setup::default()
        };
        Self {
            callbox: setup.start(),
            admin,
        }
    }

    /// The status and the body of an answer.
    fn ask(&self, method: &str, path: &str) -> (u16, String) {
        let mut stream = TcpStream::connect(self.admin).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        write!(
            stream,
            "{method} {path} HTTP/1.0\r\nHost: localhost\r\n\r\n"
        )
        .unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        let (head, body) = answer.split_once("\r\n\r\n").unwrap();
        let status = head.split(' ').nth(1).unwrap().parse().unwrap();
        (status, body.to_owned())
    }

    fn page(&self, query: &str) -> Value {
        let (status, body) = self.ask("GET", &format!("/sessions{query}"));
        assert_eq!(status, 200, "{body}");
        serde_json::from_str(&body).unwrap()
    }

    fn udp(&self) -> Client {
        Client::udp(self.callbox.address).allocated().0
    }

    /// Lines of the log that have all of these in them.
    fn lines(&self, words: &[&str]) -> Vec<String> {
        let log = self.callbox.log();
        log.lines()
            .filter(|line| words.iter().all(|word| line.contains(word)))
            .map(str::to_owned)
            .collect()
    }
}

#[test]
fn an_allocation_is_listed_with_its_traffic_and_ends_when_the_operator_says_so() {
    let site = Site::start("", "");
    let echo = Echo::start("127.0.0.1");
    let mut client = site.udp();
    client.bind(0x4001, echo.address);
    for _ in 0..3 {
        client.say(0x4001, b"twelve bytes");
        client.hears();
    }
    let page = site.page("");
    assert_eq!(page["next"], Value::Null);
    let [session] = page["allocations"].as_array().unwrap().as_slice() else {
        panic!("{page}");
    };
    assert_eq!(session["client"], "127.0.0.0/24");
    assert_eq!(session["transport"], "udp");
    assert_eq!(session["user"], Value::Null, "names are private");
    assert_eq!(
        (&session["permissions"], &session["channels"]),
        (&1.into(), &1.into())
    );
    for way in ["sent", "received"] {
        assert_eq!(session[way]["packets"], 3, "{session}");
        assert_eq!(session[way]["bytes"], 36, "{session}");
    }
    let path = format!("/sessions/{}", session["id"].as_str().unwrap());
    assert_eq!(site.ask("GET", &path).0, 405);
    assert_eq!(site.ask("DELETE", &path).0, 200);
    assert_eq!(client.refresh(600).error(), Some(437), "it is no more");
    assert_eq!(site.ask("DELETE", &path).0, 404, "not twice");
    assert_eq!(site.page("")["allocations"], Value::Array(Vec::new()));
    let ended = "callbox_turn_allocations_ended_total{reason=\"operator\"} 1";
    until("it is counted", || {
        // The worker shows its numbers when it wakes up.
        client.refresh(600);
        site.ask("GET", "/metrics").1.contains(ended)
    });
}

#[test]
fn pages_follow_each_other_over_all_workers_until_there_is_no_next() {
    let site = Site::start("workers = 2", "");
    let clients: Vec<Client> = (0..7).map(|_| site.udp()).collect();
    let mut seen = Vec::new();
    let mut query = "?limit=2".to_owned();
    loop {
        let page = site.page(&query);
        let found = page["allocations"].as_array().unwrap();
        assert!(found.len() <= 2);
        seen.extend(found.iter().map(|it| it["id"].as_str().unwrap().to_owned()));
        match page["next"].as_str() {
            Some(next) => query = format!("?limit=2&cursor={next}"),
            None => break,
        }
    }
    seen.sort();
    seen.dedup();
    assert_eq!(seen.len(), clients.len());
    assert_eq!(
        site.page("?only=rooms")["allocations"],
        Value::Array(Vec::new())
    );
    for wrong in [
        "?limit=0",
        "?limit=501",
        "?cursor=x",
        "?only=rooms&cursor=a0-0",
        "?page=1",
    ] {
        assert_eq!(
            site.ask("GET", &format!("/sessions{wrong}")).0,
            400,
            "{wrong}"
        );
    }
}

#[test]
fn the_line_at_the_end_of_an_allocation_says_what_it_was_and_not_whose() {
    let site = Site::start("", "");
    let mut client = Client::tcp(site.callbox.address)
        .with(rest_credential(4_000_000_000, "room.member"))
        .allocated()
        .0;
    assert_eq!(client.refresh(0).error(), None);
    until("the end is told", || {
        site.lines(&["relay ended"]).len() == 1
    });
    let line = site.lines(&["relay ended"]).remove(0);
    for word in [
        "callbox::session",
        "client=127.0.0.0/24",
        "transport=\"tcp\"",
        "reason=\"released\"",
        "seconds=",
        "sent_packets=0",
        "received_bytes=0",
    ] {
        assert!(line.contains(word), "{word}: {line}");
    }
    let log = site.callbox.log();
    for secret in ["room.member", "127.0.0.1:", "4000000000"] {
        let told = log.lines().find(|line| {
            line.contains(secret) && !line.contains("ready") && !line.contains("listen")
        });
        assert_eq!(told, None, "{secret}");
    }
}

#[test]
fn without_privacy_the_line_has_the_address_and_the_user_and_as_json_it_can_be_read() {
    let site = Site::start("", "privacy = false\nformat = \"json\"");
    let mut client = Client::udp(site.callbox.address)
        .with(rest_credential(4_000_000_000, "room.member"))
        .allocated()
        .0;
    let page = site.page("");
    assert_eq!(page["allocations"][0]["user"], "room.member");
    let id = page["allocations"][0]["id"].clone();
    client.refresh(0);
    until("the end is told", || {
        site.lines(&["relay ended"]).len() == 1
    });
    let line: Value = serde_json::from_str(&site.lines(&["relay ended"])[0]).unwrap();
    assert_eq!(line["target"], "callbox::session");
    assert_eq!(line["allocation"], id);
    assert_eq!(line["user"], "room.member");
    assert!(line["client"].as_str().unwrap().starts_with("127.0.0.1:"));
    assert!(line["seconds"].as_f64().unwrap() >= 0.0);
    let begun: Value = serde_json::from_str(&site.lines(&["relay allocated"])[0]).unwrap();
    assert_eq!(begun["span"]["id"], id, "within the span of the allocation");
}

#[test]
fn a_flood_of_wrong_passwords_is_one_line_in_the_log() {
    let site = Site::start("", "");
    let wrong = ("tester".to_owned(), "guess".to_owned());
    let mut client = Client::udp(site.callbox.address).with(wrong);
    let tries = 400;
    for _ in 0..tries {
        assert_eq!(client.allocate().error(), Some(401));
    }
    let told = ["401 (wrong credentials) from 127.0.0.0/24 x "];
    until("the window is over", || !site.lines(&told).is_empty());
    // A window ends in between when the machine is slow.
    let lines = site.lines(&told);
    assert!(lines.len() <= 3, "{lines:#?}");
    let log = site.callbox.log();
    assert!(log.lines().count() < 60, "{log}");
    assert!(
        lines[0].contains(" s") && lines[0].contains("count="),
        "{lines:?}"
    );
}
