//! A stream whose first bytes have been read already: they are handed out again, then the stream
//! itself. Owns the replay only; who read ahead, and why, is the caller's business.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// `prefix`, then `inner`. Writes go straight to `inner`.
#[derive(Debug)]
pub struct Prefixed<S> {
    prefix: Vec<u8>,
    replayed: usize,
    inner: S,
}

impl<S> Prefixed<S> {
    /// Puts `prefix` in front of what `inner` has still to say.
    pub fn new(prefix: Vec<u8>, inner: S) -> Self {
        Self {
            prefix,
            replayed: 0,
            inner,
        }
    }

    /// The stream.
    pub fn inner(&self) -> &S {
        &self.inner
    }

    /// The bytes not handed out yet, and the stream.
    pub fn into_parts(mut self) -> (Vec<u8>, S) {
        self.prefix.drain(..self.replayed);
        (self.prefix, self.inner)
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Prefixed<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = &mut *self;
        let Some(rest) = this.prefix.get(this.replayed..).filter(|r| !r.is_empty()) else {
            return Pin::new(&mut this.inner).poll_read(cx, buf);
        };
        let (now, later) = rest.split_at(rest.len().min(buf.remaining()));
        buf.put_slice(now);
        if later.is_empty() {
            // A connection may live for hours after its first bytes: give the memory back.
            this.prefix = Vec::new();
            this.replayed = 0;
        } else {
            this.replayed += now.len();
        }
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Prefixed<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.inner).poll_write(cx, buf)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.inner).poll_write_vectored(cx, bufs)
    }

    fn is_write_vectored(&self) -> bool {
        self.inner.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

    #[tokio::test]
    async fn the_prefix_comes_first_even_through_a_tiny_buffer() {
        let (inner, mut far) = tokio::io::duplex(64);
        let mut stream = Prefixed::new(b"abc".to_vec(), inner);
        far.write_all(b"def").await.unwrap();
        drop(far);
        let mut seen = Vec::new();
        let mut one = [0; 1];
        while stream.read(&mut one).await.unwrap() == 1 {
            seen.push(one[0]);
        }
        assert_eq!(seen, b"abcdef");
    }

    #[tokio::test]
    async fn parts_hold_exactly_what_was_not_replayed() {
        let (inner, _far) = tokio::io::duplex(64);
        let mut stream = Prefixed::new(b"abc".to_vec(), inner);
        let mut two = [0; 2];
        stream.read_exact(&mut two).await.unwrap();
        assert_eq!(stream.into_parts().0, b"c");
    }

    #[tokio::test]
    async fn writes_do_not_touch_the_prefix() {
        let (inner, mut far) = tokio::io::duplex(64);
        let mut stream = Prefixed::new(b"abc".to_vec(), inner);
        stream.write_all(b"xyz").await.unwrap();
        let mut got = [0; 3];
        far.read_exact(&mut got).await.unwrap();
        assert_eq!(&got, b"xyz");
        assert_eq!(stream.into_parts().0, b"abc");
    }
}
