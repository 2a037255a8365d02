//! A TURN client of few words, over the server's own codec: an allocation, a permission, a packet
//! there and one back.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::UdpSocket;
use tokio::time::timeout;

use crate::net::clock;
use crate::turn::channel::{self, Frame};
use crate::turn::stun::address::{Family, decode_xor};
use crate::turn::stun::{
    Algorithm, AttributeType, Class, Key, Message, Method, TransactionId, Writer, error,
};

/// Retransmissions double from here (RFC 8489 section 6.2.1, in a hurry).
const FIRST_WAIT: Duration = Duration::from_millis(250);

/// For one answer, retransmissions included.
const ANSWER: Duration = Duration::from_millis(2500);

/// For a relayed packet, which is sent again every [`FIRST_WAIT`].
const RELAYED: Duration = Duration::from_millis(2500);

const MAX_MESSAGE: usize = 2048;

/// Requests to a server that may answer from elsewhere.
const TRIES: usize = 4;

/// UDP as a relayed transport.
const UDP: u32 = 17 << 24;

/// A stream that TURN can be spoken over.
pub trait Stream: AsyncRead + AsyncWrite + Unpin + Send {}

impl<S: AsyncRead + AsyncWrite + Unpin + Send> Stream for S {}

/// The way to the server.
pub enum Wire {
    /// A socket that is connected to it.
    Datagram(UdpSocket),
    /// TCP, or TLS over it, and what was read and not understood yet.
    Stream(Box<dyn Stream>, Vec<u8>),
}

/// Why something did not work.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Trouble {
    /// Nothing comes back.
    #[error("no answer")]
    Silent,
    /// There is no way there.
    #[error("{0}")]
    Unreachable(String),
    /// The server says no.
    #[error("refused with {0}")]
    Refused(u16),
    /// Whoever answers does not speak TURN.
    #[error("whoever answers there does not speak TURN")]
    Foreign,
    /// Both allocations were made, but what is sent to one does not arrive at the other.
    #[error("both addresses were allocated, but nothing came through")]
    Lost,
}

impl From<io::Error> for Trouble {
    fn from(error: io::Error) -> Self {
        match error.kind() {
            // A connected UDP socket hears of closed ports.
            io::ErrorKind::ConnectionRefused => Self::Unreachable("refused".to_owned()),
            _ => Self::Unreachable(error.to_string()),
        }
    }
}

/// A client.
pub struct Client {
    wire: Wire,
    username: String,
    password: String,
    /// Realm and nonce, once known.
    challenge: Option<(Vec<u8>, Vec<u8>)>,
    /// Payloads that arrived while an answer was waited for.
    heard: Vec<Vec<u8>>,
}

impl std::fmt::Debug for Client {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Client").finish_non_exhaustive()
    }
}

/// A UDP socket towards a server.
pub async fn datagram(server: SocketAddr) -> Result<Wire, Trouble> {
    let socket = UdpSocket::bind(any(server)).await?;
    socket.connect(server).await?;
    Ok(Wire::Datagram(socket))
}

fn any(server: SocketAddr) -> SocketAddr {
    match server {
        SocketAddr::V4(_) => (Ipv4Addr::UNSPECIFIED, 0).into(),
        SocketAddr::V6(_) => (Ipv6Addr::UNSPECIFIED, 0).into(),
    }
}

/// What address a server sees (RFC 8489 section 12). For finding out whether it answers.
pub async fn binding(server: SocketAddr) -> Result<SocketAddr, Trouble> {
    let mut client = Client::new(datagram(server).await?, String::new(), String::new());
    let answer = client.ask(Method::BINDING, None, &|_| {}).await?;
    let message = Message::parse(&answer).map_err(|_| Trouble::Foreign)?;
    let value = message.value(AttributeType::XOR_MAPPED_ADDRESS);
    value
        .and_then(|value| decode_xor(value, message.transaction_id()))
        .ok_or(Trouble::Foreign)
}

