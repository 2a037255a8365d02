//! The admin listener of a real process: metrics, health, drain.

#![allow(
    clippy::unwrap_used,
    reason = "helpers of tests, not only the tests, may panic"
)]

use std::collections::BTreeMap;
use std::fs;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{TcpListener, TcpStream, UdpSocket};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::Duration;

use callbox::net::clock;

/// Far longer than anything here takes on a busy machine.
const PATIENCE: Duration = Duration::from_secs(60);

/// A running appliance with an admin listener.
struct Appliance {
    child: Child,
    directory: PathBuf,
    admin: u16,
    turn: u16,
}

impl Appliance {
    fn start(name: &str, admin: &str) -> Self {
        let directory = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("admin-{name}"));
        let _ = fs::remove_dir_all(&directory);
        fs::create_dir_all(&directory).unwrap();
        fs::write(directory.join("token"), "open sesame\n").unwrap();
        // Two ports that were free a moment ago.
        let free = || {
            let held = TcpListener::bind("127.0.0.1:0").unwrap();
            held.local_addr().unwrap().port()
        };
        let (port, turn) = (free(), free());
        let config = format!(
            "state_dir = 'state'\n[front]\nhttps = ['127.0.0.1:0']\nhttp = []\n\
             [turn]\nlisten = ['127.0.0.1:{turn}']\n[admin]\nlisten = '127.0.0.1:{port}'\n{admin}"
        );
        fs::write(directory.join("appliance.toml"), config).unwrap();
        let mut child = command(&directory)
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let lines = BufReader::new(child.stderr.take().unwrap()).lines();
        let mut appliance = Self {
            child,
            directory,
            admin: port,
            turn,
        };
        let mut seen = Vec::new();
        for line in lines.map_while(Result::ok) {
            if line.contains("ready") {
                return appliance;
            }
            seen.push(line);
        }
        panic!("{:?}: {seen:?}", appliance.child.wait());
    }

    fn ask(&self, request: &str) -> String {
        let mut stream = TcpStream::connect(("127.0.0.1", self.admin)).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream.write_all(request.as_bytes()).unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        answer
    }

    fn get(&self, path: &str) -> String {
        self.ask(&format!("GET {path} HTTP/1.0\r\nHost: localhost\r\n\r\n"))
    }

    fn healthcheck(&self) -> Output {
        self.run("healthcheck")
    }

    fn run(&self, subcommand: &str) -> Output {
        let mut command = command(&self.directory);
        command.arg(subcommand).output().unwrap()
    }
}

