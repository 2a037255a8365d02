//! The front door's counters as metric families.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use super::{Role, Stats};
use crate::telemetry::metrics::{Page, Source};

impl Source for Arc<Stats> {
    fn collect(&self, page: &mut Page<'_>) {
        let read = |counter: &std::sync::atomic::AtomicU64| counter.load(Ordering::Relaxed);
        let accepted: Vec<_> = Role::ALL
            .iter()
            .zip(&self.accepted)
            .map(|(role, count)| ([("listener", role.name())], read(count)))
            .collect();
        page.counters(
            "front_connections",
            "TCP connections accepted and kept, by what the listener is for.",
            accepted.iter().map(|(labels, count)| (&labels[..], *count)),
        );
        let handshakes: Vec<_> = self
            .handshakes
            .iter()
            .map(|(outcome, count)| ([("result", outcome.name())], count))
            .collect();
        page.counters(
            "front_handshakes",
            "TLS handshakes: ok, or why not.",
            handshakes
                .iter()
                .map(|(labels, count)| (&labels[..], *count)),
        );
        page.counters(
            "front_shed_connections",
            "TCP connections dropped at once: the appliance is full, or the address has its share.",
            [
                (&[("reason", "full")][..], read(&self.shed_full)),
                (&[("reason", "address")], read(&self.shed_address)),
            ],
        );
        page.counters(
            "front_routed_connections",
            "What connections turned out to be: HTTP, TURN, too slow to say, nothing of ours, or \
             a balancer's without a good PROXY header.",
            [
                (&[("to", "http")][..], read(&self.http)),
                (&[("to", "turn")], read(&self.turn)),
                (&[("to", "slow")], read(&self.slow)),
                (&[("to", "refused")], read(&self.refused)),
                (&[("to", "unintroduced")], read(&self.unintroduced)),
            ],
        );
        page.counter(
            "front_accept_errors",
            "Times that nothing could be accepted because the process had no descriptor or memory \
             left.",
            read(&self.starved),
        );
    }
}
