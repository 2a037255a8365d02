//! Settings that change while calls go on.

use std::net::UdpSocket;
use std::process::Command;

use callbox::net::clock;

use crate::client::{Client, rest_credential};
use crate::harness::{PASSWORD, SECRET, Site, USER, pair, relays, until};

const TOP: &str = "drain_timeout = '1h'";

fn relayed(site: &Site) -> (Client, UdpSocket) {
    let (mut client, _) = Client::udp(site.turn_address()).allocated();
    let peer = UdpSocket::bind("127.0.0.1:0").unwrap();
    let answer = client.bind(0x4000, peer.local_addr().unwrap());
    assert_eq!(answer.error(), None);
    (client, peer)
}

/// Whether somebody gets an allocation; it is given back at once.
fn may_allocate(site: &Site, user: &str, password: &str) -> bool {
    let mut client = Client::udp(site.turn_address()).with((user.to_owned(), password.to_owned()));
    match client.allocate().error() {
        None => client.refresh(0).error().is_none(),
        Some(401) => false,
        Some(other) => panic!("{other}"),
    }
}

/// What a page is told.
fn fetch(site: &Site, path: &str) -> String {
    ask(site, path, &[])
}

/// What somebody who posts nothing is told.
fn post(site: &Site, path: &str) -> serde_json::Value {
    serde_json::from_str(&ask(site, path, &["--data", ""])).unwrap()
}

fn ask(site: &Site, path: &str, arguments: &[&str]) -> String {
    let output = Command::new("curl")
        .args(["-sk", "--max-time", "20"])
        .args(arguments)
        .arg("--resolve")
        .arg(format!("call.example:{}:127.0.0.1", site.https))
        .arg(format!("https://call.example:{}{path}", site.https))
        .output()
        .unwrap();
    String::from_utf8_lossy(&output.stdout).into_owned()
}

#[test]
fn a_change_of_the_file_is_seen_said_and_applied_without_a_signal() {
    let site = Site::new("seen", TOP, "");
    let process = site.start();
    assert!(may_allocate(&site, USER, PASSWORD));
    let bob = "static_users = [{ username = 'bob', password = 'a password for bob' }]";
    site.configure_turn(TOP, bob, "[log]\nlevel = 'info,callbox=debug'\n");
    process.says("changed: turn.static_users");
    process.says("changed: log.level: \"info\" -> \"info,callbox=debug\"");
    assert!(may_allocate(&site, "bob", "a password for bob"));
    assert!(!may_allocate(&site, USER, PASSWORD));
    assert!(!process.log().contains("a password"));
    site.course();
    process.says("DEBUG");
}

#[test]
fn what_cannot_be_used_changes_nothing_and_is_named() {
    let site = Site::new("broken", TOP, "");
    let mut process = site.start();
    let file = site.directory.join("appliance.toml");
    let good = std::fs::read_to_string(&file).unwrap();
    std::fs::write(&file, format!("{good}\n[web]\ncps = 'x'\n")).unwrap();
    process.signal("-HUP");
    process.says("the settings stay as they are: appliance.toml:");
    process.says("did you mean \"csp\"?");
    // The words are right here, and what they name is not there.
    std::fs::write(
        &file,
        good.replace(USER, "bob") + "\n[web]\ndir = 'nowhere'\n",
    )
    .unwrap();
    process.signal("-HUP");
    process.says("nowhere");
    assert!(may_allocate(&site, USER, PASSWORD));
    assert!(!may_allocate(&site, "bob", PASSWORD));
    std::fs::remove_file(&file).unwrap();
    std::fs::write(&file, good).unwrap();
    process.signal("-HUP");
    process.says("nothing has changed");
    assert!(process.is_running());
}

#[test]
fn what_needs_a_restart_is_said_and_the_rest_is_applied() {
    let site = Site::new("restart", TOP, "");
    let process = site.start();
    let rest = "[signaling]\nmax_rooms = 7\n[log]\nformat = 'json'\n";
    site.configure(TOP, rest);
    process.signal("-HUP");
    process.says("needs a restart: log.format: \"text\" -> \"json\"");
    process.says("changed: signaling.max_rooms: 100000 -> 7");
    assert!(!process.log().contains("{\""));
}

