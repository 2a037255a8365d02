//! How the appliance begins, ends, is replaced and takes new settings: the real binary, judged from
//! outside.

#![allow(
    clippy::unwrap_used,
    clippy::disallowed_methods,
    reason = "a test may fail by panicking and may wait for another process"
)]

#[path = "../turn/client.rs"]
#[allow(dead_code, reason = "what it can do is for the tests of TURN")]
mod client;
mod dialects;
mod disk;
mod drain;
mod hand_over;
mod harness;
mod manager;
mod reload;
