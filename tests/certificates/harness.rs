//! Starts the binary with a configuration, and asks it.

use std::fs::{self, File};
use std::io::{Read as _, Write as _};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use callbox::net::clock;
use serde_json::Value;

/// Longer than anything here takes on a busy machine.
pub(crate) const PATIENCE: Duration = Duration::from_secs(90);

/// Polls until something is there. Panics with `what` when it takes too long.
pub(crate) fn until<T>(what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    let end = clock::now() + PATIENCE;
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(clock::now() < end, "waited in vain: {what}");
        std::thread::sleep(Duration::from_millis(50));
    }
}

/// A port that is free on loopback for both transports and outside the range that the kernel
/// hands out by itself.
pub(crate) fn free_port() -> u16 {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    // Tests run as processes beside each other: each begins elsewhere.
    let start = std::process::id().wrapping_mul(97);
    loop {
        let step = NEXT.fetch_add(1, Ordering::Relaxed);
        let port = 21_000 + (start.wrapping_add(step) % 8_000) as u16;
        let any = SocketAddr::new(Ipv4Addr::UNSPECIFIED.into(), port);
        if UdpSocket::bind(any).is_ok() && TcpListener::bind(any).is_ok() {
            return port;
        }
    }
}

/// A directory of this test's own.
pub(crate) fn scratch(name: &str) -> PathBuf {
    let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("certificates-{name}"));
    let _ = fs::remove_dir_all(&path);
    fs::create_dir_all(&path).unwrap();
    path
}

/// Where callbox listens.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Ports {
    pub(crate) https: u16,
    pub(crate) http: u16,
    admin: u16,
    turn: u16,
}

impl Ports {
    pub(crate) fn new() -> Self {
        Self {
            https: free_port(),
            http: free_port(),
            admin: free_port(),
            turn: free_port(),
        }
    }
}

/// A running callbox. Ends with its owner.
pub(crate) struct Callbox {
    child: Option<Child>,
    directory: PathBuf,
    pub(crate) ports: Ports,
}

impl Callbox {
    /// `top` are lines before the sections, `tls` lines of `[tls]`.
    pub(crate) fn start(directory: &Path, ports: Ports, top: &str, tls: &str) -> Self {
        Self::start_with(directory, ports, top, "", tls)
    }

    /// The same, with further lines of `[front]`.
    pub(crate) fn start_with(
        directory: &Path,
        ports: Ports,
        top: &str,
        front: &str,
        tls: &str,
    ) -> Self {
        configure(directory, ports, top, front, tls);
        let mut callbox = Self {
            child: None,
            directory: directory.to_owned(),
            ports,
        };
        callbox.begin();
        callbox
    }

    fn begin(&mut self) {
        let log = File::options()
            .create(true)
            .append(true)
            .open(self.directory.join("log"))
            .unwrap();
        let child = self.command().arg("serve").stderr(log).spawn().unwrap();
        self.child = Some(child);
        until("callbox answers", || {
            let ended = self.child.as_mut().unwrap().try_wait().unwrap();
            assert!(ended.is_none(), "callbox ended: {}", self.log());
            self.ask("/healthz")
        });
    }

    fn command(&self) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_callbox"));
        command
            .current_dir(&self.directory)
            .env_clear()
            .stdin(Stdio::null())
            .stdout(Stdio::null());
        command
    }

    pub(crate) fn restart(&mut self) {
        self.end();
        self.begin();
    }

    pub(crate) fn check(&self) -> String {
        let command = &mut self.command();
        let output = command.arg("check").stdout(Stdio::piped()).output();
        String::from_utf8(output.unwrap().stdout).unwrap()
    }

    pub(crate) fn hangup(&self) {
        let id = self.child.as_ref().unwrap().id().to_string();
        let sent = Command::new("kill").args(["-HUP", &id]).status().unwrap();
        assert!(sent.success());
    }

    pub(crate) fn log(&self) -> String {
        fs::read_to_string(self.directory.join("log")).unwrap_or_default()
    }

    /// What the admin listener says.
    pub(crate) fn ask(&self, path: &str) -> Option<String> {
        let mut stream = TcpStream::connect(("127.0.0.1", self.ports.admin)).ok()?;
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        let request = format!("GET {path} HTTP/1.0\r\nHost: localhost\r\n\r\n");
        stream.write_all(request.as_bytes()).ok()?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer).ok()?;
        let (_, body) = answer.split_once("\r\n\r\n")?;
        Some(body.to_owned())
    }

    /// `certificate` in `/readyz`.
    pub(crate) fn status(&self) -> Value {
        let body = self.ask("/readyz").unwrap();
        let whole: Value = serde_json::from_str(&body).unwrap();
        whole["certificate"].clone()
    }

    /// Waits until the status is as wanted.
    pub(crate) fn until_status(&self, what: &str, wanted: impl Fn(&Value) -> bool) -> Value {
        until(&format!("{what}\n{}", self.log()), || {
            let status = self.status();
            wanted(&status).then_some(status)
        })
    }

    /// What a start says that fails.
    pub(crate) fn refused(directory: &Path, top: &str, tls: &str) -> String {
        configure(directory, Ports::new(), top, "", tls);
        let callbox = Self {
            child: None,
            directory: directory.to_owned(),
            ports: Ports::new(),
        };
        let output = callbox.command().arg("serve").output().unwrap();
        assert_eq!(output.status.code(), Some(1), "{output:?}");
        String::from_utf8(output.stderr).unwrap()
    }

    fn end(&mut self) {
        if let Some(mut child) = self.child.take() {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

fn configure(directory: &Path, ports: Ports, top: &str, front: &str, tls: &str) {
    let Ports {
        https,
        http,
        admin,
        turn,
    } = ports;
    let config = format!(
        "{top}\nexternal_ip = '127.0.0.1'\nstate_dir = 'state'\n\
         [front]\nhttps = ['127.0.0.1:{https}']\nhttp = ['127.0.0.1:{http}']\n{front}\n\
         [turn]\nlisten = ['127.0.0.1:{turn}']\nworkers = 1\n\
         static_users = [{{ username = 'tester', password = 'a password for tests' }}]\n\
         [admin]\nlisten = '127.0.0.1:{admin}'\n[tls]\n{tls}\n"
    );
    fs::write(directory.join("appliance.toml"), config).unwrap();
}

impl Drop for Callbox {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("--- callbox\n{}", self.log());
        }
        self.end();
    }
}
