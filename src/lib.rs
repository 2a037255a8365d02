//! callbox: browser calls from one process.
//!
//! The modules in the order in which bytes meet them; ARCHITECTURE.md has the same map with the
//! rules between the layers, which `tests/layers.rs` enforces.

pub mod admin;
pub mod app;
pub mod assets;
pub mod cert;
pub mod cli;
pub mod config;
pub mod doctor;
pub mod front;
#[doc(hidden)]
pub mod fuzzing;
pub mod http;
pub mod ice;
pub mod limit;
pub mod net;
pub mod shutdown;
pub mod signal;
pub mod state;
pub mod telemetry;
pub mod turn;
