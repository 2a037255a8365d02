//! Asking the name servers of this machine for addresses, A and AAAA apart (RFC 1035, RFC 3596).
//!
//! The system's own lookup cannot say which record is missing, nor whether a server answered at
//! all, and cannot be given a deadline. Owns the few bytes of DNS that this takes.

use std::fmt;
use std::fs;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use tokio::net::UdpSocket;
use tokio::time::timeout;

/// What is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Record {
    /// IPv4 addresses.
    A,
    /// IPv6 addresses.
    Aaaa,
}

impl Record {
    const fn number(self) -> u16 {
        match self {
            Self::A => 1,
            Self::Aaaa => 28,
        }
    }
}

impl fmt::Display for Record {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::A => "A",
            Self::Aaaa => "AAAA",
        })
    }
}

/// What the name servers say.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    /// These addresses; none when the name has no such record, or does not exist.
    Addresses(Vec<IpAddr>),
    /// No server gave an answer. Says what each did.
    Dead(String),
}

/// How long one server may take; networks lose packets, so each is asked twice.
const PATIENCE: Duration = Duration::from_millis(1200);
const ROUNDS: usize = 2;

/// More than this many servers nobody's resolver asks.
const MAX_SERVERS: usize = 3;

/// The servers in `/etc/resolv.conf`.
pub fn servers() -> Vec<IpAddr> {
    parse_servers(&fs::read_to_string("/etc/resolv.conf").unwrap_or_default())
}

fn parse_servers(text: &str) -> Vec<IpAddr> {
    let servers = text.lines().filter_map(|line| {
        let mut words = line.split_whitespace();
        (words.next() == Some("nameserver")).then(|| words.next()?.parse().ok())?
    });
    servers.take(MAX_SERVERS).collect()
}

/// Asks one server after the other.
pub async fn ask(servers: &[IpAddr], name: &str, record: Record) -> Answer {
    if servers.is_empty() {
        return Answer::Dead("/etc/resolv.conf names no server".to_owned());
    }
    let mut complaints = Vec::new();
    for _ in 0..ROUNDS {
        complaints.clear();
        for server in servers {
            match exchange(SocketAddr::new(*server, 53), name, record).await {
                Ok(addresses) => return Answer::Addresses(addresses),
                Err(complaint) => complaints.push(format!("{server} {complaint}")),
            }
        }
    }
    Answer::Dead(complaints.join(", "))
}

/// Every address of a name as a program of this machine would find it: also `/etc/hosts` counts.
pub async fn resolve(servers: &[IpAddr], name: &str) -> Result<Vec<IpAddr>, String> {
    let bare = name.trim_start_matches('[').trim_end_matches(']');
    if let Ok(ip) = bare.parse() {
        return Ok(vec![ip]);
    }
    let hosts = fs::read_to_string("/etc/hosts").unwrap_or_default();
    let local = in_hosts(&hosts, name);
    if !local.is_empty() {
        return Ok(local);
    }
    let (v4, v6) = tokio::join!(
        ask(servers, name, Record::A),
        ask(servers, name, Record::Aaaa)
    );
    match (v4, v6) {
        (Answer::Dead(why), Answer::Dead(_)) => Err(format!("no name server answers: {why}")),
        (v4, v6) => {
            let list = |answer| match answer {
                Answer::Addresses(list) => list,
                Answer::Dead(_) => Vec::new(),
            };
            let all: Vec<IpAddr> = list(v4).into_iter().chain(list(v6)).collect();
            match all.is_empty() {
                true => Err(format!("{name} has no address")),
                false => Ok(all),
            }
        }
    }
}

