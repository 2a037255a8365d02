//! Allocate (RFC 8656 section 7): what is wished for, and which ports and sockets meet it.

use std::net::SocketAddr;
use std::time::Duration;

use crate::limit::ByteBucket;
use crate::turn::core::allocation::{Allocation, Extras, Relay};
use crate::turn::core::auth;
use crate::turn::core::host::{BindError, EndReason, Event, Host};
use crate::turn::core::icmp::IcmpLimit;
use crate::turn::core::pool::{ReservationToken, Wanted, index};
use crate::turn::core::quota::Exceeded;
use crate::turn::core::reply;
use crate::turn::core::server::{Action, Now, Origin, RelayId, Server, Transport};
use crate::turn::stun::address::Family;
use crate::turn::stun::{AttributeType, ErrorCode, Message};

use super::{Exchange, family_of, granted, lifetime};

/// RFC 8656 section 18.8, RFC 6062 section 5.1: protocol numbers of the relayed transport.
const UDP: u8 = 17;
const TCP: u8 = 6;

/// Ports tried when other programs sit in our range.
const BIND_ATTEMPTS: usize = 16;

impl Server {
    pub(super) fn allocate(
        &mut self,
        exchange: &mut Exchange<'_, '_>,
        host: &mut impl Host,
    ) -> Result<Action, ErrorCode> {
        let (now, origin) = (exchange.now, exchange.origin);
        if let Some((slot, existing)) = self.of_link(&origin.link, now.instant) {
            // RFC 8656 section 7.2: the same request again is answered again.
            if existing.transaction != exchange.request.transaction_id() {
                return Err(ErrorCode::AllocationMismatch);
            }
            if existing.username != exchange.auth.username {
                return Err(ErrorCode::WrongCredentials);
            }
            return Ok(self.allocated(slot, exchange));
        }
        if self.draining {
            return Err(ErrorCode::InsufficientCapacity);
        }
        let credentials = self.config.credentials.clone();
        if !credentials.may_allocate(exchange.auth, now.unix) {
            return Err(ErrorCode::Unauthenticated);
        }
        let wish = Wish::of(exchange.request, self.relayed_protocols(origin))?;
        // An expired allocation whose timer has not come up yet makes room now.
        if let Some(slot) = self.by_link.get(&origin.link).copied() {
            self.end(slot, EndReason::Expired, host);
        }

        let account = auth::account(&exchange.auth.username);
        host.pool(|pool| pool.quota.admit(account))
            .map_err(|exceeded| match exceeded {
                Exceeded::User => ErrorCode::AllocationQuotaReached,
                Exceeded::Total => ErrorCode::InsufficientCapacity,
            })?;
        let slot = self.vacant();
        let opened = self.open_relays(slot, &wish, now, host);
        let (relays, extras) = opened.inspect_err(|_| {
            host.pool(|pool| pool.quota.release(account));
        })?;
        let has_extras = extras.token.is_some() || extras.failed.is_some();

        let rate = self.config.max_bps_per_allocation;
        let bucket = || ByteBucket::new(rate, now.instant);
        let allocation = Allocation {
            origin: *origin,
            username: exchange.auth.username.clone(),
            relays,
            transaction: exchange.request.transaction_id(),
            extras: has_extras.then(|| Box::new(extras)),
            lifetime: wish.lifetime,
            expires: now.instant + wish.lifetime,
            permissions: Vec::new(),
            channels: Vec::new(),
            streams: (wish.protocol == Protocol::Tcp).then(Vec::new),
            rate: (rate > 0).then(|| Box::new([bucket(), bucket()])),
            icmp: IcmpLimit::new(now.instant),
            to_peers: Default::default(),
            to_client: Default::default(),
        };
        if let Some(relayed) = allocation.advertised() {
            host.event(Event::Allocated {
                slot,
                client: origin.client,
                transport: origin.transport,
                account,
                relayed,
            });
        }
        self.insert(slot, Box::new(allocation));
        Ok(self.allocated(slot, exchange))
    }

