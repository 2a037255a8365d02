//! What all workers draw from when an allocation is made: relay ports, reservations, quotas.
//! Never touched by a relayed packet.

use std::collections::HashMap;
use std::ops::RangeInclusive;
use std::time::{Duration, Instant};

use crate::turn::stun::address::Family;

use super::quota::Quota;

/// RFC 8656 section 7.2: a reserved port waits at least 30 seconds.
pub const RESERVATION_LIFETIME: Duration = Duration::from_secs(30);

/// Reservations that wait at the same time. Each blocks a port for as long as it waits and counts
/// against nobody's quota, so all together get a small part of the range.
const RESERVABLE: usize = 8;

/// The token of a reserved port.
pub type ReservationToken = [u8; 8];

/// Relay ports of both families, reservations and quotas.
#[derive(Debug)]
pub struct Pool {
    ports: [Ports; 2],
    reservations: HashMap<ReservationToken, Reservation>,
    /// Allocations by user and in total.
    pub quota: Quota,
}

/// A port that waits for its second allocation.
#[derive(Clone, Copy, Debug)]
struct Reservation {
    family: Family,
    port: u16,
    expires: Instant,
}

/// What to take from the pool.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wanted {
    /// Any free port.
    Any,
    /// An even port.
    Even,
    /// An even port whose successor is free, and is reserved under the token.
    EvenAndNext(ReservationToken),
}

impl Pool {
    /// All ports of the range are free, in either family.
    pub fn new(range: RangeInclusive<u16>, quota: Quota) -> Self {
        Self {
            ports: [Ports::new(range.clone()), Ports::new(range)],
            reservations: HashMap::new(),
            quota,
        }
    }

    /// Takes a port. `random` picks where the search begins, so that ports cannot be guessed.
    pub fn take(
        &mut self,
        family: Family,
        wanted: Wanted,
        random: u32,
        now: Instant,
    ) -> Option<u16> {
        self.expire(now);
        let ports = &mut self.ports[index(family)];
        match wanted {
            Wanted::Any => ports.take(random, |_, _| true),
            Wanted::Even => ports.take(random, |_, port| port % 2 == 0),
            Wanted::EvenAndNext(token) => {
                if self.reservations.len() >= (ports.count as usize / RESERVABLE).max(1) {
                    return None;
                }
                let port = ports.take(random, |ports, port| {
                    port % 2 == 0 && ports.is_free(port + 1)
                })?;
                ports.mark(port + 1);
                self.reservations.insert(
                    token,
                    Reservation {
                        family,
                        port: port + 1,
                        expires: now + RESERVATION_LIFETIME,
                    },
                );
                Some(port)
            }
        }
    }

    /// Redeems a token: the port stays taken and is now the caller's.
    pub fn redeem(&mut self, token: &ReservationToken, now: Instant) -> Option<(Family, u16)> {
        self.expire(now);
        let reservation = self.reservations.remove(token)?;
        Some((reservation.family, reservation.port))
    }

    /// Gives up a reservation that its maker could not use after all.
    pub fn cancel(&mut self, token: &ReservationToken) {
        if let Some(reservation) = self.reservations.remove(token) {
            self.ports[index(reservation.family)].release(reservation.port);
        }
    }

    /// Gives a port back.
    pub fn release(&mut self, family: Family, port: u16) {
        self.ports[index(family)].release(port);
    }

    /// Ports of each family in all.
    pub fn size(&self) -> u32 {
        self.ports[index(Family::V4)].count
    }

    /// Ports left in a family.
    pub fn free(&self, family: Family) -> u32 {
        self.ports[index(family)].free
    }

    /// Ports of a family that wait for their token, or whose wait is over but not yet noticed.
    pub fn reserved(&self, family: Family) -> u32 {
        let waiting = self.reservations.values();
        waiting.filter(|waiting| waiting.family == family).count() as u32
    }

    fn expire(&mut self, now: Instant) {
        if self.reservations.is_empty() {
            return;
        }
        let ports = &mut self.ports;
        self.reservations.retain(|_, reservation| {
            let waits = reservation.expires > now;
            if !waits {
                ports[index(reservation.family)].release(reservation.port);
            }
            waits
        });
    }
}

/// 0 for IPv4, 1 for IPv6.
pub(super) const fn index(family: Family) -> usize {
    match family {
        Family::V4 => 0,
        Family::V6 => 1,
    }
}

