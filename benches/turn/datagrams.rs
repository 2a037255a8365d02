//! Workloads with clients on UDP.

use std::net::{SocketAddr, UdpSocket};
use std::os::fd::AsFd;
use std::time::{Duration, Instant};

use callbox::net::sys::{
    BATCH, Interest, Poller, Ready, ReceiveScratch, Received, SendScratch, SocketFamily,
    SocketOption, receive, set_option,
};
use callbox::turn::stun::{AttributeType, Class, Method, Writer};

use crate::Figures;
use crate::client::{Session, transaction};
use crate::server::Server;

const CLIENTS: usize = 8;
const WINDOW: usize = 32;
const CHANNEL: u16 = 0x4001;

/// What packets look like.
#[derive(Clone, Copy)]
pub(crate) struct Shape {
    payload: usize,
    train: usize,
    indications: bool,
}

impl Shape {
    pub(crate) fn new(payload: usize) -> Self {
        Self {
            payload,
            train: 1,
            indications: false,
        }
    }

    pub(crate) fn train(self, train: usize) -> Self {
        Self { train, ..self }
    }

    pub(crate) fn indications(self) -> Self {
        Self {
            indications: true,
            ..self
        }
    }

    /// One packet as the client sends it.
    fn packet(self, peer: SocketAddr) -> Vec<u8> {
        let payload = vec![0x5A; self.payload];
        if self.indications {
            let mut buffer = vec![0; self.payload + 128];
            let mut writer =
                Writer::new(&mut buffer, Class::Indication, Method::SEND, transaction());
            writer.xor_address(AttributeType::XOR_PEER_ADDRESS, peer);
            writer.attribute(AttributeType::DATA, &payload);
            let len = writer.finish().unwrap();
            buffer.truncate(len);
            return buffer;
        }
        let mut packet = Vec::with_capacity(4 + self.payload);
        packet.extend_from_slice(&CHANNEL.to_be_bytes());
        packet.extend_from_slice(&(self.payload as u16).to_be_bytes());
        packet.extend_from_slice(&payload);
        packet
    }
}

/// A socket with what it takes to use it in batches.
struct Batched {
    socket: UdpSocket,
    receive: ReceiveScratch,
    send: SendScratch,
    buffers: Vec<Vec<u8>>,
    found: Vec<(usize, Received)>,
}

impl Batched {
    fn new(socket: UdpSocket) -> anyhow::Result<Self> {
        socket.set_nonblocking(true)?;
        let reference = socket2::SockRef::from(&socket);
        let _ = reference.set_recv_buffer_size(4 << 20);
        let _ = reference.set_send_buffer_size(4 << 20);
        set_option(socket.as_fd(), SocketOption::UdpGro, 1)?;
        Ok(Self {
            socket,
            receive: ReceiveScratch::default(),
            send: SendScratch::default(),
            buffers: vec![vec![0; 65_536]; BATCH],
            found: Vec::new(),
        })
    }

    /// Receives one batch; returns how many datagrams that were, trains counted by the piece.
    fn receive(&mut self) -> usize {
        self.found.clear();
        let found = &mut self.found;
        let buffers = self.buffers.iter_mut().map(Vec::as_mut_slice);
        let _ = receive(
            self.socket.as_fd(),
            &mut self.receive,
            buffers,
            |at, got| {
                found.push((at, got));
            },
        );
        self.found.iter().map(|(_, got)| pieces(got)).sum()
    }

    /// Sends what was just received back to where it came from, trains as trains.
    fn echo(&mut self) {
        let mut batch = self.send.batch(SocketFamily::V4);
        for (at, got) in &self.found {
            let segment = (pieces(got) > 1).then_some(got.segment as u16);
            batch.message(got.source, None, segment);
            batch.part(&self.buffers[*at][..got.len]);
        }
        batch.send(self.socket.as_fd(), |_, _| {});
    }

    /// Sends `count` copies of a packet, in trains.
    fn flood(&mut self, to: SocketAddr, packet: &[u8], count: usize, train: usize) {
        let mut batch = self.send.batch(SocketFamily::V4);
        let mut left = count;
        while left > 0 {
            let now = train.min(left);
            batch.message(to, None, (now > 1).then_some(packet.len() as u16));
            for _ in 0..now {
                batch.part(packet);
            }
            left -= now;
        }
        batch.send(self.socket.as_fd(), |_, _| {});
    }
}

fn pieces(got: &Received) -> usize {
    got.len.div_ceil(got.segment.max(1)).max(1)
}

/// A client with an allocation and a channel to `peer`.
fn client(
    server: &Server,
    session: &mut Session,
    peer: SocketAddr,
) -> anyhow::Result<(UdpSocket, SocketAddr)> {
    // The kernel may hand out a port whose allocation of an earlier round still lives: 437.
    let (mut socket, relayed) = (0..16)
        .find_map(|_| {
            let mut socket = UdpSocket::bind("127.0.0.1:0").ok()?;
            socket.connect(server.udp).ok()?;
            let relayed = session.allocate(&mut socket).ok()?;
            Some((socket, relayed))
        })
        .ok_or_else(|| anyhow::anyhow!("no allocation"))?;
    session.permit(&mut socket, peer)?;
    Ok((socket, relayed))
}

