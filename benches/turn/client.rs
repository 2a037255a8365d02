//! The control half of a TURN client: enough to get an allocation, permissions and channels.

use std::io::{self, Read, Write};
use std::net::{SocketAddr, UdpSocket};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use callbox::turn::channel::{self, Frame};
use callbox::turn::stun::address::decode_xor;
use callbox::turn::stun::{
    Algorithm, AttributeType, Class, Key, Message, Method, TransactionId, Writer, error,
};

use crate::server::{PASSWORD, USER};

/// A way to the server on which messages are exchanged one at a time.
pub(crate) trait Wire {
    fn exchange(&mut self, request: &[u8], id: TransactionId) -> anyhow::Result<Vec<u8>>;
}

impl Wire for UdpSocket {
    fn exchange(&mut self, request: &[u8], id: TransactionId) -> anyhow::Result<Vec<u8>> {
        self.set_nonblocking(false)?;
        self.set_read_timeout(Some(Duration::from_millis(300)))?;
        let mut buffer = [0; 2048];
        for _ in 0..10 {
            self.send(request)?;
            while let Ok(len) = self.recv(&mut buffer) {
                match Message::parse(&buffer[..len]) {
                    Ok(message) if message.transaction_id() == id => {
                        return Ok(buffer[..len].to_vec());
                    }
                    _ => {}
                }
            }
        }
        anyhow::bail!("no answer")
    }
}

/// A stream and what was read of it beyond the last message.
pub(crate) struct Framed<S> {
    pub(crate) stream: S,
    pub(crate) unread: Vec<u8>,
}

impl<S: Read + Write> Wire for Framed<S> {
    fn exchange(&mut self, request: &[u8], id: TransactionId) -> anyhow::Result<Vec<u8>> {
        self.stream.write_all(request)?;
        self.stream.flush()?;
        loop {
            while let Frame::Whole { len, consumed } = channel::frame(&self.unread) {
                let message = self.unread[..len].to_vec();
                self.unread.drain(..consumed);
                if Message::parse(&message).is_ok_and(|m| m.transaction_id() == id) {
                    return Ok(message);
                }
            }
            let mut buffer = [0; 4096];
            match self.stream.read(&mut buffer)? {
                0 => return Err(io::Error::from(io::ErrorKind::UnexpectedEof).into()),
                n => self.unread.extend_from_slice(&buffer[..n]),
            }
        }
    }
}

/// What the server has told us.
#[derive(Clone, Default)]
pub(crate) struct Session {
    realm: Vec<u8>,
    nonce: Vec<u8>,
}

