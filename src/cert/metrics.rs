//! The certificate as metric families.

use super::status::Status;
use crate::telemetry::metrics::{Page, Source};

impl Source for Status {
    fn collect(&self, page: &mut Page<'_>) {
        let now = self.snapshot();
        page.gauges(
            "certificate_not_after_timestamp_seconds",
            "When the current certificate ends, in seconds since the Unix epoch.",
            [(
                &[("source", now.source.name())][..],
                now.leaf.not_after as f64,
            )],
        );
        page.gauge(
            "certificate_publicly_valid",
            "1 while browsers everywhere trust the current certificate.",
            f64::from(u8::from(now.publicly_valid)),
        );
        page.gauge(
            "certificate_last_attempt_timestamp_seconds",
            "When a new certificate was last ordered or read, in seconds since the Unix epoch; 0 never.",
            now.last_attempt.unwrap_or(0) as f64,
        );
        page.gauge(
            "certificate_next_attempt_timestamp_seconds",
            "When the next order begins, in seconds since the Unix epoch; 0 none.",
            now.next_attempt.unwrap_or(0) as f64,
        );
        page.counter(
            "certificate_failures",
            "Orders and changed files that led to no new certificate.",
            self.failures(),
        );
    }
}
