//! Allocations as somebody sees them who looks in from outside.

use std::net::SocketAddr;
use std::time::Instant;

use super::auth;
use super::host::{EndReason, Host};
use super::server::{Server, Transport};
use super::stats::Traffic;

/// One allocation.
#[derive(Clone, Copy, Debug)]
pub struct Summary<'a> {
    /// Its place, as in [`Event`](super::Event).
    pub slot: u32,
    /// The client's transport address.
    pub client: SocketAddr,
    /// How the client speaks to us.
    pub transport: Transport,
    /// The account it counts for.
    pub account: &'a [u8],
    /// Relayed addresses, IPv4 and IPv6.
    pub relayed: [Option<SocketAddr>; 2],
    /// When it ends unless it is refreshed.
    pub expires: Instant,
    /// Permissions, those that have expired and were not looked at since among them.
    pub permissions: usize,
    /// Channels, likewise.
    pub channels: usize,
    /// From the client to peers.
    pub to_peers: Traffic,
    /// From peers to the client.
    pub to_client: Traffic,
}

impl Server {
    /// The allocations from a slot on, in the order of their slots.
    pub fn summaries(&self, from: u32) -> impl Iterator<Item = Summary<'_>> {
        let slots = self.slots.iter().enumerate().skip(from as usize);
        slots.filter_map(|(slot, allocation)| {
            let allocation = allocation.as_deref()?;
            Some(Summary {
                slot: slot as u32,
                client: allocation.origin.client,
                transport: allocation.origin.transport,
                account: auth::account(&allocation.username),
                relayed: allocation
                    .relays
                    .map(|relay| relay.map(|relay| relay.advertised)),
                expires: allocation.expires,
                permissions: allocation.permissions.len(),
                channels: allocation.channels.len(),
                to_peers: allocation.to_peers,
                to_client: allocation.to_client,
            })
        })
    }

    /// Ends the allocation in a slot, if there is one.
    pub fn end_allocation(&mut self, slot: u32, reason: EndReason, host: &mut impl Host) {
        self.end(slot, reason, host);
    }
}
