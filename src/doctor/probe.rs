//! The other side of `doctor --from`: looks at whoever asks, from here.
//!
//! What it may look at is decided by the connection of whoever asks, not by what they say: their
//! own address, if TURN could relay there, a handful of ports, one packet or connection at a time
//! each. Nothing that a prober receives is passed on, but for whether it came, and which
//! certificate was shown.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use aws_lc_rs::digest;
use serde::{Deserialize, Serialize};
use tokio::sync::Semaphore;
use tokio::time::timeout;

use super::dial;
use super::turn;
use crate::limit::PrefixLimiter;
use crate::net::clock;
use crate::turn::core::{Policy, policy};

/// Probes at a time, of everybody.
const AT_A_TIME: usize = 4;

/// Ports of one probe, of each transport.
pub const MAX_PORTS: usize = 4;

/// For one probe. Whoever asks waits a little longer.
const DEADLINE: Duration = Duration::from_secs(7);

/// Networks that are counted apart; those beyond share.
const SLOTS: usize = 1024;
const BURST: u32 = 6;
const PER_SECOND: u32 = 1;

/// What to look at.
#[derive(Clone, Debug, Default, Deserialize, Serialize, PartialEq, Eq)]
#[serde(deny_unknown_fields)]
pub struct Wish {
    /// The name to ask for in the TLS handshake.
    pub name: String,
    /// The port of HTTPS.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tls: Option<u16>,
    /// Other TCP ports.
    #[serde(default)]
    pub tcp: Vec<u16>,
    /// UDP ports that are sent a STUN Binding request.
    #[serde(default)]
    pub udp: Vec<u16>,
}

/// What was seen.
#[derive(Clone, Debug, Default, Deserialize, Serialize, PartialEq, Eq)]
pub struct Sight {
    /// Whom we looked at.
    pub source: String,
    /// SHA-256 of the certificate that was shown, in hexadecimal digits.
    pub certificate: Option<String>,
    /// Of each TCP port `open`, `refused`, `silent` or `failed`.
    pub tcp: BTreeMap<u16, String>,
    /// Of each UDP port `open` or `silent`.
    pub udp: BTreeMap<u16, String>,
}

/// Why nobody is looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// An address that TURN would not relay to either.
    #[error("your address is not one that may be probed from here")]
    Address,
    /// Port 0, or more than a handful.
    #[error("name at most four ports of each transport")]
    Ports,
    /// Everybody waits their turn.
    #[error("too many probes; try again in a few seconds")]
    Busy,
}

/// Looks at whoever asks.
#[derive(Debug)]
pub struct Prober {
    policy: Policy,
    limiter: Mutex<PrefixLimiter>,
    slots: Semaphore,
}

impl Prober {
    /// `policy`: where TURN may relay to.
    pub fn new(policy: Policy) -> Self {
        Self {
            policy,
            limiter: Mutex::new(PrefixLimiter::new(SLOTS, BURST, PER_SECOND)),
            slots: Semaphore::new(AT_A_TIME),
        }
    }

    fn admits(&self, source: IpAddr) -> bool {
        let mut limiter = self.limiter.lock().unwrap_or_else(PoisonError::into_inner);
        limiter.allow(source, clock::now())
    }

    /// Looks at `source`, the address that the request came from.
    pub async fn look(&self, source: IpAddr, wish: &Wish) -> Result<Sight, Refusal> {
        let source = source.to_canonical();
        let ports = || wish.tls.iter().chain(&wish.tcp).chain(&wish.udp);
        let too_many = wish.tcp.len() > MAX_PORTS || wish.udp.len() > MAX_PORTS;
        if too_many || ports().any(|port| *port == 0) {
            return Err(Refusal::Ports);
        }
        let verdict = self.policy.address(source);
        if verdict != policy::Verdict::Allowed || self.policy.is_own(source) {
            return Err(Refusal::Address);
        }
        let allowed = self.admits(source);
        let slot = self.slots.try_acquire().map_err(|_| Refusal::Busy)?;
        if !allowed {
            return Err(Refusal::Busy);
        }
        let sight = timeout(DEADLINE, look(source, wish)).await;
        drop(slot);
        Ok(sight.unwrap_or_else(|_| Sight {
            source: source.to_string(),
            ..Sight::default()
        }))
    }
}