impl Session {
    /// Makes an allocation; returns the relayed address.
    pub(crate) fn allocate(&mut self, wire: &mut dyn Wire) -> anyhow::Result<SocketAddr> {
        let fill = |writer: &mut Writer<'_>| {
            writer.attribute(AttributeType::REQUESTED_TRANSPORT, &[17, 0, 0, 0]);
        };
        let answer = self.request(wire, Method::ALLOCATE, &fill)?;
        let message = Message::parse(&answer)?;
        message
            .value(AttributeType::XOR_RELAYED_ADDRESS)
            .and_then(|value| decode_xor(value, message.transaction_id()))
            .ok_or_else(|| anyhow::anyhow!("no relayed address"))
    }

    pub(crate) fn permit(&mut self, wire: &mut dyn Wire, peer: SocketAddr) -> anyhow::Result<()> {
        let fill = |writer: &mut Writer<'_>| {
            writer.xor_address(AttributeType::XOR_PEER_ADDRESS, peer);
        };
        self.request(wire, Method::CREATE_PERMISSION, &fill)
            .map(|_| ())
    }

    pub(crate) fn bind(
        &mut self,
        wire: &mut dyn Wire,
        channel: u16,
        peer: SocketAddr,
    ) -> anyhow::Result<()> {
        let fill = |writer: &mut Writer<'_>| {
            writer.u32(AttributeType::CHANNEL_NUMBER, u32::from(channel) << 16);
            writer.xor_address(AttributeType::XOR_PEER_ADDRESS, peer);
        };
        self.request(wire, Method::CHANNEL_BIND, &fill).map(|_| ())
    }

    /// One request; a challenge is answered once.
    pub(crate) fn request(
        &mut self,
        wire: &mut dyn Wire,
        method: Method,
        fill: &dyn Fn(&mut Writer<'_>),
    ) -> anyhow::Result<Vec<u8>> {
        for _ in 0..2 {
            let id = transaction();
            let request = self.write(method, id, fill)?;
            let answer = wire.exchange(&request, id)?;
            if self.accept(&answer)? {
                return Ok(answer);
            }
        }
        anyhow::bail!("{method:?}: challenged twice")
    }

    fn write(
        &self,
        method: Method,
        id: TransactionId,
        fill: &dyn Fn(&mut Writer<'_>),
    ) -> anyhow::Result<Vec<u8>> {
        let mut buffer = [0; 1024];
        let mut writer = Writer::new(&mut buffer, Class::Request, method, id);
        fill(&mut writer);
        if !self.nonce.is_empty() {
            writer.attribute(AttributeType::USERNAME, USER.as_bytes());
            writer.attribute(AttributeType::REALM, &self.realm);
            writer.attribute(AttributeType::NONCE, &self.nonce);
            let password = PASSWORD.as_bytes();
            let key = Key::long_term(Algorithm::Md5, USER.as_bytes(), &self.realm, password);
            writer.message_integrity(&key);
        }
        let len = writer.finish()?;
        Ok(buffer[..len].to_vec())
    }

    /// Whether an answer is a success; a challenge is remembered.
    fn accept(&mut self, answer: &[u8]) -> anyhow::Result<bool> {
        let message = Message::parse(answer)?;
        if message.class() == Class::Success {
            return Ok(true);
        }
        let code = message
            .value(AttributeType::ERROR_CODE)
            .and_then(error::decode);
        match (code, message.value(AttributeType::NONCE)) {
            (Some(401 | 438), Some(nonce)) => {
                self.nonce = nonce.to_vec();
                if let Some(realm) = message.value(AttributeType::REALM) {
                    self.realm = realm.to_vec();
                }
                Ok(false)
            }
            (code, _) => anyhow::bail!("{:?} was refused: {code:?}", message.method()),
        }
    }

    /// Makes an allocation on each socket, all at once: one round for the challenges, one for the
    /// allocations. What is lost is sent again.
    pub(crate) fn allocate_together(&self, sockets: &[UdpSocket]) -> anyhow::Result<()> {
        let fill = |writer: &mut Writer<'_>| {
            writer.attribute(AttributeType::REQUESTED_TRANSPORT, &[17, 0, 0, 0]);
        };
        let mut open: Vec<(&UdpSocket, Self)> = sockets
            .iter()
            .map(|socket| (socket, self.clone()))
            .collect();
        let mut answer = [0; 2048];
        for _ in 0..20 {
            for (socket, session) in &open {
                socket.send(&session.write(Method::ALLOCATE, transaction(), &fill)?)?;
            }
            let mut rest = Vec::new();
            for (socket, mut session) in open {
                socket.set_read_timeout(Some(Duration::from_millis(300)))?;
                let done = match socket.recv(&mut answer) {
                    Ok(len) => session.accept(&answer[..len])?,
                    Err(_) => false,
                };
                if !done {
                    rest.push((socket, session));
                }
            }
            if rest.is_empty() {
                return Ok(());
            }
            open = rest;
        }
        anyhow::bail!("allocations without an answer")
    }
}

/// A transaction id nobody has used in this run.
pub(crate) fn transaction() -> TransactionId {
    static NEXT: AtomicU64 = AtomicU64::new(1);
    let mut id = [7; 12];
    id[..8].copy_from_slice(&NEXT.fetch_add(1, Ordering::Relaxed).to_be_bytes());
    TransactionId(id)
}
