//! The servers under load, each a process of its own on core 0.

use std::fs;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, UdpSocket};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU16, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use anyhow::Context as _;

use crate::{Options, common};

pub(crate) const USER: &str = "bench";
pub(crate) const PASSWORD: &str = "bench-password";
pub(crate) const REALM: &str = "bench";

/// Which server.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Kind {
    Callbox,
    Coturn,
    Webrtc,
}

impl Kind {
    pub(crate) const ALL: [Self; 3] = [Self::Callbox, Self::Coturn, Self::Webrtc];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Callbox => "callbox",
            Self::Coturn => "coturn",
            Self::Webrtc => "webrtc-rs",
        }
    }
}

/// A running server.
pub(crate) struct Server {
    process: Child,
    pub(crate) udp: SocketAddr,
    pub(crate) tls: SocketAddr,
    directory: PathBuf,
    counter: Option<PathBuf>,
}

/// Ports of servers that ran before may linger in TIME_WAIT.
static NEXT_PORT: AtomicU16 = AtomicU16::new(21_000);

impl Server {
    pub(crate) fn start(kind: Kind, options: &Options) -> anyhow::Result<Self> {
        let port = NEXT_PORT.fetch_add(4, Ordering::Relaxed);
        let address = |port| SocketAddr::new(Ipv4Addr::LOCALHOST.into(), port);
        let directory =
            std::env::temp_dir().join(format!("callbox-bench-{}-{port}", std::process::id()));
        fs::create_dir_all(&directory)?;
        let mut command = Command::new("taskset");
        command.args(["-c", "0"]);
        match kind {
            Kind::Callbox => {
                let config = directory.join("appliance.toml");
                fs::write(&config, callbox_config(port, &directory))?;
                command
                    .arg(&options.common.callbox)
                    .args(["serve", "--config"])
                    .arg(config);
            }
            Kind::Coturn => {
                let (cert, key) = certificate(&directory)?;
                command.arg(&options.coturn).args([
                    "-n",
                    "--no-cli",
                    "--no-dtls",
                    "--no-stdout-log",
                    "--log-file=/dev/null",
                    "--allow-loopback-peers",
                    "--no-software-attribute",
                    "-a",
                    "-m",
                    "1",
                    "-L",
                    "127.0.0.1",
                    "-E",
                    "127.0.0.1",
                    "-r",
                    REALM,
                    "--min-port=30000",
                    "--max-port=60999",
                ]);
                command.arg(format!("--listening-port={port}"));
                command.arg(format!("--tls-listening-port={}", port + 1));
                command.arg(format!("--user={USER}:{PASSWORD}"));
                command.arg(format!("--cert={}", cert.display()));
                command.arg(format!("--pkey={}", key.display()));
                command.arg(format!("--pidfile={}", directory.join("pid").display()));
            }
            Kind::Webrtc => {
                command
                    .arg(std::env::current_exe()?)
                    .args(["--serve-webrtc", &port.to_string()]);
            }
        }
        let counter = if options.syscalls {
            let (library, counter) = (counting_library()?, directory.join("syscalls"));
            fs::write(&counter, [0; 8])?;
            command
                .env("LD_PRELOAD", library)
                .env("CALLBOX_SYSCALLS", &counter);
            Some(counter)
        } else {
            None
        };
        let process = command
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .with_context(|| format!("starting {}", kind.name()))?;
        let server = Self {
            process,
            udp: address(port),
            tls: address(port + 1),
            directory,
            counter,
        };
        server.wait_until_ready(kind)?;
        Ok(server)
    }

    fn wait_until_ready(&self, kind: Kind) -> anyhow::Result<()> {
        let socket = UdpSocket::bind("127.0.0.1:0")?;
        socket.set_read_timeout(Some(Duration::from_millis(50)))?;
        let binding = [
            0, 1, 0, 0, 0x21, 0x12, 0xA4, 0x42, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12,
        ];
        let deadline = Instant::now() + Duration::from_secs(10);
        let mut answer = [0; 128];
        while Instant::now() < deadline {
            let _ = socket.send_to(&binding, self.udp);
            if socket.recv_from(&mut answer).is_ok() {
                return Ok(());
            }
        }
        anyhow::bail!("{} did not answer on {}", kind.name(), self.udp)
    }

    /// Nanoseconds of processor time that all its threads have used.
    pub(crate) fn cpu(&self) -> u64 {
        common::cpu(self.process.id())
    }

