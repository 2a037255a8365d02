//! System calls that the standard library does not have: recvmmsg, sendmmsg, their control
//! messages, epoll, eventfd, inherited descriptors and a few socket options. The only `unsafe` of the project.

#![allow(unsafe_code)]

mod errors;
mod inherited;
mod poll;

use std::io;
use std::marker::PhantomData;
use std::mem;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::os::fd::{AsRawFd, BorrowedFd, RawFd};
use std::ptr;

use libc::{c_int, c_void, iovec, mmsghdr, sockaddr_storage, socklen_t};

pub use errors::{SocketError, receive_errors};
pub use inherited::inherited;
pub use poll::{Interest, Poller, Ready, acknowledge, event_fd, notify};

/// Datagrams that one [`receive`] takes at most.
pub const BATCH: usize = 32;

/// Room for the control messages of one datagram: packet info of either family and a segment size.
const CONTROL: usize = 128;

#[derive(Clone, Copy)]
#[repr(C, align(8))]
struct Control([u8; CONTROL]);

/// Everything that recvmmsg writes to, allocated once.
pub struct ReceiveScratch {
    messages: Box<[mmsghdr]>,
    iovecs: Box<[iovec]>,
    names: Box<[sockaddr_storage]>,
    controls: Box<[Control]>,
}

// SAFETY: the raw pointers inside point into the boxes beside them and are set anew by each call.
unsafe impl Send for ReceiveScratch {}

/// What came with a datagram.
#[derive(Clone, Copy, Debug)]
pub struct Received {
    /// Bytes in its buffer.
    pub len: usize,
    /// Its sender; IPv4 also on a dual-stack socket.
    pub source: SocketAddr,
    /// The address it was sent to, where the socket reports it.
    pub local: Option<IpAddr>,
    /// Bytes of each of the datagrams that the kernel has joined; the last may be shorter.
    pub segment: usize,
    /// Whether it was longer than its buffer.
    pub truncated: bool,
}

impl Default for ReceiveScratch {
    fn default() -> Self {
        // SAFETY: all-zero is a valid value of these C structures.
        let zeroed = unsafe { (mem::zeroed::<mmsghdr>(), mem::zeroed::<sockaddr_storage>()) };
        let no_iovec = iovec {
            iov_base: ptr::null_mut(),
            iov_len: 0,
        };
        Self {
            messages: vec![zeroed.0; BATCH].into(),
            iovecs: vec![no_iovec; BATCH].into(),
            names: vec![zeroed.1; BATCH].into(),
            controls: vec![Control([0; CONTROL]); BATCH].into(),
        }
    }
}

/// Receives into `buffers`, one datagram each, at most [`BATCH`], without waiting. `found` is told
/// of each in order.
pub fn receive<'b>(
    socket: BorrowedFd<'_>,
    scratch: &mut ReceiveScratch,
    buffers: impl Iterator<Item = &'b mut [u8]>,
    mut found: impl FnMut(usize, Received),
) -> io::Result<usize> {
    let mut count = 0;
    for (buffer, at) in buffers.zip(0..BATCH) {
        scratch.iovecs[at] = iovec {
            iov_base: buffer.as_mut_ptr().cast(),
            iov_len: buffer.len(),
        };
        let header = &mut scratch.messages[at].msg_hdr;
        header.msg_name = (&raw mut scratch.names[at]).cast();
        header.msg_namelen = size_of::<sockaddr_storage>() as socklen_t;
        header.msg_iov = &raw mut scratch.iovecs[at];
        header.msg_iovlen = 1;
        header.msg_control = (&raw mut scratch.controls[at]).cast();
        header.msg_controllen = CONTROL as _;
        header.msg_flags = 0;
        count = at + 1;
    }
    // SAFETY: the first `count` headers point to live buffers of the lengths given.
    let got = check(unsafe {
        libc::recvmmsg(
            socket.as_raw_fd(),
            scratch.messages.as_mut_ptr(),
            count as u32,
            libc::MSG_DONTWAIT,
            ptr::null_mut(),
        )
    })? as usize;
    for (at, message) in scratch.messages.iter().take(got).enumerate() {
        let len = message.msg_len as usize;
        let (local, segment) = read_controls(&message.msg_hdr);
        // What has no address is no datagram from anybody; an empty port 0 stands for it.
        let source = read_address(&scratch.names[at])
            .unwrap_or_else(|| SocketAddr::new(Ipv4Addr::UNSPECIFIED.into(), 0));
        found(
            at,
            Received {
                len,
                source,
                local,
                segment: segment.filter(|s| *s > 0).unwrap_or(len),
                truncated: message.msg_hdr.msg_flags & libc::MSG_TRUNC != 0,
            },
        );
    }
    Ok(got)
}