    /// The answer to Allocate, the first time and again.
    fn allocated(&self, slot: u32, exchange: &mut Exchange<'_, '_>) -> Action {
        let Some(allocation) = self.allocation(slot) else {
            return Action::Nothing;
        };
        let extras = allocation.extras.as_deref();
        let token = extras.and_then(|extras| extras.token);
        let failed = extras.and_then(|extras| extras.failed);
        let left = allocation.seconds_left(exchange.now.instant);
        let seal = Some((&exchange.auth.key, exchange.auth.seal));
        reply::success(exchange.request, exchange.answer, seal, |writer| {
            for relay in allocation.relays.iter().flatten() {
                writer.xor_address(AttributeType::XOR_RELAYED_ADDRESS, relay.advertised);
            }
            writer.u32(AttributeType::LIFETIME, left);
            if let Some(token) = token {
                writer.attribute(AttributeType::RESERVATION_TOKEN, &token);
            }
            writer.xor_address(AttributeType::XOR_MAPPED_ADDRESS, exchange.origin.mapped());
            if let Some((family, code)) = failed {
                let code = code.value();
                let value = [family.value(), 0, (code / 100) as u8, (code % 100) as u8];
                writer.attribute(AttributeType::ADDRESS_ERROR_CODE, &value);
            }
        })
    }

    fn relayed_protocols(&self, origin: &Origin) -> Tcp {
        match (&self.connections, origin.transport) {
            (None, _) => Tcp::Unsupported,
            (Some(_), Transport::Udp) => Tcp::BadRequest,
            (Some(_), Transport::Tcp | Transport::Tls) => Tcp::Allowed,
        }
    }

    fn open_relays(
        &self,
        slot: u32,
        wish: &Wish,
        now: Now,
        host: &mut impl Host,
    ) -> Result<([Option<Relay>; 2], Extras), ErrorCode> {
        let mut relays = [None, None];
        let mut extras = Extras {
            token: None,
            failed: None,
        };
        let first = match wish.reservation {
            Some(reserved) => self.open_reserved(slot, &reserved, now, host),
            None => {
                let wanted = match wish.even {
                    None => Wanted::Any,
                    Some(Even::Alone) => Wanted::Even,
                    Some(Even::WithNext) => {
                        let mut fresh = ReservationToken::default();
                        host.random(&mut fresh);
                        extras.token = Some(fresh);
                        Wanted::EvenAndNext(fresh)
                    }
                };
                self.open(slot, wish.protocol, wish.family, wanted, now, host)
            }
        };
        if wish.additional_v6 {
            // One of two will do (RFC 8656 section 7.2), whichever it is.
            match (
                first,
                self.open(slot, wish.protocol, Family::V6, Wanted::Any, now, host),
            ) {
                (Err(code), Err(_)) => return Err(code),
                (first, second) => {
                    let error = |family, relay: &Result<Relay, ErrorCode>| {
                        relay.err().map(|code| (family, code))
                    };
                    extras.failed =
                        error(Family::V4, &first).or_else(|| error(Family::V6, &second));
                    relays = [first.ok(), second.ok()];
                }
            }
        } else {
            let relay = first?;
            relays[index(Family::of(relay.advertised.ip()))] = Some(relay);
        }
        Ok((relays, extras))
    }

    fn open(
        &self,
        slot: u32,
        protocol: Protocol,
        family: Family,
        wanted: Wanted,
        now: Now,
        host: &mut impl Host,
    ) -> Result<Relay, ErrorCode> {
        let ip =
            self.config.advertised[index(family)].ok_or(ErrorCode::AddressFamilyNotSupported)?;
        let id = RelayId::new(slot, family);
        // Ports that other programs hold stay marked until the search is over, lest it find the
        // same one again.
        let mut held = Vec::new();
        let mut found = Err(ErrorCode::InsufficientCapacity);
        for _ in 0..BIND_ATTEMPTS {
            let mut random = [0; 4];
            host.random(&mut random);
            let random = u32::from_ne_bytes(random);
            let Some(port) = host.pool(|pool| pool.take(family, wanted, random, now.instant))
            else {
                break;
            };
            let opened = match protocol {
                Protocol::Udp => host.bind(id, family, port),
                Protocol::Tcp => host.listen(id, family, port),
            };
            match opened {
                Ok(()) => {
                    found = Ok(Relay {
                        id,
                        advertised: SocketAddr::new(ip, port),
                    });
                    break;
                }
                Err(error) => {
                    held.push(port);
                    if let Wanted::EvenAndNext(token) = wanted {
                        host.pool(|pool| pool.cancel(&token));
                    }
                    if error == BindError::Exhausted {
                        break;
                    }
                }
            }
        }
        for port in held {
            host.pool(|pool| pool.release(family, port));
        }
        found
    }

