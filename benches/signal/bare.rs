//! What the kernel takes for itself: a loop that passes the bytes of each connection on to another,
//! without TLS, frames or rooms. No server that is woken for each message can cost less.

use std::io::{ErrorKind, Read as _, Write as _};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::os::fd::AsFd as _;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::Context as _;
use callbox::net::sys::{Interest, Poller};

use super::common;
use super::load::PAIRS;

/// Set for the process that serves.
const SERVES: &str = "CALLBOX_BENCH_BARE";

/// A message as it is on the wire of the others: its text, its frame, and its record of TLS.
const LENGTH: usize = 300 + 8 + 22;

/// Serves to its end, if that is what this process was started for.
pub(crate) fn has_served() -> anyhow::Result<bool> {
    match std::env::var(SERVES) {
        Ok(address) => serve(address.parse()?).map(|()| true),
        Err(_) => Ok(false),
    }
}

fn serve(address: SocketAddr) -> anyhow::Result<()> {
    let mut sockets = Vec::new();
    let poller = Poller::new()?;
    for token in 0..2 * PAIRS as u64 {
        let socket = connect(address)?;
        poller.add(socket.as_fd(), token, Interest::Read)?;
        sockets.push(socket);
    }
    let (mut ready, mut buffer) = (Vec::new(), [0; 16 * 1024]);
    loop {
        poller.wait(None, &mut ready)?;
        for event in &ready {
            let number = event.token as usize;
            match (&sockets[number]).read(&mut buffer) {
                Ok(0) => return Ok(()),
                Ok(length) => (&sockets[number ^ 1]).write_all(&buffer[..length])?,
                Err(error) if error.kind() == ErrorKind::WouldBlock => {}
                Err(_) => return Ok(()),
            }
        }
    }
}

/// Microseconds of processor time for each message at this rate.
pub(crate) fn cost(time: Duration, per_second: u32) -> anyhow::Result<f64> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
    let mut server = Server::start(listener.local_addr()?)?;
    let poller = Poller::new()?;
    let mut sockets = Vec::new();
    for token in 0..2 * PAIRS as u64 {
        let (socket, _) = listener.accept()?;
        socket.set_nodelay(true)?;
        socket.set_nonblocking(true)?;
        poller.add(socket.as_fd(), token, Interest::Read)?;
        sockets.push(socket);
    }
    let mut load = Load {
        sockets,
        poller,
        next: 0,
    };
    load.run(time / 4, per_second)?;
    let before = common::cpu(server.0.id());
    let count = load.run(time, per_second)?;
    let spent = common::cpu(server.0.id()) - before;
    drop(load);
    server.0.wait()?;
    Ok(spent as f64 / 1000.0 / count as f64)
}

struct Load {
    sockets: Vec<TcpStream>,
    poller: Poller,
    next: usize,
}

impl Load {
    /// Sends at a fixed rate, and returns how many messages came.
    fn run(&mut self, time: Duration, per_second: u32) -> anyhow::Result<u64> {
        let start = Instant::now();
        let (mut sent, mut came) = (0_u64, 0_usize);
        let (mut ready, mut buffer) = (Vec::new(), [0; 16 * 1024]);
        loop {
            let now = Instant::now() - start;
            if now >= time && came as u64 == sent * LENGTH as u64 {
                return Ok(sent);
            }
            anyhow::ensure!(now < time + Duration::from_secs(3), "messages are missing");
            let due = now.min(time).as_secs_f64() * f64::from(per_second);
            while (sent as f64) < due {
                (&self.sockets[self.next]).write_all(&[b'x'; LENGTH])?;
                self.next = (self.next + 1) % self.sockets.len();
                sent += 1;
            }
            self.poller.wait(Some(Duration::ZERO), &mut ready)?;
            for event in &ready {
                match (&self.sockets[event.token as usize]).read(&mut buffer) {
                    Ok(length) => came += length,
                    Err(error) if error.kind() == ErrorKind::WouldBlock => {}
                    Err(error) => return Err(error.into()),
                }
            }
        }
    }
}

/// This program once more, on core 0.
struct Server(Child);

impl Server {
    fn start(address: SocketAddr) -> anyhow::Result<Self> {
        let mut command = Command::new("taskset");
        command.args(["-c", "0"]).arg(std::env::current_exe()?);
        command.env(SERVES, address.to_string());
        let child = command.stdin(Stdio::null()).spawn();
        Ok(Self(child.context("starting the bare server")?))
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn connect(address: SocketAddr) -> anyhow::Result<TcpStream> {
    let socket = TcpStream::connect(address)?;
    socket.set_nodelay(true)?;
    socket.set_nonblocking(true)?;
    Ok(socket)
}
