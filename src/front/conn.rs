//! One connection, from its first byte to whoever takes it.

use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use rustls::ServerConnection;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::{Instant, timeout_at};
use tokio_rustls::server::TlsStream;
use tracing::{Instrument as _, Span, field};

use super::Door;
use super::accept::{Arrival, Permit};
use super::handshake::Outcome;
use super::route::{self, Inner, Outer, Role};
use super::sniff;
use crate::http::{self, Client, To};
use crate::net::prefixed::Prefixed;
use crate::net::proxy::{self, Step};
use crate::net::stream::ClientStream;
use crate::net::{alive, clock};
use crate::telemetry::log;
use crate::telemetry::repeats::{Repeated, note};

/// Why a connection got no further.
#[derive(Debug, thiserror::Error)]
enum Ended {
    #[error("too slow")]
    Slow,
    #[error("speaks nothing that is served here")]
    Refused,
    #[error("the appliance is stopping")]
    Draining,
    #[error(transparent)]
    Introduction(#[from] proxy::Error),
    #[error("max_per_ip reached")]
    Crowded,
    #[error(transparent)]
    Io(#[from] io::Error),
}

/// Finds out what the client speaks and hands it over; serves it, when that is HTTP.
pub(super) async fn run(arrival: Arrival, role: Role, plain: To, door: Arc<Door>) {
    let listener = role.name();
    let span = tracing::info_span!("connection", listener, client = field::Empty);
    let mut peer = arrival.peer;
    async {
        if let Err(ended) = welcome(arrival, role, plain, &door, &mut peer).await {
            let (counter, repeated) = match ended {
                Ended::Slow => (&door.stats.slow, Some(Repeated::SlowClient)),
                Ended::Introduction(_) => (&door.stats.unintroduced, Some(Repeated::Unintroduced)),
                Ended::Crowded => (&door.stats.shed_address, Some(Repeated::AddressFull)),
                Ended::Draining => (&door.stats.refused, None),
                Ended::Refused | Ended::Io(_) => (&door.stats.refused, Some(Repeated::Stranger)),
            };
            counter.fetch_add(1, Ordering::Relaxed);
            if let Some(repeated) = repeated {
                note(repeated, peer.ip());
            }
            tracing::debug!(reason = %ended, "connection ended at the door");
        }
    }
    .instrument(span)
    .await;
}

/// `caller` is corrected when a balancer says who is calling.
async fn welcome(
    arrival: Arrival,
    role: Role,
    plain: To,
    door: &Door,
    caller: &mut SocketAddr,
) -> Result<(), Ended> {
    let Arrival {
        mut stream,
        mut peer,
        balanced,
        mut permit,
    } = arrival;
    // Small messages that somebody waits for are all there is.
    stream.set_nodelay(true)?;
    alive::watch(&stream);
    let local = canonical(stream.local_addr()?);
    // Reading the first bytes and shaking hands share one deadline: two would be twice as long.
    let deadline = Instant::from_std(clock::now() + door.settings.load().handshake_timeout);
    let mut first = Vec::new();
    if balanced {
        let source = introduction(&mut stream, &mut first, peer, door, deadline).await?;
        peer = source.unwrap_or(peer);
        *caller = peer;
        permit.assign(peer.ip()).map_err(|_| Ended::Crowded)?;
    }
    Span::current().record("client", field::display(log::Client(peer)));
    let decided = patiently(door, deadline, async {
        loop {
            match route::outer(role, sniff::sniff(&first)) {
                Outer::Wait => read_more(&mut stream, &mut first, sniff::MAX_BYTES).await?,
                decided => return Ok(decided),
            }
        }
    })
    .await?;
    match decided {
        Outer::Wait | Outer::Refuse => Err(Ended::Refused),
        Outer::Turn => {
            hand_over(door, stream, None, peer, local, first, permit)?;
            Ok(())
        }
        Outer::PlainHttp => {
            door.stats.http.fetch_add(1, Ordering::Relaxed);
            let io = Prefixed::new(first, stream);
            http::plain(
                io,
                plain,
                client(door, peer, permit),
                door.services.latest(),
            )
            .await;
            Ok(())
        }
        Outer::PlainWebSocket => {
            door.stats.http.fetch_add(1, Ordering::Relaxed);
            let io = Prefixed::new(first, stream);
            http::websockets(io, client(door, peer, permit), door.services.clone()).await;
            Ok(())
        }
        Outer::Tls => {
            let io = Prefixed::new(first, stream);
            let tls = patiently(door, deadline, door.tls.accept(role, io)).await;
            let outcome = match &tls {
                Ok(_) => Some(Outcome::Done),
                Err(Ended::Slow) => Some(Outcome::Slow),
                Err(Ended::Io(error)) => Some(Outcome::of(error)),
                // It was we who gave up.
                Err(_) => None,
            };
            if let Some(outcome) = outcome {
                door.stats.handshakes.count(outcome);
            }
            let tls = tls?;
            protected(tls, peer, local, role, door, permit).await
        }
    }
}

/// Reads what a balancer says about who is calling. What was read beyond that stays in `first`.
async fn introduction(
    stream: &mut TcpStream,
    first: &mut Vec<u8>,
    balancer: SocketAddr,
    door: &Door,
    deadline: Instant,
) -> Result<Option<SocketAddr>, Ended> {
    loop {
        match proxy::parse(first) {
            Ok(Step::More(limit)) => {
                patiently(door, deadline, read_more(stream, first, limit)).await?;
            }
            Ok(Step::Done(header)) => {
                first.drain(..header.length);
                return Ok(header.source);
            }
            Err(error) => {
                if door.complaint.is_due(clock::now()) {
                    tracing::warn!(
                        %balancer, %error,
                        "closed: [front] proxy_protocol says that this address sends PROXY headers; \
                         make it send them, or take it out of the list"
                    );
                }
                return Err(error.into());
            }
        }
    }
}

/// Decides what is inside of TLS.
async fn protected(
    mut tls: TlsStream<Prefixed<TcpStream>>,
    peer: SocketAddr,
    local: SocketAddr,
    role: Role,
    door: &Door,
    permit: Permit,
) -> Result<(), Ended> {
    // The handshake proved that there is somebody; their first word has the time of a header.
    let deadline = Instant::from_std(clock::now() + door.settings.load().header_timeout);
    let alpn = tls.get_ref().1.alpn_protocol().map(<[u8]>::to_vec);
    let mut first = Vec::new();
    let decided = patiently(door, deadline, async {
        loop {
            match route::inner(role, alpn.as_deref(), sniff::sniff(&first)) {
                Inner::Wait => read_more(&mut tls, &mut first, sniff::MAX_BYTES).await?,
                decided => return Ok(decided),
            }
        }
    })
    .await?;
    match decided {
        Inner::Http1 | Inner::Http2 | Inner::WebSocket => {
            door.stats.http.fetch_add(1, Ordering::Relaxed);
            let io = Prefixed::new(first, tls);
            let (client, services) = (client(door, peer, permit), door.services.latest());
            match decided {
                Inner::Http2 => http::http2(io, client, services).await,
                Inner::WebSocket => http::websockets(io, client, services).await,
                _ => http::http1(io, client, services).await,
            }
            Ok(())
        }
        Inner::Turn => {
            // Session tickets are still to be written: better now than by the worker.
            patiently(door, deadline, tls.flush()).await?;
            let (io, mut connection) = tls.into_inner();
            let (unread, stream) = io.into_parts();
            if !unread.is_empty() {
                return Err(io::Error::other("TLS left bytes behind").into());
            }
            drain_plaintext(&mut connection, &mut first)?;
            let tls = Some(Box::new(connection));
            hand_over(door, stream, tls, peer, local, first, permit)?;
            Ok(())
        }
        Inner::Wait | Inner::Refuse => {
            // A close_notify tells the client that nobody cut the line.
            let _ = patiently(door, deadline, tls.shutdown()).await;
            Err(Ended::Refused)
        }
    }
}

/// When those who have come in, and have not said what they want, are sent away at the end of the
/// process. Another one may have taken its place: who was accepted by this one shall not notice.
async fn too_late(door: &Door) {
    door.drain.begun().await;
    tokio::time::sleep(FIRST_WORD).await;
}

/// Much longer than a handshake takes, and nothing beside the time that a process takes to end.
const FIRST_WORD: Duration = Duration::from_secs(1);

/// Waits until the deadline, or until the process ends.
async fn patiently<T>(
    door: &Door,
    deadline: Instant,
    work: impl Future<Output = io::Result<T>>,
) -> Result<T, Ended> {
    tokio::select! {
        done = timeout_at(deadline, work) => match done {
            Ok(done) => Ok(done?),
            Err(_) => Err(Ended::Slow),
        },
        () = too_late(door) => Err(Ended::Draining),
    }
}

/// Appends what there is, up to `limit` bytes in all; the end of the stream is an error.
async fn read_more<R>(from: &mut R, bytes: &mut Vec<u8>, limit: usize) -> io::Result<()>
where
    R: AsyncRead + Unpin,
{
    let room = limit.saturating_sub(bytes.len());
    let before = bytes.len();
    bytes.reserve(room);
    let read = from.take(room as u64).read_buf(bytes).await?;
    debug_assert_eq!(bytes.len(), before + read);
    match read {
        0 => Err(io::ErrorKind::UnexpectedEof.into()),
        _ => Ok(()),
    }
}

/// Moves over what is decrypted already: the worker waits for the socket, which will not become
/// readable for bytes that have left it.
fn drain_plaintext(connection: &mut ServerConnection, into: &mut Vec<u8>) -> io::Result<()> {
    use std::io::Read as _;
    let mut piece = [0; 4096];
    loop {
        match connection.reader().read(&mut piece) {
            Ok(0) => return Ok(()),
            Ok(length) => into.extend_from_slice(piece.get(..length).unwrap_or_default()),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
            Err(error) => return Err(error),
        }
    }
}

fn hand_over(
    door: &Door,
    stream: TcpStream,
    tls: Option<Box<ServerConnection>>,
    peer: SocketAddr,
    local: SocketAddr,
    received: Vec<u8>,
    permit: Permit,
) -> io::Result<()> {
    door.stats.turn.fetch_add(1, Ordering::Relaxed);
    (door.sink)(ClientStream {
        // Stays non-blocking.
        socket: stream.into_std()?,
        tls,
        peer,
        local,
        received,
        permit: Box::new(permit),
    });
    Ok(())
}

/// A dual-stack socket shows IPv4 in IPv6 clothes; nobody further in wants to know.
pub(super) fn canonical(address: SocketAddr) -> SocketAddr {
    SocketAddr::new(address.ip().to_canonical(), address.port())
}

fn client(door: &Door, peer: SocketAddr, permit: Permit) -> Client {
    Client {
        peer,
        drain: door.drain.clone(),
        slot: Arc::new(permit),
    }
}
