//! What was found: findings with stable ids, their root causes, and how they are told to people and
//! machines. Pure.

use std::fmt::Write as _;

use serde::Serialize;
use serde_json::{Value, json};

/// How it stands with one link of the chain.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum State {
    /// It holds.
    Ok,
    /// Worth knowing; nothing is broken.
    Note,
    /// It is broken, or could not be shown to hold.
    Failed,
    /// It was not looked at; the text says why.
    Skipped,
}

/// One finding.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// Stable: the topic, and after a dot the fault.
    pub id: &'static str,
    /// What it is about where there are several: a name, an address, a port.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub subject: Option<String>,
    /// How it stands.
    pub state: State,
    /// One sentence.
    pub text: String,
    /// One command or console path.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub remedy: Option<String>,
    /// The id of the failure that this one follows from.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub because: Option<&'static str>,
}

impl Finding {
    fn new(id: &'static str, state: State, text: impl Into<String>) -> Self {
        Self {
            id,
            subject: None,
            state,
            text: text.into(),
            remedy: None,
            because: None,
        }
    }

    /// A link that holds.
    pub fn ok(id: &'static str, text: impl Into<String>) -> Self {
        Self::new(id, State::Ok, text)
    }

    /// Something worth knowing.
    pub fn note(id: &'static str, text: impl Into<String>) -> Self {
        Self::new(id, State::Note, text)
    }

    /// A broken link, and the command or console path that mends it.
    pub fn failed(id: &'static str, text: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self {
            remedy: Some(remedy.into()),
            ..Self::new(id, State::Failed, text)
        }
    }

    /// A link that nobody looked at.
    pub fn skipped(id: &'static str, why: impl Into<String>) -> Self {
        Self::new(id, State::Skipped, why)
    }

    /// The same about one of several.
    pub fn about(mut self, subject: impl ToString) -> Self {
        self.subject = Some(subject.to_string());
        self
    }

    /// The same with a command.
    pub fn with(mut self, remedy: impl Into<String>) -> Self {
        self.remedy = Some(remedy.into());
        self
    }

    /// The part of the id before the dot.
    pub fn topic(&self) -> &'static str {
        self.id.split_once('.').map_or(self.id, |(topic, _)| topic)
    }
}

/// Everything that was found, causes before what follows from them.
#[derive(Clone, Debug)]
pub struct Report {
    findings: Vec<Finding>,
    running: Option<u32>,
}

/// A failure, and the failures that are its consequence when both are found.
const CAUSES: &[(&str, &[&str])] = &[
    (
        "clock.off",
        &[
            "certificate.expired",
            "certificate.early",
            "certificate.untrusted",
            "relay.credentials",
        ],
    ),
    (
        "dns.dead",
        &[
            "dns.missing",
            "certificate.untrusted",
            "outside.unreachable",
        ],
    ),
    ("dns.elsewhere", &["certificate.untrusted"]),
    (
        "port.held",
        &[
            "port.missing",
            "door.silent",
            "reach.https",
            "reach.http",
            "reach.turn-udp",
            "reach.turn-tcp",
        ],
    ),
    (
        "door.silent",
        &[
            "reach.https",
            "relay.tls",
            "signaling.silent",
            "signaling.refused",
            "outside.https",
        ],
    ),
    (
        "docker.range",
        &["address.private", "range.closed", "outside.range"],
    ),
    (
        "address.private",
        &[
            "address.hairpin",
            "reach.https",
            "reach.http",
            "reach.turn-udp",
            "reach.turn-tcp",
            "range.closed",
            "dns.elsewhere",
            "outside.address",
        ],
    ),
    (
        "address.wrong",
        &[
            "address.hairpin",
            "address.private",
            "reach.https",
            "reach.http",
            "reach.turn-udp",
            "reach.turn-tcp",
            "range.closed",
            "relay.udp",
            "relay.tcp",
            "relay.tls",
            "dns.elsewhere",
            "outside.address",
        ],
    ),
    (
        "address.hairpin",
        &[
            "reach.https",
            "reach.http",
            "reach.turn-udp",
            "reach.turn-tcp",
            "range.closed",
            "relay.udp",
            "relay.tcp",
            "relay.tls",
        ],
    ),
    ("reach.https", &["relay.tls", "outside.https"]),
    ("reach.http", &["outside.http"]),
    ("reach.turn-udp", &["relay.udp", "outside.turn-udp"]),
    ("reach.turn-tcp", &["relay.tcp", "outside.turn-tcp"]),
    ("range.closed", &["outside.range"]),
    ("files.limit", &["relay.full"]),
];

