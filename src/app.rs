//! The composition root: settings in, a running appliance out. The only file that knows every
//! module.
//!
//! Everything is bound and every secret is at hand before anything is served, so that a start
//! either works or says why not.

mod bound;
mod certificate;
mod hand_over;
mod leave;
mod manager;

use std::collections::BTreeSet;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};
use std::num::NonZeroU64;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::TcpListener;
use tokio::sync::Notify;

use crate::admin::{self, Panel};
use crate::assets::{Assets, DirectoryError};
use crate::cert::acme::AcmeError;
use crate::cert::files::FilesError;
use crate::cert::self_signed::SelfSignedError;
use crate::cert::status::Status;
use crate::cli::try_call;
use crate::config::Settings;
use crate::config::settings::{self, Auth};
use crate::front::{self, Listener, TlsError};
use crate::http::{self, Services};
use crate::ice::{Endpoints, Issuer};
use crate::limit::SharedRate;
use crate::net::inherited::{self, Inherited};
use crate::net::interface::{self, Advertised};
use crate::net::{clock, listen, sys};
use crate::shutdown::Drain;
use crate::signal::hub::Hub;
use crate::signal::keyring::{Keyring, KeyringError};
use crate::signal::reception::Reception;
use crate::state::{StateDir, StateError};
use crate::telemetry::metrics::{Metrics, Process};
use crate::telemetry::repeats;
use crate::turn;
use crate::turn::core::auth::MAX_REALM;
use crate::turn::core::quota::Quota;
use crate::turn::core::{Config, Credentials, Discovery, Policy, Pool};
use crate::turn::io::TurnMetrics;
use bound::Bound;
use certificate::Supply;
use hand_over::{Offer, Opened};
use leave::{Newcomers, Signals};

pub use hand_over::Error as HandOverError;

