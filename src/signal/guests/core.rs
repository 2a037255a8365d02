//! What the further dialects know of their clients, without IO: requests go in through `handle_*`, what
//! is to be told comes out as [`Letter`]s.
//!
//! Each has a world of its own, since none has rooms as [`crate::signal::core`] knows them: PeerJS has
//! one set of ids, y-webrtc topics of which a client has several, flutter-webrtc-demo a list of everybody.

pub mod calls;
pub mod lobby;
pub mod peerjs;
pub mod topics;

use crate::signal::core::ConnectionId;

/// Something for a connection, in the order in which it is to hear it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Letter {
    /// To be told this text.
    Text(Vec<ConnectionId>, String),
    /// To end, since its client has another one.
    Replaced(ConnectionId),
}

impl Letter {
    /// For one; none if there is nothing to say.
    fn to(connection: ConnectionId, text: Option<String>) -> Option<Self> {
        Some(Self::Text(vec![connection], text?))
    }
}
