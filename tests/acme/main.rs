//! Certificates from an authority that speaks ACME: the binary beside Debian's pebble, through
//! nothing but sockets, files and the log.

#![allow(
    clippy::unwrap_used,
    clippy::disallowed_methods,
    reason = "helpers of tests, not only the tests, may panic; they poll from threads of their own"
)]

mod appliance;
mod authority;
#[allow(
    dead_code,
    reason = "another test's client, of which less is needed here"
)]
#[path = "../turn/client.rs"]
mod client;
mod harness;

mod issue;
mod renewal;
mod trouble;
