//! Datagrams on their way out: collected while a round of input is handled, sent together.
//!
//! Payloads are not copied: a packet names a range of the arena they were received into, and its
//! header travels as a part of its own. Packets of one socket go in one sendmmsg; neighbours of
//! one flow and size go as one train that the kernel cuts (UDP_SEGMENT). Nothing is held back to
//! form one.

use std::net::{IpAddr, SocketAddr};
use std::ops::Range;
use std::os::fd::{AsFd, BorrowedFd};

use crate::net::sys::{SendScratch, SocketFamily, is_shortage};
use crate::turn::core::{Header, RelayId};

use super::sockets::Sockets;

/// Zero bytes behind a payload.
const PADDING: [u8; 4] = [0; 4];

/// Datagrams the kernel cuts out of one send at most (UDP_MAX_SEGMENTS of older kernels).
const MAX_SEGMENTS: usize = 64;

/// Bytes of a whole train: what fits one UDP datagram.
const MAX_TRAIN: usize = 65_000;

/// Longest datagram that goes into a train: the kernel refuses segments above the path's MTU, and
/// no path of a call is below this.
const MAX_SEGMENT: usize = 1_232;

/// Which socket a packet leaves by.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Way {
    /// A listening socket.
    Listener(u16),
    /// A relay socket, and the number that tells it from another that has taken its place.
    Relay {
        id: u32,
        number: u32,
        dont_fragment: bool,
    },
}

/// One datagram.
struct Packet {
    way: Way,
    to: SocketAddr,
    from: Option<IpAddr>,
    header: Option<Header>,
    body: Body,
}

/// Where its bytes are.
enum Body {
    Arena(Range<usize>),
    Answer(Range<usize>),
}

/// What came of a flush.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Flushed {
    /// System calls, at least.
    pub(super) sends: u64,
    /// Datagrams that the kernel refused.
    pub(super) failed: u64,
}

/// The packets of a round.
pub(super) struct Outbox {
    packets: Vec<Packet>,
    answers: Vec<u8>,
    order: Vec<u32>,
    sender: Sender,
}

/// What sending needs, kept from round to round.
struct Sender {
    scratch: SendScratch,
    /// The packets of each message: their places in the group.
    messages: Vec<Range<usize>>,
    trains: Trains,
}

/// Whether the kernel cuts trains.
#[derive(Clone, Copy, PartialEq)]
enum Trains {
    Allowed,
    /// It refused one: some devices and old kernels cannot.
    Refused,
}

impl Default for Outbox {
    fn default() -> Self {
        Self {
            packets: Vec::new(),
            answers: Vec::new(),
            order: Vec::new(),
            sender: Sender {
                scratch: SendScratch::default(),
                messages: Vec::new(),
                trains: Trains::Allowed,
            },
        }
    }
}

impl Packet {
    fn len(&self) -> usize {
        let (header, padding) = self
            .header
            .as_ref()
            .map_or((0, 0), |h| (h.as_bytes().len(), h.padding()));
        let body = match &self.body {
            Body::Arena(range) | Body::Answer(range) => range.len(),
        };
        header + body + padding
    }
}

impl Outbox {
    /// A payload for a client.
    pub(super) fn push_client(
        &mut self,
        socket: u16,
        to: SocketAddr,
        from: Option<IpAddr>,
        header: Header,
        payload: Range<usize>,
    ) {
        self.packets.push(Packet {
            way: Way::Listener(socket),
            to,
            from,
            header: Some(header),
            body: Body::Arena(payload),
        });
    }

    /// A payload for a peer.
    pub(super) fn push_peer(&mut self, way: Way, to: SocketAddr, payload: Range<usize>) {
        self.packets.push(Packet {
            way,
            to,
            from: None,
            header: None,
            body: Body::Arena(payload),
        });
    }

    /// A STUN answer, which is copied.
    pub(super) fn push_answer(
        &mut self,
        socket: u16,
        to: SocketAddr,
        from: Option<IpAddr>,
        bytes: &[u8],
    ) {
        let start = self.answers.len();
        self.answers.extend_from_slice(bytes);
        self.packets.push(Packet {
            way: Way::Listener(socket),
            to,
            from,
            header: None,
            body: Body::Answer(start..self.answers.len()),
        });
    }

    /// Sends everything. A datagram that fails is counted and is nobody's end.
    pub(super) fn flush(&mut self, arena: &[u8], sockets: &Sockets) -> Flushed {
        let mut flushed = Flushed::default();
        if self.packets.is_empty() {
            return flushed;
        }
        self.order.clear();
        self.order.extend(0..self.packets.len() as u32);
        let packets = &self.packets;
        let way = |at: &u32| packets.get(*at as usize).map(|packet| packet.way);
        if !self.order.is_sorted_by_key(way) {
            // The order within a flow stays. (A stable sort would allocate.)
            self.order.sort_unstable_by_key(|at| (way(at), *at));
        }
        let bytes = Bytes {
            arena,
            answers: &self.answers,
        };
        for group in self.order.chunk_by(|a, b| way(a) == way(b)) {
            let Some((socket, family)) = group
                .first()
                .and_then(way)
                .and_then(|way| open_way(way, sockets))
            else {
                continue;
            };
            let fragment_guard = group
                .first()
                .and_then(way)
                .and_then(|way| guard(way, sockets));
            let sent = send_group(
                Group {
                    socket,
                    family,
                    packets,
                    order: group,
                },
                bytes,
                &mut self.sender,
            );
            drop(fragment_guard);
            flushed.sends += sent.sends;
            flushed.failed += sent.failed;
        }
        self.packets.clear();
        self.answers.clear();
        flushed
    }
}

