//! The STUN message format (RFC 8489 sections 5, 14 and 15).
//!
//! Reading borrows: a [`Message`] is a checked view of the caller's bytes. Writing goes into the
//! caller's buffer through a [`Writer`]. Nothing here allocates, and nothing decides: what a
//! request means is for [`super::core`].

pub mod address;
pub mod attribute;
pub mod classic;
pub mod error;
pub mod header;
pub mod integrity;
pub mod message;
pub mod writer;

pub use attribute::{Attribute, AttributeType};
pub use classic::Classic;
pub use error::ErrorCode;
pub use header::{Class, Method, TransactionId};
pub use integrity::{Algorithm, Key};
pub use message::{Message, ParseError};
pub use writer::{Overflow, Writer};

#[cfg(test)]
mod tests;