#[test]
fn a_new_secret_counts_at_once_and_the_old_one_for_a_while() {
    let site = Site::new("secrets", TOP, "");
    let process = site.start();
    let soon = clock::unix_time() + 600;
    let (user, password) = rest_credential(soon, "ann");
    let (mut client, _) = Client::udp(site.turn_address())
        .with((user.clone(), password.clone()))
        .allocated();
    site.configure_turn(
        TOP,
        "secret = 'another secret of tests'\ncredential_ttl = '1h'",
        "",
    );
    process.signal("-HUP");
    process.says("changed: turn.secret");
    assert!(may_allocate(&site, &user, &password));
    assert_eq!(client.refresh(600).error(), None);
    assert!(!process.log().contains(SECRET));
    let issued = fetch(&site, "/ice");
    let issued: serde_json::Value = serde_json::from_str(&issued).unwrap();
    let (user, password) = (issued["username"].as_str(), issued["password"].as_str());
    assert!(may_allocate(&site, user.unwrap(), password.unwrap()));
    assert_eq!(issued["ttl"], 3600);
    // A made-up one is still none.
    assert!(!may_allocate(&site, &format!("{soon}:eve"), "guessed"));
}

#[test]
fn pages_names_and_limits_follow_the_file() {
    let site = Site::new("pages", TOP, "");
    let process = site.start();
    let www = site.directory.join("www");
    std::fs::create_dir_all(&www).unwrap();
    std::fs::write(www.join("index.html"), "a page of the operator's").unwrap();
    assert!(fetch(&site, "/").contains("<html"));
    let top = format!("{TOP}\nhost = 'call.example'");
    site.configure(
        &top,
        "[web]\ndir = 'www'\n[tls]\nmode = 'self-signed'\n[signaling]\nroom_capacity = 3\n",
    );
    process.signal("-HUP");
    process.says("changed: web.dir");
    until("the page is the operator's", || {
        fetch(&site, "/") == "a page of the operator's"
    });
    assert!(fetch(&site, "/ice").contains("turn:call.example:"));
    let connect = format!("127.0.0.1:{}", site.https);
    let certificate = Command::new("sh")
        .args(["-c", "openssl s_client -connect \"$0\" -servername call.example </dev/null 2>/dev/null | openssl x509 -noout -ext subjectAltName"])
        .arg(connect)
        .output()
        .unwrap();
    let names = String::from_utf8_lossy(&certificate.stdout).into_owned();
    assert!(names.contains("DNS:call.example"), "{names}");
    let mut members: Vec<_> = (0..3).map(|_| site.course()).collect();
    for (number, member) in members.iter_mut().enumerate() {
        member.join("blue", &format!("m{number}"));
        until("the member is in", || {
            site.status()["signaling"]["members"].as_u64() > Some(number as u64)
        });
    }
}

