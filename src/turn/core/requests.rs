//! Requests: Binding, Allocate, Refresh, CreatePermission, ChannelBind
//! (RFC 8489 section 6.3, RFC 8656 sections 7 to 12).

use std::net::SocketAddr;
use std::time::Duration;

use crate::limit::ByteBucket;
use crate::turn::channel::ChannelNumber;
use crate::turn::stun::address::{self, Family};
use crate::turn::stun::message::Fingerprint;
use crate::turn::stun::{AttributeType, ErrorCode, Message, Method};

use super::allocation::{Allocation, ChannelError, Extras, MAX_PERMISSIONS, Reach, Relay};
use super::auth::{Authenticated, PASSWORD_ALGORITHMS, Refusal};
use super::host::{BindError, EndReason, Event, Host};
use super::nonce::Form;
use super::policy::Verdict;
use super::pool::{ReservationToken, Wanted, index};
use super::quota::Exceeded;
use super::reply;
use super::server::{
    Action, DEFAULT_LIFETIME, MAX_LIFETIME, Now, Origin, RelayId, Server, Transport,
};

/// RFC 8656 section 14: the protocol number of UDP.
const UDP: u8 = 17;

/// Ports tried when other programs sit in our range.
const BIND_ATTEMPTS: usize = 16;

/// An unauthenticated answer over UDP is at most this many times its request.
const MAX_AMPLIFICATION: usize = 3;

/// One authenticated request and where its answer goes.
struct Exchange<'a, 'm> {
    now: Now,
    origin: &'a Origin,
    request: &'a Message<'m>,
    auth: &'a Authenticated,
    answer: &'a mut [u8],
}

impl Exchange<'_, '_> {
    /// Success, and nothing to add.
    fn done(&mut self) -> Action {
        let seal = Some((&self.auth.key, self.auth.seal));
        reply::success(self.request, self.answer, seal, |_| {})
    }
}

impl Server {
    pub(super) fn request(
        &mut self,
        now: Now,
        origin: &Origin,
        request: &Message<'_>,
        answer: &mut [u8],
        host: &mut impl Host,
    ) -> Action {
        if request.fingerprint() == Fingerprint::Invalid {
            return self.malformed();
        }
        match request.method() {
            Method::BINDING => return self.binding(now, origin, request, answer),
            Method::ALLOCATE
            | Method::REFRESH
            | Method::CREATE_PERMISSION
            | Method::CHANNEL_BIND => {}
            // RFC 8489 section 6.3: no method of ours, or not one to be requested: no answer.
            _ => return self.malformed(),
        }
        let owner = self
            .of_link(&origin.link, now.instant)
            .map(|(_, allocation)| &*allocation.username);
        let credentials = self.config.credentials.clone();
        let auth = match credentials.check(request, origin, now, owner) {
            Ok(auth) => auth,
            Err(refusal) => return self.challenge(now, origin, request, refusal, answer),
        };
        let mut exchange = Exchange {
            now,
            origin,
            request,
            auth: &auth,
            answer,
        };
        if let Some(unknown) = Unknown::of(request) {
            self.stats.errors += 1;
            let seal = Some((&auth.key, auth.seal));
            return unknown.refuse(request, exchange.answer, seal);
        }
        let outcome = match request.method() {
            Method::ALLOCATE => self.allocate(&mut exchange, host),
            Method::REFRESH => self.refresh(&mut exchange, host),
            Method::CREATE_PERMISSION => self.create_permission(&mut exchange),
            _ => self.channel_bind(&mut exchange),
        };
        match outcome {
            Ok(action) => {
                self.stats.successes += 1;
                action
            }
            // A credential that is over: the client is told what it would be told without one.
            Err(ErrorCode::Unauthenticated) => self.challenge(
                now,
                origin,
                request,
                Refusal::Unauthenticated,
                exchange.answer,
            ),
            Err(code) => {
                self.stats.errors += 1;
                let seal = Some((&auth.key, auth.seal));
                reply::error(request, code, exchange.answer, seal, |_| {})
            }
        }
    }

    fn binding(
        &mut self,
        now: Now,
        origin: &Origin,
        request: &Message<'_>,
        answer: &mut [u8],
    ) -> Action {
        if !self.may_answer(now, origin) {
            return Action::Nothing;
        }
        if let Some(unknown) = Unknown::of(request) {
            self.stats.errors += 1;
            return unknown.refuse(request, answer, None);
        }
        self.stats.bindings += 1;
        reply::success(request, answer, None, |writer| {
            writer.xor_address(AttributeType::XOR_MAPPED_ADDRESS, origin.client);
        })
    }

