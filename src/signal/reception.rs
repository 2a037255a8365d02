//! What a newcomer is asked and given: whether it may come in, its ticket, its ICE configuration.
//!
//! The rules are in [`super::core`], the words in [`super::dialect`]; here they meet keys, the
//! clock and random numbers.

use std::sync::Arc;
use std::time::Duration;

use serde_json::Value;

use super::access::Grant;
use super::core::{MemberId, RoomName, Terms, Ticket};
use super::dialect::native::{Complaint, NAMESPACE};
use super::dialect::{Dialect, Welcome};
use super::keyring::Keyring;
use super::ticket::Tickets;
use crate::config::{Secret, settings};
use crate::ice::{Issuer, credential_id};
use crate::net::clock;

/// One for all rooms.
#[derive(Debug)]
pub struct Reception {
    tickets: Tickets,
    /// What signs them.
    secret: Secret,
    issuer: Issuer,
    /// Of tokens, if joining needs one.
    keyring: Option<Arc<Keyring>>,
    capacity: usize,
    ping_interval: Duration,
    resume_window: Duration,
}

impl Reception {
    /// With the secret that signs tickets, what ICE configurations are made of, and the keys of
    /// tokens if joining needs one.
    pub fn new(
        settings: &settings::Signaling,
        secret: &Secret,
        issuer: Issuer,
        keyring: Option<Arc<Keyring>>,
    ) -> Self {
        Self {
            tickets: Tickets::new(secret),
            secret: secret.clone(),
            issuer,
            keyring,
            capacity: settings.room_capacity.get(),
            ping_interval: settings.ping_interval,
            resume_window: settings.resume_window,
        }
    }

    /// Whether whoever has this token, or none, may join some room, and so have credentials.
    pub fn knows(&self, token: Option<&str>) -> bool {
        self.grant(token).is_ok()
    }

    /// Whether whoever has this token, or none, may be in this room of AppRTC, whose clients have
    /// no say in their id; and be the first there, if nobody `is_there`.
    pub fn admits(&self, room: &str, is_there: bool, token: Option<&str>) -> bool {
        match self.grant(token) {
            Ok(Some(grant)) => grant.room.as_str() == room && (is_there || grant.may_create),
            Ok(None) => true,
            Err(_) => false,
        }
    }

    /// What whoever has this token, or none, may do in a dialect that is no matter of rooms, under this
    /// id. Nothing is said where no token is needed.
    pub(super) fn vouch(
        &self,
        room: Option<&str>,
        id: Option<&str>,
        token: Option<&str>,
    ) -> Result<Option<Grant>, Complaint> {
        let Some(grant) = self.grant(token)? else {
            return Ok(None);
        };
        if room.is_some_and(|room| room != grant.room.as_str()) {
            return Err(Complaint::TokenFor("room"));
        }
        if !agrees(grant.user.as_ref().map(MemberId::as_str), id) {
            return Err(Complaint::TokenFor("user"));
        }
        Ok(Some(grant))
    }

    /// For what else is to be signed here.
    pub(super) fn secret(&self) -> &Secret {
        &self.secret
    }

    /// Whether somebody may join `room`, as whom, and on which terms.
    pub(super) fn admit(
        &self,
        dialect: Dialect,
        room: &RoomName,
        member: Option<MemberId>,
        token: Option<&str>,
    ) -> Result<(MemberId, Terms), Complaint> {
        let grant = self.grant(token)?;
        if let Some(grant) = &grant {
            // A token says nothing of dialects: its room is that of this name in each.
            if grant.room.as_str() != room.as_str() {
                return Err(Complaint::TokenFor("room"));
            }
            let user = grant.user.as_ref().map(MemberId::as_str);
            if !agrees(user, member.as_ref().map(MemberId::as_str)) {
                return Err(Complaint::TokenFor("user"));
            }
        }
        let (may_create, may_lock) = match &grant {
            Some(grant) => (grant.may_create, grant.may_lock),
            None => (true, dialect.resumes()),
        };
        let member = match member.or_else(|| grant?.user) {
            Some(member) => member,
            None => MemberId::new(&format!("{:016x}", random()))
                .map_err(|wrong| Complaint::Name("uid", wrong))?,
        };
        let terms = Terms {
            resumable: dialect.resumes(),
            may_create,
            may_lock,
        };
        Ok((member, terms))
    }

    /// What a token allows; nothing is said where none is needed.
    fn grant(&self, token: Option<&str>) -> Result<Option<Grant>, Complaint> {
        let Some(keyring) = &self.keyring else {
            return Ok(None);
        };
        let token = token.ok_or(Complaint::TokenRequired)?;
        let grant = keyring.keys().verify(token, NAMESPACE, clock::unix_time());
        grant.map(Some).map_err(Complaint::Token)
    }

    /// What a ticket says, if it is good.
    pub(super) fn ticket(&self, text: &str) -> Result<Ticket, Complaint> {
        self.tickets
            .open(text, NAMESPACE, clock::unix_time())
            .ok_or(Complaint::Ticket)
    }

    /// After how long a client is to be given fresh credentials: in time for it to use them, and
    /// with some left for a client that is away just then.
    pub(super) fn renewal(&self) -> Duration {
        (self.issuer.ttl / 4 * 3).max(SOONEST)
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

/// Whether a token's user may go by this id: their own, or `user:` and anything, for several devices.
fn agrees(user: Option<&str>, member: Option<&str>) -> bool {
    let (Some(user), Some(member)) = (user, member) else {
        return true;
    };
    let rest = member.strip_prefix(user);
    rest.is_some_and(|rest| rest.is_empty() || rest.starts_with(':'))
}

/// However short the operator's credentials live.
const SOONEST: Duration = Duration::from_secs(1);

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
