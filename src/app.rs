//! The composition root: settings in, a running appliance out. The only file that knows every
//! module.
//!
//! Everything is bound and every secret is at hand before anything is served, so that a start
//! either works or says why not.

mod bound;
mod certificate;
mod fixed;
mod hand_over;
mod leave;
mod manager;
mod reload;
mod sessions;

use std::io;
use std::net::IpAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use tokio::net::TcpListener;
use tokio::sync::Notify;

use crate::admin::{self, Panel};
use crate::assets::DirectoryError;
use crate::cert::acme::AcmeError;
use crate::cert::files::FilesError;
use crate::cert::self_signed::SelfSignedError;
use crate::cert::status::Status;
use crate::cli::try_call;
use crate::config::Settings;
use crate::config::settings;
use crate::doctor;
use crate::front::{self, TlsError};
use crate::http::{self, Services};
use crate::ice::Endpoints;
use crate::net::inherited::{self, Inherited};
use crate::net::interface::{self, Advertised};
use crate::net::{clock, listen, sys};
use crate::shutdown::Drain;
use crate::signal::hub::Hub;
use crate::signal::keyring::KeyringError;
use crate::state::{StateDir, StateError};
use crate::telemetry::log::Levels;
use crate::telemetry::metrics::{Metrics, Process};
use crate::telemetry::repeats;
use crate::turn;
use crate::turn::core::Pool;
use crate::turn::core::quota::Quota;
use crate::turn::io::TurnMetrics;
use bound::Bound;
use fixed::{Fixed, Listening};
use hand_over::{Offer, Opened};
use leave::{Leaving, Newcomers, Signals};
use reload::{Handles, Reload};

pub use hand_over::Error as HandOverError;
pub use reload::Source;

/// What to run.
#[derive(Clone, Debug)]
pub struct Plan {
    /// Settings.
    pub settings: Settings,
    /// How it was started.
    pub mode: Mode,
    /// Where they came from, if they are to be read again when they change.
    pub source: Option<Source>,
}

/// How the appliance was started.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// `callbox serve`
    Serve,
    /// `callbox try`: prints the banner once it listens.
    Try,
}

