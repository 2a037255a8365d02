//! The load generator: simple enough to cost less than what it measures.

use std::io::{ErrorKind, Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use rustls::crypto::aws_lc_rs::{cipher_suite, default_provider, kx_group};
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned, version};

/// Where to, and what comes back.
pub(crate) struct Site {
    pub(crate) address: SocketAddr,
    pub(crate) certificate: CertificateDer<'static>,
    /// Bytes of the page.
    pub(crate) page: usize,
}

/// Which key exchange the client offers.
#[derive(Clone, Copy, PartialEq)]
pub(crate) enum Exchange {
    X25519,
    Best,
}

type Tls = StreamOwned<ClientConnection, TcpStream>;

const CONNECTIONS: usize = 32;
const H2_CONNECTIONS: usize = 8;
const H2_STREAMS: usize = 8;

const REQUEST: &[u8] = b"GET / HTTP/1.1\r\nHost: localhost\r\nAccept: text/html\r\n\
    Accept-Encoding: br\r\nUser-Agent: bench\r\n\r\n";

fn config(site: &Site, alpn: &str, exchange: Exchange) -> anyhow::Result<Arc<ClientConfig>> {
    let mut roots = RootCertStore::empty();
    roots.add(site.certificate.clone())?;
    let mut provider = default_provider();
    // The same for everybody: what a server prefers is not what is compared.
    provider.cipher_suites = vec![cipher_suite::TLS13_AES_128_GCM_SHA256];
    if exchange == Exchange::X25519 {
        provider.kx_groups = vec![kx_group::X25519];
    } else {
        provider.kx_groups = vec![kx_group::X25519MLKEM768, kx_group::X25519];
    }
    let mut config = ClientConfig::builder_with_provider(provider.into())
        .with_protocol_versions(&[&version::TLS13])?
        .with_root_certificates(roots)
        .with_no_client_auth();
    config.resumption = rustls::client::Resumption::disabled();
    config.alpn_protocols = vec![alpn.as_bytes().to_vec()];
    Ok(Arc::new(config))
}

fn connect(site: &Site, config: &Arc<ClientConfig>) -> anyhow::Result<Tls> {
    let socket = TcpStream::connect(site.address)?;
    socket.set_nodelay(true)?;
    socket.set_read_timeout(Some(Duration::from_secs(10)))?;
    let name = ServerName::try_from("localhost")?;
    let client = ClientConnection::new(Arc::clone(config), name)?;
    Ok(StreamOwned::new(client, socket))
}

/// Connections, one after the other.
pub(crate) fn handshakes(site: &Site, time: Duration, exchange: Exchange) -> anyhow::Result<u64> {
    let config = config(site, "http/1.1", exchange)?;
    let end = Instant::now() + time;
    let mut done = 0;
    while Instant::now() < end {
        let mut stream = connect(site, &config)?;
        while stream.conn.is_handshaking() {
            stream.conn.complete_io(&mut stream.sock)?;
        }
        stream.conn.send_close_notify();
        stream.flush()?;
        // The end of the stream: the server has seen all of it.
        match stream.sock.read(&mut [0; 4096]) {
            Ok(0) => {}
            Ok(_) => {
                let mut rest = [0; 4096];
                while stream.sock.read(&mut rest).is_ok_and(|n| n > 0) {}
            }
            Err(error) if error.kind() == ErrorKind::ConnectionReset => {}
            Err(error) => return Err(error.into()),
        }
        done += 1;
    }
    Ok(done)
}

/// The page's bytes.
pub(crate) fn fetch(site: &Site) -> anyhow::Result<Vec<u8>> {
    let config = config(site, "http/1.1", Exchange::Best)?;
    let mut stream = connect(site, &config)?;
    let (head, mut bytes) = answer(&mut stream)?;
    Ok(bytes.split_off(head))
}

/// Asks and reads one answer: where its body begins, and all of its bytes.
fn answer(stream: &mut Tls) -> anyhow::Result<(usize, Vec<u8>)> {
    stream.write_all(REQUEST)?;
    let mut bytes = Vec::new();
    let mut piece = [0; 16 * 1024];
    loop {
        let length = stream.read(&mut piece)?;
        anyhow::ensure!(length > 0, "closed");
        bytes.extend_from_slice(&piece[..length]);
        let Some(end) = bytes.windows(4).position(|w| w == b"\r\n\r\n") else {
            continue;
        };
        let head = String::from_utf8_lossy(&bytes[..end]).to_ascii_lowercase();
        anyhow::ensure!(head.starts_with("http/1.1 200"), "{head}");
        let (_, rest) = head.split_once("content-length: ").context("no length")?;
        let body: usize = rest.lines().next().unwrap_or_default().trim().parse()?;
        if bytes.len() == end + 4 + body {
            return Ok((end + 4, bytes));
        }
    }
}

