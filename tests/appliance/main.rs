//! The appliance as it is installed: the binary, one port, and programs that we did not write.

#![allow(
    clippy::unwrap_used,
    clippy::disallowed_methods,
    reason = "helpers of tests, not only the tests, may panic; they poll from threads of their own"
)]

mod harness;

mod applications;
mod one_port;
mod slow;
