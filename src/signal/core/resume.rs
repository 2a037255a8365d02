//! Lost connections and returning clients: a seat is kept for a while, and who shows its ticket
//! takes it again and hears what it has missed.

use std::time::Instant;

use super::log::Missed;
use super::{
    Coming, ConnectionId, Delivery, Departure, Event, Lost, Payload, Refusal, RoomName, Rooms,
    SeatId, Ticket, delivery,
};

/// A seat that is kept.
#[derive(Debug)]
pub(super) struct Absence {
    until: Instant,
    room: RoomName,
    seat: SeatId,
}

impl<T: Payload> Rooms<T> {
    /// A connection is no more. If it was lost and its client can come back, its seat is kept.
    pub fn handle_disconnect(
        &mut self,
        connection: ConnectionId,
        departure: Departure,
        now: Instant,
    ) {
        let window = self.budget.limits().window;
        let log = self
            .member_mut(connection)
            .and_then(|member| Some((member.seat, member.log.as_mut()?)));
        match (log, departure) {
            (Some((seat, log)), Departure::Lost) if log.proven && !window.is_zero() => {
                let until = now + window;
                log.away = Some(until);
                self.part(connection, seat, until);
            }
            _ => self.vacate(connection),
        }
    }

    /// A connection comes with the ticket of a seat, having received `received` messages in it.
    ///
    /// The seat is its own again even if another connection holds it: that one is the client's
    /// own, broken without our having noticed. If the seat is no more, for instance since the process was
    /// started anew, this is a join under the same id.
    pub fn handle_resume(&mut self, connection: ConnectionId, ticket: Ticket, received: u64) {
        self.count(connection);
        let held = self
            .rooms
            .get_mut(&ticket.room)
            .and_then(|room| room.by_seat_mut(ticket.seat))
            .filter(|member| member.id == ticket.member && member.log.is_some())
            .map(|member| member.connection);
        match held {
            Some(holder) if holder == Some(connection) => {
                self.refuse(
                    connection,
                    ticket.room,
                    ticket.member,
                    Refusal::AlreadyJoined,
                );
            }
            Some(_) => {
                self.vacate(connection);
                self.take(connection, ticket, received);
            }
            None => {
                let Ticket {
                    room,
                    member,
                    terms,
                    ..
                } = ticket;
                self.admit(connection, room, member, terms, Coming::Back);
            }
        }
    }

    /// A client has received everything up to this number, and so its ticket.
    pub fn handle_acknowledge(&mut self, connection: ConnectionId, upto: u64) {
        let Some(name) = self.seats.get(&connection) else {
            return;
        };
        if let Some(log) = self
            .rooms
            .get_mut(name)
            .and_then(|room| room.by_connection_mut(connection))
            .and_then(|member| member.log.as_mut())
        {
            log.acknowledge(upto, &mut self.budget);
        }
    }

    /// When to call [`Rooms::handle_timeout`] next. May be earlier than there is something to do.
    pub fn poll_timeout(&self) -> Option<Instant> {
        self.absences.front().map(|absence| absence.until)
    }

    /// Frees the seats that were kept long enough.
    pub fn handle_timeout(&mut self, now: Instant) {
        while self
            .absences
            .front()
            .is_some_and(|absence| absence.until <= now)
        {
            let Some(absence) = self.absences.pop_front() else {
                return;
            };
            let away = self
                .rooms
                .get_mut(&absence.room)
                .and_then(|room| room.by_seat_mut(absence.seat))
                .and_then(|member| member.log.as_ref()?.away);
            // Taken again, and perhaps lost once more since, it is not this absence that counts.
            if away == Some(absence.until) {
                self.away -= 1;
                self.remove(absence.room, absence.seat);
            }
        }
    }

    /// Parts a seat from its connection and tells the others.
    fn part(&mut self, connection: ConnectionId, seat: SeatId, until: Instant) {
        let Some(name) = self.seats.remove(&connection) else {
            return;
        };
        let Some(room) = self.rooms.get_mut(&name) else {
            return;
        };
        let Some(member) = room.by_seat_mut(seat) else {
            return;
        };
        member.connection = None;
        let away = Event::Away {
            room: name.clone(),
            member: member.id.clone(),
        };
        for other in room.members_mut().filter(|other| other.seat != seat) {
            let number = other.record(&away, &mut self.budget);
            self.deliveries
                .extend(delivery(other.connection, &away, number));
        }
        self.away += 1;
        self.absences.push_back(Absence {
            until,
            room: name,
            seat,
        });
    }

    fn take(&mut self, connection: ConnectionId, mut ticket: Ticket, received: u64) {
        let Some(room) = self.rooms.get_mut(&ticket.room) else {
            return;
        };
        let Some(member) = room.by_seat_mut(ticket.seat) else {
            return;
        };
        let Some(log) = &mut member.log else {
            return;
        };
        let missed = log.resume(received, &mut self.budget);
        let heard = log.received;
        ticket.terms = member.terms;
        match member.connection.replace(connection) {
            Some(ghost) => {
                self.seats.remove(&ghost);
                self.deliveries.push_back(Delivery {
                    to: ghost,
                    event: Event::Superseded,
                    number: None,
                });
            }
            None => self.away -= 1,
        }
        self.seats.insert(connection, ticket.room.clone());
        self.counters.resumed += 1;
        let (lost, kept) = match missed {
            Missed::Kept(first, kept) => (None, (first..).zip(kept).collect()),
            Missed::Lost(sent) => {
                self.counters.resumed_with_loss += 1;
                let lost = Lost {
                    sent,
                    others: room.others(ticket.seat),
                    door: room.door,
                };
                (Some(lost), Vec::new())
            }
        };
        let back = Event::Back {
            room: ticket.room.clone(),
            member: ticket.member.clone(),
            lost: lost.is_some(),
        };
        let seat = ticket.seat;
        self.deliveries.push_back(Delivery {
            to: connection,
            event: Event::Resumed {
                ticket,
                received: heard,
                lost,
            },
            number: None,
        });
        for (number, event) in kept {
            self.deliveries.push_back(Delivery {
                to: connection,
                event,
                number: Some(number),
            });
        }
        for other in room.members_mut().filter(|other| other.seat != seat) {
            let number = other.record(&back, &mut self.budget);
            self.deliveries
                .extend(delivery(other.connection, &back, number));
        }
    }
}
