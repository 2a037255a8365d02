//! callbox: browser calls from one process.
//!
//! The modules in the order in which bytes meet them; ARCHITECTURE.md has the same map with the
//! rules between the layers, which `tests/layers.rs` enforces.

pub mod config;
#[doc(hidden)]
pub mod fuzzing;
pub mod limit;
pub mod net;
pub mod shutdown;
pub mod turn;