/// Why it could not start.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The state directory.
    #[error(transparent)]
    State(#[from] StateError),
    /// A listener.
    #[error(transparent)]
    Listen(#[from] listen::Error),
    /// The operator's certificate.
    #[error(transparent)]
    Files(#[from] FilesError),
    /// Our own certificate.
    #[error(transparent)]
    SelfSigned(#[from] SelfSignedError),
    /// What orders of certificates need.
    #[error(transparent)]
    Acme(#[from] AcmeError),
    /// Orders that would be lost.
    #[error(
        "state_dir {} {why}: each start would order a new certificate there, and few a week are allowed; \
         give a state_dir that lasts, or set tls.acme_throwaway = true",
        path.display()
    )]
    Throwaway {
        /// The state directory.
        path: PathBuf,
        /// Why it does not last.
        why: String,
    },
    /// The keys of tokens.
    #[error(transparent)]
    Keyring(#[from] KeyringError),
    /// The service manager's sockets.
    #[error(transparent)]
    Inherited(#[from] inherited::Error),
    /// They do not go together.
    #[error(
        "the service manager passes different numbers of UDP sockets for the addresses in [turn] listen; \
         each address needs one for each worker: as many ListenDatagram= lines, with ReusePort=yes"
    )]
    Uneven,
    /// The process whose place was to be taken keeps it.
    #[error(transparent)]
    HandOver(#[from] HandOverError),
    /// TLS.
    #[error(transparent)]
    Tls(#[from] TlsError),
    /// The operator's pages.
    #[error(transparent)]
    Web(#[from] DirectoryError),
    /// The operator's Content-Security-Policy.
    #[error(transparent)]
    Policy(#[from] http::InvalidPolicy),
    /// The system refused something that nothing in the configuration can mend.
    #[error("{0}: {1}")]
    System(&'static str, #[source] io::Error),
}

/// How long the workers may take to leave their sockets to another process.
const HAND_OVER: Duration = Duration::from_secs(5);

/// Runs until told to end.
pub async fn run(plan: Plan, levels: Levels) -> Result<(), Error> {
    let Plan {
        settings,
        mode,
        source,
    } = plan;
    for warning in source.iter().flat_map(|source| &source.loaded.warnings) {
        tracing::warn!("{warning}");
    }
    raise_file_limit(&settings, mode);
    let mut signals = Signals::new().map_err(|error| Error::System("signals", error))?;
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let mut inherited = Inherited::take()?;
    let is_activated = !inherited.is_empty();
    let Opened { state, patience } = match is_activated {
        true => hand_over::open(&settings.state_dir).await?,
        false => Opened::alone(StateDir::open(&settings.state_dir)?),
    };
    let fixed = Fixed::new(&settings, Arc::new(state), provider)?;
    let supply = fixed.supply(&settings)?;
    let certificates = supply.store();
    let secret = fixed.secret(&settings)?;

    let bound = Bound::new(&settings, mode, &mut inherited, patience).await?;
    let endpoints = bound.endpoints();
    let (udp, listeners) = bound.split(&settings)?;
    let listening = Listening::new(&settings, endpoints, &listeners, &udp);

    let admin = admin_listeners(&settings.admin, mode, &mut inherited)?;
    for left in inherited.left() {
        tracing::warn!(
            "nobody listens on {left}, which the service manager has bound: name it in the configuration, \
             or take it out of the socket unit"
        );
    }
    drop(inherited);

    let workers = turn::io::start(turn::io::Plan {
        config: fixed.turn(&settings, &listening, &secret, &[]),
        relay_bind: fixed.relay_bind(),
        pool: Pool::new(
            settings.turn.relay_ports.clone(),
            Quota::new(settings.turn.user_quota, settings.turn.total_quota),
        ),
        listeners: udp,
    })
    .map_err(|error| Error::System("TURN workers", error))?;

    let drain = Drain::new();
    let (keys, certificate) = (drain.child(), drain.child());
    let keyring = fixed::keyring(&settings)?;
    fixed::watch_keys(keyring.as_ref(), &keys);
    let reception = fixed.reception(&settings, &listening, &secret, keyring);
    let hub = Hub::start(&settings.signaling, reception, &drain);
    let parts = fixed.parts(&settings, &listening, &secret, &hub, &certificates)?;
    let services = Services::new(&settings, parts)?;
    let front = front::serve(
        listeners,
        services.clone(),
        certificates.clone(),
        Arc::clone(&fixed.provider),
        workers.sink(),
        &settings.front,
        &drain,
    )?;
    drain.spawn_detached(repeats::report());
    let asked_to_drain = Arc::new(Notify::new());
    let mut metrics = Metrics::default();
    metrics.add(Process::new(
        Duration::from_secs(clock::unix_time()),
        drain.clone(),
    ));
    metrics.add(workers.metrics());
    metrics.add(hub.clone());
    metrics.add(services.clone());
    metrics.add(Arc::clone(front.stats()));
    metrics.add(certificates.status().clone());
    metrics.add(Arc::clone(&fixed.state));
    let in_force = Arc::new(ArcSwap::from_pointee(settings.clone()));
    let file = source
        .as_ref()
        .and_then(|source| source.loaded.file.clone());
    let panel = Panel {
        metrics,
        status: status(
            workers.metrics(),
            hub.clone(),
            certificates.status().clone(),
            Arc::clone(&fixed.state),
            drain.clone(),
        ),
        sessions: Box::new(sessions::Everything {
            allocations: workers.sessions(),
            hub: hub.clone(),
        }),
        begin_drain: Box::new({
            let asked = Arc::clone(&asked_to_drain);
            move || asked.notify_one()
        }),
        examine: examiner(&in_force, file),
        patient: tokio::sync::Mutex::new(()),
        token: settings.admin.token.clone(),
    };
    let admin = admin::serve(admin, panel, &drain);
    let told = Arc::new(Notify::new());
    supply.run(certificates.clone(), &told, &certificate);
    let offer = match is_activated {
        true => Offer::new(fixed.state.path()),
        false => Offer::none(),
    };
    manager::watch(workers.remote(), hub.clone(), &drain);
    let (state, advertised) = (Arc::clone(&fixed.state), fixed.advertised);
    let name = settings.host.first().cloned();
    let reload = Reload {
        running: settings,
        in_force: Arc::clone(&in_force),
        fixed,
        listening,
        secret,
        former: Vec::new(),
        handles: Handles {
            hub: hub.clone(),
            services,
            front,
            workers: workers.remote(),
            certificates,
            levels,
        },
        told,
        keys,
        certificate,
        drain: drain.clone(),
    };
    // Whoever is told that we are ready may want new settings at once.
    reload.run(source)?;
    announce(mode, name.as_ref(), &advertised, endpoints);
    manager::ready();

    let mut newcomers = Newcomers::Refused;
    tokio::select! {
        () = signals.next() => {}
        () = asked_to_drain.notified() => tracing::info!("asked to drain by the admin listener"),
        successor = offer.taken() => {
            drain.announce();
            admin.close().await;
            if !workers.hand_over(HAND_OVER).await {
                tracing::warn!("a TURN worker did not hand its sockets over in time");
            }
            state.release();
            successor.welcome().await;
            tracing::info!("another process serves the newcomers from now on");
            newcomers = Newcomers::Elsewhere;
        }
    }
    // From here on settings do not change any more.
    let leaving = Leaving::new(&drain, &workers, &hub, &in_force.load());
    leaving.run(newcomers, &mut signals).await;
    workers.stop();
    repeats::flush();
    manager::ended();
    Ok(())
}

/// What `/doctor` of the admin listener does. It asks no other server: whoever may reach that
/// listener must not be able to send us anywhere.
fn examiner(in_force: &Arc<ArcSwap<Settings>>, file: Option<PathBuf>) -> admin::Examine {
    let in_force = Arc::clone(in_force);
    Box::new(move || {
        let examination = doctor::examine(doctor::Plan {
            settings: Settings::clone(&in_force.load()),
            file: file.clone(),
            running: Some(std::process::id()),
            from: None,
        });
        Box::pin(async move {
            let report = examination.await;
            (report.to_json(), report.is_healthy())
        })
    })
}

/// The crypto library seeds its generator from the jitter of the processor when random bytes are
/// first asked for: most of the time that a start takes. It may as well do so beside the rest.
pub fn seed_early() {
    let seed = || {
        // Whoever needs random bytes asks again and is told of an error.
        let _ = aws_lc_rs::rand::fill(&mut [0]);
    };
    if let Err(error) = std::thread::Builder::new()
        .name("seed".to_owned())
        .spawn(seed)
    {
        tracing::debug!(%error, "seeding later");
    }
}

/// Each connection is a file, and so is each relayed address.
fn raise_file_limit(settings: &Settings, mode: Mode) {
    let ports = settings.turn.relay_ports.len() as u64;
    let wanted = settings.front.max_connections.get() as u64 + ports + OTHER_FILES;
    match sys::raise_file_limit(wanted) {
        Ok(limit) if mode == Mode::Try => tracing::debug!(limit, "open files"),
        Ok(limit) if limit < wanted => tracing::warn!(
            limit,
            wanted,
            "fewer files may be open than front.max_connections and turn.relay_ports can take up: \
             raise the hard limit (LimitNOFILE= of systemd, --ulimit nofile= of Docker), or lower those"
        ),
        Ok(limit) => tracing::info!(limit, "open files"),
        Err(error) => tracing::warn!(%error, "the limit of open files could not be raised"),
    }
}

/// Listeners, workers, the runtime, files of pages that are being read.
const OTHER_FILES: u64 = 1000;

/// The listeners of the admin panel. The default address may well be taken: by another program that
/// likes its number, or by another appliance.
fn admin_listeners(
    admin: &settings::Admin,
    mode: Mode,
    inherited: &mut Inherited,
) -> Result<Vec<TcpListener>, Error> {
    let mut listeners = Vec::new();
    let addresses = match mode {
        Mode::Serve => admin.listen.as_slice(),
        Mode::Try => &[],
    };
    for address in addresses {
        let bound = match inherited.tcp(*address) {
            Some(listener) => Ok(listener),
            None => listen::tcp(*address, "[admin] listen"),
        };
        match bound {
            Ok(listener) => listeners.push(
                TcpListener::from_std(listener)
                    .map_err(|error| Error::System("admin listener", error))?,
            ),
            Err(error) if error.in_use() && !admin.chosen => {
                tracing::warn!("no metrics and no health check: {error}");
            }
            Err(error) => return Err(error.into()),
        }
    }
    Ok(listeners)
}

/// What `/readyz` says.
fn status(
    turn: TurnMetrics,
    hub: Hub,
    certificate: Status,
    state: Arc<StateDir>,
    drain: Drain,
) -> Box<dyn Fn() -> (serde_json::Value, bool) + Send + Sync> {
    let started = clock::now();
    Box::new(move || {
        let signaling = hub.stats().snapshot();
        let ready = !drain.is_announced();
        let status = serde_json::json!({
            "service": "callbox",
            "version": env!("CARGO_PKG_VERSION"),
            "ready": ready,
            "draining": drain.is_announced(),
            "uptime_seconds": clock::now().duration_since(started).as_secs(),
            "certificate": certificate.snapshot().to_json(),
            "state": { "unwritten_files": state.unwritten() },
            "turn": { "allocations": turn.allocations() },
            "signaling": {
                "connections": signaling.connections,
                "rooms": signaling.rooms,
                "members": signaling.members,
            },
        });
        (status, ready)
    })
}

fn announce(mode: Mode, name: Option<&String>, advertised: &Advertised, endpoints: Endpoints) {
    match (mode, endpoints.tls_port) {
        (Mode::Try, Some(port)) => print!("{}", try_call::banner(port, interface::lan())),
        _ => {
            let addresses: Vec<String> = advertised.iter().map(|ip| ip.to_string()).collect();
            tracing::info!(
                url = address_of_page(name, advertised, endpoints.tls_port),
                https = endpoints.tls_port.unwrap_or_default(),
                turn = endpoints.udp_port.unwrap_or_default(),
                advertised = addresses.join(" "),
                "ready"
            );
        }
    }
}

/// What to open: by the main name, else by the address that reaches furthest.
fn address_of_page(
    name: Option<&String>,
    advertised: &Advertised,
    port: Option<u16>,
) -> Option<String> {
    let host = name.cloned().or_else(|| {
        advertised.iter().next().map(|ip| match ip {
            IpAddr::V4(ip) => ip.to_string(),
            IpAddr::V6(ip) => format!("[{ip}]"),
        })
    });
    Some(try_call::url(&host?, port?))
}
