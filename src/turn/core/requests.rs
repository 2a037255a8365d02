//! Requests: Binding, Allocate, Refresh, CreatePermission, ChannelBind
//! (RFC 8489 section 6.3, RFC 8656 sections 7 to 12).

mod allocate;
mod binding;
mod connect;
mod unknown;

use std::net::IpAddr;
use std::time::Duration;

use crate::turn::channel::ChannelNumber;
use crate::turn::stun::address::{self, Family};
use crate::turn::stun::message::Fingerprint;
use crate::turn::stun::{AttributeType, ErrorCode, Message, Method};

use super::allocation::{ChannelError, MAX_PERMISSIONS, Reach};
use super::auth::{Authenticated, PASSWORD_ALGORITHMS, Refusal};
use super::host::{EndReason, Host};
use super::nonce::Form;
use super::notice::Notice;
use super::policy::{Rule, Verdict};
use super::pool::index;
use super::reply;
use super::server::{Action, DEFAULT_LIFETIME, MAX_LIFETIME, Now, Origin, Server, Transport};

pub use connect::Direction;
use unknown::Unknown;
pub(super) use unknown::is_known;

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
            Method::CONNECT if self.connections.is_some() => {}
            Method::CONNECTION_BIND if self.connections.is_some() => {
                if let Some(elsewhere) = self.hand_over(origin, request, host) {
                    return elsewhere;
                }
            }
            // RFC 8489 section 6.3: no method of ours, or not one to be requested: no answer.
            _ => return self.malformed(),
        }
        let owner = match request.method() {
            Method::CONNECTION_BIND => self.connection_owner(request),
            _ => self.of_link(&origin.link, now.instant).map(|found| found.1),
        };
        let owner = owner.map(|allocation| &*allocation.username);
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
            self.count_error(request, ErrorCode::UnknownAttribute);
            let seal = Some((&auth.key, auth.seal));
            return unknown.refuse(request, exchange.answer, seal);
        }
        let outcome = match request.method() {
            Method::ALLOCATE => self.allocate(&mut exchange, host),
            Method::REFRESH => self.refresh(&mut exchange, host),
            Method::CREATE_PERMISSION => self.create_permission(&mut exchange),
            Method::CONNECT => self.connect(&exchange, host),
            Method::CONNECTION_BIND => self.connection_bind(&mut exchange),
            _ => self.channel_bind(&mut exchange),
        };
        match outcome {
            // Said later, when the peer has answered.
            Ok(Action::Nothing) => Action::Nothing,
            Ok(action) => {
                self.stats.answers.success(request.method());
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
                self.count_error(request, code);
                self.notice = Notice::of_code(code);
                let seal = Some((&auth.key, auth.seal));
                reply::error(request, code, exchange.answer, seal, |_| {})
            }
        }
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
        self.notice = Some(Notice::of_refusal(refusal, request));
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
                self.count_error(request, refusal.code());
                return action;
            }
        }
        self.count_error(request, ErrorCode::BadRequest);
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
        self.count_error(request, ErrorCode::BadRequest);
        self.notice = Some(Notice::Malformed);
        reply::error(request, ErrorCode::BadRequest, answer, None, |_| {})
    }

    fn count_error(&mut self, request: &Message<'_>, code: ErrorCode) {
        self.stats.answers.error(request.method(), code);
    }

    pub(super) fn may_answer(&mut self, now: Now, origin: &Origin) -> bool {
        let may = self.limiter.allow(origin.client.ip(), now.instant);
        if !may {
            self.stats.unanswered += 1;
            self.notice = Some(Notice::Unanswered);
        }
        may
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
                            self.close_relay(slot, relay, host);
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
                Verdict::Denied(rule) => return Err(self.forbid(rule)),
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
        if self.allocation(slot).is_some_and(|it| it.streams.is_some()) {
            return Err(ErrorCode::BadRequest);
        }
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
            Verdict::Denied(rule) => return Err(self.forbid(rule)),
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

    fn check_family(&self, slot: u32, ip: IpAddr) -> Result<(), ErrorCode> {
        self.allocation(slot)
            .and_then(|allocation| allocation.relay(Family::of(ip)))
            .map(|_| ())
            .ok_or(ErrorCode::PeerAddressFamilyMismatch)
    }

    fn forbid(&mut self, rule: Rule) -> ErrorCode {
        self.stats.refused_peers.count(rule);
        ErrorCode::Forbidden
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