impl Report {
    /// Puts findings in order. `running`: the process that was looked at.
    pub fn new(findings: Vec<Finding>, running: Option<u32>) -> Self {
        let mut findings = findings;
        attribute(&mut findings);
        // Stable, so that within a class the order of the checks stays: that of the way of a call.
        findings.sort_by_key(|finding| match (finding.state, finding.because) {
            (State::Failed, None) => 0,
            (State::Failed, Some(_)) => 1,
            (State::Note, _) => 2,
            (State::Skipped, _) => 3,
            (State::Ok, _) => 4,
        });
        Self { findings, running }
    }

    /// All findings.
    pub fn findings(&self) -> &[Finding] {
        &self.findings
    }

    /// Whether nothing is broken.
    pub fn is_healthy(&self) -> bool {
        self.count(State::Failed) == 0
    }

    fn count(&self, state: State) -> usize {
        self.findings.iter().filter(|f| f.state == state).count()
    }

    /// For machines; documented in docs/operations.md.
    pub fn to_json(&self) -> Value {
        json!({
            "format": 1,
            "service": "callbox",
            "version": env!("CARGO_PKG_VERSION"),
            "healthy": self.is_healthy(),
            "running": self.running,
            "findings": self.findings,
        })
    }

    /// For people: causes with their remedies, notes, and one line at the end.
    pub fn to_text(&self) -> String {
        let mut text = String::new();
        let roots =
            |finding: &&Finding| finding.state == State::Failed && finding.because.is_none();
        for finding in self.findings.iter().filter(roots) {
            // Writing to a string cannot fail.
            let _ = writeln!(text, "{}: {}", finding.id, finding.text);
            if let Some(remedy) = &finding.remedy {
                let _ = writeln!(text, "  -> {remedy}");
            }
            let mut following: Vec<_> = self
                .findings
                .iter()
                .filter(|other| other.because == Some(finding.id))
                .map(|other| other.id)
                .collect();
            following.dedup();
            if !following.is_empty() {
                let _ = writeln!(text, "  because of this: {}", following.join(", "));
            }
        }
        for note in self.findings.iter().filter(|f| f.state == State::Note) {
            let _ = writeln!(text, "note: {}: {}", note.id, note.text);
            if let Some(remedy) = &note.remedy {
                let _ = writeln!(text, "  -> {remedy}");
            }
        }
        let good = self.count(State::Ok);
        let of = match self.running {
            Some(pid) => format!("callbox (pid {pid})"),
            None => "callbox, which is not running here".to_owned(),
        };
        let _ = match self.findings.iter().filter(roots).count() {
            0 => writeln!(text, "all well with {of}: {good} checks"),
            1 => writeln!(text, "1 link is broken; {good} others hold, of {of}"),
            broken => writeln!(
                text,
                "{broken} links are broken; {good} others hold, of {of}"
            ),
        };
        text
    }
}

/// The failure that names ports, from which others about the same ports follow.
const DROPPED: &str = "firewall.closed";

