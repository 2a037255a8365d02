//! NAT behaviour discovery (RFC 5780): which of our sockets stands for "another address" and
//! "another port". What is asked and answered is in `requests::binding`.

use std::net::SocketAddr;

/// The listening sockets as a client that looks for NATs sees them. Immutable; shared by all
/// workers, whose sockets are numbered alike.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Discovery {
    doors: Vec<Option<Door>>,
}

/// One listening socket, and those that differ from it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Door {
    /// Its address.
    pub address: SocketAddr,
    /// The socket at the same address with another port.
    pub other_port: Option<u16>,
    /// Sockets at another address of the family.
    pub other_address: Option<OtherAddress>,
}

/// The half of a [`Door`]'s square that has the other address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OtherAddress {
    /// The socket with the door's own port.
    pub same_port: u16,
    /// The socket with the other port.
    pub other_port: u16,
    /// The address of the latter: OTHER-ADDRESS.
    pub address: SocketAddr,
}

/// What CHANGE-REQUEST asks for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Change {
    /// Answer from another address.
    pub address: bool,
    /// Answer from another port.
    pub port: bool,
}

impl Discovery {
    /// By the addresses of the listening sockets, in the order of their numbers. One that takes
    /// every address has no other.
    pub fn new(listeners: &[SocketAddr]) -> Self {
        let number = |wanted: SocketAddr| {
            let at = listeners.iter().position(|address| *address == wanted);
            at.and_then(|at| u16::try_from(at).ok())
        };
        let door = |address: &SocketAddr| {
            let address = *address;
            if address.ip().is_unspecified() {
                return None;
            }
            let square = listeners.iter().find_map(|other| {
                let differs = other.ip() != address.ip()
                    && other.is_ipv4() == address.is_ipv4()
                    && other.port() != address.port()
                    && !other.ip().is_unspecified();
                if !differs {
                    return None;
                }
                let other_port = number(SocketAddr::new(address.ip(), other.port()))?;
                let other_address = OtherAddress {
                    same_port: number(SocketAddr::new(other.ip(), address.port()))?,
                    other_port: number(*other)?,
                    address: *other,
                };
                Some((other_port, other_address))
            });
            let neighbour = || {
                let mut all = listeners.iter();
                all.find(|other| other.ip() == address.ip() && other.port() != address.port())
            };
            Some(Door {
                address,
                other_port: match square {
                    Some((port, _)) => Some(port),
                    None => neighbour().copied().and_then(number),
                },
                other_address: square.map(|(_, other)| other),
            })
        };
        Self {
            doors: listeners.iter().map(door).collect(),
        }
    }

    /// A socket that answers by RFC 5780: one that has at least another port.
    pub fn door(&self, socket: u16) -> Option<&Door> {
        let door = self.doors.get(usize::from(socket))?.as_ref();
        door.filter(|door| door.other_port.is_some())
    }

    /// Whether any socket answers by RFC 5780, and whether any has another address.
    pub fn reach(&self) -> Reach {
        let mut doors = self.doors.iter().flatten();
        if doors.clone().any(|door| door.other_address.is_some()) {
            Reach::Addresses
        } else if doors.any(|door| door.other_port.is_some()) {
            Reach::Ports
        } else {
            Reach::Nothing
        }
    }
}

/// How much of a NAT's behaviour can be found out from a set of listeners.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reach {
    /// Nothing: no two belong together.
    Nothing,
    /// Filtering by port.
    Ports,
    /// Everything.
    Addresses,
}

impl Door {
    /// The socket that an answer has to leave by, `None` for the one it came to. An error: there
    /// is no such socket.
    pub fn socket(&self, change: Change) -> Result<Option<u16>, Unavailable> {
        let other = self.other_address.ok_or(Unavailable);
        match (change.address, change.port) {
            (false, false) => Ok(None),
            (false, true) => self.other_port.map(Some).ok_or(Unavailable),
            (true, false) => other.map(|other| Some(other.same_port)),
            (true, true) => other.map(|other| Some(other.other_port)),
        }
    }
}

/// The server has no second address, or no second port.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("there is no such socket")]
pub struct Unavailable;

impl Change {
    /// Reads the value of CHANGE-REQUEST (RFC 5780 section 7.2).
    pub fn decode(value: &[u8]) -> Option<Self> {
        let &[_, _, _, flags] = value else {
            return None;
        };
        Some(Self {
            address: flags & 0x04 != 0,
            port: flags & 0x02 != 0,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn discovery(listeners: &[&str]) -> Discovery {
        let listeners: Vec<_> = listeners.iter().map(|a| a.parse().unwrap()).collect();
        Discovery::new(&listeners)
    }

    fn change(address: bool, port: bool) -> Change {
        Change { address, port }
    }

    #[test]
    fn two_addresses_with_two_ports_each_make_a_square() {
        let discovery = discovery(&[
            "192.0.2.1:3478",
            "192.0.2.1:3479",
            "192.0.2.2:3478",
            "192.0.2.2:3479",
            "[2001:db8::1]:3478",
        ]);
        assert_eq!(discovery.reach(), Reach::Addresses);
        let other = |socket| {
            discovery
                .door(socket)
                .unwrap()
                .other_address
                .unwrap()
                .address
        };
        assert_eq!(other(0), "192.0.2.2:3479".parse().unwrap());
        assert_eq!(other(3), "192.0.2.1:3478".parse().unwrap());
        let door = discovery.door(1).unwrap();
        assert_eq!(door.socket(change(false, false)), Ok(None));
        assert_eq!(door.socket(change(false, true)), Ok(Some(0)));
        assert_eq!(door.socket(change(true, false)), Ok(Some(3)));
        assert_eq!(door.socket(change(true, true)), Ok(Some(2)));
        assert_eq!(discovery.door(4), None, "alone in its family");
        assert_eq!(discovery.door(5), None);
    }

    #[test]
    fn one_address_with_two_ports_has_no_other_address() {
        let discovery = discovery(&["192.0.2.1:3478", "192.0.2.1:3479", "192.0.2.2:3480"]);
        assert_eq!(discovery.reach(), Reach::Ports);
        let door = discovery.door(0).unwrap();
        assert_eq!(door.other_address, None);
        assert_eq!(door.socket(change(false, true)), Ok(Some(1)));
        assert_eq!(door.socket(change(true, false)), Err(Unavailable));
        assert_eq!(door.socket(change(true, true)), Err(Unavailable));
    }

    #[test]
    fn a_socket_for_every_address_is_no_door() {
        let discovery = discovery(&["[::]:3478", "[::]:3479", "0.0.0.0:3480"]);
        assert_eq!(discovery.reach(), Reach::Nothing);
        assert_eq!(discovery.door(0), None);
    }
}
