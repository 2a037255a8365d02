//! Tickets: what a client shows to take its seat again. Pure: the key and the time are arguments.
//!
//! A ticket says which seat of which room it is for and is signed, so that it outlives the process
//! that gave it: after a restart the rooms are gone, but who sat there under which name is still
//! known to be true. It is worth as much as the seat, and is only ever sent to its owner.

use aws_lc_rs::hmac;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

use super::core::{MemberId, Namespace, RoomName, SeatId, Terms, Ticket};
use crate::config::Secret;

/// Signs and checks them.
#[derive(Debug)]
pub struct Tickets {
    key: hmac::Key,
}

impl Tickets {
    /// With this secret.
    pub fn new(secret: &Secret) -> Self {
        Self {
            key: hmac::Key::new(hmac::HMAC_SHA256, secret.expose()),
        }
    }

    /// A ticket that is good until `expires` (seconds since 1970).
    pub fn seal(&self, ticket: &Ticket, expires: u64) -> String {
        let (room, member) = (ticket.room.as_str(), ticket.member.as_str());
        let mut bytes = Vec::with_capacity(FIXED + room.len() + member.len() + TAG);
        bytes.push(VERSION);
        bytes.push(u8::from(ticket.terms.may_create) | u8::from(ticket.terms.may_lock) << 1);
        bytes.extend(expires.to_be_bytes());
        bytes.extend(ticket.seat.number().to_be_bytes());
        // Names are bounded far below this.
        bytes.extend(u16::try_from(room.len()).unwrap_or(u16::MAX).to_be_bytes());
        bytes.extend(room.as_bytes());
        bytes.extend(member.as_bytes());
        let tag = hmac::sign(&self.key, &bytes);
        bytes.extend(tag.as_ref());
        URL_SAFE_NO_PAD.encode(bytes)
    }

    /// What a ticket says; `None` if it was not made here, or is no longer good at `now`.
    pub fn open(&self, text: &str, namespace: Namespace, now: u64) -> Option<Ticket> {
        if text.len() > LONGEST {
            return None;
        }
        let bytes = URL_SAFE_NO_PAD.decode(text).ok()?;
        let (signed, tag) = bytes.split_at_checked(bytes.len().checked_sub(TAG)?)?;
        hmac::verify(&self.key, signed, tag).ok()?;
        let ([version, flags], rest) = signed.split_first_chunk()?;
        let (expires, rest) = rest.split_first_chunk()?;
        let (seat, rest) = rest.split_first_chunk()?;
        let (length, rest) = rest.split_first_chunk()?;
        let (room, member) = rest.split_at_checked(u16::from_be_bytes(*length).into())?;
        if *version != VERSION || u64::from_be_bytes(*expires) < now {
            return None;
        }
        Some(Ticket {
            room: RoomName::new(namespace, std::str::from_utf8(room).ok()?).ok()?,
            member: MemberId::new(std::str::from_utf8(member).ok()?).ok()?,
            seat: SeatId::new(u64::from_be_bytes(*seat)),
            terms: Terms {
                resumable: true,
                may_create: flags & 1 != 0,
                may_lock: flags & 2 != 0,
            },
        })
    }
}

const VERSION: u8 = 1;

/// Version, flags, expiry, seat, length of the room's name.
const FIXED: usize = 2 + 8 + 8 + 2;

/// HMAC-SHA256.
const TAG: usize = 32;

/// Longest text that can be a ticket.
const LONGEST: usize =
    (FIXED + super::core::ROOM_NAME_MAX + super::core::MEMBER_ID_MAX + TAG).div_ceil(3) * 4;

#[cfg(test)]
mod tests {
    use super::*;

    const SPACE: Namespace = Namespace::new("test");

    fn ticket() -> Ticket {
        Ticket {
            room: RoomName::new(SPACE, &"房".repeat(85)).unwrap(),
            member: MemberId::new(&"m".repeat(64)).unwrap(),
            seat: SeatId::new(u64::MAX - 1),
            terms: Terms {
                resumable: true,
                may_create: false,
                may_lock: true,
            },
        }
    }

    #[test]
    fn a_ticket_says_what_was_put_into_it_until_it_expires() {
        let tickets = Tickets::new(&Secret::new("north"));
        let text = tickets.seal(&ticket(), 1000);
        assert!(text.len() <= LONGEST);
        assert_eq!(tickets.open(&text, SPACE, 1000), Some(ticket()));
        assert_eq!(tickets.open(&text, SPACE, 1001), None);
    }

    #[test]
    fn a_ticket_of_another_secret_or_with_one_bit_changed_is_none() {
        let tickets = Tickets::new(&Secret::new("north"));
        let text = tickets.seal(&ticket(), 1000);
        let other = Tickets::new(&Secret::new("south"));
        assert_eq!(other.open(&text, SPACE, 1), None);
        let bytes = URL_SAFE_NO_PAD.decode(&text).unwrap();
        for at in 0..bytes.len() {
            let mut forged = bytes.clone();
            forged[at] ^= 1;
            assert_eq!(
                tickets.open(&URL_SAFE_NO_PAD.encode(&forged), SPACE, 1),
                None,
                "byte {at}"
            );
            let cut = URL_SAFE_NO_PAD.encode(&bytes[..at]);
            assert_eq!(tickets.open(&cut, SPACE, 1), None, "{at} bytes");
        }
        for text in ["", "=", "A", "x".repeat(5000).as_str()] {
            assert_eq!(tickets.open(text, SPACE, 1), None);
        }
    }
}