fn read_controls(header: &libc::msghdr) -> (Option<IpAddr>, Option<usize>) {
    let (mut local, mut segment) = (None, None);
    // SAFETY: the kernel has filled `msg_control` up to `msg_controllen`, and the CMSG macros walk
    // inside that.
    unsafe {
        let mut at = libc::CMSG_FIRSTHDR(header);
        while let Some(control) = at.as_ref() {
            let data = libc::CMSG_DATA(at);
            match (control.cmsg_level, control.cmsg_type) {
                (libc::IPPROTO_IP, libc::IP_PKTINFO) => {
                    let info = data.cast::<libc::in_pktinfo>().read_unaligned();
                    local = Some(IpAddr::from(Ipv4Addr::from(u32::from_be(
                        info.ipi_addr.s_addr,
                    ))));
                }
                (libc::IPPROTO_IPV6, libc::IPV6_PKTINFO) => {
                    let info = data.cast::<libc::in6_pktinfo>().read_unaligned();
                    local =
                        Some(IpAddr::from(Ipv6Addr::from(info.ipi6_addr.s6_addr)).to_canonical());
                }
                (libc::SOL_UDP, libc::UDP_GRO) => {
                    segment = usize::try_from(data.cast::<c_int>().read_unaligned()).ok();
                }
                _ => {}
            }
            at = libc::CMSG_NXTHDR(header, at);
        }
    }
    (local, segment)
}

fn read_address(name: &sockaddr_storage) -> Option<SocketAddr> {
    match c_int::from(name.ss_family) {
        libc::AF_INET => {
            // SAFETY: the family says which structure it is, and the storage is large enough.
            let v4 = unsafe { &*ptr::from_ref(name).cast::<libc::sockaddr_in>() };
            let ip = Ipv4Addr::from(u32::from_be(v4.sin_addr.s_addr));
            Some(SocketAddr::new(ip.into(), u16::from_be(v4.sin_port)))
        }
        libc::AF_INET6 => {
            // SAFETY: as above.
            let v6 = unsafe { &*ptr::from_ref(name).cast::<libc::sockaddr_in6>() };
            let ip = Ipv6Addr::from(v6.sin6_addr.s6_addr);
            let port = u16::from_be(v6.sin6_port);
            Some(match ip.to_ipv4_mapped() {
                Some(v4) => SocketAddr::new(v4.into(), port),
                None => std::net::SocketAddrV6::new(ip, port, 0, v6.sin6_scope_id).into(),
            })
        }
        _ => None,
    }
}

/// The address family of a socket, which decides how IPv4 addresses are written for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SocketFamily {
    /// AF_INET
    V4,
    /// AF_INET6: IPv4 addresses are mapped.
    V6,
}

/// Everything that sendmmsg reads, reused from call to call.
#[derive(Default)]
pub struct SendScratch {
    messages: Vec<mmsghdr>,
    iovecs: Vec<iovec>,
    names: Vec<sockaddr_storage>,
    controls: Vec<Control>,
    /// Of each message: its first part, and its control bytes.
    shape: Vec<(usize, usize)>,
}

// SAFETY: pointers in the vectors are only followed by `SendBatch::send`, while what they point to
// is borrowed.
unsafe impl Send for SendScratch {}