impl Drop for Appliance {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn command(directory: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_callbox"));
    command
        .current_dir(directory)
        .env_clear()
        .stdin(Stdio::null());
    command
}

/// Nobody reads the log any more once [`Appliance::start`] has seen that it is ready, so all of
/// these show, too, that a log without a reader ends nothing.
#[test]
fn an_appliance_whose_log_nobody_reads_ends_cleanly() {
    let mut appliance = Appliance::start("unread", "");
    let id = appliance.child.id().to_string();
    assert!(Command::new("kill").arg(id).status().unwrap().success());
    assert_eq!(appliance.child.wait().unwrap().code(), Some(0));
}

/// Families of a page: name, type, and names of the labels.
fn families(page: &str) -> BTreeMap<String, (String, String)> {
    let mut families = BTreeMap::new();
    for line in page.lines() {
        if let Some(rest) = line.strip_prefix("# TYPE ") {
            let (name, kind) = rest.split_once(' ').unwrap();
            families.insert(name.to_owned(), (kind.to_owned(), String::new()));
        } else if let Some((name, rest)) = line.split_once('{') {
            let labels: Vec<&str> = rest
                .split_once('}')
                .unwrap()
                .0
                .split(',')
                .map(|label| label.split_once('=').unwrap().0)
                .collect();
            families.get_mut(name).unwrap().1 = labels.join(", ");
        }
    }
    families
}

/// The same of the table in the documentation.
fn documented() -> BTreeMap<String, (String, String)> {
    let text = fs::read_to_string("docs/metrics.md").unwrap();
    text.lines()
        .filter_map(|line| line.strip_prefix("| `callbox_"))
        .map(|line| {
            let cells: Vec<&str> = line.split('|').map(str::trim).collect();
            let name = format!("callbox_{}", cells[0].trim_end_matches('`'));
            let labels = cells[2].replace('`', "");
            (name, (cells[1].to_owned(), labels))
        })
        .collect()
}

#[test]
fn the_metrics_are_those_of_the_documentation() {
    let appliance = Appliance::start("metrics", "");
    let answer = appliance.get("/metrics");
    assert!(answer.starts_with("HTTP/1.0 200"), "{answer}");
    assert_eq!(families(&answer), documented());
}

#[test]
fn what_happens_is_counted() {
    let appliance = Appliance::start("counted", "");
    let client = UdpSocket::bind("127.0.0.1:0").unwrap();
    client.set_read_timeout(Some(PATIENCE)).unwrap();
    client.connect(("127.0.0.1", appliance.turn)).unwrap();
    let binding = b"\x00\x01\x00\x00\x21\x12\xa4\x42countedcount";
    client.send(binding).unwrap();
    client.recv(&mut [0; 128]).unwrap();
    let counted = "callbox_turn_answers_total{method=\"binding\",code=\"success\"} 1";
    let end = clock::now() + PATIENCE;
    // Workers show their counters when they wake up.
    while !appliance.get("/metrics").contains(counted) {
        assert!(clock::now() < end);
        client.send(binding[..1].as_ref()).unwrap();
    }
}

#[test]
fn a_ready_appliance_is_healthy_and_a_stopped_one_is_not() {
    let mut appliance = Appliance::start("healthy", "");
    let status = appliance.get("/readyz");
    assert!(status.starts_with("HTTP/1.0 200"), "{status}");
    assert!(status.contains("\"ready\": true"), "{status}");
    assert_eq!(appliance.healthcheck().status.code(), Some(0));
    appliance.child.kill().unwrap();
    appliance.child.wait().unwrap();
    let output = appliance.healthcheck();
    assert_eq!(output.status.code(), Some(1));
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(said.contains("is `callbox serve` running here?"), "{said}");
}

#[test]
fn whoever_else_answers_is_not_taken_for_the_appliance() {
    let mut appliance = Appliance::start("other", "");
    appliance.child.kill().unwrap();
    appliance.child.wait().unwrap();
    let other = TcpListener::bind(("127.0.0.1", appliance.admin)).unwrap();
    let answering = std::thread::spawn(move || {
        let (mut stream, _) = other.accept().unwrap();
        let _ = stream.read(&mut [0; 1024]).unwrap();
        stream.write_all(b"HTTP/1.0 200 OK\r\n\r\nfine").unwrap();
    });
    let output = appliance.healthcheck();
    answering.join().unwrap();
    assert_eq!(output.status.code(), Some(1));
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(said.contains("is not callbox"), "{said}");
}

#[test]
fn a_drain_is_asked_for_by_post_and_ends_the_process() {
    let mut appliance = Appliance::start("drain", "");
    assert!(appliance.get("/drain").starts_with("HTTP/1.0 405"));
    let foreign = appliance
        .ask("POST /drain HTTP/1.0\r\nHost: localhost\r\nOrigin: https://evil.example\r\n\r\n");
    assert!(foreign.starts_with("HTTP/1.0 403"), "{foreign}");
    let answer = appliance.ask("POST /drain HTTP/1.0\r\nHost: localhost\r\n\r\n");
    assert!(answer.starts_with("HTTP/1.0 202"), "{answer}");
    assert_eq!(appliance.child.wait().unwrap().code(), Some(0));
}

#[test]
fn the_drain_command_returns_when_the_appliance_has_ended() {
    let mut appliance = Appliance::start("drained", "token_file = 'token'");
    let output = appliance.run("drain");
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    assert!(TcpStream::connect(("127.0.0.1", appliance.admin)).is_err());
    assert_eq!(appliance.child.wait().unwrap().code(), Some(0));
    // Nobody is left to be drained.
    let output = appliance.run("drain");
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(said.contains("nobody answers at 127.0.0.1:"), "{said}");
}

#[test]
fn with_a_token_nobody_is_answered_without_it() {
    let appliance = Appliance::start("token", "token_file = 'token'\n");
    let refused = appliance.get("/metrics");
    assert!(refused.starts_with("HTTP/1.0 401"), "{refused}");
    let given = appliance
        .ask("GET /metrics HTTP/1.0\r\nAuthorization: Bearer open sesame\r\nHost: name\r\n\r\n");
    assert!(given.starts_with("HTTP/1.0 200"), "{given}");
    assert_eq!(appliance.healthcheck().status.code(), Some(0));
}

#[test]
fn an_address_that_others_can_reach_needs_a_token() {
    let directory = Path::new(env!("CARGO_TARGET_TMPDIR")).join("admin-public");
    fs::create_dir_all(&directory).unwrap();
    let output = command(&directory)
        .arg("check")
        .env("CALLBOX_ADMIN__LISTEN", "0.0.0.0:9090")
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(2));
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(said.contains("admin.token_file"), "{said}");
}

