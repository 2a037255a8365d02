//! The state directory as a metric family.

use std::sync::Arc;

use super::StateDir;
use crate::telemetry::metrics::{Page, Source};

impl Source for Arc<StateDir> {
    fn collect(&self, page: &mut Page<'_>) {
        page.gauge(
            "state_unwritten_files",
            "Files of the state directory that are in memory only, because the disk is full or read-only.",
            self.unwritten() as f64,
        );
    }
}
