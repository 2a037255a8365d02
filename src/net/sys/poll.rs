//! epoll and eventfd.

use std::io;
use std::mem::MaybeUninit;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd};
use std::ptr;
use std::time::Duration;

use libc::c_int;

use super::check;

/// Waits for many descriptors; level-triggered.
#[derive(Debug)]
pub struct Poller(OwnedFd);

/// What a descriptor is watched for, besides errors.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Interest {
    /// Bytes to read.
    Read,
    /// Bytes to read, or room to write.
    ReadWrite,
    /// Room to write.
    Write,
    /// Nothing; errors are reported all the same.
    Nothing,
}

/// A descriptor is ready.
#[derive(Clone, Copy, Debug)]
pub struct Ready {
    /// The number it was added with.
    pub token: u64,
    /// It can be read, or has failed.
    pub readable: bool,
    /// It can be written.
    pub writable: bool,
    /// It has an error to tell.
    pub failed: bool,
    /// A connection is closed in both directions. Reported for ever, whatever is watched for.
    pub hung_up: bool,
}

impl Interest {
    fn events(self) -> u32 {
        (match self {
            Self::Read => libc::EPOLLIN | libc::EPOLLRDHUP,
            Self::ReadWrite => libc::EPOLLIN | libc::EPOLLRDHUP | libc::EPOLLOUT,
            Self::Write => libc::EPOLLOUT,
            Self::Nothing => 0,
        }) as u32
    }
}

impl Poller {
    /// Watches nothing yet.
    pub fn new() -> io::Result<Self> {
        // SAFETY: a call without pointers; a descriptor that was returned is ours.
        let fd = check(unsafe { libc::epoll_create1(libc::EPOLL_CLOEXEC) })?;
        // SAFETY: as above.
        Ok(Self(unsafe { OwnedFd::from_raw_fd(fd) }))
    }

    /// Watches a descriptor until it is closed.
    pub fn add(&self, fd: BorrowedFd<'_>, token: u64, interest: Interest) -> io::Result<()> {
        self.control(libc::EPOLL_CTL_ADD, fd, token, interest)
    }

    /// Watches it for something else.
    pub fn modify(&self, fd: BorrowedFd<'_>, token: u64, interest: Interest) -> io::Result<()> {
        self.control(libc::EPOLL_CTL_MOD, fd, token, interest)
    }

    /// Watches it no longer.
    pub fn remove(&self, fd: BorrowedFd<'_>) -> io::Result<()> {
        self.control(libc::EPOLL_CTL_DEL, fd, 0, Interest::Nothing)
    }

    fn control(
        &self,
        operation: c_int,
        fd: BorrowedFd<'_>,
        token: u64,
        interest: Interest,
    ) -> io::Result<()> {
        let mut event = libc::epoll_event {
            events: interest.events(),
            u64: token,
        };
        // SAFETY: the event lives through the call.
        check(unsafe {
            libc::epoll_ctl(
                self.0.as_raw_fd(),
                operation,
                fd.as_raw_fd(),
                &raw mut event,
            )
        })
        .map(|_| ())
    }

    /// Waits until something is ready or `timeout` is over (`None`: for ever).
    pub fn wait(&self, timeout: Option<Duration>, ready: &mut Vec<Ready>) -> io::Result<()> {
        const MOST: usize = 128;
        let mut events = [const { MaybeUninit::<libc::epoll_event>::uninit() }; MOST];
        let millis = timeout.map_or(-1, |t| {
            // Rounded up: waking early would only mean waiting again.
            c_int::try_from(t.as_micros().div_ceil(1000)).unwrap_or(c_int::MAX)
        });
        ready.clear();
        // SAFETY: the kernel writes at most MOST events and says how many.
        let got = match check(unsafe {
            libc::epoll_wait(
                self.0.as_raw_fd(),
                events.as_mut_ptr().cast(),
                MOST as c_int,
                millis,
            )
        }) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => 0,
            other => other? as usize,
        };
        for event in events.iter().take(got) {
            // SAFETY: the kernel has written these.
            let event = unsafe { event.assume_init() };
            let flags = event.events as c_int;
            let over = flags & (libc::EPOLLERR | libc::EPOLLHUP) != 0;
            ready.push(Ready {
                token: event.u64,
                readable: over || flags & (libc::EPOLLIN | libc::EPOLLRDHUP) != 0,
                writable: flags & libc::EPOLLOUT != 0,
                failed: flags & libc::EPOLLERR != 0,
                hung_up: flags & libc::EPOLLHUP != 0,
            });
        }
        Ok(())
    }
}

/// A descriptor that another thread can make ready.
pub fn event_fd() -> io::Result<OwnedFd> {
    // SAFETY: a call without pointers; a descriptor that was returned is ours.
    let fd = check(unsafe { libc::eventfd(0, libc::EFD_CLOEXEC | libc::EFD_NONBLOCK) })?;
    // SAFETY: as above.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// Makes an [`event_fd`] ready.
pub fn notify(fd: BorrowedFd<'_>) {
    let one = 1_u64;
    // SAFETY: eight bytes of a live integer. The only error, a full counter, is ready already.
    unsafe { libc::write(fd.as_raw_fd(), ptr::from_ref(&one).cast(), 8) };
}

/// Makes an [`event_fd`] wait again.
pub fn acknowledge(fd: BorrowedFd<'_>) {
    let mut count = 0_u64;
    // SAFETY: eight bytes of a live integer. The only error means it was not ready.
    unsafe { libc::read(fd.as_raw_fd(), ptr::from_mut(&mut count).cast(), 8) };
}
