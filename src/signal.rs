//! Signaling: who is in which room, and the carrying of messages between them.
//!
//! Text of a dialect comes in over a WebSocket ([`session`], whose
//! frames are [`frame`]'s), is understood by [`dialect`], acted
//! upon by [`core`] inside the task of [`hub`], and goes out through the session of the receiver.
//! [`apprtc`] has the rooms of AppRTC, whose clients join over HTTP, [`guests`] what the further
//! dialects have instead. [`oversight`] is what the operator sees of all of them.
//! [`reception`] decides who may come in, and [`ticket`] lets a client come back to its seat.
//! What a message means is none of our business: a relayed text leaves byte for byte as it came.

pub mod access;
pub mod apprtc;
pub mod core;
pub mod dialect;
pub mod frame;
pub mod guests;
pub mod hub;
pub mod keyring;
mod metrics;
pub mod outcome;
pub mod oversight;
pub mod reception;
pub mod record;
pub mod session;
mod stats;
pub mod ticket;

pub use stats::{Snapshot, Stats};
