//! A TURN client of few words: it fills requests in, signs them and reads the answers.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use aws_lc_rs::hmac;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;

use crate::turn::channel::{self, ChannelNumber};
use crate::turn::core::{Link, Origin, Transport};
use crate::turn::stun::address::decode_xor;
use crate::turn::stun::integrity::userhash;
use crate::turn::stun::message::Fingerprint;
use crate::turn::stun::{
    Algorithm, AttributeType, Class, Key, Message, Method, TransactionId, Writer, error,
};

use super::world::{Outcome, SECRET, V4, World};

/// Which half of RFC 8489 a client speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Dialect {
    /// MD5 key, MESSAGE-INTEGRITY: every browser.
    Sha1,
    /// SHA-256 key, MESSAGE-INTEGRITY-SHA256.
    Sha256,
}

/// A client.
#[derive(Clone, Debug)]
pub struct Client {
    /// The worker that its packets come to.
    pub worker: usize,
    /// Where they come from.
    pub origin: Origin,
    /// User name.
    pub username: Vec<u8>,
    /// Password.
    pub password: Vec<u8>,
    /// What it signs with.
    pub dialect: Dialect,
    /// Whether it hides its name.
    pub hashed: bool,
    /// Realm, as the challenge had it.
    pub realm: Vec<u8>,
    /// Nonce, as the challenge had it.
    pub nonce: Vec<u8>,
    /// PASSWORD-ALGORITHMS, as the challenge had them.
    pub algorithms: Vec<u8>,
    next: u64,
}

/// An answer.
#[derive(Clone, Debug)]
pub struct Answer(pub Vec<u8>);

impl Answer {
    /// The message.
    pub fn message(&self) -> Message<'_> {
        let message = Message::parse(&self.0).expect("answers are STUN");
        assert_ne!(message.fingerprint(), Fingerprint::Invalid);
        message
    }

    /// The error code; 0 for success.
    pub fn code(&self) -> u16 {
        match self.message().class() {
            Class::Success => 0,
            Class::Error => {
                error::decode(self.value(AttributeType::ERROR_CODE)).expect("errors have a code")
            }
            other => panic!("{other:?} is no answer"),
        }
    }

    /// An attribute, empty where there is none.
    pub fn value(&self, kind: AttributeType) -> &[u8] {
        let message = Message::parse(&self.0).expect("answers are STUN");
        message.value(kind).unwrap_or_default()
    }

    /// Whether it has the attribute.
    pub fn has(&self, kind: AttributeType) -> bool {
        self.message().find(kind).is_some()
    }

    /// All addresses of a kind.
    pub fn addresses(&self, kind: AttributeType) -> Vec<SocketAddr> {
        let message = self.message();
        message
            .attributes()
            .filter(|a| a.kind == kind)
            .map(|a| decode_xor(a.value, message.transaction_id()).expect("an address"))
            .collect()
    }

    /// The relayed addresses.
    pub fn relayed(&self) -> Vec<SocketAddr> {
        self.addresses(AttributeType::XOR_RELAYED_ADDRESS)
    }

    /// LIFETIME.
    pub fn lifetime(&self) -> Option<u32> {
        self.message().u32(AttributeType::LIFETIME)
    }
}

/// The password that goes with a REST user name.
pub fn rest_password(username: &[u8]) -> Vec<u8> {
    let key = hmac::Key::new(hmac::HMAC_SHA1_FOR_LEGACY_USE_ONLY, SECRET);
    STANDARD.encode(hmac::sign(&key, username)).into_bytes()
}

impl Client {
    /// A UDP client at `198.51.100.<host>:<port>` with REST credentials for an hour.
    pub fn new(worker: usize, host: u8, id: &str) -> Self {
        let username = format!("{}:{id}", super::world::EPOCH + 3600).into_bytes();
        Self::at(
            worker,
            SocketAddr::new(Ipv4Addr::new(198, 51, 100, host).into(), 40000),
            username,
        )
    }

    /// A UDP client with a REST user name.
    pub fn at(worker: usize, client: SocketAddr, username: Vec<u8>) -> Self {
        Self {
            worker,
            origin: Origin {
                link: Link::Datagram {
                    socket: 0,
                    local: IpAddr::V4(V4),
                    client,
                },
                client,
                transport: Transport::Udp,
            },
            password: rest_password(&username),
            username,
            dialect: Dialect::Sha1,
            hashed: false,
            realm: Vec::new(),
            nonce: Vec::new(),
            algorithms: Vec::new(),
            next: 0,
        }
    }