/// Datagrams being put together for one socket. Their bytes stay borrowed for `'a`.
pub struct SendBatch<'s, 'a> {
    scratch: &'s mut SendScratch,
    family: SocketFamily,
    bytes: PhantomData<&'a [u8]>,
}

impl SendScratch {
    /// An empty batch for a socket of that family.
    pub fn batch<'a>(&mut self, family: SocketFamily) -> SendBatch<'_, 'a> {
        self.messages.clear();
        self.iovecs.clear();
        self.names.clear();
        self.controls.clear();
        self.shape.clear();
        SendBatch {
            scratch: self,
            family,
            bytes: PhantomData,
        }
    }
}

impl<'a> SendBatch<'_, 'a> {
    /// Begins a datagram; its parts follow. `from` sets the source address, `segment` has the
    /// kernel cut the bytes into datagrams of that size.
    pub fn message(&mut self, to: SocketAddr, from: Option<IpAddr>, segment: Option<u16>) {
        let scratch = &mut *self.scratch;
        scratch.names.push(write_address(to, self.family));
        let mut control = Control([0; CONTROL]);
        let len = write_controls(&mut control, from, segment, self.family);
        scratch.controls.push(control);
        scratch.shape.push((scratch.iovecs.len(), len));
    }

    /// Adds bytes to the datagram begun last.
    pub fn part(&mut self, bytes: &'a [u8]) {
        if !bytes.is_empty() {
            self.scratch.iovecs.push(iovec {
                iov_base: bytes.as_ptr().cast_mut().cast(),
                iov_len: bytes.len(),
            });
        }
    }

    /// Sends all datagrams without waiting. One that fails is skipped and `failed` is told its
    /// place and why; the others are sent. Returns how many were.
    pub fn send(self, socket: BorrowedFd<'_>, mut failed: impl FnMut(usize, io::Error)) -> usize {
        let scratch = self.scratch;
        let count = scratch.shape.len();
        let name_len = match self.family {
            SocketFamily::V4 => size_of::<libc::sockaddr_in>(),
            SocketFamily::V6 => size_of::<libc::sockaddr_in6>(),
        };
        for at in 0..count {
            let (first, control_len) = scratch.shape[at];
            let end = scratch
                .shape
                .get(at + 1)
                .map_or(scratch.iovecs.len(), |next| next.0);
            // SAFETY: all-zero is a valid mmsghdr.
            let mut message: mmsghdr = unsafe { mem::zeroed() };
            let header = &mut message.msg_hdr;
            header.msg_name = (&raw mut scratch.names[at]).cast();
            header.msg_namelen = name_len as socklen_t;
            header.msg_iov = scratch.iovecs[first..].as_mut_ptr();
            header.msg_iovlen = (end - first) as _;
            if control_len > 0 {
                header.msg_control = (&raw mut scratch.controls[at]).cast();
                header.msg_controllen = control_len as _;
            }
            scratch.messages.push(message);
        }
        let (mut at, mut sent) = (0, 0);
        let mut tried = None;
        while at < count {
            // SAFETY: the headers point into vectors that do not change any more, and to bytes
            // that are borrowed for 'a.
            let result = check(unsafe {
                libc::sendmmsg(
                    socket.as_raw_fd(),
                    scratch.messages[at..].as_mut_ptr(),
                    (count - at) as u32,
                    libc::MSG_DONTWAIT | libc::MSG_NOSIGNAL,
                )
            });
            match result {
                Ok(done) => {
                    at += done.max(1) as usize;
                    sent += done as usize;
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                // It may be about an earlier datagram, which an ICMP message came back for. The
                // kernel tells such news once, to whoever calls next.
                Err(error) if tried != Some(at) && !is_shortage(&error) => tried = Some(at),
                Err(error) => {
                    failed(at, error);
                    at += 1;
                }
            }
        }
        sent
    }
}

/// Whether the kernel has no room at present.
pub fn is_shortage(error: &io::Error) -> bool {
    matches!(
        error.raw_os_error(),
        Some(libc::EAGAIN | libc::ENOBUFS | libc::ENOMEM)
    )
}

