//! Can the advertised address be reached, as far as this machine can tell from inside?

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use rustls::pki_types::CertificateDer;
use tokio::net::UdpSocket;
use tokio::time::timeout;

use super::dial::{self, Closed};
use super::names::list;
use super::remedy::{self, Ports, Provider};
use super::report::Finding;
use super::subject::Subject;
use super::turn::{self, Trouble};
use crate::config::settings::ExternalIp;
use crate::net::reach::{Reach, reach};

/// What became of one way to an address.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Way {
    /// It leads to us, or to whoever has the port.
    Open,
    /// It leads to us, but the answer comes from another address: something on the way back inside
    /// passes packets on in its own name, as Docker does. Who comes from outside does not go that way.
    Roundabout,
    /// Somebody else answers.
    Stranger,
    /// Nobody does.
    Shut(String),
    /// Nothing is configured there.
    Unasked,
}

/// What was found out about one advertised address.
#[derive(Clone, Debug)]
pub struct Seen {
    /// The address.
    pub address: IpAddr,
    /// HTTPS.
    pub https: Way,
    /// Plain HTTP.
    pub http: Way,
    /// TURN over UDP.
    pub turn_udp: Way,
    /// TURN over TCP.
    pub turn_tcp: Way,
    /// Relay ports: of those that were tried, whether any let a packet through; `None`: not tried.
    pub range: Option<bool>,
}

/// Tries every way to an advertised address. `leaf`: what our front door shows.
pub async fn observe(
    subject: &Subject,
    address: IpAddr,
    leaf: Option<&CertificateDer<'_>>,
) -> Seen {
    let at = |port: Option<u16>| port.map(|port| SocketAddr::new(address, port));
    let (https, http, turn_udp, turn_tcp, range) = tokio::join!(
        https(subject, at(subject.https()), leaf),
        tcp(subject, at(subject.http())),
        udp(at(subject.turn_udp())),
        tcp(subject, at(subject.turn_tcp())),
        range(subject, address),
    );
    Seen {
        address,
        https,
        http,
        turn_udp,
        turn_tcp,
        range,
    }
}

async fn https(
    subject: &Subject,
    at: Option<SocketAddr>,
    leaf: Option<&CertificateDer<'_>>,
) -> Way {
    let Some(at) = at else {
        return Way::Unasked;
    };
    let stream = match subject.connect(at).await {
        Ok(stream) => stream,
        Err(closed) => return shut(&closed),
    };
    match (dial::tls(stream, &subject.host()).await, leaf) {
        (Ok(stream), Some(leaf)) if dial::chain(&stream).first() != Some(leaf) => Way::Stranger,
        (Ok(_), _) => Way::Open,
        (Err(error), _) => Way::Shut(error),
    }
}

async fn tcp(subject: &Subject, at: Option<SocketAddr>) -> Way {
    match at {
        None => Way::Unasked,
        Some(at) => match subject.connect(at).await {
            Ok(_) => Way::Open,
            Err(closed) => shut(&closed),
        },
    }
}

fn shut(closed: &Closed) -> Way {
    Way::Shut(closed.to_string())
}

async fn udp(at: Option<SocketAddr>) -> Way {
    match at {
        None => Way::Unasked,
        Some(at) => match turn::binding(at).await {
            Ok(_) => Way::Open,
            Err(Trouble::Silent) if turn::leads_to_somebody(at).await => Way::Roundabout,
            Err(trouble) => Way::Shut(trouble.to_string()),
        },
    }
}

/// Packets to relay ports that we take ourselves for the moment. To one of this machine's own
/// addresses they would pass by every firewall, and prove nothing.
async fn range(subject: &Subject, address: IpAddr) -> Option<bool> {
    if subject.is_local(address) {
        return None;
    }
    let ports = samples(&subject.settings.turn.relay_ports);
    let mut tried = None;
    for open in futures_util::future::join_all(ports.map(|port| arrives(address, port))).await {
        tried = match (tried, open) {
            (Some(true), _) => Some(true),
            (_, Some(open)) => Some(open),
            (tried, None) => tried,
        };
    }
    tried
}

/// Some ports of the range that are probably free.
fn samples(range: &std::ops::RangeInclusive<u16>) -> [u16; 3] {
    let (first, last) = (*range.start(), *range.end());
    let part = |of: u16| first + (last - first) / 8 * of;
    [part(3), part(5), part(7)]
}

