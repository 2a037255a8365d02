//! A token bucket: how much of something a client may do, in a burst and over time.

use std::time::{Duration, Instant};

/// Starts full. One token an action.
#[derive(Debug)]
pub(super) struct Bucket {
    /// The moment from which on the bucket would have been filling to hold what it holds.
    filling_since: Instant,
    per_token: Duration,
    full_after: Duration,
}

impl Bucket {
    /// A bucket with room for `burst`, refilled at `per_second`; 0 = it never runs empty.
    pub(super) fn new(burst: u32, per_second: u32, now: Instant) -> Self {
        let per_token = Duration::from_secs(1)
            .checked_div(per_second)
            .unwrap_or_default();
        let full_after = per_token.saturating_mul(burst);
        Self {
            filling_since: now.checked_sub(full_after).unwrap_or(now),
            per_token,
            full_after,
        }
    }

    /// Takes a token; false if there is none.
    pub(super) fn take(&mut self, now: Instant) -> bool {
        // Whatever would have run over is not saved up.
        if let Some(full) = now.checked_sub(self.full_after) {
            self.filling_since = self.filling_since.max(full);
        }
        let left = self.filling_since + self.per_token;
        if left > now {
            return false;
        }
        self.filling_since = left;
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::net::clock;

    fn taken(bucket: &mut Bucket, now: Instant) -> u32 {
        (0..1000).take_while(|_| bucket.take(now)).count() as u32
    }

    #[test]
    fn a_burst_passes_and_then_the_rate_holds() {
        let start = clock::now();
        let mut bucket = Bucket::new(200, 50, start);
        assert_eq!(taken(&mut bucket, start), 200);
        assert_eq!(taken(&mut bucket, start + Duration::from_millis(100)), 5);
        assert_eq!(taken(&mut bucket, start + Duration::from_millis(119)), 0);
        assert_eq!(taken(&mut bucket, start + Duration::from_millis(120)), 1);
    }

    #[test]
    fn silence_saves_up_no_more_than_the_burst() {
        let start = clock::now();
        let mut bucket = Bucket::new(10, 1, start);
        assert_eq!(taken(&mut bucket, start + Duration::from_secs(3600)), 10);
    }

    #[test]
    fn no_rate_is_no_limit() {
        let start = clock::now();
        let mut bucket = Bucket::new(200, 0, start);
        assert_eq!(taken(&mut bucket, start), 1000);
    }
}
