//! Attributes: their numbers, and walking over them.

use std::fmt;

use super::header::HEADER_LEN;

/// The number of an attribute.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct AttributeType(pub u16);

macro_rules! attribute_types {
    ($($(#[$doc:meta])* $name:ident = $value:literal,)*) => {
        impl AttributeType {
            $($(#[$doc])* pub const $name: Self = Self($value);)*
        }

        impl fmt::Debug for AttributeType {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                match self.0 {
                    $($value => f.write_str(stringify!($name)),)*
                    other => write!(f, "AttributeType({other:#06x})"),
                }
            }
        }
    };
}

attribute_types! {
    /// RFC 8489 14.1
    MAPPED_ADDRESS = 0x0001,
    /// RFC 5780 7.2
    CHANGE_REQUEST = 0x0003,
    /// RFC 8489 14.3
    USERNAME = 0x0006,
    /// RFC 8489 14.5
    MESSAGE_INTEGRITY = 0x0008,
    /// RFC 8489 14.8
    ERROR_CODE = 0x0009,
    /// RFC 8489 14.13
    UNKNOWN_ATTRIBUTES = 0x000A,
    /// RFC 8656 18.1
    CHANNEL_NUMBER = 0x000C,
    /// RFC 8656 18.2
    LIFETIME = 0x000D,
    /// RFC 8656 18.3
    XOR_PEER_ADDRESS = 0x0012,
    /// RFC 8656 18.4
    DATA = 0x0013,
    /// RFC 8489 14.9
    REALM = 0x0014,
    /// RFC 8489 14.10
    NONCE = 0x0015,
    /// RFC 8656 18.5
    XOR_RELAYED_ADDRESS = 0x0016,
    /// RFC 8656 18.6
    REQUESTED_ADDRESS_FAMILY = 0x0017,
    /// RFC 8656 18.7
    EVEN_PORT = 0x0018,
    /// RFC 8656 18.8
    REQUESTED_TRANSPORT = 0x0019,
    /// RFC 8656 18.9
    DONT_FRAGMENT = 0x001A,
    /// RFC 8489 14.6
    MESSAGE_INTEGRITY_SHA256 = 0x001C,
    /// RFC 8489 14.12
    PASSWORD_ALGORITHM = 0x001D,
    /// RFC 8489 14.4
    USERHASH = 0x001E,
    /// RFC 8489 14.2
    XOR_MAPPED_ADDRESS = 0x0020,
    /// RFC 8656 18.10
    RESERVATION_TOKEN = 0x0022,
    /// RFC 5780 7.6
    PADDING = 0x0026,
    /// RFC 5780 7.5
    RESPONSE_PORT = 0x0027,
    /// RFC 6062 6.2.1
    CONNECTION_ID = 0x002A,
    /// RFC 8656 18.11
    ADDITIONAL_ADDRESS_FAMILY = 0x8000,
    /// RFC 8656 18.12
    ADDRESS_ERROR_CODE = 0x8001,
    /// RFC 8489 14.11
    PASSWORD_ALGORITHMS = 0x8002,
    /// RFC 8656 18.13
    ICMP = 0x8004,
    /// RFC 8489 14.14
    SOFTWARE = 0x8022,
    /// RFC 8489 14.15
    ALTERNATE_SERVER = 0x8023,
    /// What Debian 12's coturn and its client call ADDITIONAL-ADDRESS-FAMILY, after a draft.
    DRAFT_ADDITIONAL_ADDRESS_FAMILY = 0x8032,
    /// RFC 5780 7.3
    RESPONSE_ORIGIN = 0x802B,
    /// RFC 5780 7.4
    OTHER_ADDRESS = 0x802C,
    /// RFC 8489 14.7
    FINGERPRINT = 0x8028,
}

impl AttributeType {
    /// Whether a receiver that does not know it must refuse the message (RFC 8489 section 14).
    pub const fn is_comprehension_required(self) -> bool {
        self.0 < 0x8000
    }
}

/// One attribute of a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Attribute<'a> {
    /// Its number.
    pub kind: AttributeType,
    /// Its value, without padding.
    pub value: &'a [u8],
    /// Where its type field begins, in bytes from the start of the message.
    pub offset: usize,
}

/// Walks over all attributes of bytes whose framing [`well_framed`] has checked.
#[derive(Clone, Debug)]
pub(super) struct RawAttributes<'a> {
    message: &'a [u8],
    offset: usize,
}

impl<'a> RawAttributes<'a> {
    pub(super) fn new(message: &'a [u8]) -> Self {
        Self {
            message,
            offset: HEADER_LEN,
        }
    }
}

impl<'a> Iterator for RawAttributes<'a> {
    type Item = Attribute<'a>;

    fn next(&mut self) -> Option<Self::Item> {
        let offset = self.offset;
        let rest = self.message.get(offset..)?;
        let (head, body) = rest.split_first_chunk::<4>()?;
        let [kind_high, kind_low, len_high, len_low] = *head;
        let len = usize::from(u16::from_be_bytes([len_high, len_low]));
        let value = body.get(..len)?;
        self.offset = offset + 4 + len.next_multiple_of(4);
        Some(Attribute {
            kind: AttributeType(u16::from_be_bytes([kind_high, kind_low])),
            value,
            offset,
        })
    }
}

/// The attributes that count: what stands behind an integrity attribute is nobody's word
/// (RFC 8489 sections 14.5 and 14.6), save the stronger integrity attribute and the fingerprint.
#[derive(Clone, Debug)]
pub struct Attributes<'a> {
    raw: RawAttributes<'a>,
    sealed: Sealed,
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Sealed {
    Open,
    Sha1,
    Sha256,
    Done,
}

impl<'a> Attributes<'a> {
    pub(super) fn new(message: &'a [u8]) -> Self {
        Self {
            raw: RawAttributes::new(message),
            sealed: Sealed::Open,
        }
    }
}

impl<'a> Iterator for Attributes<'a> {
    type Item = Attribute<'a>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.sealed == Sealed::Open {
            // The common case stays a straight line.
            let attribute = self.raw.next()?;
            self.sealed = match attribute.kind {
                AttributeType::MESSAGE_INTEGRITY => Sealed::Sha1,
                AttributeType::MESSAGE_INTEGRITY_SHA256 => Sealed::Sha256,
                AttributeType::FINGERPRINT => Sealed::Done,
                _ => Sealed::Open,
            };
            return Some(attribute);
        }
        loop {
            if self.sealed == Sealed::Done {
                return None;
            }
            let attribute = self.raw.next()?;
            match (attribute.kind, self.sealed) {
                (AttributeType::MESSAGE_INTEGRITY_SHA256, Sealed::Sha1) => {
                    self.sealed = Sealed::Sha256;
                    return Some(attribute);
                }
                (AttributeType::FINGERPRINT, _) => {
                    self.sealed = Sealed::Done;
                    return Some(attribute);
                }
                _ => {}
            }
        }
    }
}

/// Whether the attributes fill the message exactly.
pub(super) fn well_framed(message: &[u8]) -> bool {
    let mut offset = HEADER_LEN;
    while offset < message.len() {
        let Some(head) = message.get(offset..).and_then(|r| r.first_chunk::<4>()) else {
            return false;
        };
        let len = usize::from(u16::from_be_bytes([head[2], head[3]]));
        offset += 4 + len.next_multiple_of(4);
    }
    offset == message.len()
}
