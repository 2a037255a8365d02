//! AppRTC from outside: real sockets, real TLS, clients that do what those in the field do.
//! docs/apprtc.md says which test shows what.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

#[allow(dead_code, reason = "made for the tests of the front door")]
#[path = "../front/door.rs"]
mod door;

mod client;

mod access;
mod calls;
mod collider;
mod crash;
mod limits;
mod pages;
mod params;
mod rooms;
mod socket;