/// Whether a packet to the port comes in. `None`: the port is taken.
async fn arrives(address: IpAddr, port: u16) -> Option<bool> {
    let any: IpAddr = match address {
        IpAddr::V4(_) => Ipv4Addr::UNSPECIFIED.into(),
        IpAddr::V6(_) => Ipv6Addr::UNSPECIFIED.into(),
    };
    let receiver = UdpSocket::bind((any, port)).await.ok()?;
    let sender = UdpSocket::bind((any, 0)).await.ok()?;
    let mut token = [0; 16];
    aws_lc_rs::rand::fill(&mut token).ok()?;
    const TRIES: usize = 4;
    for _ in 0..TRIES {
        let _ = sender.send_to(&token, (address, port)).await;
        let mut bytes = [0; 64];
        let read = timeout(Duration::from_millis(400), receiver.recv_from(&mut bytes)).await;
        if let Ok(Ok((len, _))) = read
            && bytes.get(..len) == Some(&token)
        {
            return Some(true);
        }
    }
    Some(false)
}

/// What the judgement needs to know besides.
#[derive(Clone, Debug)]
pub struct Surroundings {
    /// The advertised address is one of this machine's own.
    pub is_local: bool,
    /// Addresses that lead here although they are neither this machine's nor advertised.
    pub better: Vec<IpAddr>,
    /// Where ports are opened.
    pub provider: Option<Provider>,
    /// Whether this is a container with a network of its own.
    pub contained: bool,
    /// Ports: HTTPS, HTTP, TURN over UDP, TURN over TCP.
    pub ports: [Option<u16>; 4],
    /// First and last relay port.
    pub range: (u16, u16),
    /// Where the settings are changed.
    pub file: String,
}

/// Judges one advertised address.
pub fn judge(seen: &Seen, around: &Surroundings) -> Vec<Finding> {
    let address = seen.address;
    let ways = [&seen.https, &seen.http, &seen.turn_udp, &seen.turn_tcp];
    let better = around
        .better
        .iter()
        .find(|ip| ip.is_ipv4() == address.is_ipv4());
    let nothing = !ways
        .iter()
        .any(|way| matches!(way, Way::Open | Way::Roundabout | Way::Stranger));
    let wrong = |text: String, right: Option<&IpAddr>| {
        let remedy = match right {
            Some(right) => format!(
                "set external_ip = \"{right}\" in {} and restart",
                around.file
            ),
            None => format!(
                "set external_ip in {} to the public address that the provider's console shows for this machine, and restart",
                around.file
            ),
        };
        vec![Finding::failed("address.wrong", text, remedy).about(address)]
    };
    if seen.https == Way::Stranger {
        return wrong(
            format!(
                "at {address}, the advertised address, another server answers: it is not this machine's"
            ),
            better,
        );
    }
    if nothing && !around.is_local {
        if let Some(right) = better {
            return wrong(
                format!(
                    "nothing sent to {address}, the advertised address, arrives here, but what is sent to {right} does"
                ),
                Some(right),
            );
        }
        return vec![
            Finding::failed(
                "address.hairpin",
                format!(
                    "nothing that this machine sends to {address}, its advertised address, comes back: \
                     either the network has no hairpin, or the address is not this machine's, or every port is closed"
                ),
                "ask from outside: `callbox doctor --from https://ANOTHER-CALLBOX`, which has [front] probes = true",
            )
            .about(address),
        ];
    }
    let kinds = [
        (
            "reach.https",
            "HTTPS and TURN over TLS",
            around.ports[0].map(Ports::tcp),
        ),
        ("reach.http", "HTTP", around.ports[1].map(Ports::tcp)),
        (
            "reach.turn-udp",
            "STUN and TURN",
            around.ports[2].map(Ports::udp),
        ),
        (
            "reach.turn-tcp",
            "TURN over TCP",
            around.ports[3].map(Ports::tcp),
        ),
    ];
    let mut findings = Vec::new();
    for ((id, what, port), way) in kinds.into_iter().zip(ways) {
        let (Way::Shut(why), Some(port)) = (way, port) else {
            continue;
        };
        // One closed port is one fault, whatever is spoken there.
        if findings
            .iter()
            .any(|finding: &Finding| finding.subject == Some(format!("{port} of {address}")))
        {
            continue;
        }
        findings.push(
            Finding::failed(
                id,
                format!("{port} of {address}, for {what}, is closed on the way from outside ({why}); on this machine it works"),
                remedy::open(port, around.provider),
            )
            .about(format!("{port} of {address}")),
        );
    }
    findings.extend(judge_range(seen, around));
    if findings.is_empty() {
        let text = format!("{address} answers on every port, seen from this machine");
        findings.push(Finding::ok("reach", text).about(address));
    }
    findings
}

