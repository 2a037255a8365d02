//! A client over wss, simple enough to cost less than the servers it talks to.

use std::collections::VecDeque;
use std::io::{ErrorKind, Read as _, Write as _};
use std::net::TcpStream;
use std::os::fd::AsFd as _;
use std::sync::Arc;
use std::time::{Duration, Instant};

use callbox::net::sys::{Interest, Poller};
use rustls::crypto::aws_lc_rs::{cipher_suite, default_provider, kx_group};
use rustls::pki_types::ServerName;
use rustls::{ClientConfig, ClientConnection, RootCertStore, version};

use super::server::Server;

/// Full handshakes only, and the same choices for each server.
pub(crate) fn config(server: &Server) -> anyhow::Result<Arc<ClientConfig>> {
    let mut roots = RootCertStore::empty();
    roots.add(server.certificate.clone())?;
    let mut provider = default_provider();
    provider.cipher_suites = vec![cipher_suite::TLS13_AES_128_GCM_SHA256];
    provider.kx_groups = vec![kx_group::X25519];
    let mut config = ClientConfig::builder_with_provider(provider.into())
        .with_protocol_versions(&[&version::TLS13])?
        .with_root_certificates(roots)
        .with_no_client_auth();
    config.resumption = rustls::client::Resumption::disabled();
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(Arc::new(config))
}

/// One member of a room.
pub(crate) struct Client {
    socket: TcpStream,
    tls: ClientConnection,
    /// Plaintext that is not a whole frame.
    unread: Vec<u8>,
    /// The frame it sends to its mate.
    message: Vec<u8>,
    /// When the messages were sent to it that have not come.
    pub(crate) expected: VecDeque<Instant>,
}

const REQUEST: &[u8] = b"GET /ws HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\n\
    Connection: Upgrade\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\
    Sec-WebSocket-Version: 13\r\nUser-Agent: bench\r\n\r\n";

/// Text of this length or more is a relayed message; the server's own words are shorter.
const RELAYED: usize = 200;

/// Connections that are opened together: while one waits, the server works for the others.
const TOGETHER: usize = 32;

/// Opens as many connections as asked for, two in each room, and waits until all have met.
pub(crate) fn meet(
    server: &Server,
    first: usize,
    count: usize,
    clients: &mut Vec<Client>,
) -> anyhow::Result<()> {
    let config = config(server)?;
    let end = first + count;
    let mut next = first;
    while next < end {
        let until = end.min(next + TOGETHER);
        let mut some = Vec::new();
        for number in next..until {
            some.push(Client::hello(server, &config, number)?);
        }
        for client in &mut some {
            client.ask()?;
        }
        for (client, number) in some.iter_mut().zip(next..) {
            client.join(number)?;
        }
        for client in &mut some {
            client.hear(1)?;
        }
        clients.append(&mut some);
        next = until;
    }
    Ok(())
}

impl Client {
    fn hello(server: &Server, config: &Arc<ClientConfig>, number: usize) -> anyhow::Result<Self> {
        let socket = TcpStream::connect(server.address)?;
        socket.set_nodelay(true)?;
        socket.set_read_timeout(Some(Duration::from_secs(20)))?;
        let name = ServerName::try_from("localhost")?;
        let tls = ClientConnection::new(Arc::clone(config), name)?;
        let (uid, mate) = names(number);
        let candidate = "candidate:842163049 1 udp 1677729535 198.51.100.23 52706 typ srflx raddr \
            10.0.0.17 rport 52706 generation 0 ufrag pL8f network-cost 999";
        let message = format!(
            r#"{{"cmd":"candidate","roomId":"{}","uid":"{uid}","remoteUid":"{mate}","msg":"{{\"label\":0,\"id\":\"0\",\"candidate\":\"{candidate}\"}}"}}"#,
            number / 2
        );
        let mut client = Self {
            socket,
            tls,
            unread: Vec::new(),
            message: frame(1, message.as_bytes()),
            expected: VecDeque::new(),
        };
        client.tls.write_tls(&mut client.socket)?;
        Ok(client)
    }

    fn ask(&mut self) -> anyhow::Result<()> {
        while self.tls.is_handshaking() {
            self.tls.complete_io(&mut self.socket)?;
        }
        self.tls.writer().write_all(REQUEST)?;
        self.flush()
    }

    fn join(&mut self, number: usize) -> anyhow::Result<()> {
        let end = loop {
            if let Some(at) = self.unread.windows(4).position(|w| w == b"\r\n\r\n") {
                break at + 4;
            }
            self.wait()?;
        };
        let head = String::from_utf8_lossy(&self.unread[..end]);
        anyhow::ensure!(head.starts_with("HTTP/1.1 101"), "{head}");
        self.unread.drain(..end);
        let (uid, _) = names(number);
        let text = format!(
            r#"{{"cmd":"join","roomId":"{}","uid":"{uid}"}}"#,
            number / 2
        );
        self.tls.writer().write_all(&frame(1, text.as_bytes()))?;
        self.flush()
    }

