//! The workers' counters as metric families.

use std::sync::{Arc, Mutex, PoisonError};

use crate::telemetry::metrics::{Page, Source};
use crate::turn::core::{ByTransport, Pool, Stats, Traffic};
use crate::turn::stun::address::Family;

/// Counters of all workers, and the ports and quotas that they share.
#[derive(Clone, Debug)]
pub struct TurnMetrics {
    stats: Arc<[Mutex<Stats>]>,
    pool: Arc<Mutex<Pool>>,
}

impl TurnMetrics {
    pub(super) fn new(stats: Arc<[Mutex<Stats>]>, pool: Arc<Mutex<Pool>>) -> Self {
        Self { stats, pool }
    }

    /// Allocations in being.
    pub fn allocations(&self) -> u32 {
        self.pool
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .quota
            .allocations()
    }

    /// Sum of a counter over the workers.
    fn sum(&self, counter: impl Fn(&Stats) -> u64) -> u64 {
        self.stats
            .iter()
            .map(|stats| counter(&stats.lock().unwrap_or_else(PoisonError::into_inner)))
            .sum()
    }

    fn relayed(&self, page: &mut Page<'_>, name: &str, help: &str, part: impl Fn(&Traffic) -> u64) {
        type Pick = fn(&ByTransport) -> &Traffic;
        const TRANSPORTS: [(&str, Pick); 3] = [
            ("udp", |by| &by.udp),
            ("tcp", |by| &by.tcp),
            ("tls", |by| &by.tls),
        ];
        let samples: Vec<_> = TRANSPORTS
            .into_iter()
            .flat_map(|(transport, pick)| {
                let up = self.sum(|stats| part(pick(&stats.to_peers)));
                let down = self.sum(|stats| part(pick(&stats.to_clients)));
                [
                    ([("transport", transport), ("direction", "to_peer")], up),
                    ([("transport", transport), ("direction", "to_client")], down),
                ]
            })
            .collect();
        let samples = samples
            .iter()
            .map(|(labels, value)| (labels.as_slice(), *value));
        page.counters(name, help, samples);
    }
}

impl Source for TurnMetrics {
    fn collect(&self, page: &mut Page<'_>) {
        page.gauge(
            "turn_allocations",
            "Allocations in being.",
            f64::from(self.allocations()),
        );
        page.counter(
            "turn_allocations_made",
            "Allocations made since the start.",
            self.sum(|stats| stats.allocations_made),
        );
        let (v4, v6) = {
            let pool = self.pool.lock().unwrap_or_else(PoisonError::into_inner);
            (pool.free(Family::V4), pool.free(Family::V6))
        };
        page.gauges(
            "turn_relay_ports_free",
            "Relay ports that are left, by address family.",
            [
                (&[("family", "ipv4")][..], f64::from(v4)),
                (&[("family", "ipv6")], f64::from(v6)),
            ],
        );
        self.relayed(
            page,
            "turn_relayed_packets",
            "Packets relayed, by the client's transport and the direction.",
            |traffic| traffic.packets,
        );
        self.relayed(
            page,
            "turn_relayed_bytes",
            "Payload bytes relayed, by the client's transport and the direction.",
            |traffic| traffic.bytes,
        );
        page.counter(
            "turn_internal_packets",
            "Packets from one allocation of this server to another, delivered inside the process.",
            self.sum(|stats| stats.internal),
        );
        page.counters(
            "turn_answers",
            "Requests answered: binding, success, challenge (401 and 438), any other error.",
            [
                (
                    &[("result", "binding")][..],
                    self.sum(|stats| stats.bindings),
                ),
                (&[("result", "success")], self.sum(|stats| stats.successes)),
                (
                    &[("result", "challenge")],
                    self.sum(|stats| stats.challenges),
                ),
                (&[("result", "error")], self.sum(|stats| stats.errors)),
            ],
        );
        page.counter(
            "turn_unanswered",
            "Unauthenticated requests left unanswered: too many from one network, or the answer \
             would have been too big for the request.",
            self.sum(|stats| stats.unanswered),
        );
        page.counter(
            "turn_malformed",
            "Bytes that are no message, or a message that nobody should send.",
            self.sum(|stats| stats.malformed),
        );
        page.counter(
            "turn_refused_peers",
            "Requests and packets refused by the peer policy.",
            self.sum(|stats| stats.refused_peers),
        );
        page.counter(
            "turn_icmp_errors",
            "ICMP errors of peers passed on to clients.",
            self.sum(|stats| stats.icmp_errors),
        );
        page.counter(
            "turn_peer_connections",
            "TCP connections made with peers.",
            self.sum(|stats| stats.connections_made),
        );
        page.counters(
            "turn_dropped_packets",
            "Packets dropped: no permission or channel, or above a bandwidth limit.",
            [
                (
                    &[("reason", "not_permitted")][..],
                    self.sum(|stats| stats.not_permitted),
                ),
                (
                    &[("reason", "over_rate")],
                    self.sum(|stats| stats.over_rate),
                ),
            ],
        );
    }
}
