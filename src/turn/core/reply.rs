//! Answers: written once, in one shape, into the caller's buffer.

use crate::turn::stun::{AttributeType, Class, ErrorCode, Key, Message, Writer};

use super::auth::Seal;
use super::server::Action;

/// How an answer to an authenticated request is sealed.
pub(super) type Sealing<'a> = Option<(&'a Key, Seal)>;

/// Writes the success response to `request`; `fill` adds its attributes.
pub(super) fn success(
    request: &Message<'_>,
    answer: &mut [u8],
    seal: Sealing<'_>,
    fill: impl FnOnce(&mut Writer<'_>),
) -> Action {
    write(request, Class::Success, answer, seal, fill)
}

/// Writes the error response to `request`; `fill` adds what the code needs.
pub(super) fn error(
    request: &Message<'_>,
    code: ErrorCode,
    answer: &mut [u8],
    seal: Sealing<'_>,
    fill: impl FnOnce(&mut Writer<'_>),
) -> Action {
    write(request, Class::Error, answer, seal, |writer| {
        writer.error_code(code);
        fill(writer);
    })
}

fn write(
    request: &Message<'_>,
    class: Class,
    answer: &mut [u8],
    seal: Sealing<'_>,
    fill: impl FnOnce(&mut Writer<'_>),
) -> Action {
    let mut writer = Writer::new(answer, class, request.method(), request.transaction_id());
    fill(&mut writer);
    match seal {
        Some((key, Seal::Sha1)) => writer.message_integrity(key),
        Some((key, Seal::Sha256)) => writer.message_integrity_sha256(key),
        None => {}
    }
    // Who asks without a fingerprint can do without one, and the answer stays small.
    if request.value(AttributeType::FINGERPRINT).is_some() {
        writer.fingerprint();
    }
    match writer.finish() {
        Ok(len) => Action::Answer(len),
        Err(_) => Action::Nothing,
    }
}
