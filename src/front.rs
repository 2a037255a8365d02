//! The TCP front door: accept, tell protocols apart, finish TLS, hand over.
//!
//! Owns a connection until it is known what it speaks and who takes it: [`crate::http`] or, through
//! a [`TurnSink`], a TURN worker.

mod accept;
mod conn;
mod handshake;
mod metrics;
pub mod route;
pub mod sniff;
mod tidy;
mod tls;

use std::sync::Arc;
use std::sync::atomic::AtomicU64;

use arc_swap::ArcSwap;
use rustls::crypto::CryptoProvider;
use tokio::net::TcpListener;

use crate::cert::CertStore;
use crate::config::settings;
use crate::http::{Services, To};
use crate::net::stream::TurnSink;
use crate::shutdown::Drain;

pub use self::handshake::{Handshakes, Outcome};
pub use self::route::Role;
pub use self::tls::TlsError;

/// A bound socket and what may come in through it.
#[derive(Debug)]
pub struct Listener {
    /// Where clients connect.
    pub socket: TcpListener,
    /// What they may speak.
    pub role: Role,
    /// What plain HTTP is told here. Not asked for on TURN listeners.
    pub plain: To,
}

/// What has happened, for whoever publishes it.
#[derive(Debug, Default)]
pub struct Stats {
    /// Connections accepted and kept, by what the listener is for: [`Role::ALL`].
    pub accepted: [AtomicU64; Role::ALL.len()],
    /// TLS handshakes.
    pub handshakes: Handshakes,
    /// Failures to accept that are the appliance's own: no descriptor left, no memory.
    pub starved: AtomicU64,
    /// Dropped at once: the appliance is full.
    pub shed_full: AtomicU64,
    /// Dropped at once: their address has its share.
    pub shed_address: AtomicU64,
    /// Cut for not saying in time what they want.
    pub slow: AtomicU64,
    /// Ended by us or them before it was known what they want.
    pub refused: AtomicU64,
    /// Ended because a balancer's connection did not begin with a good PROXY header.
    pub unintroduced: AtomicU64,
    /// Handed to TURN.
    pub turn: AtomicU64,
    /// Handed to HTTP.
    pub http: AtomicU64,
}

/// Everything that a connection needs on its way in.
struct Door {
    tls: tls::Configs,
    services: Services,
    sink: TurnSink,
    settings: Arc<ArcSwap<settings::Front>>,
    drain: Drain,
    stats: Arc<Stats>,
    /// Of balancers that do not say who is calling.
    complaint: accept::Rarely,
}

/// Starts serving on `listeners`, until the drain begins. Returns at once.
pub fn serve(
    listeners: Vec<Listener>,
    services: Services,
    certificates: CertStore,
    provider: Arc<CryptoProvider>,
    sink: TurnSink,
    settings: &settings::Front,
    drain: &Drain,
) -> Result<Serving, TlsError> {
    let stats = Arc::new(Stats::default());
    let current = Arc::new(ArcSwap::from_pointee(settings.clone()));
    let door = Arc::new(Door {
        tls: tls::Configs::new(certificates, provider)?,
        services,
        sink,
        settings: Arc::clone(&current),
        drain: drain.clone(),
        stats: Arc::clone(&stats),
        complaint: accept::Rarely::default(),
    });
    let permits = accept::Permits::new(settings.max_connections, settings.max_per_ip);
    drain.spawn(tidy::run(permits.enough_ended(), drain.clone()));
    for listener in listeners {
        drain.spawn(accept::run(listener, Arc::clone(&door), permits.clone()));
    }
    Ok(Serving {
        stats,
        settings: current,
        permits,
    })
}

/// A front door that is open.
#[derive(Clone, Debug)]
pub struct Serving {
    stats: Arc<Stats>,
    settings: Arc<ArcSwap<settings::Front>>,
    permits: accept::Permits,
}

impl Serving {
    /// What has happened so far.
    pub fn stats(&self) -> &Arc<Stats> {
        &self.stats
    }

    /// Other deadlines, limits and balancers, for whoever comes from now on.
    pub fn apply(&self, settings: &settings::Front) {
        self.permits
            .limit(settings.max_connections, settings.max_per_ip);
        self.settings.store(Arc::new(settings.clone()));
    }
}
