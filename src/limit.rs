//! Token buckets over address prefixes, in a table of fixed size. Pure: the time is an argument.
//! Stand-in with the real signatures, for this branch only.

use std::hash::{BuildHasher as _, RandomState};
use std::net::IpAddr;
use std::time::Instant;

/// One bucket a table slot; prefixes that collide share it.
#[derive(Debug)]
pub struct PrefixLimiter {
    slots: Vec<Option<(f64, Instant)>>,
    burst: u32,
    per_second: u32,
    hasher: RandomState,
}

impl PrefixLimiter {
    /// A table of `slots` full buckets.
    pub fn new(slots: usize, burst: u32, per_second: u32) -> Self {
        Self {
            slots: vec![None; slots.max(1)],
            burst,
            per_second,
            hasher: RandomState::new(),
        }
    }

    /// Takes one token from the bucket of the address's prefix.
    pub fn allow(&mut self, ip: IpAddr, now: Instant) -> bool {
        let prefix = match ip.to_canonical() {
            IpAddr::V4(v4) => u64::from(u32::from(v4) >> 8),
            IpAddr::V6(v6) => (u128::from(v6) >> 72) as u64 | 1 << 63,
        };
        let slot = self.hasher.hash_one(prefix) as usize % self.slots.len();
        let Some(bucket) = self.slots.get_mut(slot) else {
            return false;
        };
        let burst = f64::from(self.burst);
        let (tokens, since) = bucket.unwrap_or((burst, now));
        let earned =
            now.saturating_duration_since(since).as_secs_f64() * f64::from(self.per_second);
        let tokens = (tokens + earned).min(burst);
        let granted = tokens >= 1.0;
        *bucket = Some((if granted { tokens - 1.0 } else { tokens }, now));
        granted
    }
}