/// Both places where bytes wait.
#[derive(Clone, Copy)]
struct Bytes<'a> {
    arena: &'a [u8],
    answers: &'a [u8],
}

impl<'a> Bytes<'a> {
    fn of(self, body: &Body) -> &'a [u8] {
        match body {
            Body::Arena(range) => self.arena.get(range.clone()),
            Body::Answer(range) => self.answers.get(range.clone()),
        }
        .unwrap_or_default()
    }
}

fn open_way(way: Way, sockets: &Sockets) -> Option<(BorrowedFd<'_>, SocketFamily)> {
    let socket = match way {
        Way::Listener(at) => sockets.listeners.get(usize::from(at))?,
        Way::Relay { id, number, .. } => {
            let relay = sockets.relay(RelayId(id))?;
            if relay.number != number {
                return None;
            }
            &relay.socket
        }
    };
    Some((socket.as_fd(), socket.family()))
}

/// Sets the DF bit until dropped, for the rare packets that ask for it.
fn guard(way: Way, sockets: &Sockets) -> Option<DontFragment<'_>> {
    let Way::Relay {
        id,
        dont_fragment: true,
        ..
    } = way
    else {
        return None;
    };
    let relay = sockets.relay(RelayId(id))?;
    relay.socket.set_dont_fragment(true).ok()?;
    Some(DontFragment(&relay.socket))
}

struct DontFragment<'a>(&'a crate::net::udp::DatagramSocket);

impl Drop for DontFragment<'_> {
    fn drop(&mut self) {
        // It was just set on the same socket; there is no reason why this could fail.
        let _ = self.0.set_dont_fragment(false);
    }
}

/// Packets of one socket.
#[derive(Clone, Copy)]
struct Group<'g, 'a> {
    socket: BorrowedFd<'g>,
    family: SocketFamily,
    packets: &'a [Packet],
    order: &'g [u32],
}

impl<'a> Group<'_, 'a> {
    fn packet(&self, at: usize) -> Option<&'a Packet> {
        self.packets.get(*self.order.get(at)? as usize)
    }
}

fn send_group<'a>(group: Group<'_, 'a>, bytes: Bytes<'a>, sender: &mut Sender) -> Flushed {
    let Sender {
        scratch,
        messages,
        trains,
    } = &mut *sender;
    let mut flushed = Flushed::default();
    let mut refused = Vec::new();
    messages.clear();
    let mut batch = scratch.batch(group.family);
    let mut at = 0;
    while let Some(first) = group.packet(at) {
        let count = match trains {
            Trains::Allowed => train(&group, at),
            Trains::Refused => 1,
        };
        let segment = (count > 1).then(|| first.len() as u16);
        batch.message(first.to, first.from, segment);
        for packet in (at..at + count).filter_map(|n| group.packet(n)) {
            if let Some(header) = &packet.header {
                batch.part(header.as_bytes());
            }
            batch.part(bytes.of(&packet.body));
            if let Some(padding) = packet.header.as_ref().map(Header::padding) {
                batch.part(PADDING.get(..padding).unwrap_or_default());
            }
        }
        messages.push(at..at + count);
        at += count;
    }
    batch.send(group.socket, |message, error| {
        flushed.sends += 1;
        match messages.get(message) {
            Some(range) if range.len() > 1 && !is_shortage(&error) => refused.push(range.clone()),
            Some(range) => flushed.failed += range.len() as u64,
            None => {}
        }
    });
    flushed.sends += 1;
    if !refused.is_empty() {
        // Once and for all: a device that cannot cut will not learn it.
        *trains = Trains::Refused;
        tracing::debug!("the kernel refused a train of datagrams; sending them one by one");
    }
    for range in refused {
        let alone = Group {
            order: group.order.get(range).unwrap_or_default(),
            ..group
        };
        let sent = send_group(alone, bytes, sender);
        flushed.sends += sent.sends;
        flushed.failed += sent.failed;
    }
    flushed
}

/// How many packets from `at` on the kernel could cut out of one: same way, addresses and size,
/// the last one no longer than the rest.
fn train(group: &Group<'_, '_>, at: usize) -> usize {
    let Some(first) = group.packet(at) else {
        return 0;
    };
    let size = first.len();
    if size == 0 || size > MAX_SEGMENT {
        return 1;
    }
    let most = MAX_SEGMENTS.min(MAX_TRAIN / size);
    let mut count = 1;
    while count < most
        && let Some(next) = group.packet(at + count)
        && next.to == first.to
        && next.from == first.from
        && next.len() > 0
        && next.len() <= size
    {
        count += 1;
        if next.len() < size {
            break;
        }
    }
    count
}
