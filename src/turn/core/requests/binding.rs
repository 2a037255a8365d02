//! Binding (RFC 8489 section 2, RFC 5780 section 6.1): what address do you see?

use std::net::SocketAddr;

use crate::turn::core::discovery::{Change, Door};
use crate::turn::core::reply;
use crate::turn::core::server::{Action, Link, Now, Origin, Server};
use crate::turn::stun::{AttributeType, ErrorCode, Message, Method};

use super::MAX_AMPLIFICATION;
use super::unknown::{self, Unknown};

/// The longest PADDING of an answer: a frame of Ethernet, so that the answer comes in fragments.
const MAX_PADDING: usize = 1500;

/// Attributes that only NAT behaviour discovery understands.
const BY_DISCOVERY: [AttributeType; 3] = [
    AttributeType::CHANGE_REQUEST,
    AttributeType::PADDING,
    AttributeType::RESPONSE_PORT,
];

impl Server {
    pub(super) fn binding(
        &mut self,
        now: Now,
        origin: &Origin,
        request: &Message<'_>,
        answer: &mut [u8],
    ) -> Action {
        if !self.may_answer(now, origin) {
            return Action::Nothing;
        }
        // Over streams there is no other address to answer from, and nothing to be found out.
        let door = match (origin.link, &self.config.discovery) {
            (Link::Datagram { socket, .. }, Some(discovery)) => discovery.door(socket).copied(),
            _ => None,
        };
        let Some(door) = door else {
            if let Some(unknown) = Unknown::of(request) {
                self.count_error(request, ErrorCode::UnknownAttribute);
                return unknown.refuse(request, answer, None);
            }
            self.stats.answers.success(Method::BINDING);
            return reply::success(request, answer, None, |writer| {
                writer.xor_address(AttributeType::XOR_MAPPED_ADDRESS, origin.mapped());
            });
        };
        let known = |kind| unknown::is_known(kind) || BY_DISCOVERY.contains(&kind);
        if let Some(unknown) = Unknown::among(request, known) {
            self.count_error(request, ErrorCode::UnknownAttribute);
            return unknown.refuse(request, answer, None);
        }
        match self.discover(&door, origin, request, answer) {
            Ok(action) => {
                self.stats.answers.success(Method::BINDING);
                action
            }
            Err(error) => match error {
                Unanswerable::Unavailable => {
                    self.count_error(request, ErrorCode::UnknownAttribute);
                    Unknown::only(AttributeType::CHANGE_REQUEST).refuse(request, answer, None)
                }
                Unanswerable::BadRequest => {
                    self.count_error(request, ErrorCode::BadRequest);
                    reply::error(request, ErrorCode::BadRequest, answer, None, |_| {})
                }
            },
        }
    }

    /// RFC 5780 section 6.1.
    fn discover(
        &self,
        door: &Door,
        origin: &Origin,
        request: &Message<'_>,
        answer: &mut [u8],
    ) -> Result<Action, Unanswerable> {
        let change = match request.value(AttributeType::CHANGE_REQUEST) {
            Some(value) => Change::decode(value).ok_or(Unanswerable::BadRequest)?,
            None => Change::default(),
        };
        let padding = request.value(AttributeType::PADDING).map(<[u8]>::len);
        let port = match request.value(AttributeType::RESPONSE_PORT) {
            // Section 7.5: padded to four bytes, which some count as a part of it.
            Some(&[high, low] | &[high, low, _, _]) => {
                match u16::from_be_bytes([high, low]) {
                    // Nobody listens there, and a request with both is not to be processed.
                    0 => return Err(Unanswerable::BadRequest),
                    _ if padding.is_some() => return Err(Unanswerable::BadRequest),
                    port => Some(port),
                }
            }
            Some(_) => return Err(Unanswerable::BadRequest),
            None => None,
        };
        // Section 6.1: without another address, CHANGE-REQUEST is something we do not know.
        let socket = door.socket(change).map_err(|_| Unanswerable::Unavailable)?;
        let leaves_by = socket.and_then(|socket| self.config.discovery.as_ref()?.door(socket));
        let from = leaves_by.map_or(door.address, |door| door.address);
        let addresses = [
            // First what a client cannot do without: there is not always room for all.
            door.other_address
                .map(|other| (AttributeType::OTHER_ADDRESS, self.canonical(other.address))),
            Some((AttributeType::RESPONSE_ORIGIN, self.canonical(from))),
            Some((AttributeType::MAPPED_ADDRESS, origin.mapped())),
        ];
        let padding = padding.map(|len| len.min(MAX_PADDING));
        // Whoever has proved nothing gets no more than this, whatever the standard wants said.
        let limit = MAX_AMPLIFICATION * request.as_bytes().len();
        for count in (0..=addresses.len()).rev() {
            let action = reply::success(request, answer, None, |writer| {
                writer.xor_address(AttributeType::XOR_MAPPED_ADDRESS, origin.mapped());
                for (kind, address) in addresses.iter().take(count).flatten() {
                    writer.address(*kind, *address);
                }
                if let Some(len) = padding {
                    writer.attribute(AttributeType::PADDING, &[0; MAX_PADDING][..len]);
                }
            });
            let Action::Answer(len) = action else {
                continue;
            };
            if len > limit {
                continue;
            }
            if socket.is_none() && port.is_none() {
                return Ok(action);
            }
            let to = match port {
                Some(port) => SocketAddr::new(origin.client.ip(), port),
                None => origin.client,
            };
            return Ok(Action::AnswerVia { len, socket, to });
        }
        Ok(Action::Nothing)
    }
}

/// Why a request for discovery is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Unanswerable {
    /// 420: there is no such socket to answer from.
    Unavailable,
    /// 400
    BadRequest,
}