fn write_address(addr: SocketAddr, family: SocketFamily) -> sockaddr_storage {
    // SAFETY: all-zero is a valid sockaddr_storage.
    let mut name: sockaddr_storage = unsafe { mem::zeroed() };
    match (family, addr) {
        (SocketFamily::V4, SocketAddr::V4(v4)) => {
            let out = ptr::from_mut(&mut name).cast::<libc::sockaddr_in>();
            // SAFETY: the storage is large and aligned enough for either structure.
            let out = unsafe { &mut *out };
            out.sin_family = libc::AF_INET as libc::sa_family_t;
            out.sin_port = v4.port().to_be();
            out.sin_addr.s_addr = u32::from(*v4.ip()).to_be();
        }
        // An IPv6 destination on an IPv4 socket stays AF_UNSPEC, which the kernel refuses.
        (SocketFamily::V4, SocketAddr::V6(_)) => {}
        (SocketFamily::V6, addr) => {
            let (ip, scope) = match addr {
                SocketAddr::V4(v4) => (v4.ip().to_ipv6_mapped(), 0),
                SocketAddr::V6(v6) => (*v6.ip(), v6.scope_id()),
            };
            let out = ptr::from_mut(&mut name).cast::<libc::sockaddr_in6>();
            // SAFETY: as above.
            let out = unsafe { &mut *out };
            out.sin6_family = libc::AF_INET6 as libc::sa_family_t;
            out.sin6_port = addr.port().to_be();
            out.sin6_addr.s6_addr = ip.octets();
            out.sin6_scope_id = scope;
        }
    }
    name
}

fn write_controls(
    control: &mut Control,
    from: Option<IpAddr>,
    segment: Option<u16>,
    family: SocketFamily,
) -> usize {
    let mut used = 0;
    match (family, from) {
        (SocketFamily::V4, Some(IpAddr::V4(ip))) => {
            // SAFETY: all-zero is a valid in_pktinfo.
            let mut info: libc::in_pktinfo = unsafe { mem::zeroed() };
            info.ipi_spec_dst.s_addr = u32::from(ip).to_be();
            used += write_control(control, used, libc::IPPROTO_IP, libc::IP_PKTINFO, info);
        }
        (SocketFamily::V6, Some(ip)) => {
            let ip = match ip {
                IpAddr::V4(v4) => v4.to_ipv6_mapped(),
                IpAddr::V6(v6) => v6,
            };
            let info = libc::in6_pktinfo {
                ipi6_addr: libc::in6_addr {
                    s6_addr: ip.octets(),
                },
                ipi6_ifindex: 0,
            };
            used += write_control(control, used, libc::IPPROTO_IPV6, libc::IPV6_PKTINFO, info);
        }
        _ => {}
    }
    if let Some(segment) = segment {
        used += write_control(control, used, libc::SOL_UDP, libc::UDP_SEGMENT, segment);
    }
    used
}

fn write_control<T: Copy>(
    control: &mut Control,
    at: usize,
    level: c_int,
    kind: c_int,
    value: T,
) -> usize {
    // SAFETY: CMSG_SPACE and CMSG_LEN only compute.
    let (space, len) = unsafe {
        (
            libc::CMSG_SPACE(size_of::<T>() as u32) as usize,
            libc::CMSG_LEN(size_of::<T>() as u32) as usize,
        )
    };
    let Some(room) = control.0.get_mut(at..at + space) else {
        return 0;
    };
    let header = room.as_mut_ptr().cast::<libc::cmsghdr>();
    // SAFETY: `room` has CMSG_SPACE bytes and begins at a multiple of 8 of an aligned array, as
    // CMSG_SPACE is one.
    unsafe {
        (*header).cmsg_level = level;
        (*header).cmsg_type = kind;
        (*header).cmsg_len = len as _;
        libc::CMSG_DATA(header).cast::<T>().write_unaligned(value);
    }
    space
}

