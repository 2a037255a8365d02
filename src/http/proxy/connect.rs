//! The way to an application: its address, asked for anew, and a stream that does not block.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpStream, UnixStream};
use tokio::sync::Mutex;
use tokio::time::timeout_at;

use super::body::{Deadline, Late};
use super::failure::Failure;
use crate::config::settings::Upstream;
use crate::net::{alive, clock};
use crate::shutdown::Drain;

/// How long an answer of the resolver is good for: short enough for a container that moved, long
/// enough that a crowd does not ask for each connection.
const REMEMBER: Duration = Duration::from_secs(5);

/// Finds and opens the way.
#[derive(Debug)]
pub(super) struct Connector {
    upstream: Upstream,
    within: Duration,
    /// One question at a time: a resolver that hangs must not take every thread for files.
    found: Arc<Mutex<Option<Found>>>,
}

#[derive(Debug)]
struct Found {
    addresses: Vec<SocketAddr>,
    at: Instant,
}

impl Connector {
    pub(super) fn new(upstream: Upstream, within: Duration) -> Self {
        Self {
            upstream,
            within,
            found: Arc::default(),
        }
    }

    pub(super) async fn connect(&self, drain: &Drain) -> Result<Stream, Failure> {
        let end = (clock::now() + self.within).into();
        timeout_at(end, self.open(drain))
            .await
            .unwrap_or(Err(Failure::ConnectTimeout(self.within)))
    }

    async fn open(&self, drain: &Drain) -> Result<Stream, Failure> {
        let addresses = match &self.upstream {
            Upstream::Unix(path) => {
                let stream = UnixStream::connect(path).await.map_err(Failure::Refused)?;
                return Ok(Stream::Unix(stream));
            }
            Upstream::Http { host, port } => match host.parse::<IpAddr>() {
                Ok(ip) => vec![SocketAddr::new(ip, *port)],
                Err(_) => self.resolve(host, *port, drain).await?,
            },
        };
        // One that swallows packets must not use up the time of those behind it.
        let share = self.within / u32::try_from(addresses.len()).unwrap_or(u32::MAX).max(1);
        let mut last = io::ErrorKind::TimedOut.into();
        for address in addresses {
            match tokio::time::timeout(share, TcpStream::connect(address)).await {
                Ok(Ok(stream)) => {
                    alive::watch(&stream);
                    return Ok(Stream::Tcp(stream));
                }
                Ok(Err(error)) => last = error,
                Err(_) => last = io::ErrorKind::TimedOut.into(),
            }
        }
        match last.kind() {
            io::ErrorKind::TimedOut => Err(Failure::ConnectTimeout(self.within)),
            _ => Err(Failure::Refused(last)),
        }
    }

    async fn resolve(
        &self,
        host: &str,
        port: u16,
        drain: &Drain,
    ) -> Result<Vec<SocketAddr>, Failure> {
        let mut found = self.found.clone().lock_owned().await;
        if let Some(found) = &*found
            && clock::now().saturating_duration_since(found.at) < REMEMBER
        {
            return Ok(found.addresses.clone());
        }
        let host = host.to_owned();
        // A task of its own: the question goes on when whoever asked first has lost patience, and
        // nobody asks a second one beside it.
        let asked = drain.spawn(async move {
            let addresses: Vec<_> = tokio::net::lookup_host((host.as_str(), port))
                .await?
                .collect();
            if addresses.is_empty() {
                return Err(io::Error::other("no address"));
            }
            *found = Some(Found {
                addresses: addresses.clone(),
                at: clock::now(),
            });
            Ok(addresses)
        });
        asked
            .await
            .unwrap_or_else(|ended| Err(io::Error::other(ended)))
            .map_err(Failure::Unresolved)
    }
}

/// A connection of either family.
#[derive(Debug)]
pub(super) enum Stream {
    Tcp(TcpStream),
    Unix(UnixStream),
}

/// A stream whose writes have a deadline.
#[derive(Debug)]
pub(super) struct Paced {
    stream: Stream,
    patience: Deadline,
}

impl Paced {
    pub(super) fn new(stream: Stream, patience: Duration) -> Self {
        if let Stream::Tcp(stream) = &stream
            && let Err(error) = stream.set_nodelay(true)
        {
            tracing::debug!(%error, "no TCP_NODELAY");
        }
        Self {
            stream,
            patience: Deadline::new(patience),
        }
    }

    pub(super) fn into_inner(self) -> Stream {
        self.stream
    }

    fn paced<T>(
        &mut self,
        cx: &mut Context<'_>,
        written: Poll<io::Result<T>>,
    ) -> Poll<io::Result<T>> {
        match written {
            Poll::Ready(written) => {
                self.patience.rest();
                Poll::Ready(written)
            }
            Poll::Pending => match self.patience.poll(cx) {
                Poll::Ready(()) => Poll::Ready(Err(io::Error::new(
                    io::ErrorKind::TimedOut,
                    Late::Application,
                ))),
                Poll::Pending => Poll::Pending,
            },
        }
    }
}

impl AsyncRead for Paced {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(cx, buf)
    }
}

impl AsyncWrite for Paced {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write(cx, buf);
        self.paced(cx, written)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write_vectored(cx, bufs);
        self.paced(cx, written)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

impl AsyncRead for Stream {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Tcp(stream) => Pin::new(stream).poll_read(cx, buf),
            Self::Unix(stream) => Pin::new(stream).poll_read(cx, buf),
        }
    }
}

impl AsyncWrite for Stream {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Tcp(stream) => Pin::new(stream).poll_write(cx, buf),
            Self::Unix(stream) => Pin::new(stream).poll_write(cx, buf),
        }
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Tcp(stream) => Pin::new(stream).poll_write_vectored(cx, bufs),
            Self::Unix(stream) => Pin::new(stream).poll_write_vectored(cx, bufs),
        }
    }

    fn is_write_vectored(&self) -> bool {
        match self {
            Self::Tcp(stream) => stream.is_write_vectored(),
            Self::Unix(stream) => stream.is_write_vectored(),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Tcp(stream) => Pin::new(stream).poll_flush(cx),
            Self::Unix(stream) => Pin::new(stream).poll_flush(cx),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Tcp(stream) => Pin::new(stream).poll_shutdown(cx),
            Self::Unix(stream) => Pin::new(stream).poll_shutdown(cx),
        }
    }
}