/// Whether a Binding request is answered from whatever address: for ways on which the answer does
/// not come back as it should.
pub async fn leads_to_somebody(server: SocketAddr) -> bool {
    let asked = async {
        let id = fresh()?;
        let mut buffer = [0; MAX_MESSAGE];
        let mut writer = Writer::new(&mut buffer, Class::Request, Method::BINDING, id);
        writer.fingerprint();
        let len = writer.finish().map_err(|_| Trouble::Foreign)?;
        let request = buffer.get(..len).unwrap_or_default().to_vec();
        let socket = UdpSocket::bind(any(server)).await?;
        for _ in 0..TRIES {
            socket.send_to(&request, server).await?;
            let end = clock::now() + FIRST_WAIT;
            loop {
                let left = end.saturating_duration_since(clock::now());
                let Ok(received) = timeout(left, socket.recv_from(&mut buffer)).await else {
                    break;
                };
                let bytes = buffer.get(..received?.0).unwrap_or_default();
                if Message::parse(bytes).is_ok_and(|message| message.transaction_id() == id) {
                    return Ok(true);
                }
            }
        }
        Ok::<_, Trouble>(false)
    };
    asked.await.unwrap_or(false)
}

impl Client {
    /// A client that knows nothing of the server yet.
    pub fn new(wire: Wire, username: String, password: String) -> Self {
        Self {
            wire,
            username,
            password,
            challenge: None,
            heard: Vec::new(),
        }
    }

    /// Asks for a relayed address of a family.
    pub async fn allocate(&mut self, family: Family) -> Result<SocketAddr, Trouble> {
        let answer = self
            .request(Method::ALLOCATE, &|writer| {
                writer.u32(AttributeType::REQUESTED_TRANSPORT, UDP);
                if family == Family::V6 {
                    let family = u32::from(family.value()) << 24;
                    writer.u32(AttributeType::REQUESTED_ADDRESS_FAMILY, family);
                }
            })
            .await?;
        let message = Message::parse(&answer).map_err(|_| Trouble::Foreign)?;
        let value = message.value(AttributeType::XOR_RELAYED_ADDRESS);
        value
            .and_then(|value| decode_xor(value, message.transaction_id()))
            .ok_or(Trouble::Foreign)
    }

