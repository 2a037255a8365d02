//! What is examined: the configuration, seen from outside the process that runs it, and whether
//! such a process is there.

use std::fs;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::time::Duration;

use tokio::io::AsyncWriteExt as _;
use tokio::net::TcpStream;

use super::dial::{self, Closed};
use super::dns;
use super::remedy::Provider;
use crate::config::{Secret, Settings};
use crate::ice::Credential;
use crate::net::holder::{self, Holder, Transport};
use crate::net::{clock, interface};
use crate::state::{StateDir, StateError};

/// What is examined.
#[derive(Debug)]
pub struct Subject {
    /// The settings in force.
    pub settings: Settings,
    /// The file that they came from, for remedies.
    pub file: Option<PathBuf>,
    /// The process that runs with them.
    pub running: Option<u32>,
    /// What clients are told.
    pub advertised: Vec<IpAddr>,
    /// This machine's own addresses.
    pub local: Vec<IpAddr>,
    /// Name servers.
    pub servers: Vec<IpAddr>,
    /// Whose machine this is.
    pub provider: Option<Provider>,
    /// Whether this is a container with a network of its own.
    pub contained: bool,
    /// What TURN credentials are made of, or why that cannot be read.
    pub secret: Result<Secret, String>,
}

impl Subject {
    /// Looks at this machine. `running`: the process is this one.
    pub fn new(settings: Settings, file: Option<PathBuf>, running: Option<u32>) -> Self {
        let running = running.or_else(|| runner(&settings));
        let local = interface::local();
        Self {
            running,
            advertised: interface::advertised(&settings.external_ip)
                .iter()
                .collect(),
            contained: contained(&local),
            local,
            servers: dns::servers(),
            provider: provider(),
            secret: secret(&settings),
            settings,
            file,
        }
    }

    /// Whether an address belongs to this machine.
    pub fn is_local(&self, ip: IpAddr) -> bool {
        ip.is_loopback() || self.local.contains(&ip.to_canonical())
    }

    /// The first port of HTTPS.
    pub fn https(&self) -> Option<u16> {
        port(&self.settings.front.https)
    }

    /// The first port of plain HTTP.
    pub fn http(&self) -> Option<u16> {
        port(&self.settings.front.http)
    }

    /// The first port of TURN over UDP.
    pub fn turn_udp(&self) -> Option<u16> {
        port(&self.settings.turn.listen)
    }

    /// The port of TURN over TCP: one of its own, or that of HTTPS.
    pub fn turn_tcp(&self) -> Option<u16> {
        let own = self
            .settings
            .turn_tcp()
            .next()
            .map(|address| address.port());
        own.filter(|port| *port != 0).or_else(|| self.https())
    }

    /// The front door without leaving this machine.
    pub fn door(&self) -> Option<SocketAddr> {
        self.settings
            .front
            .https
            .first()
            .copied()
            .map(inside)
            .filter(|a| a.port() != 0)
    }

    /// TURN over UDP without leaving this machine.
    pub fn turn_inside(&self) -> Option<SocketAddr> {
        self.settings
            .turn
            .listen
            .first()
            .copied()
            .map(inside)
            .filter(|a| a.port() != 0)
    }

    /// A TCP connection to us, opened as our load balancer would where this machine counts as one.
    pub async fn connect(&self, address: SocketAddr) -> Result<TcpStream, Closed> {
        let mut stream = dial::tcp(address).await?;
        let source = stream.local_addr().map(|local| local.ip().to_canonical());
        let is_balancer = |ip| {
            let mut networks = self.settings.front.proxy_protocol.iter();
            networks.any(|network| network.contains(ip))
        };
        if self.is_local(address.ip()) && source.is_ok_and(is_balancer) {
            // Nobody else is spoken for.
            let written = stream.write_all(b"PROXY UNKNOWN\r\n").await;
            written.map_err(|error| Closed::Failed(error.to_string()))?;
        }
        Ok(stream)
    }

    /// The name that clients use, or an address.
    pub fn host(&self) -> String {
        let host = self.settings.host.first().cloned();
        host.or_else(|| self.advertised.first().map(IpAddr::to_string))
            .unwrap_or_else(|| "localhost".to_owned())
    }

    /// A TURN credential for the next minutes.
    pub fn credential(&self, id: &str) -> Option<Credential> {
        let secret = self.secret.as_ref().ok()?;
        let id = format!("doctor-{}-{id}", std::process::id());
        Some(Credential::new(
            secret,
            &id,
            clock::unix_time(),
            Duration::from_secs(600),
        ))
    }

    /// Where the settings are changed.
    pub fn file_name(&self) -> String {
        let file = self.file.as_ref();
        file.map_or_else(
            || "appliance.toml".to_owned(),
            |file| file.display().to_string(),
        )
    }
}

fn port(addresses: &[SocketAddr]) -> Option<u16> {
    addresses
        .first()
        .map(SocketAddr::port)
        .filter(|port| *port != 0)
}

