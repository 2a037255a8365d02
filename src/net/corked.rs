//! A stream whose small writes leave together: when its owner says so, or when there is enough for
//! a piece.
//!
//! HTTP/2 writes, and flushes, frame by frame, and below TLS each is a record and a system call of
//! its own. Copying a page costs a fraction of either.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// A stream, and what has not been written to it. Clones share it.
#[derive(Debug)]
pub struct Corked<S>(Arc<Mutex<Buffered<S>>>);

#[derive(Debug)]
struct Buffered<S> {
    inner: S,
    waiting: Vec<u8>,
    /// Bytes of `waiting` that are written.
    written: usize,
    /// Something was written since `inner` was flushed.
    unflushed: bool,
}

/// Two full records of TLS: what waits is written when it reaches this.
const PIECE: usize = 32 * 1024;

impl<S> Corked<S> {
    /// Puts a buffer in front of `inner`. It takes memory only while something waits.
    pub fn new(inner: S) -> Self {
        Self(Arc::new(Mutex::new(Buffered {
            inner,
            waiting: Vec::new(),
            written: 0,
            unflushed: false,
        })))
    }

    fn lock(&self) -> MutexGuard<'_, Buffered<S>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<S: AsyncWrite + Unpin> Corked<S> {
    /// Writes all that waits. Whoever writes must call this before going to sleep.
    pub fn poll_uncork(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.lock().flush(cx)
    }
}

impl<S> Clone for Corked<S> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

impl<S: AsyncWrite + Unpin> Buffered<S> {
    fn drain(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while let Some(rest) = self.waiting.get(self.written..).filter(|r| !r.is_empty()) {
            self.unflushed = true;
            match ready!(Pin::new(&mut self.inner).poll_write(cx, rest))? {
                0 => return Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
                length => self.written += length,
            }
        }
        self.waiting = Vec::new();
        self.written = 0;
        Poll::Ready(Ok(()))
    }

    fn flush(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.drain(cx))?;
        if self.unflushed {
            ready!(Pin::new(&mut self.inner).poll_flush(cx))?;
            self.unflushed = false;
        }
        Poll::Ready(Ok(()))
    }

    fn write(&mut self, cx: &mut Context<'_>, bufs: &[IoSlice<'_>]) -> Poll<io::Result<usize>> {
        if self.waiting.len() >= PIECE {
            ready!(self.drain(cx))?;
        }
        let mut room = PIECE - self.waiting.len();
        let mut taken = 0;
        for buf in bufs {
            let part = buf.get(..room.min(buf.len())).unwrap_or_default();
            self.waiting.extend_from_slice(part);
            taken += part.len();
            room -= part.len();
        }
        Poll::Ready(Ok(taken))
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Corked<S> {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.lock().inner).poll_read(cx, buf)
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Corked<S> {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.lock().write(cx, &[IoSlice::new(buf)])
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.lock().write(cx, bufs)
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    /// Does nothing: see [`Corked::poll_uncork`].
    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let mut buffered = self.lock();
        ready!(buffered.flush(cx))?;
        Pin::new(&mut buffered.inner).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;

    use super::*;
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

    #[tokio::test]
    async fn small_writes_leave_together_when_they_are_let() {
        let (inner, mut far) = tokio::io::duplex(1 << 20);
        let mut stream = Corked::new(inner);
        for _ in 0..100 {
            stream.write_all(b"0123456789").await.unwrap();
            stream.flush().await.unwrap();
        }
        let mut seen = vec![0; 4096];
        tokio::select! {
            biased;
            read = far.read(&mut seen) => panic!("{read:?} before its time"),
            () = std::future::ready(()) => {}
        }
        poll_fn(|cx| stream.poll_uncork(cx)).await.unwrap();
        assert_eq!(far.read(&mut seen).await.unwrap(), 1000);
        let capacity = stream.lock().waiting.capacity();
        assert_eq!(capacity, 0, "idle connections hold nothing");
    }

    #[tokio::test]
    async fn more_than_a_piece_does_not_wait_and_arrives_in_order() {
        let (inner, mut far) = tokio::io::duplex(1000);
        let mut stream = Corked::new(inner);
        let bytes: Vec<u8> = (0..200_000_u32).map(|n| (n % 251) as u8).collect();
        let expected = bytes.clone();
        let writing = async {
            for part in bytes.chunks(777) {
                stream.write_all(part).await.unwrap();
                assert!(stream.lock().waiting.len() <= PIECE);
            }
            stream.shutdown().await.unwrap();
        };
        let mut seen = Vec::new();
        let reading = async { far.read_to_end(&mut seen).await.unwrap() };
        tokio::join!(writing, reading);
        assert_eq!(seen, expected);
    }

    #[tokio::test]
    async fn reading_goes_through() {
        let (inner, mut far) = tokio::io::duplex(64);
        let mut stream = Corked::new(inner);
        far.write_all(b"abc").await.unwrap();
        let mut got = [0; 3];
        stream.read_exact(&mut got).await.unwrap();
        assert_eq!(&got, b"abc");
    }
}
