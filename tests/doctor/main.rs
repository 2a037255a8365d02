//! `callbox doctor` in a small Internet of namespaces: a cloud's machine behind a 1:1 NAT with a
//! security group, name servers and other servers outside. Each test breaks one link, and the
//! doctor has to name it.
//!
//! Needs root, and touches nothing outside the namespaces that it makes.

#![allow(
    clippy::unwrap_used,
    clippy::disallowed_methods,
    reason = "helpers of tests, not only the tests, may panic; they poll from threads of their own"
)]

mod certificates;
mod faults;
mod lab;
mod outside;
mod relaying;
mod report;
mod well;
