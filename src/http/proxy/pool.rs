//! Connections to one application: how many requests may be under way, who waits, and what is kept
//! open for the next one.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use hyper::client::conn::http1::{self, SendRequest};
use hyper_util::rt::TokioIo;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::task::AbortHandle;

use super::body::Upload;
use super::connect::{Connector, Paced};
use super::failure::Failure;
use crate::config::settings;
use crate::net::clock;
use crate::shutdown::Drain;

/// Connections kept open for the next request.
const MAX_IDLE: usize = 32;
/// For how long: less than the five seconds after which node and others close, so that a request
/// seldom meets a connection that is just being closed.
const IDLE: Duration = Duration::from_secs(4);
/// Requests that wait until another one has ended, for each one that may be under way.
const WAITING: usize = 1;
/// Bytes of an answer's header, and of its body between the application and the visitor.
const MAX_BUFFER: usize = 64 * 1024;
/// Headers of an answer.
const MAX_HEADERS: usize = 128;

/// Everything that is shared by the requests to one application.
#[derive(Debug)]
pub(super) struct Pool {
    connector: Connector,
    send_timeout: Duration,
    connect_timeout: Duration,
    most: usize,
    places: Arc<Semaphore>,
    waiting: AtomicUsize,
    shares: Arc<Mutex<HashMap<IpAddr, usize>>>,
    idle: Arc<Mutex<Vec<Idle>>>,
}

/// A connection, which ends when this is dropped.
#[derive(Debug)]
pub(super) struct Line {
    pub(super) sender: SendRequest<Upload>,
    _task: AbortOnDrop,
    drain: Drain,
}

/// The right to have one request under way.
#[derive(Debug)]
pub(super) struct Place {
    _permit: OwnedSemaphorePermit,
    _share: Share,
}

#[derive(Debug)]
struct Idle {
    line: Line,
    since: Instant,
}

#[derive(Debug)]
struct AbortOnDrop(AbortHandle);

impl Drop for AbortOnDrop {
    fn drop(&mut self) {
        self.0.abort();
    }
}

impl Pool {
    pub(super) fn new(settings: &settings::Proxy) -> Self {
        let most = settings.max_connections.get().min(Semaphore::MAX_PERMITS);
        Self {
            connector: Connector::new(settings.upstream.clone(), settings.connect_timeout),
            send_timeout: settings.send_timeout,
            connect_timeout: settings.connect_timeout,
            most,
            places: Arc::new(Semaphore::new(most)),
            waiting: AtomicUsize::new(0),
            shares: Arc::default(),
            idle: Arc::default(),
        }
    }

    /// Waits for a place, in turn, and not for longer than a connection may take.
    pub(super) async fn place(&self, visitor: IpAddr) -> Result<Place, Failure> {
        let share = Share::take(&self.shares, visitor, self.most.div_ceil(2))?;
        let places = self.places.clone();
        let busy = || Failure::Busy(self.most);
        let permit = match places.clone().try_acquire_owned() {
            Ok(permit) => permit,
            Err(_) => {
                let _queued = Queued::new(&self.waiting, self.most * WAITING).ok_or_else(busy)?;
                tokio::time::timeout(self.connect_timeout, places.acquire_owned())
                    .await
                    .map_err(|_| busy())?
                    .map_err(|_| busy())?
            }
        };
        Ok(Place {
            _permit: permit,
            _share: share,
        })
    }

    /// A connection that has been used before and is still good, as far as can be seen.
    pub(super) fn take_idle(&self) -> Option<Line> {
        let mut idle = self.idle();
        keep_good(&mut idle);
        // The last one was used last. One that has just been put back may not be ready yet.
        let ready = idle.iter().rposition(|one| one.line.sender.is_ready())?;
        Some(idle.remove(ready).line)
    }

    /// A new connection.
    pub(super) async fn connect(&self, drain: &Drain) -> Result<Line, Failure> {
        let stream = self.connector.connect(drain).await?;
        let io = TokioIo::new(Paced::new(stream, self.send_timeout));
        let (sender, connection) = http1::Builder::new()
            .max_headers(MAX_HEADERS)
            .max_header_size(MAX_BUFFER)
            .max_buf_size(MAX_BUFFER)
            .handshake(io)
            .await
            .map_err(Failure::Broken)?;
        let connection = connection.with_upgrades();
        let (idle, end) = (self.idle.clone(), drain.clone());
        let task = drain.spawn(async move {
            let mut connection = std::pin::pin!(connection);
            let ended = tokio::select! {
                ended = &mut connection => ended,
                () = end.begun() => {
                    // Whoever is in use goes on; the others end here.
                    lock(&idle).clear();
                    connection.await
                }
            };
            if let Err(error) = ended {
                tracing::debug!(%error, "connection to an application ended");
            }
        });
        Ok(Line {
            sender,
            _task: AbortOnDrop(task.abort_handle()),
            drain: drain.clone(),
        })
    }

