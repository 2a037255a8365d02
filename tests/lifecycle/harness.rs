//! Starts the binary as a service manager would, and talks to it.

use std::fs::{self, File};
use std::io::{Read as _, Write as _};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use callbox::net::clock;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;
use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};
use serde_json::Value;
use tokio_tungstenite::tungstenite::{self, Message, WebSocket};

use crate::client::Client;

/// Longer than anything here takes on a busy machine.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);
/// Long enough to believe that nothing comes.
pub(crate) const SILENCE: Duration = Duration::from_millis(300);
pub(crate) const SECRET: &str = "a secret between tests";
pub(crate) const USER: &str = "ann";
pub(crate) const PASSWORD: &str = "a password for ann";

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
    let start = std::process::id().wrapping_mul(97);
    loop {
        let step = NEXT.fetch_add(1, Ordering::Relaxed);
        let port = 20_000 + (start.wrapping_add(step) % 8_000) as u16;
        let any = SocketAddr::new(Ipv4Addr::UNSPECIFIED.into(), port);
        if UdpSocket::bind(any).is_ok() && TcpListener::bind(any).is_ok() {
            return port;
        }
    }
}

/// What is configured, and where it lives.
#[derive(Debug)]
pub(crate) struct Site {
    pub(crate) directory: PathBuf,
    /// Where HTTPS and TURN listen.
    pub(crate) ip: IpAddr,
    pub(crate) https: u16,
    pub(crate) turn: u16,
    pub(crate) admin: u16,
}

impl Site {
    /// `top` are further lines before the sections, `rest` further sections.
    pub(crate) fn new(name: &str, top: &str, rest: &str) -> Self {
        let directory = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("lifecycle-{name}"));
        let _ = fs::remove_dir_all(&directory);
        fs::create_dir_all(&directory).unwrap();
        let site = Self {
            directory,
            ip: Ipv4Addr::LOCALHOST.into(),
            https: free_port(),
            turn: free_port(),
            admin: free_port(),
        };
        site.configure(top, rest);
        site
    }

    pub(crate) fn configure(&self, top: &str, rest: &str) {
        let users = format!(
            "secret = '{SECRET}'\nstatic_users = [{{ username = '{USER}', password = '{PASSWORD}' }}]"
        );
        self.configure_turn(top, &users, rest);
    }

    /// With other secrets, users and limits of `[turn]`.
    pub(crate) fn configure_turn(&self, top: &str, users: &str, rest: &str) {
        let Self {
            ip,
            https,
            turn,
            admin,
            ..
        } = self;
        let (https, turn) = (SocketAddr::new(*ip, *https), SocketAddr::new(*ip, *turn));
        // The range of relay ports is each test's own, as far as process ids tell them apart.
        let first = 30_000 + (std::process::id() % 500) * 4;
        let config = format!(
            "state_dir = 'state'\n{top}\n[front]\nhttps = ['{https}']\nhttp = []\n\
             [admin]\nlisten = '127.0.0.1:{admin}'\n\
             [turn]\nlisten = ['{turn}']\nrelay_ports = '{first}-{}'\nworkers = 2\n\
             user_quota = 0\nallow_peers = ['127.0.0.0/8']\n{users}\n{rest}",
            first + 300
        );
        // Whole or not at all: somebody may be watching.
        let fresh = self.directory.join("appliance.toml.new");
        fs::write(&fresh, config).unwrap();
        fs::rename(&fresh, self.directory.join("appliance.toml")).unwrap();
    }

    pub(crate) fn turn_address(&self) -> SocketAddr {
        SocketAddr::from((Ipv4Addr::LOCALHOST, self.turn))
    }

    /// What the admin listener answers.
    pub(crate) fn admin(&self, request: &str) -> std::io::Result<String> {
        let mut stream = TcpStream::connect(("127.0.0.1", self.admin))?;
        stream.set_read_timeout(Some(PATIENCE))?;
        write!(stream, "{request} HTTP/1.0\r\nHost: localhost\r\n\r\n")?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer)?;
        Ok(answer)
    }

    pub(crate) fn status(&self) -> Value {
        let answer = self.admin("GET /readyz").unwrap();
        let (_, body) = answer.split_once("\r\n\r\n").unwrap();
        serde_json::from_str(body).unwrap()
    }

    /// A TLS connection to HTTPS.
    pub(crate) fn tls(&self) -> StreamOwned<ClientConnection, TcpStream> {
        let stream = TcpStream::connect(("127.0.0.1", self.https)).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        let name = "localhost".try_into().unwrap();
        StreamOwned::new(ClientConnection::new(self.trust(), name).unwrap(), stream)
    }

    /// A course client over wss.
    pub(crate) fn course(&self) -> Course {
        self.client_at("/ws")
    }

    /// A client over wss that asks for this path.
    pub(crate) fn client_at(&self, path: &str) -> Course {
        let url = format!("wss://localhost{path}");
        let (socket, _) = tungstenite::client(url, self.tls()).unwrap();
        Course { socket }
    }

    /// Trusts the certificate that the appliance has made for itself, and no other.
    pub(crate) fn trust(&self) -> Arc<ClientConfig> {
        let mut roots = RootCertStore::empty();
        let file = self.directory.join("state/self-signed.crt");
        roots
            .add(CertificateDer::from_pem_file(file).unwrap())
            .unwrap();
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let config = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(roots)
            .with_no_client_auth();
        Arc::new(config)
    }

    pub(crate) fn start(&self) -> Process {
        Process::start(self, &[])
    }
}

