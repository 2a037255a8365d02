//! A stream whose small writes leave together: at a flush, or when there is enough for a piece.
//!
//! HTTP/2 writes frame by frame, and below TLS each write is a record and a system call of its own.
//! Copying a page costs a fraction of either.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// `inner`, and what has not been written to it.
#[derive(Debug)]
pub struct Coalesced<S> {
    inner: S,
    waiting: Vec<u8>,
    /// Bytes of `waiting` that are written.
    written: usize,
}

/// Two full records of TLS: what waits is written when it reaches this.
const PIECE: usize = 32 * 1024;

impl<S> Coalesced<S> {
    /// Puts a buffer in front of `inner`. It takes memory only while something waits.
    pub fn new(inner: S) -> Self {
        Self {
            inner,
            waiting: Vec::new(),
            written: 0,
        }
    }
}

impl<S: AsyncWrite + Unpin> Coalesced<S> {
    fn drain(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while let Some(rest) = self.waiting.get(self.written..).filter(|r| !r.is_empty()) {
            match ready!(Pin::new(&mut self.inner).poll_write(cx, rest))? {
                0 => return Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
                length => self.written += length,
            }
        }
        self.waiting = Vec::new();
        self.written = 0;
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Coalesced<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_read(cx, buf)
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Coalesced<S> {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.poll_write_vectored(cx, &[IoSlice::new(buf)])
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        if self.waiting.len() >= PIECE {
            ready!(self.drain(cx))?;
        }
        let mut room = PIECE - self.waiting.len();
        if self.waiting.is_empty() {
            self.waiting.reserve_exact(PIECE);
        }
        let mut taken = 0;
        for buf in bufs {
            let part = buf.get(..room.min(buf.len())).unwrap_or_default();
            self.waiting.extend_from_slice(part);
            taken += part.len();
            room -= part.len();
        }
        Poll::Ready(Ok(taken))
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.drain(cx))?;
        Pin::new(&mut self.inner).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.drain(cx))?;
        Pin::new(&mut self.inner).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

    #[tokio::test]
    async fn small_writes_leave_together_when_they_are_flushed() {
        let (inner, mut far) = tokio::io::duplex(1 << 20);
        let mut stream = Coalesced::new(inner);
        for _ in 0..100 {
            stream.write_all(b"0123456789").await.unwrap();
        }
        let mut seen = vec![0; 4096];
        tokio::select! {
            biased;
            read = far.read(&mut seen) => panic!("{read:?} before the flush"),
            () = std::future::ready(()) => {}
        }
        stream.flush().await.unwrap();
        assert_eq!(far.read(&mut seen).await.unwrap(), 1000);
        assert_eq!(
            stream.waiting.capacity(),
            0,
            "idle connections hold nothing"
        );
    }

    #[tokio::test]
    async fn more_than_a_piece_does_not_wait_for_a_flush_and_arrives_in_order() {
        let (inner, mut far) = tokio::io::duplex(1000);
        let mut stream = Coalesced::new(inner);
        let bytes: Vec<u8> = (0..200_000_u32).map(|n| (n % 251) as u8).collect();
        let expected = bytes.clone();
        let writing = async {
            for part in bytes.chunks(777) {
                stream.write_all(part).await.unwrap();
                assert!(stream.waiting.len() <= PIECE);
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
        let mut stream = Coalesced::new(inner);
        far.write_all(b"abc").await.unwrap();
        let mut got = [0; 3];
        stream.read_exact(&mut got).await.unwrap();
        assert_eq!(&got, b"abc");
    }
}
