//! Writing a message into a caller's buffer.

use std::net::SocketAddr;

use super::address;
use super::attribute::AttributeType;
use super::error::ErrorCode;
use super::header::{Class, HEADER_LEN, MAGIC_COOKIE, Method, TransactionId, message_type};
use super::integrity::{self, Key, SHA1_LEN, SHA256_LEN};

/// The buffer was too small for the message.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the message does not fit the buffer")]
pub struct Overflow;

/// Builds one message front to back. Running out of room is remembered and reported by
/// [`Writer::finish`], so that callers need not check each step.
#[derive(Debug)]
pub struct Writer<'a> {
    buffer: &'a mut [u8],
    len: usize,
    id: TransactionId,
    overflow: bool,
}

impl<'a> Writer<'a> {
    /// Begins a message at the start of `buffer`.
    pub fn new(buffer: &'a mut [u8], class: Class, method: Method, id: TransactionId) -> Self {
        let mut writer = Self {
            buffer,
            len: 0,
            id,
            overflow: false,
        };
        writer.put(&message_type(class, method).to_be_bytes());
        writer.put(&[0, 0]);
        writer.put(&MAGIC_COOKIE);
        writer.put(&id.0);
        writer
    }

    /// Adds an attribute; padding bytes are zero.
    pub fn attribute(&mut self, kind: AttributeType, value: &[u8]) {
        let Ok(len) = u16::try_from(value.len()) else {
            self.overflow = true;
            return;
        };
        self.put(&kind.0.to_be_bytes());
        self.put(&len.to_be_bytes());
        self.put(value);
        let padding = value.len().next_multiple_of(4) - value.len();
        self.put(&[0; 3][..padding]);
        self.write_length();
    }

    /// Adds an attribute that is one 32-bit number.
    pub fn u32(&mut self, kind: AttributeType, value: u32) {
        self.attribute(kind, &value.to_be_bytes());
    }

    /// Adds an address XORed with cookie and transaction id.
    pub fn xor_address(&mut self, kind: AttributeType, addr: SocketAddr) {
        let mut value = [0; address::MAX_LEN];
        let len = address::encode_xor(addr, self.id, &mut value);
        self.attribute(kind, &value[..len]);
    }

    /// Adds an address as it is.
    pub fn address(&mut self, kind: AttributeType, addr: SocketAddr) {
        let mut value = [0; address::MAX_LEN];
        let len = address::encode(addr.ip(), addr.port(), &mut value);
        self.attribute(kind, &value[..len]);
    }

    /// Adds ERROR-CODE without a reason phrase: it would only make answers bigger.
    pub fn error_code(&mut self, code: ErrorCode) {
        self.attribute(AttributeType::ERROR_CODE, &code.encode());
    }

    /// Seals what was written so far with HMAC-SHA1.
    pub fn message_integrity(&mut self, key: &Key) {
        let tag = integrity::sha1(&self.buffer[..self.len], self.len, key);
        debug_assert_eq!(tag.as_ref().len(), SHA1_LEN);
        self.attribute(AttributeType::MESSAGE_INTEGRITY, tag.as_ref());
    }

    /// Seals what was written so far with HMAC-SHA256.
    pub fn message_integrity_sha256(&mut self, key: &Key) {
        let tag = integrity::sha256(&self.buffer[..self.len], self.len, SHA256_LEN, key);
        self.attribute(AttributeType::MESSAGE_INTEGRITY_SHA256, tag.as_ref());
    }

    /// Adds the fingerprint; must be last.
    pub fn fingerprint(&mut self) {
        // The CRC covers a length field that already counts this attribute.
        let before = self.len;
        self.attribute(AttributeType::FINGERPRINT, &[0; 4]);
        if !self.overflow {
            let crc = integrity::fingerprint(&self.buffer[..before]);
            self.buffer[before + 4..before + 8].copy_from_slice(&crc);
        }
    }

    /// Bytes of the whole message.
    pub fn finish(self) -> Result<usize, Overflow> {
        if self.overflow {
            return Err(Overflow);
        }
        debug_assert!(self.len >= HEADER_LEN);
        Ok(self.len)
    }

    fn put(&mut self, bytes: &[u8]) {
        let end = self.len + bytes.len();
        match self.buffer.get_mut(self.len..end) {
            Some(room) if !self.overflow => {
                room.copy_from_slice(bytes);
                self.len = end;
            }
            _ => self.overflow = true,
        }
    }

    fn write_length(&mut self) {
        match u16::try_from(self.len.saturating_sub(HEADER_LEN)) {
            Ok(len) if self.len >= HEADER_LEN => {
                self.buffer[2..4].copy_from_slice(&len.to_be_bytes());
            }
            _ => self.overflow = true,
        }
    }
}
