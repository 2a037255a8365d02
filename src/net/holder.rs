//! Who holds a port: the kernel's socket tables joined with the descriptors of processes.
//!
//! Only for error messages. Reads `/proc`, sees what this user may see, and knows nothing more
//! than that when it may see nothing.

use std::collections::HashSet;
use std::fmt;
use std::fs;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};

/// The transport whose table is searched.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Transport {
    /// Listening TCP sockets.
    Tcp,
    /// Bound UDP sockets.
    Udp,
}

impl fmt::Display for Transport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Tcp => "tcp",
            Self::Udp => "udp",
        })
    }
}

/// A process that holds a port, as far as it is known.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Holder {
    /// A process we may look into.
    Process {
        /// Its id.
        pid: u32,
        /// Its short name.
        name: String,
        /// The systemd unit it belongs to.
        unit: Option<String>,
    },
    /// A process of another user.
    Hidden {
        /// Whose.
        uid: u32,
    },
}

impl fmt::Display for Holder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Process { pid, name, .. } => write!(f, "{name} (pid {pid})"),
            Self::Hidden { uid } => write!(f, "a process of user {uid}"),
        }
    }
}

impl Holder {
    /// The command that frees the port, or that at least names the holder.
    pub fn remedy(&self) -> String {
        match self {
            Self::Process {
                unit: Some(unit), ..
            } => format!("stop it with `systemctl stop {unit}`"),
            Self::Process { pid, .. } => format!("stop it with `kill {pid}`"),
            Self::Hidden { .. } => "`sudo ss -lntup` names it".to_owned(),
        }
    }
}

/// Finds who is in the way of binding the address. Of several the first one found.
pub fn find(transport: Transport, address: SocketAddr) -> Option<Holder> {
    holders(transport, address, 1).into_iter().next()
}

/// Everybody who has a socket that is in the way of binding the address.
pub fn all(transport: Transport, address: SocketAddr) -> Vec<Holder> {
    const MANY: usize = 16;
    holders(transport, address, MANY)
}

fn holders(transport: Transport, address: SocketAddr, most: usize) -> Vec<Holder> {
    let tables = match transport {
        Transport::Tcp => ["/proc/net/tcp", "/proc/net/tcp6"],
        Transport::Udp => ["/proc/net/udp", "/proc/net/udp6"],
    };
    let entries: Vec<Entry> = tables
        .iter()
        .filter_map(|path| fs::read_to_string(path).ok())
        .flat_map(|table| entries(&table, transport, address))
        .collect();
    let Some(first) = entries.first() else {
        return Vec::new();
    };
    let found: Vec<Holder> = processes()
        .filter(|pid| holds(*pid, &entries))
        .map(|pid| Holder::Process {
            pid,
            name: name(pid),
            unit: unit(pid),
        })
        .take(most)
        .collect();
    match found.is_empty() {
        true => vec![Holder::Hidden { uid: first.uid }],
        false => found,
    }
}

/// The sockets of a process, as far as this user may see them.
pub fn sockets(pid: u32) -> HashSet<u64> {
    descriptors(pid)
        .filter_map(|target| {
            let inode = target
                .to_str()?
                .strip_prefix("socket:[")?
                .strip_suffix(']')?;
            inode.parse().ok()
        })
        .collect()
}

/// Every UDP port that somebody has, and the socket's number.
pub fn udp_ports() -> io::Result<Vec<(u16, u64)>> {
    let table = fs::read_to_string("/proc/net/udp")?;
    let table6 = fs::read_to_string("/proc/net/udp6").unwrap_or_default();
    let row = |line: &str| {
        let mut fields = line.split_whitespace().skip(1);
        let port = parse_address(fields.next()?)?.port();
        Some((port, fields.nth(7)?.parse().ok()?))
    };
    let lines = table.lines().skip(1).chain(table6.lines().skip(1));
    Ok(lines.filter_map(row).collect())
}

/// A socket in the kernel's table.
#[derive(Debug, PartialEq, Eq)]
struct Entry {
    inode: u64,
    uid: u32,
}