    /// 401, 438 or 400 for somebody who has proved nothing, within the limits of
    /// [`MAX_AMPLIFICATION`] and of the prefix's tokens.
    fn challenge(
        &mut self,
        now: Now,
        origin: &Origin,
        request: &Message<'_>,
        refusal: Refusal,
        answer: &mut [u8],
    ) -> Action {
        if refusal == Refusal::BadRequest {
            return self.refuse_bare(now, origin, request, answer);
        }
        if !self.may_answer(now, origin) {
            return Action::Nothing;
        }
        self.stats.challenges += 1;
        let limit = match origin.transport {
            Transport::Udp => MAX_AMPLIFICATION * request.as_bytes().len(),
            // An address that finished a handshake is not forged.
            Transport::Tcp | Transport::Tls => usize::MAX,
        };
        let credentials = self.config.credentials.clone();
        for form in [Form::Announcing, Form::Plain] {
            let nonce = credentials
                .nonces()
                .make(origin.client.ip(), now.unix, form);
            let action = reply::error(request, refusal.code(), answer, None, |writer| {
                writer.attribute(AttributeType::REALM, credentials.realm());
                writer.attribute(AttributeType::NONCE, nonce.as_bytes());
                if form == Form::Announcing {
                    writer.attribute(AttributeType::PASSWORD_ALGORITHMS, &PASSWORD_ALGORITHMS);
                }
            });
            if matches!(action, Action::Answer(len) if len <= limit) {
                return action;
            }
        }
        reply::error(request, ErrorCode::BadRequest, answer, None, |_| {})
    }

    /// 400 and nothing else.
    fn refuse_bare(
        &mut self,
        now: Now,
        origin: &Origin,
        request: &Message<'_>,
        answer: &mut [u8],
    ) -> Action {
        if !self.may_answer(now, origin) {
            return Action::Nothing;
        }
        self.stats.errors += 1;
        reply::error(request, ErrorCode::BadRequest, answer, None, |_| {})
    }

    fn may_answer(&mut self, now: Now, origin: &Origin) -> bool {
        let may = self.limiter.allow(origin.client.ip(), now.instant);
        if !may {
            self.stats.unanswered += 1;
        }
        may
    }

