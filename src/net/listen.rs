//! Listening sockets: dual stack, shared between workers, non-blocking.
//!
//! A refusal says which address, why, and what to do about it; see [`super::holder`].

use std::fmt;
use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener, UdpSocket};
use std::num::NonZeroUsize;

use socket2::{Domain, Protocol, SockAddr, Socket, Type};

use super::holder::{self, Transport};

/// Why nothing listens on an address.
#[derive(Debug)]
pub struct Error {
    address: SocketAddr,
    transport: Transport,
    /// Which key of the configuration the address is from.
    setting: &'static str,
    cause: io::Error,
}

impl Error {
    /// Whether somebody else holds the port.
    pub fn in_use(&self) -> bool {
        self.cause.kind() == io::ErrorKind::AddrInUse
    }
}

// No `source`: the sentence says what the cause means, and a chain would repeat it.
impl std::error::Error for Error {}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            address,
            transport,
            setting,
            cause,
        } = self;
        let port = address.port();
        match cause.kind() {
            io::ErrorKind::AddrInUse => {
                f.write_str(&holder::sentence(*transport, *address, setting))
            }
            io::ErrorKind::PermissionDenied if port < 1024 => {
                let program = std::env::current_exe()
                    .map_or_else(|_| "callbox".to_owned(), |path| path.display().to_string());
                write!(
                    f,
                    "port {port} ({transport}) needs a privilege: grant it with `sudo setcap cap_net_bind_service=+ep {program}`, \
                     or with AmbientCapabilities=CAP_NET_BIND_SERVICE in a systemd unit, \
                     or open such ports to everybody with `sudo sysctl net.ipv4.ip_unprivileged_port_start={port}`, \
                     or choose a port above 1023 with {setting}"
                )
            }
            io::ErrorKind::AddrNotAvailable => write!(
                f,
                "{address} ({transport}) is not an address of this machine: use one that `ip address` shows, \
                 or \"[::]:{port}\" for all, in {setting}"
            ),
            _ => write!(
                f,
                "{address} ({transport}) cannot be listened on: {cause}; it is set by {setting}"
            ),
        }
    }
}

/// A TCP listener. `[::]` takes IPv4 as well, and is `0.0.0.0` on a machine without IPv6.
pub fn tcp(address: SocketAddr, setting: &'static str) -> Result<TcpListener, Error> {
    let listen = |address| {
        let socket = bound(address, Transport::Tcp, Sharing::Alone)?;
        socket.listen(BACKLOG)?;
        Ok(socket.into())
    };
    with_fallback(address, listen).map_err(|cause| Error {
        address,
        transport: Transport::Tcp,
        setting,
        cause,
    })
}

/// `count` UDP sockets on one address, between which the kernel divides the clients.
pub fn udp(
    address: SocketAddr,
    count: NonZeroUsize,
    setting: &'static str,
) -> Result<Vec<UdpSocket>, Error> {
    with_fallback(address, |address| udp_group(address, count)).map_err(|cause| Error {
        address,
        transport: Transport::Udp,
        setting,
        cause,
    })
}

fn udp_group(address: SocketAddr, count: NonZeroUsize) -> io::Result<Vec<UdpSocket>> {
    if count == NonZeroUsize::MIN {
        return Ok(vec![bound(address, Transport::Udp, Sharing::Alone)?.into()]);
    }
    // With SO_REUSEPORT a second process of the same user would join the group and get a share of
    // the packets. So the port is asked for without it first, which only works on a free one.
    let probe = bound(address, Transport::Udp, Sharing::Alone)?;
    let mut address = address;
    if let Some(local) = probe.local_addr()?.as_socket() {
        address.set_port(local.port());
    }
    drop(probe);
    (0..count.get())
        .map(|_| Ok(bound(address, Transport::Udp, Sharing::Group)?.into()))
        .collect()
}

/// On a machine without IPv6, every address means every IPv4 address.
fn with_fallback<T>(
    address: SocketAddr,
    bind: impl Fn(SocketAddr) -> io::Result<T>,
) -> io::Result<T> {
    let error = match bind(address) {
        Ok(bound) => return Ok(bound),
        Err(error) => error,
    };
    let no_ipv6 = matches!(
        error.raw_os_error(),
        Some(libc::EAFNOSUPPORT | libc::EADDRNOTAVAIL | libc::EPROTONOSUPPORT)
    );
    match address.ip() {
        IpAddr::V6(ip) if ip.is_unspecified() && no_ipv6 => {
            bind(SocketAddr::from((Ipv4Addr::UNSPECIFIED, address.port())))
        }
        _ => Err(error),
    }
}

/// Whether the port is shared with other sockets of this process.
#[derive(Clone, Copy, PartialEq)]
enum Sharing {
    Alone,
    Group,
}

