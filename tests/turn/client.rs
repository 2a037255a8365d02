//! A TURN client for tests: does what it is told, also what no client should.

use std::collections::VecDeque;
use std::io::{ErrorKind, Read as _, Write as _};
use std::net::{IpAddr, SocketAddr, TcpStream, UdpSocket};
use std::sync::Arc;
use std::time::{Duration, Instant};

use aws_lc_rs::hmac;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use callbox::net::clock;
use callbox::turn::channel::{self, ChannelNumber, Frame};
use callbox::turn::stun::address::decode_xor;
use callbox::turn::stun::error;
use callbox::turn::stun::{
    Algorithm, AttributeType, Class, Key, Message, Method, TransactionId, Writer,
};

use rustls::{ClientConfig, ClientConnection, StreamOwned};

use super::harness::{PASSWORD, PATIENCE, SECRET, SILENCE, USER};

/// UDP as a relayed transport.
const UDP: u32 = 17 << 24;

/// The way to the server.
#[derive(Debug)]
pub(crate) enum Wire {
    Udp(UdpSocket),
    Tcp {
        stream: TcpStream,
        pending: Vec<u8>,
    },
    Tls {
        stream: Box<TlsStream>,
        pending: Vec<u8>,
    },
}

/// TLS as a client.
pub(crate) type TlsStream = StreamOwned<ClientConnection, TcpStream>;

impl Wire {
    fn is_reliable(&self) -> bool {
        !matches!(self, Self::Udp(_))
    }

    pub(crate) fn tls(socket: TcpStream, trust: Arc<ClientConfig>) -> Self {
        let name = "localhost".try_into().unwrap();
        let connection = ClientConnection::new(trust, name).unwrap();
        Self::Tls {
            stream: Box::new(StreamOwned::new(connection, socket)),
            pending: Vec::new(),
        }
    }

    /// What was read of a stream and not understood yet.
    fn pending(&mut self) -> Option<&mut Vec<u8>> {
        match self {
            Self::Udp(_) => None,
            Self::Tcp { pending, .. } | Self::Tls { pending, .. } => Some(pending),
        }
    }
}

/// Something relayed to the client.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Heard {
    Channel(u16, Vec<u8>),
    Data(SocketAddr, Vec<u8>),
    /// What became of something sent to that peer: the value of ICMP.
    Error(SocketAddr, Vec<u8>),
    /// A peer has connected, and what the connection is called.
    Attempt(SocketAddr, u32),
}

impl Heard {
    pub(crate) fn payload(self) -> Vec<u8> {
        match self {
            Self::Channel(_, payload) | Self::Data(_, payload) => payload,
            Self::Error(peer, value) => panic!("an error about {peer}: {value:?}"),
            Self::Attempt(peer, _) => panic!("{peer} has connected"),
        }
    }
}

/// An answer, success or error.
#[derive(Clone, Debug)]
pub(crate) struct Answer(pub(crate) Vec<u8>);

impl Answer {
    fn message(&self) -> Message<'_> {
        Message::parse(&self.0).unwrap()
    }

    /// The error code; `None` is success.
    pub(crate) fn error(&self) -> Option<u16> {
        let message = self.message();
        match message.class() {
            Class::Success => None,
            _ => error::decode(message.value(AttributeType::ERROR_CODE).unwrap()),
        }
    }

    pub(crate) fn value(&self, kind: AttributeType) -> Option<Vec<u8>> {
        self.message().value(kind).map(<[u8]>::to_vec)
    }

    pub(crate) fn address(&self, kind: AttributeType) -> Option<SocketAddr> {
        let message = self.message();
        decode_xor(message.value(kind)?, message.transaction_id())
    }

    pub(crate) fn relayed(&self) -> SocketAddr {
        self.address(AttributeType::XOR_RELAYED_ADDRESS).unwrap()
    }
}

/// One client.
#[derive(Debug)]
pub(crate) struct Client {
    pub(crate) wire: Wire,
    user: String,
    password: String,
    /// Realm and nonce, once known.
    challenge: Option<(Vec<u8>, Vec<u8>)>,
    heard: VecDeque<Heard>,
}

