//! What comes out of the rooms: answers, things to tell, and numbers.

use std::sync::Arc;

use crate::signal::core::ConnectionId;

/// Why nobody could join.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// Two others are there.
    #[error("room is full")]
    Full,
    /// Somebody has this id.
    #[error("id is taken")]
    Duplicate,
    /// The room would be one too many.
    #[error("the server has no place for another room")]
    TooManyRooms,
}

/// Why a message went nowhere.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Lost {
    /// Nobody is in this room.
    #[error("unknown room")]
    UnknownRoom,
    /// Nobody of this id is in it.
    #[error("unknown client")]
    UnknownClient,
    /// The sender is alone and has sent more than can be kept for who comes next.
    #[error("too many messages wait for somebody to come")]
    TooManyStored,
    /// The receiver has no socket yet, and there is no room for more.
    #[error("Too many messages queued for the client")]
    TooManyWaiting,
}

/// What somebody who joins is given.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Welcome {
    /// Nobody is there: they make the offer.
    pub is_initiator: bool,
    /// What the other one has said so far, in that order.
    pub messages: Vec<Arc<str>>,
}

/// Something that a socket is to be told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Delivery {
    /// The socket.
    pub to: ConnectionId,
    /// What it is told.
    pub what: Told,
}

/// What a socket is told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Told {
    /// A message of the other client, or our goodbye in its place.
    Message(Arc<str>),
    /// Its client has another socket now.
    Replaced,
    /// Its client is no more.
    Removed,
    /// The operator has ended it.
    Evicted,
}

/// What has happened so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    /// Clients that joined.
    pub joined: u64,
    /// Clients that could not.
    pub refused: u64,
    /// Messages taken.
    pub messages: u64,
    /// Messages that went nowhere.
    pub lost: u64,
    /// Goodbyes that we said for a client that could not.
    pub goodbyes: u64,
}