/// Requests in turn on all connections: while one waits, the server works for the others.
pub(crate) fn http1(site: &Site, time: Duration) -> anyhow::Result<u64> {
    let config = config(site, "http/1.1", Exchange::X25519)?;
    let mut streams = Vec::new();
    let mut length = 0;
    for _ in 0..CONNECTIONS {
        let mut stream = connect(site, &config)?;
        let (head, bytes) = answer(&mut stream)?;
        anyhow::ensure!(bytes.len() - head == site.page, "another page");
        // Dates are as long as each other, so are the answers.
        length = bytes.len();
        streams.push(stream);
    }
    let mut buffer = vec![0; length];
    let end = Instant::now() + time;
    let mut done = 0;
    for stream in &mut streams {
        stream.write_all(REQUEST)?;
    }
    while Instant::now() < end {
        for stream in &mut streams {
            stream.read_exact(&mut buffer)?;
            done += 1;
            stream.write_all(REQUEST)?;
        }
    }
    anyhow::ensure!(buffer.starts_with(b"HTTP/1.1 200"), "something else came");
    Ok(done)
}

/// A connection of HTTP/2, as far as this needs one.
struct Http2 {
    stream: Tls,
    next: u32,
    unread: Vec<u8>,
    window: u32,
}

const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8], into: &mut Vec<u8>) {
    let length = (payload.len() as u32).to_be_bytes();
    into.extend_from_slice(&length[1..]);
    into.extend_from_slice(&[kind, flags]);
    into.extend_from_slice(&stream.to_be_bytes());
    into.extend_from_slice(payload);
}

impl Http2 {
    fn connect(site: &Site, config: &Arc<ClientConfig>) -> anyhow::Result<Self> {
        let mut stream = connect(site, config)?;
        let mut hello = PREFACE.to_vec();
        frame(4, 0, 0, &[], &mut hello);
        // Room for a while.
        frame(8, 0, 0, &(1_u32 << 30).to_be_bytes(), &mut hello);
        frame(4, 1, 0, &[], &mut hello);
        stream.write_all(&hello)?;
        Ok(Self {
            stream,
            next: 1,
            unread: Vec::new(),
            window: 0,
        })
    }

    /// Some requests at once.
    fn ask(&mut self) -> anyhow::Result<()> {
        let mut bytes = Vec::new();
        if self.window > 1 << 29 {
            frame(8, 0, 0, &self.window.to_be_bytes(), &mut bytes);
            self.window = 0;
        }
        for _ in 0..H2_STREAMS {
            // GET, https, /, localhost, br: indexes of the static table, and literals.
            let block = b"\x82\x87\x84\x01\x09localhost\x0f\x01\x02br\x0f\x2b\x05bench";
            frame(1, 5, self.next, block, &mut bytes);
            self.next += 2;
        }
        self.stream.write_all(&bytes)?;
        Ok(())
    }

    /// Reads their answers; returns the bytes of bodies.
    fn take(&mut self) -> anyhow::Result<usize> {
        let mut left = H2_STREAMS;
        let mut bodies = 0;
        let mut piece = [0; 32 * 1024];
        loop {
            let mut at = 0;
            while let Some(header) = self.unread.get(at..at + 9) {
                let length = u32::from_be_bytes([0, header[0], header[1], header[2]]) as usize;
                if self.unread.len() < at + 9 + length {
                    break;
                }
                let (kind, flags) = (header[3], header[4]);
                anyhow::ensure!(!matches!(kind, 3 | 7), "frame {kind}: reset or gone");
                if kind == 0 {
                    bodies += length;
                    self.window += length as u32;
                }
                if matches!(kind, 0 | 1) && flags & 1 == 1 {
                    left -= 1;
                }
                at += 9 + length;
            }
            self.unread.drain(..at);
            if left == 0 {
                return Ok(bodies);
            }
            let length = self.stream.read(&mut piece)?;
            anyhow::ensure!(length > 0, "closed");
            self.unread.extend_from_slice(&piece[..length]);
        }
    }
}

/// Requests in turn on all connections.
pub(crate) fn http2(site: &Site, time: Duration) -> anyhow::Result<u64> {
    let config = config(site, "h2", Exchange::X25519)?;
    let mut connections = Vec::new();
    for _ in 0..H2_CONNECTIONS {
        connections.push(Http2::connect(site, &config)?);
    }
    for connection in &mut connections {
        connection.ask()?;
    }
    let end = Instant::now() + time;
    let mut done = 0;
    while Instant::now() < end {
        for connection in &mut connections {
            let bodies = connection.take()?;
            anyhow::ensure!(bodies == H2_STREAMS * site.page, "{bodies} bytes");
            done += H2_STREAMS as u64;
            connection.ask()?;
        }
    }
    Ok(done)
}
