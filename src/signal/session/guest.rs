//! What a session does for a client of a further dialect: it has a place in that dialect's own world
//! rather than a seat in a room.

use tokio::io::{AsyncRead, AsyncWrite};
use tracing::debug;

use super::Session;
use super::farewell::End;
use crate::net::clock;
use crate::signal::apprtc::query::Query;
use crate::signal::core::{Claim, RoomName};
use crate::signal::dialect::lobby::{self, Wish};
use crate::signal::dialect::native::Complaint;
use crate::signal::dialect::peerjs::{self, KEY};
use crate::signal::dialect::topics::{self, Topical};
use crate::signal::dialect::{Ask, Dialect, lower};
use crate::signal::guests::Place;
use crate::signal::guests::core::peerjs::{PeerId, Refusal};
use crate::signal::guests::core::topics::Only;
use crate::signal::hub::{Cut, Item};
use crate::signal::stats::Stats;

/// What a client is to a further dialect.
#[derive(Debug)]
pub(super) struct Guest {
    place: Place,
    /// The topic that its token is for.
    only: Option<Box<Only>>,
}

impl<S> Session<'_, S>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    /// Of some dialects it is known before the first frame who comes.
    pub(super) fn enter(&mut self) -> Result<(), End> {
        match self.visitor.dialect {
            Dialect::PeerJs => match self.enter_realm() {
                Ok(()) => Ok(()),
                Err(why) => self.turn_away(why),
            },
            Dialect::Topics => self.enter_topics(),
            _ => Ok(()),
        }
    }

    /// Does what a frame asks for, which is `text`.
    pub(super) fn ask(&mut self, ask: Ask, text: &str) -> Result<(), End> {
        match ask {
            Ask::PeerJs(message) => {
                let now = clock::now();
                let Some(guest) = &self.guest else {
                    return Ok(());
                };
                let heard = guest.place.act(|desk, connection, out| {
                    desk.realm.handle_message(connection, message, now, out)
                });
                self.count(heard);
            }
            Ask::Topics(topical) => return self.topical(topical),
            Ask::Lobby(wish) => return self.wish(wish, text),
        }
        Ok(())
    }

    /// A client in lower case gives up its seat, and is told so.
    pub(super) fn leave_lower(&mut self, claim: &Claim) {
        let own = self.own.take_if(|own| {
            claim.room.as_ref().is_none_or(|room| *room == own.room)
                && claim.member.as_ref().is_none_or(|id| *id == own.member)
        });
        let room = own.as_ref().map(|own| &own.room).or(claim.room.as_ref());
        let room = room.map(RoomName::as_str).unwrap_or_default();
        let told = lower::left(room, own.as_ref().map(|own| &own.member));
        self.connection.leave(claim);
        if let Some(told) = told {
            self.connection.answer(told.into());
        }
    }

    fn enter_realm(&mut self) -> Result<(), Option<String>> {
        let query = Query::parse(&self.visitor.query);
        let [Some(id), Some(token), Some(key)] = ["id", "token", "key"].map(|name| query.get(name))
        else {
            let lacking = "No id, token, or key supplied to websocket server";
            return Err(peerjs::error(lacking));
        };
        if key != KEY {
            return Err(peerjs::error("Invalid key provided"));
        }
        let id = PeerId::new(id).map_err(|wrong| peerjs::error(&format!("id {wrong}")))?;
        let reception = self.hub.reception();
        if let Err(why) = reception.vouch(Some(KEY), Some(id.as_str()), Some(token)) {
            Stats::add(&self.hub.stats().denied);
            return Err(peerjs::error(&why.text()));
        }
        let place = self.place();
        let entered =
            place.act(|desk, connection, out| desk.realm.handle_enter(connection, &id, token, out));
        match entered {
            Ok(()) => {
                self.guest = Some(Guest { place, only: None });
                Ok(())
            }
            Err(Refusal::Taken) => Err(peerjs::id_taken()),
            Err(Refusal::Full) => Err(peerjs::error(
                "Server has reached its concurrent user limit",
            )),
        }
    }

    fn enter_topics(&mut self) -> Result<(), End> {
        let only = self.only().map_err(End::Denied)?;
        let place = self.place();
        self.guest = Some(Guest { place, only });
        Ok(())
    }

    /// What the client's token is for, if it needs one.
    fn only(&self) -> Result<Option<Box<Only>>, Complaint> {
        let token = self.visitor.token.as_deref();
        let grant = self.hub.reception().vouch(None, None, token);
        let grant = grant.inspect_err(|_| Stats::add(&self.hub.stats().denied))?;
        Ok(grant.map(|grant| {
            Box::new(Only {
                topic: grant.room,
                may_create: grant.may_create,
            })
        }))
    }

    fn topical(&mut self, topical: Topical) -> Result<(), End> {
        if let (Topical::Subscribe(topics), Some(Guest { only: None, .. })) =
            (&topical, &self.guest)
        {
            // It may take a token since this client has come.
            let only = match self.only() {
                Ok(only) => only,
                Err(why) => {
                    let why = why.text();
                    let mut refusals = topics.iter().map(|topic| topics::refuse(topic, &why));
                    return refusals.try_for_each(|refusal| self.tell(refusal));
                }
            };
            if let Some(guest) = &mut self.guest {
                guest.only = only;
            }
        }
        let Some(Guest { place, only }) = &self.guest else {
            return Ok(());
        };
        let heard = place.act(|desk, connection, out| match topical {
            Topical::Subscribe(topics) => {
                let only = only.as_deref();
                let refused = desk.topics.handle_subscribe(connection, topics, only, out);
                if refused > 0 {
                    debug!(refused, "topics refused");
                }
                None
            }
            Topical::Unsubscribe(topics) => {
                desk.topics.handle_unsubscribe(connection, &topics);
                None
            }
            Topical::Publish(publication) => {
                Some(desk.topics.handle_publish(connection, &publication, out))
            }
        });
        if let Some(heard) = heard {
            self.count(heard);
        }
        Ok(())
    }

    fn wish(&mut self, wish: Wish, text: &str) -> Result<(), End> {
        let done = match wish {
            Wish::New { person, token } => {
                let done = self.enter_lobby(person, token.as_deref());
                done.map_err(|why| ("new".to_owned(), why))
            }
            Wish::Lacking { kind, what } => Err((kind, what)),
            wish => match &self.guest {
                None => Err((String::new(), "send new first".to_owned())),
                Some(Guest { place, .. }) => place.act(|desk, connection, out| match wish {
                    Wish::Carry { kind, from, to } => desk
                        .lobbies
                        .handle_carry(connection, &kind, from.as_deref(), &to, text, out)
                        .map_err(|why| (kind, why)),
                    Wish::Bye(session) => desk
                        .lobbies
                        .handle_bye(connection, &session, out)
                        .map_err(|why| ("bye".to_owned(), why)),
                    _ => {
                        desk.lobbies.handle_leave(connection, out);
                        Ok(())
                    }
                }),
            },
        };
        match done {
            Ok(()) => Ok(()),
            Err((request, reason)) => self.tell(lobby::error(&request, &reason)),
        }
    }

    fn enter_lobby(&mut self, person: lobby::Person, token: Option<&str>) -> Result<(), String> {
        let query = Query::parse(&self.visitor.query);
        let token = token.or(self.visitor.token.as_deref());
        let asked = query.get("room");
        let reception = self.hub.reception();
        let grant = match reception.vouch(asked, Some(person.id.as_str()), token) {
            Ok(grant) => grant,
            Err(why) => {
                Stats::add(&self.hub.stats().denied);
                return Err(why.text());
            }
        };
        let granted = grant.as_ref().map(|grant| grant.room.as_str());
        let room = asked.or(granted).unwrap_or_default();
        let room =
            RoomName::new(lobby::NAMESPACE, room).map_err(|wrong| format!("room {wrong}"))?;
        let may_create = grant.is_none_or(|grant| grant.may_create);
        if self.guest.is_none() {
            let place = self.place();
            self.guest = Some(Guest { place, only: None });
        }
        let Some(Guest { place, .. }) = &self.guest else {
            return Ok(());
        };
        let done = place.act(|desk, connection, out| {
            desk.lobbies
                .handle_new(connection, room, person, may_create, out)
        });
        done.map_err(str::to_owned)
    }

    fn place(&self) -> Place {
        let outbox = self.connection.shared_outbox();
        let client = self.visitor.peer;
        self.hub
            .guests()
            .welcome(self.connection.id(), outbox, client)
    }

    /// Says why, and nothing more.
    fn turn_away(&self, why: Option<String>) -> Result<(), End> {
        self.tell(why)?;
        self.connection.outbox().cut(Cut::Done);
        Ok(())
    }

    fn tell(&self, text: Option<String>) -> Result<(), End> {
        let Some(text) = text else {
            return Ok(());
        };
        let told = self.connection.outbox().push(Item::Text(text.into()));
        told.map_err(|_| End::TooSlow)
    }

    fn count(&self, heard: bool) {
        let stats = self.hub.stats();
        Stats::add(match heard {
            true => &stats.guests_relayed,
            false => &stats.guests_undeliverable,
        });
    }
}
