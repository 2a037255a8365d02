//! Does relaying work: an allocation, and a packet from one relayed address to another and back,
//! over each transport.

use std::fmt;
use std::net::{IpAddr, SocketAddr};

use super::dial;
use super::reach::{Seen, Way};
use super::report::Finding;
use super::subject::Subject;
use super::turn::{self, Client, Trouble, Wire};
use crate::turn::stun::address::Family;

/// How the server is reached.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Transport {
    /// UDP.
    Udp,
    /// TCP.
    Tcp,
    /// TLS over TCP, at the front door.
    Tls,
}

impl Transport {
    const ALL: [Self; 3] = [Self::Udp, Self::Tcp, Self::Tls];

    const fn id(self) -> &'static str {
        match self {
            Self::Udp => "relay.udp",
            Self::Tcp => "relay.tcp",
            Self::Tls => "relay.tls",
        }
    }
}

impl fmt::Display for Transport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Udp => "UDP",
            Self::Tcp => "TCP",
            Self::Tls => "TLS",
        })
    }
}

/// What became of one attempt.
#[derive(Clone, Debug)]
pub struct Attempt {
    /// How the server was reached.
    pub transport: Transport,
    /// Where.
    pub server: SocketAddr,
    /// How it ended.
    pub result: Result<(), Trouble>,
}

/// Tries each transport for each advertised address: through it where the way is open, else
/// without leaving this machine.
pub async fn observe(subject: &Subject, seen: &[Seen]) -> Vec<Attempt> {
    let attempts = seen.iter().flat_map(|seen| {
        Transport::ALL.into_iter().filter_map(|transport| {
            let server = server(subject, seen, transport)?;
            Some(attempt(subject, seen.address, transport, server))
        })
    });
    futures_util::future::join_all(attempts).await
}

fn server(subject: &Subject, seen: &Seen, transport: Transport) -> Option<SocketAddr> {
    let (port, way, inside) = match transport {
        Transport::Udp => (subject.turn_udp(), &seen.turn_udp, subject.turn_inside()),
        Transport::Tcp => (subject.turn_tcp(), &seen.turn_tcp, subject.door()),
        Transport::Tls => (subject.https(), &seen.https, subject.door()),
    };
    let port = port?;
    match way {
        Way::Open => Some(SocketAddr::new(seen.address, port)),
        _ => inside.map(|inside| SocketAddr::new(inside.ip(), port)),
    }
}

async fn attempt(
    subject: &Subject,
    address: IpAddr,
    transport: Transport,
    server: SocketAddr,
) -> Attempt {
    let family = Family::of(address);
    let tried = async {
        let mut one = client(subject, transport, server, "one").await?;
        let mut other = client(subject, transport, server, "other").await?;
        let result = turn::round_trip(&mut one, &mut other, family).await;
        if !matches!(result, Err(Trouble::Silent | Trouble::Unreachable(_))) {
            tokio::join!(one.release(), other.release());
        }
        result
    };
    Attempt {
        transport,
        server,
        result: tried.await,
    }
}

async fn client(
    subject: &Subject,
    transport: Transport,
    server: SocketAddr,
    id: &str,
) -> Result<Client, Trouble> {
    let credential = subject
        .credential(&format!("{transport}-{id}"))
        .ok_or(Trouble::Refused(401))?;
    let refused = |closed: dial::Closed| Trouble::Unreachable(closed.to_string());
    let wire = match transport {
        Transport::Udp => turn::datagram(server).await?,
        Transport::Tcp => {
            let stream = subject.connect(server).await.map_err(refused)?;
            Wire::Stream(Box::new(stream), Vec::new())
        }
        Transport::Tls => {
            let stream = subject.connect(server).await.map_err(refused)?;
            let stream = dial::tls(stream, &subject.host()).await;
            let stream = stream.map_err(Trouble::Unreachable)?;
            Wire::Stream(Box::new(stream), Vec::new())
        }
    };
    Ok(Client::new(wire, credential.username, credential.password))
}

/// Judges all attempts.
pub fn judge(attempts: &[Attempt], secret_from: &str) -> Vec<Finding> {
    let mut findings: Vec<Finding> = Vec::new();
    for Attempt {
        transport,
        server,
        result,
    } in attempts
    {
        let finding = match result {
            Ok(()) => Finding::ok(
                transport.id(),
                format!("relays over {transport} through {server}"),
            )
            .about(server),
            Err(Trouble::Refused(401 | 441)) => Finding::failed(
                "relay.credentials",
                format!(
                    "the running process does not know the TURN secret of {secret_from}: whoever uses it is refused"
                ),
                "`systemctl restart callbox`, which makes it read the secret again",
            ),
            Err(Trouble::Refused(403)) => Finding::failed(
                "relay.refused",
                "an allocation may not send to another one of this server (403): [turn] deny_peers covers the advertised address, so two clients that both relay never meet",
                "take the advertised address out of [turn] deny_peers; `callbox check` shows what is in force",
            ),
            Err(Trouble::Refused(486 | 508)) => Finding::failed(
                "relay.full",
                "the server makes no more allocations: it is ending, or its quota or its ports are used up",
                "`curl -s http://127.0.0.1:9090/metrics | grep turn` shows which; raise [turn] relay_ports, total_quota or user_quota",
            ),
            Err(Trouble::Refused(440)) => Finding::skipped(
                transport.id(),
                format!("{server} has no relayed addresses of this family"),
            ),
            Err(trouble) => Finding::failed(
                transport.id(),
                format!("TURN over {transport} at {server} does not relay: {trouble}"),
                "`journalctl -u callbox -n 50` says more",
            )
            .about(server),
        };
        // Each transport meets the same refusal.
        let is_known =
            finding.subject.is_none() && findings.iter().any(|known| known.id == finding.id);
        if !is_known {
            findings.push(finding);
        }
    }
    findings
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn refusals_have_names_of_their_own() {
        for (result, expected) in [
            (Ok(()), "relay.tls"),
            (Err(Trouble::Refused(401)), "relay.credentials"),
            (Err(Trouble::Refused(441)), "relay.credentials"),
            (Err(Trouble::Refused(403)), "relay.refused"),
            (Err(Trouble::Refused(486)), "relay.full"),
            (Err(Trouble::Refused(508)), "relay.full"),
            (Err(Trouble::Refused(440)), "relay.tls"),
            (Err(Trouble::Refused(400)), "relay.tls"),
            (Err(Trouble::Silent), "relay.tls"),
            (Err(Trouble::Foreign), "relay.tls"),
            (Err(Trouble::Lost), "relay.tls"),
        ] {
            let attempt = Attempt {
                transport: Transport::Tls,
                server: "192.0.2.1:443".parse().unwrap(),
                result,
            };
            let found = judge(&[attempt.clone(), attempt], "appliance.toml");
            assert_eq!(found[0].id, expected);
            if expected != "relay.tls" {
                assert_eq!(found.len(), 1, "said once");
            }
        }
    }
}
