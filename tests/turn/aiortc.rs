//! Data channels of aiortc, whose ICE and TURN are Python and share nothing with browsers': over
//! relays only, by UDP, TCP and TLS.

use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use super::harness::{Directory, PASSWORD, Run, Setup, USER, until};
use super::identity::Identity;

/// Longer than the script's own.
const LONGEST_RUN: Duration = Duration::from_secs(90);

/// A Python with what the script needs.
fn python() -> String {
    let prepare = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/turn/python/prepare");
    let output = Command::new(prepare).stdin(Stdio::null()).output().unwrap();
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{errors}");
    String::from_utf8(output.stdout).unwrap().trim().to_owned()
}

#[test]
fn aiortc_talks_through_relays_over_udp_tcp_and_tls() {
    let python = python();
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/turn/python/relay.py");
    let identity = Arc::new(Identity::new());
    let setup = Setup {
        identity: Some(identity.clone()),
        // Nothing on loopback is open: only from relay to relay there is a way.
        allow_peers: Vec::new(),
        ..Setup::default()
    };
    let callbox = setup.start();
    let directory = Directory::new();
    let trusted = directory.file("trusted.pem");
    std::fs::write(&trusted, &identity.cert).unwrap();
    let (plain, tls) = (callbox.address.port(), callbox.https.port());
    let ways = [
        ("udp", format!("turn:127.0.0.1:{plain}?transport=udp")),
        ("tcp", format!("turn:127.0.0.1:{plain}?transport=tcp")),
        ("tls", format!("turns:127.0.0.1:{tls}?transport=tcp")),
    ];
    let mut runs: Vec<_> = ways
        .iter()
        .map(|(_, url)| {
            let mut command = Command::new(&python);
            command
                .arg(&script)
                .args([url.as_str(), USER, PASSWORD])
                .env("SSL_CERT_FILE", &trusted);
            Run::start(&directory, url.clone(), &mut command)
        })
        .collect();
    for run in &mut runs {
        let (code, output) = run.finish(LONGEST_RUN);
        assert_eq!(code, Some(0), "{}:\n{output}", run.name());
    }
    for (transport, url) in ways {
        let count = |event: &str| {
            let transport = format!("transport=\"{transport}\"");
            let log = callbox.log();
            let lines = log.lines();
            lines
                .filter(|line| line.contains(event) && line.contains(&transport))
                .count()
        };
        assert_eq!(count("relay allocated"), 2, "{url}");
        until("it releases its relays", || count("relay ended") == 2);
    }
}

#[test]
fn aiortc_does_not_trust_a_certificate_that_nobody_vouches_for() {
    // Otherwise the test above would prove nothing about ours.
    let callbox = Setup::default().start();
    let directory = Directory::new();
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/turn/python/relay.py");
    let url = format!("turns:127.0.0.1:{}?transport=tcp", callbox.https.port());
    let mut command = Command::new(python());
    command
        .arg(script)
        .args([url.as_str(), USER, PASSWORD])
        .env("CALLBOX_TEST_PATIENCE", "3");
    let mut run = Run::start(&directory, url, &mut command);
    let (code, output) = run.finish(LONGEST_RUN);
    assert_ne!(code, Some(0), "{output}");
    assert!(!callbox.log().contains("relay allocated"));
}
