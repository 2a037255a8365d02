//! Workloads with clients on TCP and TLS.

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream, UdpSocket};
use std::os::fd::AsFd;
use std::sync::Arc;
use std::time::{Duration, Instant};

use callbox::net::sys::{Interest, Poller, Ready};
use callbox::turn::channel::{self, Frame};
use rustls::pki_types::ServerName;
use rustls::{ClientConfig, ClientConnection, StreamOwned};

use crate::Figures;
use crate::client::{Framed, Session};
use crate::server::Server;

const CHANNEL: u16 = 0x4001;

/// How clients reach the server.
#[derive(Clone, Copy, PartialEq)]
pub(crate) enum Leg {
    Tcp,
    Tls,
    TlsFull,
}

impl Leg {
    fn clients(self) -> usize {
        match self {
            Self::Tcp => 20,
            Self::Tls | Self::TlsFull => 50,
        }
    }

    fn payload(self) -> usize {
        match self {
            Self::Tcp => 200,
            Self::Tls | Self::TlsFull => 1100,
        }
    }

    /// Packets a second of all clients, one direction; `None`: as fast as it goes.
    fn rate(self) -> Option<f64> {
        match self {
            Self::Tcp | Self::TlsFull => None,
            Self::Tls => Some(5_000.0),
        }
    }
}

trait Stream: Read + Write {
    fn socket(&self) -> &TcpStream;
}

impl Stream for TcpStream {
    fn socket(&self) -> &TcpStream {
        self
    }
}

impl Stream for StreamOwned<ClientConnection, TcpStream> {
    fn socket(&self) -> &TcpStream {
        &self.sock
    }
}

struct Client {
    wire: Framed<Box<dyn Stream>>,
}

/// Packets go through the server to a peer that echoes them. A rate is of packets sent; each is
/// relayed twice.
pub(crate) fn echo(server: &Server, time: Duration, leg: Leg) -> anyhow::Result<Figures> {
    const WINDOW: usize = 16;
    let peer = UdpSocket::bind("127.0.0.1:0")?;
    peer.set_nonblocking(true)?;
    let _ = socket2::SockRef::from(&peer).set_recv_buffer_size(4 << 20);
    let peer_addr = peer.local_addr()?;
    let poller = Poller::new()?;
    poller.add(peer.as_fd(), 0, Interest::Read)?;
    let mut session = Session::default();
    let mut clients = Vec::new();
    for n in 0..leg.clients() {
        let mut wire = Framed {
            stream: connect(server, leg)?,
            unread: Vec::new(),
        };
        session.allocate(&mut wire)?;
        session.bind(&mut wire, CHANNEL, peer_addr)?;
        wire.stream.socket().set_nonblocking(true)?;
        poller.add(wire.stream.socket().as_fd(), n as u64 + 1, Interest::Read)?;
        clients.push(Client { wire });
    }
    let mut packet = Vec::new();
    packet.extend_from_slice(&CHANNEL.to_be_bytes());
    packet.extend_from_slice(&(leg.payload() as u16).to_be_bytes());
    packet.resize(4 + leg.payload().next_multiple_of(4), 0x5A);
    if leg.rate().is_none() {
        let window = packet.repeat(WINDOW);
        for client in &mut clients {
            client.wire.stream.write_all(&window)?;
        }
    }
    let begun = Instant::now();
    let (mut run, mut sent, mut relayed) = (None, 0_u64, 0_u64);
    let mut ready: Vec<Ready> = Vec::new();
    let mut buffer = vec![0; 65_536];
    loop {
        let wait = leg.rate().map_or(20, |_| 1);
        poller.wait(Some(Duration::from_millis(wait)), &mut ready)?;
        let now = Instant::now();
        match run {
            None if now >= begun + time / 5 => {
                relayed = 0;
                run = Some((now, server.cpu(), server.syscalls()));
            }
            Some((start, cpu, calls)) if now >= start + time => {
                let used = server.cpu() - cpu;
                let seconds = (now - start).as_secs_f64();
                let mut figures = vec![
                    (
                        "server CPU ns per packet",
                        used as f64 / relayed.max(1) as f64,
                    ),
                    ("packets per second", relayed as f64 / seconds),
                ];
                figures.extend(server.syscalls_each(calls, relayed));
                return Ok(figures);
            }
            _ => {}
        }
        if let Some(rate) = leg.rate() {
            let due = (begun.elapsed().as_secs_f64() * rate) as u64;
            while sent < due {
                let at = (sent % clients.len() as u64) as usize;
                send(&mut clients[at], &packet)?;
                sent += 1;
            }
        }
        for event in &ready {
            if event.token == 0 {
                while let Ok((len, from)) = peer.recv_from(&mut buffer) {
                    relayed += 2;
                    let _ = peer.send_to(&buffer[..len], from);
                }
            } else {
                let client = &mut clients[event.token as usize - 1];
                let got = receive(client, &mut buffer)?;
                if leg.rate().is_none() && got > 0 {
                    send(client, &packet.repeat(got))?;
                }
            }
        }
    }
}