/// The addresses of a name in the text of `/etc/hosts`.
pub fn in_hosts(text: &str, name: &str) -> Vec<IpAddr> {
    let mut found: Vec<IpAddr> = text
        .lines()
        .filter_map(|line| {
            let mut words = line.split('#').next()?.split_whitespace();
            let ip = words.next()?.parse().ok()?;
            words
                .any(|word| word.eq_ignore_ascii_case(name))
                .then_some(ip)
        })
        .collect();
    if found.is_empty() && name.eq_ignore_ascii_case("localhost") {
        found = vec![Ipv4Addr::LOCALHOST.into(), Ipv6Addr::LOCALHOST.into()];
    }
    found
}

async fn exchange(server: SocketAddr, name: &str, record: Record) -> Result<Vec<IpAddr>, String> {
    let mut id = [0; 2];
    aws_lc_rs::rand::fill(&mut id).map_err(|_| "cannot be asked without random numbers")?;
    let id = u16::from_be_bytes(id);
    let query = query(id, name, record).ok_or("cannot be asked for such a name")?;
    let any: IpAddr = match server {
        SocketAddr::V4(_) => Ipv4Addr::UNSPECIFIED.into(),
        SocketAddr::V6(_) => Ipv6Addr::UNSPECIFIED.into(),
    };
    let asked = async {
        let socket = UdpSocket::bind((any, 0)).await?;
        socket.connect(server).await?;
        socket.send(&query).await?;
        let mut buffer = [0; 4096];
        loop {
            let len = socket.recv(&mut buffer).await?;
            if let Some(reply) = buffer.get(..len).and_then(|bytes| parse(bytes, id, record)) {
                return Ok::<_, std::io::Error>(reply);
            }
        }
    };
    match timeout(PATIENCE, asked).await {
        Ok(Ok(reply)) => reply,
        Ok(Err(error)) => Err(format!("cannot be reached ({error})")),
        Err(_) => Err("does not answer".to_owned()),
    }
}

/// A question with recursion desired. `None`: this is no name.
fn query(id: u16, name: &str, record: Record) -> Option<Vec<u8>> {
    let mut bytes = id.to_be_bytes().to_vec();
    bytes.extend([0x01, 0x00, 0, 1, 0, 0, 0, 0, 0, 0]);
    for label in name.trim_end_matches('.').split('.') {
        let len = u8::try_from(label.len())
            .ok()
            .filter(|len| (1..64).contains(len))?;
        bytes.push(len);
        bytes.extend(label.as_bytes());
    }
    bytes.push(0);
    bytes.extend(record.number().to_be_bytes());
    bytes.extend([0, 1]);
    (name.len() <= 253).then_some(bytes)
}

/// Reads an answer. `None`: it is none of ours.
fn parse(bytes: &[u8], id: u16, record: Record) -> Option<Result<Vec<IpAddr>, String>> {
    let number = |at: usize| {
        let pair = bytes.get(at..at + 2)?;
        Some(u16::from_be_bytes(pair.try_into().ok()?))
    };
    let flags = number(2)?;
    if number(0)? != id || flags & 0x8000 == 0 {
        return None;
    }
    match flags & 0x000F {
        0 => {}
        3 => return Some(Ok(Vec::new())),
        2 => return Some(Err("cannot find out (SERVFAIL)".to_owned())),
        5 => return Some(Err("refuses (REFUSED)".to_owned())),
        code => return Some(Err(format!("answers with error {code}"))),
    }
    let (questions, answers) = (number(4)?, number(6)?);
    let mut at = 12;
    for _ in 0..questions {
        at = skip_name(bytes, at)? + 4;
    }
    let mut found = Vec::new();
    for _ in 0..answers {
        at = skip_name(bytes, at)?;
        let (kind, len) = (number(at)?, usize::from(number(at + 8)?));
        let data = bytes.get(at + 10..at + 10 + len)?;
        // Aliases stand before the addresses that they lead to.
        if kind == record.number() {
            if let Ok(v4) = <[u8; 4]>::try_from(data) {
                found.push(v4.into());
            } else if let Ok(v6) = <[u8; 16]>::try_from(data) {
                found.push(v6.into());
            }
        }
        at += 10 + len;
    }
    Some(Ok(found))
}