/// Clients keep a window of packets in flight through the server to a peer that echoes.
pub(crate) fn echo(server: &Server, time: Duration, shape: Shape) -> anyhow::Result<Figures> {
    let mut peer = Batched::new(UdpSocket::bind("127.0.0.1:0")?)?;
    let peer_addr = peer.socket.local_addr()?;
    let poller = Poller::new()?;
    poller.add(peer.socket.as_fd(), 0, Interest::Read)?;
    let mut session = Session::default();
    // A train needs one flow to itself: fewer clients, each with whole trains in flight.
    let clients = if shape.train > 1 { 2 } else { CLIENTS };
    let window = WINDOW.max(shape.train * 8);
    let mut sockets = Vec::new();
    for n in 0..clients {
        let (mut socket, _) = client(server, &mut session, peer_addr)?;
        if !shape.indications {
            session.bind(&mut socket, CHANNEL, peer_addr)?;
        }
        poller.add(socket.as_fd(), n as u64 + 1, Interest::Read)?;
        sockets.push(Batched::new(socket)?);
    }
    let packet = shape.packet(peer_addr);
    for socket in &mut sockets {
        socket.flood(server.udp, &packet, window, shape.train);
    }
    // Whole trains are sent again, so that none falls apart over time.
    let mut credit = vec![0; clients];
    let warm = Instant::now() + time / 5;
    let mut run = None;
    let (mut relayed, mut stalls) = (0_u64, 0_u64);
    let mut ready: Vec<Ready> = Vec::new();
    loop {
        poller.wait(Some(Duration::from_millis(20)), &mut ready)?;
        let now = Instant::now();
        match run {
            None if now >= warm => {
                relayed = 0;
                run = Some((now, server.cpu(), server.syscalls()));
            }
            Some((start, cpu, calls)) if now >= start + time => {
                let used = server.cpu() - cpu;
                let seconds = (now - start).as_secs_f64();
                let mut figures = vec![
                    (
                        "server CPU ns per packet",
                        used as f64 / relayed.max(1) as f64,
                    ),
                    ("packets per second", relayed as f64 / seconds),
                    ("stalls", stalls as f64),
                ];
                figures.extend(server.syscalls_each(calls, relayed));
                return Ok(figures);
            }
            _ => {}
        }
        if ready.is_empty() {
            // Everything in flight was lost: begin again.
            stalls += 1;
            for socket in &mut sockets {
                socket.flood(server.udp, &packet, window, shape.train);
            }
        }
        for event in &ready {
            if event.token == 0 {
                // One direction each: to the peer, and back.
                relayed += 2 * peer.receive() as u64;
                peer.echo();
            } else {
                let n = event.token as usize - 1;
                credit[n] += sockets[n].receive();
                let send = credit[n] / shape.train * shape.train;
                credit[n] -= send;
                sockets[n].flood(server.udp, &packet, send, shape.train);
            }
        }
    }
}

/// Pairs of clients, each bound to the other's relayed address.
pub(crate) fn relay_to_relay(server: &Server, time: Duration) -> anyhow::Result<Figures> {
    let shape = Shape::new(200);
    let poller = Poller::new()?;
    let mut session = Session::default();
    let mut sockets = Vec::new();
    for _ in 0..CLIENTS / 2 {
        let placeholder: SocketAddr = "127.0.0.1:9".parse()?;
        let (mut a, relay_a) = client(server, &mut session, placeholder)?;
        let (mut b, relay_b) = client(server, &mut session, placeholder)?;
        session.bind(&mut a, CHANNEL, relay_b)?;
        session.bind(&mut b, CHANNEL, relay_a)?;
        for socket in [a, b] {
            poller.add(socket.as_fd(), sockets.len() as u64, Interest::Read)?;
            sockets.push(Batched::new(socket)?);
        }
    }
    let packet = shape.packet("127.0.0.1:9".parse()?);
    for socket in &mut sockets {
        socket.flood(server.udp, &packet, WINDOW, 1);
    }
    let warm = Instant::now() + time / 5;
    let mut run = None;
    let mut messages = 0_u64;
    let mut ready: Vec<Ready> = Vec::new();
    loop {
        poller.wait(Some(Duration::from_millis(20)), &mut ready)?;
        let now = Instant::now();
        match run {
            None if now >= warm => {
                messages = 0;
                run = Some((now, server.cpu(), server.syscalls()));
            }
            Some((start, cpu, calls)) if now >= start + time => {
                let used = server.cpu() - cpu;
                let seconds = (now - start).as_secs_f64();
                let mut figures = vec![
                    (
                        "server CPU ns per message",
                        used as f64 / messages.max(1) as f64,
                    ),
                    ("messages per second", messages as f64 / seconds),
                ];
                figures.extend(server.syscalls_each(calls, messages));
                return Ok(figures);
            }
            _ => {}
        }
        if ready.is_empty() {
            for socket in &mut sockets {
                socket.flood(server.udp, &packet, WINDOW, 1);
            }
        }
        for event in &ready {
            let n = event.token as usize;
            let got = sockets[n].receive();
            messages += got as u64;
            sockets[n].flood(server.udp, &packet, got, 1);
        }
    }
}

