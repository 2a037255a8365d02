//! Signaling: who is in which room, and the carrying of messages between them.
//!
//! Text of a dialect comes in over a WebSocket ([`session`]), is understood by [`dialect`], acted
//! upon by [`core`] inside the task of [`hub`], and goes out through the session of the receiver.
//! What a message means is none of our business: a relayed text leaves byte for byte as it came.

pub mod core;
pub mod dialect;
pub mod hub;
mod metrics;
pub mod session;
mod stats;

pub use stats::{Snapshot, Stats};
