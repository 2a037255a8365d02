//! What is done to the servers, and what is measured of them.

use std::time::{Duration, Instant};

use callbox::net::sys::Poller;

use super::client::{Client, meet};
use super::server::{Server, files};
use super::{CPU_A_MESSAGE, Figures};

/// Pairs of clients that exchange messages.
pub(crate) const PAIRS: usize = 100;

/// Messages under way from each client when nobody waits for a clock.
const WINDOW: usize = 4;

/// Until a server has done what it puts off.
const SETTLE: Duration = Duration::from_secs(2);

/// Resident memory of connections in rooms of two that say nothing.
pub(crate) fn idle(server: &Server, _: Duration) -> anyhow::Result<Figures> {
    warm_up(server)?;
    let before = server.resident();
    let mut clients = Vec::new();
    let mut figures = Figures::new();
    let most = most();
    for (count, name) in [
        (1_000, "KiB a connection, 1,000"),
        (5_000, "KiB a connection, 5,000"),
        (10_000, "KiB a connection, 10,000"),
    ] {
        let count = count.min(most);
        if count == most {
            println!("  (the limit of open files allows for {count} connections only)");
        }
        if let Err(error) = meet(server, clients.len(), count - clients.len(), &mut clients) {
            println!("  (no more than {} connections: {error:#})", clients.len());
            break;
        }
        std::thread::sleep(SETTLE);
        let used = server.resident().saturating_sub(before) as f64;
        figures.push((name, used / 1024.0 / clients.len() as f64));
    }
    Ok(figures)
}

/// Connections that the system allows for. nginx needs two files for each, and some more.
fn most() -> usize {
    (files().saturating_sub(600) / 2) as usize / 2 * 2
}

/// Resident memory after many connections have come and gone.
pub(crate) fn closed(server: &Server, _: Duration) -> anyhow::Result<Figures> {
    let mut clients = Vec::new();
    meet(server, 0, most().min(5_000), &mut clients)?;
    let peak = server.resident();
    for client in clients {
        client.close();
    }
    std::thread::sleep(Duration::from_secs(5));
    let mib = |bytes: u64| bytes as f64 / 1024.0 / 1024.0;
    Ok(vec![
        ("MiB while they are there", mib(peak)),
        ("MiB 5 s after", mib(server.resident())),
    ])
}

/// Connections with a full handshake that join a room, meet, and go.
pub(crate) fn joins(server: &Server, time: Duration) -> anyhow::Result<Figures> {
    warm_up(server)?;
    let before = server.cpu();
    let end = Instant::now() + time;
    let mut joined = 0;
    while Instant::now() < end {
        let mut clients = Vec::new();
        meet(server, joined, 64, &mut clients)?;
        joined += clients.len();
        clients.into_iter().for_each(Client::close);
    }
    // The goodbyes are part of it.
    std::thread::sleep(Duration::from_millis(200));
    let spent = (server.cpu() - before) as f64;
    Ok(vec![("CPU us a join", spent / 1000.0 / joined as f64)])
}

/// Members who are reset in the midst of a call: how long their mates wait to be told.
pub(crate) fn kills(server: &Server, _: Duration) -> anyhow::Result<Figures> {
    const KILLED: usize = 250;
    let mut clients = Vec::new();
    meet(server, 0, 2 * KILLED, &mut clients)?;
    let mut waits = Vec::new();
    let mut clients = clients.into_iter();
    while let (Some(mut survivor), Some(mut victim)) = (clients.next(), clients.next()) {
        victim.send()?;
        survivor.hear(1)?;
        let killed = victim.reset()?;
        survivor.hear(1)?;
        waits.push(killed.elapsed());
    }
    waits.sort();
    let at = |share: f64| waits[(waits.len() as f64 * share) as usize].as_secs_f64() * 1e6;
    Ok(vec![
        ("told after, median, us", at(0.5)),
        ("told after, p99, us", at(0.99)),
    ])
}

/// Messages at a fixed rate.
pub(crate) fn rate(server: &Server, time: Duration, per_second: u32) -> anyhow::Result<Figures> {
    let mut load = Load::new(server)?;
    load.run(time / 4, Pace::Rate(per_second))?;
    load.measure(server, time, Pace::Rate(per_second))
}

