//! Finds the broken link: looks at everything between a person and a call, from name servers to a
//! relayed packet, and says what is broken, one cause first.
//!
//! Each file of `doctor/` has one topic: an `observe` that waits for the world, with deadlines, and
//! a `judge` that is pure. This file runs them, as much at a time as does no harm.

pub mod certificate;
pub mod dial;
pub mod dns;
pub mod firewall;
pub mod join;
pub mod names;
pub mod outside;
pub mod ports;
pub mod probe;
pub mod reach;
pub mod relay;
pub mod remedy;
pub mod report;
pub mod subject;
pub mod system;
pub mod time;
pub mod turn;

use std::net::IpAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::Full;
use hyper::Request;
use hyper::header::{AUTHORIZATION, CONNECTION, HOST};
use rustls::pki_types::CertificateDer;
use serde_json::Value;
use tokio::time::timeout;

use self::certificate::Meant;
use self::names::{Identity, Named};
use self::reach::{Seen, Surroundings};
use self::report::Finding;
use self::subject::Subject;
use crate::cert::files;
use crate::config::Settings;
use crate::config::settings::{Acme, Tls};
use crate::net::clock;

pub use self::report::Report;

/// For everything. Each step has a deadline of its own; together they stay far below.
const DEADLINE: Duration = Duration::from_secs(20);

/// What to examine.
#[derive(Clone, Debug)]
pub struct Plan {
    /// The settings in force.
    pub settings: Settings,
    /// Where they came from.
    pub file: Option<PathBuf>,
    /// The process that runs with them, where it is known.
    pub running: Option<u32>,
    /// Another callbox, to be asked how this one looks from outside.
    pub from: Option<String>,
}

/// Examines everything.
pub async fn examine(plan: Plan) -> Report {
    let Plan {
        settings,
        file,
        running,
        from,
    } = plan;
    let subject = Arc::new(Subject::new(settings, file, running));
    let running = subject.running;
    let findings = match timeout(DEADLINE, all(subject, from)).await {
        Ok(findings) => findings,
        Err(_) => vec![Finding::failed(
            "doctor.deadline",
            format!(
                "the examination did not end within {} seconds",
                DEADLINE.as_secs()
            ),
            "run it again with CALLBOX_LOG__LEVEL=debug when the machine is less busy",
        )],
    };
    Report::new(findings, running)
}

async fn all(subject: Arc<Subject>, from: Option<String>) -> Vec<Finding> {
    let mut findings = Vec::new();
    if subject.running.is_none() {
        let text = "callbox is not running here with this state_dir: only what it needs for a start was looked at";
        findings.push(
            Finding::note("running.no", text).with("`systemctl start callbox`, or `callbox serve`"),
        );
    }
    let (ports, around) = tokio::join!(local(Arc::clone(&subject)), elsewhere(&subject));
    findings.extend(ports);
    findings.extend(around);
    match subject.running {
        Some(_) => findings.extend(living(&subject, from.as_deref()).await),
        None => findings.extend(idle(&subject).await),
    }
    findings
}

/// What only files and tables of this machine say. They are many, so that this is no work for a
/// thread that has connections to serve.
async fn local(subject: Arc<Subject>) -> Vec<Finding> {
    let looked = tokio::task::spawn_blocking(move || {
        let mut findings = ports::judge(&ports::observe(&subject), subject.running.is_some());
        findings.push(match ports::taken(&subject) {
            Ok(taken) => ports::judge_range(&subject.settings.turn.relay_ports, taken),
            Err(error) => Finding::skipped(
                "range",
                format!("the kernel's table cannot be read: {error}"),
            ),
        });
        let granted = system::observe(&subject);
        findings.extend(system::judge(&granted, system::files_wanted(&subject)));
        if let Err(why) = &subject.secret
            && subject.running.is_some()
        {
            findings.push(Finding::failed(
                "state.secret",
                format!("the TURN secret of the running process cannot be read: {why}"),
                "run the doctor as root, or as the user of the service: `sudo callbox doctor`",
            ));
        }
        findings
    });
    looked.await.unwrap_or_default()
}

/// What is found out whether callbox runs or not.
async fn elsewhere(subject: &Subject) -> Vec<Finding> {
    let directory = match &subject.settings.tls {
        Tls::Acme(acme) => Some(acme.directory.as_str()),
        // Whoever orders nothing need not be known to the authority.
        _ => None,
    };
    let clock = async {
        match directory {
            Some(url) => {
                let said = time::observe(&subject.servers, url, clock::unix_time).await;
                time::judge(&said, host_of(url))
            }
            None => Finding::skipped("clock", "there is no ACME directory to compare it with"),
        }
    };
    let (clock, firewall) = tokio::join!(clock, firewall::observe());
    let mut findings = vec![clock];
    findings.extend(firewall::judge(&firewall, &firewall::needed(subject)));
    findings
}

fn host_of(url: &str) -> &str {
    let rest = url.split_once("://").map_or(url, |(_, rest)| rest);
    rest.split('/').next().unwrap_or(rest)
}

/// Before a start.
async fn idle(subject: &Subject) -> Vec<Finding> {
    let mut findings = Vec::new();
    if let Tls::Files { cert, key } = &subject.settings.tls {
        let provider = rustls::crypto::aws_lc_rs::default_provider();
        findings.extend(match files::load(cert, key, &provider) {
            Ok(key) => judge_certificate(subject, &key.cert, None),
            Err(error) => vec![Finding::failed(
                "certificate.untrusted",
                error.to_string(),
                "correct [tls] cert and key; `callbox check` reads them too",
            )],
        });
    }
    let named = names::observe(subject, None).await;
    findings.extend(names::judge(&named, &subject.local, &subject.advertised));
    findings.extend(judge_advertised(subject, &[]));
    findings
}

