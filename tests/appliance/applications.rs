//! An application of the operator's behind the binary, configured as an operator would.

use std::io::{BufRead as _, BufReader};
use std::process::{Child, Command, Stdio};

use super::harness::{Callbox, free_port};

/// A small application for node.
struct Node(Child);

impl Node {
    fn start(port: u16) -> Self {
        let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/proxy/app.js");
        let mut child = Command::new("node")
            .arg(script)
            .env("PORT", port.to_string())
            .stdout(Stdio::piped())
            .spawn()
            .expect("node is needed");
        let mut line = String::new();
        let output = child.stdout.take().unwrap();
        BufReader::new(output).read_line(&mut line).unwrap();
        assert_eq!(line.trim(), port.to_string());
        Self(child)
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Body, status and version that curl got.
fn get(callbox: &Callbox, version: &str, path: &str) -> (String, String) {
    let format = "\n%{http_code} %{http_version}";
    let output = callbox.curl(&[version, "--write-out", format, &callbox.url(path)]);
    let text = String::from_utf8(output.stdout).unwrap();
    let (body, rest) = text.rsplit_once('\n').unwrap();
    (body.to_owned(), rest.to_owned())
}

#[test]
fn an_application_of_the_operators_is_reached_through_the_same_port() {
    let port = free_port();
    let callbox = Callbox::start(
        "",
        &format!(
            "[web]\ndir = \"{{dir}}/www\"\n[[proxy]]\npath = \"/app\"\n\
             upstream = \"http://localhost:{port}\"\n"
        ),
    );
    let (body, status) = get(&callbox, "--http2", "/app/");
    assert_eq!(status, "502 2");
    assert!(body.contains("not available right now"), "{body}");
    assert!(!body.contains(&port.to_string()), "{body}");
    let upstream = format!("upstream=http://localhost:{port}");
    assert!(callbox.log().contains(&upstream), "{}", callbox.log());

    let node = Node::start(port);
    for (version, expected) in [("--http2", "200 2"), ("--http1.1", "200 1.1")] {
        let (body, status) = get(&callbox, version, "/app/");
        assert_eq!(status, expected);
        assert!(body.ends_with("<p>127.0.0.1"), "{body}");
    }
    assert!(callbox.log().contains("answers again"), "{}", callbox.log());
    // The rest of the site is where it was.
    let (body, status) = get(&callbox, "--http2", "/");
    assert_eq!((&*body, &*status), ("<!doctype html>hello", "200 2"));

    drop(node);
    assert_eq!(get(&callbox, "--http1.1", "/app/").1, "502 1.1");
    let _node = Node::start(port);
    assert_eq!(get(&callbox, "--http1.1", "/app/").1, "200 1.1");
}
