//! How long to leave an authority alone after failures. Pure: random numbers are arguments.

use std::time::Duration;

/// Minutes after the first failure, the second, and so on; the last one repeats. Five failed
/// validations of a name an hour are what a large authority allows.
const MINUTES: [u32; 8] = [1, 2, 5, 10, 20, 60, 180, 360];

/// What a restart shortens the wait to: whoever restarts has mended something, but a service
/// manager that restarts in a loop has not.
const AFTER_RESTART: Duration = Duration::from_secs(600);

/// Failures in a row.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Backoff {
    failures: u32,
}

impl Backoff {
    /// One more failure: how long to wait now. `random` stretches the wait by up to a quarter, so
    /// that many who failed together do not come back together.
    pub(super) fn failed(&mut self, random: u8) -> Duration {
        let last = MINUTES.len() - 1;
        let index = usize::try_from(self.failures).unwrap_or(last).min(last);
        self.failures = self.failures.saturating_add(1);
        let wait = Duration::from_secs(60) * MINUTES.get(index).copied().unwrap_or(360);
        wait + wait / 4 * u32::from(random) / 255
    }

    /// It worked.
    pub(super) fn succeeded(&mut self) {
        self.failures = 0;
    }

    /// What is kept over a restart. `next` is the time of the next attempt.
    pub(super) fn to_text(self, next: u64) -> String {
        format!("{} {next}\n", self.failures)
    }

    /// What was kept, and how long to wait still. What cannot be read is nothing.
    pub(super) fn from_text(text: &str, now: u64) -> Option<(Self, Duration)> {
        let (failures, next) = text.trim_end().split_once(' ')?;
        let failures = failures.parse().ok()?;
        let next: u64 = next.parse().ok()?;
        let left = Duration::from_secs(next.saturating_sub(now));
        Some((Self { failures }, left.min(AFTER_RESTART)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MINUTE: u64 = 60;

    #[test]
    fn each_failure_waits_longer_than_the_one_before_up_to_six_hours() {
        let mut backoff = Backoff::default();
        let waits: Vec<u64> = (0..10).map(|_| backoff.failed(0).as_secs()).collect();
        let expected = [1, 2, 5, 10, 20, 60, 180, 360, 360, 360];
        assert_eq!(waits, expected.map(|minutes| minutes * MINUTE));
        backoff.succeeded();
        assert_eq!(backoff.failed(0).as_secs(), MINUTE);
    }

    #[test]
    fn chance_makes_a_wait_longer_by_up_to_a_quarter_and_never_shorter() {
        for random in 0..=255 {
            let mut backoff = Backoff { failures: 7 };
            let wait = backoff.failed(random).as_secs();
            assert!((360 * MINUTE..=450 * MINUTE).contains(&wait), "{wait}");
        }
        let mut backoff = Backoff { failures: u32::MAX };
        assert_eq!(backoff.failed(255).as_secs(), 450 * MINUTE);
    }

    #[test]
    fn a_restart_remembers_failures_and_waits_ten_minutes_at_most() {
        let mut backoff = Backoff::default();
        for _ in 0..6 {
            backoff.failed(0);
        }
        let text = backoff.to_text(10_000);
        let read = |now| Backoff::from_text(&text, now).unwrap();
        assert_eq!(read(9_900), (backoff, Duration::from_secs(100)));
        assert_eq!(read(0), (backoff, AFTER_RESTART));
        assert_eq!(read(20_000), (backoff, Duration::ZERO));
        for text in ["", "x", "1", "1 x", "-1 5"] {
            assert_eq!(Backoff::from_text(text, 0), None);
        }
    }
}
