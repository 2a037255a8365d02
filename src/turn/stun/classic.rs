//! A Binding request as RFC 3489 had it: without the magic cookie.

use super::attribute::{Attribute, RawAttributes, well_framed};
use super::header::{HEADER_LEN, MAGIC_COOKIE};

/// Binding request.
const BINDING: [u8; 2] = [0x00, 0x01];

/// One whole request, borrowed.
#[derive(Clone, Copy, Debug)]
pub struct Classic<'a> {
    bytes: &'a [u8],
}

impl<'a> Classic<'a> {
    /// Checks type, length and the framing of all attributes. `None` for everything else, messages
    /// with the cookie among it.
    pub fn parse(bytes: &'a [u8]) -> Option<Self> {
        let header = bytes.first_chunk::<HEADER_LEN>()?;
        let len = usize::from(u16::from_be_bytes([header[2], header[3]]));
        let whole = header[..2] == BINDING
            && header[4..8] != MAGIC_COOKIE
            && HEADER_LEN + len == bytes.len()
            && well_framed(bytes);
        whole.then_some(Self { bytes })
    }

    /// To be repeated in the answer.
    pub fn transaction_id(&self) -> [u8; 16] {
        let mut id = [0; 16];
        if let Some(header) = self.bytes.first_chunk::<HEADER_LEN>() {
            id.copy_from_slice(&header[4..]);
        }
        id
    }

    /// All attributes, in order.
    pub fn attributes(&self) -> impl Iterator<Item = Attribute<'a>> + use<'a> {
        RawAttributes::new(self.bytes)
    }
}
