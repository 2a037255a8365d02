//! Classic STUN (RFC 3489): Binding requests of clients from before the magic cookie.
//!
//! What they need is MAPPED-ADDRESS, and that is all they get. Their transaction id is 16 bytes
//! long, the first four of which later became the cookie.

use crate::turn::stun::address::{self, MAX_LEN};
use crate::turn::stun::header::HEADER_LEN;
use crate::turn::stun::{AttributeType, Classic, ErrorCode, Method};

use super::server::{Action, Now, Origin, Server, Transport};

/// Binding response.
const SUCCESS: u16 = 0x0101;

/// Binding error response.
const ERROR: u16 = 0x0111;

/// ERROR-CODE 420, without a reason phrase.
const UNKNOWN_ATTRIBUTE: [u8; 4] = [0, 0, 4, 20];

/// Attributes that may be ignored, though a server of that time had to know them: a request for
/// another source changes nothing if its flags are zero, and nobody is asked who they are.
fn is_harmless(kind: AttributeType, value: &[u8]) -> bool {
    match kind {
        AttributeType::USERNAME | AttributeType::MESSAGE_INTEGRITY => true,
        AttributeType::CHANGE_REQUEST => value == [0; 4],
        kind => !kind.is_comprehension_required(),
    }
}

impl Server {
    /// Bytes that are no STUN message of today.
    pub(super) fn classic(
        &mut self,
        now: Now,
        origin: &Origin,
        packet: &[u8],
        answer: &mut [u8],
    ) -> Action {
        // A stream that begins without the cookie is not recognised as STUN to begin with.
        let request = match origin.transport {
            Transport::Udp if self.config.classic_stun => Classic::parse(packet),
            _ => None,
        };
        let Some(request) = request else {
            return self.malformed();
        };
        if !self.may_answer(now, origin) {
            return Action::Nothing;
        }
        let refused = request
            .attributes()
            .find(|attribute| !is_harmless(attribute.kind, attribute.value));
        let mut out = Answer {
            bytes: answer,
            len: HEADER_LEN,
        };
        let kind = match refused {
            None => {
                let mut value = [0; MAX_LEN];
                let mapped = origin.mapped();
                let len = address::encode(mapped.ip(), mapped.port(), &mut value);
                out.put(AttributeType::MAPPED_ADDRESS, &value[..len]);
                self.stats.answers.success(Method::BINDING);
                SUCCESS
            }
            Some(attribute) => {
                // RFC 3489 section 11.2.10: an odd one stands there twice, to fill the word.
                let [high, low] = attribute.kind.0.to_be_bytes();
                out.put(AttributeType::ERROR_CODE, &UNKNOWN_ATTRIBUTE);
                out.put(AttributeType::UNKNOWN_ATTRIBUTES, &[high, low, high, low]);
                let code = ErrorCode::UnknownAttribute;
                self.stats.answers.error(Method::BINDING, code);
                ERROR
            }
        };
        out.finish(kind, request.transaction_id())
    }
}

/// A message without the cookie. All its values are whole words.
struct Answer<'a> {
    bytes: &'a mut [u8],
    len: usize,
}

impl Answer<'_> {
    fn put(&mut self, kind: AttributeType, value: &[u8]) {
        let end = self.len + 4 + value.len();
        if let Some(room) = self.bytes.get_mut(self.len..end)
            && let Some((head, body)) = room.split_first_chunk_mut::<4>()
        {
            let ([a, b], [c, d]) = (kind.0.to_be_bytes(), (value.len() as u16).to_be_bytes());
            *head = [a, b, c, d];
            body.copy_from_slice(value);
            self.len = end;
        }
    }

    fn finish(self, kind: u16, id: [u8; 16]) -> Action {
        let Some(header) = self.bytes.first_chunk_mut::<HEADER_LEN>() else {
            return Action::Nothing;
        };
        let len = (self.len - HEADER_LEN) as u16;
        header[..2].copy_from_slice(&kind.to_be_bytes());
        header[2..4].copy_from_slice(&len.to_be_bytes());
        header[4..].copy_from_slice(&id);
        Action::Answer(self.len)
    }
}
