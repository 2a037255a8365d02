//! Token buckets over address prefixes, in memory that never grows.
//!
//! A client is a prefix here (IPv4 /24, IPv6 /56): whoever can forge one address can forge its
//! neighbours. Buckets are found by a keyed hash and carry no name, so a flood of forged sources
//! cannot evict anybody; two prefixes may share a bucket, hence each has one in either of two
//! tables and is let through while one of them has a token.

use std::hash::{BuildHasher, RandomState};
use std::net::IpAddr;
use std::num::NonZeroU64;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// Answers "may this prefix have one more?" in constant time and memory.
#[derive(Debug)]
pub struct PrefixLimiter {
    tables: [Box<[Bucket]>; 2],
    hashers: [RandomState; 2],
    burst: u32,
    per_second: u32,
    origin: Option<Instant>,
}

/// Tokens in thousandths, so that slow rates refill smoothly.
#[derive(Clone, Copy, Debug)]
struct Bucket {
    millitokens: u32,
    /// Milliseconds since `origin`.
    refilled: u32,
}

impl PrefixLimiter {
    /// `slots` buckets a table (rounded up to a power of two); `burst` at once, then
    /// `per_second`. A `per_second` of 0 means no limit.
    pub fn new(slots: usize, burst: u32, per_second: u32) -> Self {
        let burst = burst.clamp(1, u32::MAX / 1000);
        let full = Bucket {
            millitokens: burst * 1000,
            refilled: 0,
        };
        let slots = slots.max(1).next_power_of_two();
        Self {
            tables: [vec![full; slots].into(), vec![full; slots].into()],
            hashers: [RandomState::new(), RandomState::new()],
            burst,
            per_second,
            origin: None,
        }
    }

    /// Takes a token of the prefix that `ip` belongs to. False: there is none left.
    pub fn allow(&mut self, ip: IpAddr, now: Instant) -> bool {
        if self.per_second == 0 {
            return true;
        }
        let origin = *self.origin.get_or_insert(now);
        let millis = now.saturating_duration_since(origin).as_millis() as u32;
        let key = prefix(ip);
        let (burst, rate) = (self.burst * 1000, self.per_second);
        self.tables
            .iter_mut()
            .zip(&self.hashers)
            .any(|(table, hasher)| {
                let slot = hasher.hash_one(key) as usize & (table.len() - 1);
                table
                    .get_mut(slot)
                    .is_some_and(|bucket| bucket.take(millis, burst, rate))
            })
    }
}

impl Bucket {
    fn take(&mut self, millis: u32, burst: u32, rate: u32) -> bool {
        let elapsed = millis.wrapping_sub(self.refilled);
        let gained = u64::from(elapsed) * u64::from(rate);
        self.millitokens = u64::from(self.millitokens)
            .saturating_add(gained)
            .min(u64::from(burst)) as u32;
        self.refilled = millis;
        match self.millitokens.checked_sub(1000) {
            Some(left) => {
                self.millitokens = left;
                true
            }
            None => false,
        }
    }
}

/// The prefix of an address as a number: /24 or /56. An IPv4-mapped address counts as IPv4.
fn prefix(ip: IpAddr) -> u64 {
    match ip.to_canonical() {
        IpAddr::V4(ip) => u64::from(u32::from(ip) >> 8),
        // IPv6 prefixes have their top bit set here, so the families never meet.
        IpAddr::V6(ip) => (u128::from(ip) >> 72) as u64 | 1 << 63,
    }
}

/// One token bucket counted in bytes.
#[derive(Clone, Copy, Debug)]
pub struct ByteBucket {
    tokens: u64,
    refilled: Instant,
}

impl ByteBucket {
    /// A full bucket: one second's worth.
    pub fn new(bits_per_second: u64, now: Instant) -> Self {
        Self {
            tokens: bits_per_second / 8,
            refilled: now,
        }
    }

    /// Takes `bytes`. False: the rate is used up and nothing was taken.
    pub fn take(&mut self, bytes: usize, bits_per_second: u64, now: Instant) -> bool {
        let elapsed = now.saturating_duration_since(self.refilled);
        // Refilled in steps of a millisecond: cheaper, and as good.
        if elapsed >= Duration::from_millis(1) && bits_per_second > 0 {
            let rate = u128::from(bits_per_second);
            let gained = elapsed.as_micros() * rate / 8_000_000;
            let full = u128::from(bits_per_second / 8);
            let tokens = gained.saturating_add(u128::from(self.tokens));
            self.tokens = tokens.min(full) as u64;
            self.refilled = if tokens >= full {
                now
            } else {
                // The time that made no whole byte yet counts the next time, or rounding would
                // eat into slow rates.
                self.refilled + Duration::from_micros((gained * 8_000_000 / rate) as u64)
            };
        }
        match self.tokens.checked_sub(bytes as u64) {
            Some(left) => {
                self.tokens = left;
                true
            }
            None => false,
        }
    }
}

