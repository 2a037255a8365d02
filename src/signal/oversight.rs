//! What the operator sees of a room, whatever its members speak, and the line in the log when one is
//! over.

use std::fmt;
use std::net::SocketAddr;
use std::str::FromStr;
use std::time::Duration;

use super::core::{ConnectionId, RoomId, SeatId, Target};
use super::record::{Account, View};
use crate::telemetry::log::{self, Client};

/// Not the name of a room or a seat.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not the name of a room or a member")]
pub struct NotAnId;

/// Names a room, or a member of one, among all that this process ever has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Id(pub Target);

impl fmt::Display for Id {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Target::Room(id) => write!(f, "r{:016x}", id.number()),
            Target::Seat(id) => write!(f, "m{:016x}", id.number()),
        }
    }
}

impl FromStr for Id {
    type Err = NotAnId;

    fn from_str(text: &str) -> Result<Self, NotAnId> {
        let (kind, digits) = text.split_at_checked(1).ok_or(NotAnId)?;
        let plain = digits.len() == 16 && digits.bytes().all(|digit| digit.is_ascii_hexdigit());
        let number = u64::from_str_radix(digits, 16).map_err(|_| NotAnId)?;
        match (kind, plain) {
            ("r", true) => Ok(Self(Target::Room(RoomId::new(number)))),
            ("m", true) => Ok(Self(Target::Seat(SeatId::new(number)))),
            _ => Err(NotAnId),
        }
    }
}

/// A room at one moment.
#[derive(Clone, Debug)]
pub struct Room {
    /// Which one.
    pub id: RoomId,
    /// What its members speak.
    pub dialect: &'static str,
    /// How they call it, unless the log keeps that to itself.
    pub name: Option<String>,
    /// How long it has had members.
    pub age: Duration,
    /// Most members at a time.
    pub most: usize,
    /// Messages passed on in it.
    pub messages: u64,
    /// Whether it is closed to newcomers.
    pub locked: bool,
    /// Who is in it.
    pub members: Vec<Member>,
}

/// A member at one moment.
#[derive(Clone, Debug)]
pub struct Member {
    /// Its seat.
    pub id: SeatId,
    /// What it calls itself, unless the log keeps that to itself.
    pub name: Option<String>,
    /// Its address as the log shows it; `None`: it is away, and its place is kept.
    pub client: Option<String>,
}

impl Room {
    /// The room of a world whose connections have these addresses.
    pub(super) fn seen(view: View, address: impl Fn(ConnectionId) -> Option<SocketAddr>) -> Self {
        let View { account, seats } = view;
        let hidden = |name: Option<Box<str>>| log::personal(name?.into());
        let members = seats.into_iter().map(|seat| Member {
            id: seat.id,
            name: hidden(seat.name),
            client: seat
                .connection
                .and_then(&address)
                .map(|client| Client(client).to_string()),
        });
        Self {
            id: account.id,
            dialect: account.world.dialect(),
            members: members.collect(),
            name: hidden(account.name),
            age: account.lasted,
            most: account.most,
            messages: account.messages,
            locked: false,
        }
    }
}

/// A room that is over.
#[derive(Clone, Copy, Debug)]
pub(super) struct Ended<'a> {
    pub(super) id: RoomId,
    pub(super) dialect: &'static str,
    pub(super) lasted: Duration,
    pub(super) most: usize,
    pub(super) messages: u64,
    pub(super) name: Option<&'a str>,
}

impl<'a> From<&'a Account> for Ended<'a> {
    fn from(account: &'a Account) -> Self {
        Self {
            id: account.id,
            dialect: account.world.dialect(),
            lasted: account.lasted,
            most: account.most,
            messages: account.messages,
            name: account.name.as_deref(),
        }
    }
}

/// Tells the log of a room that is over.
pub(super) fn say(ended: &Ended<'_>) {
    let name = ended.name.and_then(|name| log::personal(name.to_owned()));
    // It stands alone: whoever collects these lines needs no other.
    tracing::info!(
        target: "callbox::session",
        parent: None,
        room = %Id(Target::Room(ended.id)),
        dialect = ended.dialect,
        seconds = ended.lasted.as_secs_f64(),
        most_members = ended.most,
        messages = ended.messages,
        name,
        "room ended"
    );
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_read_as_it_is_written_and_in_no_other_way() {
        for id in [
            Id(Target::Room(RoomId::new(0xABC))),
            Id(Target::Seat(SeatId::new(u64::MAX))),
        ] {
            assert_eq!(id.to_string().parse(), Ok(id));
        }
        for wrong in [
            "",
            "r",
            "r12",
            "x0000000000000abc",
            "r+000000000000abc",
            "r00000000000000abc",
            "\u{661}000000000000abcd",
        ] {
            assert_eq!(wrong.parse::<Id>(), Err(NotAnId), "{wrong}");
        }
    }
}
