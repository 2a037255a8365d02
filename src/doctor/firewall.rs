//! Do this machine's own packet filters let callers in? Looked at only, never changed.
//!
//! A packet from this machine to itself passes by most filters, so the rules are read instead and
//! followed for a new packet from outside. What a rule asks that cannot be known here makes the
//! answer "unknown", never "closed".

mod ruleset;
mod tables;

use std::io;
use std::process::Stdio;
use std::time::Duration;

use tokio::process::Command;
use tokio::time::timeout;

use super::remedy::Ports;
use super::report::Finding;
use super::subject::Subject;
pub use ruleset::{Closing, Passage, Ruleset};
pub use tables::Tables;

/// How long a program may take to list its rules.
const PATIENCE: Duration = Duration::from_secs(3);

/// More text than any set of rules that somebody wrote.
const MAX_RULES: usize = 8 << 20;

/// What is known of the filters.
#[derive(Clone, Debug)]
pub struct Filters {
    /// nftables, or why it cannot be read.
    pub rules: Result<Ruleset, String>,
    /// iptables, which `ufw` uses; `None` where there is none.
    pub tables: Option<Tables>,
    /// Whether `ufw` is in charge.
    pub ufw: bool,
}

/// Reads the rules.
pub async fn observe() -> Filters {
    let (rules, tables, ufw) = tokio::join!(
        run("nft", &["-j", "list", "ruleset"]),
        run("iptables-save", &[]),
        run("ufw", &["status"])
    );
    let unreadable = || "`nft -j list ruleset` says nothing that can be read".to_owned();
    Filters {
        rules: rules.and_then(|text| Ruleset::parse(&text).ok_or_else(unreadable)),
        tables: tables.ok().map(|text| Tables::parse(&text)),
        ufw: ufw.is_ok_and(|text| text.starts_with("Status: active")),
    }
}

impl Filters {
    /// What becomes of a new packet. Where iptables can be asked itself, what nftables shows of it
    /// does not count.
    fn passage(&self, transport: &str, port: u16) -> Passage {
        let is_known = self.tables.is_some();
        let rules = self.rules.as_ref().ok();
        let rules = rules.map(|rules| rules.passage(transport, port, is_known));
        let tables = self
            .tables
            .as_ref()
            .map(|tables| tables.passage(transport, port));
        let both = [rules, tables];
        let mut passages = both.into_iter().flatten();
        let first = passages.next().unwrap_or(Passage::Unknown);
        passages.fold(first, |one, other| match (one, other) {
            (closed @ Passage::Closed(_), _) | (_, closed @ Passage::Closed(_)) => closed,
            (Passage::Open, Passage::Open) => Passage::Open,
            _ => Passage::Unknown,
        })
    }
}

async fn run(program: &str, arguments: &[&str]) -> Result<String, String> {
    let child = Command::new(program)
        .args(arguments)
        .env("LC_ALL", "C")
        .stdin(Stdio::null())
        .kill_on_drop(true)
        .output();
    match timeout(PATIENCE, child).await {
        Err(_) => Err(format!("{program} does not answer")),
        Ok(Err(error)) if error.kind() == io::ErrorKind::NotFound => {
            Err(format!("{program} is not installed"))
        }
        Ok(Err(error)) => Err(format!("{program}: {error}")),
        Ok(Ok(output)) if !output.status.success() => {
            let said = String::from_utf8_lossy(&output.stderr);
            Err(format!(
                "{program}: {}",
                said.lines().next().unwrap_or("failed")
            ))
        }
        Ok(Ok(output)) if output.stdout.len() > MAX_RULES => {
            Err(format!("{program} lists too much"))
        }
        Ok(Ok(output)) => Ok(String::from_utf8_lossy(&output.stdout).into_owned()),
    }
}

