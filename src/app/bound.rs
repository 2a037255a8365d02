//! Everything that listens: bound before anything is served, then divided among those who serve.

use std::net::{SocketAddr, UdpSocket};

use tokio::net::TcpListener;

use super::{Error, Mode};
use crate::config::Settings;
use crate::front::{Listener, Role};
use crate::http::To;
use crate::ice::Endpoints;
use crate::net::listen;

/// Every socket that listens.
pub(super) struct Bound {
    https: Vec<std::net::TcpListener>,
    http: Vec<std::net::TcpListener>,
    turn: Vec<std::net::TcpListener>,
    /// For each address a socket a worker.
    udp: Vec<Vec<UdpSocket>>,
}

impl Bound {
    pub(super) fn new(settings: &Settings, mode: Mode) -> Result<Self, Error> {
        let https = match mode {
            Mode::Serve => "[front] https",
            Mode::Try => "--port",
        };
        let tcp = |addresses: &[SocketAddr], setting| {
            addresses
                .iter()
                .map(|address| listen::tcp(*address, setting))
                .collect::<Result<Vec<_>, _>>()
        };
        let turn: Vec<SocketAddr> = settings.turn_tcp().collect();
        let workers = settings.turn.workers;
        Ok(Self {
            https: tcp(&settings.front.https, https)?,
            http: tcp(&settings.front.http, "[front] http")?,
            turn: tcp(&turn, "[turn] listen")?,
            udp: settings
                .turn
                .listen
                .iter()
                .map(|address| listen::udp(*address, workers, "[turn] listen"))
                .collect::<Result<_, _>>()?,
        })
    }

    /// Where clients reach us: the first listener of each kind.
    pub(super) fn endpoints(&self) -> Endpoints {
        let tcp = |listeners: &[std::net::TcpListener]| {
            let address = listeners.first()?.local_addr().ok()?;
            Some(address.port())
        };
        let udp = self.udp.first().and_then(|group| group.first());
        Endpoints {
            udp_port: udp.and_then(|socket| Some(socket.local_addr().ok()?.port())),
            // The HTTPS port takes it too.
            tcp_port: tcp(&self.turn).or_else(|| tcp(&self.https)),
            tls_port: tcp(&self.https),
        }
    }

    /// UDP sockets by worker, and the listeners of the front door.
    pub(super) fn split(
        self,
        settings: &Settings,
    ) -> Result<(Vec<Vec<UdpSocket>>, Vec<Listener>), Error> {
        let mut workers: Vec<Vec<UdpSocket>> = Vec::new();
        workers.resize_with(settings.turn.workers.get(), Vec::new);
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
