//! What a client has just done that somebody may want to hear of. The driver asks after each
//! packet, and counts; nothing is kept here.

use super::auth::Refusal;
use super::server::Server;
use crate::turn::stun::{AttributeType, ErrorCode, Message};

/// Something that comes by the thousand when it comes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Notice {
    /// A request without credentials was given a challenge.
    Challenged,
    /// Credentials that are wrong or too old.
    WrongCredentials,
    /// A nonce that is too old.
    StaleNonce,
    /// The prefix has had all the answers that it gets.
    Unanswered,
    /// Bytes that are no message, or a message nobody should send.
    Malformed,
    /// A peer that the policy does not allow.
    RefusedPeer,
    /// The user has enough allocations.
    UserQuota,
    /// No port, no socket, or no allocations any more.
    NoCapacity,
}

impl Notice {
    pub(super) fn of_refusal(refusal: Refusal, request: &Message<'_>) -> Self {
        let proved = [
            AttributeType::MESSAGE_INTEGRITY,
            AttributeType::MESSAGE_INTEGRITY_SHA256,
        ];
        match refusal {
            Refusal::StaleNonce => Self::StaleNonce,
            Refusal::BadRequest => Self::Malformed,
            Refusal::Unauthenticated if proved.iter().any(|seal| request.find(*seal).is_some()) => {
                Self::WrongCredentials
            }
            Refusal::Unauthenticated => Self::Challenged,
        }
    }

    pub(super) fn of_code(code: ErrorCode) -> Option<Self> {
        match code {
            ErrorCode::Forbidden => Some(Self::RefusedPeer),
            ErrorCode::AllocationQuotaReached => Some(Self::UserQuota),
            ErrorCode::InsufficientCapacity => Some(Self::NoCapacity),
            ErrorCode::WrongCredentials => Some(Self::WrongCredentials),
            _ => None,
        }
    }
}

impl Server {
    /// What the last packet handed in was noticed for, if for anything.
    pub fn poll_notice(&mut self) -> Option<Notice> {
        self.notice.take()
    }
}
