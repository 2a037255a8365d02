//! Allocations as logs and operators know them: each has a name of its own and a span, a line when
//! it ends, and can be listed and ended by whoever holds a [`SessionTable`].
//!
//! Nothing here is touched by a relayed packet. A question to a worker is a letter in its mailbox;
//! whoever asks waits for the answer no longer than [`PATIENCE`].

use std::fmt;
use std::net::SocketAddr;
use std::str::FromStr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use aws_lc_rs::rand;
use tokio::sync::oneshot;
use tracing::Span;

use crate::net::clock;
use crate::telemetry::log::{self, Client};
use crate::turn::core::{EndReason, Event, Server, Traffic, Transport};

use super::mailbox::{Mail, Mailbox};
use super::sockets::Sockets;

/// How long the workers together may take to answer. Each is asked between two rounds of packets.
const PATIENCE: Duration = Duration::from_secs(2);

/// Names an allocation among all that this process ever makes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SessionId {
    worker: u16,
    slot: u32,
    /// Tells it from earlier ones in the same place; begins anywhere, so that a name of an earlier
    /// process means nothing in this one.
    number: u32,
}

impl fmt::Display for SessionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "a{}-{}-{:08x}", self.worker, self.slot, self.number)
    }
}

/// Not the name of an allocation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not the name of an allocation")]
pub struct NotAnId;

impl FromStr for SessionId {
    type Err = NotAnId;

    fn from_str(text: &str) -> Result<Self, NotAnId> {
        let mut parts = text.strip_prefix('a').ok_or(NotAnId)?.split('-');
        let mut next = |radix| {
            let part = parts.next().filter(|part| !part.starts_with('+'));
            part.and_then(|part| u32::from_str_radix(part, radix).ok())
                .ok_or(NotAnId)
        };
        let (worker, slot, number) = (next(10)?, next(10)?, next(16)?);
        let worker = u16::try_from(worker).map_err(|_| NotAnId)?;
        match parts.next() {
            None => Ok(Self {
                worker,
                slot,
                number,
            }),
            Some(_) => Err(NotAnId),
        }
    }
}

/// The names and spans of one worker's allocations.
pub(super) struct Sessions {
    worker: u16,
    next: u32,
    /// By slot.
    open: Vec<Option<Open>>,
}

struct Open {
    number: u32,
    since: Instant,
    span: Span,
}

impl Sessions {
    pub(super) fn new(worker: u16) -> Self {
        let mut start = [0; 4];
        // Where it cannot be had, names are merely guessable, which harms nobody.
        let _ = rand::fill(&mut start);
        Self {
            worker,
            next: u32::from_ne_bytes(start),
            open: Vec::new(),
        }
    }

    fn id(&self, slot: u32, number: u32) -> SessionId {
        SessionId {
            worker: self.worker,
            slot,
            number,
        }
    }

    fn at(&self, slot: u32) -> Option<&Open> {
        self.open.get(slot as usize)?.as_ref()
    }

    /// The span of an allocation.
    pub(super) fn span(&self, slot: u32) -> Span {
        self.at(slot)
            .map_or_else(Span::none, |open| open.span.clone())
    }

    /// Takes note of what the core says about an allocation's life.
    pub(super) fn event(&mut self, event: &Event<'_>) {
        match event {
            Event::Allocated {
                slot,
                client,
                transport,
                relayed,
                ..
            } => self.begin(*slot, *client, *transport, *relayed),
            Event::Ended {
                slot,
                client,
                transport,
                account,
                relayed,
                reason,
                to_peers,
                to_client,
            } => {
                let Some(open) = self.open.get_mut(*slot as usize).and_then(Option::take) else {
                    return;
                };
                let lasted = clock::now().saturating_duration_since(open.since);
                let user = (!log::is_private()).then(|| String::from_utf8_lossy(account));
                // It stands alone: whoever collects these lines needs no other.
                tracing::info!(
                    target: "callbox::session",
                    parent: None,
                    allocation = %self.id(*slot, open.number),
                    client = %Client(*client),
                    transport = transport.name(),
                    port = relayed.port(),
                    reason = reason.name(),
                    seconds = lasted.as_secs_f64(),
                    sent_packets = to_peers.packets,
                    sent_bytes = to_peers.bytes,
                    received_packets = to_client.packets,
                    received_bytes = to_client.bytes,
                    user = user.as_deref(),
                    "relay ended"
                );
            }
        }
    }

    fn begin(&mut self, slot: u32, client: SocketAddr, transport: Transport, relayed: SocketAddr) {
        let number = self.next;
        self.next = number.wrapping_add(1);
        let span = tracing::info_span!(
            parent: None,
            "allocation",
            id = %self.id(slot, number),
            client = %Client(client),
        );
        span.in_scope(|| {
            tracing::info!(
                transport = transport.name(),
                port = relayed.port(),
                "relay allocated"
            );
        });
        let at = slot as usize;
        if self.open.len() <= at {
            self.open.resize_with(at + 1, || None);
        }
        if let Some(place) = self.open.get_mut(at) {
            *place = Some(Open {
                number,
                since: clock::now(),
                span,
            });
        }
    }