    /// Lets a peer send to the relayed address.
    pub async fn permit(&mut self, peer: IpAddr) -> Result<(), Trouble> {
        let fill = move |writer: &mut Writer<'_>| {
            writer.xor_address(AttributeType::XOR_PEER_ADDRESS, SocketAddr::new(peer, 0));
        };
        self.request(Method::CREATE_PERMISSION, &fill).await?;
        Ok(())
    }

    /// Gives the relayed address back. Without an answer it ends by itself.
    pub async fn release(&mut self) {
        let fill = |writer: &mut Writer<'_>| writer.u32(AttributeType::LIFETIME, 0);
        let _ = self.request(Method::REFRESH, &fill).await;
    }

    /// Sends a payload to a peer.
    pub async fn send(&mut self, peer: SocketAddr, payload: &[u8]) -> Result<(), Trouble> {
        let mut buffer = [0; MAX_MESSAGE];
        let mut writer = Writer::new(&mut buffer, Class::Indication, Method::SEND, fresh()?);
        writer.xor_address(AttributeType::XOR_PEER_ADDRESS, peer);
        writer.attribute(AttributeType::DATA, payload);
        let len = writer.finish().map_err(|_| Trouble::Foreign)?;
        self.write(buffer.get(..len).unwrap_or_default()).await
    }

    /// Waits for a payload.
    pub async fn hear(&mut self, payload: &[u8], within: Duration) -> Result<bool, Trouble> {
        let end = clock::now() + within;
        loop {
            if let Some(index) = self.heard.iter().position(|heard| heard == payload) {
                self.heard.swap_remove(index);
                return Ok(true);
            }
            let left = end.saturating_duration_since(clock::now());
            match timeout(left, self.read()).await {
                Ok(message) => {
                    let message = message?;
                    self.note(&message);
                }
                Err(_) => return Ok(false),
            }
        }
    }

    /// Keeps what a peer has sent.
    fn note(&mut self, bytes: &[u8]) {
        const MAX_HEARD: usize = 16;
        if let Ok(message) = Message::parse(bytes)
            && message.class() == Class::Indication
            && message.method() == Method::DATA
            && let Some(data) = message.value(AttributeType::DATA)
            && self.heard.len() < MAX_HEARD
        {
            self.heard.push(data.to_vec());
        }
    }

    /// A request with credentials; the first one learns realm and nonce.
    async fn request(
        &mut self,
        method: Method,
        fill: &(dyn Fn(&mut Writer<'_>) + Sync),
    ) -> Result<Vec<u8>, Trouble> {
        let mut before = None;
        // Without nonce, with one, and once more should it have grown stale.
        for _ in 0..3 {
            let challenge = self.challenge.clone();
            let answer = self.ask(method, challenge.as_ref(), fill).await?;
            let message = Message::parse(&answer).map_err(|_| Trouble::Foreign)?;
            if message.class() == Class::Success {
                return Ok(answer);
            }
            let code = message
                .value(AttributeType::ERROR_CODE)
                .and_then(error::decode);
            let code = code.ok_or(Trouble::Foreign)?;
            let (realm, nonce) = (
                message.value(AttributeType::REALM),
                message.value(AttributeType::NONCE),
            );
            match (code, realm, nonce) {
                (401, Some(realm), Some(nonce)) if before.is_none() && challenge.is_none() => {
                    self.challenge = Some((realm.to_vec(), nonce.to_vec()));
                }
                (438, Some(realm), Some(nonce)) => {
                    self.challenge = Some((realm.to_vec(), nonce.to_vec()));
                }
                _ => return Err(Trouble::Refused(code)),
            }
            before = Some(code);
        }
        Err(Trouble::Refused(before.unwrap_or(400)))
    }

    /// One request and its answer.
    async fn ask(
        &mut self,
        method: Method,
        challenge: Option<&(Vec<u8>, Vec<u8>)>,
        fill: &(dyn Fn(&mut Writer<'_>) + Sync),
    ) -> Result<Vec<u8>, Trouble> {
        let id = fresh()?;
        let mut buffer = [0; MAX_MESSAGE];
        let mut writer = Writer::new(&mut buffer, Class::Request, method, id);
        fill(&mut writer);
        if let Some((realm, nonce)) = challenge {
            writer.attribute(AttributeType::USERNAME, self.username.as_bytes());
            writer.attribute(AttributeType::REALM, realm);
            writer.attribute(AttributeType::NONCE, nonce);
            let (user, password) = (self.username.as_bytes(), self.password.as_bytes());
            writer.message_integrity(&Key::long_term(Algorithm::Md5, user, realm, password));
        }
        writer.fingerprint();
        let len = writer.finish().map_err(|_| Trouble::Foreign)?;
        let request = buffer.get(..len).unwrap_or_default();
        let end = clock::now() + ANSWER;
        let mut wait = match self.wire {
            Wire::Datagram(_) => FIRST_WAIT,
            Wire::Stream(..) => ANSWER,
        };
        loop {
            self.write(request).await?;
            let again = (clock::now() + wait).min(end);
            loop {
                let left = again.saturating_duration_since(clock::now());
                let Ok(read) = timeout(left, self.read()).await else {
                    break;
                };
                let bytes = read?;
                let is_answer = Message::parse(&bytes).is_ok_and(|message| {
                    message.transaction_id() == id
                        && matches!(message.class(), Class::Success | Class::Error)
                });
                match is_answer {
                    true => return Ok(bytes),
                    false => self.note(&bytes),
                }
            }
            if clock::now() >= end {
                return Err(Trouble::Silent);
            }
            wait *= 2;
        }
    }

    async fn write(&mut self, bytes: &[u8]) -> Result<(), Trouble> {
        match &mut self.wire {
            Wire::Datagram(socket) => {
                socket.send(bytes).await?;
            }
            Wire::Stream(stream, _) => match timeout(ANSWER, stream.write_all(bytes)).await {
                Ok(written) => written?,
                Err(_) => return Err(Trouble::Silent),
            },
        }
        if let Wire::Stream(stream, _) = &mut self.wire {
            stream.flush().await?;
        }
        Ok(())
    }

    /// The next message. Safe to give up: what was read of a stream is kept.
    async fn read(&mut self) -> Result<Vec<u8>, Trouble> {
        let mut buffer = [0; MAX_MESSAGE];
        match &mut self.wire {
            Wire::Datagram(socket) => {
                let len = socket.recv(&mut buffer).await?;
                Ok(buffer.get(..len).unwrap_or_default().to_vec())
            }
            Wire::Stream(stream, pending) => loop {
                match channel::frame(pending) {
                    Frame::Whole { len, consumed } => {
                        let mut message: Vec<u8> = pending.drain(..consumed).collect();
                        message.truncate(len);
                        return Ok(message);
                    }
                    Frame::Broken => return Err(Trouble::Foreign),
                    Frame::Incomplete => {}
                }
                match stream.read(&mut buffer).await? {
                    0 => return Err(Trouble::Unreachable("the connection was closed".to_owned())),
                    len => pending.extend_from_slice(buffer.get(..len).unwrap_or_default()),
                }
            },
        }
    }
}

/// A packet from one client's relayed address to the other's, and one back.
pub async fn round_trip(
    one: &mut Client,
    other: &mut Client,
    family: Family,
) -> Result<(), Trouble> {
    let here = one.allocate(family).await?;
    let there = other.allocate(family).await?;
    one.permit(there.ip()).await?;
    other.permit(here.ip()).await?;
    pass(one, there, other, b"callbox doctor: there").await?;
    pass(other, here, one, b"callbox doctor: back").await?;
    Ok(())
}

async fn pass(
    from: &mut Client,
    to: SocketAddr,
    receiver: &mut Client,
    payload: &[u8],
) -> Result<(), Trouble> {
    let end = clock::now() + RELAYED;
    while clock::now() < end {
        from.send(to, payload).await?;
        if receiver.hear(payload, FIRST_WAIT).await? {
            return Ok(());
        }
    }
    Err(Trouble::Lost)
}

fn fresh() -> Result<TransactionId, Trouble> {
    let mut id = [0; 12];
    aws_lc_rs::rand::fill(&mut id)
        .map_err(|_| Trouble::Unreachable("no random numbers".to_owned()))?;
    Ok(TransactionId(id))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Takes requests at one address and answers from another, as a proxy does.
    async fn proxy() -> SocketAddr {
        let front = UdpSocket::bind("127.0.0.1:0").await.unwrap();
        let back = UdpSocket::bind("127.0.0.2:0").await.unwrap();
        let address = front.local_addr().unwrap();
        crate::shutdown::Drain::new().spawn(async move {
            let mut request = [0; 1024];
            while let Ok((len, client)) = front.recv_from(&mut request).await {
                let id = Message::parse(&request[..len]).unwrap().transaction_id();
                let mut answer = [0; 64];
                let writer = Writer::new(&mut answer, Class::Success, Method::BINDING, id);
                let len = writer.finish().unwrap();
                back.send_to(&answer[..len], client).await.unwrap();
            }
        });
        address
    }

    #[tokio::test]
    async fn an_answer_from_another_address_shows_that_the_way_is_open() {
        let proxy = proxy().await;
        assert_eq!(binding(proxy).await, Err(Trouble::Silent));
        assert!(leads_to_somebody(proxy).await);
        let nobody = UdpSocket::bind("127.0.0.1:0").await.unwrap();
        assert!(!leads_to_somebody(nobody.local_addr().unwrap()).await);
    }
}
