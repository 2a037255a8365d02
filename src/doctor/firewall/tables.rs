//! Rules of iptables as `iptables-save` writes them, followed for one packet. Pure.
//!
//! nftables lists them too, but not what most of them ask for.

use super::ruleset::{Closing, Passage};

/// The filter table.
#[derive(Clone, Debug, Default)]
pub struct Tables {
    policy_drops: bool,
    rules: Vec<Rule>,
}

#[derive(Clone, Debug)]
struct Rule {
    chain: String,
    words: Vec<String>,
}

/// How a chain ends for a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum End {
    Accepted,
    Dropped,
    Unknown,
    Through,
}

/// Whether a packet matches.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Fit {
    No,
    Maybe,
    Yes,
}

impl Fit {
    fn of(is_so: bool) -> Self {
        match is_so {
            true => Self::Yes,
            false => Self::No,
        }
    }

    fn negated(self) -> Self {
        match self {
            Self::No => Self::Yes,
            Self::Maybe => Self::Maybe,
            Self::Yes => Self::No,
        }
    }
}

/// Chains call each other no deeper than this.
const MAX_DEPTH: usize = 16;

impl Tables {
    /// Reads the output of `iptables-save`.
    pub fn parse(text: &str) -> Self {
        let mut tables = Self::default();
        let mut is_filter = false;
        for line in text.lines() {
            if let Some(table) = line.strip_prefix('*') {
                is_filter = table.trim() == "filter";
            } else if !is_filter {
                continue;
            } else if let Some(chain) = line.strip_prefix(":INPUT ") {
                tables.policy_drops = chain.starts_with("DROP");
            } else if let Some(rule) = line.strip_prefix("-A ") {
                let mut words = words(rule);
                if !words.is_empty() {
                    let chain = words.remove(0);
                    tables.rules.push(Rule { chain, words });
                }
            }
        }
        tables
    }

    /// What becomes of a new packet to a port. `transport`: `TCP` or `UDP`.
    pub fn passage(&self, transport: &str, port: u16) -> Passage {
        let end = match self.follow("INPUT", &transport.to_lowercase(), port, 0) {
            End::Through if self.policy_drops => End::Dropped,
            end => end,
        };
        match end {
            End::Accepted | End::Through => Passage::Open,
            End::Unknown => Passage::Unknown,
            End::Dropped => Passage::Closed(Closing {
                family: "ip".to_owned(),
                table: "filter".to_owned(),
                chain: "INPUT".to_owned(),
                is_iptables: true,
            }),
        }
    }

    fn follow(&self, chain: &str, transport: &str, port: u16, depth: usize) -> End {
        if depth > MAX_DEPTH {
            return End::Unknown;
        }
        let mut doubtful = false;
        for rule in self.rules.iter().filter(|rule| rule.chain == chain) {
            let (fit, target) = rule.fits(transport, port);
            let end = match target {
                _ if fit == Fit::No => continue,
                Some("ACCEPT") => End::Accepted,
                Some("DROP" | "REJECT") => End::Dropped,
                Some("RETURN") if fit == Fit::Yes && !doubtful => return End::Through,
                Some("RETURN") => return End::Unknown,
                Some(target) => self.follow(target, transport, port, depth + 1),
                None => End::Through,
            };
            match (end, fit) {
                (End::Through, _) => {}
                (End::Dropped, Fit::Maybe) => doubtful = true,
                (End::Accepted, Fit::Yes) if !doubtful => return End::Accepted,
                (End::Dropped, Fit::Yes) => return End::Dropped,
                _ => return End::Unknown,
            }
        }
        match doubtful {
            true => End::Unknown,
            false => End::Through,
        }
    }
}

impl Rule {
    /// Whether the packet matches, and what happens to it then.
    fn fits(&self, transport: &str, port: u16) -> (Fit, Option<&str>) {
        let (mut fit, mut target, mut is_negated) = (Fit::Yes, None, false);
        let mut words = self.words.iter().map(String::as_str).peekable();
        while let Some(word) = words.next() {
            if word == "!" {
                is_negated = true;
                continue;
            }
            // Everything that is known here has one value.
            let value = words.next_if(|value| !value.starts_with('-') && *value != "!");
            let value = value.unwrap_or_default();
            let matched = match word {
                "-j" | "-g" | "--jump" | "--goto" => {
                    target = Some(value);
                    continue;
                }
                "-m" | "--comment" | "--reject-with" | "--log-prefix" | "--log-level" => continue,
                "-p" => Fit::of(value == transport || value == "all"),
                "-i" if value == "lo" => Fit::No,
                "--dport" | "--dports" => Fit::of(value.split(',').any(|part| spans(part, port))),
                "--ctstate" | "--state" => Fit::of(value.split(',').any(|state| state == "NEW")),
                "--dst-type" => Fit::of(value == "LOCAL"),
                "--icmp-type" => Fit::No,
                _ => Fit::Maybe,
            };
            fit = fit.min(match is_negated {
                true => matched.negated(),
                false => matched,
            });
            is_negated = false;
        }
        (fit, target)
    }
}

