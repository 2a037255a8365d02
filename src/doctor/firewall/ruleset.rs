//! Rules of nftables as `nft -j list ruleset` writes them, followed for one packet. Pure.

use std::fmt;

use serde_json::Value;

/// Everything that `nft` lists.
#[derive(Clone, Debug)]
pub struct Ruleset {
    items: Vec<Value>,
}

/// What becomes of a new packet from outside.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Passage {
    /// It comes in.
    Open,
    /// It is dropped.
    Closed(Closing),
    /// That depends on what cannot be known here.
    Unknown,
}

/// The chain that drops it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Closing {
    /// `ip`, `ip6` or `inet`.
    pub family: String,
    /// Its table.
    pub table: String,
    /// Its name.
    pub chain: String,
    /// Whether `iptables` made it.
    pub is_iptables: bool,
}

impl fmt::Display for Closing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "chain {} of table {} {}",
            self.chain, self.family, self.table
        )
    }
}

/// Whether a packet matches.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Fit {
    No,
    Maybe,
    Yes,
}

/// How a chain ends for a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum End {
    Accepted,
    Dropped,
    Unknown,
    /// The chain says nothing: its policy, or the caller, goes on.
    Through,
}

/// Chains call each other no deeper than the kernel allows.
const MAX_DEPTH: usize = 16;

struct Packet {
    transport: String,
    port: u64,
}

/// A chain in which rules are looked up.
#[derive(Clone, Copy)]
struct Place<'a> {
    family: &'a str,
    table: &'a str,
}

impl Ruleset {
    /// Reads the output of `nft -j list ruleset`.
    pub fn parse(text: &str) -> Option<Self> {
        // Without any rules some versions say nothing at all.
        if text.trim().is_empty() {
            return Some(Self { items: Vec::new() });
        }
        match serde_json::from_str::<Value>(text)
            .ok()?
            .get_mut("nftables")?
            .take()
        {
            Value::Array(items) => Some(Self { items }),
            _ => None,
        }
    }

    /// What becomes of a new packet to a port. `transport`: `TCP` or `UDP`. `without_iptables`:
    /// what iptables has made is somebody else's to judge.
    pub fn passage(&self, transport: &str, port: u16, without_iptables: bool) -> Passage {
        let packet = Packet {
            transport: transport.to_lowercase(),
            port: u64::from(port),
        };
        let mut is_unknown = false;
        let chains = self.items.iter().filter_map(|item| item.get("chain"));
        for chain in chains.filter(|chain| guards(chain)) {
            let (Some(place), Some(name)) = (place(chain), text(chain, "name")) else {
                continue;
            };
            // The names that iptables gives, and nobody else writes in capitals.
            let is_iptables = name == "INPUT" && place.family != "inet";
            if is_iptables && without_iptables {
                continue;
            }
            let end = match self.follow(place, name, &packet, 0) {
                End::Through if text(chain, "policy") == Some("drop") => End::Dropped,
                end => end,
            };
            match end {
                End::Accepted | End::Through => {}
                End::Unknown => is_unknown = true,
                End::Dropped => {
                    return Passage::Closed(Closing {
                        family: place.family.to_owned(),
                        table: place.table.to_owned(),
                        chain: name.to_owned(),
                        is_iptables,
                    });
                }
            }
        }
        match is_unknown {
            true => Passage::Unknown,
            false => Passage::Open,
        }
    }

