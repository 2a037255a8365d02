//! What the model knows of a client.

use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr};
use std::time::Instant;

/// What a client is known to be allowed.
#[derive(Debug, Default)]
pub(super) struct Grants {
    pub(super) relays: Vec<SocketAddr>,
    pub(super) expires: Option<Instant>,
    pub(super) permissions: HashMap<IpAddr, Instant>,
    pub(super) channels: HashMap<u16, (SocketAddr, Instant)>,
}

impl Grants {
    pub(super) fn lives(&self, now: Instant) -> bool {
        self.expires.is_some_and(|at| at > now) && !self.relays.is_empty()
    }

    pub(super) fn permits(&self, ip: IpAddr, now: Instant) -> bool {
        self.lives(now) && self.permissions.get(&ip).is_some_and(|at| *at > now)
    }

    pub(super) fn has_channel_to(&self, peer: SocketAddr, now: Instant) -> bool {
        let mut channels = self.channels.values();
        self.lives(now) && channels.any(|(to, at)| *to == peer && *at > now)
    }
}
