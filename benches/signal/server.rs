//! The servers under load, all processes of one together on core 0.

use std::fs;
use std::io::ErrorKind;
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU16, Ordering};
use std::time::{Duration, Instant};

use anyhow::Context as _;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;

use super::common;

/// Which server.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Kind {
    Callbox,
    /// nginx for TLS, node behind it.
    Stack,
}

impl Kind {
    pub(crate) const ALL: [Self; 2] = [Self::Callbox, Self::Stack];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Callbox => "callbox",
            Self::Stack => "nginx + node",
        }
    }
}

/// A running server.
pub(crate) struct Server {
    processes: Vec<Child>,
    directory: PathBuf,
    pub(crate) address: SocketAddr,
    pub(crate) certificate: CertificateDer<'static>,
}

/// Ports of servers that ran before may linger in TIME_WAIT.
static NEXT_PORT: AtomicU16 = AtomicU16::new(23_000);

impl Server {
    pub(crate) fn start(kind: Kind, callbox: &Path) -> anyhow::Result<Self> {
        let port = NEXT_PORT.fetch_add(4, Ordering::Relaxed);
        let name = format!("callbox-bench-signal-{}-{port}", std::process::id());
        let directory = std::env::temp_dir().join(name);
        fs::create_dir_all(&directory)?;
        let made = rcgen::generate_simple_self_signed(["localhost".to_owned()])?;
        fs::write(directory.join("cert.pem"), made.cert.pem())?;
        fs::write(directory.join("key.pem"), made.signing_key.serialize_pem())?;
        let mut server = Self {
            processes: Vec::new(),
            certificate: CertificateDer::from_pem_file(directory.join("cert.pem"))?,
            directory,
            address: (Ipv4Addr::LOCALHOST, port).into(),
        };
        match kind {
            Kind::Callbox => server.callbox(callbox, port)?,
            Kind::Stack => server.stack(port)?,
        }
        Ok(server)
    }

    fn callbox(&mut self, program: &Path, port: u16) -> anyhow::Result<()> {
        let dir = self.directory.display();
        // Nobody is pinged, as in the stack. Limits that are meant for one address are off.
        let config = format!(
            "state_dir = \"{dir}/state\"\n\
             [front]\nhttps = [\"127.0.0.1:{port}\"]\nhttp = []\n\
             max_per_ip = 30000\nmax_connections = 30000\n\
             [tls]\ncert = \"{dir}/cert.pem\"\nkey = \"{dir}/key.pem\"\n\
             [signaling]\nping_interval = \"10m\"\nidle_timeout = \"20m\"\n\
             messages_per_second = 1000000\n\
             prefix_connections_per_second = 0\nprefix_messages_per_second = 0\n\
             [turn]\nlisten = [\"127.0.0.1:{}\"]\nworkers = 1\nrelay_ports = \"40000-40099\"\n",
            port + 1
        );
        let path = self.directory.join("appliance.toml");
        fs::write(&path, config)?;
        let mut command = on_core_0(program);
        command.args(["serve", "--config"]).arg(path);
        self.run(&mut command, self.address)
    }

