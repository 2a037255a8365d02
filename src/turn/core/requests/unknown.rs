//! Attributes that must be understood and are not (RFC 8489 section 6.3.1): 420.

use crate::turn::core::reply;
use crate::turn::core::server::Action;
use crate::turn::stun::{AttributeType, ErrorCode, Message};

/// Some of those of a request.
pub(super) struct Unknown {
    kinds: [u16; Self::MAX],
    len: usize,
}

impl Unknown {
    /// As many as are named in an answer, which has two bytes for each four of the request.
    const MAX: usize = 64;

    /// `None`: everything is understood.
    pub(super) fn of(request: &Message<'_>) -> Option<Self> {
        Self::among(request, is_known)
    }

    /// The same, where something else is understood than usually.
    pub(super) fn among(
        request: &Message<'_>,
        is_known: impl Fn(AttributeType) -> bool,
    ) -> Option<Self> {
        let mut unknown = Self {
            kinds: [0; Self::MAX],
            len: 0,
        };
        for attribute in request.attributes() {
            if attribute.kind.is_comprehension_required()
                && !is_known(attribute.kind)
                && let Some(room) = unknown.kinds.get_mut(unknown.len)
            {
                *room = attribute.kind.0;
                unknown.len += 1;
            }
        }
        (unknown.len > 0).then_some(unknown)
    }

    /// This one.
    pub(super) fn only(kind: AttributeType) -> Self {
        let mut kinds = [0; Self::MAX];
        kinds[0] = kind.0;
        Self { kinds, len: 1 }
    }

    /// Writes the answer.
    pub(super) fn refuse(
        self,
        request: &Message<'_>,
        answer: &mut [u8],
        seal: reply::Sealing<'_>,
    ) -> Action {
        let mut value = [0; 2 * Self::MAX];
        for (room, kind) in value.chunks_exact_mut(2).zip(self.kinds) {
            room.copy_from_slice(&kind.to_be_bytes());
        }
        reply::error(
            request,
            ErrorCode::UnknownAttribute,
            answer,
            seal,
            |writer| {
                writer.attribute(AttributeType::UNKNOWN_ATTRIBUTES, &value[..2 * self.len]);
            },
        )
    }
}

/// Comprehension-required attributes that this server understands or may ignore.
pub(in crate::turn::core) fn is_known(kind: AttributeType) -> bool {
    matches!(
        kind,
        AttributeType::MAPPED_ADDRESS
            | AttributeType::USERNAME
            | AttributeType::MESSAGE_INTEGRITY
            | AttributeType::ERROR_CODE
            | AttributeType::UNKNOWN_ATTRIBUTES
            | AttributeType::CHANNEL_NUMBER
            | AttributeType::LIFETIME
            | AttributeType::XOR_PEER_ADDRESS
            | AttributeType::DATA
            | AttributeType::REALM
            | AttributeType::NONCE
            | AttributeType::XOR_RELAYED_ADDRESS
            | AttributeType::REQUESTED_ADDRESS_FAMILY
            | AttributeType::EVEN_PORT
            | AttributeType::REQUESTED_TRANSPORT
            | AttributeType::DONT_FRAGMENT
            | AttributeType::MESSAGE_INTEGRITY_SHA256
            | AttributeType::PASSWORD_ALGORITHM
            | AttributeType::USERHASH
            | AttributeType::XOR_MAPPED_ADDRESS
            | AttributeType::RESERVATION_TOKEN
            | AttributeType::CONNECTION_ID
    )
}
