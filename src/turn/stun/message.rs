//! A checked view of one message.

use super::attribute::{Attribute, AttributeType, Attributes, well_framed};
use super::header::{Class, HEADER_LEN, MAGIC_COOKIE, Method, TransactionId, class_and_method};
use super::integrity::{self, Key};

/// One whole STUN message, borrowed.
#[derive(Clone, Copy, Debug)]
pub struct Message<'a> {
    bytes: &'a [u8],
    class: Class,
    method: Method,
    id: TransactionId,
}

/// Why bytes are not a STUN message.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ParseError {
    /// Fewer than 20 bytes.
    #[error("shorter than a STUN header")]
    Short,
    /// The top bits or the cookie are another protocol's.
    #[error("not STUN")]
    NotStun,
    /// The length field does not fit the bytes.
    #[error("length field disagrees with the bytes received")]
    Length,
    /// An attribute reaches past the end.
    #[error("an attribute reaches past the end of the message")]
    Attribute,
}

/// What a FINGERPRINT says of the bytes before it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fingerprint {
    /// There is none.
    Absent,
    /// It fits.
    Valid,
    /// It does not: these bytes are damaged or no STUN.
    Invalid,
}

impl<'a> Message<'a> {
    /// Checks header, length and the framing of all attributes. `bytes` is one whole message:
    /// a datagram, or what [`crate::turn::channel::frame`] cut out of a stream.
    pub fn parse(bytes: &'a [u8]) -> Result<Self, ParseError> {
        let header = bytes.first_chunk::<HEADER_LEN>().ok_or(ParseError::Short)?;
        let kind = u16::from_be_bytes([header[0], header[1]]);
        if kind & 0xC000 != 0 || header[4..8] != MAGIC_COOKIE {
            return Err(ParseError::NotStun);
        }
        let len = usize::from(u16::from_be_bytes([header[2], header[3]]));
        if len % 4 != 0 || HEADER_LEN + len != bytes.len() {
            return Err(ParseError::Length);
        }
        if !well_framed(bytes) {
            return Err(ParseError::Attribute);
        }
        let (class, method) = class_and_method(kind);
        let mut id = [0; 12];
        id.copy_from_slice(&header[8..]);
        Ok(Self {
            bytes,
            class,
            method,
            id: TransactionId(id),
        })
    }

    /// Request, indication or answer.
    pub fn class(&self) -> Class {
        self.class
    }

    /// What is asked.
    pub fn method(&self) -> Method {
        self.method
    }

    /// To be repeated in the answer.
    pub fn transaction_id(&self) -> TransactionId {
        self.id
    }

    /// Bytes of the whole message.
    pub fn as_bytes(&self) -> &'a [u8] {
        self.bytes
    }

    /// The attributes that count, in order: see [`Attributes`].
    pub fn attributes(&self) -> Attributes<'a> {
        Attributes::new(self.bytes)
    }

    /// The first attribute of that kind (RFC 8489 section 14: later ones are ignored).
    pub fn find(&self, kind: AttributeType) -> Option<Attribute<'a>> {
        self.attributes().find(|a| a.kind == kind)
    }

    /// The value of the first attribute of that kind.
    pub fn value(&self, kind: AttributeType) -> Option<&'a [u8]> {
        self.find(kind).map(|a| a.value)
    }

    /// The value of an attribute of exactly four bytes, as a number.
    pub fn u32(&self, kind: AttributeType) -> Option<u32> {
        Some(u32::from_be_bytes(self.value(kind)?.try_into().ok()?))
    }

    /// Whether MESSAGE-INTEGRITY (HMAC-SHA1) fits the key. False when there is none.
    pub fn verify_sha1(&self, key: &Key) -> bool {
        self.find(AttributeType::MESSAGE_INTEGRITY)
            .is_some_and(|a| integrity::verify_sha1(self.bytes, a, key))
    }

    /// Whether MESSAGE-INTEGRITY-SHA256 fits the key. False when there is none.
    pub fn verify_sha256(&self, key: &Key) -> bool {
        self.find(AttributeType::MESSAGE_INTEGRITY_SHA256)
            .is_some_and(|a| integrity::verify_sha256(self.bytes, a, key))
    }

    /// Checks the fingerprint, which is the last attribute where there is one.
    pub fn fingerprint(&self) -> Fingerprint {
        match self.find(AttributeType::FINGERPRINT) {
            None => Fingerprint::Absent,
            Some(a) if integrity::verify_fingerprint(self.bytes, a) => Fingerprint::Valid,
            Some(_) => Fingerprint::Invalid,
        }
    }
}
