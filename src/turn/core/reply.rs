//! Answers: written once, in one shape, into the caller's buffer.

use crate::turn::stun::{
    AttributeType, Class, ErrorCode, Key, Message, Method, TransactionId, Writer,
};

use super::auth::Seal;
use super::server::Action;

/// How an answer to an authenticated request is sealed.
pub(super) type Sealing<'a> = Option<(&'a Key, Seal)>;

/// What an answer repeats of its request.
#[derive(Clone, Copy, Debug)]
pub(super) struct Head {
    method: Method,
    id: TransactionId,
    /// Who asks without a fingerprint can do without one, and the answer stays small.
    fingerprint: bool,
}

impl Head {
    pub(super) fn of(request: &Message<'_>) -> Self {
        Self {
            method: request.method(),
            id: request.transaction_id(),
            fingerprint: request.value(AttributeType::FINGERPRINT).is_some(),
        }
    }
}

/// Writes the success response to `request`; `fill` adds its attributes.
pub(super) fn success(
    request: &Message<'_>,
    answer: &mut [u8],
    seal: Sealing<'_>,
    fill: impl FnOnce(&mut Writer<'_>),
) -> Action {
    action(write(Head::of(request), Class::Success, answer, seal, fill))
}

/// Writes the error response to `request`; `fill` adds what the code needs.
pub(super) fn error(
    request: &Message<'_>,
    code: ErrorCode,
    answer: &mut [u8],
    seal: Sealing<'_>,
    fill: impl FnOnce(&mut Writer<'_>),
) -> Action {
    let fill = |writer: &mut Writer<'_>| {
        writer.error_code(code);
        fill(writer);
    };
    action(write(Head::of(request), Class::Error, answer, seal, fill))
}

/// Writes an answer; its length, or `None` if there is no room.
pub(super) fn write(
    head: Head,
    class: Class,
    answer: &mut [u8],
    seal: Sealing<'_>,
    fill: impl FnOnce(&mut Writer<'_>),
) -> Option<usize> {
    let mut writer = Writer::new(answer, class, head.method, head.id);
    fill(&mut writer);
    match seal {
        Some((key, Seal::Sha1)) => writer.message_integrity(key),
        Some((key, Seal::Sha256)) => writer.message_integrity_sha256(key),
        None => {}
    }
    if head.fingerprint {
        writer.fingerprint();
    }
    writer.finish().ok()
}

fn action(len: Option<usize>) -> Action {
    len.map_or(Action::Nothing, Action::Answer)
}
