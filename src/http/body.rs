//! The body of an answer: nothing, bytes, or what comes from a file or from elsewhere as fast as the
//! client takes it.

use std::fs::File;
use std::io::{self, Read as _};
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use hyper::body::{Body, Frame, SizeHint};
use tokio::task::JoinHandle;

use super::serve::Running;

/// A body, and the exchange that it is a part of.
pub(super) struct Answer {
    content: Content,
    exchange: Option<Running>,
}

enum Content {
    Empty,
    Bytes(Bytes),
    File(Reader),
    Stream(Stream),
}

type Stream = Pin<Box<dyn Body<Data = Bytes, Error = io::Error> + Send>>;

/// Reads a file piece by piece off the async threads; one piece is in memory at a time.
struct Reader {
    state: Reading,
    left: u64,
}

enum Reading {
    Idle(File),
    Busy(JoinHandle<io::Result<(File, Vec<u8>)>>),
    Ended,
}

/// Large enough that a page is a few pieces, small enough for many readers.
const PIECE: u64 = 64 * 1024;

impl Answer {
    /// No body.
    pub(super) fn empty() -> Self {
        Self::from(Content::Empty)
    }

    /// These bytes.
    pub(super) fn bytes(bytes: impl Into<Bytes>) -> Self {
        Self::from(Content::Bytes(bytes.into()))
    }

    /// `length` bytes of the file, from where it stands.
    pub(super) fn file(file: File, length: u64) -> Self {
        Self::from(Content::File(Reader {
            state: Reading::Idle(file),
            left: length,
        }))
    }

    /// What somebody else makes, piece by piece.
    pub(super) fn stream(
        stream: impl Body<Data = Bytes, Error = io::Error> + Send + 'static,
    ) -> Self {
        Self::from(Content::Stream(Box::pin(stream)))
    }

    /// The exchange ends when the body has been handed to the connection or given up. Until then
    /// it is told whether the client takes what there is or waits for more.
    pub(super) fn with_exchange(mut self, mut exchange: Running) -> Self {
        exchange.given();
        self.exchange = Some(exchange);
        self
    }

    fn poll_content(&mut self, cx: &mut Context<'_>) -> Poll<Option<io::Result<Frame<Bytes>>>> {
        match &mut self.content {
            Content::Empty => Poll::Ready(None),
            Content::Bytes(bytes) => {
                let bytes = std::mem::take(bytes);
                self.content = Content::Empty;
                Poll::Ready((!bytes.is_empty()).then(|| Ok(Frame::data(bytes))))
            }
            Content::File(reader) => reader.poll(cx),
            Content::Stream(stream) => stream.as_mut().poll_frame(cx),
        }
    }
}

impl From<Content> for Answer {
    fn from(content: Content) -> Self {
        Self {
            content,
            exchange: None,
        }
    }
}

impl std::fmt::Debug for Answer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Answer")
            .field("size", &self.size_hint().exact())
            .finish_non_exhaustive()
    }
}

impl Body for Answer {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<io::Result<Frame<Bytes>>>> {
        let polled = self.poll_content(cx);
        if let Some(exchange) = &mut self.exchange {
            match &polled {
                Poll::Pending => exchange.wanted(),
                Poll::Ready(Some(Ok(_))) => exchange.given(),
                Poll::Ready(_) => {}
            }
        }
        polled
    }

    fn is_end_stream(&self) -> bool {
        match &self.content {
            Content::Empty => true,
            Content::Bytes(bytes) => bytes.is_empty(),
            Content::File(reader) => reader.left == 0,
            Content::Stream(stream) => stream.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(match &self.content {
            Content::Empty => 0,
            Content::Bytes(bytes) => bytes.len() as u64,
            Content::File(reader) => reader.left,
            Content::Stream(stream) => return stream.size_hint(),
        })
    }
}

impl Reader {
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Option<io::Result<Frame<Bytes>>>> {
        if let Reading::Idle(_) = self.state
            && self.left > 0
            && let Reading::Idle(file) = std::mem::replace(&mut self.state, Reading::Ended)
        {
            self.state = Reading::Busy(read_piece(file, self.left.min(PIECE)));
        }
        let Reading::Busy(task) = &mut self.state else {
            return Poll::Ready(None);
        };
        let read =
            ready!(Pin::new(task).poll(cx)).unwrap_or_else(|ended| Err(io::Error::other(ended)));
        self.state = Reading::Ended;
        let (file, piece) = match read {
            // The client was promised more: the connection must break, or it would take the rest
            // of the stream for the missing part.
            Ok((_, piece)) if piece.is_empty() => {
                return Poll::Ready(Some(Err(io::ErrorKind::UnexpectedEof.into())));
            }
            Ok(read) => read,
            Err(error) => return Poll::Ready(Some(Err(error))),
        };
        self.left = self.left.saturating_sub(piece.len() as u64);
        self.state = Reading::Idle(file);
        Poll::Ready(Some(Ok(Frame::data(piece.into()))))
    }
}

fn read_piece(mut file: File, length: u64) -> JoinHandle<io::Result<(File, Vec<u8>)>> {
    tokio::task::spawn_blocking(move || {
        let mut piece = Vec::with_capacity(length as usize);
        (&mut file).take(length).read_to_end(&mut piece)?;
        Ok((file, piece))
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use http_body_util::BodyExt as _;
    use std::io::{Seek as _, Write as _};

    fn file(bytes: &[u8]) -> File {
        let path = std::env::temp_dir().join(format!(
            "callbox-body-{}-{:?}",
            std::process::id(),
            std::thread::current().id()
        ));
        let mut file = File::options()
            .create(true)
            .truncate(true)
            .read(true)
            .write(true)
            .open(&path)
            .unwrap();
        std::fs::remove_file(&path).unwrap();
        file.write_all(bytes).unwrap();
        file.rewind().unwrap();
        file
    }

    #[tokio::test]
    async fn a_file_comes_whole_and_in_pieces() {
        let bytes: Vec<u8> = (0..200_000_u32).map(|n| n as u8).collect();
        let body = Answer::file(file(&bytes), bytes.len() as u64);
        assert_eq!(body.size_hint().exact(), Some(200_000));
        assert_eq!(body.collect().await.unwrap().to_bytes(), bytes);
    }

    #[tokio::test]
    async fn a_file_that_grew_ends_where_it_was_promised_to() {
        let body = Answer::file(file(b"longer than said"), 6);
        assert_eq!(body.collect().await.unwrap().to_bytes(), "longer");
    }

    #[tokio::test]
    async fn a_file_that_shrank_is_an_error() {
        let body = Answer::file(file(b"short"), 6);
        let error = body.collect().await.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::UnexpectedEof);
    }
}
