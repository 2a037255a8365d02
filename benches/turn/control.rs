//! Workloads without payload: allocations, and requests of nobody.

use std::net::{SocketAddr, UdpSocket};
use std::time::{Duration, Instant};

use callbox::turn::stun::{AttributeType, Class, Method, Writer};

use crate::Figures;
use crate::client::{Session, transaction};
use crate::server::Server;

/// Allocations that are made; all stay until the server ends.
const ALLOCATIONS: usize = 4000;

/// Allocations of which each waits for the one before: sleeping and waking are part of them.
const ALONE: usize = 1000;

/// Clients that ask at the same time, as after an outage.
const TOGETHER: usize = 50;

/// Time and memory of an allocation with a channel.
pub(crate) fn allocations(server: &Server, _: Duration) -> anyhow::Result<Figures> {
    let peer: SocketAddr = "127.0.0.1:9".parse()?;
    let mut session = Session::default();
    let mut sockets = Vec::with_capacity(ALLOCATIONS);
    // The first one warms up what is made once.
    let connect = || -> anyhow::Result<UdpSocket> {
        let socket = UdpSocket::bind("127.0.0.1:0")?;
        socket.connect(server.udp)?;
        Ok(socket)
    };
    let mut first = connect()?;
    session.allocate(&mut first)?;
    session.bind(&mut first, 0x4001, peer)?;
    for _ in 0..ALLOCATIONS {
        sockets.push(connect()?);
    }
    let (start, cpu, memory) = (Instant::now(), server.cpu(), server.resident());
    // Servers that bind a nonce to the port challenge each socket anew; that is part of the cost.
    for crowd in sockets.chunks(TOGETHER) {
        session.allocate_together(crowd)?;
    }
    let (took, used) = (start.elapsed(), server.cpu() - cpu);
    for socket in &mut sockets {
        session.bind(socket, 0x4001, peer)?;
    }
    let grown = server.resident().saturating_sub(memory);
    let cpu = server.cpu();
    for _ in 0..ALONE {
        let mut socket = connect()?;
        session.allocate(&mut socket)?;
        sockets.push(socket);
    }
    let alone = (server.cpu() - cpu) as f64 / ALONE as f64;
    let count = ALLOCATIONS as f64;
    Ok(vec![
        ("server CPU us per allocation", used as f64 / count / 1000.0),
        (
            "allocations per second of server CPU",
            count * 1e9 / used as f64,
        ),
        ("and one by one, server CPU us", alone / 1000.0),
        ("allocations per second", count / took.as_secs_f64()),
        ("resident bytes per allocation", grown as f64 / count),
    ])
}

/// Requests without credentials, as fast as one socket sends them.
pub(crate) fn flood(server: &Server, time: Duration) -> anyhow::Result<Figures> {
    let socket = UdpSocket::bind("127.0.0.1:0")?;
    socket.connect(server.udp)?;
    socket.set_nonblocking(true)?;
    let mut buffer = [0; 256];
    let mut writer = Writer::new(&mut buffer, Class::Request, Method::ALLOCATE, transaction());
    writer.attribute(AttributeType::REQUESTED_TRANSPORT, &[17, 0, 0, 0]);
    let len = writer.finish()?;
    let memory = server.resident();
    let (start, cpu) = (Instant::now(), server.cpu());
    let (mut sent, mut answered) = (0_u64, 0_u64);
    let mut answer = [0; 1024];
    while start.elapsed() < time {
        for _ in 0..32 {
            // A different id each, as different clients would have.
            buffer[8..20].copy_from_slice(&transaction().0);
            sent += u64::from(socket.send(&buffer[..len]).is_ok());
        }
        while socket.recv(&mut answer).is_ok() {
            answered += 1;
        }
    }
    let used = server.cpu() - cpu;
    Ok(vec![
        (
            "server CPU ns per request",
            used as f64 / sent.max(1) as f64,
        ),
        (
            "answered per thousand",
            answered as f64 * 1000.0 / sent.max(1) as f64,
        ),
        (
            "resident memory grown by bytes",
            server.resident().saturating_sub(memory) as f64,
        ),
    ])
}
