//! A WebSocket over a stream: what it has said, and what it has not taken yet.
//!
//! Holds memory only while a frame is under way. Everything is read through one buffer a thread.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use crate::signal::frame::{self, CloseCode, Decoder, Found, Opcode, Violation};

/// A connection after its handshake.
#[derive(Debug)]
pub(super) struct Wire<S> {
    stream: S,
    decoder: Decoder,
    /// The beginning of a frame.
    rest: Vec<u8>,
    found: VecDeque<Found>,
    /// After what was found.
    violation: Option<Violation>,
    /// Frames that have not left, from `left` on.
    waiting: Vec<u8>,
    left: usize,
    /// With more of them no further one is added.
    most: usize,
    /// Something was handed to the stream that may keep it.
    unflushed: bool,
}

/// Why nothing more can be read.
#[derive(Debug)]
pub(super) enum Broken {
    /// The client does not speak as it should.
    Violation(Violation),
    /// The connection is gone.
    Lost(io::Error),
}

/// More is waiting than should ever be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Full;

impl<S: AsyncRead + AsyncWrite + Unpin> Wire<S> {
    /// A connection on which `received` has come with the handshake; messages may have up to
    /// `limit` bytes, and `most` bytes and one frame more may wait.
    pub(super) fn new(stream: S, received: &[u8], limit: usize, most: usize) -> Self {
        let mut wire = Self {
            stream,
            decoder: Decoder::new(limit),
            rest: Vec::new(),
            found: VecDeque::new(),
            violation: None,
            waiting: Vec::new(),
            left: 0,
            most,
            unflushed: false,
        };
        if !received.is_empty() {
            wire.take(&mut received.to_vec());
        }
        wire
    }

    /// The next message, control frames among them.
    pub(super) fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<Result<Found, Broken>> {
        loop {
            if let Some(found) = self.found.pop_front() {
                if self.found.is_empty() {
                    self.found = VecDeque::new();
                }
                return Poll::Ready(Ok(found));
            }
            if let Some(violation) = self.violation {
                return Poll::Ready(Err(Broken::Violation(violation)));
            }
            ready!(self.poll_read(cx)).map_err(Broken::Lost)?;
        }
    }

    fn poll_read(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        READ.with_borrow_mut(|buffer| {
            // Made by the first who reads on this thread.
            buffer.resize(READ_SIZE, 0);
            let mut into = ReadBuf::new(buffer);
            ready!(Pin::new(&mut self.stream).poll_read(cx, &mut into))?;
            match into.filled_mut() {
                [] => Poll::Ready(Err(io::ErrorKind::UnexpectedEof.into())),
                bytes => {
                    self.take(bytes);
                    Poll::Ready(Ok(()))
                }
            }
        })
    }

    /// Finds what is in `bytes`, and keeps what is not whole.
    fn take(&mut self, bytes: &mut [u8]) {
        if self.rest.is_empty() {
            match self.decoder.decode(bytes, &mut self.found) {
                Ok(taken) => self.rest = bytes.get(taken..).unwrap_or_default().to_vec(),
                Err(violation) => self.violation = Some(violation),
            }
            return;
        }
        self.rest.extend_from_slice(bytes);
        match self.decoder.decode(&mut self.rest, &mut self.found) {
            // The long buffer of a long message goes with it.
            Ok(taken) if taken > 0 => {
                self.rest = self.rest.get(taken..).unwrap_or_default().to_vec();
            }
            Ok(_) => {}
            Err(violation) => {
                self.rest = Vec::new();
                self.violation = Some(violation);
            }
        }
    }

    /// Adds a frame to what is to leave.
    pub(super) fn send(&mut self, opcode: Opcode, payload: &[u8]) -> Result<(), Full> {
        // The frame itself does not count: its size is that of a message of somebody who may have come
        // under other settings, or six times as much where each byte needs an escape.
        if self.waiting() > self.most {
            return Err(Full);
        }
        frame::encode(opcode, payload, &mut self.waiting);
        Ok(())
    }

    /// Adds the last frame.
    pub(super) fn close(&mut self, code: Option<CloseCode>, reason: &str) {
        frame::encode_close(code, reason, &mut self.waiting);
    }

    /// Bytes that have not left.
    pub(super) fn waiting(&self) -> usize {
        self.waiting.len().saturating_sub(self.left)
    }

    /// Whether there may be something to flush.
    pub(super) fn is_unflushed(&self) -> bool {
        self.unflushed || !self.waiting.is_empty()
    }

    /// Writes what is waiting, as far as the client takes it.
    pub(super) fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while let Some(bytes @ [_, ..]) = self.waiting.get(self.left..) {
            self.unflushed = true;
            match ready!(Pin::new(&mut self.stream).poll_write(cx, bytes))? {
                0 => return Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
                length => self.left += length,
            }
        }
        self.waiting = Vec::new();
        self.left = 0;
        ready!(Pin::new(&mut self.stream).poll_flush(cx))?;
        self.unflushed = false;
        Poll::Ready(Ok(()))
    }

    /// The stream itself, for what comes after the last frame.
    pub(super) fn stream(&mut self) -> &mut S {
        &mut self.stream
    }
}

thread_local! {
    /// Whatever is read is read into this, and copied out of it.
    static READ: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
}

/// What TLS decrypts at once at most.
const READ_SIZE: usize = 16 * 1024;
