//! The PROXY protocol, versions 1 and 2: what a load balancer says in front of a connection about
//! who it is from. Pure: bytes in, address out.
//!
//! Whose word counts and how long to wait for it is [`crate::front`]'s business. Type-length-values
//! behind the addresses are passed over.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

/// What the bytes so far say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// Read more, up to this many bytes in all. Behind a line of version 1 they may include the
    /// first of the client's.
    More(usize),
    /// The header is complete.
    Done(Header),
}

/// A whole header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header {
    /// Who is calling. `None`: the balancer itself, as in a health check, or somebody without an
    /// address that we know.
    pub source: Option<SocketAddr>,
    /// Bytes of the header. The client's begin behind them.
    pub length: usize,
}

/// What came is no header of either version.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// It begins with something else.
    #[error("no PROXY header")]
    Missing,
    /// It begins well and goes on badly.
    #[error("a broken PROXY header")]
    Broken,
    /// Longer than any balancer's.
    #[error("a PROXY header of {0} bytes")]
    TooLong(usize),
}

/// The longest line of version 1, its end included.
const MAX_LINE: usize = 107;
/// Version 2 up to and including its length.
const FIXED: usize = 16;
/// Addresses and type-length-values of version 2. Balancers add names, network ids and what they
/// know about TLS: some hundred bytes.
const MAX_REST: usize = 4096;

const VERSION_1: &[u8] = b"PROXY ";
const VERSION_2: &[u8] = b"\r\n\r\n\0\r\nQUIT\n";

/// Reads the header at the beginning of `bytes`. A verdict stays what it is when more bytes come.
pub fn parse(bytes: &[u8]) -> Result<Step, Error> {
    if starts(bytes, VERSION_2) {
        version_2(bytes)
    } else if starts(bytes, VERSION_1) {
        version_1(bytes)
    } else {
        Err(Error::Missing)
    }
}

/// Whether one of the two is the beginning of the other.
fn starts(bytes: &[u8], signature: &[u8]) -> bool {
    bytes.iter().zip(signature).all(|(a, b)| a == b)
}

fn version_1(bytes: &[u8]) -> Result<Step, Error> {
    let Some(end) = bytes
        .windows(2)
        .take(MAX_LINE - 1)
        .position(|w| w == b"\r\n")
    else {
        return match bytes.len() < MAX_LINE {
            true => Ok(Step::More(MAX_LINE)),
            false => Err(Error::Broken),
        };
    };
    let line = bytes.get(VERSION_1.len()..end).ok_or(Error::Broken)?;
    let line = std::str::from_utf8(line).map_err(|_| Error::Broken)?;
    let header = |source| {
        Ok(Step::Done(Header {
            source,
            length: end + 2,
        }))
    };
    let mut words = line.split(' ');
    let family = words.next().unwrap_or_default();
    if family == "UNKNOWN" {
        // Whatever else the line says is to be ignored.
        return header(None);
    }
    let mut next = || words.next().ok_or(Error::Broken);
    let (source, destination) = (address(family, next()?)?, address(family, next()?)?);
    let (from, to) = (port(next()?)?, port(next()?)?);
    if words.next().is_some() {
        return Err(Error::Broken);
    }
    // Read only to be sure that the line is what it seems.
    let _ = (destination, to);
    header(Some(SocketAddr::new(source.to_canonical(), from)))
}

fn address(family: &str, text: &str) -> Result<IpAddr, Error> {
    match family {
        "TCP4" => text.parse().map(IpAddr::V4).map_err(|_| Error::Broken),
        "TCP6" => text.parse().map(IpAddr::V6).map_err(|_| Error::Broken),
        _ => Err(Error::Broken),
    }
}

fn port(text: &str) -> Result<u16, Error> {
    // `parse` would also take a plus sign, and zeros without end.
    let digits = (1..=5).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_digit());
    let port = text.parse().map_err(|_| Error::Broken)?;
    digits.then_some(port).ok_or(Error::Broken)
}

fn version_2(bytes: &[u8]) -> Result<Step, Error> {
    let Some((fixed, rest)) = bytes.split_first_chunk::<FIXED>() else {
        return Ok(Step::More(FIXED));
    };
    let [.., command, family, high, low] = *fixed;
    let announced = usize::from(u16::from_be_bytes([high, low]));
    if announced > MAX_REST {
        return Err(Error::TooLong(FIXED + announced));
    }
    let length = FIXED + announced;
    // The upper half is the version. LOCAL is the balancer's own connection, whatever follows.
    let local = match command {
        0x20 => true,
        0x21 => false,
        _ => return Err(Error::Broken),
    };
    let Some(rest) = rest.get(..announced) else {
        return Ok(Step::More(length));
    };
    let source = match family {
        _ if local => None,
        // TCP over IPv4, TCP over IPv6: source, destination, and the two ports.
        0x11 => Some(tcp::<4>(rest)?),
        0x21 => Some(tcp::<16>(rest)?),
        // Unspecified; datagrams; sockets of Unix. A balancer may know no better.
        0x00 | 0x12 | 0x22 | 0x31 | 0x32 => None,
        _ => return Err(Error::Broken),
    };
    Ok(Step::Done(Header { source, length }))
}

fn tcp<const N: usize>(rest: &[u8]) -> Result<SocketAddr, Error>
where
    [u8; N]: Octets,
{
    let (source, rest) = rest.split_first_chunk::<N>().ok_or(Error::Broken)?;
    let (_destination, ports) = rest.split_first_chunk::<N>().ok_or(Error::Broken)?;
    let ([high, low, _, _], _) = ports.split_first_chunk::<4>().ok_or(Error::Broken)?;
    let port = u16::from_be_bytes([*high, *low]);
    Ok(SocketAddr::new(source.address().to_canonical(), port))
}

/// The two lengths that an address can have.
trait Octets {
    fn address(&self) -> IpAddr;
}

impl Octets for [u8; 4] {
    fn address(&self) -> IpAddr {
        Ipv4Addr::from(*self).into()
    }
}

impl Octets for [u8; 16] {
    fn address(&self) -> IpAddr {
        Ipv6Addr::from(*self).into()
    }
}

#[cfg(test)]
mod tests;
