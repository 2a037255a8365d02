//! Which peers a client may reach through us (RFC 8656 section 21.2.2; our design is stricter).
//!
//! Denied unless named: every IANA special-purpose range of both families. IPv4 addresses that hide
//! in IPv6 (mapped, compatible, 6to4, NAT64, Teredo) are judged as what they stand for. Loopback
//! and cloud metadata open only to an entry inside their own range; our own listening ports never.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use crate::config::settings::Network;

/// Why a peer is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Rule {
    /// 127.0.0.0/8, ::1
    Loopback,
    /// The addresses where clouds hand credentials to whoever asks.
    Metadata,
    /// Any other special-purpose range: private, link-local, multicast, documentation, ...
    SpecialPurpose,
    /// `deny_peers`
    Configured,
    /// An address and port where this process itself listens.
    OwnListener,
    /// An address of this machine where no relay of ours is.
    OwnAddress,
    /// A port nobody can have.
    Port,
}

impl Rule {
    /// All of them.
    pub const ALL: [Self; 7] = [
        Self::Loopback,
        Self::Metadata,
        Self::SpecialPurpose,
        Self::Configured,
        Self::OwnListener,
        Self::OwnAddress,
        Self::Port,
    ];

    /// How the log and the metrics page call it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Loopback => "loopback",
            Self::Metadata => "metadata",
            Self::SpecialPurpose => "special_purpose",
            Self::Configured => "deny_peers",
            Self::OwnListener => "own_listener",
            Self::OwnAddress => "own_address",
            Self::Port => "port",
        }
    }
}

/// What may be done with a peer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// An ordinary peer.
    Allowed,
    /// An address of this machine: only relayed addresses of ours are reachable there, inside the
    /// process.
    InternalOnly,
    /// Refused.
    Denied(Rule),
}

/// The peer policy. Immutable; shared by all workers.
#[derive(Clone, Debug, Default)]
pub struct Policy {
    allow: Vec<Network>,
    deny: Vec<Network>,
    own_addresses: Vec<IpAddr>,
    own_ports: Vec<u16>,
}

impl Policy {
    /// `own_addresses`: every address of this machine and the advertised ones; `own_ports`: every
    /// port, TCP or UDP, on which this process listens.
    pub fn new(
        allow: Vec<Network>,
        deny: Vec<Network>,
        own_addresses: Vec<IpAddr>,
        own_ports: Vec<u16>,
    ) -> Self {
        Self {
            allow,
            deny,
            own_addresses,
            own_ports,
        }
    }

    /// Judges an address without a port: CreatePermission.
    pub fn address(&self, ip: IpAddr) -> Verdict {
        let own = self.is_own(ip);
        match self.judge(ip) {
            // Our own relayed addresses may well be private; what else lives there stays closed.
            Verdict::Denied(Rule::Loopback | Rule::SpecialPurpose | Rule::Metadata) if own => {
                Verdict::InternalOnly
            }
            // Even where our address is public: packets from ourselves pass by the firewall that
            // other programs on this machine may rely on.
            Verdict::Allowed if own && !self.allow.iter().any(|network| network.contains(ip)) => {
                Verdict::InternalOnly
            }
            verdict => verdict,
        }
    }

    /// Judges an address with its port: ChannelBind, Send, and packets that come in.
    pub fn peer(&self, peer: SocketAddr) -> Verdict {
        if peer.port() == 0 {
            return Verdict::Denied(Rule::Port);
        }
        let verdict = self.address(peer.ip());
        if self.is_own_listener(peer) {
            return Verdict::Denied(Rule::OwnListener);
        }
        verdict
    }

    /// Whether this process itself listens there.
    pub fn is_own_listener(&self, peer: SocketAddr) -> bool {
        self.own_ports.contains(&peer.port()) && self.is_here(peer.ip())
    }

    /// Whether the address is one of this machine's.
    pub fn is_own(&self, ip: IpAddr) -> bool {
        self.own_addresses.contains(&ip.to_canonical())
    }

