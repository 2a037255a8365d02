//! Everything that listens: bound before anything is served, then divided among those who serve.

use std::net::{SocketAddr, UdpSocket};
use std::num::NonZeroUsize;
use std::time::{Duration, Instant};

use tokio::net::TcpListener;

use super::{Error, Mode};
use crate::config::Settings;
use crate::front::{Listener, Role};
use crate::http::To;
use crate::ice::Endpoints;
use crate::net::inherited::Inherited;
use crate::net::{clock, listen};

/// Every socket that listens.
pub(super) struct Bound {
    https: Vec<std::net::TcpListener>,
    http: Vec<std::net::TcpListener>,
    turn: Vec<std::net::TcpListener>,
    ws: Vec<std::net::TcpListener>,
    wss: Vec<std::net::TcpListener>,
    /// For each address a socket a worker.
    udp: Vec<Vec<UdpSocket>>,
}

impl Bound {
    /// Binds what the service manager has not bound already. An address that is taken may become free
    /// for as long as `patience` lasts.
    pub(super) async fn new(
        settings: &Settings,
        mode: Mode,
        inherited: &mut Inherited,
        patience: Duration,
    ) -> Result<Self, Error> {
        let https = match mode {
            Mode::Serve => "[front] https",
            Mode::Try => "--port",
        };
        let deadline = clock::now() + patience;
        let mut bind = Bind {
            inherited,
            deadline,
        };
        let turn: Vec<SocketAddr> = settings.turn_tcp().collect();
        let (ws, wss) = legacy(settings);
        Ok(Self {
            https: bind.tcp(&settings.front.https, https).await?,
            http: bind.tcp(&settings.front.http, "[front] http").await?,
            turn: bind.tcp(&turn, "[turn] listen").await?,
            ws: bind.tcp(&ws, LEGACY).await?,
            wss: bind.tcp(&wss, LEGACY).await?,
            udp: datagrams(settings, inherited)?,
        })
    }

    /// How many workers have UDP sockets.
    pub(super) fn workers(&self, settings: &Settings) -> NonZeroUsize {
        let group = self.udp.first().map(Vec::len).and_then(NonZeroUsize::new);
        group.unwrap_or(settings.turn.workers)
    }

    /// Where clients reach us: the first listener of each kind, and the web's port over UDP.
    pub(super) fn endpoints(&self) -> Endpoints {
        let tcp = |listeners: &[std::net::TcpListener]| {
            let address = listeners.first()?.local_addr().ok()?;
            Some(address.port())
        };
        let udp = self.udp.iter().filter_map(|group| {
            let address = group.first()?.local_addr().ok()?;
            Some(address.port())
        });
        Endpoints {
            // The HTTPS port takes it too.
            tcp_port: tcp(&self.turn).or_else(|| tcp(&self.https)),
            tls_port: tcp(&self.https),
            ..Endpoints::default()
        }
        .with_udp(udp)
    }

    /// UDP sockets by worker, and the listeners of the front door.
    pub(super) fn split(
        self,
        settings: &Settings,
    ) -> Result<(Vec<Vec<UdpSocket>>, Vec<Listener>), Error> {
        let mut workers: Vec<Vec<UdpSocket>> = Vec::new();
        workers.resize_with(self.workers(settings).get(), Vec::new);
        for group in self.udp {
            for (worker, socket) in workers.iter_mut().zip(group) {
                worker.push(socket);
            }
        }
        let https = self.https.first().and_then(|l| l.local_addr().ok());
        let redirect = match https {
            Some(address) if settings.front.redirect => To::Port(address.port()),
            _ => To::Nowhere,
        };
        let mut listeners = Vec::new();
        for (sockets, role, plain) in [
            (self.https, Role::Https, To::SamePort),
            (self.http, Role::Http, redirect),
            (self.turn, Role::Turn, To::Nowhere),
            (self.ws, Role::Ws, To::Nowhere),
            (self.wss, Role::Wss, To::Nowhere),
        ] {
            for socket in sockets {
                let socket = TcpListener::from_std(socket)
                    .map_err(|error| Error::System("listener", error))?;
                listeners.push(Listener {
                    socket,
                    role,
                    plain,
                });
            }
        }
        Ok((workers, listeners))
    }
}

/// The setting of listeners for old clients.
const LEGACY: &str = "[signaling] legacy_listen";

/// Where old clients come without TLS, and with it.
fn legacy(settings: &Settings) -> (Vec<SocketAddr>, Vec<SocketAddr>) {
    let addresses = |tls| {
        let listeners = settings.signaling.legacy_listen.iter();
        let wanted = listeners.filter(move |listener| listener.tls == tls);
        wanted.map(|listener| listener.address).collect()
    };
    (addresses(false), addresses(true))
}

/// A socket a worker for each address. Where the service manager has bound them, it has decided how
/// many there are: no worker could do without, and none can read for two.
fn datagrams(settings: &Settings, inherited: &mut Inherited) -> Result<Vec<Vec<UdpSocket>>, Error> {
    let addresses = &settings.turn.listen;
    let groups: Vec<_> = addresses
        .iter()
        .map(|address| (*address, inherited.udp(*address)))
        .collect();
    let mut counts = groups
        .iter()
        .map(|(_, group)| group.len())
        .filter(|count| *count > 0);
    let count = counts.next();
    if counts.any(|other| Some(other) != count) {
        return Err(Error::Uneven);
    }
    let workers = count
        .and_then(NonZeroUsize::new)
        .unwrap_or(settings.turn.workers);
    let bind = |(address, group): (SocketAddr, Vec<UdpSocket>)| match group.is_empty() {
        true => listen::udp(address, workers, "[turn] listen"),
        false => Ok(group),
    };
    Ok(groups.into_iter().map(bind).collect::<Result<_, _>>()?)
}

struct Bind<'a> {
    inherited: &'a mut Inherited,
    deadline: Instant,
}

impl Bind<'_> {
    async fn tcp(
        &mut self,
        addresses: &[SocketAddr],
        setting: &'static str,
    ) -> Result<Vec<std::net::TcpListener>, listen::Error> {
        let mut listeners = Vec::with_capacity(addresses.len());
        for address in addresses {
            listeners.push(match self.inherited.tcp(*address) {
                Some(listener) => listener,
                None => self.own(*address, setting).await?,
            });
        }
        Ok(listeners)
    }

    async fn own(
        &self,
        address: SocketAddr,
        setting: &'static str,
    ) -> Result<std::net::TcpListener, listen::Error> {
        loop {
            match listen::tcp(address, setting) {
                Err(error) if error.in_use() && clock::now() < self.deadline => {
                    tokio::time::sleep(AGAIN).await;
                }
                bound => return bound,
            }
        }
    }
}

/// How soon an address that was taken is tried again.
const AGAIN: Duration = Duration::from_millis(20);