    fn stack(&mut self, port: u16) -> anyhow::Result<()> {
        let dir = self.directory.display();
        let inner = port + 1;
        // The tutorial's, with room for as many connections as the benchmark has.
        let config = format!(
            "daemon off; worker_processes 1; pid {dir}/pid; error_log {dir}/error.log;\n\
             worker_rlimit_nofile {files};\n\
             events {{ worker_connections 65536; }}\n\
             http {{ access_log off; sendfile on; default_type application/octet-stream;\n\
             keepalive_timeout 65;\n\
             client_body_temp_path {dir}/b; proxy_temp_path {dir}/p; fastcgi_temp_path {dir}/f;\n\
             uwsgi_temp_path {dir}/u; scgi_temp_path {dir}/s;\n\
             map $http_upgrade $connection_upgrade {{ default upgrade; '' close; }}\n\
             upstream websocket {{ server 127.0.0.1:{inner}; }}\n\
             server {{ listen 127.0.0.1:{port} ssl;\n\
             ssl_certificate {dir}/cert.pem; ssl_certificate_key {dir}/key.pem;\n\
             ssl_protocols TLSv1.2 TLSv1.3;\n\
             location /ws {{ proxy_pass http://websocket; proxy_http_version 1.1;\n\
             proxy_connect_timeout 4s; proxy_read_timeout 6000s; proxy_send_timeout 6000s;\n\
             proxy_set_header Upgrade $http_upgrade;\n\
             proxy_set_header Connection $connection_upgrade; }} }} }}\n",
            files = files(),
        );
        let path = self.directory.join("nginx.conf");
        fs::write(&path, config)?;
        let script = concat!(env!("CARGO_MANIFEST_DIR"), "/benches/signal/stack.js");
        // node looks for `ws` where the script is.
        let copy = modules()?.join("stack.js");
        fs::copy(script, &copy)?;
        let mut node = on_core_0(Path::new("node"));
        node.arg(copy)
            .env("PORT", inner.to_string())
            .env("NODE_ENV", "production");
        self.run(&mut node, (Ipv4Addr::LOCALHOST, inner).into())?;
        let mut nginx = on_core_0(Path::new("nginx"));
        nginx.arg("-c").arg(path);
        self.run(&mut nginx, self.address)
    }

    /// Starts a process and waits until it listens.
    fn run(&mut self, command: &mut Command, address: SocketAddr) -> anyhow::Result<()> {
        let process = command
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .with_context(|| format!("starting {command:?}"))?;
        self.processes.push(process);
        let end = Instant::now() + Duration::from_secs(20);
        while TcpStream::connect(address).is_err() {
            anyhow::ensure!(Instant::now() < end, "{command:?} does not start");
            std::thread::sleep(Duration::from_millis(5));
        }
        Ok(())
    }

    /// Nanoseconds of processor time that all its processes have used.
    pub(crate) fn cpu(&self) -> u64 {
        self.processes.iter().map(|p| common::cpu(p.id())).sum()
    }

    /// Resident bytes of all its processes.
    pub(crate) fn resident(&self) -> u64 {
        self.processes
            .iter()
            .flat_map(|process| common::family(process.id()))
            .map(common::resident)
            .sum()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // Asked first, so that a parent ends its children.
        for process in &mut self.processes {
            let _ = Command::new("kill").arg(process.id().to_string()).status();
        }
        let end = Instant::now() + Duration::from_secs(3);
        for process in &mut self.processes {
            while matches!(process.try_wait(), Ok(None)) {
                if Instant::now() > end {
                    let _ = process.kill();
                }
                std::thread::sleep(Duration::from_millis(5));
            }
        }
        let _ = fs::remove_dir_all(&self.directory);
    }
}

fn on_core_0(program: &Path) -> Command {
    let mut command = Command::new("taskset");
    command.args(["-c", "0"]).arg(program);
    command
}

/// Files that a process may have open here; raised to what the system allows.
pub(crate) fn files() -> u64 {
    callbox::net::sys::raise_file_limit(60_000).unwrap_or(1024)
}

/// Where `ws` is installed, in the version of the lock file. Fetched once.
fn modules() -> anyhow::Result<PathBuf> {
    let directory = Path::new(env!("CARGO_TARGET_TMPDIR")).join("bench-signal");
    fs::create_dir_all(&directory)?;
    let mut changed = false;
    for name in ["package.json", "package-lock.json"] {
        let wanted = Path::new(env!("CARGO_MANIFEST_DIR"))
            .join("benches/signal")
            .join(name);
        let wanted = fs::read(wanted)?;
        let there = directory.join(name);
        match fs::read(&there) {
            Ok(bytes) if bytes == wanted => {}
            Err(error) if error.kind() != ErrorKind::NotFound => return Err(error.into()),
            _ => {
                fs::write(there, wanted)?;
                changed = true;
            }
        }
    }
    if changed || !directory.join("node_modules/ws").exists() {
        let status = Command::new("npm")
            .args(["ci", "--silent", "--no-audit", "--no-fund"])
            .current_dir(&directory)
            .status()
            .context("`ws` is installed by npm")?;
        anyhow::ensure!(status.success(), "npm could not install `ws`");
    }
    Ok(directory)
}
