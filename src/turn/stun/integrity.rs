//! Keys, message integrity and the fingerprint (RFC 8489 sections 9.2, 14.5, 14.6 and 14.7).

use aws_lc_rs::{constant_time, digest, hmac};
use md5::{Digest, Md5};

use super::attribute::Attribute;

/// How a long-term key is made from a password (RFC 8489 section 18.5).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Algorithm {
    /// 0x0001
    Md5,
    /// 0x0002
    Sha256,
}

impl Algorithm {
    /// The registered number.
    pub const fn value(self) -> u16 {
        match self {
            Self::Md5 => 1,
            Self::Sha256 => 2,
        }
    }
}

/// A long-term key: 16 bytes by MD5 or 32 by SHA-256.
#[derive(Clone, Copy)]
pub struct Key {
    bytes: [u8; 32],
    algorithm: Algorithm,
}

impl Key {
    /// `hash(username ":" realm ":" password)` (RFC 8489 section 18.5.1). Texts are taken as
    /// they are: browsers send what they were given, and the OpaqueString profile leaves every
    /// credential that we make unchanged.
    pub fn long_term(algorithm: Algorithm, username: &[u8], realm: &[u8], password: &[u8]) -> Self {
        let mut bytes = [0; 32];
        match algorithm {
            Algorithm::Md5 => {
                let mut hash = Md5::new();
                for part in [username, b":", realm, b":", password] {
                    hash.update(part);
                }
                bytes[..16].copy_from_slice(&hash.finalize());
            }
            Algorithm::Sha256 => {
                let mut hash = digest::Context::new(&digest::SHA256);
                for part in [username, b":", realm, b":", password] {
                    hash.update(part);
                }
                bytes.copy_from_slice(hash.finish().as_ref());
            }
        }
        Self { bytes, algorithm }
    }

    /// How it was made.
    pub fn algorithm(&self) -> Algorithm {
        self.algorithm
    }

    /// A short-term key, which is the password (RFC 8489 section 9.1.1): for the vectors only.
    /// HMAC fills short keys up with zeros, so its length need not be known.
    #[cfg(test)]
    pub(super) fn short_term(password: &[u8]) -> Self {
        let mut bytes = [0; 32];
        bytes[..password.len()].copy_from_slice(password);
        Self {
            bytes,
            algorithm: Algorithm::Sha256,
        }
    }

    fn as_bytes(&self) -> &[u8] {
        match self.algorithm {
            Algorithm::Md5 => &self.bytes[..16],
            Algorithm::Sha256 => &self.bytes,
        }
    }
}

impl std::fmt::Debug for Key {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Key({:?})", self.algorithm)
    }
}

/// `SHA-256(username ":" realm)`: a user name that only the server can read (RFC 8489
/// section 14.4).
pub fn userhash(username: &[u8], realm: &[u8]) -> [u8; 32] {
    let mut hash = digest::Context::new(&digest::SHA256);
    for part in [username, b":", realm] {
        hash.update(part);
    }
    let mut out = [0; 32];
    out.copy_from_slice(hash.finish().as_ref());
    out
}

pub(super) const SHA1_LEN: usize = 20;
pub(super) const SHA256_LEN: usize = 32;

/// HMAC over everything before the attribute, as if the message ended with it.
fn tag(
    algorithm: hmac::Algorithm,
    message: &[u8],
    offset: usize,
    len: usize,
    key: &Key,
) -> hmac::Tag {
    let key = hmac::Key::new(algorithm, key.as_bytes());
    let mut context = hmac::Context::with_key(&key);
    let pretended = u16::try_from(offset + 4 + len - super::header::HEADER_LEN).unwrap_or(u16::MAX);
    context.update(message.get(..2).unwrap_or_default());
    context.update(&pretended.to_be_bytes());
    context.update(message.get(4..offset).unwrap_or_default());
    context.sign()
}

pub(super) fn sha1(message: &[u8], offset: usize, key: &Key) -> hmac::Tag {
    tag(
        hmac::HMAC_SHA1_FOR_LEGACY_USE_ONLY,
        message,
        offset,
        SHA1_LEN,
        key,
    )
}

pub(super) fn sha256(message: &[u8], offset: usize, len: usize, key: &Key) -> hmac::Tag {
    tag(hmac::HMAC_SHA256, message, offset, len, key)
}

pub(super) fn verify_sha1(message: &[u8], attribute: Attribute<'_>, key: &Key) -> bool {
    let expected = sha1(message, attribute.offset, key);
    constant_time::verify_slices_are_equal(expected.as_ref(), attribute.value).is_ok()
}

pub(super) fn verify_sha256(message: &[u8], attribute: Attribute<'_>, key: &Key) -> bool {
    // RFC 8489 section 14.6: it may be cut, to no less than 16 bytes and whole words.
    let len = attribute.value.len();
    if !(16..=SHA256_LEN).contains(&len) || !len.is_multiple_of(4) {
        return false;
    }
    let expected = sha256(message, attribute.offset, len, key);
    expected
        .as_ref()
        .get(..len)
        .is_some_and(|e| constant_time::verify_slices_are_equal(e, attribute.value).is_ok())
}

/// CRC-32 of everything before the attribute, XORed so that it differs from other protocols' CRCs.
/// Unlike the integrity attributes it is the last one, so the length field is already right.
pub(super) fn fingerprint(before: &[u8]) -> [u8; 4] {
    (crc32fast::hash(before) ^ 0x5354_554E).to_be_bytes()
}

pub(super) fn verify_fingerprint(message: &[u8], attribute: Attribute<'_>) -> bool {
    attribute.offset + 8 == message.len()
        && message
            .get(..attribute.offset)
            .is_some_and(|before| fingerprint(before) == attribute.value)
}
