//! From how far away an address can be reached: a pure table of prefixes.
//!
//! For choosing and warning. What a relay may send to is stricter and is decided elsewhere.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// From how far away an address can be reached, nearest last.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Reach {
    /// From the Internet.
    Public,
    /// From the same private network, or behind the provider's NAT.
    Private,
    /// From the same link; useless without naming an interface.
    Link,
    /// From this machine.
    Machine,
    /// From nowhere: unspecified, multicast.
    Nowhere,
}

/// From how far away the address can be reached.
pub fn reach(ip: IpAddr) -> Reach {
    match ip.to_canonical() {
        IpAddr::V4(ip) => reach_v4(ip),
        IpAddr::V6(ip) => reach_v6(ip),
    }
}

fn reach_v4(ip: Ipv4Addr) -> Reach {
    // RFC 6598: shared between a provider and its customers.
    let shared = ip.octets()[0] == 100 && ip.octets()[1] & 0xc0 == 64;
    if ip.is_loopback() {
        Reach::Machine
    } else if ip.is_link_local() {
        Reach::Link
    } else if ip.is_private() || shared || ip.is_documentation() {
        // Nobody routes the documentation ranges: where an interface has one, it is a lab.
        Reach::Private
    } else if ip.octets()[0] == 0 || ip.octets()[0] >= 224 {
        Reach::Nowhere
    } else {
        Reach::Public
    }
}

fn reach_v6(ip: Ipv6Addr) -> Reach {
    let [first, second, ..] = ip.segments();
    if ip.is_loopback() {
        Reach::Machine
    } else if first & 0xffc0 == 0xfe80 {
        Reach::Link
    } else if first & 0xfe00 == 0xfc00 || (first, second) == (0x2001, 0x0db8) {
        Reach::Private
    } else if first & 0xe000 == 0x2000 {
        Reach::Public
    } else {
        Reach::Nowhere
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_told_apart_by_their_reach() {
        let cases = [
            ("1.1.1.1", Reach::Public),
            ("10.1.2.3", Reach::Private),
            ("172.31.0.1", Reach::Private),
            ("172.32.0.1", Reach::Public),
            ("192.168.0.1", Reach::Private),
            ("100.64.0.1", Reach::Private),
            ("100.128.0.1", Reach::Public),
            ("169.254.169.254", Reach::Link),
            ("127.3.2.1", Reach::Machine),
            ("0.0.0.0", Reach::Nowhere),
            ("224.0.0.1", Reach::Nowhere),
            ("255.255.255.255", Reach::Nowhere),
            ("203.0.113.9", Reach::Private),
            ("2606:4700::1111", Reach::Public),
            ("2001:db8::1", Reach::Private),
            ("fd12::1", Reach::Private),
            ("fe80::1", Reach::Link),
            ("::1", Reach::Machine),
            ("::", Reach::Nowhere),
            ("ff02::1", Reach::Nowhere),
            ("::ffff:10.0.0.1", Reach::Private),
        ];
        for (ip, expected) in cases {
            assert_eq!(reach(ip.parse().unwrap()), expected, "{ip}");
        }
    }
}