    /// Whether a packet to the address ends on this machine: our own addresses, loopback, and the
    /// unspecified address, which the kernel takes for loopback. The hidden forms count.
    fn is_here(&self, ip: IpAddr) -> bool {
        forms(ip).any(|ip| self.is_own(ip) || ip.is_loopback() || ip.is_unspecified())
    }

    fn judge(&self, ip: IpAddr) -> Verdict {
        if let Some(rule) = forms(ip).find_map(|form| self.refusal(form)) {
            return Verdict::Denied(rule);
        }
        Verdict::Allowed
    }

    fn refusal(&self, ip: IpAddr) -> Option<Rule> {
        if self.deny.iter().any(|network| network.contains(ip)) {
            return Some(Rule::Configured);
        }
        let (rule, range) = special_purpose(ip)?;
        let opened = self.allow.iter().any(|network| {
            network.contains(ip)
                && match rule {
                    // 0.0.0.0/0 must not open these by accident.
                    Rule::Loopback | Rule::Metadata => range.covers(network),
                    _ => true,
                }
        });
        (!opened).then_some(rule)
    }
}

/// An address and every IPv4 address that it may stand for on the way.
fn forms(ip: IpAddr) -> impl Iterator<Item = IpAddr> {
    let ip = ip.to_canonical();
    let hidden = match ip {
        IpAddr::V4(_) => [None, None],
        IpAddr::V6(v6) => embedded(v6),
    };
    std::iter::once(ip).chain(hidden.into_iter().flatten().map(IpAddr::V4))
}

/// IPv4 addresses carried inside an IPv6 address.
fn embedded(ip: Ipv6Addr) -> [Option<Ipv4Addr>; 2] {
    let o = ip.octets();
    let s = ip.segments();
    let v4 = |at: usize| Some(Ipv4Addr::new(o[at], o[at + 1], o[at + 2], o[at + 3]));
    match s {
        // IPv4-compatible (RFC 4291 2.5.5.1); :: and ::1 are not among them.
        [0, 0, 0, 0, 0, 0, high, low] if high != 0 || low > 1 => [v4(12), None],
        // IPv4-translated (RFC 2765).
        [0, 0, 0, 0, 0xFFFF, 0, ..] => [v4(12), None],
        // NAT64, well-known (RFC 6052) and local-use (RFC 8215).
        [0x64, 0xFF9B, ..] => [v4(12), None],
        // 6to4 (RFC 3056).
        [0x2002, ..] => [v4(2), None],
        // Teredo (RFC 4380): server, and client with its bits turned over.
        [0x2001, 0, ..] => [v4(4), Some(Ipv4Addr::new(!o[12], !o[13], !o[14], !o[15]))],
        _ => [None, None],
    }
}

const fn v4(a: u8, b: u8, c: u8, d: u8, prefix: u8) -> Network {
    Network {
        address: IpAddr::V4(Ipv4Addr::new(a, b, c, d)),
        prefix,
    }
}

/// The last segment apart: all but the metadata addresses and loopback have zeros there.
const fn v6(s: [u16; 6], last: u16, prefix: u8) -> Network {
    Network {
        address: IpAddr::V6(Ipv6Addr::new(s[0], s[1], s[2], s[3], s[4], s[5], 0, last)),
        prefix,
    }
}