/// A rate of bytes that several threads draw on together, without a lock.
///
/// It keeps one number: when the bytes taken so far would have passed if they had come at exactly
/// the rate (the generic cell rate algorithm of ITU-T I.371). A second's worth may come at once.
#[derive(Debug)]
pub struct SharedRate {
    bits_per_second: u64,
    origin: Instant,
    /// Nanoseconds since `origin`.
    passed: AtomicU64,
}

impl SharedRate {
    /// A rate that nobody has used yet. It must not be 0.
    pub fn new(bits_per_second: NonZeroU64, now: Instant) -> Self {
        Self {
            bits_per_second: bits_per_second.get(),
            origin: now,
            passed: AtomicU64::new(0),
        }
    }

    /// Takes `bytes`. False: the rate is used up and nothing was taken.
    pub fn take(&self, bytes: usize, now: Instant) -> bool {
        const SECOND: u64 = 1_000_000_000;
        let now = now.saturating_duration_since(self.origin).as_nanos() as u64;
        let cost = (bytes as u128 * 8 * u128::from(SECOND)) / u128::from(self.bits_per_second);
        let Ok(cost) = u64::try_from(cost) else {
            return false;
        };
        let take = |passed: u64| {
            let after = passed.max(now).checked_add(cost)?;
            (after - now <= SECOND).then_some(after)
        };
        self.passed
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, take)
            .is_ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::net::clock;

    fn ip(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    #[test]
    fn a_prefix_gets_its_burst_and_then_its_rate() {
        let mut limiter = PrefixLimiter::new(64, 5, 10);
        let start = clock::now();
        // A bucket in each of two tables.
        let first = (0..100)
            .filter(|_| limiter.allow(ip("198.51.100.7"), start))
            .count();
        assert_eq!(first, 10);
        let later = start + Duration::from_millis(100);
        let second = (0..100)
            .filter(|_| limiter.allow(ip("198.51.100.200"), later))
            .count();
        assert_eq!(second, 2, "one token a table in a tenth of a second");
    }

    #[test]
    fn neighbours_share_and_strangers_do_not() {
        let mut limiter = PrefixLimiter::new(4096, 1, 1);
        let now = clock::now();
        while limiter.allow(ip("198.51.100.7"), now) {}
        assert!(!limiter.allow(ip("198.51.100.8"), now));
        assert!(!limiter.allow(ip("::ffff:198.51.100.9"), now));
        assert!(limiter.allow(ip("203.0.113.1"), now));
        while limiter.allow(ip("2001:db8:0:100::1"), now) {}
        assert!(!limiter.allow(ip("2001:db8:0:1ff::1"), now));
        assert!(limiter.allow(ip("2001:db8:0:200::1"), now));
    }

    #[test]
    fn zero_means_no_limit() {
        let mut limiter = PrefixLimiter::new(1, 1, 0);
        let now = clock::now();
        assert!((0..10_000).all(|_| limiter.allow(ip("192.0.2.1"), now)));
    }

    #[test]
    fn rounding_does_not_eat_slow_rates() {
        // A byte a millisecond, asked every 1.9 ms.
        let start = clock::now();
        let mut bucket = ByteBucket::new(8000, start);
        assert!(bucket.take(1000, 8000, start));
        let taken = (1..=500)
            .map(|step| start + Duration::from_micros(1900) * step)
            .map(|at| (0..5).filter(|_| bucket.take(1, 8000, at)).count())
            .sum::<usize>();
        assert!((945..=950).contains(&taken), "{taken} of 950");
    }

    #[test]
    fn bytes_are_limited_to_the_rate() {
        let start = clock::now();
        let mut bucket = ByteBucket::new(80_000, start);
        assert!(bucket.take(10_000, 80_000, start));
        assert!(!bucket.take(1, 80_000, start));
        let later = start + Duration::from_millis(500);
        assert!(bucket.take(5_000, 80_000, later));
        assert!(!bucket.take(1, 80_000, later));
    }

    #[test]
    fn a_shared_rate_is_the_same_for_all_who_draw_on_it() {
        let start = clock::now();
        let rate = SharedRate::new(NonZeroU64::new(80_000).unwrap(), start);
        assert!(rate.take(6_000, start));
        assert!(rate.take(4_000, start));
        assert!(!rate.take(1, start), "a second's worth has gone");
        let later = start + Duration::from_millis(500);
        assert!(!rate.take(5_001, later));
        assert!(rate.take(5_000, later));
        assert!(!rate.take(1, later));
        let idle = start + Duration::from_secs(60);
        assert!(rate.take(10_000, idle));
        assert!(!rate.take(1, idle), "an idle minute saves up one second");
    }
}
