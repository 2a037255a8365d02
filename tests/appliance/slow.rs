//! Clients that take their time, or that of others: the tools that people test servers with.

use std::io::{Read as _, Write as _};
use std::net::Ipv4Addr;
use std::process::Command;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;

use super::harness::{Callbox, Program, until};

/// Attacking connections at a time; each kind leaves room for others under `max_per_ip`.
const CROWD: u64 = 120;

/// More than any of this may cost, in KiB. A tenth of what the connections could hold if they were
/// let.
const MEMORY: u64 = 96 * 1024;

fn start() -> Callbox {
    Callbox::start(
        "handshake_timeout = \"2s\"\nheader_timeout = \"2s\"\nidle_timeout = \"3s\"",
        "[web]\ndir = \"{dir}/www\"",
    )
}

/// Asks for a page over and over while something else goes on; returns how often it was served.
fn meanwhile(callbox: &Callbox, attack: impl FnOnce()) -> u64 {
    let (done, served) = (AtomicBool::new(false), AtomicU64::new(0));
    thread::scope(|scope| {
        scope.spawn(|| {
            while !done.load(Ordering::Relaxed) {
                let mut stream = callbox.tls(Ipv4Addr::new(127, 0, 0, 3), b"", &["http/1.1"]);
                let request = b"GET / HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n";
                stream.write_all(request).unwrap();
                let mut answer = Vec::new();
                stream.read_to_end(&mut answer).unwrap();
                assert!(answer.starts_with(b"HTTP/1.1 200"));
                served.fetch_add(1, Ordering::Relaxed);
            }
        });
        attack();
        // Whoever comes after the attack is served as well.
        let so_far = served.load(Ordering::Relaxed);
        until("a page after the attack", || {
            served.load(Ordering::Relaxed) > so_far
        });
        done.store(true, Ordering::Relaxed);
    });
    served.into_inner()
}

/// `slowhttptest` until it has no connection left, or for a minute.
fn slowhttptest(callbox: &Callbox, path: &str, mode: &[&str]) -> Command {
    let mut command = Command::new("slowhttptest");
    command
        .args([
            "-c",
            &CROWD.to_string(),
            "-r",
            "200",
            "-l",
            "60",
            "-p",
            "30",
        ])
        .args(["-u", &format!("https://127.0.0.1:{}{path}", callbox.port)])
        .args(mode);
    command
}

#[test]
fn slow_headers_and_slow_bodies_are_cut_and_others_are_served() {
    let callbox = start();
    let before = callbox.resident();
    for (path, mode) in [
        ("/", &["-H", "-i", "1"][..]),
        ("/ice", &["-B", "-i", "1", "-s", "100000"]),
        ("/", &["-B", "-i", "1", "-s", "100000", "-t", "PUT"]),
    ] {
        let mut said = String::new();
        let served = meanwhile(&callbox, || {
            let output = slowhttptest(&callbox, path, mode).output().unwrap();
            said = String::from_utf8_lossy(&output.stdout).into_owned();
        });
        assert!(
            said.contains("No open connections left"),
            "{mode:?}: {said}"
        );
        assert!(!said.contains("NO\u{1b}"), "{mode:?}: {said}");
        assert!(served > 1, "{mode:?}");
    }
    let grown = callbox.resident().saturating_sub(before);
    assert!(grown < MEMORY, "{grown} KiB");
}

#[test]
fn slow_readers_are_cut_and_others_are_served() {
    let callbox = start();
    let before = callbox.resident();
    // The tool itself learns of the end only once it has read what was on its way, a few bytes a
    // second: what counts is our end.
    let mode = ["-X", "-w", "1", "-y", "64", "-n", "1", "-z", "16"];
    let served = meanwhile(&callbox, || {
        let mut tool = Program::start(&mut slowhttptest(&callbox, "/large", &mode));
        let crowd = CROWD as usize;
        until("the crowd", || callbox.connections() >= crowd / 2);
        until("the crowd has gone", || callbox.connections() <= 2);
        assert!(tool.is_running(), "it gave up by itself");
    });
    assert!(served > 1);
    let cut = callbox.log().matches("late=Stalled").count() as u64;
    assert!(cut >= CROWD / 2, "{cut}");
    let grown = callbox.resident().saturating_sub(before);
    assert!(grown < MEMORY, "{grown} KiB");
}

/// A frame of HTTP/2.
fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = (payload.len() as u32).to_be_bytes();
    let mut bytes = length[1..].to_vec();
    bytes.extend([kind, flags]);
    bytes.extend(stream.to_be_bytes());
    bytes.extend(payload);
    bytes
}

#[test]
fn requests_that_are_taken_back_at_once_cost_others_nothing() {
    const PAIRS: u32 = 50_000;
    let callbox = start();
    let before = callbox.resident();
    let served = meanwhile(&callbox, || {
        thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    for _ in 0..10 {
                        let mut stream = callbox.tls(Ipv4Addr::LOCALHOST, b"", &["h2"]);
                        let mut said = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec();
                        said.extend(frame(4, 0, 0, &[]));
                        let mut pairs = 0;
                        // Nothing is read: answers are not what it is after.
                        while stream.write_all(&said).is_ok() {
                            said.clear();
                            for _ in 0..50 {
                                let number = pairs * 2 + 1;
                                let get = b"\x82\x87\x84\x41\x09localhost";
                                said.extend(frame(1, 5, number, get));
                                said.extend(frame(3, 0, number, &[0, 0, 0, 8]));
                                pairs += 1;
                            }
                            assert!(pairs < PAIRS, "nobody stops it");
                        }
                    }
                });
            }
        });
    });
    assert!(served > 0);
    let grown = callbox.resident().saturating_sub(before);
    assert!(grown < MEMORY, "{grown} KiB");
}
