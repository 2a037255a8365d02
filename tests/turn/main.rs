//! TURN over the wire: the real binary on loopback, judged from outside by clients that we did not
//! write and by one of our own that can misbehave.

#![allow(
    clippy::unwrap_used,
    clippy::disallowed_methods,
    reason = "a test may fail by panicking and may wait for another process"
)]

mod classic;
mod client;
mod datagrams;
mod discovery;
mod harness;
mod icmp;
mod interop;
mod limits;
mod peers;
mod streams;
mod webrtc;
