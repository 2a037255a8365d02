//! Starts the binary with a configuration, and other programs beside it.

use std::fs::{self, File};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::path::PathBuf;
use std::process::{Child, Command, Output, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use callbox::net::clock;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};

/// Longer than anything here takes on a busy machine.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

/// TLS over a socket, for clients that wait.
pub(crate) type Tls = StreamOwned<ClientConnection, TcpStream>;

/// Polls until something is so. Panics with `what` when it takes too long.
pub(crate) fn until(what: &str, mut is_so: impl FnMut() -> bool) {
    let end = clock::now() + PATIENCE;
    while !is_so() {
        assert!(clock::now() < end, "waited in vain: {what}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// A port that is free on loopback for both transports and outside the range that the kernel
/// hands out by itself.
pub(crate) fn free_port() -> u16 {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    // Tests run as processes beside each other: each begins elsewhere.
    let start = std::process::id().wrapping_mul(89);
    loop {
        let step = NEXT.fetch_add(1, Ordering::Relaxed);
        let port = 12_000 + (start.wrapping_add(step) % 8_000) as u16;
        let any = SocketAddr::new(Ipv4Addr::UNSPECIFIED.into(), port);
        if UdpSocket::bind(any).is_ok() && TcpListener::bind(any).is_ok() {
            return port;
        }
    }
}

/// A running callbox with everything on one port of loopback. Ends with its owner.
pub(crate) struct Callbox {
    child: Child,
    directory: PathBuf,
    /// HTTPS and everything else.
    pub(crate) port: u16,
}

impl Callbox {
    /// `front` are further lines of `[front]`, `rest` further sections; `{dir}/www` has a page and
    /// a file of 32 MiB.
    pub(crate) fn start(front: &str, rest: &str) -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let name = format!("callbox-appliance-{}-{number}", std::process::id());
        let directory = std::env::temp_dir().join(name);
        let www = directory.join("www");
        fs::create_dir_all(&www).unwrap();
        fs::write(www.join("index.html"), "<!doctype html>hello").unwrap();
        let large = File::create(www.join("large")).unwrap();
        large.set_len(32 << 20).unwrap();
        // Another program may take a port at the last moment.
        for _ in 0..5 {
            let (port, turn) = (free_port(), free_port());
            let dir = directory.display().to_string();
            let config = format!(
                "host = [\"localhost\"]\nexternal_ip = \"127.0.0.1\"\nstate_dir = \"{dir}/state\"\n\
                 [log]\nlevel = \"callbox=debug\"\n\
                 [turn]\nlisten = [\"127.0.0.1:{turn}\"]\nallow_peers = [\"127.0.0.0/8\"]\nworkers = 1\n\
                 static_users = [{{ username = \"tester\", password = \"a password for tests\" }}]\n\
                 [front]\nhttps = [\"127.0.0.1:{port}\"]\nhttp = []\n{front}\n{rest}\n"
            );
            fs::write(
                directory.join("appliance.toml"),
                config.replace("{dir}", &dir),
            )
            .unwrap();
            let log = File::create(directory.join("log")).unwrap();
            let mut child = Command::new(env!("CARGO_BIN_EXE_callbox"))
                .args(["serve", "--config"])
                .arg(directory.join("appliance.toml"))
                .stdin(Stdio::null())
                .stdout(log.try_clone().unwrap())
                .stderr(log)
                .spawn()
                .unwrap();
            let at = SocketAddr::new(Ipv4Addr::LOCALHOST.into(), port);
            let mut ended = false;
            until("callbox listens", || {
                ended = child.try_wait().unwrap().is_some();
                ended || TcpStream::connect(at).is_ok()
            });
            let callbox = Self {
                child,
                directory: directory.clone(),
                port,
            };
            if !ended {
                return callbox;
            }
            let log = callbox.log();
            assert!(log.contains("is held by"), "callbox did not start:\n{log}");
            std::mem::forget(callbox);
        }
        panic!("no port stays free");
    }

    pub(crate) fn address(&self) -> SocketAddr {
        SocketAddr::new(Ipv4Addr::LOCALHOST.into(), self.port)
    }

    pub(crate) fn url(&self, path: &str) -> String {
        format!("https://localhost:{}{path}", self.port)
    }

    pub(crate) fn certificate(&self) -> PathBuf {
        self.directory.join("state/self-signed.crt")
    }

    pub(crate) fn log(&self) -> String {
        fs::read_to_string(self.directory.join("log")).unwrap_or_default()
    }

    /// Resident memory in KiB.
    pub(crate) fn resident(&self) -> u64 {
        let path = format!("/proc/{}/status", self.child.id());
        let status = fs::read_to_string(path).unwrap();
        let line = status.lines().find(|line| line.starts_with("VmRSS:"));
        let number = line.and_then(|line| line.split_whitespace().nth(1));
        number.unwrap().parse().unwrap()
    }

    /// Connections from 127.0.0.1 that are established, as the kernel sees them from our end.
    pub(crate) fn connections(&self) -> usize {
        let filter = format!("( sport = :{} and dst 127.0.0.1 )", self.port);
        let output = Command::new("ss")
            .args(["-Htn", "state", "established", &filter])
            .output()
            .unwrap();
        assert!(output.status.success(), "{output:?}");
        String::from_utf8(output.stdout).unwrap().lines().count()
    }

    /// A TLS connection from this address of loopback, after a few bytes in the clear.
    pub(crate) fn tls(&self, from: Ipv4Addr, before: &[u8], alpn: &[&str]) -> Tls {
        use std::io::Write as _;

        let mut socket = self.tcp(from);
        socket.write_all(before).unwrap();
        let mut roots = RootCertStore::empty();
        let certificate = CertificateDer::from_pem_file(self.certificate()).unwrap();
        roots.add(certificate).unwrap();
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let mut config = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(roots)
            .with_no_client_auth();
        config.alpn_protocols = alpn.iter().map(|name| name.as_bytes().to_vec()).collect();
        let name = ServerName::try_from("localhost").unwrap();
        StreamOwned::new(ClientConnection::new(config.into(), name).unwrap(), socket)
    }

    /// A TCP connection from this address of loopback.
    pub(crate) fn tcp(&self, from: Ipv4Addr) -> TcpStream {
        let socket = socket2::Socket::new(
            socket2::Domain::IPV4,
            socket2::Type::STREAM,
            Some(socket2::Protocol::TCP),
        )
        .unwrap();
        let from = SocketAddr::new(IpAddr::V4(from), 0);
        socket.bind(&from.into()).unwrap();
        socket.connect(&self.address().into()).unwrap();
        let stream = TcpStream::from(socket);
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream.set_write_timeout(Some(PATIENCE)).unwrap();
        stream
    }

    /// `curl` with the certificate, and these arguments.
    pub(crate) fn curl(&self, arguments: &[&str]) -> Output {
        Command::new("curl")
            .args(["--silent", "--show-error", "--max-time", "60", "--cacert"])
            .arg(self.certificate())
            .args(arguments)
            .output()
            .unwrap()
    }
}

impl Drop for Callbox {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let log = self.log();
            let lines: Vec<_> = log.lines().rev().take(30).collect();
            eprintln!("--- the last lines of callbox");
            for line in lines.iter().rev() {
                eprintln!("{line}");
            }
        }
        let _ = self.child.kill();
        let _ = self.child.wait();
        let _ = fs::remove_dir_all(&self.directory);
    }
}

/// A program that is ended with its owner.
pub(crate) struct Program(Child);

impl Program {
    pub(crate) fn start(command: &mut Command) -> Self {
        let name = command.get_program().to_string_lossy().into_owned();
        let child = command
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn();
        Self(child.unwrap_or_else(|error| panic!("{name} cannot be started: {error}")))
    }

    pub(crate) fn is_running(&mut self) -> bool {
        self.0.try_wait().unwrap().is_none()
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}
