//! The front door, from outside: real sockets, real TLS, real bytes.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod door;

mod files;
mod floods;
mod further;
mod ice;
mod ice_access;
mod legacy;
mod limits;
mod pages;
mod protocols;
mod proxy;
mod unread;
mod websocket;