/// The ports that callers need, and what for.
pub fn needed(subject: &Subject) -> Vec<(Ports, &'static str)> {
    let range = &subject.settings.turn.relay_ports;
    let relay = Ports {
        transport: "UDP",
        first: *range.start(),
        last: *range.end(),
    };
    let mut needed: Vec<(Ports, &'static str)> = Vec::new();
    let listeners = [
        (subject.https().map(Ports::tcp), "HTTPS"),
        (subject.http().map(Ports::tcp), "HTTP"),
        (subject.turn_udp().map(Ports::udp), "TURN"),
        (subject.turn_tcp().map(Ports::tcp), "TURN over TCP"),
        (Some(relay), "relayed packets"),
    ];
    for (ports, what) in listeners {
        if let Some(ports) = ports
            && !needed.iter().any(|(known, _)| *known == ports)
        {
            needed.push((ports, what));
        }
    }
    needed
}

/// Judges the rules by the ports that callers need.
pub fn judge(filters: &Filters, needed: &[(Ports, &'static str)]) -> Vec<Finding> {
    if let (Err(why), None) = (&filters.rules, &filters.tables) {
        let text = format!("the rules of this machine cannot be read: {why}");
        return vec![Finding::skipped("firewall", text)];
    }
    let mut findings = Vec::new();
    let mut unknown = Vec::new();
    for (ports, what) in needed {
        // Rules for ranges rarely end inside ours: both ends and the middle say enough.
        let middle = ports.first + (ports.last - ports.first) / 2;
        let tried =
            [ports.first, middle, ports.last].map(|port| filters.passage(ports.transport, port));
        let closed = tried.iter().find_map(|passage| match passage {
            Passage::Closed(by) => Some(by),
            _ => None,
        });
        if let Some(by) = closed {
            let text = format!("this machine's own firewall drops {ports}, for {what} ({by})");
            let remedy = remedy(*ports, by, filters.ufw);
            findings.push(Finding::failed("firewall.closed", text, remedy).about(ports));
        } else if tried.contains(&Passage::Unknown) {
            unknown.push(ports.to_string());
        }
    }
    if findings.is_empty() {
        findings.push(match unknown.is_empty() {
            true => Finding::ok("firewall", "this machine's own rules let callers in"),
            false => Finding::skipped(
                "firewall",
                format!("whether this machine's own rules let {} in depends on more than can be known here", unknown.join(", ")),
            ),
        });
    }
    findings
}

/// The command that opens ports, in the language of whoever is in charge.
fn remedy(ports: Ports, by: &Closing, ufw: bool) -> String {
    let transport = ports.transport.to_lowercase();
    let range = |separator: &str| match ports.first == ports.last {
        true => ports.first.to_string(),
        false => format!("{}{separator}{}", ports.first, ports.last),
    };
    if ufw {
        return format!("`sudo ufw allow {}/{transport}`", range(":"));
    }
    match by.table.as_str() {
        "firewalld" => format!(
            "`sudo firewall-cmd --permanent --add-port={}/{transport} && sudo firewall-cmd --reload`",
            range("-")
        ),
        _ if by.is_iptables => {
            format!(
                "`sudo iptables -I INPUT -p {transport} --dport {} -j ACCEPT`, and the same with ip6tables",
                range(":")
            )
        }
        _ => format!(
            "`sudo nft insert rule {} {} {} {transport} dport {} accept`, and the same in /etc/nftables.conf",
            by.family,
            by.table,
            by.chain,
            range("-")
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_is_that_of_whoever_is_in_charge() {
        let by = |table: &str, is_iptables| Closing {
            family: "inet".to_owned(),
            table: table.to_owned(),
            chain: "input".to_owned(),
            is_iptables,
        };
        let range = Ports {
            transport: "UDP",
            first: 50000,
            last: 50100,
        };
        for (by, ufw, expected) in [
            (by("filter", true), true, "ufw allow 50000:50100/udp"),
            (by("firewalld", false), false, "--add-port=50000-50100/udp"),
            (
                by("filter", true),
                false,
                "iptables -I INPUT -p udp --dport 50000:50100",
            ),
            (
                by("filter", false),
                false,
                "nft insert rule inet filter input udp dport 50000-50100 accept",
            ),
        ] {
            let remedy = remedy(range, &by, ufw);
            assert!(remedy.contains(expected), "{remedy}");
        }
    }

    #[test]
    fn rules_that_cannot_be_read_are_no_fault() {
        let filters = Filters {
            rules: Err("nft is not installed".to_owned()),
            tables: None,
            ufw: false,
        };
        let found = judge(&filters, &[(Ports::tcp(443), "HTTPS")]);
        assert_eq!(found[0].state, super::super::report::State::Skipped);
    }
}
