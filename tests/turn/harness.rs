//! Starts programs, waits until they answer, and ends them: callbox, and others beside it.

use std::collections::HashSet;
use std::fs::{self, File};
use std::io::Read as _;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use callbox::net::clock;
use callbox::turn::stun::{Class, Method, TransactionId, Writer};

use super::identity::Identity;

/// Longer than anything here takes on a busy machine.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);

/// How long silence is listened to before it counts as such.
pub(crate) const SILENCE: Duration = Duration::from_millis(300);

pub(crate) const LOCALHOST: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);

/// A user with a fixed password.
pub(crate) const USER: &str = "tester";
/// Its password.
pub(crate) const PASSWORD: &str = "a password for tests";
/// Secret of the credentials that expire.
pub(crate) const SECRET: &str = "a shared secret for tests";

/// Polls until something is so. Panics with `what` when it takes too long.
pub(crate) fn until(what: &str, mut is_so: impl FnMut() -> bool) {
    let end = clock::now() + PATIENCE;
    while !is_so() {
        assert!(clock::now() < end, "waited in vain: {what}");
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// A program that ends with its owner.
#[derive(Debug)]
pub(crate) struct Process(Child);

impl Process {
    pub(crate) fn start(command: &mut Command, output: &Path) -> Self {
        let file = File::create(output).unwrap();
        let child = command
            .stdin(Stdio::null())
            .stdout(file.try_clone().unwrap())
            .stderr(file)
            .spawn();
        let name = command.get_program().to_string_lossy().into_owned();
        Self(child.unwrap_or_else(|error| panic!("{name} cannot be started: {error}")))
    }

    pub(crate) fn id(&self) -> u32 {
        self.0.id()
    }

    /// The exit code, once there is one; `None` also stands for a signal.
    pub(crate) fn ended(&mut self) -> Option<Option<i32>> {
        self.0.try_wait().unwrap().map(|status| status.code())
    }

    pub(crate) fn is_running(&mut self) -> bool {
        self.ended().is_none()
    }

    pub(crate) fn kill(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.kill();
    }
}

/// A directory that is removed with its owner.
#[derive(Debug)]
pub(crate) struct Directory(PathBuf);

impl Directory {
    pub(crate) fn new() -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let name = format!("callbox-turn-{}-{number}", std::process::id());
        let path = std::env::temp_dir().join(name);
        fs::create_dir(&path).unwrap();
        Self(path)
    }

    pub(crate) fn file(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }
}

impl Drop for Directory {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// A port that is free on loopback for both transports and outside the range that the kernel
/// hands out by itself, so that nobody takes it until it is bound.
pub(crate) fn free_port() -> u16 {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    // Tests run as processes beside each other: each begins elsewhere.
    let start = std::process::id().wrapping_mul(97);
    loop {
        let step = NEXT.fetch_add(1, Ordering::Relaxed);
        let port = 20_000 + (start.wrapping_add(step) % 10_000) as u16;
        let any = SocketAddr::new(Ipv4Addr::UNSPECIFIED.into(), port);
        if UdpSocket::bind(any).is_ok() && TcpListener::bind(any).is_ok() {
            return port;
        }
    }
}

/// Relay ports for callbox and for coturn, in no test that runs at the same time: a reserved port
/// must not be another server's by the time its token comes.
pub(crate) fn relay_ports() -> [std::ops::RangeInclusive<u16>; 2] {
    const SLICES: u16 = 4;
    const HALF: u16 = 565;
    // nextest numbers the tests that run together.
    let slot = std::env::var("NEXTEST_TEST_GLOBAL_SLOT").ok();
    let slot = slot.and_then(|slot| slot.parse::<u16>().ok());
    let slot = slot.unwrap_or_else(|| std::process::id() as u16) % SLICES;
    let first = 61_000 + slot * 2 * HALF;
    [first, first + HALF].map(|first| first..=first + HALF - 1)
}

/// What a test wants to be different.
#[derive(Clone, Debug)]
pub(crate) struct Setup {
    /// Addresses that listen, all with the same ports.
    pub(crate) listen: Vec<&'static str>,
    pub(crate) external_ip: Vec<&'static str>,
    /// Networks on which peers may be.
    pub(crate) allow_peers: Vec<&'static str>,
    /// Whether each address listens on a second port as well.
    pub(crate) two_ports: bool,
    /// Whether TURN has the UDP side of the HTTPS port as well.
    pub(crate) beside_https: bool,
    /// Further lines of `[turn]`.
    pub(crate) turn: String,
    /// Further lines of `[log]`.
    pub(crate) log: String,
    /// Its certificate; without, it makes one itself.
    pub(crate) identity: Option<Arc<Identity>>,
}

impl Default for Setup {
    fn default() -> Self {
        Self {
            listen: vec!["127.0.0.1"],
            external_ip: vec!["127.0.0.1"],
            allow_peers: vec!["127.0.0.0/8", "::1/128"],
            two_ports: false,
            beside_https: false,
            turn: String::new(),
            log: String::new(),
            identity: None,
        }
    }
}

impl Setup {
    /// Further lines of `[turn]`.
    pub(crate) fn turn(mut self, lines: &str) -> Self {
        self.turn = lines.to_owned();
        self
    }

    fn config(&self, directory: &Directory, port: u16, second: u16, https: u16) -> String {
        let strings = |items: &[&str]| items.iter().map(|i| (*i).to_owned()).collect::<Vec<_>>();
        let list = |items: &[String]| {
            let quoted: Vec<_> = items.iter().map(|i| format!("\"{i}\"")).collect();
            format!("[{}]", quoted.join(", "))
        };
        let workers = match self.turn.contains("workers") {
            true => "",
            false => "workers = 1\n",
        };
        let [relays, _] = relay_ports();
        let tls = match &self.identity {
            None => String::new(),
            Some(identity) => {
                let (cert, key) = (directory.file("cert.pem"), directory.file("key.pem"));
                fs::write(&cert, &identity.cert).unwrap();
                fs::write(&key, &identity.key).unwrap();
                format!(
                    "[tls]\ncert = \"{}\"\nkey = \"{}\"\n",
                    cert.display(),
                    key.display()
                )
            }
        };
        let mut listen = self
            .listen
            .iter()
            .map(|ip| format!("{ip}:{port}"))
            .collect::<Vec<_>>();
        if self.two_ports {
            listen.extend(self.listen.iter().map(|ip| format!("{ip}:{second}")));
        }
        if self.beside_https {
            listen.push(format!("127.0.0.1:{https}"));
        }
        format!(
            "external_ip = {}\nstate_dir = \"{}\"\n\
             [log]\nlevel = \"debug\"\n{}\n\
             [front]\nhttps = [\"127.0.0.1:{https}\"]\nhttp = []\n\
             [turn]\nlisten = {}\nallow_peers = {}\nrelay_ports = \"{}-{}\"\n\
             secret = \"{SECRET}\"\n\
             static_users = [{{ username = \"{USER}\", password = \"{PASSWORD}\" }}]\n{workers}{}\n{tls}",
            list(&strings(&self.external_ip)),
            directory.file("state").display(),
            self.log,
            list(&listen),
            list(&strings(&self.allow_peers)),
            relays.start(),
            relays.end(),
            self.turn,
        )
    }

    pub(crate) fn start(&self) -> Callbox {
        Callbox::start(self, Directory::new())
    }
}

/// A running callbox.
#[derive(Debug)]
pub(crate) struct Callbox {
    process: Process,
    directory: Option<Directory>,
    /// UDP and TCP.
    pub(crate) address: SocketAddr,
    /// The second port, where there is one.
    pub(crate) second: SocketAddr,
    /// TLS, and HTTPS beside it.
    pub(crate) https: SocketAddr,
}

impl Callbox {
    /// Starts it on the state that an earlier one has left in `directory`, if any.
    pub(crate) fn start(setup: &Setup, directory: Directory) -> Self {
        // Another program may take a port at the last moment.
        for _ in 0..5 {
            let (port, second, https) = (free_port(), free_port(), free_port());
            let config = directory.file("appliance.toml");
            fs::write(&config, setup.config(&directory, port, second, https)).unwrap();
            // Another build of it, for measurements.
            let program = std::env::var_os("CALLBOX_BIN");
            let program = program.unwrap_or_else(|| env!("CARGO_BIN_EXE_callbox").into());
            let mut command = Command::new(program);
            command.arg("serve").arg("--config").arg(&config);
            let mut process = Process::start(&mut command, &directory.file("log"));
            let at = |port| SocketAddr::new(LOCALHOST, port);
            let ask = match setup.listen.first() {
                None => at(https),
                Some(ip) if !ip.contains("0.0.0.0") && !ip.contains("[::]") => {
                    SocketAddr::new(ip.trim_matches(['[', ']']).parse().unwrap(), port)
                }
                _ => at(port),
            };
            let mut answers = false;
            until("callbox starts", || {
                answers = process.is_running() && answers_binding(ask);
                answers || !process.is_running()
            });
            if answers {
                until("the front door opens", || {
                    TcpStream::connect(at(https)).is_ok()
                });
                return Self {
                    process,
                    directory: Some(directory),
                    address: at(port),
                    second: at(second),
                    https: at(https),
                };
            }
            let log = fs::read_to_string(directory.file("log")).unwrap_or_default();
            assert!(log.contains("in use"), "callbox did not start:\n{log}");
        }
        panic!("no port stays free");
    }

    /// Ends it; what it leaves behind.
    pub(crate) fn stop(mut self) -> Directory {
        self.process.kill();
        self.directory.take().unwrap()
    }

    pub(crate) fn is_running(&mut self) -> bool {
        self.process.is_running()
    }

    /// Resident memory in KiB.
    pub(crate) fn resident(&self) -> u64 {
        let path = format!("/proc/{}/status", self.process.id());
        let status = fs::read_to_string(path).unwrap();
        let line = status.lines().find(|line| line.starts_with("VmRSS:"));
        let number = line.and_then(|line| line.split_whitespace().nth(1));
        number.unwrap().parse().unwrap()
    }

    /// How many descriptors it has open.
    pub(crate) fn open_files(&self) -> usize {
        let path = format!("/proc/{}/fd", self.process.id());
        fs::read_dir(path).unwrap().count()
    }

    /// UDP sockets that it has open besides those that listen.
    pub(crate) fn relay_sockets(&self) -> usize {
        let fds = fs::read_dir(format!("/proc/{}/fd", self.process.id())).unwrap();
        let own: HashSet<String> = fds
            .filter_map(|fd| fs::read_link(fd.ok()?.path()).ok())
            .filter_map(|to| {
                let to = to.to_str()?.strip_prefix("socket:[")?;
                Some(to.trim_end_matches(']').to_owned())
            })
            .collect();
        let table = ["udp", "udp6"]
            .map(|name| fs::read_to_string(format!("/proc/net/{name}")).unwrap_or_default())
            .concat();
        let listens = format!(":{:04X}", self.address.port());
        table
            .lines()
            .map(|line| line.split_whitespace().collect::<Vec<_>>())
            .filter(|columns| {
                let (Some(local), Some(inode)) = (columns.get(1), columns.get(9)) else {
                    return false;
                };
                own.contains(*inode) && !local.ends_with(&listens)
            })
            .count()
    }

    pub(crate) fn log(&self) -> String {
        let directory = self.directory.as_ref().unwrap();
        fs::read_to_string(directory.file("log")).unwrap_or_default()
    }
}

impl Drop for Callbox {
    fn drop(&mut self) {
        if std::thread::panicking() && self.directory.is_some() {
            let log = self.log();
            let lines: Vec<_> = log.lines().rev().take(30).collect();
            eprintln!("--- the last lines of callbox");
            for line in lines.iter().rev() {
                eprintln!("{line}");
            }
        }
    }
}

/// Whether a STUN server is there.
pub(crate) fn answers_binding(server: SocketAddr) -> bool {
    let ip: IpAddr = match server {
        SocketAddr::V4(_) => LOCALHOST,
        SocketAddr::V6(_) => "::1".parse().unwrap(),
    };
    let socket = UdpSocket::bind((ip, 0)).unwrap();
    let timeout = Some(Duration::from_millis(200));
    socket.set_read_timeout(timeout).unwrap();
    let mut bytes = [0; 64];
    let id = TransactionId([9; 12]);
    let len = Writer::new(&mut bytes, Class::Request, Method::BINDING, id)
        .finish()
        .unwrap();
    let sent = socket.send_to(&bytes[..len], server).is_ok();
    sent && socket.recv_from(&mut [0; 512]).is_ok()
}

/// A command that runs to its end beside others.
#[derive(Debug)]
pub(crate) struct Run {
    name: String,
    process: Process,
    output: PathBuf,
    started: Instant,
}

impl Run {
    pub(crate) fn start(directory: &Directory, name: String, command: &mut Command) -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let output = directory.file(&format!("run-{number}"));
        Self {
            name,
            process: Process::start(command, &output),
            output,
            started: clock::now(),
        }
    }

    /// The exit code and the output; `None` if it had to be killed at the end of `patience`.
    pub(crate) fn finish(&mut self, patience: Duration) -> (Option<i32>, String) {
        let end = clock::now() + patience;
        let code = loop {
            if let Some(code) = self.process.ended() {
                break code;
            }
            if clock::now() >= end {
                self.process.kill();
                break None;
            }
            std::thread::sleep(Duration::from_millis(20));
        };
        let mut text = String::new();
        let mut file = File::open(&self.output).unwrap();
        let _ = file.read_to_string(&mut text);
        (code, text)
    }

    /// Whether it has ended, and well.
    pub(crate) fn has_succeeded(&mut self) -> bool {
        self.process.ended() == Some(Some(0))
    }

    pub(crate) fn age(&self) -> Duration {
        self.started.elapsed()
    }

    pub(crate) fn name(&self) -> &str {
        &self.name
    }
}
