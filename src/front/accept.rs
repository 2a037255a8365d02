//! The accept loop and the limits that it enforces.

use std::collections::HashMap;
use std::io;
use std::net::{IpAddr, Ipv6Addr};
use std::num::NonZeroUsize;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use tracing::Instrument as _;

use super::{Door, Listener, conn};
use crate::net::clock;

/// How often a failing listener is worth a line in the log.
const COMPLAIN_EVERY: Duration = Duration::from_secs(10);

/// Accepts until the drain begins.
pub(super) async fn run(listener: Listener, door: Arc<Door>, permits: Permits) {
    let Listener {
        socket,
        role,
        plain,
    } = listener;
    let mut failures: u32 = 0;
    let mut complained: Option<Instant> = None;
    loop {
        let accepted = tokio::select! {
            () = door.drain.begun() => return,
            accepted = socket.accept() => accepted,
        };
        let (stream, peer) = match accepted {
            Ok((stream, peer)) => (stream, conn::canonical(peer)),
            Err(error) if is_of_the_client(&error) => {
                tracing::debug!(%error, "a client gave up before it was accepted");
                continue;
            }
            Err(error) => {
                door.stats.starved.fetch_add(1, Ordering::Relaxed);
                // The cause lasts, comes and goes: the log must not grow with it.
                let now = clock::now();
                if complained.is_none_or(|last| now.duration_since(last) >= COMPLAIN_EVERY) {
                    complained = Some(now);
                    tracing::error!(
                        %error,
                        "cannot accept connections; retrying (too many open files? raise LimitNOFILE)"
                    );
                }
                tokio::select! {
                    () = door.drain.begun() => return,
                    () = tokio::time::sleep(pause(failures)) => {}
                }
                failures = failures.saturating_add(1);
                continue;
            }
        };
        failures = 0;
        let permit = match permits.take(peer.ip()) {
            Ok(permit) => permit,
            // The newest goes: those who are in a call stay.
            Err(Shed::Full) => {
                door.stats.shed_full.fetch_add(1, Ordering::Relaxed);
                tracing::debug!(%peer, "shed: max_connections reached");
                continue;
            }
            Err(Shed::Address) => {
                door.stats.shed_address.fetch_add(1, Ordering::Relaxed);
                tracing::debug!(%peer, "shed: max_per_ip reached");
                continue;
            }
        };
        door.stats.accepted.fetch_add(1, Ordering::Relaxed);
        let span = tracing::debug_span!("connection", %peer);
        let task = conn::run(stream, peer, role, plain, Arc::clone(&door), permit);
        door.drain.spawn(task.instrument(span));
    }
}

/// Errors of the one connection that was to be accepted (accept(2)): the next may be fine.
fn is_of_the_client(error: &io::Error) -> bool {
    use io::ErrorKind::{
        ConnectionAborted, ConnectionRefused, ConnectionReset, HostUnreachable, Interrupted,
        NetworkDown, NetworkUnreachable, PermissionDenied, TimedOut,
    };
    matches!(
        error.kind(),
        ConnectionAborted
            | ConnectionRefused
            | ConnectionReset
            | HostUnreachable
            | Interrupted
            | NetworkDown
            | NetworkUnreachable
            | PermissionDenied
            | TimedOut
    ) || error.raw_os_error() == Some(libc::EPROTO)
}

/// How long to leave a listener alone after this many failures: descriptors come back when
/// connections end, and spinning keeps those from ending.
fn pause(failures: u32) -> Duration {
    const SHORTEST: Duration = Duration::from_millis(10);
    SHORTEST * 2_u32.pow(failures.min(7))
}

/// Why there is no room.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Shed {
    Full,
    Address,
}

/// Counts connections, all and by address. Clones share the count.
#[derive(Clone, Debug)]
pub(super) struct Permits {
    taken: Arc<Mutex<Taken>>,
    total: usize,
    per_address: usize,
}

#[derive(Debug, Default)]
struct Taken {
    total: usize,
    /// No larger than `total`: an entry goes with its last connection.
    by_address: HashMap<IpAddr, usize>,
}

/// One connection's slot, given back on drop.
#[derive(Debug)]
pub(super) struct Permit {
    taken: Arc<Mutex<Taken>>,
    holder: IpAddr,
}

