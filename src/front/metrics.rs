//! The front door's counters as metric families.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use super::Stats;
use crate::telemetry::metrics::{Page, Source};

impl Source for Arc<Stats> {
    fn collect(&self, page: &mut Page<'_>) {
        let read = |counter: &std::sync::atomic::AtomicU64| counter.load(Ordering::Relaxed);
        page.counter(
            "front_connections",
            "TCP connections accepted and kept.",
            read(&self.accepted),
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
            "What connections turned out to be: HTTP, TURN, too slow to say, or nothing of ours.",
            [
                (&[("to", "http")][..], read(&self.http)),
                (&[("to", "turn")], read(&self.turn)),
                (&[("to", "slow")], read(&self.slow)),
                (&[("to", "refused")], read(&self.refused)),
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
