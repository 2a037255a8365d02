//! What other threads tell a worker: a bounded queue and a descriptor that wakes its epoll loop.

use std::io;
use std::net::SocketAddr;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::time::Instant;

use tokio::sync::oneshot;

use crate::net::stream::ClientStream;
use crate::net::sys;
use crate::turn::core::Config;

use super::sessions::{List, Session, SessionId};

/// Letters that wait. Each is a connection, or a round's worth of packets from another worker;
/// what does not fit is dropped, as any full queue of packets drops.
const CAPACITY: usize = 1024;

/// Payload bytes that wait. A worker that keeps up has a round's worth at most; for one that does
/// not, packets this old are worth nothing.
const CAPACITY_BYTES: usize = 8 * 1024 * 1024;

/// Emptied [`Packets`] that a worker keeps to fill them again, and the payload bytes each may have
/// room for; of several workers' rounds most are shorter.
const KEPT: usize = 32;
const KEPT_BYTES: usize = 128 * 1024;

/// One letter.
#[derive(Debug)]
pub(super) enum Mail {
    /// A connection to take over.
    Stream(Box<ClientStream>),
    /// One from another worker, which has until then to bind a connection or allocate: being moved
    /// wins no time.
    Moved {
        client: Box<ClientStream>,
        deadline: Instant,
    },
    /// Payloads for allocations of this worker.
    Packets(Packets),
    /// No new allocations.
    Drain,
    /// Somebody wants to see allocations.
    List(List, oneshot::Sender<Vec<Session>>),
    /// Somebody wants an allocation to end; the answer: whether there was one.
    End(SessionId, oneshot::Sender<bool>),
    /// Another process reads the listeners once this is answered.
    HandOver(oneshot::Sender<()>),
    /// Other settings.
    Configure(Box<Config>, oneshot::Sender<()>),
    /// Are you there?
    Hail(oneshot::Sender<()>),
}

impl Mail {
    fn bytes(&self) -> usize {
        match self {
            Self::Packets(packets) => packets.bytes.len(),
            _ => 0,
        }
    }
}

/// Payloads between relayed addresses of ours, one behind the other.
#[derive(Debug, Default)]
pub(super) struct Packets {
    /// Who has filled it, and gets it back.
    pub(super) sender: u16,
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
    waiting: Arc<AtomicUsize>,
    returned: SyncSender<Packets>,
}

/// The worker's end.
#[derive(Debug)]
pub(super) struct Inbox {
    worker: u16,
    receiver: Receiver<Mail>,
    bell: Arc<OwnedFd>,
    stop: Arc<AtomicBool>,
    /// Payload bytes in the queue.
    waiting: Arc<AtomicUsize>,
    empty: Receiver<Packets>,
}

/// Both ends of a worker's mailbox.
pub(super) fn new(worker: u16) -> io::Result<(Mailbox, Inbox)> {
    let (sender, receiver) = sync_channel(CAPACITY);
    let (returned, empty) = sync_channel(KEPT);
    let bell = Arc::new(sys::event_fd()?);
    let stop = Arc::new(AtomicBool::new(false));
    let waiting = Arc::new(AtomicUsize::new(0));
    let inbox = Inbox {
        worker,
        receiver,
        bell: bell.clone(),
        stop: stop.clone(),
        waiting: waiting.clone(),
        empty,
    };
    let mailbox = Mailbox {
        sender,
        bell,
        stop,
        waiting,
        returned,
    };
    Ok((mailbox, inbox))
}

impl Mailbox {
    /// Puts a letter in, or drops it when the box is full: false.
    pub(super) fn send(&self, mail: Mail) -> bool {
        let bytes = mail.bytes();
        let sent = self.waiting.fetch_add(bytes, Ordering::Relaxed) + bytes <= CAPACITY_BYTES
            && self.sender.try_send(mail).is_ok();
        if sent {
            sys::notify(self.bell.as_fd());
        } else {
            self.waiting.fetch_sub(bytes, Ordering::Relaxed);
        }
        sent
    }

    /// Gives the worker back what it had filled and others have read. It is not woken for it.
    pub(super) fn give_back(&self, mut packets: Packets) {
        if packets.bytes.capacity() <= KEPT_BYTES {
            packets.bytes.clear();
            packets.entries.clear();
            // One too many is one for the allocator.
            let _ = self.returned.try_send(packets);
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

    /// Something to put packets for another worker into.
    pub(super) fn empty(&self) -> Packets {
        self.empty.try_recv().unwrap_or_else(|_| Packets {
            sender: self.worker,
            ..Packets::default()
        })
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
        let mail = self.receiver.try_recv().ok()?;
        self.waiting.fetch_sub(mail.bytes(), Ordering::Relaxed);
        Some(mail)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn packets(bytes: usize) -> Mail {
        Mail::Packets(Packets {
            bytes: vec![0; bytes],
            ..Packets::default()
        })
    }

    #[test]
    fn a_worker_that_does_not_read_costs_a_limited_number_of_bytes() {
        let (mailbox, inbox) = new(0).unwrap();
        for _ in 0..100 {
            mailbox.send(packets(CAPACITY_BYTES / 4));
        }
        assert_eq!(inbox.waiting.load(Ordering::Relaxed), CAPACITY_BYTES);
        mailbox.send(Mail::Drain);
        let kept = std::iter::from_fn(|| inbox.next()).count();
        assert_eq!(kept, 5, "four payloads, and the word that weighs nothing");
        assert_eq!(inbox.waiting.load(Ordering::Relaxed), 0);
        mailbox.send(packets(1));
        assert!(inbox.next().is_some(), "it goes on");
    }

    #[test]
    fn what_was_read_is_filled_again_by_its_sender() {
        let (mailbox, inbox) = new(3).unwrap();
        let mut packets = inbox.empty();
        assert_eq!(packets.sender, 3);
        packets.bytes.extend_from_slice(&[1; 1000]);
        let place = packets.bytes.as_ptr();
        mailbox.give_back(packets);
        let again = inbox.empty();
        assert_eq!((again.bytes.as_ptr(), again.bytes.len()), (place, 0));
        for _ in 0..2 * KEPT {
            mailbox.give_back(inbox.empty());
        }
        let mut large = inbox.empty();
        large.bytes.reserve(KEPT_BYTES + 1);
        mailbox.give_back(large);
        let kept = std::iter::from_fn(|| inbox.empty.try_recv().ok());
        assert!(kept.count() <= KEPT);
    }
}
