//! Signaling from outside: real sockets, a WebSocket client we did not write, the course protocol.

#![allow(clippy::unwrap_used, reason = "a test may fail by panicking")]

mod access;
mod choice;
mod faults;
mod harness;
mod heartbeat;
mod leave;
mod limits;
mod lobby;
mod lower;
mod many;
mod native;
mod oversight;
mod peerjs;
mod relay;
mod restart;
mod resume;
mod rfc6455;
mod seats;
mod topics;
mod variants;