/// Sets an integer socket option.
pub fn set_option(socket: BorrowedFd<'_>, option: SocketOption, value: i32) -> io::Result<()> {
    let (level, name) = match option {
        SocketOption::UdpGro => (libc::SOL_UDP, libc::UDP_GRO),
        SocketOption::PacketInfoV4 => (libc::IPPROTO_IP, libc::IP_PKTINFO),
        SocketOption::PacketInfoV6 => (libc::IPPROTO_IPV6, libc::IPV6_RECVPKTINFO),
        SocketOption::MtuDiscoverV4 => (libc::IPPROTO_IP, libc::IP_MTU_DISCOVER),
        SocketOption::MtuDiscoverV6 => (libc::IPPROTO_IPV6, libc::IPV6_MTU_DISCOVER),
        SocketOption::ErrorsV4 => (libc::IPPROTO_IP, libc::IP_RECVERR),
        SocketOption::ErrorsV6 => (libc::IPPROTO_IPV6, libc::IPV6_RECVERR),
    };
    // SAFETY: the pointer and the length are of one live integer.
    check(unsafe {
        libc::setsockopt(
            socket.as_raw_fd(),
            level,
            name,
            ptr::from_ref(&value).cast::<c_void>(),
            size_of::<c_int>() as socklen_t,
        )
    })
    .map(|_| ())
}

/// Options that the socket crates do not know.
#[derive(Clone, Copy, Debug)]
pub enum SocketOption {
    /// Let the kernel join datagrams of one flow.
    UdpGro,
    /// Report the destination address of IPv4 datagrams.
    PacketInfoV4,
    /// Report the destination address on an IPv6 socket, of mapped IPv4 too.
    PacketInfoV6,
    /// [`PMTUD_DONT`] or [`PMTUD_DO`].
    MtuDiscoverV4,
    /// [`PMTUD_DONT`] or [`PMTUD_DO`].
    MtuDiscoverV6,
    /// Keep ICMP errors for [`receive_errors`].
    ErrorsV4,
    /// The same on an IPv6 socket.
    ErrorsV6,
}

/// Routers may cut datagrams.
pub const PMTUD_DONT: i32 = libc::IP_PMTUDISC_DONT;

/// Routers must not cut datagrams.
pub const PMTUD_DO: i32 = libc::IP_PMTUDISC_DO;

/// Raises the number of files this process may have open to what it is allowed to, and further to
/// `wanted` if it has the privilege; returns it.
pub fn raise_file_limit(wanted: u64) -> io::Result<u64> {
    let mut limit = libc::rlimit {
        rlim_cur: 0,
        rlim_max: 0,
    };
    // SAFETY: the pointer is to one live structure.
    check(unsafe { libc::getrlimit(libc::RLIMIT_NOFILE, &raw mut limit) })?;
    if limit.rlim_max < wanted {
        let more = libc::rlimit {
            rlim_cur: wanted,
            rlim_max: wanted,
        };
        // SAFETY: as above.
        if unsafe { libc::setrlimit(libc::RLIMIT_NOFILE, &raw const more) } == 0 {
            return Ok(wanted);
        }
    }
    limit.rlim_cur = limit.rlim_max;
    // SAFETY: as above.
    check(unsafe { libc::setrlimit(libc::RLIMIT_NOFILE, &raw const limit) })?;
    Ok(limit.rlim_cur)
}

/// Gives memory that is free back to the system, from everywhere between what is not. May take some
/// milliseconds, during which other threads may have to wait for memory.
pub fn give_back_memory() {
    // Other C libraries have no such thing, and less to give back.
    #[cfg(target_env = "gnu")]
    // SAFETY: a call without pointers, which may be made from any thread at any time.
    unsafe {
        libc::malloc_trim(0);
    }
}

fn check(result: RawFd) -> io::Result<c_int> {
    if result < 0 {
        Err(io::Error::last_os_error())
    } else {
        Ok(result)
    }
}

#[cfg(test)]
mod tests;
