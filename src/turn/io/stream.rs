//! A client's stream, plain or TLS: bytes in, bytes out, nothing understood.
//!
//! The worker that owns the client's allocation drives it, so a packet over TCP or TLS crosses no
//! thread. What cannot be written waits in one buffer of limited size; packets that do not fit are
//! dropped whole, so a client that does not read loses its own packets and nobody else's.

use std::io::{self, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::os::fd::{AsFd, BorrowedFd};
use std::time::{Duration, Instant};

use rustls::ServerConnection;

use crate::net::stream::ClientStream;
use crate::net::sys::Interest;
use crate::turn::core::Transport;

/// Bytes that wait for a client at most: half a second of 2 Mbit/s video.
const MAX_WAITING: usize = 128 * 1024;

/// A stream that has had no allocation for this long is closed: a client waits 39.5 s for an answer
/// (RFC 8489 section 6.2.2).
const WITHOUT_ALLOCATION: Duration = Duration::from_secs(40);

/// A buffer for unfinished messages that grew beyond this is given back once it is empty.
const KEPT_CAPACITY: usize = 4 * 1024;

/// Buffers that lie ready for streams that have something to write.
const SPARE: usize = 64;

/// A buffer that grew beyond this is not kept.
const SPARE_CAPACITY: usize = 32 * 1024;

/// Empty buffers, shared by the streams of a worker: one that has nothing to write holds none, and
/// one that has seldom needs the allocator.
#[derive(Debug, Default)]
pub(super) struct Buffers(Vec<Vec<u8>>);

impl Buffers {
    fn take(&mut self) -> Vec<u8> {
        self.0.pop().unwrap_or_default()
    }

    fn give(&mut self, mut buffer: Vec<u8>) {
        if self.0.len() < SPARE && (1..=SPARE_CAPACITY).contains(&buffer.capacity()) {
            buffer.clear();
            self.0.push(buffer);
        }
    }
}

/// What a read brought.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum ReadOutcome {
    /// These many bytes.
    Bytes(usize),
    /// Nothing now.
    Later,
    /// The client has closed.
    Closed,
}

/// One client connection.
pub(super) struct Stream {
    socket: TcpStream,
    tls: Option<Box<ServerConnection>>,
    /// The client's address.
    pub(super) peer: SocketAddr,
    /// The beginning of a message whose rest has not come.
    pending: Vec<u8>,
    /// The last read took all that the socket had: asking again would be in vain.
    drained: bool,
    waiting: Vec<u8>,
    written: usize,
    /// What the poller watches for.
    pub(super) interest: Interest,
    /// Already in the list of streams to be flushed.
    pub(super) dirty: bool,
    /// The connection with a peer whose data it carries, if any (RFC 6062).
    pub(super) connection: Option<u32>,
    /// The poller does not know it at present.
    pub(super) resting: bool,
    /// When it is closed, unless it has an allocation then.
    pub(super) deadline: Instant,
    permit: Box<dyn Send>,
}

impl Stream {
    /// Takes over a connection; what was read of it before is the first of its pending bytes.
    pub(super) fn new(client: ClientStream, now: Instant) -> io::Result<Self> {
        client.socket.set_nonblocking(true)?;
        Ok(Self {
            socket: client.socket,
            tls: client.tls,
            peer: client.peer,
            pending: client.received,
            drained: false,
            waiting: Vec::new(),
            written: 0,
            interest: Interest::Read,
            dirty: false,
            connection: None,
            resting: false,
            deadline: now + WITHOUT_ALLOCATION,
            permit: client.permit,
        })
    }

    /// Whether it has gone without an allocation for too long. If not, [`Stream::deadline`] is when
    /// to ask again.
    pub(super) fn is_overdue(&mut self, has_allocation: bool, now: Instant) -> bool {
        if has_allocation {
            self.deadline = now + WITHOUT_ALLOCATION;
        }
        self.deadline <= now
    }

    /// Whether decrypted bytes wait that no readiness will tell of.
    pub(super) fn holds_plaintext(&mut self) -> bool {
        self.tls.as_mut().is_some_and(|tls| {
            tls.process_new_packets()
                .is_ok_and(|state| state.plaintext_bytes_to_read() > 0)
        })
    }

    pub(super) fn transport(&self) -> Transport {
        if self.tls.is_some() {
            Transport::Tls
        } else {
            Transport::Tcp
        }
    }

    /// The beginning of a message whose rest has not come. What is left of it afterwards is put
    /// back with [`Stream::keep_pending`].
    pub(super) fn take_pending(&mut self) -> Vec<u8> {
        std::mem::take(&mut self.pending)
    }

    /// Keeps the beginning of a message, in the buffer that was taken.
    pub(super) fn keep_pending(&mut self, mut buffer: Vec<u8>, rest: &[u8]) {
        buffer.clear();
        if buffer.capacity() > KEPT_CAPACITY {
            buffer = Vec::new();
        }
        buffer.extend_from_slice(rest);
        self.pending = buffer;
    }

    /// The poller says that there is something to read.
    pub(super) fn wake(&mut self) {
        self.drained = false;
    }

    /// Reads decrypted bytes.
    pub(super) fn read(&mut self, out: &mut [u8]) -> ReadOutcome {
        match self.try_read(out) {
            Ok(0) => ReadOutcome::Closed,
            Ok(n) => ReadOutcome::Bytes(n),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => ReadOutcome::Later,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => ReadOutcome::Later,
            Err(_) => ReadOutcome::Closed,
        }
    }

