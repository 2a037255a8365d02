//! The STUN and TURN server (RFC 8489, RFC 8656).
//!
//! [`stun`] and [`channel`] know the bytes, [`core`] decides, [`io`] owns the sockets.

pub mod channel;
pub mod core;
pub mod io;
pub mod stun;