    fn follow(&self, place: Place<'_>, chain: &str, packet: &Packet, depth: usize) -> End {
        if depth > MAX_DEPTH {
            return End::Unknown;
        }
        let mut doubtful = false;
        let rules = self
            .items
            .iter()
            .filter_map(|item| item.get("rule"))
            .filter(|rule| {
                text(rule, "family") == Some(place.family)
                    && text(rule, "table") == Some(place.table)
                    && text(rule, "chain") == Some(chain)
            });
        for rule in rules {
            let statements = rule
                .get("expr")
                .and_then(Value::as_array)
                .map(Vec::as_slice);
            let mut fit = Fit::Yes;
            for statement in statements.unwrap_or_default() {
                if let Some(matched) = statement.get("match") {
                    fit = fit.min(self.fits(matched, place, packet));
                } else if ["xt", "limit", "vmap"]
                    .iter()
                    .any(|key| statement.get(key).is_some())
                {
                    fit = fit.min(Fit::Maybe);
                }
                if fit == Fit::No {
                    break;
                }
                let end = self.verdict(statement, place, packet, depth);
                match (end, fit) {
                    (None, _) => {}
                    (Some(End::Through), _) => break,
                    (Some(end), Fit::Yes) => {
                        // An earlier rule may have dropped it already.
                        return match doubtful && end == End::Accepted {
                            true => End::Unknown,
                            false => end,
                        };
                    }
                    (Some(End::Dropped), _) => {
                        doubtful = true;
                        break;
                    }
                    (Some(_), _) => return End::Unknown,
                }
            }
            if statements
                .unwrap_or_default()
                .iter()
                .any(|s| s.get("vmap").is_some())
                && fit != Fit::No
            {
                return End::Unknown;
            }
        }
        match doubtful {
            true => End::Unknown,
            false => End::Through,
        }
    }

    /// What a statement decides, if anything.
    fn verdict(
        &self,
        statement: &Value,
        place: Place<'_>,
        packet: &Packet,
        depth: usize,
    ) -> Option<End> {
        if statement.get("accept").is_some() {
            return Some(End::Accepted);
        }
        if statement.get("drop").is_some() || statement.get("reject").is_some() {
            return Some(End::Dropped);
        }
        if statement.get("return").is_some() {
            return Some(End::Unknown);
        }
        let call = statement.get("jump").or_else(|| statement.get("goto"))?;
        let target = text(call, "target")?;
        match self.follow(place, target, packet, depth + 1) {
            End::Through => None,
            end => Some(end),
        }
    }

    fn fits(&self, matched: &Value, place: Place<'_>, packet: &Packet) -> Fit {
        let left = matched.get("left").unwrap_or(&Value::Null);
        let right = matched.get("right").unwrap_or(&Value::Null);
        let is_negated = text(matched, "op") == Some("!=");
        let key = |kind: &str| left.get(kind).and_then(|left| text(left, "key"));
        let fit = if let Some(payload) = left.get("payload") {
            let (protocol, field) = (text(payload, "protocol"), text(payload, "field"));
            match (protocol, field) {
                (Some(protocol @ ("tcp" | "udp" | "th")), Some("dport")) => {
                    // A rule for another transport is none for this packet, negated or not.
                    if protocol != "th" && protocol != packet.transport {
                        return Fit::No;
                    }
                    self.contains(
                        right,
                        place,
                        &|value| value.as_u64().map(|value| value == packet.port),
                        packet.port,
                    )
                }
                (Some("icmp" | "icmpv6"), _) => return Fit::No,
                (Some(protocol @ ("tcp" | "udp")), _) if protocol != packet.transport => {
                    return Fit::No;
                }
                (Some("ip"), Some("protocol")) | (Some("ip6"), Some("nexthdr")) => {
                    self.says(right, place, &packet.transport)
                }
                _ => Fit::Maybe,
            }
        } else if key("meta") == Some("l4proto") {
            self.says(right, place, &packet.transport)
        } else if key("meta") == Some("iifname") || key("meta") == Some("iif") {
            // Callers do not come in by loopback; by which interface they do is not known.
            match right.as_str() {
                Some("lo") => Fit::No,
                _ => Fit::Maybe,
            }
        } else if key("ct") == Some("state") {
            self.says(right, place, "new")
        } else {
            Fit::Maybe
        };
        match (fit, is_negated) {
            (Fit::Yes, true) => Fit::No,
            (Fit::No, true) => Fit::Yes,
            (fit, _) => fit,
        }
    }

    fn says(&self, right: &Value, place: Place<'_>, word: &str) -> Fit {
        self.contains(
            right,
            place,
            &|value| value.as_str().map(|value| value == word),
            0,
        )
    }