#[test]
fn the_dashboard_is_a_page_of_its_own_files_under_a_strict_policy() {
    let appliance = Appliance::start("dashboard", "");
    let get = |path: &str, accept: &str| {
        appliance.ask(&format!(
            "GET {path} HTTP/1.0\r\nHost: localhost\r\nAccept: {accept}\r\n\r\n"
        ))
    };
    let page = get("/", "text/html,*/*;q=0.8");
    assert!(page.starts_with("HTTP/1.0 200"), "{page}");
    for part in [
        "content-security-policy: default-src 'none'; script-src 'self'",
        "frame-ancestors 'none'",
        "x-content-type-options: nosniff",
        "dashboard.js",
    ] {
        assert!(page.contains(part), "{part}: {page}");
    }
    for file in ["/dashboard.js", "/dashboard.css", "/texts.js"] {
        assert!(get(file, "*/*").starts_with("HTTP/1.0 200"), "{file}");
    }
    let list = get("/", "*/*");
    assert!(list.contains("DELETE /sessions/{id}"), "{list}");
    let rebound =
        appliance.ask("GET / HTTP/1.0\r\nHost: evil.example\r\nAccept: text/html\r\n\r\n");
    assert!(rebound.starts_with("HTTP/1.0 403"), "{rebound}");
}

#[test]
fn the_dashboard_asks_for_the_token_and_what_it_shows_needs_it() {
    let appliance = Appliance::start("locked", "token_file = 'token'\n");
    let page = appliance.ask("GET / HTTP/1.0\r\nHost: panel.example\r\nAccept: text/html\r\n\r\n");
    assert!(page.contains("id=\"token\""), "{page}");
    for path in ["/sessions", "/metrics", "/readyz"] {
        let refused = appliance.get(path);
        assert!(refused.starts_with("HTTP/1.0 401"), "{path}: {refused}");
    }
    let refused = appliance.ask("DELETE /sessions/a0-0-0 HTTP/1.0\r\nHost: localhost\r\n\r\n");
    assert!(refused.starts_with("HTTP/1.0 401"), "{refused}");
}

#[test]
fn sessions_are_ended_by_name_and_by_nobody_elses_page() {
    let appliance = Appliance::start("sessions", "");
    let empty = appliance.get("/sessions");
    for part in ["\"allocations\": []", "\"rooms\": []", "\"next\": null"] {
        assert!(empty.contains(part), "{empty}");
    }
    let delete = |id: &str, origin: &str| {
        appliance.ask(&format!(
            "DELETE /sessions/{id} HTTP/1.0\r\nHost: 127.0.0.1:1\r\n{origin}\r\n"
        ))
    };
    for id in [
        "a0-0-00000000",
        "a9-0-0",
        "r0000000000000000",
        "m0000000000000000",
        "x",
        "",
    ] {
        let answer = delete(id, "");
        assert!(answer.starts_with("HTTP/1.0 404"), "{id}: {answer}");
    }
    let foreign = delete("a0-0-0", "Origin: https://evil.example\r\n");
    assert!(foreign.starts_with("HTTP/1.0 403"), "{foreign}");
    let own = delete("a0-0-0", "Origin: http://127.0.0.1:1\r\n");
    assert!(own.starts_with("HTTP/1.0 404"), "{own}");
    let wrong = appliance.get("/sessions?limit=1000");
    assert!(wrong.starts_with("HTTP/1.0 400"), "{wrong}");
}