    /// The same client over a stream.
    pub fn over_stream(mut self, number: u32) -> Self {
        self.origin.link = Link::Stream(number);
        self.origin.transport = Transport::Tcp;
        self
    }

    /// The same client with a fixed user's name and password.
    pub fn named(mut self, username: &str, password: &[u8]) -> Self {
        self.username = username.as_bytes().to_vec();
        self.password = password.to_vec();
        self
    }

    /// The same client with the newer half of RFC 8489.
    pub fn with_sha256(mut self) -> Self {
        self.dialect = Dialect::Sha256;
        self
    }

    /// The long-term key.
    pub fn key(&self) -> Key {
        let algorithm = match self.dialect {
            Dialect::Sha1 => Algorithm::Md5,
            Dialect::Sha256 => Algorithm::Sha256,
        };
        Key::long_term(algorithm, &self.username, &self.realm, &self.password)
    }

    /// A transaction id never used before.
    pub fn transaction(&mut self) -> TransactionId {
        self.next += 1;
        let mut id = [0x42; 12];
        id[4..].copy_from_slice(&self.next.to_be_bytes());
        TransactionId(id)
    }

    /// A message without credentials.
    pub fn bare(
        &mut self,
        class: Class,
        method: Method,
        fill: impl FnOnce(&mut Writer<'_>),
    ) -> Vec<u8> {
        let id = self.transaction();
        write(class, method, id, fill)
    }

    /// A request with credentials.
    pub fn signed(&mut self, method: Method, fill: impl FnOnce(&mut Writer<'_>)) -> Vec<u8> {
        let id = self.transaction();
        self.signed_as(id, method, fill)
    }

    /// A request with credentials and a transaction id of the caller's.
    pub fn signed_as(
        &self,
        id: TransactionId,
        method: Method,
        fill: impl FnOnce(&mut Writer<'_>),
    ) -> Vec<u8> {
        write(Class::Request, method, id, |writer| {
            fill(writer);
            if self.hashed {
                let hash = userhash(&self.username, &self.realm);
                writer.attribute(AttributeType::USERHASH, &hash);
            } else {
                writer.attribute(AttributeType::USERNAME, &self.username);
            }
            writer.attribute(AttributeType::REALM, &self.realm);
            writer.attribute(AttributeType::NONCE, &self.nonce);
            match self.dialect {
                Dialect::Sha1 => writer.message_integrity(&self.key()),
                Dialect::Sha256 => {
                    writer.attribute(AttributeType::PASSWORD_ALGORITHMS, &self.algorithms);
                    writer.attribute(AttributeType::PASSWORD_ALGORITHM, &[0, 2, 0, 0]);
                    writer.message_integrity_sha256(&self.key());
                }
            }
        })
    }

    /// Sends a packet.
    pub fn send(&self, world: &mut World, packet: &[u8]) -> Outcome {
        world.client(self.worker, &self.origin, packet)
    }

    /// Sends a request that gets an answer.
    pub fn ask(&self, world: &mut World, packet: &[u8]) -> Answer {
        match self.send(world, packet) {
            Outcome::Answer(bytes) => Answer(bytes),
            other => panic!("no answer but {other:?}"),
        }
    }

    /// A signed request and its answer.
    pub fn call(
        &mut self,
        world: &mut World,
        method: Method,
        fill: impl FnOnce(&mut Writer<'_>),
    ) -> Answer {
        let packet = self.signed(method, fill);
        self.ask(world, &packet)
    }

    /// Asks without credentials, and keeps what the challenge says.
    pub fn log_in(&mut self, world: &mut World) -> Answer {
        let packet = self.bare(Class::Request, Method::ALLOCATE, |writer| {
            udp(writer);
            writer.attribute(AttributeType::SOFTWARE, b"a client of some length");
        });
        let answer = self.ask(world, &packet);
        self.heed(&answer);
        answer
    }

    /// Takes over realm, nonce and algorithms of a challenge.
    pub fn heed(&mut self, challenge: &Answer) {
        self.realm = challenge.value(AttributeType::REALM).to_vec();
        self.nonce = challenge.value(AttributeType::NONCE).to_vec();
        self.algorithms = challenge.value(AttributeType::PASSWORD_ALGORITHMS).to_vec();
    }

    /// Logs in and allocates an IPv4 relay.
    pub fn allocate(&mut self, world: &mut World) -> SocketAddr {
        self.log_in(world);
        let answer = self.call(world, Method::ALLOCATE, udp);
        assert_eq!(answer.code(), 0);
        answer.relayed()[0]
    }

    /// Logs in and allocates a relay for connections.
    pub fn allocate_tcp(&mut self, world: &mut World) -> SocketAddr {
        self.log_in(world);
        let answer = self.call(world, Method::ALLOCATE, tcp);
        assert_eq!(answer.code(), 0);
        answer.relayed()[0]
    }

    /// Logs in and allocates relays of both families.
    pub fn allocate_both(&mut self, world: &mut World) -> [SocketAddr; 2] {
        self.log_in(world);
        let answer = self.call(world, Method::ALLOCATE, |writer| {
            udp(writer);
            writer.attribute(AttributeType::ADDITIONAL_ADDRESS_FAMILY, &[2, 0, 0, 0]);
        });
        answer.relayed().try_into().expect("two addresses")
    }

    /// Permits peers; the error code.
    pub fn permit(&mut self, world: &mut World, peers: &[SocketAddr]) -> u16 {
        self.call(world, Method::CREATE_PERMISSION, |writer| {
            for peer in peers {
                writer.xor_address(AttributeType::XOR_PEER_ADDRESS, *peer);
            }
        })
        .code()
    }

    /// Binds a channel; the error code.
    pub fn bind(&mut self, world: &mut World, number: u16, peer: SocketAddr) -> u16 {
        self.call(world, Method::CHANNEL_BIND, |writer| {
            writer.u32(AttributeType::CHANNEL_NUMBER, u32::from(number) << 16);
            writer.xor_address(AttributeType::XOR_PEER_ADDRESS, peer);
        })
        .code()
    }

    /// Refreshes with a lifetime.
    pub fn refresh(&mut self, world: &mut World, seconds: u32) -> Answer {
        self.call(world, Method::REFRESH, |writer| {
            writer.u32(AttributeType::LIFETIME, seconds);
        })
    }

    /// A Send indication.
    pub fn send_to(&mut self, world: &mut World, peer: SocketAddr, payload: &[u8]) -> Outcome {
        let packet = self.bare(Class::Indication, Method::SEND, |writer| {
            writer.xor_address(AttributeType::XOR_PEER_ADDRESS, peer);
            writer.attribute(AttributeType::DATA, payload);
        });
        self.send(world, &packet)
    }

    /// ChannelData.
    pub fn send_over(&self, world: &mut World, number: u16, payload: &[u8]) -> Outcome {
        self.send(world, &channel_data(number, payload))
    }
}

/// ChannelData, padded as streams want it.
pub fn channel_data(number: u16, payload: &[u8]) -> Vec<u8> {
    let mut packet = match ChannelNumber::new(number) {
        Some(number) => channel::header(number, payload.len() as u16).to_vec(),
        None => [number.to_be_bytes(), (payload.len() as u16).to_be_bytes()].concat(),
    };
    packet.extend(payload);
    packet.resize(packet.len().next_multiple_of(4), 0);
    packet
}

/// REQUESTED-TRANSPORT: UDP.
pub fn udp(writer: &mut Writer<'_>) {
    writer.attribute(AttributeType::REQUESTED_TRANSPORT, &[17, 0, 0, 0]);
}

/// Asks for relayed connections.
pub fn tcp(writer: &mut Writer<'_>) {
    writer.attribute(AttributeType::REQUESTED_TRANSPORT, &[6, 0, 0, 0]);
}

/// Writes a message.
pub fn write(
    class: Class,
    method: Method,
    id: TransactionId,
    fill: impl FnOnce(&mut Writer<'_>),
) -> Vec<u8> {
    let mut out = vec![0xA5; 9000];
    let mut writer = Writer::new(&mut out, class, method, id);
    fill(&mut writer);
    let len = writer.finish().expect("there is room");
    out.truncate(len);
    out
}