/// What Collider says to somebody who has not joined.
fn stranger(site: &Site, room: &str) -> String {
    let mut socket = site.course();
    socket.say(&format!(
        r#"{{"cmd":"register","roomid":"{room}","clientid":"stranger"}}"#
    ));
    socket.say(r#"{"cmd":"fence"}"#);
    let heard: serde_json::Value = serde_json::from_str(&socket.hears().unwrap()).unwrap();
    heard["error"].as_str().unwrap().to_owned()
}

#[test]
fn who_may_come_into_apprtcs_rooms_and_into_how_many_follows_the_file() {
    let site = Site::new("apprtc", TOP, "[signaling]\nopen_collider = true\n");
    let process = site.start();
    let welcome = "Invalid message: unexpected 'cmd'";
    let unknown = "Invalid register request: no client of this room";
    assert_eq!(stranger(&site, "a"), welcome);
    let key = post(&site, "/join/one")["params"]["ice_server_url"].clone();
    assert!(key.as_str().unwrap().len() > 40);
    let passing = fetch(&site, "/params");
    let passing: serde_json::Value = serde_json::from_str(&passing).unwrap();
    let passing = passing["ice_server_url"].as_str().unwrap().to_owned();
    let (_, path) = passing.split_once("/v1alpha").unwrap();
    let path = format!("/v1alpha{path}");
    assert!(fetch(&site, &path).contains("credential"));

    site.configure(TOP, "[signaling]\nmax_rooms = 1\n");
    process.signal("-HUP");
    process.says("changed: signaling.open_collider: true -> false");
    assert!(stranger(&site, "b").starts_with(unknown));
    assert_eq!(post(&site, "/join/two")["result"], "ERROR");
    assert_eq!(
        post(&site, "/join/one")["result"],
        "SUCCESS",
        "that one is there"
    );

    site.configure(TOP, "[signaling]\nopen_collider = true\n");
    process.signal("-HUP");
    process.says("changed: signaling.open_collider: false -> true");
    assert_eq!(stranger(&site, "c"), welcome);

    // The worst that could be forgotten.
    std::fs::write(
        site.directory.join("key"),
        "a key of at least thirty-two bytes",
    )
    .unwrap();
    let strict = "[signaling]\nopen_collider = true\nauth = 'token'\ntoken_keys = ['key']\n";
    site.configure(TOP, strict);
    process.signal("-HUP");
    process.says("changed: signaling.auth");
    assert!(stranger(&site, "d").starts_with(unknown));
    assert_eq!(post(&site, "/join/three")["result"], "ERROR");
    assert!(
        !fetch(&site, &path).contains("credential"),
        "a key that anybody got"
    );
}

#[test]
fn deny_lists_and_quotas_follow_the_file() {
    let site = Site::new("limits", TOP, "");
    let process = site.start();
    let (mut before, _) = Client::udp(site.turn_address()).allocated();
    assert_eq!(before.permit("127.0.0.1".parse().unwrap()).error(), None);
    let users = format!(
        "static_users = [{{ username = '{USER}', password = '{PASSWORD}' }}]\n\
         total_quota = 1\ndeny_peers = ['127.0.0.1/32']"
    );
    site.configure_turn(TOP, &users, "");
    process.signal("-HUP");
    process.says("changed: turn.deny_peers");
    process.says("changed: turn.total_quota");
    assert_eq!(
        before.permit("127.0.0.1".parse().unwrap()).error(),
        Some(403)
    );
    let mut second = Client::udp(site.turn_address());
    assert_eq!(second.allocate().error(), Some(508));
    assert_eq!(before.refresh(0).error(), None);
    assert_eq!(second.allocate().error(), None);
}

#[test]
fn two_hundred_relays_and_two_hundred_sockets_do_not_notice() {
    let site = Site::new("crowd", TOP, "");
    let mut process = site.start();
    let mut relays_of: Vec<_> = (0..200).map(|_| relayed(&site)).collect();
    let mut calls: Vec<_> = (0..100).map(|room| pair_in(&site, room)).collect();
    let www = site.directory.join("www");
    std::fs::create_dir_all(&www).unwrap();
    std::fs::write(www.join("index.html"), "x").unwrap();
    for round in 1..=3 {
        let users = format!(
            "secret = 'the secret of round {round}'\ntotal_quota = {}\nmax_bps = {}00000000\n\
             static_users = [{{ username = '{USER}', password = '{PASSWORD}' }}]",
            1000 + round,
            round
        );
        let rest = format!(
            "[web]\ndir = 'www'\n[log]\nlevel = 'info,callbox::round{round}=debug'\n\
             [signaling]\nping_interval = '{round}9s'\n[[proxy]]\npath = '/app{round}'\nupstream = 'http://127.0.0.1:1'\n"
        );
        let host = format!("{TOP}\nhost = 'round{round}.example'");
        site.configure_turn(
            &host,
            &users,
            &format!("[tls]\nmode = 'self-signed'\n{rest}"),
        );
        process.signal("-HUP");
        process.says(&format!("callbox::round{round}=debug\""));
        process.says(&format!("names=\"round{round}.example"));
    }
    for (client, peer) in &mut relays_of {
        relays(client, peer, 0x4000);
        assert_eq!(client.refresh(600).error(), None);
    }
    for (room, (first, second)) in calls.iter_mut().enumerate() {
        let offer =
            format!(r#"{{"cmd":"offer","roomId":"{room}","uid":"a","remoteUid":"b","msg":"x"}}"#);
        first.say(&offer);
        assert_eq!(second.hears().unwrap(), offer);
    }
    let status = site.status();
    assert_eq!(status["turn"]["allocations"], 200);
    assert_eq!(status["signaling"]["members"], 200);
    assert!(process.is_running());
}

fn pair_in(site: &Site, room: usize) -> (crate::harness::Course, crate::harness::Course) {
    pair(site, &room.to_string())
}
