//! What a newcomer is asked and given: whether it may come in, its ticket, its ICE configuration.
//!
//! The rules are in [`super::core`], the words in [`super::dialect`]; here they meet keys, the
//! clock and random numbers.

use std::time::Duration;

use serde_json::Value;

use super::core::{MemberId, Terms, Ticket};
use super::dialect::native::{Complaint, NAMESPACE};
use super::dialect::{Dialect, Welcome};
use super::ticket::Tickets;
use crate::config::{Secret, settings};
use crate::ice::{Issuer, credential_id};
use crate::net::clock;

/// One for all rooms.
#[derive(Debug)]
pub struct Reception {
    tickets: Tickets,
    issuer: Issuer,
    capacity: usize,
    ping_interval: Duration,
    resume_window: Duration,
}

impl Reception {
    /// With the secret that signs tickets, and what ICE configurations are made of.
    pub fn new(settings: &settings::Signaling, secret: &Secret, issuer: Issuer) -> Self {
        Self {
            tickets: Tickets::new(secret),
            issuer,
            capacity: settings.room_capacity.get(),
            ping_interval: settings.ping_interval,
            resume_window: settings.resume_window,
        }
    }

    /// Whether somebody may join, as whom, and on which terms.
    pub(super) fn admit(
        &self,
        dialect: Dialect,
        member: Option<MemberId>,
    ) -> Result<(MemberId, Terms), Complaint<'static>> {
        let terms = match dialect {
            Dialect::Course => Terms::PLAIN,
            Dialect::Native => Terms {
                resumable: true,
                may_create: true,
                may_lock: true,
            },
        };
        let member = match member {
            Some(member) => member,
            None => MemberId::new(&format!("{:016x}", random()))
                .map_err(|wrong| Complaint::Name("uid", wrong))?,
        };
        Ok((member, terms))
    }

    /// What a ticket says, if it is good.
    pub(super) fn ticket(&self, text: &str) -> Result<Ticket, Complaint<'static>> {
        self.tickets
            .open(text, NAMESPACE, clock::unix_time())
            .ok_or(Complaint::Ticket)
    }

    /// After how long a client is to be given fresh credentials: in time for it to use them, and
    /// with some left for a client that is away just then.
    pub(super) fn renewal(&self) -> Duration {
        self.issuer.ttl / 4 * 3
    }

    /// What a client that has taken its seat is given. It reaches us as `host`.
    pub(super) fn gifts(&self, ticket: &Ticket, host: &str) -> Gifts {
        let now = clock::unix_time();
        let wishes = [ticket.room.as_str(), ticket.member.as_str()];
        let id = credential_id(wishes, random());
        Gifts {
            ice: self.issuer.issue(host, &id, now).for_browsers(),
            ticket: self
                .tickets
                .seal(ticket, now.saturating_add(self.issuer.ttl.as_secs())),
        }
    }

    /// The same as a dialect wants it.
    pub(super) fn welcome<'a>(&self, gifts: &'a Gifts) -> Welcome<'a> {
        Welcome {
            ticket: &gifts.ticket,
            ice: &gifts.ice,
            capacity: self.capacity,
            ping_interval: self.ping_interval,
            resume_window: self.resume_window,
        }
    }
}

/// What is made for one client.
#[derive(Debug)]
pub(super) struct Gifts {
    ice: Value,
    ticket: String,
}

/// Where seats are numbered from: anywhere, so that a ticket of an earlier process names none.
pub(super) fn random() -> u64 {
    let mut bytes = [0; 8];
    // It cannot fail where the TLS handshake that led here did not.
    let _ = aws_lc_rs::rand::fill(&mut bytes);
    u64::from_be_bytes(bytes)
}
