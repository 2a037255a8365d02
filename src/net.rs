//! Bytes in and out of the kernel. Knows no protocol.

pub mod clock;
pub mod prefixed;
pub mod stream;
