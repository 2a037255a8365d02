//! Listening sockets that the service manager has opened (systemd's socket activation): they outlive
//! this process, so nobody is refused while another takes its place.

use std::io;
use std::net::{SocketAddr, TcpListener, UdpSocket};
use std::os::fd::OwnedFd;

use socket2::{Socket, Type};

use super::sys;

/// Why the service manager's sockets cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// They are not there.
    #[error("the sockets that LISTEN_FDS promises: {0}")]
    Missing(#[source] io::Error),
    /// One of them is of no use here.
    #[error(
        "socket {number} of the service manager is {what}; the socket unit should have ListenStream= and \
         ListenDatagram= with internet addresses, and Accept=no"
    )]
    Unusable {
        /// Which, counted from 1.
        number: usize,
        /// What it is.
        what: String,
    },
}

/// The sockets that nobody has asked for yet.
#[derive(Debug, Default)]
pub struct Inherited {
    tcp: Vec<(SocketAddr, TcpListener)>,
    udp: Vec<(SocketAddr, UdpSocket)>,
}

impl Inherited {
    /// Takes what the service manager has left; nothing without one. To be called once.
    pub fn take() -> Result<Self, Error> {
        Self::new(sys::inherited().map_err(Error::Missing)?)
    }

    fn new(descriptors: Vec<OwnedFd>) -> Result<Self, Error> {
        let mut this = Self::default();
        for (at, descriptor) in descriptors.into_iter().enumerate() {
            this.add(Socket::from(descriptor))
                .map_err(|what| Error::Unusable {
                    number: at + 1,
                    what,
                })?;
        }
        Ok(this)
    }

    fn add(&mut self, socket: Socket) -> Result<(), String> {
        let odd = |error: io::Error| format!("no socket ({error})");
        let kind = socket.r#type().map_err(odd)?;
        let address = socket.local_addr().map_err(odd)?.as_socket();
        let address = address.ok_or("not one of the internet")?;
        socket.set_nonblocking(true).map_err(odd)?;
        match kind {
            Type::STREAM if socket.is_listener().map_err(odd)? => {
                self.tcp.push((address, socket.into()));
            }
            Type::STREAM => return Err("a connection, not a listener".to_owned()),
            Type::DGRAM => {
                // When another process takes over, each client that is left here gets a socket of
                // its own on this port.
                socket.set_reuse_address(true).map_err(odd)?;
                self.udp.push((address, socket.into()));
            }
            _ => return Err("neither for streams nor for datagrams".to_owned()),
        }
        Ok(())
    }

    /// Whether there is none, any more.
    pub fn is_empty(&self) -> bool {
        self.tcp.is_empty() && self.udp.is_empty()
    }

    /// The listener on this address.
    pub fn tcp(&mut self, address: SocketAddr) -> Option<TcpListener> {
        let at = self
            .tcp
            .iter()
            .position(|(local, _)| is_same(address, *local))?;
        Some(self.tcp.swap_remove(at).1)
    }

    /// All UDP sockets on this address, between which the kernel divides the clients.
    pub fn udp(&mut self, address: SocketAddr) -> Vec<UdpSocket> {
        let of_it = |(local, _): &mut (SocketAddr, UdpSocket)| is_same(address, *local);
        let taken = self.udp.extract_if(.., of_it);
        taken.map(|(_, socket)| socket).collect()
    }

    /// What nobody asked for.
    pub fn left(&self) -> impl Iterator<Item = String> {
        let tcp = self.tcp.iter().map(|(local, _)| format!("{local} (tcp)"));
        let udp = self.udp.iter().map(|(local, _)| format!("{local} (udp)"));
        tcp.chain(udp)
    }
}

/// Whether a configured address means this one: every address of one family and of both are alike.
fn is_same(configured: SocketAddr, local: SocketAddr) -> bool {
    let (one, other) = (configured.ip().to_canonical(), local.ip().to_canonical());
    configured.port() == local.port()
        && (one == other || one.is_unspecified() && other.is_unspecified())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(text: &str) -> SocketAddr {
        text.parse().unwrap()
    }

    #[test]
    fn sockets_are_found_by_the_addresses_of_the_configuration() {
        let tcp = TcpListener::bind("127.0.0.1:0").unwrap();
        let udp = UdpSocket::bind("127.0.0.1:0").unwrap();
        let (at, datagrams) = (tcp.local_addr().unwrap(), udp.local_addr().unwrap());
        let mut inherited = Inherited::new(vec![tcp.into(), udp.into()]).unwrap();
        assert!(inherited.tcp(address("127.0.0.1:1")).is_none());
        assert!(inherited.udp(address("127.0.0.1:1")).is_empty());
        assert_eq!(inherited.left().count(), 2);
        assert!(inherited.tcp(at).is_some());
        assert!(inherited.tcp(at).is_none());
        assert_eq!(inherited.udp(datagrams).len(), 1);
        assert!(inherited.is_empty());
    }

    #[test]
    fn every_address_is_every_address() {
        for (configured, local, same) in [
            ("[::]:443", "[::]:443", true),
            ("[::]:443", "0.0.0.0:443", true),
            ("0.0.0.0:443", "[::]:443", true),
            ("[::]:443", "[::]:444", false),
            ("[::]:443", "192.0.2.1:443", false),
            ("192.0.2.1:443", "[::ffff:192.0.2.1]:443", true),
        ] {
            let found = is_same(address(configured), address(local));
            assert_eq!(found, same, "{configured} {local}");
        }
    }

    #[test]
    fn what_is_no_listening_socket_is_refused_with_its_number() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let connection = std::net::TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let error = Inherited::new(vec![listener.into(), connection.into()]).unwrap_err();
        let text = error.to_string();
        assert!(
            text.starts_with("socket 2 of the service manager is a connection"),
            "{text}"
        );
        let file = std::fs::File::open("/dev/null").unwrap();
        assert!(Inherited::new(vec![file.into()]).is_err());
    }
}