    /// Answers a question.
    pub(super) fn list(&self, core: &Server, asked: &List, now: Instant) -> Vec<Session> {
        core.summaries(asked.from)
            .filter_map(|summary| {
                let open = self.at(summary.slot)?;
                let name = String::from_utf8_lossy(summary.account).into_owned();
                Some(Session {
                    id: self.id(summary.slot, open.number),
                    client: Client(summary.client).to_string(),
                    transport: summary.transport,
                    ports: summary.relayed.map(|relay| relay.map(|relay| relay.port())),
                    age: now.saturating_duration_since(open.since),
                    expires_in: summary.expires.saturating_duration_since(now),
                    permissions: summary.permissions,
                    channels: summary.channels,
                    to_peers: summary.to_peers,
                    to_client: summary.to_client,
                    user: log::personal(name),
                })
            })
            .take(asked.limit)
            .collect()
    }

    /// Whether this is still the one of that name.
    fn is(&self, id: SessionId) -> bool {
        self.at(id.slot)
            .is_some_and(|open| open.number == id.number)
    }
}

/// Ends the allocation of that name. False: there is none, any more or at all.
pub(super) fn end(core: &mut Server, sockets: &mut Sockets, id: SessionId) -> bool {
    let known = sockets.sessions.is(id);
    if known {
        core.end_allocation(id.slot, EndReason::Operator, sockets);
    }
    known
}

/// Which allocations somebody wants to see.
#[derive(Clone, Copy, Debug)]
pub(super) struct List {
    /// From this slot on.
    from: u32,
    limit: usize,
}

/// An allocation at one moment.
#[derive(Clone, Debug)]
pub struct Session {
    /// Its name.
    pub id: SessionId,
    /// The client's address as the log shows it.
    pub client: String,
    /// How the client speaks to us.
    pub transport: Transport,
    /// Relay ports, IPv4 and IPv6.
    pub ports: [Option<u16>; 2],
    /// How long it has been there.
    pub age: Duration,
    /// When it ends unless it is refreshed.
    pub expires_in: Duration,
    /// Peers that may send to it.
    pub permissions: usize,
    /// Channels bound.
    pub channels: usize,
    /// From the client to peers.
    pub to_peers: Traffic,
    /// From peers to the client.
    pub to_client: Traffic,
    /// The part of the user name by which quotas count, unless the log keeps that to itself.
    pub user: Option<String>,
}

/// A worker did not answer in time, or has no room for the question.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a TURN worker is too busy to answer")]
pub struct Busy;

/// The allocations of all workers, for whoever may see and end them.
#[derive(Clone, Debug)]
pub struct SessionTable {
    mailboxes: Arc<[Mailbox]>,
}

/// Where a list goes on: worker and slot.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Place {
    /// The worker.
    pub worker: u16,
    /// The first slot that has not been seen.
    pub slot: u32,
}

impl SessionTable {
    pub(super) fn new(mailboxes: Arc<[Mailbox]>) -> Self {
        Self { mailboxes }
    }

    /// At most `limit` allocations from a place on, and where the rest is, if there is one.
    pub async fn list(
        &self,
        from: Place,
        limit: usize,
    ) -> Result<(Vec<Session>, Option<Place>), Busy> {
        let deadline = clock::now() + PATIENCE;
        let mut found = Vec::new();
        let mut place = from;
        while let Some(mailbox) = self.mailboxes.get(usize::from(place.worker)) {
            let left = limit - found.len();
            if left == 0 {
                return Ok((found, Some(place)));
            }
            let asked = List {
                from: place.slot,
                limit: left,
            };
            let page = ask(mailbox, deadline, |reply| Mail::List(asked, reply)).await?;
            let full = page.len() == left;
            let last = page.last().map(|session| session.id.slot);
            found.extend(page);
            place = match last {
                Some(last) if full => Place {
                    slot: last.saturating_add(1),
                    ..place
                },
                _ => Place {
                    worker: place.worker + 1,
                    slot: 0,
                },
            };
        }
        Ok((found, None))
    }

    /// Ends an allocation. False: there is none of that name.
    pub async fn end(&self, id: SessionId) -> Result<bool, Busy> {
        match self.mailboxes.get(usize::from(id.worker)) {
            Some(mailbox) => {
                let deadline = clock::now() + PATIENCE;
                ask(mailbox, deadline, |reply| Mail::End(id, reply)).await
            }
            None => Ok(false),
        }
    }
}

async fn ask<T>(
    mailbox: &Mailbox,
    deadline: Instant,
    question: impl FnOnce(oneshot::Sender<T>) -> Mail,
) -> Result<T, Busy> {
    let (reply, answer) = oneshot::channel();
    if !mailbox.send(question(reply)) {
        return Err(Busy);
    }
    match tokio::time::timeout_at(deadline.into(), answer).await {
        Ok(Ok(answer)) => Ok(answer),
        Ok(Err(_)) | Err(_) => Err(Busy),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_read_as_it_is_written_and_in_no_other_way() {
        let id = SessionId {
            worker: 3,
            slot: 70_000,
            number: 0xABC,
        };
        assert_eq!(id.to_string(), "a3-70000-00000abc");
        assert_eq!(id.to_string().parse(), Ok(id));
        for wrong in [
            "",
            "a",
            "3-7-1",
            "a3-7",
            "a3-7-1-1",
            "a70000-1-1",
            "a+3-7-1",
            "a3-7-123456789",
            "r12",
            "a3-7-\u{661}",
        ] {
            assert_eq!(wrong.parse::<SessionId>(), Err(NotAnId), "{wrong}");
        }
    }
}
