//! Drives the core: one thread, one epoll loop and one [`core::Server`](super::core::Server) per
//! worker, nothing shared on the packet path.
//!
//! The kernel keeps a client's datagrams on one worker (SO_REUSEPORT hashes the 4-tuple); streams
//! are handed out in turn. Workers meet in three places only: the directory of relayed ports, read
//! without a lock; the pool, locked when an allocation is made or ends; and each other's mailbox,
//! for payloads between allocations of two workers.

mod directory;
mod mailbox;
mod metrics;
mod outbox;
mod peers;
mod sessions;
mod sockets;
mod stream;
mod worker;

use std::io;
use std::net::{IpAddr, UdpSocket};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use tokio::sync::oneshot;

use crate::net::clock;
use crate::net::stream::{ClientStream, TurnSink};

use super::core::{Config, Pool, Stats};
use directory::Directory;
use mailbox::{Mail, Mailbox};
use metrics::Shown;

pub use metrics::TurnMetrics;
pub use sessions::{Busy, NotAnId, Place, Session, SessionId, SessionTable};

/// Everything that the workers are started with.
#[derive(Debug)]
pub struct Plan {
    /// Given to each worker's core.
    pub config: Config,
    /// Where relay sockets are bound, IPv4 and IPv6.
    pub relay_bind: [Option<IpAddr>; 2],
    /// Relay ports and quotas, shared.
    pub pool: Pool,
    /// Bound listening sockets: one set a worker, all sets alike.
    pub listeners: Vec<Vec<UdpSocket>>,
}

/// The running workers.
#[derive(Debug)]
pub struct Workers {
    mailboxes: Arc<[Mailbox]>,
    threads: Vec<JoinHandle<()>>,
    stats: Arc<[Mutex<Shown>]>,
    pool: Arc<Mutex<Pool>>,
}

/// Starts a worker for each set of listeners.
pub fn start(plan: Plan) -> io::Result<Workers> {
    let count = plan.listeners.len();
    let (mailboxes, inboxes): (Vec<_>, Vec<_>) = (0..count)
        .map(|id| mailbox::new(id as u16))
        .collect::<io::Result<Vec<_>>>()?
        .into_iter()
        .unzip();
    let mailboxes: Arc<[Mailbox]> = mailboxes.into();
    let stats: Arc<[Mutex<Shown>]> = (0..count).map(|_| Mutex::default()).collect();
    let pool = Arc::new(Mutex::new(plan.pool));
    let directory = Arc::new(Directory::default());
    let mut workers = Workers {
        mailboxes: mailboxes.clone(),
        threads: Vec::with_capacity(count),
        stats: stats.clone(),
        pool: pool.clone(),
    };
    for (id, (listeners, inbox)) in plan.listeners.into_iter().zip(inboxes).enumerate() {
        let worker = worker::Worker::new(worker::Parts {
            id: id as u16,
            config: plan.config.clone(),
            relay_bind: plan.relay_bind,
            listeners,
            inbox,
            mailboxes: mailboxes.clone(),
            directory: directory.clone(),
            pool: pool.clone(),
            stats: stats.clone(),
            now: clock::now(),
        })?;
        workers.threads.push(
            std::thread::Builder::new()
                .name(format!("turn-{id}"))
                .spawn(move || worker.run())?,
        );
    }
    Ok(workers)
}

impl Workers {
    /// Takes over connections that turned out to speak TURN. One that finds every mailbox full is
    /// closed.
    pub fn sink(&self) -> TurnSink {
        let mailboxes = self.mailboxes.clone();
        let next = AtomicUsize::new(0);
        Arc::new(move |stream: ClientStream| {
            let turn = next.fetch_add(1, Ordering::Relaxed);
            if let Some(mailbox) = mailboxes.get(turn % mailboxes.len().max(1)) {
                mailbox.send(Mail::Stream(Box::new(stream)));
            }
        })
    }

    /// No new allocations from now on.
    pub fn drain(&self) {
        for mailbox in self.mailboxes.iter() {
            mailbox.send(Mail::Drain);
        }
    }

    /// Leaves the UDP listeners to another process: every allocation stays, with a socket of its own
    /// for its client. False if a worker did not do so in time.
    pub async fn hand_over(&self, within: Duration) -> bool {
        asked(&self.mailboxes, Mail::HandOver, within).await
    }

    /// Reaches the workers from elsewhere.
    pub fn remote(&self) -> Remote {
        Remote {
            mailboxes: Arc::clone(&self.mailboxes),
            pool: Arc::clone(&self.pool),
        }
    }

    /// Ends all allocations and waits for the threads.
    pub fn stop(self) {
        for mailbox in self.mailboxes.iter() {
            mailbox.stop();
        }
        for thread in self.threads {
            // A worker that panicked has said so; there is nothing left to wait for.
            let _ = thread.join();
        }
    }

    /// Allocations in being, on all workers.
    pub fn allocations(&self) -> u32 {
        self.pool
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .quota
            .allocations()
    }

    /// The numbers of all workers, for the metrics page.
    pub fn metrics(&self) -> TurnMetrics {
        TurnMetrics::new(self.stats.clone(), self.pool.clone())
    }

    /// The allocations of all workers.
    pub fn sessions(&self) -> SessionTable {
        SessionTable::new(self.mailboxes.clone())
    }

    /// What each worker has counted, as of its last round.
    pub fn stats(&self) -> Vec<Stats> {
        self.stats
            .iter()
            .map(|stats| stats.lock().unwrap_or_else(PoisonError::into_inner).core)
            .collect()
    }
}

/// See [`Workers::remote`].
#[derive(Clone, Debug)]
pub struct Remote {
    mailboxes: Arc<[Mailbox]>,
    pool: Arc<Mutex<Pool>>,
}

impl Remote {
    /// Whether every worker takes its mail.
    pub async fn answers(&self, within: Duration) -> bool {
        asked(&self.mailboxes, Mail::Hail, within).await
    }

    /// Gives every worker other settings, as far as [`Server::reconfigure`] takes them, and the
    /// quotas. False if a worker did not take them in time.
    ///
    /// [`Server::reconfigure`]: super::core::Server::reconfigure
    pub async fn configure(&self, config: &Config, quota: (u32, u32), within: Duration) -> bool {
        self.pool
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .quota
            .limit(quota.0, quota.1);
        let mail = |reply| Mail::Configure(Box::new(config.clone()), reply);
        asked(&self.mailboxes, mail, within).await
    }
}

/// Whether every worker has answered.
async fn asked(
    mailboxes: &[Mailbox],
    mail: impl Fn(oneshot::Sender<()>) -> Mail,
    within: Duration,
) -> bool {
    let ask = |mailbox: &Mailbox| {
        let (reply, answer) = oneshot::channel();
        mailbox.send(mail(reply));
        answer
    };
    let answers: Vec<_> = mailboxes.iter().map(ask).collect();
    let all = async {
        for answer in answers {
            // A letter that found the box full is dropped, and the wish for an answer with it.
            if answer.await.is_err() {
                return false;
            }
        }
        true
    };
    tokio::time::timeout(within, all).await.unwrap_or(false)
}
