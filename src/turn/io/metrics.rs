//! The workers' counters as metric families.

use std::sync::{Arc, Mutex, PoisonError};

use crate::telemetry::metrics::{Page, Source};
use crate::turn::core::{Answers, ByTransport, EndReason, Pool, Rule, Stats, Traffic};
use crate::turn::stun::ErrorCode;
use crate::turn::stun::address::Family;

/// What a worker shows of its counters.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Shown {
    pub(super) core: Stats,
    pub(super) dropped: Dropped,
}

/// Packets that the driver could not pass on.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Dropped {
    /// The kernel refused them.
    pub(super) not_sent: u64,
    /// The client's stream is full.
    pub(super) slow_client: u64,
    /// The other worker's mailbox is full.
    pub(super) busy_worker: u64,
}

/// Counters of all workers, and the ports and quotas that they share.
#[derive(Clone, Debug)]
pub struct TurnMetrics {
    stats: Arc<[Mutex<Shown>]>,
    pool: Arc<Mutex<Pool>>,
}

impl TurnMetrics {
    pub(super) fn new(stats: Arc<[Mutex<Shown>]>, pool: Arc<Mutex<Pool>>) -> Self {
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

    fn each(&self) -> impl Iterator<Item = Shown> + '_ {
        let stats = self.stats.iter();
        stats.map(|stats| *stats.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Sum of a counter over the workers.
    fn sum(&self, counter: impl Fn(&Stats) -> u64) -> u64 {
        self.each().map(|shown| counter(&shown.core)).sum()
    }

    fn answers(&self, page: &mut Page<'_>) {
        let mut all = Answers::default();
        for shown in self.each() {
            all.add(&shown.core.answers);
        }
        // Each is there from the start: what is rare would else come into being with its first
        // increment, which a rate does not see.
        let rows: Vec<_> = all
            .iter()
            .map(|row| {
                let code = row.code.map_or("success", code_name);
                ([("method", row.name), ("code", code)], row.count)
            })
            .collect();
        page.counters(
            "turn_answers",
            "Requests answered, by method and error code.",
            rows.iter()
                .map(|(labels, count)| (labels.as_slice(), *count)),
        );
    }

    /// Counters told apart by one label.
    fn labelled<T: Copy>(
        &self,
        page: &mut Page<'_>,
        (name, help): (&str, &str),
        label: &'static str,
        all: &[T],
        value: impl Fn(T) -> &'static str,
        counter: impl Fn(&Shown, usize) -> u64,
    ) {
        let rows: Vec<_> = all
            .iter()
            .enumerate()
            .map(|(at, it)| {
                let sum = self.each().map(|shown| counter(&shown, at)).sum();
                ([(label, value(*it))], sum)
            })
            .collect();
        let rows = rows.iter().map(|(labels, sum)| (labels.as_slice(), *sum));
        page.counters(name, help, rows);
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
        self.labelled(
            page,
            (
                "turn_allocations_ended",
                "Allocations ended since the start, by why.",
            ),
            "reason",
            &EndReason::ALL,
            EndReason::name,
            |shown, at| nth(shown.core.allocations_ended.iter(), at),
        );
        let (size, v4, v6) = {
            let pool = self.pool.lock().unwrap_or_else(PoisonError::into_inner);
            (pool.size(), pool.free(Family::V4), pool.free(Family::V6))
        };
        page.gauge(
            "turn_relay_ports",
            "Relay ports of each address family, taken or not.",
            f64::from(size),
        );
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
        self.answers(page);
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
        self.labelled(
            page,
            (
                "turn_refused_peers",
                "Requests and packets refused by the peer policy, by its rule.",
            ),
            "rule",
            &Rule::ALL,
            Rule::name,
            |shown, at| nth(shown.core.refused_peers.iter(), at),
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
        let dropped =
            |part: fn(&Dropped) -> u64| self.each().map(|shown| part(&shown.dropped)).sum();
        page.counters(
            "turn_dropped_packets",
            "Packets dropped: no permission or channel, above a bandwidth limit, refused by the \
             kernel, or a queue was full.",
            [
                (
                    &[("reason", "not_permitted")][..],
                    self.sum(|stats| stats.not_permitted),
                ),
                (
                    &[("reason", "over_rate")],
                    self.sum(|stats| stats.over_rate),
                ),
                (
                    &[("reason", "not_sent")],
                    dropped(|dropped| dropped.not_sent),
                ),
                (
                    &[("reason", "slow_client")],
                    dropped(|dropped| dropped.slow_client),
                ),
                (
                    &[("reason", "busy_worker")],
                    dropped(|dropped| dropped.busy_worker),
                ),
            ],
        );
    }
}

fn nth<T>(mut counters: impl Iterator<Item = (T, u64)>, at: usize) -> u64 {
    counters.nth(at).map_or(0, |(_, count)| count)
}

/// Codes as label values, which live as long as the program.
const fn code_name(code: ErrorCode) -> &'static str {
    match code {
        ErrorCode::TryAlternate => "300",
        ErrorCode::BadRequest => "400",
        ErrorCode::Unauthenticated => "401",
        ErrorCode::Forbidden => "403",
        ErrorCode::UnknownAttribute => "420",
        ErrorCode::AllocationMismatch => "437",
        ErrorCode::StaleNonce => "438",
        ErrorCode::AddressFamilyNotSupported => "440",
        ErrorCode::WrongCredentials => "441",
        ErrorCode::UnsupportedTransport => "442",
        ErrorCode::PeerAddressFamilyMismatch => "443",
        ErrorCode::ConnectionAlreadyExists => "446",
        ErrorCode::ConnectionTimeoutOrFailure => "447",
        ErrorCode::AllocationQuotaReached => "486",
        ErrorCode::ServerError => "500",
        ErrorCode::InsufficientCapacity => "508",
    }
}