    fn allocate(
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
        if !credentials.may_allocate(&exchange.auth.username, now.unix) {
            return Err(ErrorCode::Unauthenticated);
        }
        let wish = Wish::of(exchange.request)?;
        // An expired allocation whose timer has not come up yet makes room now.
        if let Some(slot) = self.by_link.get(&origin.link).copied() {
            self.end(slot, EndReason::Expired, host);
        }

        let account = credentials.account(&exchange.auth.username);
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
            rate: (rate > 0).then(|| Box::new([bucket(), bucket()])),
            to_peers: Default::default(),
            to_client: Default::default(),
        };
        if let Some(relayed) = allocation.advertised() {
            host.event(Event::Allocated {
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
            writer.xor_address(AttributeType::XOR_MAPPED_ADDRESS, exchange.origin.client);
            if let Some((family, code)) = failed {
                let code = code.value();
                let value = [family.value(), 0, (code / 100) as u8, (code % 100) as u8];
                writer.attribute(AttributeType::ADDRESS_ERROR_CODE, &value);
            }
        })
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
                self.open(slot, wish.family, wanted, now, host)
            }
        };
        if wish.additional_v6 {
            // One of two will do (RFC 8656 section 7.2), whichever it is.
            match (first, self.open(slot, Family::V6, Wanted::Any, now, host)) {
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
            match host.bind(id, family, port) {
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

    fn refresh(
        &mut self,
        exchange: &mut Exchange<'_, '_>,
        host: &mut impl Host,
    ) -> Result<Action, ErrorCode> {
        let slot = self.owned(exchange)?;
        let request = exchange.request;
        let family = match request.value(AttributeType::REQUESTED_ADDRESS_FAMILY) {
            Some(value) => Some(family_of(value)?),
            None => None,
        };
        let wanted = lifetime(request)?;
        let now = exchange.now.instant;
        let Some(allocation) = self.allocation_mut(slot) else {
            return Err(ErrorCode::AllocationMismatch);
        };
        if family.is_some_and(|family| allocation.relay(family).is_none()) {
            return Err(ErrorCode::PeerAddressFamilyMismatch);
        }
        let granted = match wanted {
            Some(Duration::ZERO) => {
                let both = allocation.relays.iter().flatten().count() == 2;
                match family {
                    Some(family) if both => {
                        let relay = allocation.relays[index(family)].take();
                        if let Some(relay) = relay {
                            self.close_relay(relay, host);
                        }
                    }
                    _ => self.end(slot, EndReason::Released, host),
                }
                Duration::ZERO
            }
            wanted => {
                let granted = granted(wanted);
                let shortened = now + granted < allocation.expires;
                allocation.expires = now + granted;
                allocation.lifetime = granted;
                if shortened {
                    self.reschedule(slot, now + granted);
                }
                granted
            }
        };
        let seal = Some((&exchange.auth.key, exchange.auth.seal));
        Ok(reply::success(request, exchange.answer, seal, |writer| {
            writer.u32(AttributeType::LIFETIME, granted.as_secs() as u32);
        }))
    }

    fn create_permission(&mut self, exchange: &mut Exchange<'_, '_>) -> Result<Action, ErrorCode> {
        let slot = self.owned(exchange)?;
        let request = exchange.request;
        // All or nothing (RFC 8656 section 10.2), hence a first pass that changes nothing.
        let mut peers = Vec::new();
        for attribute in request.attributes() {
            if attribute.kind != AttributeType::XOR_PEER_ADDRESS {
                continue;
            }
            let peer = address::decode_xor(attribute.value, request.transaction_id())
                .ok_or(ErrorCode::BadRequest)?;
            let ip = self.canonical(peer).ip();
            self.check_family(slot, ip)?;
            let reach = match self.config.policy.address(ip) {
                Verdict::Allowed => Reach::Anywhere,
                Verdict::InternalOnly => Reach::InternalOnly,
                Verdict::Denied(_) => return Err(self.forbid()),
            };
            if peers.contains(&(ip, reach)) {
                continue;
            }
            if peers.len() >= MAX_PERMISSIONS {
                return Err(ErrorCode::InsufficientCapacity);
            }
            peers.push((ip, reach));
        }
        if peers.is_empty() {
            return Err(ErrorCode::BadRequest);
        }
        let now = exchange.now.instant;
        let allocation = self
            .allocation_mut(slot)
            .ok_or(ErrorCode::AllocationMismatch)?;
        if !allocation.has_room_for(&peers, now) {
            return Err(ErrorCode::InsufficientCapacity);
        }
        for (peer, reach) in peers {
            allocation.permit(peer, reach, now);
        }
        Ok(exchange.done())
    }

    fn channel_bind(&mut self, exchange: &mut Exchange<'_, '_>) -> Result<Action, ErrorCode> {
        let slot = self.owned(exchange)?;
        let request = exchange.request;
        let number = request
            .u32(AttributeType::CHANNEL_NUMBER)
            .and_then(|value| ChannelNumber::new((value >> 16) as u16))
            .ok_or(ErrorCode::BadRequest)?;
        let peer = request
            .value(AttributeType::XOR_PEER_ADDRESS)
            .and_then(|value| address::decode_xor(value, request.transaction_id()))
            .ok_or(ErrorCode::BadRequest)?;
        let peer = self.canonical(peer);
        self.check_family(slot, peer.ip())?;
        let reach = match self.config.policy.peer(peer) {
            Verdict::Allowed => Reach::Anywhere,
            Verdict::InternalOnly => Reach::InternalOnly,
            Verdict::Denied(_) => return Err(self.forbid()),
        };
        let now = exchange.now.instant;
        let allocation = self
            .allocation_mut(slot)
            .ok_or(ErrorCode::AllocationMismatch)?;
        if !allocation.has_room_for(&[(peer.ip(), reach)], now) {
            return Err(ErrorCode::InsufficientCapacity);
        }
        allocation
            .bind_channel(number, peer, now)
            .map_err(|error| match error {
                ChannelError::Conflict => ErrorCode::BadRequest,
                ChannelError::Full => ErrorCode::InsufficientCapacity,
            })?;
        // RFC 8656 section 12.2: binding makes or refreshes the permission too.
        allocation.permit(peer.ip(), reach, now);
        Ok(exchange.done())
    }

    /// The slot of the sender's allocation: 437 without one, 441 if it is somebody else's.
    fn owned(&self, exchange: &Exchange<'_, '_>) -> Result<u32, ErrorCode> {
        let (slot, allocation) = self
            .of_link(&exchange.origin.link, exchange.now.instant)
            .ok_or(ErrorCode::AllocationMismatch)?;
        if allocation.username != exchange.auth.username {
            return Err(ErrorCode::WrongCredentials);
        }
        Ok(slot)
    }

    fn check_family(&self, slot: u32, ip: std::net::IpAddr) -> Result<(), ErrorCode> {
        self.allocation(slot)
            .and_then(|allocation| allocation.relay(Family::of(ip)))
            .map(|_| ())
            .ok_or(ErrorCode::PeerAddressFamilyMismatch)
    }

    fn forbid(&mut self) -> ErrorCode {
        self.stats.refused_peers += 1;
        ErrorCode::Forbidden
    }
}

/// What an Allocate asks for.
struct Wish {
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
    fn of(request: &Message<'_>) -> Result<Self, ErrorCode> {
        let transport = request
            .u32(AttributeType::REQUESTED_TRANSPORT)
            .ok_or(ErrorCode::BadRequest)?;
        if (transport >> 24) as u8 != UDP {
            return Err(ErrorCode::UnsupportedTransport);
        }
        let requested = request.value(AttributeType::REQUESTED_ADDRESS_FAMILY);
        let additional = request.value(AttributeType::ADDITIONAL_ADDRESS_FAMILY);
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
            || (additional.is_some() && even == Some(Even::WithNext));
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
            lifetime: granted(lifetime(request)?.filter(|wanted| !wanted.is_zero())),
            family,
            additional_v6,
            even,
            reservation,
        })
    }
}

