//! HTTP's counters as metric families.

use std::sync::atomic::Ordering;

use super::Services;
use crate::telemetry::metrics::{Page, Source};

impl Source for Services {
    fn collect(&self, page: &mut Page<'_>) {
        let stats = self.stats();
        page.counters(
            "http_websockets",
            "WebSockets asked for: accepted, or refused because a network opened too many.",
            [
                (
                    &[("result", "accepted")][..],
                    stats.websockets.load(Ordering::Relaxed),
                ),
                (
                    &[("result", "limited")],
                    stats.websockets_limited.load(Ordering::Relaxed),
                ),
            ],
        );
        page.counter(
            "http_foreign_origins",
            "Requests refused because of their Origin.",
            stats.foreign_origins.load(Ordering::Relaxed),
        );
        page.counters(
            "http_proxied",
            "Requests for applications behind the proxy: answered by them, or by a page of ours \
             in their place.",
            [
                (
                    &[("result", "answered")][..],
                    stats.proxied.load(Ordering::Relaxed),
                ),
                (
                    &[("result", "failed")],
                    stats.proxy_failures.load(Ordering::Relaxed),
                ),
            ],
        );
        page.counters(
            "ice_configurations",
            "ICE configurations asked for: handed out, or refused because a network asked too \
             often.",
            [
                (
                    &[("result", "granted")][..],
                    stats.ice_granted.load(Ordering::Relaxed),
                ),
                (
                    &[("result", "limited")],
                    stats.ice_limited.load(Ordering::Relaxed),
                ),
            ],
        );
    }
}
