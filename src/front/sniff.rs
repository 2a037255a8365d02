//! What a connection speaks, from its first bytes. Pure; used before TLS and again inside it.

/// What the bytes so far say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sniff {
    /// More bytes are needed.
    Incomplete,
    /// A TLS record with a handshake.
    Tls,
    /// A STUN message.
    Stun,
    /// An HTTP request.
    Http,
    /// Nothing that is served here.
    Unknown,
}

/// Bytes after which everything is decided: a STUN header. Nobody reads more to find out.
pub const MAX_BYTES: usize = 20;

const MAGIC_COOKIE: [u8; 4] = [0x21, 0x12, 0xA4, 0x42];

/// Judges by the first byte, and a would-be STUN message by its magic cookie as well, so that
/// random bytes do not reach a TURN worker. A TURN stream begins with a STUN message, never with
/// ChannelData, whose first byte could be a letter.
pub fn sniff(bytes: &[u8]) -> Sniff {
    match bytes.first() {
        None => Sniff::Incomplete,
        Some(0x16) => Sniff::Tls,
        Some(0x00..=0x03) => match bytes.get(4..8) {
            Some(cookie) if cookie == MAGIC_COOKIE => Sniff::Stun,
            Some(_) => Sniff::Unknown,
            None => {
                let so_far = bytes.get(4..).unwrap_or_default();
                match MAGIC_COOKIE.starts_with(so_far) {
                    true => Sniff::Incomplete,
                    false => Sniff::Unknown,
                }
            }
        },
        Some(byte) if byte.is_ascii_alphabetic() => Sniff::Http,
        Some(_) => Sniff::Unknown,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const BINDING: &[u8] = b"\x00\x01\x00\x00\x21\x12\xa4\x42abcdefghijkl";

    #[test]
    fn the_first_bytes_tell() {
        for (bytes, expected) in [
            (&b""[..], Sniff::Incomplete),
            (b"\x16", Sniff::Tls),
            (b"\x16\x03\x01", Sniff::Tls),
            (b"G", Sniff::Http),
            (b"get / ", Sniff::Http),
            (b"PRI * HTTP/2.0", Sniff::Http),
            (b"\x00", Sniff::Incomplete),
            (b"\x00\x03\x00\x08", Sniff::Incomplete),
            (b"\x00\x03\x00\x08\x21\x12\xa4", Sniff::Incomplete),
            (b"\x00\x03\x00\x08\x21\x12\xa4\x42", Sniff::Stun),
            (BINDING, Sniff::Stun),
            (b"\x01\x01\x00\x00\x21\x12\xa4\x42", Sniff::Stun),
            (b"\x00\x03\x00\x08\x20", Sniff::Unknown),
            (b"\x00\x03\x00\x08\x21\x12\xa4\x43", Sniff::Unknown),
            (&[0; 20], Sniff::Unknown),
            (b"\x04", Sniff::Unknown),
            (b"\x15\x03\x01", Sniff::Unknown),
            (b"\x80\x2e\x01", Sniff::Unknown),
            (b" GET /", Sniff::Unknown),
            (b"\r\n", Sniff::Unknown),
            (b"\xff", Sniff::Unknown),
            (b"5", Sniff::Unknown),
        ] {
            assert_eq!(sniff(bytes), expected, "{bytes:?}");
        }
        // ChannelData is told apart from nothing by its first byte, so it is never the first.
        assert_eq!(sniff(&[0x40, 0, 0, 4]), Sniff::Unknown);
        assert_eq!(sniff(&[0x41, 0, 0, 4]), Sniff::Http);
    }

    proptest! {
        #[test]
        fn a_verdict_never_changes_when_more_bytes_come(
            bytes in proptest::collection::vec(any::<u8>(), 0..40),
            stun in any::<bool>(),
            at in 0_usize..40,
        ) {
            let mut bytes = bytes;
            if stun && bytes.len() >= 8 {
                bytes[0] &= 3;
                bytes[4..8].copy_from_slice(&MAGIC_COOKIE);
            }
            let early = sniff(&bytes[..at.min(bytes.len())]);
            prop_assert!(early == Sniff::Incomplete || early == sniff(&bytes));
        }

        #[test]
        fn a_full_header_is_always_enough(bytes in proptest::array::uniform20(any::<u8>())) {
            prop_assert_ne!(sniff(&bytes[..MAX_BYTES]), Sniff::Incomplete);
        }
    }
}
