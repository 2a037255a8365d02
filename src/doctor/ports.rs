//! Are the configured ports ours, or free for us, or whose are they?

use std::fmt;
use std::io;
use std::net::SocketAddr;

use super::report::Finding;
use super::subject::Subject;
use crate::net::holder::{self, Holder, Transport};
use crate::net::listen;

/// What somebody listens for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Port {
    /// TCP or UDP.
    pub transport: Transport,
    /// As configured.
    pub address: SocketAddr,
    /// The key that names it.
    pub setting: &'static str,
    /// What is there.
    pub occupied: Occupied,
}

impl fmt::Display for Port {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "port {} ({})", self.address.port(), self.transport)
    }
}

/// Who has a port.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Occupied {
    /// The process that is examined, or the service manager for it.
    ByUs,
    /// Somebody else.
    By(Holder),
    /// Nobody.
    Free,
    /// It cannot be had: the kernel's answer.
    Denied(String),
}

/// Looks at every configured port.
pub fn observe(subject: &Subject) -> Vec<Port> {
    let settings = &subject.settings;
    let tcp = |list: &[SocketAddr], setting| -> Vec<_> {
        list.iter()
            .map(|address| (Transport::Tcp, *address, setting))
            .collect()
    };
    let turn: Vec<SocketAddr> = settings.turn_tcp().collect();
    let udp = settings
        .turn
        .listen
        .iter()
        .map(|address| (Transport::Udp, *address, "[turn] listen"));
    [
        tcp(&settings.front.https, "[front] https"),
        tcp(&settings.front.http, "[front] http"),
        tcp(&turn, "[turn] listen"),
    ]
    .into_iter()
    .flatten()
    .chain(udp)
    .filter(|(_, address, _)| address.port() != 0)
    .map(|(transport, address, setting)| Port {
        transport,
        address,
        setting,
        occupied: occupied(subject.running, transport, address, setting),
    })
    .collect()
}

fn occupied(
    running: Option<u32>,
    transport: Transport,
    address: SocketAddr,
    setting: &'static str,
) -> Occupied {
    let holders = holder::all(transport, address);
    let ours = |holder: &Holder| match holder {
        Holder::Process { pid, .. } => Some(*pid) == running,
        Holder::Hidden { .. } => false,
    };
    // With socket activation the service manager has each socket as well, and before us.
    let manager = |holder: &Holder| matches!(holder, Holder::Process { pid: 1, .. });
    if holders.iter().any(ours) || holders.iter().any(manager) {
        return Occupied::ByUs;
    }
    if let Some(holder) = holders.into_iter().next() {
        // A process of another user, which we may not look into, where ours is known to run.
        return match (&holder, running) {
            (Holder::Hidden { .. }, Some(_)) => Occupied::ByUs,
            _ => Occupied::By(holder),
        };
    }
    if running.is_some() {
        return Occupied::Free;
    }
    let tried = match transport {
        Transport::Tcp => listen::tcp(address, setting).err(),
        Transport::Udp => listen::udp(address, std::num::NonZeroUsize::MIN, setting).err(),
    };
    match tried {
        None => Occupied::Free,
        Some(error) => Occupied::Denied(error.to_string()),
    }
}

/// Judges every port.
pub fn judge(ports: &[Port], is_running: bool) -> Vec<Finding> {
    ports
        .iter()
        .map(|port| judge_one(port, is_running))
        .collect()
}

fn judge_one(port: &Port, is_running: bool) -> Finding {
    let about = format!("{} {}", port.transport, port.address);
    let finding = match &port.occupied {
        Occupied::ByUs => Finding::ok("port", format!("{port} is ours")),
        Occupied::Free if !is_running => Finding::ok("port", format!("{port} is free")),
        Occupied::Free => Finding::failed(
            "port.missing",
            format!("callbox runs, but does not listen on {port}, which {} names", port.setting),
            "`systemctl restart callbox`: listeners change only with a restart",
        ),
        Occupied::By(holder) => Finding::failed(
            "port.held",
            format!("{port} is held by {holder}"),
            format!("{}; or choose another port with {}", holder.remedy(), port.setting),
        ),
        Occupied::Denied(why) => Finding::failed(
            "port.denied",
            format!("{port} cannot be had: {why}"),
            match port.address.port() {
                ..1024 => "`sudo setcap cap_net_bind_service=+ep $(command -v callbox)`, or run it by its systemd unit".to_owned(),
                _ => format!("correct {}", port.setting),
            },
        ),
    };
    finding.about(about)
}

/// Judges the relay range by the ports of it that others have.
pub fn judge_range(range: &std::ops::RangeInclusive<u16>, taken: usize) -> Finding {
    let all = range.len();
    let (first, last) = (range.start(), range.end());
    match taken * 2 > all {
        true => Finding::failed(
            "range.taken",
            format!("other programs have {taken} of the {all} relay ports {first}-{last}"),
            "choose another range with [turn] relay_ports; `ss -lunp` shows whose they are",
        ),
        false => Finding::ok(
            "range",
            format!(
                "{} of the relay ports {first}-{last} can be had",
                all - taken
            ),
        ),
    }
}

/// How many UDP ports of the range other processes have.
pub fn taken(subject: &Subject) -> io::Result<usize> {
    let ours = subject.running.map(holder::sockets).unwrap_or_default();
    let range = &subject.settings.turn.relay_ports;
    let mut others: Vec<u16> = holder::udp_ports()?
        .into_iter()
        .filter(|(port, inode)| range.contains(port) && !ours.contains(inode))
        .map(|(port, _)| port)
        .collect();
    others.sort_unstable();
    others.dedup();
    Ok(others.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whoever_has_a_port_is_named() {
        let nginx = || {
            Occupied::By(Holder::Process {
                pid: 812,
                name: "nginx".to_owned(),
                unit: Some("nginx.service".to_owned()),
            })
        };
        for (occupied, is_running, expected) in [
            (Occupied::ByUs, true, "port"),
            (Occupied::Free, false, "port"),
            (Occupied::Free, true, "port.missing"),
            (nginx(), false, "port.held"),
            (nginx(), true, "port.held"),
            (
                Occupied::Denied("not allowed".to_owned()),
                false,
                "port.denied",
            ),
        ] {
            let port = Port {
                transport: Transport::Tcp,
                address: "[::]:443".parse().unwrap(),
                setting: "[front] https",
                occupied,
            };
            let found = judge(std::slice::from_ref(&port), is_running);
            assert_eq!(found[0].id, expected);
            if expected == "port.held" {
                assert_eq!(found[0].text, "port 443 (tcp) is held by nginx (pid 812)");
                let remedy = found[0].remedy.as_deref().unwrap();
                assert!(remedy.contains("systemctl stop nginx.service"), "{remedy}");
            }
        }
    }

    #[test]
    fn a_few_relay_ports_of_others_do_no_harm() {
        assert_eq!(judge_range(&(50000..=50009), 5).id, "range");
        assert_eq!(judge_range(&(50000..=50009), 6).id, "range.taken");
    }
}
