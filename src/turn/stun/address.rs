//! Addresses, plain and XORed with the cookie (RFC 8489 sections 14.1 and 14.2).

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use super::header::{MAGIC_COOKIE, TransactionId};

/// Bytes of the longest address value.
pub const MAX_LEN: usize = 20;

/// Address families as numbered by STUN.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Family {
    /// 0x01
    V4,
    /// 0x02
    V6,
}

impl Family {
    /// The family of an address.
    pub const fn of(ip: IpAddr) -> Self {
        match ip {
            IpAddr::V4(_) => Self::V4,
            IpAddr::V6(_) => Self::V6,
        }
    }

    /// The number on the wire.
    pub const fn value(self) -> u8 {
        match self {
            Self::V4 => 1,
            Self::V6 => 2,
        }
    }

    /// From the number on the wire.
    pub const fn from_value(value: u8) -> Option<Self> {
        match value {
            1 => Some(Self::V4),
            2 => Some(Self::V6),
            _ => None,
        }
    }
}

/// Reads an XORed address.
pub fn decode_xor(value: &[u8], id: TransactionId) -> Option<SocketAddr> {
    let (family, port, ip) = split(value)?;
    let port = port ^ u16::from_be_bytes([MAGIC_COOKIE[0], MAGIC_COOKIE[1]]);
    let mask = mask(id);
    Some(match family {
        Family::V4 => {
            let mut octets: [u8; 4] = ip.try_into().ok()?;
            xor(&mut octets, &mask);
            SocketAddr::new(Ipv4Addr::from(octets).into(), port)
        }
        Family::V6 => {
            let mut octets: [u8; 16] = ip.try_into().ok()?;
            xor(&mut octets, &mask);
            SocketAddr::new(Ipv6Addr::from(octets).into(), port)
        }
    })
}

/// Writes an XORed address; returns the bytes used: 8 or 20.
pub fn encode_xor(addr: SocketAddr, id: TransactionId, out: &mut [u8; MAX_LEN]) -> usize {
    let port = addr.port() ^ u16::from_be_bytes([MAGIC_COOKIE[0], MAGIC_COOKIE[1]]);
    let mask = mask(id);
    let len = encode(addr.ip(), port, out);
    xor(&mut out[4..len], &mask);
    len
}

/// Writes an address as it is (MAPPED-ADDRESS, ALTERNATE-SERVER, OTHER-ADDRESS).
pub fn encode(ip: IpAddr, port: u16, out: &mut [u8; MAX_LEN]) -> usize {
    out[0] = 0;
    out[1] = Family::of(ip).value();
    out[2..4].copy_from_slice(&port.to_be_bytes());
    match ip {
        IpAddr::V4(ip) => {
            out[4..8].copy_from_slice(&ip.octets());
            8
        }
        IpAddr::V6(ip) => {
            out[4..20].copy_from_slice(&ip.octets());
            20
        }
    }
}

fn split(value: &[u8]) -> Option<(Family, u16, &[u8])> {
    let (&[_, family, port_high, port_low], ip) = value.split_first_chunk::<4>()?;
    Some((
        Family::from_value(family)?,
        u16::from_be_bytes([port_high, port_low]),
        ip,
    ))
}

fn mask(id: TransactionId) -> [u8; 16] {
    let mut mask = [0; 16];
    mask[..4].copy_from_slice(&MAGIC_COOKIE);
    mask[4..].copy_from_slice(&id.0);
    mask
}

fn xor(octets: &mut [u8], mask: &[u8; 16]) {
    for (octet, mask) in octets.iter_mut().zip(mask) {
        *octet ^= mask;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ID: TransactionId = TransactionId([7, 1, 2, 3, 4, 5, 6, 8, 9, 10, 11, 12]);

    #[test]
    fn both_families_survive_the_mask() {
        for text in ["192.0.2.1:32853", "[2001:db8::1:2]:443", "0.0.0.0:0"] {
            let addr: SocketAddr = text.parse().unwrap();
            let mut out = [0; MAX_LEN];
            let len = encode_xor(addr, ID, &mut out);
            assert_eq!(decode_xor(&out[..len], ID), Some(addr));
        }
    }

    #[test]
    fn wrong_family_or_length_is_no_address() {
        assert_eq!(decode_xor(&[0, 3, 0, 0, 1, 2, 3, 4], ID), None);
        assert_eq!(decode_xor(&[0, 1, 0, 0, 1, 2, 3], ID), None);
        assert_eq!(decode_xor(&[0, 1, 0, 0, 1, 2, 3, 4, 5], ID), None);
        assert_eq!(decode_xor(&[0, 2, 0, 0, 1, 2, 3, 4], ID), None);
        assert_eq!(decode_xor(&[], ID), None);
    }
}