impl Permits {
    pub(super) fn new(total: NonZeroUsize, per_address: NonZeroUsize) -> Self {
        Self {
            taken: Arc::default(),
            total: total.get(),
            per_address: per_address.get(),
        }
    }

    pub(super) fn take(&self, peer: IpAddr) -> Result<Permit, Shed> {
        let holder = holder(peer);
        let mut taken = self.taken.lock().unwrap_or_else(PoisonError::into_inner);
        if taken.total >= self.total {
            return Err(Shed::Full);
        }
        let count = taken.by_address.entry(holder).or_default();
        if *count >= self.per_address {
            return Err(Shed::Address);
        }
        *count += 1;
        taken.total += 1;
        Ok(Permit {
            taken: Arc::clone(&self.taken),
            holder,
        })
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        let mut taken = self.taken.lock().unwrap_or_else(PoisonError::into_inner);
        taken.total = taken.total.saturating_sub(1);
        if let Some(count) = taken.by_address.get_mut(&self.holder) {
            *count = count.saturating_sub(1);
            if *count == 0 {
                taken.by_address.remove(&self.holder);
            }
        }
    }
}

/// Whose share a connection counts against: an IPv4 address, or the /64 that one IPv6 customer has
/// at least.
fn holder(peer: IpAddr) -> IpAddr {
    match peer {
        IpAddr::V6(v6) => Ipv6Addr::from_bits(v6.to_bits() >> 64 << 64).into(),
        v4 => v4,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn permits(total: usize, per_address: usize) -> Permits {
        Permits::new(
            NonZeroUsize::new(total).unwrap(),
            NonZeroUsize::new(per_address).unwrap(),
        )
    }

    fn ip(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    #[test]
    fn a_slot_comes_back_when_its_connection_ends() {
        let permits = permits(10, 1);
        let first = permits.take(ip("192.0.2.1")).unwrap();
        assert_eq!(permits.take(ip("192.0.2.1")).unwrap_err(), Shed::Address);
        let _other = permits.take(ip("192.0.2.2")).unwrap();
        drop(first);
        let _again = permits.take(ip("192.0.2.1")).unwrap();
    }

    #[test]
    fn an_ipv6_customer_is_one_client_whatever_address_they_use() {
        let permits = permits(10, 1);
        let _first = permits.take(ip("2001:db8::1")).unwrap();
        let second = permits.take(ip("2001:db8::ffff:0:1"));
        assert_eq!(second.unwrap_err(), Shed::Address);
        let _neighbour = permits.take(ip("2001:db8:0:1::1")).unwrap();
    }

    #[test]
    fn the_total_is_a_limit_of_its_own_and_nothing_is_left_behind() {
        let permits = permits(2, 2);
        let held = [
            permits.take(ip("192.0.2.1")).unwrap(),
            permits.take(ip("192.0.2.2")).unwrap(),
        ];
        assert_eq!(permits.take(ip("192.0.2.3")).unwrap_err(), Shed::Full);
        drop(held);
        let taken = permits.taken.lock().unwrap();
        assert_eq!((taken.total, taken.by_address.len()), (0, 0));
    }

    #[test]
    fn a_refused_newcomer_leaves_no_entry_in_the_table() {
        let permits = permits(1, 5);
        let _held = permits.take(ip("192.0.2.1")).unwrap();
        for last in 2..200 {
            assert!(permits.take(ip(&format!("192.0.2.{last}"))).is_err());
        }
        assert_eq!(permits.taken.lock().unwrap().by_address.len(), 1);
    }

    #[test]
    fn running_out_of_descriptors_is_waited_out_and_a_lost_client_is_not() {
        let is = |errno| is_of_the_client(&io::Error::from_raw_os_error(errno));
        for errno in [
            libc::ECONNABORTED,
            libc::EPROTO,
            libc::EINTR,
            libc::EPERM,
            libc::ENETDOWN,
        ] {
            assert!(is(errno), "{errno}");
        }
        for errno in [libc::EMFILE, libc::ENFILE, libc::ENOBUFS, libc::ENOMEM] {
            assert!(!is(errno), "{errno}");
        }
        assert_eq!(pause(0), Duration::from_millis(10));
        assert!(pause(3) > pause(2));
        assert_eq!(pause(u32::MAX), Duration::from_millis(1280));
    }
}
