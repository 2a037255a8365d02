//! Bytes in and out of the kernel. Knows no protocol.

pub mod abort;
pub mod alive;
pub mod clock;
pub mod corked;
pub mod holder;
pub mod inherited;
pub mod interface;
pub mod listen;
pub mod prefixed;
pub mod proxy;
pub mod reach;
pub mod stream;
pub mod sys;
pub mod tcp;
pub mod udp;