/// The address by which a listener is reached from its own machine.
fn inside(listener: SocketAddr) -> SocketAddr {
    let ip = match listener.ip() {
        ip if !ip.is_unspecified() => ip,
        // `[::]` takes IPv4 too, and on a machine without IPv6 nothing else.
        IpAddr::V4(_) | IpAddr::V6(Ipv6Addr::UNSPECIFIED) => Ipv4Addr::LOCALHOST.into(),
        ip => ip,
    };
    SocketAddr::new(ip, listener.port())
}

/// The process that runs with these settings: it has the state directory, or, where nothing can be
/// written there, it is a callbox and has the port.
fn runner(settings: &Settings) -> Option<u32> {
    let lock = settings.state_dir.join("lock");
    if lock.exists() || !settings.state_dir.exists() {
        return locker(&settings.state_dir);
    }
    let https = *settings.front.https.first()?;
    holder::all(Transport::Tcp, https)
        .into_iter()
        .find_map(|holder| match holder {
            Holder::Process { pid, name, .. } if name.starts_with("callbox") => Some(pid),
            _ => None,
        })
}

/// The process that has the state directory: it has written its id into the lock.
fn locker(state_dir: &Path) -> Option<u32> {
    let pid: u32 = fs::read_to_string(state_dir.join("lock"))
        .ok()?
        .trim()
        .parse()
        .ok()?;
    let name = fs::read_to_string(format!("/proc/{pid}/comm")).ok()?;
    // Ids are used again: a shell that has this one now is not meant.
    name.trim().starts_with("callbox").then_some(pid)
}

/// Whether this is a container in a network between containers. Whoever makes one writes its name
/// and address into its hosts; with the host's network they are the host's.
fn contained(local: &[IpAddr]) -> bool {
    let markers = ["/.dockerenv", "/run/.containerenv"];
    let read = |path: &str| fs::read_to_string(path).unwrap_or_default();
    markers.iter().any(|path| Path::new(path).exists())
        && is_own_name(
            &read("/etc/hosts"),
            read("/proc/sys/kernel/hostname").trim(),
            local,
        )
}

/// Whether the name stands for one of these addresses.
fn is_own_name(hosts: &str, name: &str, local: &[IpAddr]) -> bool {
    let own = dns::in_hosts(hosts, name);
    own.iter().any(|ip| !ip.is_loopback() && local.contains(ip))
}

fn provider() -> Option<Provider> {
    let texts = [
        "sys_vendor",
        "product_name",
        "bios_vendor",
        "chassis_asset_tag",
    ];
    let texts = texts.map(|file| {
        fs::read_to_string(Path::new("/sys/class/dmi/id").join(file)).unwrap_or_default()
    });
    Provider::of_firmware(&texts.concat())
}

fn secret(settings: &Settings) -> Result<Secret, String> {
    if let Some(secret) = &settings.turn.secret {
        return Ok(secret.clone());
    }
    let read = StateDir::inspect(&settings.state_dir).and_then(|state| state.read("turn.secret"));
    match read {
        Ok(Some(text)) if !text.trim_ascii().is_empty() => Ok(Secret::new(text.trim_ascii())),
        Ok(_) => Err(format!(
            "there is none in {} yet",
            settings.state_dir.display()
        )),
        Err(StateError::Directory { path, source }) => Err(format!("{}: {source}", path.display())),
        Err(error) => Err(error.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn listeners_are_reached_from_inside_by_loopback_or_their_own_address() {
        for (listener, expected) in [
            ("[::]:443", "127.0.0.1:443"),
            ("0.0.0.0:443", "127.0.0.1:443"),
            ("192.0.2.1:443", "192.0.2.1:443"),
            ("[2001:db8::1]:443", "[2001:db8::1]:443"),
        ] {
            let listener: SocketAddr = listener.parse().unwrap();
            assert_eq!(inside(listener).to_string(), expected);
        }
    }

    #[test]
    fn a_container_of_a_bridge_network_has_its_name_in_its_hosts() {
        let local: Vec<IpAddr> = ["127.0.0.1", "172.17.0.2"]
            .map(|ip| ip.parse().unwrap())
            .into();
        let judged = |hosts| is_own_name(hosts, "c0ffee", &local);
        assert!(judged("127.0.0.1 localhost\n172.17.0.2\tc0ffee\n"));
        assert!(!judged("127.0.0.1 localhost c0ffee\n"));
        assert!(!judged("192.0.2.1 c0ffee\n"));
        assert!(!judged(""));
    }

    #[test]
    fn an_old_lock_is_nobody() {
        let directory = std::env::temp_dir().join(format!("callbox-doctor-{}", std::process::id()));
        fs::create_dir_all(&directory).unwrap();
        assert_eq!(locker(&directory), None);
        for text in ["", "x", "1\n", "4294967295\n"] {
            fs::write(directory.join("lock"), text).unwrap();
            assert_eq!(locker(&directory), None, "{text}");
        }
        fs::remove_dir_all(directory).unwrap();
    }
}
