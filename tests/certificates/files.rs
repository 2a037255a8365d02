//! Files that change, by themselves and behind links.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::process::Command;

use super::harness::{Callbox, Ports, scratch};

const FILES: &str = "mode = 'files'\ncert = 'live/cert.pem'\nkey = 'live/key.pem'\n";

/// A directory with a pair.
fn pair(directory: &Path, name: &str) {
    fs::create_dir_all(directory).unwrap();
    let made = rcgen::generate_simple_self_signed([name.to_owned()]).unwrap();
    fs::write(directory.join("cert.pem"), made.cert.pem()).unwrap();
    fs::write(directory.join("key.pem"), made.signing_key.serialize_pem()).unwrap();
}

#[test]
fn a_link_that_leads_elsewhere_is_followed_and_a_broken_pair_changes_nothing() {
    let directory = scratch("files");
    pair(&directory.join("1"), "first.example");
    pair(&directory.join("2"), "second.example");
    symlink("1", directory.join("live")).unwrap();
    let callbox = Callbox::start(&directory, Ports::new(), "", FILES);
    let names = |status: &serde_json::Value| status["names"].to_string();
    assert_eq!(names(&callbox.status()), "[\"first.example\"]");

    // As Kubernetes does it.
    symlink("2", directory.join("next")).unwrap();
    fs::rename(directory.join("next"), directory.join("live")).unwrap();
    callbox.until_status("the second", |status| names(status).contains("second"));

    let complaints = || callbox.log().matches("the old certificate is kept").count();
    fs::write(directory.join("2/cert.pem"), "nonsense").unwrap();
    let status = callbox.until_status("a complaint", |s| s["last_error"].is_string());
    assert!(names(&status).contains("second"), "{status}");
    assert_eq!(complaints(), 1);
    pair(&directory.join("2"), "third.example");
    callbox.until_status("the third", |status| {
        names(status).contains("third") && status["last_error"].is_null()
    });
    assert_eq!(complaints(), 1);
}

#[test]
fn browsers_are_told_to_come_back_by_https_only_where_that_locks_nobody_out() {
    let directory = scratch("strict");
    pair(&directory.join("live"), "localhost");
    let own = "mode = 'self-signed'\n";
    for (hsts, tls, expected) in [
        ("on", FILES, true),
        // Nobody vouches for this one.
        ("auto", FILES, false),
        ("off", FILES, false),
        ("on", own, false),
    ] {
        let front = format!("hsts = '{hsts}'");
        let ports = Ports::new();
        let _callbox = Callbox::start_with(&directory, ports, "", &front, tls);
        let headers = |url: String| {
            let output = Command::new("curl").args(["-skI", &url]).output().unwrap();
            String::from_utf8(output.stdout).unwrap()
        };
        let secure = headers(format!("https://localhost:{}/", ports.https));
        assert!(secure.contains(" 200"), "{secure}");
        let sent = secure.contains("strict-transport-security: max-age=31536000");
        assert_eq!(sent, expected, "{hsts} {tls}");
        // RFC 6797 section 7.2
        let plain = headers(format!("http://localhost:{}/", ports.http));
        assert!(plain.contains(" 308"), "{plain}");
        assert!(!plain.contains("strict-transport"), "{plain}");
    }
}