/// A user name that is good until `expires`, in seconds since 1970, and its password.
pub(crate) fn rest_credential(expires: u64, name: &str) -> (String, String) {
    let user = format!("{expires}:{name}");
    let key = hmac::Key::new(hmac::HMAC_SHA1_FOR_LEGACY_USE_ONLY, SECRET.as_bytes());
    let password = STANDARD.encode(hmac::sign(&key, user.as_bytes()));
    (user, password)
}

impl Client {
    /// Over UDP, from any port of the address that reaches the server.
    pub(crate) fn udp(server: SocketAddr) -> Self {
        Self::udp_from(server.ip(), server)
    }

    pub(crate) fn udp_from(ip: IpAddr, server: SocketAddr) -> Self {
        let socket = UdpSocket::bind((ip, 0)).unwrap();
        socket.connect(server).unwrap();
        Self::over(Wire::Udp(socket))
    }

    pub(crate) fn tcp(server: SocketAddr) -> Self {
        let stream = TcpStream::connect(server).unwrap();
        stream.set_nodelay(true).unwrap();
        let pending = Vec::new();
        Self::over(Wire::Tcp { stream, pending })
    }

    /// Over TLS, with a certificate that is in `trust`.
    pub(crate) fn tls(server: SocketAddr, trust: Arc<ClientConfig>) -> Self {
        let socket = TcpStream::connect(server).unwrap();
        socket.set_nodelay(true).unwrap();
        Self::over(Wire::tls(socket, trust))
    }

    pub(crate) fn over(wire: Wire) -> Self {
        Self {
            wire,
            user: USER.to_owned(),
            password: PASSWORD.to_owned(),
            challenge: None,
            heard: VecDeque::new(),
        }
    }

    /// As somebody else.
    pub(crate) fn with(mut self, (user, password): (String, String)) -> Self {
        (self.user, self.password) = (user, password);
        self
    }

    /// With an allocation; its relayed address.
    pub(crate) fn allocated(mut self) -> (Self, SocketAddr) {
        let answer = self.allocate();
        assert_eq!(answer.error(), None);
        let relayed = answer.relayed();
        (self, relayed)
    }

    pub(crate) fn nonce(&self) -> Vec<u8> {
        self.challenge.clone().unwrap().1
    }

    pub(crate) fn set_challenge(&mut self, realm: &[u8], nonce: &[u8]) {
        self.challenge = Some((realm.to_vec(), nonce.to_vec()));
    }

    pub(crate) fn allocate(&mut self) -> Answer {
        self.request(Method::ALLOCATE, |writer| {
            writer.u32(AttributeType::REQUESTED_TRANSPORT, UDP);
        })
    }

    pub(crate) fn refresh(&mut self, seconds: u32) -> Answer {
        self.request(Method::REFRESH, |writer| {
            writer.u32(AttributeType::LIFETIME, seconds);
        })
    }

    pub(crate) fn permit(&mut self, ip: IpAddr) -> Answer {
        let peer = SocketAddr::new(ip, 0);
        self.request(Method::CREATE_PERMISSION, |writer| {
            writer.xor_address(AttributeType::XOR_PEER_ADDRESS, peer);
        })
    }

    pub(crate) fn bind(&mut self, number: u16, peer: SocketAddr) -> Answer {
        self.request(Method::CHANNEL_BIND, |writer| {
            writer.u32(AttributeType::CHANNEL_NUMBER, u32::from(number) << 16);
            writer.xor_address(AttributeType::XOR_PEER_ADDRESS, peer);
        })
    }