    /// Whether a value, a list, a set, a range or a named set has what is looked for.
    fn contains(
        &self,
        right: &Value,
        place: Place<'_>,
        equals: &dyn Fn(&Value) -> Option<bool>,
        number: u64,
    ) -> Fit {
        let any = |values: &[Value]| {
            let fits = values
                .iter()
                .map(|value| self.contains(value, place, equals, number));
            fits.max().unwrap_or(Fit::No)
        };
        if let Some(values) = right.as_array().or_else(|| right.get("set")?.as_array()) {
            return any(values);
        }
        if let Some(range) = right.get("range").and_then(Value::as_array) {
            let bound = |at: usize| range.get(at).and_then(Value::as_u64);
            return match (bound(0), bound(1)) {
                (Some(first), Some(last)) if (first..=last).contains(&number) => Fit::Yes,
                (Some(_), Some(_)) => Fit::No,
                _ => Fit::Maybe,
            };
        }
        if let Some(name) = right.as_str().and_then(|name| name.strip_prefix('@')) {
            let set = self
                .items
                .iter()
                .filter_map(|item| item.get("set"))
                .find(|set| {
                    text(set, "name") == Some(name) && text(set, "table") == Some(place.table)
                });
            return match set
                .and_then(|set| set.get("elem"))
                .and_then(Value::as_array)
            {
                Some(elements) => any(elements),
                None => Fit::Maybe,
            };
        }
        match equals(right) {
            Some(true) => Fit::Yes,
            Some(false) => Fit::No,
            None => Fit::Maybe,
        }
    }
}

fn text<'a>(value: &'a Value, key: &str) -> Option<&'a str> {
    value.get(key)?.as_str()
}

fn place(chain: &Value) -> Option<Place<'_>> {
    Some(Place {
        family: text(chain, "family")?,
        table: text(chain, "table")?,
    })
}

