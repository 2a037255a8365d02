//! What the machine and the first start have decided, and the parts that are made of it and of the
//! settings: the same at the start and whenever settings change.

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};
use std::num::NonZeroU64;
use std::sync::Arc;
use std::time::Duration;

use rustls::crypto::CryptoProvider;

use super::Error;
use super::certificate::Supply;
use crate::assets::Assets;
use crate::cert::CertStore;
use crate::config::settings::Auth;
use crate::config::{Secret, Settings};
use crate::doctor::probe::Prober;
use crate::front::Listener;
use crate::http;
use crate::ice::{Endpoints, Issuer};
use crate::limit::SharedRate;
use crate::net::clock;
use crate::net::interface::{self, Advertised};
use crate::shutdown::Drain;
use crate::signal::hub::Hub;
use crate::signal::keyring::Keyring;
use crate::signal::reception::Reception;
use crate::state::StateDir;
use crate::turn::core::auth::MAX_REALM;
use crate::turn::core::{Config, Credentials, Discovery, Policy};

/// Unauthenticated TURN answers a second to one /24 or /56. Far above what a school behind one
/// address needs, far below what would make us worth using as a reflector.
const UNAUTHENTICATED_PER_SECOND: u32 = 1000;

/// How often the files with the keys of tokens are looked at.
const KEY_INTERVAL: Duration = Duration::from_secs(5);

/// Does not change while the process runs.
#[derive(Debug)]
pub(super) struct Fixed {
    pub(super) state: Arc<StateDir>,
    pub(super) provider: Arc<CryptoProvider>,
    pub(super) advertised: Advertised,
    local: Vec<IpAddr>,
    realm: String,
    nonce_secret: Secret,
    ticket_secret: Secret,
}

/// Where it listens.
#[derive(Debug)]
pub(super) struct Listening {
    pub(super) endpoints: Endpoints,
    ports: Vec<u16>,
    discovery: Option<Arc<Discovery>>,
}

impl Listening {
    pub(super) fn new(
        settings: &Settings,
        endpoints: Endpoints,
        listeners: &[Listener],
        udp: &[Vec<UdpSocket>],
    ) -> Self {
        // UDP and TCP listen on the same ports.
        let ports: BTreeSet<u16> = listeners
            .iter()
            .filter_map(|listener| Some(listener.socket.local_addr().ok()?.port()))
            .chain(settings.turn.listen.iter().map(SocketAddr::port))
            .collect();
        Self {
            endpoints,
            ports: ports.into_iter().collect(),
            discovery: settings.turn.discovery.then(|| Arc::new(discovery(udp))),
        }
    }
}

/// Secrets of REST credentials that were replaced, each with the time, in seconds since 1970, until
/// which its credentials are good for new allocations.
pub(super) type Former = [(Secret, u64)];

impl Fixed {
    pub(super) fn new(
        settings: &Settings,
        state: Arc<StateDir>,
        provider: Arc<CryptoProvider>,
    ) -> Result<Self, Error> {
        Ok(Self {
            advertised: interface::advertised(&settings.external_ip),
            local: interface::local(),
            realm: realm(settings),
            nonce_secret: state.secret("nonce.secret", 32)?,
            ticket_secret: state.secret("ticket.secret", 32)?,
            state,
            provider,
        })
    }

    /// The secret of REST credentials: given, or made at the first start.
    pub(super) fn secret(&self, settings: &Settings) -> Result<Secret, Error> {
        match &settings.turn.secret {
            Some(secret) => Ok(secret.clone()),
            None => Ok(self.state.secret("turn.secret", 32)?),
        }
    }

    pub(super) fn supply(&self, settings: &Settings) -> Result<Supply, Error> {
        let (state, provider) = (&self.state, &self.provider);
        Supply::new(settings, state, &self.advertised, &self.local, provider)
    }