    /// Asks, once more with credentials if they are wanted or the nonce was old.
    pub(crate) fn request(&mut self, method: Method, fill: impl Fn(&mut Writer<'_>)) -> Answer {
        for _ in 0..3 {
            let answer = self.request_once(method, &fill);
            let challenged = matches!(answer.error(), Some(401 | 438));
            let realm = answer.value(AttributeType::REALM);
            let nonce = answer.value(AttributeType::NONCE);
            match (challenged, realm, nonce) {
                (true, Some(realm), Some(nonce))
                    if self.challenge != Some((realm.clone(), nonce.clone()))
                        && (self.challenge.is_none() || answer.error() == Some(438)) =>
                {
                    self.challenge = Some((realm, nonce));
                }
                _ => return answer,
            }
        }
        panic!("the server is never content with its own nonce");
    }

    /// One request with the credentials as far as they are known, sent again until answered.
    pub(crate) fn request_once(
        &mut self,
        method: Method,
        fill: impl Fn(&mut Writer<'_>),
    ) -> Answer {
        let mut id = [0; 12];
        aws_lc_rs::rand::fill(&mut id).unwrap();
        let bytes = self.compose(method, TransactionId(id), fill);
        let end = clock::now() + PATIENCE;
        while clock::now() < end {
            self.transmit(&bytes);
            let again = if self.wire.is_reliable() {
                end
            } else {
                clock::now() + Duration::from_millis(500)
            };
            while let Some(message) = self.receive(again) {
                if message.first().is_some_and(|first| first >> 6 == 0)
                    && Message::parse(&message).unwrap().transaction_id().0 == id
                {
                    return Answer(message);
                }
                self.keep(&message);
            }
        }
        panic!("no answer to {method:?}");
    }

    /// The bytes of a request.
    pub(crate) fn compose(
        &self,
        method: Method,
        id: TransactionId,
        fill: impl Fn(&mut Writer<'_>),
    ) -> Vec<u8> {
        let mut bytes = vec![0; 1024];
        let mut writer = Writer::new(&mut bytes, Class::Request, method, id);
        fill(&mut writer);
        if let Some((realm, nonce)) = &self.challenge {
            writer.attribute(AttributeType::USERNAME, self.user.as_bytes());
            writer.attribute(AttributeType::REALM, realm);
            writer.attribute(AttributeType::NONCE, nonce);
            let (user, password) = (self.user.as_bytes(), self.password.as_bytes());
            writer.message_integrity(&Key::long_term(Algorithm::Md5, user, realm, password));
        }
        let len = writer.finish().unwrap();
        bytes.truncate(len);
        bytes
    }

    /// A Send indication.
    pub(crate) fn send(&mut self, peer: SocketAddr, payload: &[u8]) {
        let mut bytes = vec![0; payload.len() + 64];
        let id = TransactionId([3; 12]);
        let mut writer = Writer::new(&mut bytes, Class::Indication, Method::SEND, id);
        writer.xor_address(AttributeType::XOR_PEER_ADDRESS, peer);
        writer.attribute(AttributeType::DATA, payload);
        let len = writer.finish().unwrap();
        self.transmit(&bytes[..len]);
    }

    /// ChannelData.
    pub(crate) fn say(&mut self, number: u16, payload: &[u8]) {
        let number = ChannelNumber::new(number).unwrap();
        let mut bytes = channel::header(number, payload.len() as u16).to_vec();
        bytes.extend_from_slice(payload);
        if self.wire.is_reliable() {
            bytes.resize(bytes.len().next_multiple_of(4), 0);
        }
        self.transmit(&bytes);
    }

    pub(crate) fn transmit(&mut self, bytes: &[u8]) {
        match &mut self.wire {
            Wire::Udp(socket) => {
                socket.send(bytes).unwrap();
            }
            Wire::Tcp { stream, .. } => stream.write_all(bytes).unwrap(),
            Wire::Tls { stream, .. } => {
                stream.sock.set_read_timeout(Some(PATIENCE)).unwrap();
                stream.write_all(bytes).unwrap();
            }
        }
    }

    /// The next payload. Panics if none comes.
    pub(crate) fn hears(&mut self) -> Heard {
        self.hears_until(clock::now() + PATIENCE)
            .expect("something is relayed")
    }

    /// The next payload, if it comes within the time that counts as silence.
    pub(crate) fn overhears(&mut self) -> Option<Heard> {
        self.hears_until(clock::now() + SILENCE)
    }

    pub(crate) fn hears_until(&mut self, end: Instant) -> Option<Heard> {
        loop {
            if let Some(heard) = self.heard.pop_front() {
                return Some(heard);
            }
            let message = self.receive(end)?;
            self.keep(&message);
        }
    }

    fn keep(&mut self, message: &[u8]) {
        if message.first().is_some_and(|first| first >> 6 == 1) {
            let (number, len) = channel::parse(message).unwrap();
            let payload = message[channel::HEADER..channel::HEADER + len].to_vec();
            self.heard
                .push_back(Heard::Channel(number.value(), payload));
            return;
        }
        let message = Message::parse(message).unwrap();
        // Late answers to what was sent twice are nothing to keep.
        if message.class() == Class::Indication {
            let peer = message.value(AttributeType::XOR_PEER_ADDRESS).unwrap();
            let peer = decode_xor(peer, message.transaction_id()).unwrap();
            let heard = if message.method() == Method::CONNECTION_ATTEMPT {
                Heard::Attempt(peer, message.u32(AttributeType::CONNECTION_ID).unwrap())
            } else if let Some(value) = message.value(AttributeType::ICMP) {
                Heard::Error(peer, value.to_vec())
            } else {
                let payload = message.value(AttributeType::DATA).unwrap();
                Heard::Data(peer, payload.to_vec())
            };
            self.heard.push_back(heard);
        }
    }

    /// The next message of any kind.
    pub(crate) fn receive(&mut self, end: Instant) -> Option<Vec<u8>> {
        loop {
            if let Some(pending) = self.wire.pending()
                && let Frame::Whole { len, consumed } = channel::frame(pending)
            {
                let message = pending[..len].to_vec();
                pending.drain(..consumed);
                return Some(message);
            }
            let left = end.saturating_duration_since(clock::now());
            if left.is_zero() {
                return None;
            }
            let mut bytes = vec![0; 70_000];
            let got = match &mut self.wire {
                Wire::Udp(socket) => {
                    socket.set_read_timeout(Some(left)).unwrap();
                    socket.recv(&mut bytes)
                }
                Wire::Tcp { stream, .. } => {
                    stream.set_read_timeout(Some(left)).unwrap();
                    stream.read(&mut bytes)
                }
                Wire::Tls { stream, .. } => {
                    stream.sock.set_read_timeout(Some(left)).unwrap();
                    stream.read(&mut bytes)
                }
            };
            match (got, self.wire.pending()) {
                (Ok(len), None) => {
                    bytes.truncate(len);
                    return Some(bytes);
                }
                (Ok(0), Some(_)) => panic!("the server has closed the connection"),
                (Ok(len), Some(pending)) => pending.extend_from_slice(&bytes[..len]),
                (Err(error), _)
                    if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {}
                (Err(error), _) => panic!("{error}"),
            }
        }
    }

    /// The next so many bytes of a stream that carries no messages any more; fewer if it ends.
    pub(crate) fn takes(&mut self, len: usize) -> Vec<u8> {
        let pending = self.wire.pending().unwrap();
        let mut taken: Vec<u8> = pending.drain(..pending.len().min(len)).collect();
        let end = clock::now() + PATIENCE;
        while taken.len() < len && clock::now() < end {
            let mut bytes = vec![0; (len - taken.len()).min(65_536)];
            let got = match &mut self.wire {
                Wire::Udp(_) => panic!("no stream"),
                Wire::Tcp { stream, .. } => stream.read(&mut bytes),
                Wire::Tls { stream, .. } => stream.read(&mut bytes),
            };
            match got {
                Ok(0) => break,
                Ok(got) => taken.extend_from_slice(&bytes[..got]),
                Err(error)
                    if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {}
                Err(error) => panic!("after {} bytes: {error}", taken.len()),
            }
        }
        taken
    }

    /// The socket of a stream.
    pub(crate) fn socket(&self) -> &TcpStream {
        match &self.wire {
            Wire::Udp(_) => panic!("no stream"),
            Wire::Tcp { stream, .. } => stream,
            Wire::Tls { stream, .. } => &stream.sock,
        }
    }

    /// Waits for the end of a stream.
    pub(crate) fn is_closed(&mut self) -> bool {
        let Wire::Tcp { stream, .. } = &mut self.wire else {
            return false;
        };
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        let mut bytes = [0; 4096];
        loop {
            match stream.read(&mut bytes) {
                Ok(0) => return true,
                Ok(_) => {}
                Err(error) => return error.kind() == ErrorKind::ConnectionReset,
            }
        }
    }
}
