//! TCP sockets as the relay needs them (RFC 6062): one that listens, and others that connect from
//! the same port.

use std::io;
use std::net::{IpAddr, SocketAddr, TcpListener, TcpStream};

use socket2::{Domain, SockAddr, Socket, Type};

/// Connections the kernel completes before they are accepted.
const BACKLOG: i32 = 16;

/// Listens at a port from which connections can be made as well.
pub fn relay(ip: IpAddr, port: u16) -> io::Result<TcpListener> {
    let address = SocketAddr::new(ip, port);
    // What lets us connect from this port would also let us listen beside another program of the
    // same user. So the port is asked for without it first.
    drop(bound(address, Sharing::Alone)?);
    let socket = bound(address, Sharing::Group)?;
    socket.listen(BACKLOG)?;
    Ok(socket.into())
}

/// Begins to connect from a port where a [`relay`] listens. Whether it worked is known when the
/// socket can be written: see [`TcpStream::take_error`].
pub fn connect(from: SocketAddr, to: SocketAddr) -> io::Result<TcpStream> {
    let socket = bound(from, Sharing::Group)?;
    match socket.connect(&SockAddr::from(to)) {
        Err(error) if error.raw_os_error() != Some(libc::EINPROGRESS) => return Err(error),
        _ => {}
    }
    socket.set_tcp_nodelay(true)?;
    Ok(socket.into())
}

/// Whether the port is shared with other sockets of this process.
#[derive(Clone, Copy, PartialEq)]
enum Sharing {
    Alone,
    Group,
}

fn bound(address: SocketAddr, sharing: Sharing) -> io::Result<Socket> {
    let kind = Type::STREAM.nonblocking();
    let socket = Socket::new(Domain::for_address(address), kind, None)?;
    if address.is_ipv6() {
        socket.set_only_v6(true)?;
    }
    // Connections of an earlier allocation at this port may still be on their way out.
    socket.set_reuse_address(true)?;
    socket.set_reuse_port(sharing == Sharing::Group)?;
    socket.bind(&SockAddr::from(address))?;
    Ok(socket)
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};

    use super::*;

    const LOCALHOST: IpAddr = IpAddr::V4(std::net::Ipv4Addr::LOCALHOST);

    #[test]
    fn connections_are_made_from_the_port_that_listens() {
        let relay = relay(LOCALHOST, 0).unwrap();
        let from = relay.local_addr().unwrap();
        let servers = [(); 2].map(|()| TcpListener::bind((LOCALHOST, 0)).unwrap());
        for server in servers {
            let to = server.local_addr().unwrap();
            let mut out = connect(from, to).unwrap();
            let (mut accepted, peer) = server.accept().unwrap();
            assert_eq!(peer, from);
            out.write_all(b"x").unwrap();
            accepted.read_exact(&mut [0]).unwrap();
        }
        let mut visitor = TcpStream::connect(from).unwrap();
        relay.set_nonblocking(false).unwrap();
        let (mut accepted, _) = relay.accept().unwrap();
        accepted.write_all(b"y").unwrap();
        visitor.read_exact(&mut [0]).unwrap();
    }

    #[test]
    fn nobody_listens_twice_at_one_port() {
        let first = relay(LOCALHOST, 0).unwrap();
        let port = first.local_addr().unwrap().port();
        let error = relay(LOCALHOST, port).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::AddrInUse);
        let other = TcpListener::bind((LOCALHOST, 0)).unwrap();
        let port = other.local_addr().unwrap().port();
        assert!(relay(LOCALHOST, port).is_err());
    }
}
