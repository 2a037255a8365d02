//! Certificates of a running binary: files that change, what browsers are told, and what the
//! operator sees of an authority that is away. Orders that succeed are in `tests/acme/`.

#![allow(
    clippy::unwrap_used,
    clippy::disallowed_methods,
    reason = "helpers of tests, not only the tests, may panic; they poll from threads of their own"
)]

mod files;
mod harness;
mod orders;