fn judge_range(seen: &Seen, around: &Surroundings) -> Option<Finding> {
    let (first, last) = around.range;
    let ports = Ports {
        transport: "UDP",
        first,
        last,
    };
    let finding = match (seen.range, around.contained) {
        (Some(true), _) => Finding::ok("range", format!("{ports} of {} are open", seen.address)),
        (Some(false), true) => Finding::failed(
            "docker.range",
            format!(
                "in this container's bridge network the relay ports, {ports}, are not published"
            ),
            format!(
                "publish them, `-p {first}-{last}:{first}-{last}/udp`, after making the range small with [turn] relay_ports; or use `network_mode: host`"
            ),
        ),
        (Some(false), false) => Finding::failed(
            "range.closed",
            format!(
                "the relay ports, {ports} of {}, are closed on the way from outside",
                seen.address
            ),
            remedy::open(ports, around.provider),
        ),
        (None, _) => return None,
    };
    Some(finding.about(format!("{ports} of {}", seen.address)))
}

/// Judges what is advertised, without asking anybody.
pub fn judge_advertised(
    advertised: &[IpAddr],
    configured: &ExternalIp,
    better: &[IpAddr],
    contained: bool,
    file: &str,
) -> Vec<Finding> {
    let source = match configured {
        ExternalIp::Given { .. } => "given by external_ip",
        ExternalIp::Auto => "chosen among this machine's own addresses, external_ip being \"auto\"",
    };
    if advertised.is_empty() {
        return vec![Finding::failed(
            "address.none",
            "this machine has no address that clients could be told",
            format!("set external_ip in {file}; `ip address` shows what the machine has"),
        )];
    }
    let text = format!("{}, {source}", list(advertised));
    // The ranges for documentation are the Internet of laboratories.
    let is_public = |ip: &IpAddr| reach(*ip) == Reach::Public || is_documentation(*ip);
    if advertised.iter().any(is_public) {
        return vec![Finding::ok("address", text)];
    }
    let remedy = match better.first() {
        Some(right) => format!("set external_ip = \"{right}\" in {file} and restart"),
        None => format!(
            "set external_ip in {file} to the public address that the provider's console shows for this machine; \
             if only this network shall use it, set external_ip = \"{}\"",
            advertised
                .first()
                .map_or_else(String::new, IpAddr::to_string)
        ),
    };
    vec![match configured {
        ExternalIp::Given { .. } if better.is_empty() => Finding::note(
            "address.private",
            format!("only this network reaches {text}"),
        ),
        _ if contained => Finding::failed(
            "docker.range",
            format!("a container in a bridge network knows its own address only: {text}"),
            format!(
                "set external_ip in {file} to the host's public address and publish the relay ports; or use `network_mode: host`"
            ),
        ),
        _ => Finding::failed(
            "address.private",
            format!(
                "clients outside are told a private address, {text}: relaying works for nobody but this network"
            ),
            remedy,
        ),
    }]
}