/// What to run.
#[derive(Clone, Debug)]
pub struct Plan {
    /// Settings.
    pub settings: Settings,
    /// How it was started.
    pub mode: Mode,
    /// What `config` warned of, to be logged.
    pub warnings: Vec<String>,
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

/// Unauthenticated TURN answers a second to one /24 or /56. Far above what a school behind one
/// address needs, far below what would make us worth using as a reflector.
const UNAUTHENTICATED_PER_SECOND: u32 = 1000;

/// How often the files with the keys of tokens are looked at.
const KEY_INTERVAL: Duration = Duration::from_secs(5);

/// How long the workers may take to leave their sockets to another process.
const HAND_OVER: Duration = Duration::from_secs(5);

/// Runs until told to end.
pub async fn run(plan: Plan) -> Result<(), Error> {
    let Plan {
        settings,
        mode,
        warnings,
    } = plan;
    for warning in warnings {
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
    let state = Arc::new(state);
    let advertised = interface::advertised(&settings.external_ip);
    let local = interface::local();
    let supply = Supply::new(&settings, &state, &advertised, &local, &provider)?;
    let certificates = supply.store.clone();
    let secret = match &settings.turn.secret {
        Some(secret) => secret.clone(),
        None => state.secret("turn.secret", 32)?,
    };
    let nonce_secret = state.secret("nonce.secret", 32)?;
    let ticket_secret = state.secret("ticket.secret", 32)?;

    let bound = Bound::new(&settings, mode, &mut inherited, patience).await?;
    let endpoints = bound.endpoints();
    let (udp, listeners) = bound.split(&settings)?;

    let admin = admin_listeners(&settings.admin, mode, &mut inherited)?;
    for left in inherited.left() {
        tracing::warn!(
            "nobody listens on {left}, which the service manager has bound: name it in the configuration, \
             or take it out of the socket unit"
        );
    }
    drop(inherited);

    let workers = turn::io::start(turn::io::Plan {
        config: turn_config(
            &settings,
            &advertised,
            &local,
            secret.expose(),
            nonce_secret.expose(),
            &listeners,
            &udp,
        ),
        relay_bind: relay_bind(&advertised, &local),
        pool: Pool::new(
            settings.turn.relay_ports.clone(),
            Quota::new(settings.turn.user_quota, settings.turn.total_quota),
        ),
        listeners: udp,
    })
    .map_err(|error| Error::System("TURN workers", error))?;

    let drain = Drain::new();
    let assets = match &settings.web.dir {
        Some(dir) => Assets::directory(dir)?,
        None => Assets::built_in(),
    };
    let reception = Reception::new(
        &settings.signaling,
        &ticket_secret,
        Issuer {
            secret: secret.clone(),
            endpoints,
            ttl: settings.turn.credential_ttl,
            policy: settings.ice.policy,
            extra_servers: settings.ice.extra_servers.clone(),
        },
        keyring(&settings, &drain)?,
    );
    let hub = Hub::start(&settings.signaling, reception, &drain);
    let services = Services::new(
        &settings,
        http::Parts {
            assets,
            hub: hub.clone(),
            secret,
            certificates: certificates.clone(),
            endpoints,
        },
    )?;
    let stats = front::serve(
        listeners,
        services.clone(),
        certificates.clone(),
        provider,
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
    metrics.add(services);
    metrics.add(stats);
    metrics.add(certificates.status().clone());
    let panel = Panel {
        metrics,
        status: status(
            workers.metrics(),
            hub.clone(),
            certificates.status().clone(),
            drain.clone(),
        ),
        begin_drain: Box::new({
            let asked = Arc::clone(&asked_to_drain);
            move || asked.notify_one()
        }),
        token: settings.admin.token.clone(),
    };
    let admin = admin::serve(admin, panel, &drain);
    supply.run(&drain);
    let offer = match is_activated {
        true => Offer::new(state.path()),
        false => Offer::none(),
    };
    manager::watch(workers.pulse(), hub.clone(), &drain);
    announce(mode, settings.host.first(), &advertised, endpoints);
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
            // Whoever manages both stops this one as well: its calls are not meant.
            signals.forgive();
            newcomers = Newcomers::Elsewhere;
        }
    }
    let patience = settings.drain_timeout;
    leave::run(&drain, &workers, &hub, patience, newcomers, &mut signals).await;
    workers.stop();
    repeats::flush();
    manager::ended();
    Ok(())
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

fn turn_config(
    settings: &Settings,
    advertised: &Advertised,
    local: &[IpAddr],
    secret: &[u8],
    nonce_secret: &[u8],
    listeners: &[Listener],
    udp: &[Vec<UdpSocket>],
) -> Config {
    let turn = &settings.turn;
    let users = turn
        .static_users
        .iter()
        .map(|user| (user.username.clone(), user.password.expose().to_vec()));
    let own: BTreeSet<IpAddr> = local.iter().copied().chain(advertised.iter()).collect();
    // UDP and TCP listen on the same ports.
    let ports: BTreeSet<u16> = listeners
        .iter()
        .filter_map(|listener| Some(listener.socket.local_addr().ok()?.port()))
        .chain(turn.listen.iter().map(SocketAddr::port))
        .collect();
    Config {
        credentials: Arc::new(Credentials::new(
            &realm(settings),
            secret,
            nonce_secret,
            users,
        )),
        policy: Arc::new(Policy::new(
            turn.allow_peers.clone(),
            turn.deny_peers.clone(),
            own.into_iter().collect(),
            ports.into_iter().collect(),
        )),
        advertised: [advertised.v4.map(IpAddr::V4), advertised.v6.map(IpAddr::V6)],
        bound: behind_nat(advertised, local),
        max_bps_per_allocation: turn.max_bps_per_allocation,
        total_rate: NonZeroU64::new(turn.max_bps).map(|rate| {
            let rate = || SharedRate::new(rate, clock::now());
            Arc::new([rate(), rate()])
        }),
        unauthenticated_per_second: UNAUTHENTICATED_PER_SECOND,
        discovery: turn.discovery.then(|| Arc::new(discovery(udp))),
        classic_stun: turn.classic_stun,
        tcp_relays: turn.tcp_relays,
    }
}

/// The keys of tokens, if joining needs one.
fn keyring(settings: &Settings, drain: &Drain) -> Result<Option<Arc<Keyring>>, Error> {
    let Auth::Token(files) = &settings.signaling.auth else {
        return Ok(None);
    };
    let keyring = Arc::new(Keyring::open(files)?);
    let (watch, end) = (Arc::clone(&keyring).watch(KEY_INTERVAL), drain.clone());
    drain.spawn(async move {
        tokio::select! {
            () = watch => {}
            () = end.begun() => {}
        }
    });
    Ok(Some(keyring))
}

/// Every worker has the same listening sockets.
fn discovery(udp: &[Vec<UdpSocket>]) -> Discovery {
    let sockets = udp.first().map(Vec::as_slice).unwrap_or_default();
    let addresses = sockets.iter().map(UdpSocket::local_addr);
    Discovery::new(&addresses.collect::<Result<Vec<_>, _>>().unwrap_or_default())
}

/// The configured realm, else the first name, unless it is too long for a small 401.
fn realm(settings: &Settings) -> String {
    let name = settings.host.first().filter(|name| name.len() <= MAX_REALM);
    let realm = settings.turn.realm.as_ref().or(name);
    realm.map_or_else(|| "callbox".to_owned(), String::clone)
}

/// Relay sockets are bound to the advertised address where it is this machine's, so that peers see
/// it; behind a 1:1 NAT to any.
fn relay_bind(advertised: &Advertised, local: &[IpAddr]) -> [Option<IpAddr>; 2] {
    let any = [
        IpAddr::V4(Ipv4Addr::UNSPECIFIED),
        IpAddr::V6(Ipv6Addr::UNSPECIFIED),
    ];
    let ips = [advertised.v4.map(IpAddr::V4), advertised.v6.map(IpAddr::V6)];
    let [v4, v6] = ips;
    [(v4, any[0]), (v6, any[1])]
        .map(|(ip, any)| ip.map(|ip| if local.contains(&ip) { ip } else { any }))
}

/// Behind a 1:1 NAT our relays are also known by the machine's own address.
fn behind_nat(advertised: &Advertised, local: &[IpAddr]) -> [Option<IpAddr>; 2] {
    let own = |ip: Option<IpAddr>, v4: bool| {
        let ip = ip.filter(|ip| !local.contains(ip))?;
        local
            .iter()
            .find(|own| own.is_ipv4() == v4 && !own.is_loopback() && **own != ip)
            .copied()
    };
    [
        own(advertised.v4.map(IpAddr::V4), true),
        own(advertised.v6.map(IpAddr::V6), false),
    ]
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
