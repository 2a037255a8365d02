//! The accept loop and the limits that it enforces.

use std::collections::HashMap;
use std::io;
use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::num::NonZeroUsize;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio::net::TcpStream;
use tokio::sync::Notify;

use super::tidy::Ended;
use super::{Door, Listener, conn};
use crate::net::clock;
use crate::telemetry::repeats::{Repeated, note};

/// How often what goes on failing is worth a line in the log.
const COMPLAIN_EVERY: Duration = Duration::from_secs(10);

/// Accepts until the end is announced.
pub(super) async fn run(listener: Listener, door: Arc<Door>, permits: Permits) {
    let Listener {
        socket,
        role,
        plain,
    } = listener;
    let mut failures: u32 = 0;
    let complaint = Rarely::default();
    loop {
        let accepted = tokio::select! {
            () = door.drain.announced() => return,
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
                if complaint.is_due(clock::now()) {
                    tracing::error!(
                        %error,
                        "cannot accept connections; retrying (too many open files? raise LimitNOFILE)"
                    );
                }
                tokio::select! {
                    () = door.drain.announced() => return,
                    () = tokio::time::sleep(pause(failures)) => {}
                }
                failures = failures.saturating_add(1);
                continue;
            }
        };
        failures = 0;
        let balanced = door
            .settings
            .load()
            .proxy_protocol
            .iter()
            .any(|network| network.contains(peer.ip()));
        // Whose share a balancer's connection counts against is known once it has said who it is.
        let permit = match permits.take((!balanced).then(|| peer.ip())) {
            Ok(permit) => permit,
            // The newest goes: those who are in a call stay.
            Err(Shed::Full) => {
                door.stats.shed_full.fetch_add(1, Ordering::Relaxed);
                note(Repeated::Full, peer.ip());
                continue;
            }
            Err(Shed::Address) => {
                door.stats.shed_address.fetch_add(1, Ordering::Relaxed);
                note(Repeated::AddressFull, peer.ip());
                continue;
            }
        };
        if let Some(accepted) = door.stats.accepted.get(role.index()) {
            accepted.fetch_add(1, Ordering::Relaxed);
        }
        let arrival = Arrival {
            stream,
            peer,
            balanced,
            permit,
        };
        door.drain
            .spawn(conn::run(arrival, role, plain, Arc::clone(&door)));
    }
}

/// A connection that was let in.
#[derive(Debug)]
pub(super) struct Arrival {
    pub(super) stream: TcpStream,
    /// Who called: the client, or a balancer for it.
    pub(super) peer: SocketAddr,
    /// It is from a balancer and begins with a header that says who is really calling.
    pub(super) balanced: bool,
    pub(super) permit: Permit,
}

/// What would fill the log if it were said each time.
#[derive(Debug, Default)]
pub(super) struct Rarely(Mutex<Option<Instant>>);

impl Rarely {
    /// Whether it is time to say it again; then it counts as said.
    pub(super) fn is_due(&self, now: Instant) -> bool {
        let mut last = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let due = last.is_none_or(|last| now.saturating_duration_since(last) >= COMPLAIN_EVERY);
        if due {
            *last = Some(now);
        }
        due
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
}

#[derive(Debug)]
struct Taken {
    most: usize,
    most_per_address: usize,
    total: usize,
    /// No larger than `total`: an entry goes with its last connection.
    by_address: HashMap<IpAddr, usize>,
    ended: Ended,
}

/// One connection's slot, given back on drop.
#[derive(Debug)]
pub(super) struct Permit {
    permits: Permits,
    /// Against whose share it counts.
    holder: Option<IpAddr>,
}

impl Permits {
    pub(super) fn new(total: NonZeroUsize, per_address: NonZeroUsize) -> Self {
        let taken = Taken {
            most: total.get(),
            most_per_address: per_address.get(),
            total: 0,
            by_address: HashMap::new(),
            ended: Ended::default(),
        };
        Self {
            taken: Arc::new(Mutex::new(taken)),
        }
    }

    /// Other limits. Those who are in stay.
    pub(super) fn limit(&self, total: NonZeroUsize, per_address: NonZeroUsize) {
        let mut taken = self.lock();
        taken.most = total.get();
        taken.most_per_address = per_address.get();
    }

    /// A slot for a connection of `peer`, or of somebody who is not known yet.
    pub(super) fn take(&self, peer: Option<IpAddr>) -> Result<Permit, Shed> {
        let mut taken = self.lock();
        if taken.total >= taken.most {
            return Err(Shed::Full);
        }
        let holder = peer.map(holder);
        if let Some(holder) = holder {
            taken.count(holder)?;
        }
        taken.total += 1;
        Ok(Permit {
            permits: self.clone(),
            holder,
        })
    }

    /// Notified when many connections have ended.
    pub(super) fn enough_ended(&self) -> Arc<Notify> {
        self.lock().ended.enough()
    }

    fn lock(&self) -> MutexGuard<'_, Taken> {
        self.taken.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Taken {
    fn count(&mut self, holder: IpAddr) -> Result<(), Shed> {
        let limit = self.most_per_address;
        let count = self.by_address.entry(holder).or_default();
        if *count >= limit {
            return Err(Shed::Address);
        }
        *count += 1;
        Ok(())
    }
}

impl Permit {
    /// Counts the connection against the share of `peer`, now that it is known.
    pub(super) fn assign(&mut self, peer: IpAddr) -> Result<(), Shed> {
        let holder = holder(peer);
        self.permits.lock().count(holder)?;
        self.holder = Some(holder);
        Ok(())
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        let mut taken = self.permits.lock();
        taken.total = taken.total.saturating_sub(1);
        taken.ended.add();
        let Some(holder) = self.holder else { return };
        if let Some(count) = taken.by_address.get_mut(&holder) {
            *count = count.saturating_sub(1);
            if *count == 0 {
                taken.by_address.remove(&holder);
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

    fn ip(text: &str) -> Option<IpAddr> {
        Some(text.parse().unwrap())
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
        let taken = permits.lock();
        assert_eq!((taken.total, taken.by_address.len()), (0, 0));
    }

    #[test]
    fn a_refused_newcomer_leaves_no_entry_in_the_table() {
        let permits = permits(1, 5);
        let _held = permits.take(ip("192.0.2.1")).unwrap();
        for last in 2..200 {
            assert!(permits.take(ip(&format!("192.0.2.{last}"))).is_err());
        }
        assert_eq!(permits.lock().by_address.len(), 1);
    }

    #[test]
    fn behind_a_balancer_the_share_is_the_clients_once_it_is_known() {
        let permits = permits(3, 1);
        let mut first = permits.take(None).unwrap();
        let mut second = permits.take(None).unwrap();
        let client = ip("192.0.2.1").unwrap();
        first.assign(client).unwrap();
        assert_eq!(second.assign(client), Err(Shed::Address));
        second.assign(ip("192.0.2.2").unwrap()).unwrap();
        let _third = permits.take(None).unwrap();
        assert_eq!(permits.take(None).unwrap_err(), Shed::Full);
        drop(first);
        assert_eq!(permits.lock().by_address.len(), 1);
        let _again = permits.take(ip("192.0.2.1")).unwrap();
    }

    #[test]
    fn the_same_complaint_is_made_again_after_a_while() {
        let start = clock::now();
        let complaint = Rarely::default();
        assert!(complaint.is_due(start));
        assert!(!complaint.is_due(start + COMPLAIN_EVERY / 2));
        assert!(complaint.is_due(start + COMPLAIN_EVERY));
        assert!(!complaint.is_due(start + COMPLAIN_EVERY));
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
