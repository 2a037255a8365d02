//! Starting and ending the process: what it says, and how it exits.

#![allow(
    clippy::unwrap_used,
    reason = "helpers of tests, not only the tests, may panic"
)]

use std::fs;
use std::io::{BufRead as _, BufReader};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc::{Receiver, sync_channel};
use std::thread;
use std::time::Duration;

/// Far longer than anything here takes on a busy machine.
const PATIENCE: Duration = Duration::from_secs(60);

/// A fresh directory of this test's own.
fn directory(name: &str) -> PathBuf {
    let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("start-{name}"));
    let _ = fs::remove_dir_all(&path);
    fs::create_dir_all(&path).unwrap();
    path
}

fn callbox(directory: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_callbox"));
    command
        .current_dir(directory)
        .env_clear()
        .env("XDG_STATE_HOME", directory)
        .stdin(Stdio::null());
    command
}

/// A running callbox and the lines it prints. Ends with the test.
struct Running {
    child: Child,
    lines: Receiver<String>,
}

impl Running {
    fn start(mut command: Command) -> Self {
        let mut child = command
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let stdout = BufReader::new(child.stdout.take().unwrap());
        let (sender, lines) = sync_channel(1000);
        thread::spawn(move || {
            for line in stdout.lines().map_while(Result::ok) {
                if sender.send(line).is_err() {
                    return;
                }
            }
        });
        Self { child, lines }
    }

    /// Everything up to the line that contains the text.
    fn until(&self, text: &str) -> String {
        let mut seen = String::new();
        loop {
            let line = self.lines.recv_timeout(PATIENCE);
            let line = line.unwrap_or_else(|_| panic!("{text:?} did not come: {seen}"));
            seen.push_str(&line);
            seen.push('\n');
            if line.contains(text) {
                return seen;
            }
        }
    }

    fn signal(&self, name: &str) {
        let id = self.child.id().to_string();
        let sent = Command::new("kill").args([name, &id]).status().unwrap();
        assert!(sent.success());
    }

    /// Waits for the end: standard output closes with the process.
    fn ended(&mut self) -> ExitStatus {
        while self.lines.recv_timeout(PATIENCE).is_ok() {}
        self.child.wait().unwrap()
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The port of `https://localhost:port/`.
fn port(banner: &str) -> u16 {
    let (_, rest) = banner.split_once("https://localhost:").unwrap();
    rest.split('/').next().unwrap().parse().unwrap()
}

#[test]
fn a_try_prints_its_url_listens_and_ends_cleanly() {
    for signal in ["-INT", "-TERM"] {
        let mut command = callbox(&directory(&format!("try{signal}")));
        command.args(["try", "--port", "0"]);
        let mut running = Running::start(command);
        let banner = running.until("Ctrl-C ends");
        let port = port(&banner);
        assert!(TcpStream::connect(("127.0.0.1", port)).is_ok());
        running.signal(signal);
        assert_eq!(running.ended().code(), Some(0));
        assert!(TcpStream::connect(("127.0.0.1", port)).is_err());
    }
}

#[test]
fn the_state_of_a_try_is_private() {
    use std::os::unix::fs::PermissionsExt as _;

    let directory = directory("private");
    let mut command = callbox(&directory);
    command.args(["try", "--port", "0"]);
    let running = Running::start(command);
    running.until("Ctrl-C ends");
    let state = directory.join("callbox-try");
    let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(&state), 0o700);
    assert_eq!(mode(&state.join("turn.secret")), 0o600);
}

#[test]
fn a_port_in_use_is_one_sentence_that_names_the_holder() {
    let directory = directory("held");
    let held = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = held.local_addr().unwrap();
    let config = format!(
        "state_dir = 'state'\n[front]\nhttps = ['{address}']\nhttp = []\n\
         [turn]\nlisten = ['127.0.0.1:0']\n[log]\nlevel = 'off'\n"
    );
    fs::write(directory.join("appliance.toml"), config).unwrap();
    let output = callbox(&directory).output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    let said = String::from_utf8(output.stderr).unwrap();
    assert_eq!(said.lines().count(), 1, "{said}");
    let holder = format!("port {} (tcp) is held by ", address.port());
    assert!(said.contains(&holder), "{said}");
    assert!(
        said.contains(&format!("(pid {})", std::process::id())),
        "{said}"
    );
    assert!(said.contains("[front] https"), "{said}");
}

#[test]
fn two_of_one_state_directory_do_not_start() {
    let directory = directory("twice");
    let mut command = callbox(&directory);
    command.args(["try", "--port", "0"]);
    let running = Running::start(command);
    running.until("Ctrl-C ends");
    let second = callbox(&directory)
        .args(["try", "--port", "0"])
        .output()
        .unwrap();
    assert_eq!(second.status.code(), Some(1));
    let said = String::from_utf8(second.stderr).unwrap();
    assert!(
        said.contains(&format!("process {}", running.child.id())),
        "{said}"
    );
}

/// A configuration of its own with everything on free ports of loopback.
fn configuration(https: u16, tls: &str) -> String {
    format!(
        "state_dir = 'state'\n[front]\nhttps = ['127.0.0.1:{https}']\nhttp = []\n\
         [turn]\nlisten = ['127.0.0.1:0']\n[tls]\n{tls}\n"
    )
}

/// A port that was free a moment ago.
fn free_port() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    listener.local_addr().unwrap().port()
}