/// The running process, as its clients meet it.
async fn living(subject: &Subject, from: Option<&str>) -> Vec<Finding> {
    let (chain, last_error) = tokio::join!(door(subject), last_error(subject));
    let leaf = chain.as_ref().ok().and_then(|chain| chain.first());
    let each = subject
        .advertised
        .iter()
        .map(|ip| reach::observe(subject, *ip, leaf));
    let ways = async {
        let seen = futures_util::future::join_all(each).await;
        let attempts = match subject.secret {
            Ok(_) => relay::observe(subject, &seen).await,
            Err(_) => Vec::new(),
        };
        (seen, attempts)
    };
    let joined = async {
        match (subject.door(), &chain) {
            (Some(door), Ok(_)) => Some(join::observe(subject, door).await),
            _ => None,
        }
    };
    let asked = async {
        match from {
            Some(url) => outside::examine(subject, url, leaf).await,
            None => Vec::new(),
        }
    };
    let (named, (seen, attempts), joined, asked) =
        tokio::join!(names::observe(subject, leaf), ways, joined, asked);

    let mut findings = names::judge(&named, &subject.local, &subject.advertised);
    findings.extend(match &chain {
        Ok(chain) => judge_certificate(subject, chain, last_error),
        Err(Door::Nowhere) => vec![Finding::skipped("certificate", "[front] https is empty")],
        Err(Door::Silent(why)) => vec![Finding::failed(
            "door.silent",
            format!("the front door does not answer on this machine: {why}"),
            "`journalctl -u callbox -n 50` says more",
        )],
    });
    let better = better(&named);
    findings.extend(judge_advertised(subject, &better));
    for seen in &seen {
        findings.extend(judge_reach(subject, seen, &better));
    }
    let secret_from = match subject.settings.turn.secret {
        Some(_) => subject.file_name(),
        None => subject.settings.state_dir.display().to_string(),
    };
    findings.extend(relay::judge(&attempts, &secret_from));
    let signaling = &subject.settings.signaling;
    findings.extend(joined.map(|outcome| join::judge(&outcome, &signaling.auth, &signaling.path)));
    outside::settle(&mut findings, asked);
    findings
}

/// Addresses under which this machine is found although nothing says that they are its own.
fn better(named: &[Named]) -> Vec<IpAddr> {
    let others = named.iter().flat_map(|named| &named.others);
    let ours = others.filter(|(_, identity)| *identity == Identity::Us);
    ours.map(|(ip, _)| *ip).collect()
}

fn judge_advertised(subject: &Subject, better: &[IpAddr]) -> Vec<Finding> {
    reach::judge_advertised(
        &subject.advertised,
        &subject.settings.external_ip,
        better,
        subject.contained,
        &subject.file_name(),
    )
}

fn judge_reach(subject: &Subject, seen: &Seen, better: &[IpAddr]) -> Vec<Finding> {
    let range = &subject.settings.turn.relay_ports;
    let around = Surroundings {
        is_local: subject.is_local(seen.address),
        better: better.to_vec(),
        provider: subject.provider,
        contained: subject.contained,
        ports: [
            subject.https(),
            subject.http(),
            subject.turn_udp(),
            subject.turn_tcp(),
        ],
        range: (*range.start(), *range.end()),
        file: subject.file_name(),
    };
    reach::judge(seen, &around)
}

fn judge_certificate(
    subject: &Subject,
    chain: &[CertificateDer<'_>],
    last_error: Option<String>,
) -> Vec<Finding> {
    let meant = Meant::of(&subject.settings.tls, last_error);
    let (names, now) = (&subject.settings.host, clock::unix_time());
    certificate::judge(chain, names, &meant, now, &certificate::roots())
}

/// Why there is no certificate to look at.
enum Door {
    Nowhere,
    Silent(String),
}

/// What the front door shows to somebody on this machine.
async fn door(subject: &Subject) -> Result<Vec<CertificateDer<'static>>, Door> {
    let address = subject.door().ok_or(Door::Nowhere)?;
    let silent = |why: String| Door::Silent(format!("{address}: {why}"));
    let stream = subject
        .connect(address)
        .await
        .map_err(|closed| silent(closed.to_string()))?;
    let stream = dial::tls(stream, &subject.host()).await.map_err(silent)?;
    Ok(dial::chain(&stream))
}

/// Why the last order of a certificate failed, as the admin listener tells it.
async fn last_error(subject: &Subject) -> Option<String> {
    if !matches!(subject.settings.tls, Tls::Acme(Acme { .. })) {
        return None;
    }
    let admin = &subject.settings.admin;
    let mut address = *admin.listen.first()?;
    if address.ip().is_unspecified() {
        address.set_ip(match address.ip() {
            IpAddr::V4(_) => std::net::Ipv4Addr::LOCALHOST.into(),
            IpAddr::V6(_) => std::net::Ipv6Addr::LOCALHOST.into(),
        });
    }
    let mut request = Request::get("/readyz")
        .header(HOST, address.to_string())
        .header(CONNECTION, "close");
    if let Some(token) = &admin.token {
        let value = [b"Bearer ", token.expose()].concat();
        request = request.header(AUTHORIZATION, value);
    }
    let request = request.body(Full::new(Bytes::new())).ok()?;
    let stream = dial::tcp(address).await.ok()?;
    let answer = dial::http(stream, request, dial::ANSWER).await.ok()?;
    let state: Value = serde_json::from_slice(answer.body()).ok()?;
    let error = state.get("certificate")?.get("last_error")?.as_str()?;
    Some(error.to_owned())
}