async fn look(source: IpAddr, wish: &Wish) -> Sight {
    let tcp = wish.tcp.iter().map(|port| async move {
        let opened = dial::tcp(SocketAddr::new(source, *port)).await;
        (*port, state(opened.err().as_ref()))
    });
    let udp = wish.udp.iter().map(|port| async move {
        let answered = turn::binding(SocketAddr::new(source, *port)).await;
        let state = if answered.is_ok() { "open" } else { "silent" };
        (*port, state.to_owned())
    });
    let tls = async {
        match wish.tls {
            Some(port) => Some((port, tls(SocketAddr::new(source, port), &wish.name).await)),
            None => None,
        }
    };
    let (tls, tcp, udp) = tokio::join!(
        tls,
        futures_util::future::join_all(tcp),
        futures_util::future::join_all(udp)
    );
    let mut sight = Sight {
        source: source.to_string(),
        certificate: None,
        tcp: tcp.into_iter().collect(),
        udp: udp.into_iter().collect(),
    };
    if let Some((port, (state, certificate))) = tls {
        sight.tcp.insert(port, state);
        sight.certificate = certificate;
    }
    sight
}

async fn tls(address: SocketAddr, name: &str) -> (String, Option<String>) {
    let stream = match dial::tcp(address).await {
        Ok(stream) => stream,
        Err(closed) => return (state(Some(&closed)), None),
    };
    match dial::tls(stream, name).await {
        Ok(stream) => (
            state(None),
            dial::chain(&stream).first().map(|leaf| fingerprint(leaf)),
        ),
        Err(_) => (state(None), None),
    }
}

fn state(closed: Option<&dial::Closed>) -> String {
    match closed {
        None => "open",
        Some(dial::Closed::Refused) => "refused",
        Some(dial::Closed::Silent) => "silent",
        Some(dial::Closed::Failed(_)) => "failed",
    }
    .to_owned()
}

/// SHA-256 of a certificate, in hexadecimal digits.
pub fn fingerprint(certificate: &[u8]) -> String {
    let digest = digest::digest(&digest::SHA256, certificate);
    digest
        .as_ref()
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn look(prober: &Prober, source: &str, wish: &Wish) -> Result<Sight, Refusal> {
        tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .unwrap()
            .block_on(prober.look(source.parse().unwrap(), wish))
    }

    #[test]
    fn only_who_could_be_relayed_to_is_looked_at() {
        let own = "198.41.0.4".parse().unwrap();
        let prober = Prober::new(Policy::new(Vec::new(), Vec::new(), vec![own], Vec::new()));
        for source in [
            "127.0.0.1",
            "10.0.0.1",
            "::1",
            "169.254.169.254",
            "::ffff:10.0.0.1",
            "198.41.0.4",
            "fd00::1",
        ] {
            let refused = look(&prober, source, &Wish::default());
            assert_eq!(refused, Err(Refusal::Address), "{source}");
        }
        let seen = look(&prober, "::ffff:193.0.14.129", &Wish::default()).unwrap();
        assert_eq!(seen.source, "193.0.14.129");
    }

    #[test]
    fn a_probe_names_a_handful_of_ports() {
        let prober = Prober::new(Policy::default());
        for wish in [
            Wish {
                tcp: vec![1; MAX_PORTS + 1],
                ..Wish::default()
            },
            Wish {
                udp: vec![1; MAX_PORTS + 1],
                ..Wish::default()
            },
            Wish {
                tls: Some(0),
                ..Wish::default()
            },
            Wish {
                udp: vec![0],
                ..Wish::default()
            },
        ] {
            assert_eq!(
                look(&prober, "193.0.14.129", &wish),
                Err(Refusal::Ports),
                "{wish:?}"
            );
        }
    }

    #[test]
    fn whoever_asks_too_often_waits() {
        let prober = Prober::new(Policy::default());
        let asked =
            (0..BURST * 4).filter(|_| look(&prober, "193.0.14.129", &Wish::default()).is_ok());
        assert!((BURST as usize..BURST as usize * 3).contains(&asked.count()));
    }

    #[test]
    fn wishes_that_nobody_understands_are_refused() {
        assert!(
            serde_json::from_str::<Wish>(r#"{"name":"a","tls":443,"tcp":[80],"udp":[3478]}"#)
                .is_ok()
        );
        for text in [
            r#"{"name":"a","target":"10.0.0.1"}"#,
            r#"{"name":"a","tcp":[70000]}"#,
            "{}",
        ] {
            assert!(serde_json::from_str::<Wish>(text).is_err(), "{text}");
        }
    }
}