    /// System calls so far, if they are counted.
    pub(crate) fn syscalls(&self) -> Option<u64> {
        let bytes = fs::read(self.counter.as_ref()?).ok()?;
        Some(u64::from_ne_bytes(bytes.try_into().ok()?))
    }

    /// How many there were for each of `packets`, since there were `before`.
    pub(crate) fn syscalls_each(
        &self,
        before: Option<u64>,
        packets: u64,
    ) -> Option<(&'static str, f64)> {
        let calls = self.syscalls()? - before?;
        Some((
            "system calls per packet",
            calls as f64 / packets.max(1) as f64,
        ))
    }

    /// Resident bytes.
    pub(crate) fn resident(&self) -> u64 {
        common::resident(self.process.id())
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
        let _ = fs::remove_dir_all(&self.directory);
    }
}

fn callbox_config(port: u16, directory: &std::path::Path) -> String {
    format!(
        r#"
external_ip = "127.0.0.1"
state_dir = "{state}"
[front]
https = ["127.0.0.1:{tls}"]
http = []
max_per_ip = 20000
[turn]
listen = ["127.0.0.1:{port}"]
realm = "{REALM}"
workers = 1
relay_ports = "30000-60999"
allow_peers = ["127.0.0.0/8"]
user_quota = 0
static_users = [{{ username = "{USER}", password = "{PASSWORD}" }}]
[log]
level = "warn"
"#,
        state = directory.join("state").display(),
        tls = port + 1,
    )
}

/// Compiles what counts system calls, once.
fn counting_library() -> anyhow::Result<&'static PathBuf> {
    static LIBRARY: OnceLock<PathBuf> = OnceLock::new();
    if let Some(library) = LIBRARY.get() {
        return Ok(library);
    }
    let source = concat!(env!("CARGO_MANIFEST_DIR"), "/benches/turn/syscalls.c");
    let name = format!("callbox-bench-{}-syscalls.so", std::process::id());
    let library = std::env::temp_dir().join(name);
    let status = Command::new("cc")
        .args(["-shared", "-fPIC", "-O2", source, "-ldl", "-o"])
        .arg(&library)
        .status()
        .context("system calls are counted by a little C; is there a compiler?")?;
    anyhow::ensure!(status.success(), "{source} could not be compiled");
    Ok(LIBRARY.get_or_init(|| library))
}

/// Removes what [`counting_library`] has made.
pub(crate) fn clean_up() {
    let name = format!("callbox-bench-{}-syscalls.so", std::process::id());
    let _ = fs::remove_file(std::env::temp_dir().join(name));
}

/// The same kind of certificate as ours: ECDSA P-256, self-signed.
fn certificate(directory: &std::path::Path) -> anyhow::Result<(PathBuf, PathBuf)> {
    let (cert, key) = (directory.join("cert.pem"), directory.join("key.pem"));
    let made = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()])?;
    fs::write(&cert, made.cert.pem())?;
    fs::write(&key, made.signing_key.serialize_pem())?;
    Ok((cert, key))
}

struct OneUser;

impl turn::auth::AuthHandler for OneUser {
    fn auth_handle(
        &self,
        username: &str,
        realm: &str,
        _: SocketAddr,
    ) -> Result<Vec<u8>, turn::Error> {
        Ok(turn::auth::generate_auth_key(username, realm, PASSWORD))
    }
}

/// Runs the webrtc-rs server until killed.
pub(crate) fn serve_webrtc(port: u16) -> anyhow::Result<()> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build()?;
    runtime.block_on(async {
        let conn = tokio::net::UdpSocket::bind(("127.0.0.1", port)).await?;
        let relay = turn::relay::relay_static::RelayAddressGeneratorStatic {
            relay_address: IpAddr::V4(Ipv4Addr::LOCALHOST),
            address: "127.0.0.1".to_owned(),
            net: Arc::new(webrtc_util::vnet::net::Net::new(None)),
        };
        let _server = turn::server::Server::new(turn::server::config::ServerConfig {
            conn_configs: vec![turn::server::config::ConnConfig {
                conn: Arc::new(conn),
                relay_addr_generator: Box::new(relay),
            }],
            realm: REALM.to_owned(),
            auth_handler: Arc::new(OneUser),
            channel_bind_timeout: Duration::ZERO,
            alloc_close_notify: None,
        })
        .await?;
        std::future::pending::<()>().await;
        Ok(())
    })
}
