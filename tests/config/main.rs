//! Configuration through the binary: `callbox check`, its output, its exit codes.

#![allow(
    clippy::unwrap_used,
    reason = "helpers of tests, not only the tests, may panic"
)]

mod certificates;
mod documented;
mod harness;
mod mistakes;
mod proxies;
mod secrets;
mod sources;
