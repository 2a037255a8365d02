//! The only place that reads the machine's clocks; everything else is told the time.

use std::time::{Instant, SystemTime, UNIX_EPOCH};

/// Monotonic time.
#[expect(clippy::disallowed_methods, reason = "this is the place")]
pub fn now() -> Instant {
    Instant::now()
}

/// Wall clock, in whole seconds since 1970.
#[expect(clippy::disallowed_methods, reason = "this is the place")]
pub fn unix_time() -> u64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(0, |since| since.as_secs())
}
