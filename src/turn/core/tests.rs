//! What the server does, one behaviour a test, in a pretended world of two workers.

mod allocate;
mod amplification;
mod auth;
mod channels;
mod classic;
mod connections;
mod discovery;
mod icmp;
mod internal;
mod lifetime;
mod limits;
mod matrix;
mod permissions;
mod random;
mod relay;

use std::net::SocketAddr;
use std::time::Duration;

use crate::fuzzing::client::Client;
use crate::fuzzing::world::{Outcome, Plan, World};
use crate::turn::channel;
use crate::turn::core::Stats;
use crate::turn::stun::address::decode_xor;
use crate::turn::stun::{AttributeType, Message, Method};

const PEER: &str = "8.8.8.8:5000";

fn addr(text: &str) -> SocketAddr {
    text.parse().unwrap()
}

fn seconds(count: u64) -> Duration {
    Duration::from_secs(count)
}

fn world() -> World {
    World::new(Plan::default())
}

/// A world, and a UDP client in it with an allocation.
fn allocated() -> (World, Client, SocketAddr) {
    let mut world = world();
    let mut client = Client::new(0, 1, "one");
    let relay = client.allocate(&mut world);
    (world, client, relay)
}

/// Counters of both workers.
fn stats(world: &World, of: impl Fn(Stats) -> u64) -> u64 {
    world.servers.iter().map(|server| of(server.stats())).sum()
}

/// What a client reads: from whom, over which channel if any, and what.
fn received(outcome: Option<Outcome>) -> Option<(SocketAddr, Option<u16>, Vec<u8>)> {
    let Some(Outcome::ToClient { bytes, .. }) = outcome else {
        return None;
    };
    if let Some((number, len)) = channel::parse(&bytes) {
        // ChannelData does not say from whom.
        let nobody = addr("0.0.0.0:0");
        return Some((nobody, Some(number.value()), bytes[4..4 + len].to_vec()));
    }
    let message = Message::parse(&bytes).unwrap();
    assert_eq!(message.method(), Method::DATA);
    let value = message.value(AttributeType::XOR_PEER_ADDRESS).unwrap();
    let peer = decode_xor(value, message.transaction_id()).unwrap();
    let data = message.value(AttributeType::DATA).unwrap();
    Some((peer, None, data.to_vec()))
}

/// Whether the packet left from a relay for the peer.
fn went_to(outcome: &Outcome, expected: SocketAddr) -> bool {
    matches!(outcome, Outcome::ToPeer { peer, .. } if *peer == expected)
}