/// Runs until `wanted` holds of what it returns.
fn eventually<T: std::fmt::Debug>(mut look: impl FnMut() -> T, wanted: impl Fn(&T) -> bool) -> T {
    let (sender, patience) = sync_channel::<()>(1);
    let mut seen = look();
    for _ in 0..600 {
        if wanted(&seen) {
            return seen;
        }
        // Nobody sends: this only waits.
        let _ = patience.recv_timeout(Duration::from_millis(100));
        seen = look();
    }
    drop(sender);
    panic!("it stayed {seen:?}");
}

fn output(program: &str, arguments: &[&str]) -> String {
    let output = Command::new(program)
        .args(arguments)
        .stdin(Stdio::null())
        .output()
        .unwrap();
    String::from_utf8_lossy(&output.stdout).into_owned()
}

#[test]
fn head_is_answered_over_http2_whatever_is_asked() {
    let directory = directory("head");
    let mut command = callbox(&directory);
    command.args(["try", "--port", "0"]);
    let running = Running::start(command);
    let port = port(&running.until("Ctrl-C ends"));
    for (path, status) in [("/", "200"), ("/nothing", "404"), ("/ice", "200")] {
        let url = format!("https://localhost:{port}{path}");
        let format = "%{http_code} %{http_version} %{exitcode}";
        let answer = output(
            "curl",
            &["-skI", "--http2", "-o", "/dev/null", "-w", format, &url],
        );
        assert_eq!(answer, format!("{status} 2 0"), "{path}");
    }
}

#[test]
fn hangup_reads_the_certificate_again_and_a_broken_one_changes_nothing() {
    let directory = directory("hangup");
    let certificate = |name: &str| {
        let made = rcgen::generate_simple_self_signed(vec![name.to_owned()]).unwrap();
        fs::write(directory.join("key.pem"), made.signing_key.serialize_pem()).unwrap();
        fs::write(directory.join("cert.pem"), made.cert.pem()).unwrap();
    };
    certificate("first.example");
    let https = free_port();
    let files = "mode = 'files'\ncert = 'cert.pem'\nkey = 'key.pem'";
    fs::write(
        directory.join("appliance.toml"),
        configuration(https, files),
    )
    .unwrap();
    let mut command = callbox(&directory);
    command.arg("serve");
    let running = Running::start(command);
    let address = format!("127.0.0.1:{https}");
    let served = || {
        let chain = output("openssl", &["s_client", "-connect", &address, "-showcerts"]);
        let path = directory.join("served.pem");
        fs::write(&path, chain).unwrap();
        let path = path.to_str().unwrap();
        output(
            "openssl",
            &["x509", "-in", path, "-noout", "-ext", "subjectAltName"],
        )
    };
    eventually(&served, |names| names.contains("first.example"));
    fs::write(directory.join("cert.pem"), "nonsense").unwrap();
    running.signal("-HUP");
    eventually(&served, |names| names.contains("first.example"));
    certificate("second.example");
    running.signal("-HUP");
    eventually(&served, |names| names.contains("second.example"));
}