/// The sockets of a table that are in the way of the address. TCP: those that listen.
fn entries(table: &str, transport: Transport, wanted: SocketAddr) -> Vec<Entry> {
    const LISTENING: &str = "0A";
    table
        .lines()
        .skip(1)
        .filter_map(|line| {
            let mut fields = line.split_whitespace().skip(1);
            let local = fields.next()?;
            let state = fields.nth(1)?;
            let uid = fields.nth(3)?.parse().ok()?;
            let inode = fields.nth(1)?.parse().ok()?;
            let local = parse_address(local)?;
            let counts = local.port() == wanted.port()
                && in_the_way(local.ip(), wanted.ip())
                && (transport == Transport::Udp || state == LISTENING);
            counts.then_some(Entry { inode, uid })
        })
        .collect()
}

/// `0100007F:0D96`: each 32-bit word of the address in the machine's own byte order.
fn parse_address(text: &str) -> Option<SocketAddr> {
    let (address, port) = text.split_once(':')?;
    let mut bytes = [0; 16];
    let mut length = 0;
    while let Some(word) = address.get(length * 2..length * 2 + 8) {
        let word = u32::from_str_radix(word, 16).ok()?;
        bytes
            .get_mut(length..length + 4)?
            .copy_from_slice(&word.to_ne_bytes());
        length += 4;
    }
    let ip = match length {
        4 => IpAddr::from([bytes[0], bytes[1], bytes[2], bytes[3]]),
        16 => IpAddr::from(bytes).to_canonical(),
        _ => return None,
    };
    Some(SocketAddr::new(ip, u16::from_str_radix(port, 16).ok()?))
}

/// Whether sockets on the two addresses exclude each other on one port. `::` takes IPv4 too.
fn in_the_way(a: IpAddr, b: IpAddr) -> bool {
    let covers = |wide: IpAddr, narrow: IpAddr| {
        wide.is_unspecified() && (wide.is_ipv6() || narrow.is_ipv4())
    };
    a == b || covers(a, b) || covers(b, a)
}

fn processes() -> impl Iterator<Item = u32> {
    fs::read_dir("/proc")
        .into_iter()
        .flatten()
        .flatten()
        .filter_map(|entry| entry.file_name().to_str()?.parse().ok())
}

/// Whether one of the process's descriptors is one of the sockets.
fn holds(pid: u32, entries: &[Entry]) -> bool {
    let wanted: Vec<String> = entries
        .iter()
        .map(|entry| format!("socket:[{}]", entry.inode))
        .collect();
    descriptors(pid).any(|target| wanted.iter().any(|socket| target == Path::new(socket)))
}

/// What the descriptors of a process lead to.
fn descriptors(pid: u32) -> impl Iterator<Item = PathBuf> {
    fs::read_dir(format!("/proc/{pid}/fd"))
        .into_iter()
        .flatten()
        .flatten()
        .filter_map(|descriptor| fs::read_link(descriptor.path()).ok())
}

fn name(pid: u32) -> String {
    let name = fs::read_to_string(format!("/proc/{pid}/comm")).unwrap_or_default();
    // A process may call itself anything; the name goes to a terminal.
    let name: String = name.trim().chars().filter(|c| !c.is_control()).collect();
    match name.is_empty() {
        true => "a process".to_owned(),
        false => name,
    }
}

/// The unit in the process's control group: `0::/system.slice/nginx.service`.
fn unit(pid: u32) -> Option<String> {
    let groups = fs::read_to_string(format!("/proc/{pid}/cgroup")).ok()?;
    unit_of(&groups)
}

fn unit_of(groups: &str) -> Option<String> {
    let path = groups.lines().find_map(|line| line.strip_prefix("0::"))?;
    let (slice, unit) = path.rsplit_once('/')?;
    // Session services of a user are not `systemctl`'s to stop.
    (slice.starts_with("/system.slice") && unit.ends_with(".service")).then(|| unit.to_owned())
}