    fn try_read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        let mut source = Source {
            socket: &self.socket,
            drained: &mut self.drained,
        };
        let Some(tls) = &mut self.tls else {
            return source.read(out);
        };
        loop {
            match tls.reader().read(out) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                done => return done,
            }
            if tls.read_tls(&mut source)? == 0 {
                return Ok(0);
            }
            if let Err(error) = tls.process_new_packets() {
                // The alert tells the client why.
                let _ = tls.write_tls(&mut self.socket);
                return Err(io::Error::new(io::ErrorKind::InvalidData, error));
            }
        }
    }

    /// Queues one message, made of parts. False: there is no room and it is dropped whole.
    pub(super) fn push(&mut self, parts: [&[u8]; 3], buffers: &mut Buffers) -> bool {
        let len: usize = parts.iter().map(|part| part.len()).sum();
        if self.waiting.len() - self.written + len > MAX_WAITING {
            return false;
        }
        if self.waiting.capacity() == 0 {
            self.waiting = buffers.take();
        }
        if self.written > 0 && self.waiting.capacity() - self.waiting.len() < len {
            self.waiting.drain(..self.written);
            self.written = 0;
        }
        for part in parts {
            self.waiting.extend_from_slice(part);
        }
        true
    }

    /// Writes what waits, as far as the client takes it. Afterwards [`Stream::wants`] says what to
    /// watch for.
    pub(super) fn flush(&mut self, buffers: &mut Buffers) -> io::Result<()> {
        match self.try_flush() {
            Ok(()) => {
                self.written = 0;
                buffers.give(std::mem::take(&mut self.waiting));
                Ok(())
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(()),
            Err(error) => Err(error),
        }
    }

    fn try_flush(&mut self) -> io::Result<()> {
        match &mut self.tls {
            None => {
                while self.written < self.waiting.len() {
                    self.written += wrote(self.socket.write(&self.waiting[self.written..]))?;
                }
            }
            Some(tls) => loop {
                while tls.wants_write() {
                    wrote(tls.write_tls(&mut self.socket))?;
                }
                if self.written == self.waiting.len() {
                    break;
                }
                // Encrypted only once the last was taken, so that what waits waits here, counted.
                self.written += wrote(tls.writer().write(&self.waiting[self.written..]))?;
            },
        }
        Ok(())
    }

    /// What to watch for.
    pub(super) fn wants(&self) -> Interest {
        let blocked = self.written < self.waiting.len()
            || self.tls.as_ref().is_some_and(|tls| tls.wants_write());
        if blocked {
            Interest::ReadWrite
        } else {
            Interest::Read
        }
    }

    /// Bytes that wait to be written.
    pub(super) fn backlog(&self) -> usize {
        self.waiting.len() - self.written
    }

    /// Nothing more will be written; the client may still have something to say.
    pub(super) fn finish(&mut self) {
        self.close();
        let _ = self.socket.shutdown(Shutdown::Write);
    }

    /// Gives the connection away, with the bytes that were read and not understood here. `None`
    /// if something still waits to be written.
    pub(super) fn into_client(self) -> Option<ClientStream> {
        if self.wants() != Interest::Read {
            return None;
        }
        Some(ClientStream {
            local: self.socket.local_addr().ok()?,
            socket: self.socket,
            tls: self.tls,
            peer: self.peer,
            received: self.pending,
            permit: self.permit,
        })
    }

    /// Says good-bye as far as TLS asks for it.
    pub(super) fn close(&mut self) {
        if let Some(tls) = &mut self.tls {
            tls.send_close_notify();
            let _ = tls.write_tls(&mut self.socket);
        }
    }
}

impl AsFd for Stream {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

/// A socket that is not asked again once it gave less than there was room for. The poller reports
/// levels, so what comes later, an end included, is reported.
struct Source<'a> {
    socket: &'a TcpStream,
    drained: &'a mut bool,
}

impl Read for Source<'_> {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        if *self.drained {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        let len = self.socket.read(out)?;
        *self.drained = len < out.len();
        Ok(len)
    }
}

fn wrote(result: io::Result<usize>) -> io::Result<usize> {
    match result {
        Ok(0) => Err(io::ErrorKind::WriteZero.into()),
        Err(error) if error.kind() == io::ErrorKind::Interrupted => {
            Err(io::ErrorKind::WouldBlock.into())
        }
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::net::clock;

    fn stream(now: Instant) -> Stream {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let local = listener.local_addr().unwrap();
        let client = ClientStream {
            socket: TcpStream::connect(local).unwrap(),
            tls: None,
            peer: local,
            local,
            received: Vec::new(),
            permit: Box::new(()),
        };
        Stream::new(client, now).unwrap()
    }

    #[test]
    fn a_stream_has_its_whole_time_however_early_it_is_looked_at() {
        let start = clock::now();
        // A timer of an earlier stream in the same place may come up right away.
        let mut stream = stream(start);
        assert!(!stream.is_overdue(false, start));
        let end = start + WITHOUT_ALLOCATION;
        assert!(!stream.is_overdue(false, end - Duration::from_millis(1)));
        assert!(!stream.is_overdue(true, end));
        assert!(!stream.is_overdue(false, end));
        assert!(stream.is_overdue(false, end + WITHOUT_ALLOCATION));
    }
}
