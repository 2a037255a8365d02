//! What other threads tell a worker: a bounded queue and a descriptor that wakes its epoll loop.

use std::io;
use std::net::SocketAddr;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};

use crate::net::stream::ClientStream;
use crate::net::sys;

/// Letters that wait. Each is a connection, or a round's worth of packets from another worker;
/// what does not fit is dropped, as any full queue of packets drops.
const CAPACITY: usize = 1024;

/// One letter.
#[derive(Debug)]
pub(super) enum Mail {
    /// A connection to take over.
    Stream(Box<ClientStream>),
    /// Payloads for allocations of this worker.
    Packets(Packets),
    /// No new allocations.
    Drain,
}

/// Payloads between relayed addresses of ours, one behind the other.
#[derive(Debug, Default)]
pub(super) struct Packets {
    pub(super) bytes: Vec<u8>,
    pub(super) entries: Vec<Entry>,
}

/// One payload of [`Packets`].
#[derive(Debug)]
pub(super) struct Entry {
    /// Whom it is for.
    pub(super) relayed: SocketAddr,
    /// Whom it is from.
    pub(super) source: SocketAddr,
    pub(super) len: usize,
}

/// The sending end. Clones send to the same worker.
#[derive(Clone, Debug)]
pub(super) struct Mailbox {
    sender: SyncSender<Mail>,
    bell: Arc<OwnedFd>,
    stop: Arc<AtomicBool>,
}

/// The worker's end.
#[derive(Debug)]
pub(super) struct Inbox {
    receiver: Receiver<Mail>,
    bell: Arc<OwnedFd>,
    stop: Arc<AtomicBool>,
}

pub(super) fn new() -> io::Result<(Mailbox, Inbox)> {
    let (sender, receiver) = sync_channel(CAPACITY);
    let bell = Arc::new(sys::event_fd()?);
    let stop = Arc::new(AtomicBool::new(false));
    let inbox = Inbox {
        receiver,
        bell: bell.clone(),
        stop: stop.clone(),
    };
    Ok((Mailbox { sender, bell, stop }, inbox))
}

impl Mailbox {
    /// Puts a letter in, or drops it when the box is full.
    pub(super) fn send(&self, mail: Mail) {
        if self.sender.try_send(mail).is_ok() {
            sys::notify(self.bell.as_fd());
        }
    }

    /// Ends the worker, however full its box is.
    pub(super) fn stop(&self) {
        self.stop.store(true, Ordering::Release);
        sys::notify(self.bell.as_fd());
    }
}

impl Inbox {
    /// Ready to be read when something has come.
    pub(super) fn bell(&self) -> BorrowedFd<'_> {
        self.bell.as_fd()
    }

    /// Silences the bell; to be called before [`Inbox::next`].
    pub(super) fn acknowledge(&self) {
        sys::acknowledge(self.bell.as_fd());
    }

    /// Whether the worker should end.
    pub(super) fn is_stopped(&self) -> bool {
        self.stop.load(Ordering::Acquire)
    }

    /// The next letter.
    pub(super) fn next(&self) -> Option<Mail> {
        self.receiver.try_recv().ok()
    }
}