/// The sentence for a port that is taken: who holds it, and what to do about it.
pub fn sentence(transport: Transport, address: SocketAddr, setting: &str) -> String {
    let port = address.port();
    match find(transport, address) {
        Some(holder) => format!(
            "port {port} ({transport}) is held by {holder}: {}, or choose another port with {setting}",
            holder.remedy()
        ),
        None => format!(
            "port {port} ({transport}) is taken, by whom cannot be seen from here: choose another port with {setting}"
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TABLE: &str = "\
  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode
   0: 0100007F:0D96 00000000:0000 0A 00000000:00000000 00:00000000 00000000  1000        0 4711 1 0000 100 0 0 10 0
   1: 0100007F:0D96 0200007F:1234 01 00000000:00000000 00:00000000 00000000  1001        0 4712 1 0000 100 0 0 10 0
   2: 00000000:01BB 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 4713 1 0000 100 0 0 10 0
   3: garbage
";

    #[test]
    fn only_listening_tcp_sockets_in_the_way_count() {
        let entries =
            |table, transport, address: &str| entries(table, transport, address.parse().unwrap());
        let tcp = entries(TABLE, Transport::Tcp, "0.0.0.0:3478");
        assert_eq!(
            tcp,
            [Entry {
                inode: 4711,
                uid: 1000
            }]
        );
        assert_eq!(entries(TABLE, Transport::Udp, "[::]:3478").len(), 2);
        assert_eq!(entries(TABLE, Transport::Tcp, "0.0.0.0:444"), []);
        assert_eq!(entries(TABLE, Transport::Tcp, "192.0.2.1:3478"), []);
        assert_eq!(entries(TABLE, Transport::Tcp, "192.0.2.1:443").len(), 1);
        assert_eq!(entries(TABLE, Transport::Tcp, "[::1]:443"), []);
        assert_eq!(entries("", Transport::Tcp, "[::]:444"), []);
    }

    #[test]
    fn only_system_services_are_stopped_by_systemctl() {
        let unit = |text: &str| unit_of(text);
        assert_eq!(
            unit("0::/system.slice/nginx.service\n").as_deref(),
            Some("nginx.service")
        );
        assert_eq!(
            unit("0::/user.slice/user-1000.slice/user@1000.service\n"),
            None
        );
        assert_eq!(unit("0::/\n"), None);
        assert_eq!(unit("1:name=systemd:/x\n"), None);
    }

    #[test]
    fn this_process_is_found_by_its_own_sockets() {
        let tcp = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let udp = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
        let ours = |holder| matches!(holder, Some(Holder::Process { pid, .. }) if pid == std::process::id());
        assert!(ours(find(Transport::Tcp, tcp.local_addr().unwrap())));
        assert!(ours(find(Transport::Udp, udp.local_addr().unwrap())));
        let mine = sockets(std::process::id());
        let port = udp.local_addr().unwrap().port();
        let listed = udp_ports().unwrap();
        assert!(
            listed
                .iter()
                .any(|(p, inode)| *p == port && mine.contains(inode))
        );
        let everywhere = ([0; 8], tcp.local_addr().unwrap().port()).into();
        assert!(ours(find(Transport::Tcp, everywhere)));
    }

    #[test]
    fn addresses_of_the_kernels_tables_are_read_in_this_machines_byte_order() {
        let hex = |words: &[[u8; 4]]| -> String {
            words
                .iter()
                .map(|w| format!("{:08X}", u32::from_ne_bytes(*w)))
                .collect()
        };
        let read = |words: &[[u8; 4]]| parse_address(&format!("{}:01BB", hex(words)));
        assert_eq!(
            read(&[[127, 0, 0, 1]]),
            Some("127.0.0.1:443".parse().unwrap())
        );
        let v6 = [[0x20, 1, 0x0d, 0xb8], [0; 4], [0; 4], [0, 0, 0, 9]];
        assert_eq!(read(&v6), Some("[2001:db8::9]:443".parse().unwrap()));
        let mapped = [[0; 4], [0; 4], [0, 0, 0xff, 0xff], [192, 0, 2, 1]];
        assert_eq!(read(&mapped), Some("192.0.2.1:443".parse().unwrap()));
        for text in [
            "",
            ":",
            "0100007F",
            "01:1",
            "0100007F:x",
            "é100007F:1",
            "000000000000000000000000000000000000000000:1",
        ] {
            assert_eq!(parse_address(text), None, "{text}");
        }
    }
}
