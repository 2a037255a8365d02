//! Sockets for the core.
