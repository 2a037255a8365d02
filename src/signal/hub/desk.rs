//! What the lock of the hub guards: the rooms, who is connected, and how much of the end has come.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Instant;

use tracing::debug;

use super::Gone;
use super::outbox::{Cut, Item, Outbox};
use crate::net::clock;
use crate::signal::core::{
    ConnectionId, Counters, Delivery, Departure, Event, Limits, Rooms, SeatId,
};
use crate::signal::frame::Text;
use crate::signal::reception;
use crate::signal::stats::Stats;
use crate::telemetry::log::Personal;
use crate::telemetry::repeats::{Repeated, note};

/// The rooms and their connections.
#[derive(Debug)]
pub(super) struct Desk {
    pub(super) rooms: Rooms<Text>,
    pub(super) connections: HashMap<ConnectionId, Known>,
    pub(super) phase: Phase,
    /// When the clock will be looked at.
    pub(super) alarm: Option<Instant>,
    published: Counters,
    stats: Arc<Stats>,
}

/// A connection that can be told things.
#[derive(Debug)]
pub(super) struct Known {
    pub(super) outbox: Arc<Outbox>,
    pub(super) client: SocketAddr,
    /// Its client can come back to its seat.
    pub(super) resumes: bool,
}

/// How much of the end has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Phase {
    Open,
    /// Nobody comes in, and who can go elsewhere is sent there.
    Leaving,
    Ending,
    Over,
}

impl Desk {
    pub(super) fn new(limits: Limits, stats: Arc<Stats>) -> Self {
        Self {
            rooms: Rooms::new(limits, SeatId::new(reception::random())),
            connections: HashMap::new(),
            phase: Phase::Open,
            alarm: None,
            published: Counters::default(),
            stats,
        }
    }

    pub(super) fn connect(&mut self, id: ConnectionId, known: Known) -> Result<(), Gone> {
        match self.phase {
            Phase::Open => {}
            // It learns it in its own words.
            Phase::Leaving | Phase::Ending => known.outbox.cut(Cut::Restart),
            Phase::Over => return Err(Gone),
        }
        self.connections.insert(id, known);
        Ok(())
    }

    pub(super) fn disconnect(&mut self, id: ConnectionId, departure: Departure) {
        self.connections.remove(&id);
        self.rooms.handle_disconnect(id, departure, clock::now());
    }

    /// Sends everybody away. All at once, before the first of them can disconnect: a call survives
    /// the loss of its signaling, but a client that hears `peer-leave` ends it, and nobody has left.
    pub(super) fn restart(&mut self) {
        self.phase = Phase::Ending;
        for known in self.connections.values() {
            known.outbox.cut(Cut::Restart);
        }
    }

    /// Sends away those who find their seats again wherever they come back. The others would lose
    /// theirs: they stay until their call is over or the end has come.
    pub(super) fn send_away(&mut self) {
        self.phase = Phase::Leaving;
        for known in self.connections.values().filter(|known| known.resumes) {
            known.outbox.cut(Cut::Restart);
        }
    }

    /// It may be time for something.
    pub(super) fn wake(&mut self) {
        self.rooms.handle_timeout(clock::now());
        self.alarm = self.rooms.poll_timeout();
    }

    /// Whether the end has come and everybody is gone.
    pub(super) fn is_deserted(&self) -> bool {
        self.phase == Phase::Ending && self.connections.is_empty()
    }

    /// Rooms in which seats were kept are over too.
    pub(super) fn end(&mut self) {
        self.phase = Phase::Over;
        self.rooms.end_all();
    }

    /// Whether the clock has to be looked at before the time that was thought. Sets that time.
    pub(super) fn is_sooner(&mut self) -> bool {
        let next = self.rooms.poll_timeout();
        let is_sooner = match (next, self.alarm) {
            (Some(next), Some(alarm)) => next < alarm,
            (next, None) => next.is_some(),
            (None, Some(_)) => false,
        };
        if is_sooner {
            self.alarm = next;
        }
        is_sooner
    }

    /// Tells everybody what has happened.
    pub(super) fn deliver(&mut self) {
        while let Some(Delivery { to, event, number }) = self.rooms.poll_delivery() {
            match &event {
                Event::Joined { ticket, .. } => {
                    debug!(connection = to.number(), room = %Personal(&ticket.room), "joined");
                }
                Event::Resumed { ticket, .. } => {
                    debug!(connection = to.number(), room = %Personal(&ticket.room), "resumed");
                }
                Event::Refused { why, .. } => {
                    debug!(connection = to.number(), %why, "refused");
                    if let Some(known) = self.connections.get(&to) {
                        note(Repeated::RefusedJoin, known.client.ip());
                    }
                }
                _ => {}
            }
            let Some(Known { outbox, .. }) = self.connections.get(&to) else {
                continue;
            };
            if event == Event::Superseded {
                outbox.cut(Cut::Superseded);
            } else {
                // If it runs over, that has woken its session, which will disconnect.
                let _ = outbox.push(Item::Event(event, number));
            }
        }
    }

    /// Shows the numbers.
    pub(super) fn publish(&mut self) {
        let stats = &self.stats;
        Stats::set(&stats.connections, self.connections.len() as u64);
        Stats::set(&stats.rooms, self.rooms.rooms() as u64);
        Stats::set(&stats.members, self.rooms.members() as u64);
        Stats::set(&stats.away, self.rooms.away() as u64);
        let counters = self.rooms.counters();
        if counters != self.published {
            self.published = counters;
            Stats::set(&stats.joined, counters.joined);
            for (shown, counted) in stats.refused.iter().zip(counters.refused) {
                Stats::set(shown, counted);
            }
            Stats::set(&stats.relayed, counters.relayed);
            Stats::set(&stats.undeliverable, counters.undeliverable);
            Stats::set(&stats.resumed, counters.resumed);
            Stats::set(&stats.resumed_with_loss, counters.resumed_with_loss);
        }
    }
}
