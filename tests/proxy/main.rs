//! The reverse proxy, from outside: real visitors on one side, real applications on the other.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod application;
#[allow(dead_code, reason = "the tests of the front door use the rest")]
#[path = "../front/door.rs"]
mod door;

mod bodies;
mod connections;
mod failures;
mod messages;
mod node;
mod smuggling;
mod upgrades;