/// Messages as fast as they go.
pub(crate) fn saturated(server: &Server, time: Duration) -> anyhow::Result<Figures> {
    let mut load = Load::new(server)?;
    load.run(time / 4, Pace::Window)?;
    load.measure(server, time, Pace::Window)
}

fn warm_up(server: &Server) -> anyhow::Result<()> {
    let mut clients = Vec::new();
    meet(server, 0, 64, &mut clients)?;
    clients.into_iter().for_each(Client::close);
    std::thread::sleep(Duration::from_millis(500));
    Ok(())
}

#[derive(Clone, Copy)]
enum Pace {
    Rate(u32),
    Window,
}

struct Load {
    clients: Vec<Client>,
    poller: Poller,
    latencies: Vec<Duration>,
    next: usize,
}

impl Load {
    fn new(server: &Server) -> anyhow::Result<Self> {
        let mut clients = Vec::new();
        meet(server, 0, 2 * PAIRS, &mut clients)?;
        let poller = Poller::new()?;
        for (client, token) in clients.iter().zip(0..) {
            client.watch(&poller, token)?;
        }
        Ok(Self {
            clients,
            poller,
            latencies: Vec::new(),
            next: 0,
        })
    }

    fn measure(&mut self, server: &Server, time: Duration, pace: Pace) -> anyhow::Result<Figures> {
        self.latencies.clear();
        let (before, start) = (server.cpu(), Instant::now());
        self.run(time, pace)?;
        let (spent, took) = (server.cpu() - before, start.elapsed());
        let count = self.latencies.len();
        anyhow::ensure!(count > 0, "nothing came");
        self.latencies.sort();
        let at = |share: f64| {
            let at = (count as f64 * share) as usize;
            self.latencies[at.min(count - 1)].as_secs_f64() * 1e6
        };
        Ok(vec![
            (CPU_A_MESSAGE, spent as f64 / 1000.0 / count as f64),
            ("p50 us", at(0.5)),
            ("p99 us", at(0.99)),
            ("p999 us", at(0.999)),
            ("messages per second", count as f64 / took.as_secs_f64()),
        ])
    }

    fn run(&mut self, time: Duration, pace: Pace) -> anyhow::Result<()> {
        let start = Instant::now();
        let end = start + time;
        let mut sent = 0_u64;
        if let Pace::Window = pace {
            for _ in 0..WINDOW {
                for number in 0..self.clients.len() {
                    self.send(number)?;
                }
            }
        }
        let mut ready = Vec::new();
        loop {
            let now = Instant::now();
            let sending = now < end;
            if !sending && (self.outstanding() == 0 || now > end + Duration::from_secs(3)) {
                break;
            }
            if let Pace::Rate(per_second) = pace
                && sending
            {
                let due = (now - start).as_secs_f64() * f64::from(per_second);
                while (sent as f64) < due {
                    let number = self.next;
                    self.next = (number + 1) % self.clients.len();
                    self.send(number)?;
                    sent += 1;
                }
            }
            // Between messages of a rate it looks all the time: a timer would be late.
            let timeout = match pace {
                Pace::Rate(_) => Duration::ZERO,
                Pace::Window => Duration::from_millis(10),
            };
            self.poller.wait(Some(timeout), &mut ready)?;
            for event in &ready {
                let number = event.token as usize;
                let (before, latencies) = (self.latencies.len(), &mut self.latencies);
                let client = &mut self.clients[number];
                client.flush()?;
                client.receive(|latency| latencies.push(latency))?;
                let came = self.latencies.len() - before;
                if let Pace::Window = pace
                    && sending
                {
                    for _ in 0..came {
                        self.send(number ^ 1)?;
                    }
                }
            }
        }
        // What is late now does not come into the next run.
        for client in &mut self.clients {
            anyhow::ensure!(client.expected.is_empty(), "messages are missing");
        }
        Ok(())
    }

    fn outstanding(&self) -> usize {
        self.clients.iter().map(|c| c.expected.len()).sum()
    }

    fn send(&mut self, number: usize) -> anyhow::Result<()> {
        self.clients[number ^ 1].expected.push_back(Instant::now());
        self.clients[number].send()
    }
}