/// Whether packets for this machine pass through the chain before they come in.
fn guards(chain: &Value) -> bool {
    let family = text(chain, "family");
    let hook = text(chain, "hook");
    text(chain, "type") == Some("filter")
        && matches!(family, Some("ip" | "inet"))
        && matches!(hook, Some("input" | "prerouting"))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn ruleset(policy: &str, rules: &[Value]) -> Ruleset {
        let mut items = vec![
            json!({"metainfo": {"version": "1"}}),
            json!({"table": {"family": "inet", "name": "filter"}}),
            json!({"chain": {"family": "inet", "table": "filter", "name": "input", "type": "filter", "hook": "input", "prio": 0, "policy": policy}}),
            json!({"chain": {"family": "inet", "table": "filter", "name": "services"}}),
            json!({"set": {"family": "inet", "table": "filter", "name": "web", "elem": [80, 443]}}),
            json!({"rule": {"family": "inet", "table": "filter", "chain": "services", "expr": [port("udp", json!(3478)), {"accept": null}]}}),
        ];
        for expr in rules {
            items.push(json!({"rule": {"family": "inet", "table": "filter", "chain": "input", "expr": expr}}));
        }
        Ruleset::parse(&json!({"nftables": items}).to_string()).unwrap()
    }

    fn port(transport: &str, right: Value) -> Value {
        json!({"match": {"op": "==", "left": {"payload": {"protocol": transport, "field": "dport"}}, "right": right}})
    }

    fn meta(key: &str, op: &str, right: &str) -> Value {
        json!({"match": {"op": op, "left": {"meta": {"key": key}}, "right": right}})
    }

    fn state(states: Value) -> Value {
        json!({"match": {"op": "in", "left": {"ct": {"key": "state"}}, "right": states}})
    }

    /// O(pen), C(losed) or U(nknown) for TCP 443 and UDP 3478.
    fn judged(policy: &str, rules: &[Value]) -> String {
        let rules = ruleset(policy, rules);
        [("TCP", 443), ("UDP", 3478)]
            .map(
                |(transport, port)| match rules.passage(transport, port, false) {
                    Passage::Open => 'O',
                    Passage::Closed(_) => 'C',
                    Passage::Unknown => 'U',
                },
            )
            .iter()
            .collect()
    }

    #[test]
    fn rules_are_followed_as_the_kernel_follows_them() {
        let accept = || json!({"accept": null});
        let drop = || json!({"drop": null});
        let source = || json!({"match": {"op": "==", "left": {"payload": {"protocol": "ip", "field": "saddr"}}, "right": "10.0.0.1"}});
        let cases: &[(&str, Vec<Value>, &str)] = &[
            ("accept", vec![], "OO"),
            ("drop", vec![], "CC"),
            (
                "drop",
                vec![json!([port("tcp", json!(443)), accept()])],
                "OC",
            ),
            (
                "drop",
                vec![json!([port("tcp", json!({"set": [22, 443]})), accept()])],
                "OC",
            ),
            (
                "drop",
                vec![json!([port("tcp", json!("@web")), accept()])],
                "OC",
            ),
            (
                "drop",
                vec![json!([port("tcp", json!("@nothing")), accept()])],
                "UC",
            ),
            (
                "drop",
                vec![json!([
                    port("udp", json!({"range": [3000, 4000]})),
                    accept()
                ])],
                "CO",
            ),
            (
                "drop",
                vec![json!([
                    port("th", json!({"set": [443, {"range": [3000, 4000]}]})),
                    accept()
                ])],
                "OO",
            ),
            (
                "drop",
                vec![json!([state(json!(["established", "related"])), accept()])],
                "CC",
            ),
            (
                "drop",
                vec![json!([state(json!(["established", "new"])), accept()])],
                "OO",
            ),
            (
                "drop",
                vec![json!([meta("iifname", "==", "lo"), accept()])],
                "CC",
            ),
            (
                "drop",
                vec![json!([meta("iifname", "==", "eth0"), accept()])],
                "UU",
            ),
            (
                "accept",
                vec![json!([meta("iifname", "!=", "lo"), drop()])],
                "CC",
            ),
            (
                "accept",
                vec![json!([meta("l4proto", "==", "udp"), drop()])],
                "OC",
            ),
            (
                "accept",
                vec![
                    json!([port("udp", json!(3478)), {"counter": {"packets": 0}}, {"reject": {"type": "x"}}]),
                ],
                "OC",
            ),
            ("accept", vec![json!([source(), drop()])], "UU"),
            (
                "drop",
                vec![
                    json!([source(), drop()]),
                    json!([port("tcp", json!(443)), accept()]),
                ],
                "UU",
            ),
            ("drop", vec![json!([source(), accept()])], "UU"),
            (
                "drop",
                vec![json!([{"jump": {"target": "services"}}])],
                "CO",
            ),
            (
                "drop",
                vec![json!([{"xt": {"type": "match", "name": "x"}}, accept()])],
                "UU",
            ),
            (
                "accept",
                vec![json!([port("tcp", json!(80)), drop()])],
                "OO",
            ),
        ];
        for (policy, rules, expected) in cases {
            assert_eq!(judged(policy, rules), *expected, "{policy} {rules:?}");
        }
    }

    #[test]
    fn a_loop_of_chains_ends() {
        let mut rules = ruleset("drop", &[json!([{"jump": {"target": "services"}}])]);
        rules.items.push(json!({"rule": {"family": "inet", "table": "filter", "chain": "services", "expr": [{"jump": {"target": "services"}}]}}));
        assert_eq!(rules.passage("TCP", 443, false), Passage::Unknown);
    }

    #[test]
    fn whoever_drops_a_packet_is_named() {
        let Passage::Closed(by) = ruleset("drop", &[]).passage("TCP", 443, false) else {
            panic!("it is closed");
        };
        assert_eq!(by.to_string(), "chain input of table inet filter");
        assert!(Ruleset::parse("").is_some());
        assert!(Ruleset::parse("[]").is_none());
    }
}
