//! The error queue of a UDP socket (`IP_RECVERR`): what ICMP said of datagrams that it sent.

use std::io;
use std::net::SocketAddr;
use std::os::fd::{AsRawFd, BorrowedFd};
use std::ptr;

use libc::{iovec, sockaddr_storage, socklen_t};

use super::{BATCH, CONTROL, ReceiveScratch, check, read_address};

/// What became of a datagram.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SocketError {
    /// Where it was meant to go.
    pub to: SocketAddr,
    /// Type of the ICMP or ICMPv6 message.
    pub kind: u8,
    /// Its code.
    pub code: u8,
    /// For a datagram that was too big, what would not have been; else of no meaning.
    pub mtu: u32,
}

/// ICMP: destination unreachable, fragmentation needed.
const TOO_BIG_V4: (u8, u8) = (3, 4);

/// ICMPv6: packet too big.
const TOO_BIG_V6: (u8, u8) = (2, 0);

/// Takes errors out of the queue, at most [`BATCH`], without waiting. Returns how many there
/// were; `found` is told of those that are about a path or a destination.
pub fn receive_errors(
    socket: BorrowedFd<'_>,
    scratch: &mut ReceiveScratch,
    mut found: impl FnMut(SocketError),
) -> io::Result<usize> {
    for at in 0..BATCH {
        // The datagram itself comes back, too; nobody wants it.
        scratch.iovecs[at] = iovec {
            iov_base: ptr::null_mut(),
            iov_len: 0,
        };
        let header = &mut scratch.messages[at].msg_hdr;
        header.msg_name = (&raw mut scratch.names[at]).cast();
        header.msg_namelen = size_of::<sockaddr_storage>() as socklen_t;
        header.msg_iov = &raw mut scratch.iovecs[at];
        header.msg_iovlen = 1;
        header.msg_control = (&raw mut scratch.controls[at]).cast();
        header.msg_controllen = CONTROL as _;
        header.msg_flags = 0;
    }
    // SAFETY: the headers point to live buffers of the lengths given, or of length zero.
    let got = check(unsafe {
        libc::recvmmsg(
            socket.as_raw_fd(),
            scratch.messages.as_mut_ptr(),
            BATCH as u32,
            libc::MSG_DONTWAIT | libc::MSG_ERRQUEUE,
            ptr::null_mut(),
        )
    })? as usize;
    for (at, message) in scratch.messages.iter().take(got).enumerate() {
        let to = read_address(&scratch.names[at]);
        if let (Some(to), Some((kind, code, mtu))) = (to, read_error(&message.msg_hdr)) {
            found(SocketError {
                to,
                kind,
                code,
                mtu,
            });
        }
    }
    Ok(got)
}

fn read_error(header: &libc::msghdr) -> Option<(u8, u8, u32)> {
    // SAFETY: the kernel has filled `msg_control` up to `msg_controllen`, and the CMSG macros walk
    // inside that.
    unsafe {
        let mut at = libc::CMSG_FIRSTHDR(header);
        while let Some(control) = at.as_ref() {
            let too_big = match (control.cmsg_level, control.cmsg_type) {
                (libc::IPPROTO_IP, libc::IP_RECVERR) => Some(TOO_BIG_V4),
                (libc::IPPROTO_IPV6, libc::IPV6_RECVERR) => Some(TOO_BIG_V6),
                _ => None,
            };
            if let Some((kind, code)) = too_big {
                let data = libc::CMSG_DATA(at).cast::<libc::sock_extended_err>();
                let error = data.read_unaligned();
                return match error.ee_origin {
                    libc::SO_EE_ORIGIN_ICMP | libc::SO_EE_ORIGIN_ICMP6 => {
                        Some((error.ee_type, error.ee_code, error.ee_info))
                    }
                    // What a router said once, the kernel remembers and says by itself.
                    libc::SO_EE_ORIGIN_LOCAL if error.ee_errno == libc::EMSGSIZE as u32 => {
                        Some((kind, code, error.ee_info))
                    }
                    _ => None,
                };
            }
            at = libc::CMSG_NXTHDR(header, at);
        }
    }
    None
}