fn family_of(value: &[u8]) -> Result<Family, ErrorCode> {
    let value: [u8; 4] = value.try_into().map_err(|_| ErrorCode::BadRequest)?;
    Family::from_value(value[0]).ok_or(ErrorCode::AddressFamilyNotSupported)
}

fn lifetime(request: &Message<'_>) -> Result<Option<Duration>, ErrorCode> {
    match request.value(AttributeType::LIFETIME) {
        None => Ok(None),
        Some(value) => {
            let seconds: [u8; 4] = value.try_into().map_err(|_| ErrorCode::BadRequest)?;
            Ok(Some(Duration::from_secs(
                u32::from_be_bytes(seconds).into(),
            )))
        }
    }
}

fn granted(wanted: Option<Duration>) -> Duration {
    wanted
        .unwrap_or(DEFAULT_LIFETIME)
        .clamp(DEFAULT_LIFETIME, MAX_LIFETIME)
}

/// Attributes that must be understood and are not (RFC 8489 section 6.3.1): 420.
struct Unknown {
    kinds: [u16; Self::MAX],
    len: usize,
}

impl Unknown {
    /// As many as are named in an answer, which has two bytes for each four of the request.
    const MAX: usize = 64;

    fn of(request: &Message<'_>) -> Option<Self> {
        let mut unknown = Self {
            kinds: [0; Self::MAX],
            len: 0,
        };
        for attribute in request.attributes() {
            if attribute.kind.is_comprehension_required()
                && !is_known(attribute.kind)
                && let Some(room) = unknown.kinds.get_mut(unknown.len)
            {
                *room = attribute.kind.0;
                unknown.len += 1;
            }
        }
        (unknown.len > 0).then_some(unknown)
    }

    fn refuse(self, request: &Message<'_>, answer: &mut [u8], seal: reply::Sealing<'_>) -> Action {
        let mut value = [0; 2 * Self::MAX];
        for (room, kind) in value.chunks_exact_mut(2).zip(self.kinds) {
            room.copy_from_slice(&kind.to_be_bytes());
        }
        reply::error(
            request,
            ErrorCode::UnknownAttribute,
            answer,
            seal,
            |writer| {
                writer.attribute(AttributeType::UNKNOWN_ATTRIBUTES, &value[..2 * self.len]);
            },
        )
    }
}

/// Comprehension-required attributes that this server understands or may ignore.
pub(super) fn is_known(kind: AttributeType) -> bool {
    matches!(
        kind,
        AttributeType::MAPPED_ADDRESS
            | AttributeType::USERNAME
            | AttributeType::MESSAGE_INTEGRITY
            | AttributeType::ERROR_CODE
            | AttributeType::UNKNOWN_ATTRIBUTES
            | AttributeType::CHANNEL_NUMBER
            | AttributeType::LIFETIME
            | AttributeType::XOR_PEER_ADDRESS
            | AttributeType::DATA
            | AttributeType::REALM
            | AttributeType::NONCE
            | AttributeType::XOR_RELAYED_ADDRESS
            | AttributeType::REQUESTED_ADDRESS_FAMILY
            | AttributeType::EVEN_PORT
            | AttributeType::REQUESTED_TRANSPORT
            | AttributeType::DONT_FRAGMENT
            | AttributeType::MESSAGE_INTEGRITY_SHA256
            | AttributeType::PASSWORD_ALGORITHM
            | AttributeType::USERHASH
            | AttributeType::XOR_MAPPED_ADDRESS
            | AttributeType::RESERVATION_TOKEN
    )
}
