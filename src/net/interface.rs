//! This machine's own addresses: which to advertise, which to print for the LAN.
//!
//! The choice is a pure function over what the kernel says; it never asks a server elsewhere.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};

use super::reach::{Reach, reach};
use crate::config::settings::ExternalIp;

/// The addresses that clients are told, at most one of each family.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Advertised {
    /// IPv4.
    pub v4: Option<Ipv4Addr>,
    /// IPv6.
    pub v6: Option<Ipv6Addr>,
}

impl Advertised {
    /// IPv4 first.
    pub fn iter(&self) -> impl Iterator<Item = IpAddr> + use<> {
        let v4 = self.v4.map(IpAddr::V4);
        v4.into_iter().chain(self.v6.map(IpAddr::V6))
    }
}

/// What to advertise: as told, or of this machine's own addresses the one that reaches furthest.
pub fn advertised(configured: &ExternalIp) -> Advertised {
    match *configured {
        ExternalIp::Given { v4, v6 } => Advertised { v4, v6 },
        ExternalIp::Auto => choose(&local(), &outbound()),
    }
}

/// The address for other machines of this network, to be printed; `None`: there is no network.
pub fn lan() -> Option<IpAddr> {
    let chosen = choose(&local(), &outbound());
    chosen.iter().find(|ip| reach(*ip) <= Reach::Private)
}

/// Every address of every interface that is up.
pub fn local() -> Vec<IpAddr> {
    let interfaces = if_addrs::get_if_addrs().unwrap_or_default();
    interfaces
        .iter()
        .filter(|interface| !is_bridge(&interface.name))
        .chain(interfaces.iter().filter(|i| is_bridge(&i.name)))
        .map(if_addrs::Interface::ip)
        .collect()
}

/// Networks between containers of this machine, which nobody outside can reach.
fn is_bridge(name: &str) -> bool {
    ["docker", "br-", "veth", "virbr", "cni", "podman", "lxc"]
        .iter()
        .any(|prefix| name.starts_with(prefix))
}

/// The addresses that packets to the Internet leave from, as the routing table has it.
fn outbound() -> Vec<IpAddr> {
    // Connecting a UDP socket only looks up the route: nothing is sent. The targets are reserved
    // for documentation, so that no route but the default one leads there.
    let targets: [(SocketAddr, SocketAddr); 2] = [
        (
            (Ipv4Addr::UNSPECIFIED, 0).into(),
            (Ipv4Addr::new(192, 0, 2, 1), 9).into(),
        ),
        (
            (Ipv6Addr::UNSPECIFIED, 0).into(),
            (Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 1), 9).into(),
        ),
    ];
    targets
        .iter()
        .filter_map(|(from, to)| {
            let socket = UdpSocket::bind(from).ok()?;
            socket.connect(to).ok()?;
            Some(socket.local_addr().ok()?.ip())
        })
        .collect()
}

/// Furthest reach first, then the default route's address, then the kernel's order.
fn choose(local: &[IpAddr], outbound: &[IpAddr]) -> Advertised {
    let best = |wanted: fn(&IpAddr) -> bool| {
        local
            .iter()
            .copied()
            .filter(wanted)
            .filter(|ip| !matches!(reach(*ip), Reach::Link | Reach::Nowhere))
            .min_by_key(|ip| (reach(*ip), !outbound.contains(ip)))
    };
    let v4 = best(IpAddr::is_ipv4);
    let v6 = best(IpAddr::is_ipv6);
    let furthest = v4.into_iter().chain(v6).map(reach).min();
    // ::1 beside a real IPv4 address is a candidate that fails for everybody, and the reverse.
    let useful = |ip: &IpAddr| reach(*ip) != Reach::Machine || furthest == Some(Reach::Machine);
    Advertised {
        v4: v4.filter(useful).and_then(|ip| match ip {
            IpAddr::V4(ip) => Some(ip),
            IpAddr::V6(_) => None,
        }),
        v6: v6.filter(useful).and_then(|ip| match ip {
            IpAddr::V6(ip) => Some(ip),
            IpAddr::V4(_) => None,
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn chosen(local: &[&str], outbound: &[&str]) -> Vec<String> {
        let parse =
            |list: &[&str]| -> Vec<IpAddr> { list.iter().map(|ip| ip.parse().unwrap()).collect() };
        let chosen = choose(&parse(local), &parse(outbound));
        chosen.iter().map(|ip| ip.to_string()).collect()
    }

    #[test]
    fn the_address_that_reaches_furthest_is_advertised() {
        let local = [
            "127.0.0.1",
            "172.17.0.1",
            "8.8.4.4",
            "::1",
            "fe80::1",
            "2a00::1",
        ];
        assert_eq!(chosen(&local, &["172.17.0.1"]), ["8.8.4.4", "2a00::1"]);
        assert_eq!(chosen(&["127.0.0.1", "10.0.0.5"], &[]), ["10.0.0.5"]);
    }

    #[test]
    fn among_equals_the_default_route_decides() {
        let local = ["172.17.0.1", "192.168.1.7", "10.8.0.1"];
        assert_eq!(chosen(&local, &["192.168.1.7"]), ["192.168.1.7"]);
        assert_eq!(chosen(&local, &[]), ["172.17.0.1"]);
    }

    #[test]
    fn loopback_is_advertised_only_where_there_is_nothing_else() {
        assert_eq!(chosen(&["127.0.0.1", "::1"], &[]), ["127.0.0.1", "::1"]);
        assert_eq!(chosen(&["192.168.1.7", "::1"], &[]), ["192.168.1.7"]);
        assert_eq!(chosen(&["127.0.0.1", "2a00::1"], &[]), ["2a00::1"]);
        assert_eq!(
            chosen(&["fe80::1", "169.254.3.4"], &[]),
            Vec::<String>::new()
        );
    }

    #[test]
    fn a_given_address_is_taken_as_it_is() {
        let given = ExternalIp::Given {
            v4: Some(Ipv4Addr::new(10, 0, 0, 1)),
            v6: None,
        };
        assert_eq!(
            advertised(&given).iter().collect::<Vec<_>>(),
            ["10.0.0.1".parse::<IpAddr>().unwrap()]
        );
    }

    #[test]
    fn this_machine_has_an_address() {
        assert!(local().iter().any(IpAddr::is_loopback));
        assert!(advertised(&ExternalIp::Auto).iter().next().is_some());
    }
}
