//! The servers under load, each alone on core 0.

use std::fs;
use std::io::Write as _;
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU16, Ordering};
use std::time::{Duration, Instant};

use anyhow::Context as _;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;

use super::common;
use super::load::{self, Site};

/// Which server.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Kind {
    Callbox,
    /// As Debian sets it up, without the access log.
    Nginx,
    /// With open files cached, and buffers of TLS no larger than the page.
    NginxTuned,
}

impl Kind {
    pub(crate) const ALL: [Self; 3] = [Self::Callbox, Self::Nginx, Self::NginxTuned];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Callbox => "callbox",
            Self::Nginx => "nginx",
            Self::NginxTuned => "nginx, tuned",
        }
    }
}

/// A running server.
pub(crate) struct Server {
    process: Child,
    directory: PathBuf,
    pub(crate) site: Site,
}

/// Ports of servers that ran before may linger in TIME_WAIT.
static NEXT_PORT: AtomicU16 = AtomicU16::new(22_000);

impl Server {
    pub(crate) fn start(kind: Kind, callbox: &Path, page: &[u8]) -> anyhow::Result<Self> {
        let port = NEXT_PORT.fetch_add(4, Ordering::Relaxed);
        let name = format!("callbox-bench-front-{}-{port}", std::process::id());
        let directory = std::env::temp_dir().join(name);
        fs::create_dir_all(directory.join("www"))?;
        fs::write(directory.join("www/index.html"), page)?;
        let made = rcgen::generate_simple_self_signed(["localhost".to_owned()])?;
        fs::write(directory.join("cert.pem"), made.cert.pem())?;
        fs::write(directory.join("key.pem"), made.signing_key.serialize_pem())?;
        let dir = directory.display();
        let mut command = Command::new("taskset");
        command.args(["-c", "0"]);
        if kind == Kind::Callbox {
            let config = format!(
                "state_dir = \"{dir}/state\"\n\
                 [front]\nhttps = [\"127.0.0.1:{port}\"]\nhttp = []\nmax_per_ip = 20000\n\
                 [tls]\ncert = \"{dir}/cert.pem\"\nkey = \"{dir}/key.pem\"\n\
                 [turn]\nlisten = [\"127.0.0.1:{}\"]\nworkers = 1\n",
                port + 1
            );
            fs::write(directory.join("appliance.toml"), config)?;
            command.arg(callbox).args(["serve", "--config"]);
            command.arg(directory.join("appliance.toml"));
        } else {
            let tuning = match kind {
                Kind::NginxTuned => {
                    "open_file_cache max=1000 inactive=60s; open_file_cache_valid 60s;\n\
                     ssl_buffer_size 4k; output_buffers 1 8k; client_header_buffer_size 1k;\n"
                }
                _ => "",
            };
            // Connections of the others stay as well.
            let config = format!(
                "daemon off; worker_processes 1; pid {dir}/pid; error_log {dir}/error.log;\n\
                 events {{ worker_connections 1024; }}\n\
                 http {{ access_log off; sendfile on; tcp_nopush on; server_tokens off;\n\
                 types_hash_max_size 2048; default_type text/html;\n\
                 keepalive_requests 1000000000; keepalive_timeout 75s;\n{tuning}\
                 client_body_temp_path {dir}/b; proxy_temp_path {dir}/p; fastcgi_temp_path {dir}/f;\n\
                 uwsgi_temp_path {dir}/u; scgi_temp_path {dir}/s;\n\
                 server {{ listen 127.0.0.1:{port} ssl http2; root {dir}/www;\n\
                 ssl_certificate {dir}/cert.pem; ssl_certificate_key {dir}/key.pem;\n\
                 ssl_protocols TLSv1.2 TLSv1.3; ssl_prefer_server_ciphers on; }} }}\n"
            );
            fs::write(directory.join("nginx.conf"), config)?;
            command
                .args(["nginx", "-c"])
                .arg(directory.join("nginx.conf"));
        }
        let process = command
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .with_context(|| format!("starting {}", kind.name()))?;
        let address = SocketAddr::new(Ipv4Addr::LOCALHOST.into(), port);
        let certificate = CertificateDer::from_pem_file(directory.join("cert.pem"))?;
        let server = Self {
            process,
            directory,
            site: Site {
                address,
                certificate,
                page: page.len(),
            },
        };
        let end = Instant::now() + Duration::from_secs(10);
        while TcpStream::connect(address).is_err() {
            anyhow::ensure!(Instant::now() < end, "{} does not start", kind.name());
            std::thread::sleep(Duration::from_millis(5));
        }
        Ok(server)
    }

    /// Nanoseconds of processor time that all its threads and children have used.
    pub(crate) fn cpu(&self) -> u64 {
        common::cpu(self.process.id())
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // Asked first, so that a parent ends its children.
        let id = self.process.id().to_string();
        let _ = Command::new("kill").arg(id).status();
        let end = Instant::now() + Duration::from_secs(10);
        while matches!(self.process.try_wait(), Ok(None)) {
            if Instant::now() > end {
                let _ = self.process.kill();
            }
            std::thread::sleep(Duration::from_millis(5));
        }
        let _ = fs::remove_dir_all(&self.directory);
    }
}

/// Our own page as a browser gets it: compressed, some 3 KB. nginx serves the same bytes.
pub(crate) fn page(callbox: &Path) -> anyhow::Result<Vec<u8>> {
    let server = Server::start(Kind::Callbox, callbox, b"")?;
    let page = load::fetch(&server.site)?;
    std::io::stdout().flush()?;
    anyhow::ensure!(!page.is_empty(), "the page is empty");
    Ok(page)
}