/// Whether `80` or `50000:50100` has the port.
fn spans(part: &str, port: u16) -> bool {
    let (first, last) = part.split_once(':').unwrap_or((part, part));
    match (first.parse::<u16>(), last.parse::<u16>()) {
        (Ok(first), Ok(last)) => (first..=last).contains(&port),
        _ => false,
    }
}

/// Words, of which those in quotation marks may have spaces.
fn words(line: &str) -> Vec<String> {
    let mut words = Vec::new();
    for (index, part) in line.split('"').enumerate() {
        match index % 2 {
            0 => words.extend(part.split_whitespace().map(str::to_owned)),
            _ => words.push(part.to_owned()),
        }
    }
    words
}

#[cfg(test)]
mod tests {
    use super::*;

    /// O(pen), C(losed) or U(nknown) for TCP 443 and UDP 3478.
    fn judged(text: &str) -> String {
        let tables = Tables::parse(text);
        [("TCP", 443), ("UDP", 3478)]
            .map(|(transport, port)| match tables.passage(transport, port) {
                Passage::Open => 'O',
                Passage::Closed(_) => 'C',
                Passage::Unknown => 'U',
            })
            .iter()
            .collect()
    }

    #[test]
    fn rules_are_followed_as_the_kernel_follows_them() {
        let drop = "*filter\n:INPUT DROP [0:0]\n";
        let accept = "*filter\n:INPUT ACCEPT [0:0]\n";
        for (policy, rules, expected) in [
            (accept, "", "OO"),
            (drop, "", "CC"),
            (
                drop,
                "-A INPUT -i lo -j ACCEPT\n-A INPUT -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT",
                "CC",
            ),
            (drop, "-A INPUT -p tcp -m tcp --dport 443 -j ACCEPT", "OC"),
            (
                drop,
                "-A INPUT -p tcp -m multiport --dports 22,80:443 -j ACCEPT",
                "OC",
            ),
            (
                drop,
                "-A INPUT -p udp -m udp --dport 3000:4000 -m comment --comment \"a -j DROP b\" -j ACCEPT",
                "CO",
            ),
            (drop, "-A INPUT -p udp -m state --state NEW -j ACCEPT", "CO"),
            (drop, "-A INPUT -s 10.0.0.0/8 -j ACCEPT", "UU"),
            (accept, "-A INPUT -s 10.0.0.0/8 -j DROP", "UU"),
            (accept, "-A INPUT ! -i lo -j DROP", "CC"),
            (
                accept,
                "-A INPUT -p tcp -j LOG --log-prefix \"x \"\n-A INPUT -p udp -j REJECT --reject-with icmp-port-unreachable",
                "OC",
            ),
            (
                drop,
                "-A INPUT -j calls\n-A calls -p tcp -j RETURN\n-A calls -j ACCEPT",
                "CO",
            ),
            (drop, "-A INPUT -j calls\n-A calls -j calls", "UU"),
            ("*nat\n:INPUT DROP [0:0]\n", "-A INPUT -j DROP", "OO"),
        ] {
            assert_eq!(
                judged(&format!("{policy}{rules}\nCOMMIT\n")),
                expected,
                "{rules}"
            );
        }
    }

    #[test]
    fn rules_of_ufw_are_followed_through_their_chains() {
        let text = "*filter\n:INPUT DROP [0:0]\n:ufw-user-input - [0:0]\n\
            -A INPUT -j ufw-before-logging-input\n-A INPUT -j ufw-before-input\n-A INPUT -j ufw-after-input\n\
            -A ufw-before-input -i lo -j ACCEPT\n\
            -A ufw-before-input -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT\n\
            -A ufw-before-input -m conntrack --ctstate INVALID -j DROP\n\
            -A ufw-before-input -p icmp -m icmp --icmp-type 3 -j ACCEPT\n\
            -A ufw-before-input -p udp -m udp --sport 67 --dport 68 -j ACCEPT\n\
            -A ufw-before-input -j ufw-not-local\n-A ufw-before-input -j ufw-user-input\n\
            -A ufw-not-local -m addrtype --dst-type LOCAL -j RETURN\n\
            -A ufw-not-local -m addrtype --dst-type MULTICAST -j RETURN\n\
            -A ufw-not-local -m limit --limit 3/min --limit-burst 10 -j ufw-logging-deny\n-A ufw-not-local -j DROP\n\
            -A ufw-user-input -p tcp -m tcp --dport 443 -j ACCEPT\nCOMMIT\n";
        assert_eq!(judged(text), "OC");
    }
}