fn bound(address: SocketAddr, transport: Transport, sharing: Sharing) -> io::Result<Socket> {
    let (kind, protocol) = match transport {
        Transport::Tcp => (Type::STREAM, Protocol::TCP),
        Transport::Udp => (Type::DGRAM, Protocol::UDP),
    };
    let socket = Socket::new(Domain::for_address(address), kind, Some(protocol))?;
    socket.set_nonblocking(true)?;
    if address.is_ipv6() {
        // The system's default is a sysctl away from being the other one.
        socket.set_only_v6(!address.ip().to_canonical().is_unspecified())?;
    }
    match transport {
        // A restart must not wait for connections of the last run to time out.
        Transport::Tcp => socket.set_reuse_address(true)?,
        Transport::Udp => {
            socket.set_reuse_port(sharing == Sharing::Group)?;
            // The kernel grants what net.core.rmem_max allows; less is slower, not wrong.
            let _ = socket.set_recv_buffer_size(UDP_BUFFER);
            let _ = socket.set_send_buffer_size(UDP_BUFFER);
        }
    }
    socket.bind(&SockAddr::from(address))?;
    Ok(socket)
}

/// Connections the kernel completes before they are accepted.
const BACKLOG: i32 = 1024;

/// Half a second of one video stream of 64 Mbit/s.
const UDP_BUFFER: usize = 4 << 20;

#[cfg(test)]
mod tests {
    use std::net::{Ipv6Addr, TcpStream};

    use super::*;

    const ONE: NonZeroUsize = NonZeroUsize::MIN;
    const LOOPBACK: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 0);

    fn three() -> NonZeroUsize {
        NonZeroUsize::new(3).unwrap()
    }

    #[test]
    fn a_taken_tcp_port_names_its_holder_and_the_setting() {
        let first = tcp(LOOPBACK, "[front] https").unwrap();
        let address = first.local_addr().unwrap();
        let error = tcp(address, "[front] https").unwrap_err();
        assert!(error.in_use());
        let sentence = error.to_string();
        let expected = format!("port {} (tcp) is held by ", address.port());
        assert!(sentence.starts_with(&expected), "{sentence}");
        assert!(
            sentence.contains(&format!("(pid {})", std::process::id())),
            "{sentence}"
        );
        assert!(
            sentence.ends_with("choose another port with [front] https"),
            "{sentence}"
        );
    }

    #[test]
    fn a_group_of_udp_sockets_shares_a_port_that_nobody_else_can_join() {
        let group = udp(LOOPBACK, three(), "[turn] listen").unwrap();
        let address = group[0].local_addr().unwrap();
        assert!(group.iter().all(|s| s.local_addr().unwrap() == address));
        for count in [ONE, three()] {
            let error = udp(address, count, "[turn] listen").unwrap_err();
            assert!(error.in_use(), "{error}");
            assert!(error.to_string().contains("(udp) is held by"), "{error}");
        }
    }

    #[test]
    fn the_ipv6_wildcard_takes_ipv4_too() {
        let listener = tcp((Ipv6Addr::UNSPECIFIED, 0).into(), "[front] https").unwrap();
        let port = listener.local_addr().unwrap().port();
        assert!(TcpStream::connect((Ipv4Addr::LOCALHOST, port)).is_ok());
    }

    #[test]
    fn sockets_do_not_block() {
        let listener = tcp(LOOPBACK, "x").unwrap();
        assert_eq!(
            listener.accept().unwrap_err().kind(),
            io::ErrorKind::WouldBlock
        );
        let socket = udp(LOOPBACK, ONE, "x").unwrap().remove(0);
        assert_eq!(
            socket.recv(&mut [0]).unwrap_err().kind(),
            io::ErrorKind::WouldBlock
        );
    }

    #[test]
    fn an_address_of_another_machine_is_explained() {
        let error = tcp("192.0.2.1:8443".parse().unwrap(), "[front] https").unwrap_err();
        assert!(!error.in_use());
        assert!(
            error.to_string().contains("not an address of this machine"),
            "{error}"
        );
    }

    #[test]
    fn a_low_port_without_the_privilege_is_explained_with_the_remedy() {
        let error = Error {
            address: "0.0.0.0:443".parse().unwrap(),
            transport: Transport::Tcp,
            setting: "[front] https",
            cause: io::ErrorKind::PermissionDenied.into(),
        };
        let sentence = error.to_string();
        for part in [
            "port 443 (tcp)",
            "setcap",
            "AmbientCapabilities",
            "sysctl",
            "[front] https",
        ] {
            assert!(sentence.contains(part), "{part}: {sentence}");
        }
    }

    #[test]
    fn without_ipv6_every_address_means_every_ipv4_address() {
        let tried = std::cell::RefCell::new(Vec::new());
        let bind = |address: SocketAddr| {
            tried.borrow_mut().push(address.to_string());
            match address.is_ipv6() {
                true => Err(io::Error::from_raw_os_error(libc::EAFNOSUPPORT)),
                false => Ok(()),
            }
        };
        assert!(with_fallback("[::]:443".parse().unwrap(), bind).is_ok());
        assert!(with_fallback("[::1]:443".parse().unwrap(), bind).is_err());
        assert_eq!(tried.into_inner(), ["[::]:443", "0.0.0.0:443", "[::1]:443"]);
    }
}