/// Where the name that begins at `at` ends. A pointer ends it; nothing is followed.
fn skip_name(bytes: &[u8], mut at: usize) -> Option<usize> {
    loop {
        match *bytes.get(at)? {
            0 => return Some(at + 1),
            len if len & 0xC0 == 0xC0 => return Some(at + 2),
            len if len & 0xC0 == 0 => at += 1 + usize::from(len),
            _ => return None,
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn reply(query: &[u8], flags: u16, answers: &[(u16, &[u8])]) -> Vec<u8> {
        let mut bytes = query.to_vec();
        bytes[2..4].copy_from_slice(&flags.to_be_bytes());
        bytes[6..8].copy_from_slice(&(answers.len() as u16).to_be_bytes());
        for (kind, data) in answers {
            bytes.extend([0xC0, 12]);
            bytes.extend(kind.to_be_bytes());
            bytes.extend([0, 1, 0, 0, 0, 60]);
            bytes.extend((data.len() as u16).to_be_bytes());
            bytes.extend(*data);
        }
        bytes
    }

    #[test]
    fn addresses_are_found_behind_aliases() {
        let asked = query(7, "call.example.com", Record::A).unwrap();
        assert_eq!(asked.len(), 12 + 18 + 4);
        let alias = [0xC0, 12];
        let good = reply(
            &asked,
            0x8180,
            &[(5, &alias), (1, &[192, 0, 2, 1]), (1, &[192, 0, 2, 2])],
        );
        let addresses =
            |list: &[&str]| Some(Ok(list.iter().map(|ip| ip.parse().unwrap()).collect()));
        assert_eq!(
            parse(&good, 7, Record::A),
            addresses(&["192.0.2.1", "192.0.2.2"])
        );
        assert_eq!(parse(&good, 7, Record::Aaaa), addresses(&[]));
        assert_eq!(parse(&good, 8, Record::A), None);
        let missing = reply(&asked, 0x8183, &[]);
        assert_eq!(parse(&missing, 7, Record::A), addresses(&[]));
        let broken = reply(&asked, 0x8182, &[]);
        assert!(matches!(parse(&broken, 7, Record::A), Some(Err(_))));
        assert_eq!(parse(&asked, 7, Record::A), None, "a question is no answer");
    }

    #[test]
    fn what_is_no_name_is_not_asked_for() {
        assert_eq!(query(1, "", Record::A), None);
        assert_eq!(query(1, "a..b", Record::A), None);
        assert_eq!(query(1, &"a".repeat(64), Record::A), None);
        assert_eq!(query(1, &"a.".repeat(130), Record::A), None);
    }

    #[test]
    fn servers_and_hosts_are_read_as_the_system_reads_them() {
        let text =
            "# x\nsearch a\nnameserver 192.0.2.53\nnameserver fe80::1%eth0\n nameserver ::1\n";
        let expected: Vec<IpAddr> = vec!["192.0.2.53".parse().unwrap(), "::1".parse().unwrap()];
        assert_eq!(parse_servers(text), expected);
        let hosts = "127.0.0.1 localhost\n192.0.2.9 a.example A2 # b.example\n";
        assert_eq!(
            in_hosts(hosts, "a2"),
            ["192.0.2.9".parse::<IpAddr>().unwrap()]
        );
        assert!(in_hosts(hosts, "b.example").is_empty());
        assert_eq!(in_hosts("", "localhost").len(), 2);
    }

    proptest! {
        #[test]
        fn no_answer_makes_it_panic(bytes in proptest::collection::vec(any::<u8>(), 0..80)) {
            let mut bytes = bytes;
            if bytes.len() > 3 {
                bytes[..3].copy_from_slice(&[0, 7, 0x81]);
            }
            let _ = parse(&bytes, 7, Record::A);
        }
    }
}
