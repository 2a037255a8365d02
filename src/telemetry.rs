//! What the process says about itself.

pub mod log;
pub mod metrics;
pub mod repeats;