fn connect(server: &Server, leg: Leg) -> anyhow::Result<Box<dyn Stream>> {
    let address: SocketAddr = match leg {
        Leg::Tcp => server.udp,
        Leg::Tls | Leg::TlsFull => server.tls,
    };
    let socket = TcpStream::connect(address)?;
    socket.set_nodelay(true)?;
    Ok(match leg {
        Leg::Tcp => Box::new(socket),
        Leg::Tls | Leg::TlsFull => {
            let connection = ClientConnection::new(config(), ServerName::try_from("localhost")?)?;
            Box::new(StreamOwned::new(connection, socket))
        }
    })
}

fn send(client: &mut Client, bytes: &[u8]) -> anyhow::Result<()> {
    // A server that stops reading would show as a failed run, not as a hang.
    let mut rest = bytes;
    let deadline = Instant::now() + Duration::from_secs(5);
    while !rest.is_empty() {
        match client.wire.stream.write(rest) {
            Ok(n) => rest = &rest[n..],
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                anyhow::ensure!(Instant::now() < deadline, "the server stopped reading");
            }
            Err(error) => return Err(error.into()),
        }
    }
    while let Err(error) = client.wire.stream.flush() {
        anyhow::ensure!(error.kind() == io::ErrorKind::WouldBlock, "{error}");
        anyhow::ensure!(Instant::now() < deadline, "the server stopped reading");
    }
    Ok(())
}

fn receive(client: &mut Client, buffer: &mut [u8]) -> anyhow::Result<usize> {
    let mut count = 0;
    loop {
        match client.wire.stream.read(buffer) {
            Ok(0) => anyhow::bail!("the server closed a stream"),
            Ok(n) => client.wire.unread.extend_from_slice(&buffer[..n]),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
            Err(error) => return Err(error.into()),
        }
    }
    let mut at = 0;
    while let Frame::Whole { consumed, .. } = channel::frame(&client.wire.unread[at..]) {
        at += consumed;
        count += 1;
    }
    client.wire.unread.drain(..at);
    Ok(count)
}

/// Takes any certificate: what is measured is the cost of the bytes.
fn config() -> Arc<ClientConfig> {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    Arc::new(
        ClientConfig::builder_with_provider(provider.clone())
            .with_safe_default_protocol_versions()
            .unwrap()
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(Anything(provider)))
            .with_no_client_auth(),
    )
}

#[derive(Debug)]
struct Anything(Arc<rustls::crypto::CryptoProvider>);

impl rustls::client::danger::ServerCertVerifier for Anything {
    fn verify_server_cert(
        &self,
        _: &rustls::pki_types::CertificateDer<'_>,
        _: &[rustls::pki_types::CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: rustls::pki_types::UnixTime,
    ) -> Result<rustls::client::danger::ServerCertVerified, rustls::Error> {
        Ok(rustls::client::danger::ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &rustls::pki_types::CertificateDer<'_>,
        signature: &rustls::DigitallySignedStruct,
    ) -> Result<rustls::client::danger::HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.0.signature_verification_algorithms;
        rustls::crypto::verify_tls12_signature(message, cert, signature, algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &rustls::pki_types::CertificateDer<'_>,
        signature: &rustls::DigitallySignedStruct,
    ) -> Result<rustls::client::danger::HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.0.signature_verification_algorithms;
        rustls::crypto::verify_tls13_signature(message, cert, signature, algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<rustls::SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}