    /// Keeps a connection for the next request.
    pub(super) fn put_back(&self, line: Line) {
        if line.sender.is_closed() || line.drain.is_begun() {
            return;
        }
        let mut idle = self.idle();
        keep_good(&mut idle);
        if idle.len() < MAX_IDLE {
            let since = clock::now();
            idle.push(Idle { line, since });
        }
    }

    fn idle(&self) -> MutexGuard<'_, Vec<Idle>> {
        lock(&self.idle)
    }
}

/// Lets go of what the application has closed, or soon may.
fn keep_good(idle: &mut Vec<Idle>) {
    let now = clock::now();
    idle.retain(|one| {
        !one.line.sender.is_closed() && now.saturating_duration_since(one.since) < IDLE
    });
}

fn lock<T>(shared: &Mutex<T>) -> MutexGuard<'_, T> {
    shared.lock().unwrap_or_else(PoisonError::into_inner)
}

/// One of those who wait.
struct Queued<'a>(&'a AtomicUsize);

impl<'a> Queued<'a> {
    fn new(waiting: &'a AtomicUsize, most: usize) -> Option<Self> {
        let queued = Self(waiting);
        let before = waiting.fetch_add(1, Ordering::Relaxed);
        (before < most).then_some(queued)
    }
}

impl Drop for Queued<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

/// One request of a visitor, counted for as long as it is under way: a single one must not take
/// every place. The table has an entry only for those who have one.
#[derive(Debug)]
struct Share {
    shares: Arc<Mutex<HashMap<IpAddr, usize>>>,
    visitor: IpAddr,
}

impl Share {
    fn take(
        shares: &Arc<Mutex<HashMap<IpAddr, usize>>>,
        visitor: IpAddr,
        most: usize,
    ) -> Result<Self, Failure> {
        let visitor = household(visitor);
        let mut table = lock(shares);
        let taken = table.entry(visitor).or_default();
        if *taken >= most {
            return Err(Failure::Greedy);
        }
        *taken += 1;
        Ok(Self {
            shares: shares.clone(),
            visitor,
        })
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        let mut table = lock(&self.shares);
        if let Some(taken) = table.get_mut(&self.visitor) {
            *taken -= 1;
            if *taken == 0 {
                table.remove(&self.visitor);
            }
        }
    }
}

/// One IPv4 address, or one IPv6 /64: what `front.max_per_ip` counts as a client.
fn household(visitor: IpAddr) -> IpAddr {
    match visitor.to_canonical() {
        IpAddr::V6(v6) => Ipv6Addr::from_bits(v6.to_bits() & !u128::from(u64::MAX)).into(),
        v4 => v4,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_visitor_has_a_share_and_gives_it_back() {
        let shares = Arc::default();
        let v4: IpAddr = "192.0.2.1".parse().unwrap();
        let mapped: IpAddr = "::ffff:192.0.2.1".parse().unwrap();
        let first = Share::take(&shares, v4, 2).unwrap();
        let second = Share::take(&shares, mapped, 2).unwrap();
        assert!(matches!(Share::take(&shares, v4, 2), Err(Failure::Greedy)));
        assert!(Share::take(&shares, "192.0.2.2".parse().unwrap(), 2).is_ok());
        drop(first);
        assert!(Share::take(&shares, v4, 2).is_ok());
        drop(second);
        assert!(lock(&shares).is_empty());
    }

    #[test]
    fn an_ipv6_network_is_one_visitor() {
        let shares = Arc::default();
        let one = Share::take(&shares, "2001:db8::1".parse().unwrap(), 1).unwrap();
        let neighbour = "2001:db8::ffff:0:0:2".parse().unwrap();
        assert!(Share::take(&shares, neighbour, 1).is_err());
        assert!(Share::take(&shares, "2001:db8:0:1::1".parse().unwrap(), 1).is_ok());
        drop(one);
    }

    #[test]
    fn so_many_may_wait_and_no_more() {
        let waiting = AtomicUsize::new(0);
        let first = Queued::new(&waiting, 1);
        assert!(first.is_some());
        assert!(Queued::new(&waiting, 1).is_none());
        drop(first);
        assert!(Queued::new(&waiting, 1).is_some());
    }
}