    /// What answers requests.
    pub(super) fn parts(
        &self,
        settings: &Settings,
        listening: &Listening,
        secret: &Secret,
        hub: &Hub,
        certificates: &CertStore,
    ) -> Result<http::Parts, Error> {
        Ok(http::Parts {
            assets: match &settings.web.dir {
                Some(dir) => Assets::directory(dir)?,
                None => Assets::built_in(),
            },
            hub: hub.clone(),
            secret: secret.clone(),
            certificates: certificates.clone(),
            endpoints: listening.endpoints,
            prober: settings.front.probes.then(|| self.prober(settings)),
            addresses: self
                .advertised
                .iter()
                .chain(self.local.iter().copied())
                .collect(),
        })
    }

    /// Looks where TURN would relay to, and never at this machine.
    fn prober(&self, settings: &Settings) -> Prober {
        let own = self
            .local
            .iter()
            .copied()
            .chain(self.advertised.iter())
            .collect();
        let (allow, deny) = (&settings.turn.allow_peers, &settings.turn.deny_peers);
        Prober::new(Policy::new(allow.clone(), deny.clone(), own, Vec::new()))
    }

    pub(super) fn turn(
        &self,
        settings: &Settings,
        listening: &Listening,
        secret: &Secret,
        former: &Former,
    ) -> Config {
        let turn = &settings.turn;
        let users = turn
            .static_users
            .iter()
            .map(|user| (user.username.clone(), user.password.expose().to_vec()));
        let nonce_secret = self.nonce_secret.expose();
        let credentials = Credentials::new(&self.realm, secret.expose(), nonce_secret, users)
            .with_former(
                former
                    .iter()
                    .map(|(secret, until)| (secret.expose(), *until)),
            );
        let advertised = &self.advertised;
        let own: BTreeSet<IpAddr> = self
            .local
            .iter()
            .copied()
            .chain(advertised.iter())
            .collect();
        Config {
            credentials: Arc::new(credentials),
            policy: Arc::new(Policy::new(
                turn.allow_peers.clone(),
                turn.deny_peers.clone(),
                own.into_iter().collect(),
                listening.ports.clone(),
            )),
            advertised: [advertised.v4.map(IpAddr::V4), advertised.v6.map(IpAddr::V6)],
            bound: behind_nat(advertised, &self.local),
            max_bps_per_allocation: turn.max_bps_per_allocation,
            total_rate: NonZeroU64::new(turn.max_bps).map(|rate| {
                let rate = || SharedRate::new(rate, clock::now());
                Arc::new([rate(), rate()])
            }),
            unauthenticated_per_second: UNAUTHENTICATED_PER_SECOND,
            discovery: listening.discovery.clone(),
            classic_stun: turn.classic_stun,
            tcp_relays: turn.tcp_relays,
        }
    }

    pub(super) fn relay_bind(&self) -> [Option<IpAddr>; 2] {
        relay_bind(&self.advertised, &self.local)
    }

    pub(super) fn reception(
        &self,
        settings: &Settings,
        listening: &Listening,
        secret: &Secret,
        keyring: Option<Arc<Keyring>>,
    ) -> Reception {
        let issuer = Issuer {
            secret: secret.clone(),
            endpoints: listening.endpoints,
            ttl: settings.turn.credential_ttl,
            policy: settings.ice.policy,
            extra_servers: settings.ice.extra_servers.clone(),
        };
        Reception::new(&settings.signaling, &self.ticket_secret, issuer, keyring)
    }
}

/// The keys of tokens, if joining needs one.
pub(super) fn keyring(settings: &Settings) -> Result<Option<Arc<Keyring>>, Error> {
    match &settings.signaling.auth {
        Auth::Token(files) => Ok(Some(Arc::new(Keyring::open(files)?))),
        Auth::Open => Ok(None),
    }
}

/// Reads them again when they change, until `drain` is announced.
pub(super) fn watch_keys(keyring: Option<&Arc<Keyring>>, drain: &Drain) {
    let Some(keyring) = keyring else { return };
    let (watch, end) = (Arc::clone(keyring).watch(KEY_INTERVAL), drain.clone());
    drain.spawn(async move {
        tokio::select! {
            () = watch => {}
            () = end.announced() => {}
        }
    });
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