    fn open_reserved(
        &self,
        slot: u32,
        token: &ReservationToken,
        now: Now,
        host: &mut impl Host,
    ) -> Result<Relay, ErrorCode> {
        let (family, port) = host
            .pool(|pool| pool.redeem(token, now.instant))
            .ok_or(ErrorCode::InsufficientCapacity)?;
        let id = RelayId::new(slot, family);
        let ip = self.config.advertised[index(family)];
        match (ip, host.bind(id, family, port)) {
            (Some(ip), Ok(())) => Ok(Relay {
                id,
                advertised: SocketAddr::new(ip, port),
            }),
            _ => {
                host.pool(|pool| pool.release(family, port));
                Err(ErrorCode::InsufficientCapacity)
            }
        }
    }
}

/// What is relayed.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Protocol {
    /// Datagrams.
    Udp,
    /// Connections (RFC 6062).
    Tcp,
}

/// Whether REQUESTED-TRANSPORT may be TCP.
#[derive(Clone, Copy, PartialEq)]
enum Tcp {
    /// It may.
    Allowed,
    /// RFC 6062 section 5.1: not while the client itself speaks UDP.
    BadRequest,
    /// It is not served here.
    Unsupported,
}

/// What an Allocate asks for.
struct Wish {
    protocol: Protocol,
    lifetime: Duration,
    family: Family,
    additional_v6: bool,
    even: Option<Even>,
    reservation: Option<ReservationToken>,
}

/// EVEN-PORT and its R bit.
#[derive(Clone, Copy, PartialEq)]
enum Even {
    Alone,
    WithNext,
}

impl Wish {
    /// RFC 8656 section 7.2, steps 3 to 9.
    fn of(request: &Message<'_>, tcp: Tcp) -> Result<Self, ErrorCode> {
        let transport = request
            .u32(AttributeType::REQUESTED_TRANSPORT)
            .ok_or(ErrorCode::BadRequest)?;
        let protocol = match ((transport >> 24) as u8, tcp) {
            (UDP, _) => Protocol::Udp,
            (TCP, Tcp::Allowed) => Protocol::Tcp,
            (TCP, Tcp::BadRequest) => return Err(ErrorCode::BadRequest),
            _ => return Err(ErrorCode::UnsupportedTransport),
        };
        let requested = request.value(AttributeType::REQUESTED_ADDRESS_FAMILY);
        let additional = request
            .value(AttributeType::ADDITIONAL_ADDRESS_FAMILY)
            .or_else(|| request.value(AttributeType::DRAFT_ADDITIONAL_ADDRESS_FAMILY));
        let even = match request.value(AttributeType::EVEN_PORT) {
            Some(&[flags]) if flags & 0x80 != 0 => Some(Even::WithNext),
            Some(&[_]) => Some(Even::Alone),
            Some(_) => return Err(ErrorCode::BadRequest),
            None => None,
        };
        let reservation = match request.value(AttributeType::RESERVATION_TOKEN) {
            Some(token) => Some(token.try_into().map_err(|_| ErrorCode::BadRequest)?),
            None => None,
        };
        let contradicts = (reservation.is_some()
            && (even.is_some() || requested.is_some() || additional.is_some()))
            || (requested.is_some() && additional.is_some())
            || (additional.is_some() && even == Some(Even::WithNext))
            // RFC 6062 section 5.1; a second family came later than that.
            || (protocol == Protocol::Tcp
                && (even.is_some()
                    || reservation.is_some()
                    || additional.is_some()
                    || request.value(AttributeType::DONT_FRAGMENT).is_some()));
        if contradicts {
            return Err(ErrorCode::BadRequest);
        }
        let family = match requested {
            Some(value) => family_of(value)?,
            None => Family::V4,
        };
        let additional_v6 = match additional {
            Some(value) if family_of(value)? == Family::V6 => true,
            Some(_) => return Err(ErrorCode::BadRequest),
            None => false,
        };
        Ok(Self {
            protocol,
            lifetime: granted(lifetime(request)?.filter(|wanted| !wanted.is_zero())),
            family,
            additional_v6,
            even,
            reservation,
        })
    }
}