/// What came of sending at a fixed rate.
struct Paced {
    sent: u64,
    arrived: u64,
    one_way: Vec<u32>,
    cpu: u64,
}

/// Sends 200 B ChannelData at a fixed rate; the peer only receives, or echoes.
fn paced(server: &Server, time: Duration, rate: f64, echo: bool) -> anyhow::Result<Paced> {
    const STAMP: usize = 8;
    let mut peer = Batched::new(UdpSocket::bind("127.0.0.1:0")?)?;
    let peer_addr = peer.socket.local_addr()?;
    let mut session = Session::default();
    let mut sockets = Vec::new();
    for _ in 0..CLIENTS {
        let (mut socket, _) = client(server, &mut session, peer_addr)?;
        session.bind(&mut socket, CHANNEL, peer_addr)?;
        sockets.push(Batched::new(socket)?);
    }
    let mut packet = Shape::new(200).packet(peer_addr);
    let cpu = server.cpu();
    let start = Instant::now();
    let mut result = Paced {
        sent: 0,
        arrived: 0,
        one_way: Vec::new(),
        cpu: 0,
    };
    let grace = Duration::from_millis(200);
    loop {
        let elapsed = start.elapsed();
        if elapsed > time + grace {
            break;
        }
        if elapsed < time {
            let due = (elapsed.as_secs_f64() * rate) as u64;
            // At most a batch a turn, so that a hiccup of ours is no burst.
            for _ in 0..due.saturating_sub(result.sent).min(32) {
                let stamp = start.elapsed().as_nanos() as u64;
                packet[4..4 + STAMP].copy_from_slice(&stamp.to_be_bytes());
                let n = (result.sent % CLIENTS as u64) as usize;
                sockets[n].flood(server.udp, &packet, 1, 1);
                result.sent += 1;
            }
        }
        let got = peer.receive() as u64;
        let now = start.elapsed().as_nanos() as u64;
        for (at, received) in &peer.found {
            let bytes = &peer.buffers[*at][..received.len];
            for piece in bytes.chunks(received.segment.max(1)) {
                if let Some(stamp) = piece.first_chunk::<STAMP>() {
                    let nanos = now.saturating_sub(u64::from_be_bytes(*stamp));
                    result
                        .one_way
                        .push(u32::try_from(nanos).unwrap_or(u32::MAX));
                }
            }
        }
        if echo {
            peer.echo();
            for socket in &mut sockets {
                result.arrived += socket.receive() as u64;
            }
        } else {
            result.arrived += got;
        }
    }
    result.cpu = server.cpu() - cpu;
    Ok(result)
}

/// One-way delay at a moderate rate.
pub(crate) fn latency(server: &Server, time: Duration) -> anyhow::Result<Figures> {
    let mut result = paced(server, time, 20_000.0, false)?;
    result.one_way.sort_unstable();
    let at = |share: f64| {
        let place = (result.one_way.len() as f64 * share) as usize;
        let nanos = result.one_way.get(place).copied().unwrap_or(u32::MAX);
        f64::from(nanos) / 1000.0
    };
    Ok(vec![
        ("one way p50 us", at(0.50)),
        ("one way p99 us", at(0.99)),
        (
            "server CPU ns per packet",
            result.cpu as f64 / result.arrived.max(1) as f64,
        ),
        (
            "lost per million",
            (result.sent - result.arrived.min(result.sent)) as f64 * 1e6
                / result.sent.max(1) as f64,
        ),
    ])
}

/// Raises the rate until more than one echo in a thousand is lost.
pub(crate) fn highest_rate(server: &Server, time: Duration) -> anyhow::Result<Figures> {
    let mut rate = 20_000.0;
    let mut best = 0.0;
    while rate < 1_000_000.0 {
        let result = paced(server, time / 2, rate, true)?;
        // What the generator did not manage to send is no achievement of the server.
        let achieved = result.arrived as f64 / (time / 2).as_secs_f64();
        let lost = 1.0 - result.arrived as f64 / result.sent.max(1) as f64;
        let kept_up = result.sent as f64 > 0.97 * rate * (time / 2).as_secs_f64();
        if lost > 0.001 {
            break;
        }
        best = achieved;
        if !kept_up {
            break;
        }
        rate *= 1.15;
    }
    Ok(vec![("echoes per second below 0.1 % loss", best)])
}
