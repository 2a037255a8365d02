//! The first 20 bytes: class, method, length, magic cookie and transaction id.

use std::fmt;

/// Bytes of a STUN header.
pub const HEADER_LEN: usize = 20;

/// The value that tells STUN from everything else (RFC 8489 section 5).
pub const MAGIC_COOKIE: [u8; 4] = 0x2112_A442_u32.to_be_bytes();

/// What kind of message it is (RFC 8489 section 5, bits C1 and C0).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Class {
    /// Wants an answer.
    Request,
    /// Wants none.
    Indication,
    /// The answer of a server that did it.
    Success,
    /// The answer of a server that did not.
    Error,
}

/// A STUN method: 12 bits.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Method(u16);

impl Method {
    /// RFC 8489: what address do you see?
    pub const BINDING: Self = Self(0x001);
    /// RFC 8656: make a relayed address.
    pub const ALLOCATE: Self = Self(0x003);
    /// RFC 8656: keep it, or give it back.
    pub const REFRESH: Self = Self(0x004);
    /// RFC 8656: client to peer.
    pub const SEND: Self = Self(0x006);
    /// RFC 8656: peer to client.
    pub const DATA: Self = Self(0x007);
    /// RFC 8656: let a peer in.
    pub const CREATE_PERMISSION: Self = Self(0x008);
    /// RFC 8656: give a peer a short name.
    pub const CHANNEL_BIND: Self = Self(0x009);
    /// RFC 6062: connect to a peer.
    pub const CONNECT: Self = Self(0x00A);
    /// RFC 6062: this connection carries the data of that one.
    pub const CONNECTION_BIND: Self = Self(0x00B);
    /// RFC 6062: a peer has connected.
    pub const CONNECTION_ATTEMPT: Self = Self(0x00C);

    /// Takes the low 12 bits.
    pub const fn new(value: u16) -> Self {
        Self(value & 0x0FFF)
    }

    /// The 12 bits.
    pub const fn value(self) -> u16 {
        self.0
    }
}

impl fmt::Debug for Method {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = match *self {
            Self::BINDING => "Binding",
            Self::ALLOCATE => "Allocate",
            Self::REFRESH => "Refresh",
            Self::SEND => "Send",
            Self::DATA => "Data",
            Self::CREATE_PERMISSION => "CreatePermission",
            Self::CHANNEL_BIND => "ChannelBind",
            Self::CONNECT => "Connect",
            Self::CONNECTION_BIND => "ConnectionBind",
            Self::CONNECTION_ATTEMPT => "ConnectionAttempt",
            Self(other) => return write!(f, "Method({other:#05x})"),
        };
        f.write_str(name)
    }
}

/// Ties an answer to its request: 96 random bits of the client's.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct TransactionId(pub [u8; 12]);

/// Interleaves class and method into the 14-bit message type (RFC 8489 figure 3).
pub(super) const fn message_type(class: Class, method: Method) -> u16 {
    let m = method.0;
    let class_bits = match class {
        Class::Request => 0x0000,
        Class::Indication => 0x0010,
        Class::Success => 0x0100,
        Class::Error => 0x0110,
    };
    (m & 0x000F) | (m & 0x0070) << 1 | (m & 0x0F80) << 2 | class_bits
}

/// The reverse of [`message_type`]; the top two bits of `value` must be zero.
pub(super) const fn class_and_method(value: u16) -> (Class, Method) {
    let class = match value & 0x0110 {
        0x0000 => Class::Request,
        0x0010 => Class::Indication,
        0x0100 => Class::Success,
        _ => Class::Error,
    };
    let method = (value & 0x000F) | (value & 0x00E0) >> 1 | (value & 0x3E00) >> 2;
    (class, Method(method))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_class_and_method_survives_the_interleaving() {
        for class in [
            Class::Request,
            Class::Indication,
            Class::Success,
            Class::Error,
        ] {
            for method in 0..0x1000 {
                let encoded = message_type(class, Method::new(method));
                assert_eq!(encoded & 0xC000, 0);
                assert_eq!(class_and_method(encoded), (class, Method::new(method)));
            }
        }
    }

    #[test]
    fn well_known_types_have_their_registered_values() {
        assert_eq!(message_type(Class::Request, Method::BINDING), 0x0001);
        assert_eq!(message_type(Class::Success, Method::BINDING), 0x0101);
        assert_eq!(message_type(Class::Error, Method::ALLOCATE), 0x0113);
        assert_eq!(message_type(Class::Indication, Method::SEND), 0x0016);
        assert_eq!(message_type(Class::Indication, Method::DATA), 0x0017);
    }
}
