//! Rooms. Stand-in with the signatures of the real module, for this branch only.

pub mod hub;
pub mod session;