/// A bitmap of taken ports.
#[derive(Debug)]
struct Ports {
    first: u16,
    count: u32,
    free: u32,
    taken: Box<[u64]>,
}

impl Ports {
    fn new(range: RangeInclusive<u16>) -> Self {
        let first = *range.start();
        let count = u32::from(range.end().saturating_sub(first)) + 1;
        Self {
            first,
            count,
            free: count,
            taken: vec![0; count.div_ceil(64) as usize].into(),
        }
    }

    fn take(&mut self, random: u32, fits: impl Fn(&Self, u16) -> bool) -> Option<u16> {
        if self.free == 0 {
            return None;
        }
        let start = random % self.count;
        let port = (0..self.count)
            .map(|step| self.first + ((start + step) % self.count) as u16)
            .find(|port| self.is_free(*port) && fits(self, *port))?;
        self.mark(port);
        Some(port)
    }

    fn bit(&self, port: u16) -> Option<(usize, u64)> {
        let offset = u32::from(port).checked_sub(u32::from(self.first))?;
        (offset < self.count).then_some(((offset / 64) as usize, 1 << (offset % 64)))
    }

    fn is_free(&self, port: u16) -> bool {
        self.bit(port)
            .is_some_and(|(word, bit)| self.taken[word] & bit == 0)
    }

    fn mark(&mut self, port: u16) {
        if let Some((word, bit)) = self.bit(port)
            && self.taken[word] & bit == 0
        {
            self.taken[word] |= bit;
            self.free -= 1;
        }
    }

    fn release(&mut self, port: u16) {
        if let Some((word, bit)) = self.bit(port)
            && self.taken[word] & bit != 0
        {
            self.taken[word] &= !bit;
            self.free += 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::net::clock;

    fn pool(range: RangeInclusive<u16>) -> Pool {
        Pool::new(range, Quota::new(0, 0))
    }

    #[test]
    fn every_port_is_given_once_and_comes_back() {
        let mut pool = pool(50000..=50009);
        let now = clock::now();
        let mut ports: Vec<u16> = (0..10)
            .map(|n| pool.take(Family::V4, Wanted::Any, n * 7, now).unwrap())
            .collect();
        assert_eq!(pool.take(Family::V4, Wanted::Any, 3, now), None);
        assert_eq!(pool.free(Family::V6), 10, "families do not share");
        ports.sort_unstable();
        assert_eq!(ports, (50000..=50009).collect::<Vec<u16>>());
        pool.release(Family::V4, 50003);
        pool.release(Family::V4, 50003);
        assert_eq!(pool.free(Family::V4), 1, "freed once");
        assert_eq!(pool.take(Family::V4, Wanted::Any, 9, now), Some(50003));
    }

    #[test]
    fn a_reserved_port_waits_for_its_token_and_no_longer_than_its_time() {
        let mut pool = pool(50000..=50003);
        let now = clock::now();
        let first = pool
            .take(Family::V4, Wanted::EvenAndNext([1; 8]), 0, now)
            .unwrap();
        assert_eq!(first % 2, 0);
        assert_eq!(pool.redeem(&[2; 8], now), None);
        assert_eq!(pool.redeem(&[1; 8], now), Some((Family::V4, first + 1)));
        assert_eq!(pool.redeem(&[1; 8], now), None, "a token is good once");
        pool.take(Family::V4, Wanted::EvenAndNext([3; 8]), 0, now)
            .unwrap();
        assert_eq!(pool.free(Family::V4), 0);
        let later = now + RESERVATION_LIFETIME;
        assert_eq!(pool.redeem(&[3; 8], later), None);
        assert_eq!(pool.free(Family::V4), 1);
    }

    #[test]
    fn the_last_port_of_the_range_has_no_successor() {
        let mut pool = pool(65534..=65534);
        let now = clock::now();
        assert_eq!(
            pool.take(Family::V4, Wanted::EvenAndNext([1; 8]), 0, now),
            None
        );
        assert_eq!(pool.take(Family::V4, Wanted::Even, 0, now), Some(65534));
    }

    #[test]
    fn a_range_up_to_the_highest_port_does_not_overflow() {
        let mut pool = pool(65535..=65535);
        let now = clock::now();
        assert_eq!(
            pool.take(Family::V4, Wanted::EvenAndNext([1; 8]), 0, now),
            None
        );
        assert_eq!(pool.take(Family::V4, Wanted::Any, 0, now), Some(65535));
    }
}