/// A running appliance. Ends with the test.
#[derive(Debug)]
pub(crate) struct Process {
    pub(crate) child: Child,
    log: PathBuf,
}

impl Process {
    /// With up to three sockets that the service manager has bound.
    pub(crate) fn start(site: &Site, inherited: &[OwnedFd]) -> Self {
        Self::start_with(site, inherited, &[])
    }

    pub(crate) fn start_with(
        site: &Site,
        inherited: &[OwnedFd],
        environment: &[(&str, &str)],
    ) -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let log = site.directory.join(format!("log.{number}"));
        let is_apart = environment.iter().any(|(name, _)| *name == "BEFORE");
        let mut command = match is_apart {
            // What is mounted before is seen by this process only.
            true => {
                let mut command = Command::new("unshare");
                command.args(["-m", "sh"]);
                command
            }
            false => Command::new("sh"),
        };
        command
            .current_dir(&site.directory)
            .env_clear()
            .env("PATH", std::env::var_os("PATH").unwrap())
            .env("CALLBOX", env!("CARGO_BIN_EXE_callbox"))
            .env("LOG", &log)
            .envs(environment.iter().copied());
        let stdio = |at: usize| match inherited.get(at) {
            Some(socket) => Stdio::from(socket.try_clone().unwrap()),
            None => Stdio::null(),
        };
        command.stdin(stdio(0)).stdout(stdio(1)).stderr(stdio(2));
        // The three standard descriptors are the only ones that a child can be given here; the
        // shell moves them to where a service manager puts sockets.
        let script = match inherited.len() {
            0 => "eval \"$BEFORE\"; exec \"$CALLBOX\" serve 2>\"$LOG\"".to_owned(),
            count => format!(
                "exec 3<&0 4<&1 5<&2 </dev/null >/dev/null 2>\"$LOG\"; \
                 export LISTEN_FDS={count} LISTEN_PID=$$; exec \"$CALLBOX\" serve"
            ),
        };
        let child = command.args(["-c", &script]).spawn().unwrap();
        let mut process = Self { child, log };
        until("the appliance is ready", || {
            let log = process.log();
            assert!(process.is_running(), "{log}");
            log.contains(" ready ")
        });
        process
    }

    pub(crate) fn log(&self) -> String {
        fs::read_to_string(&self.log).unwrap_or_default()
    }

    pub(crate) fn is_running(&mut self) -> bool {
        self.child.try_wait().unwrap().is_none()
    }

    pub(crate) fn signal(&self, name: &str) {
        let id = self.child.id().to_string();
        let sent = Command::new("kill").args([name, &id]).status().unwrap();
        assert!(sent.success());
    }

    /// Waits for its end by itself.
    pub(crate) fn ended(&mut self) -> Option<i32> {
        until("the appliance ends", || !self.is_running());
        self.child.wait().unwrap().code()
    }

    pub(crate) fn says(&self, text: &str) {
        until(text, || self.log().contains(text));
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        if std::thread::panicking() {
            // What the appliance said is half of the answer to what went wrong.
            let _ = File::open(&self.log)
                .map(|mut log| std::io::copy(&mut log, &mut std::io::stderr()));
        }
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A page of the tutorial's, as far as the server can see.
pub(crate) struct Course {
    socket: WebSocket<StreamOwned<ClientConnection, TcpStream>>,
}

impl Course {
    pub(crate) fn say(&mut self, text: &str) {
        self.socket.send(Message::text(text)).unwrap();
    }

    pub(crate) fn join(&mut self, room: &str, uid: &str) {
        self.say(&format!(
            r#"{{"cmd":"join","roomId":"{room}","uid":"{uid}"}}"#
        ));
    }

    /// The next text, or why there is none.
    pub(crate) fn hears(&mut self) -> Result<String, tungstenite::Error> {
        loop {
            if let Message::Text(text) = self.socket.read()? {
                return Ok(text.to_string());
            }
        }
    }
}

impl Course {
    /// The code with which the server ends the connection.
    pub(crate) fn closed(&mut self) -> u16 {
        loop {
            match self.socket.read().unwrap() {
                Message::Close(Some(frame)) => return frame.code.into(),
                Message::Close(None) => panic!("without a code"),
                _ => {}
            }
        }
    }
}

/// Two course clients in one room.
pub(crate) fn pair(site: &Site, room: &str) -> (Course, Course) {
    let (mut first, mut second) = (site.course(), site.course());
    let members = || site.status()["signaling"]["members"].as_u64();
    let before = members();
    first.join(room, "a");
    // Whoever joins second hears of the first.
    until("the first has joined", || members() > before);
    second.join(room, "b");
    assert!(second.hears().unwrap().contains("resp-join"));
    assert!(first.hears().unwrap().contains("new-peer"));
    (first, second)
}

/// Sends through the relay to a socket of the test's and back.
pub(crate) fn relays(client: &mut Client, peer: &UdpSocket, channel: u16) {
    peer.set_read_timeout(Some(Duration::from_millis(500)))
        .unwrap();
    let end = clock::now() + PATIENCE;
    let mut buffer = [0; 100];
    loop {
        // Datagrams may be lost, here too.
        assert!(clock::now() < end, "nothing comes through the relay");
        client.say(channel, b"there");
        if let Ok((length, relay)) = peer.recv_from(&mut buffer) {
            assert_eq!(&buffer[..length], b"there");
            peer.send_to(b"back", relay).unwrap();
            if let Some(heard) = client.hears_until(clock::now() + Duration::from_millis(500)) {
                assert_eq!(heard.payload(), b"back");
                return;
            }
        }
    }
}
