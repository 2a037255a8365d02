//! UDP sockets as the relay needs them.

use std::io;
use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::os::fd::AsFd;

use socket2::{Domain, Socket, Type};

use super::sys::{self, PMTUD_DO, PMTUD_DONT, SocketFamily, SocketOption, set_option};

/// A socket with what its sends need to know of it.
#[derive(Debug)]
pub struct DatagramSocket {
    socket: UdpSocket,
    family: SocketFamily,
    reports_destination: bool,
}

impl DatagramSocket {
    /// Readies a bound socket: a wildcard one reports which address of ours was meant, and the
    /// kernel may join datagrams of one flow, where it can.
    pub fn listener(socket: UdpSocket) -> io::Result<Self> {
        let local = socket.local_addr()?;
        socket.set_nonblocking(true)?;
        let family = family_of(local.ip());
        let reports_destination = local.ip().is_unspecified();
        if reports_destination {
            let option = match family {
                SocketFamily::V4 => SocketOption::PacketInfoV4,
                SocketFamily::V6 => SocketOption::PacketInfoV6,
            };
            set_option(socket.as_fd(), option, 1)?;
        }
        // Kernels before 5.0 lack it; everything works without.
        let _ = set_option(socket.as_fd(), SocketOption::UdpGro, 1);
        Ok(Self {
            socket,
            family,
            reports_destination,
        })
    }

    /// Opens a relay socket of one family.
    pub fn relay(ip: IpAddr, port: u16) -> io::Result<Self> {
        let addr = SocketAddr::new(ip, port);
        let socket = Socket::new(Domain::for_address(addr), Type::DGRAM.nonblocking(), None)?;
        if addr.is_ipv6() {
            socket.set_only_v6(true)?;
        }
        socket.bind(&addr.into())?;
        let this = Self {
            socket: socket.into(),
            family: family_of(ip),
            reports_destination: false,
        };
        // RFC 8656 section 14: unless asked otherwise, routers may cut what is relayed.
        this.set_dont_fragment(false)?;
        let _ = set_option(this.socket.as_fd(), SocketOption::UdpGro, 1);
        let errors = match this.family {
            SocketFamily::V4 => SocketOption::ErrorsV4,
            SocketFamily::V6 => SocketOption::ErrorsV6,
        };
        set_option(this.socket.as_fd(), errors, 1)?;
        Ok(this)
    }

    /// Opens a socket beside a listener, on the same port, for what one client sends.
    pub fn of_client(local: SocketAddr, client: SocketAddr) -> io::Result<Self> {
        let socket = Socket::new(Domain::for_address(local), Type::DGRAM.nonblocking(), None)?;
        if local.is_ipv6() {
            socket.set_only_v6(true)?;
        }
        // The listener has it, too; without it the port would be taken.
        socket.set_reuse_address(true)?;
        socket.bind(&local.into())?;
        socket.connect(&client.into())?;
        let this = Self {
            socket: socket.into(),
            family: family_of(local.ip()),
            reports_destination: false,
        };
        let _ = set_option(this.socket.as_fd(), SocketOption::UdpGro, 1);
        Ok(this)
    }

    /// Sets the DF bit of what is sent from now on.
    pub fn set_dont_fragment(&self, on: bool) -> io::Result<()> {
        let option = match self.family {
            SocketFamily::V4 => SocketOption::MtuDiscoverV4,
            SocketFamily::V6 => SocketOption::MtuDiscoverV6,
        };
        let value = if on { PMTUD_DO } else { PMTUD_DONT };
        set_option(self.socket.as_fd(), option, value)
    }

    /// How addresses are written for it.
    pub fn family(&self) -> SocketFamily {
        self.family
    }

    /// Whether datagrams come with the address they were sent to, and answers should be sent from
    /// there.
    pub fn reports_destination(&self) -> bool {
        self.reports_destination
    }

    /// Its own address.
    pub fn local_addr(&self) -> io::Result<SocketAddr> {
        self.socket.local_addr()
    }
}

impl AsFd for DatagramSocket {
    fn as_fd(&self) -> std::os::fd::BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

fn family_of(ip: IpAddr) -> SocketFamily {
    match ip {
        IpAddr::V4(_) => SocketFamily::V4,
        IpAddr::V6(_) => SocketFamily::V6,
    }
}

/// Buffers for one round of datagrams: each takes the longest there is. The memory is touched,
/// and so exists, only as far as datagrams really fill it.
#[derive(Debug)]
pub struct Arena {
    bytes: Vec<u8>,
    used: usize,
}

/// Longer than any datagram or framed message.
pub const SLOT: usize = 65_536 + 1_280;

/// Slots of an arena: two full batches.
pub const SLOTS: usize = 2 * sys::BATCH;

impl Default for Arena {
    fn default() -> Self {
        Self {
            bytes: vec![0; SLOT * SLOTS],
            used: 0,
        }
    }
}

impl Arena {
    /// Slots that are still empty.
    pub fn free(&self) -> usize {
        SLOTS - self.used
    }

    /// Offset of the first empty slot.
    pub fn next(&self) -> usize {
        self.used * SLOT
    }

    /// The empty slots, in order.
    pub fn empty(&mut self) -> impl Iterator<Item = &mut [u8]> {
        self.bytes.chunks_exact_mut(SLOT).skip(self.used)
    }

    /// Keeps the first `count` empty slots until [`Arena::clear`].
    pub fn keep(&mut self, count: usize) {
        self.used = (self.used + count).min(SLOTS);
    }

    /// All slots are empty again.
    pub fn clear(&mut self) {
        self.used = 0;
    }

    /// All bytes; offsets are from their start.
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// The first empty slot.
    pub fn slot(&mut self) -> Option<&mut [u8]> {
        let start = self.next();
        self.bytes.get_mut(start..start + SLOT)
    }
}
