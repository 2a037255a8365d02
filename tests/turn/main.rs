//! TURN over the wire: the real binary on loopback, judged from outside by clients that we did not
//! write and by one of our own that can misbehave.

#![allow(
    clippy::unwrap_used,
    clippy::disallowed_methods,
    reason = "a test may fail by panicking and may wait for another process"
)]

mod aiortc;
mod allocator;
mod classic;
mod client;
mod connections;
mod datagrams;
mod discovery;
mod harness;
mod heap;
mod icmp;
mod identity;
mod interop;
mod limits;
mod nat;
mod peers;
mod sessions;
mod soak;
mod strangers;
mod streams;
mod turn_proto;
mod webrtc;