/// Says of each failure which other one it follows from.
fn attribute(findings: &mut [Finding]) {
    // What this machine drops itself is closed for everybody who tries.
    let dropped: Vec<String> = findings
        .iter()
        .filter(|f| f.id == DROPPED)
        .filter_map(|f| Some(format!("{} of ", f.subject.as_ref()?)))
        .collect();
    for finding in findings.iter_mut().filter(|f| f.state == State::Failed) {
        let subject = finding.subject.as_deref().unwrap_or_default();
        if dropped.iter().any(|ports| subject.starts_with(ports)) {
            finding.because = Some(DROPPED);
        }
    }
    let failed: Vec<&'static str> = findings
        .iter()
        .filter(|f| f.state == State::Failed)
        .map(|f| f.id)
        .collect();
    for finding in findings.iter_mut().filter(|f| f.state == State::Failed) {
        let cause = CAUSES
            .iter()
            .filter(|(_, followers)| followers.contains(&finding.id))
            .find_map(|(cause, _)| failed.iter().find(|id| *id == cause));
        finding.because = finding.because.or_else(|| cause.copied());
    }
    // What follows from a consequence follows from its cause.
    for _ in 0..findings.len() {
        let causes: Vec<(&'static str, Option<&'static str>)> =
            findings.iter().map(|f| (f.id, f.because)).collect();
        let root = |id| {
            causes
                .iter()
                .find(|(cause, _)| *cause == id)
                .and_then(|(_, b)| *b)
        };
        let mut moved = false;
        for finding in findings.iter_mut() {
            if let Some(root) = finding
                .because
                .and_then(root)
                .filter(|root| *root != finding.id)
            {
                finding.because = Some(root);
                moved = true;
            }
        }
        if !moved {
            break;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn failed(id: &'static str) -> Finding {
        Finding::failed(id, "it is broken", "mend it")
    }

    #[test]
    fn the_cause_is_named_first_and_the_rest_follows_from_it() {
        let report = Report::new(
            vec![
                Finding::ok("files", "enough"),
                failed("relay.udp"),
                failed("reach.turn-udp"),
                failed("address.hairpin"),
                failed("certificate.expired"),
            ],
            Some(7),
        );
        let order: Vec<_> = report
            .findings()
            .iter()
            .map(|f| (f.id, f.because))
            .collect();
        assert_eq!(
            order,
            [
                ("address.hairpin", None),
                ("certificate.expired", None),
                ("relay.udp", Some("address.hairpin")),
                ("reach.turn-udp", Some("address.hairpin")),
                ("files", None),
            ]
        );
        let text = report.to_text();
        assert!(
            text.starts_with("address.hairpin: it is broken\n  -> mend it\n"),
            "{text}"
        );
        assert!(
            text.contains("because of this: relay.udp, reach.turn-udp"),
            "{text}"
        );
        assert!(
            text.ends_with("2 links are broken; 1 others hold, of callbox (pid 7)\n"),
            "{text}"
        );
        assert!(!report.is_healthy());
    }

    #[test]
    fn what_this_machine_drops_itself_is_closed_for_others() {
        let report = Report::new(
            vec![
                failed("firewall.closed").about("UDP 50000-50999"),
                failed("range.closed").about("UDP 50000-50999 of 192.0.2.1"),
                failed("reach.turn-udp").about("UDP 3478 of 192.0.2.1"),
            ],
            None,
        );
        let order: Vec<_> = report
            .findings()
            .iter()
            .map(|f| (f.id, f.because))
            .collect();
        assert_eq!(
            order,
            [
                ("firewall.closed", None),
                ("reach.turn-udp", None),
                ("range.closed", Some("firewall.closed")),
            ]
        );
    }

    #[test]
    fn causes_do_not_go_in_circles() {
        let every: Vec<Finding> = CAUSES
            .iter()
            .flat_map(|(cause, followers)| followers.iter().chain([cause]))
            .map(|id| failed(id))
            .collect();
        let report = Report::new(every, None);
        let of = |id: &str| report.findings().iter().find(|f| f.id == id).unwrap();
        for finding in report.findings() {
            if let Some(because) = finding.because {
                assert_eq!(of(because).because, None, "{} <- {because}", finding.id);
            }
        }
    }

    #[test]
    fn when_all_is_well_one_line_says_so() {
        let report = Report::new(
            vec![
                Finding::ok("dns", "a"),
                Finding::skipped("clock", "no way out"),
            ],
            None,
        );
        assert_eq!(
            report.to_text(),
            "all well with callbox, which is not running here: 1 checks\n"
        );
        let json = report.to_json();
        assert_eq!(json["healthy"], true);
        assert_eq!(json["findings"][0]["id"], "clock");
        assert_eq!(json["findings"][0]["state"], "skipped");
        assert_eq!(json["findings"][0].get("remedy"), None);
    }
}