fn is_documentation(ip: IpAddr) -> bool {
    match ip {
        IpAddr::V4(ip) => ip.is_documentation(),
        IpAddr::V6(ip) => ip.segments().starts_with(&[0x2001, 0x0db8]),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ip(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    fn shut() -> Way {
        Way::Shut("no answer".to_owned())
    }

    fn around() -> Surroundings {
        Surroundings {
            is_local: false,
            better: Vec::new(),
            provider: None,
            contained: false,
            ports: [Some(443), Some(80), Some(3478), Some(3478)],
            range: (49152, 65535),
            file: "appliance.toml".to_owned(),
        }
    }

    fn seen(ways: [Way; 4], range: Option<bool>) -> Seen {
        let [https, http, turn_udp, turn_tcp] = ways;
        Seen {
            address: ip("203.0.113.50"),
            https,
            http,
            turn_udp,
            turn_tcp,
            range,
        }
    }

    fn ids(findings: &[Finding]) -> Vec<&'static str> {
        findings.iter().map(|finding| finding.id).collect()
    }

    #[test]
    fn what_is_closed_on_the_way_is_named_by_its_port() {
        let open = || Way::Open;
        for (ways, range, expected) in [
            ([open(), open(), open(), open()], Some(true), &["range"][..]),
            ([open(), open(), open(), open()], None, &["reach"]),
            ([open(), open(), shut(), open()], None, &["reach.turn-udp"]),
            ([open(), open(), open(), shut()], None, &["reach.turn-tcp"]),
            ([open(), open(), Way::Roundabout, open()], None, &["reach"]),
            (
                [shut(), open(), open(), open()],
                Some(true),
                &["reach.https", "range"],
            ),
            (
                [open(), shut(), open(), open()],
                Some(false),
                &["reach.http", "range.closed"],
            ),
            (
                [open(), open(), shut(), shut()],
                Some(false),
                &["reach.turn-udp", "reach.turn-tcp", "range.closed"],
            ),
            (
                [shut(), shut(), shut(), shut()],
                Some(false),
                &["address.hairpin"],
            ),
            (
                [Way::Stranger, open(), shut(), shut()],
                Some(false),
                &["address.wrong"],
            ),
            (
                [open(), Way::Unasked, Way::Unasked, open()],
                None,
                &["reach"],
            ),
        ] {
            let case = seen(ways, range);
            assert_eq!(ids(&judge(&case, &around())), expected, "{case:?}");
        }
    }

    #[test]
    fn an_address_that_leads_here_shows_that_another_one_is_wrong() {
        let nothing = seen([shut(), shut(), shut(), shut()], Some(false));
        let better = Surroundings {
            better: vec![ip("2001:db8::9"), ip("203.0.113.51")],
            ..around()
        };
        let found = judge(&nothing, &better);
        assert_eq!(ids(&found), ["address.wrong"]);
        assert!(
            found[0]
                .remedy
                .as_deref()
                .unwrap()
                .contains("external_ip = \"203.0.113.51\"")
        );
        let contained = Surroundings {
            contained: true,
            ..around()
        };
        let open = || Way::Open;
        let unpublished = seen([open(), open(), open(), open()], Some(false));
        assert_eq!(ids(&judge(&unpublished, &contained)), ["docker.range"]);
    }

    #[test]
    fn one_closed_port_is_one_fault() {
        let shared = Surroundings {
            ports: [Some(443), None, Some(443), Some(443)],
            ..around()
        };
        let case = seen([shut(), Way::Unasked, Way::Open, shut()], None);
        assert_eq!(ids(&judge(&case, &shared)), ["reach.https"]);
    }

    #[test]
    fn a_private_address_is_a_fault_unless_it_was_given() {
        let given = |text: &str| ExternalIp::Given {
            v4: text.parse().ok(),
            v6: None,
        };
        let judged = |address: &str, configured, better: &[IpAddr], contained| {
            let found = judge_advertised(&[ip(address)], &configured, better, contained, "f");
            found[0].id
        };
        let better = [ip("203.0.113.50")];
        for (address, configured, better, contained, expected) in [
            ("1.2.3.4", ExternalIp::Auto, &[][..], false, "address"),
            ("203.0.113.50", given("203.0.113.50"), &[], false, "address"),
            (
                "172.16.0.10",
                ExternalIp::Auto,
                &[],
                false,
                "address.private",
            ),
            (
                "172.16.0.10",
                ExternalIp::Auto,
                &better,
                false,
                "address.private",
            ),
            ("172.17.0.2", ExternalIp::Auto, &[], true, "docker.range"),
            ("10.0.0.5", given("10.0.0.5"), &[], false, "address.private"),
        ] {
            assert_eq!(
                judged(address, configured, better, contained),
                expected,
                "{address}"
            );
        }
        let found = judge_advertised(&[ip("10.0.0.5")], &given("10.0.0.5"), &[], false, "f");
        assert_eq!(found[0].state, super::super::report::State::Note);
        assert_eq!(
            judge_advertised(&[], &ExternalIp::Auto, &[], false, "f")[0].id,
            "address.none"
        );
    }

    #[test]
    fn samples_lie_inside_the_range() {
        for range in [49152..=65535, 50000..=50000, 50000..=50003, 1..=65535] {
            assert!(
                samples(&range).iter().all(|port| range.contains(port)),
                "{range:?}"
            );
        }
    }
}