    /// Waits until so many frames have come.
    pub(crate) fn hear(&mut self, mut frames: usize) -> anyhow::Result<()> {
        loop {
            while self.next_frame()?.is_some() {
                frames = frames.saturating_sub(1);
            }
            if frames == 0 {
                return Ok(());
            }
            self.wait()?;
        }
    }

    fn wait(&mut self) -> anyhow::Result<()> {
        let read = self.tls.read_tls(&mut self.socket)?;
        anyhow::ensure!(read > 0, "closed");
        self.decrypt()
    }

    fn decrypt(&mut self) -> anyhow::Result<()> {
        let state = self.tls.process_new_packets()?;
        let length = state.plaintext_bytes_to_read();
        let start = self.unread.len();
        self.unread.resize(start + length, 0);
        self.tls.reader().read_exact(&mut self.unread[start..])?;
        Ok(())
    }

    /// The payload's length of the next frame that is there, which is done with then.
    fn next_frame(&mut self) -> anyhow::Result<Option<usize>> {
        let (header, length) = match self.unread[..] {
            [_, 126, a, b, ..] => (4, usize::from(u16::from_be_bytes([a, b]))),
            [_, short @ 0..=125, ..] => (2, usize::from(short)),
            [_, 127..=255, ..] => anyhow::bail!("a frame of a size that was not expected"),
            _ => return Ok(None),
        };
        if self.unread.len() < header + length {
            return Ok(None);
        }
        anyhow::ensure!(self.unread[0] != 0x88, "the server has closed");
        self.unread.drain(..header + length);
        Ok(Some(length))
    }

    /// From now on it never blocks.
    pub(crate) fn watch(&self, poller: &Poller, token: u64) -> anyhow::Result<()> {
        self.socket.set_nonblocking(true)?;
        poller.add(self.socket.as_fd(), token, Interest::Read)?;
        Ok(())
    }

    /// Sends its message.
    pub(crate) fn send(&mut self) -> anyhow::Result<()> {
        self.tls.writer().write_all(&self.message)?;
        self.flush()
    }

    /// Writes what waits, as far as the socket takes it.
    pub(crate) fn flush(&mut self) -> anyhow::Result<()> {
        while self.tls.wants_write() {
            match self.tls.write_tls(&mut self.socket) {
                Ok(_) => {}
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(()),
                Err(error) => return Err(error.into()),
            }
        }
        Ok(())
    }

    /// Reads what is there; tells `latency` of each message how long it took.
    pub(crate) fn receive(&mut self, mut latency: impl FnMut(Duration)) -> anyhow::Result<()> {
        match self.tls.read_tls(&mut self.socket) {
            Ok(0) => anyhow::bail!("closed"),
            Ok(_) => {}
            Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(()),
            Err(error) => return Err(error.into()),
        }
        self.decrypt()?;
        let now = Instant::now();
        while let Some(length) = self.next_frame()? {
            if length >= RELAYED
                && let Some(sent) = self.expected.pop_front()
            {
                latency(now.saturating_duration_since(sent));
            }
        }
        Ok(())
    }

    /// Ends without a word, as a process that is killed with bytes unread.
    pub(crate) fn reset(self) -> anyhow::Result<Instant> {
        socket2::SockRef::from(&self.socket).set_linger(Some(Duration::ZERO))?;
        let now = Instant::now();
        drop(self);
        Ok(now)
    }

    /// Closes as a page does that is left.
    pub(crate) fn close(mut self) {
        let _ = self
            .tls
            .writer()
            .write_all(&frame(8, &1001_u16.to_be_bytes()));
        let _ = self.flush();
    }
}

/// What a client calls itself and its mate.
fn names(number: usize) -> (&'static str, &'static str) {
    match number % 2 {
        0 => ("anna", "bert"),
        _ => ("bert", "anna"),
    }
}

/// A frame of a client.
fn frame(opcode: u8, payload: &[u8]) -> Vec<u8> {
    let mut bytes = vec![0x80 | opcode];
    match u16::try_from(payload.len()) {
        Ok(length @ 0..126) => bytes.push(0x80 | length as u8),
        length => {
            bytes.push(0x80 | 126);
            bytes.extend(length.unwrap_or(u16::MAX).to_be_bytes());
        }
    }
    let mask = [0x37, 0xFA, 0x21, 0x3D];
    bytes.extend(mask);
    let masked = payload
        .iter()
        .zip(mask.iter().cycle())
        .map(|(byte, key)| byte ^ key);
    bytes.extend(masked);
    bytes
}