/// IANA's special-purpose registries (RFC 6890 and successors), multicast, and metadata services.
/// The first match counts, so narrower rules stand first.
const SPECIAL: &[(Rule, Network)] = &[
    (Rule::Metadata, v4(169, 254, 169, 254, 32)),
    (Rule::Metadata, v4(169, 254, 170, 2, 32)),
    (Rule::Metadata, v4(100, 100, 100, 200, 32)),
    (Rule::Metadata, v4(168, 63, 129, 16, 32)),
    (Rule::Loopback, v4(127, 0, 0, 0, 8)),
    (Rule::SpecialPurpose, v4(0, 0, 0, 0, 8)),
    (Rule::SpecialPurpose, v4(10, 0, 0, 0, 8)),
    (Rule::SpecialPurpose, v4(100, 64, 0, 0, 10)),
    (Rule::SpecialPurpose, v4(169, 254, 0, 0, 16)),
    (Rule::SpecialPurpose, v4(172, 16, 0, 0, 12)),
    (Rule::SpecialPurpose, v4(192, 0, 0, 0, 24)),
    (Rule::SpecialPurpose, v4(192, 0, 2, 0, 24)),
    (Rule::SpecialPurpose, v4(192, 31, 196, 0, 24)),
    (Rule::SpecialPurpose, v4(192, 52, 193, 0, 24)),
    (Rule::SpecialPurpose, v4(192, 88, 99, 0, 24)),
    (Rule::SpecialPurpose, v4(192, 168, 0, 0, 16)),
    (Rule::SpecialPurpose, v4(192, 175, 48, 0, 24)),
    (Rule::SpecialPurpose, v4(198, 18, 0, 0, 15)),
    (Rule::SpecialPurpose, v4(198, 51, 100, 0, 24)),
    (Rule::SpecialPurpose, v4(203, 0, 113, 0, 24)),
    (Rule::SpecialPurpose, v4(224, 0, 0, 0, 4)),
    (Rule::SpecialPurpose, v4(240, 0, 0, 0, 4)),
    (Rule::Metadata, v6([0xFD00, 0xEC2, 0, 0, 0, 0], 0x254, 128)),
    (Rule::Metadata, v6([0xFD20, 0xCE, 0, 0, 0, 0], 0x254, 128)),
    (Rule::Loopback, v6([0, 0, 0, 0, 0, 0], 1, 128)),
    (Rule::SpecialPurpose, v6([0, 0, 0, 0, 0, 0], 0, 96)),
    (Rule::SpecialPurpose, v6([0, 0, 0, 0, 0, 0xFFFF], 0, 96)),
    (Rule::SpecialPurpose, v6([0, 0, 0, 0, 0xFFFF, 0], 0, 96)),
    (Rule::SpecialPurpose, v6([0x64, 0xFF9B, 1, 0, 0, 0], 0, 48)),
    (Rule::SpecialPurpose, v6([0x100, 0, 0, 0, 0, 0], 0, 64)),
    (Rule::SpecialPurpose, v6([0x100, 0, 0, 1, 0, 0], 0, 64)),
    (Rule::SpecialPurpose, v6([0x2001, 0, 0, 0, 0, 0], 0, 23)),
    (Rule::SpecialPurpose, v6([0x2001, 0xDB8, 0, 0, 0, 0], 0, 32)),
    (Rule::SpecialPurpose, v6([0x2002, 0, 0, 0, 0, 0], 0, 16)),
    (
        Rule::SpecialPurpose,
        v6([0x2620, 0x4F, 0x8000, 0, 0, 0], 0, 48),
    ),
    (Rule::SpecialPurpose, v6([0x3FFF, 0, 0, 0, 0, 0], 0, 20)),
    (Rule::SpecialPurpose, v6([0x5F00, 0, 0, 0, 0, 0], 0, 16)),
    (Rule::SpecialPurpose, v6([0xFC00, 0, 0, 0, 0, 0], 0, 7)),
    (Rule::SpecialPurpose, v6([0xFE80, 0, 0, 0, 0, 0], 0, 10)),
    (Rule::SpecialPurpose, v6([0xFEC0, 0, 0, 0, 0, 0], 0, 10)),
    (Rule::SpecialPurpose, v6([0xFF00, 0, 0, 0, 0, 0], 0, 8)),
];

fn special_purpose(ip: IpAddr) -> Option<(Rule, Network)> {
    SPECIAL
        .iter()
        .find(|(_, network)| network.contains(ip))
        .copied()
}

#[cfg(test)]
mod tests;
