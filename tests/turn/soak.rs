//! A soak: clients that come, talk, refresh, go, come back, or fall silent for ever, over UDP, TCP
//! and TLS at once. In the end nothing is left of them.
//!
//! In the checks it takes some twenty seconds. By hand it takes as long as it is told, and then
//! another ten minutes, until what fell silent has expired:
//!
//!     cargo build --release
//!     CALLBOX_SOAK_MINUTES=15 CALLBOX_BIN=target/release/callbox cargo test --test turn soak -- --nocapture

use std::collections::HashSet;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use callbox::net::clock;
use socket2::SockRef;

use super::client::{Client, Heard, Wire};
use super::datagrams::{Echo, payload};
use super::harness::{Callbox, Setup, relay_ports, until};
use super::identity::Identity;

/// Of the short soak.
const SHORT: Duration = Duration::from_secs(16);

/// Clients that have fallen silent and still have their allocations, at most: as many in the second
/// minute as ever after, or memory could not be compared.
const SILENT: usize = 60;

/// One falls silent at most in that time.
const BETWEEN_SILENT: Duration = Duration::from_secs(1);

/// An allocation lasts ten minutes without a Refresh, and its stream not a minute longer.
const EXPIRY: Duration = Duration::from_secs(600 + 60);

/// Messages under way at once.
const WINDOW: usize = 8;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Way {
    Udp,
    Tcp,
    Tls,
}

/// What all lanes share.
struct Soak {
    callbox: Callbox,
    identity: Arc<Identity>,
    echo: Echo,
    start: Instant,
    stop: AtomicBool,
    allocations: AtomicU64,
    messages: AtomicU64,
    vanished: AtomicU64,
    /// Never heard of again, since when.
    silent: Mutex<Vec<(Instant, Client)>>,
}

/// A sequence of numbers that looks random and is the same each time.
struct Dice(u64);

impl Dice {
    fn below(&mut self, n: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % n
    }
}

impl Soak {
    fn start() -> Self {
        let identity = Arc::new(Identity::new());
        let setup = Setup {
            identity: Some(identity.clone()),
            ..Setup::default()
        };
        Self {
            callbox: setup.turn("user_quota = 0\nworkers = 2").start(),
            identity,
            echo: Echo::start("127.0.0.1"),
            start: clock::now(),
            stop: AtomicBool::new(false),
            allocations: AtomicU64::new(0),
            messages: AtomicU64::new(0),
            vanished: AtomicU64::new(0),
            silent: Mutex::new(Vec::new()),
        }
    }

    /// Keeps a client whose turn it is to fall silent.
    fn silence(&self, client: Client) {
        let now = clock::now();
        let mut silent = self.silent.lock().unwrap();
        silent.retain(|(since, _)| now < *since + EXPIRY);
        let last = silent.last().map_or(self.start, |(since, _)| *since);
        if silent.len() < SILENT && now >= last + BETWEEN_SILENT {
            silent.push((now, client));
            self.vanished.fetch_add(1, Ordering::Relaxed);
        } else {
            drop(silent);
            self.release(client);
        }
    }

    fn release(&self, mut client: Client) {
        assert_eq!(client.refresh(0).error(), None);
    }

    fn connect(&self, way: Way) -> Client {
        match way {
            Way::Udp => Client::udp(self.callbox.address),
            Way::Tcp => Client::tcp(self.callbox.address),
            Way::Tls => Client::tls(self.callbox.https, self.identity.trust()),
        }
    }

    /// Clients one after the other, until told to stop.
    fn lane(&self, way: Way, seed: u64) {
        let mut dice = Dice(seed);
        while !self.stop.load(Ordering::Acquire) {
            self.live(way, &mut dice);
            std::thread::sleep(Duration::from_millis(dice.below(20)));
        }
    }

    fn allocate(&self, client: &mut Client) -> bool {
        match client.allocate().error() {
            None => {
                self.allocations.fetch_add(1, Ordering::Relaxed);
                true
            }
            // Its port was that of one that fell silent, and whose allocation lives on.
            Some(437) => false,
            other => panic!("{other:?}"),
        }
    }

    fn live(&self, way: Way, dice: &mut Dice) {
        let mut client = self.connect(way);
        if !self.allocate(&mut client) {
            return;
        }
        self.talk(&mut client, dice);
        assert_eq!(client.refresh(600).error(), None);
        match dice.below(8) {
            // The same address again, as after a failed call.
            0 => {
                assert_eq!(client.refresh(0).error(), None);
                assert!(self.allocate(&mut client));
                self.talk(&mut client, dice);
                assert_eq!(client.refresh(0).error(), None);
            }
            1 | 2 => self.silence(client),
            // A stream may end without a word, or break. Over UDP nobody would notice.
            3 | 4 if way != Way::Udp => {
                if let Wire::Tcp { stream, .. } = &client.wire {
                    let socket = SockRef::from(stream);
                    socket.set_linger(Some(Duration::ZERO)).unwrap();
                }
            }
            _ => self.release(client),
        }
    }

    /// Some messages there and back, by ChannelData or by indications.
    fn talk(&self, client: &mut Client, dice: &mut Dice) {
        let peer = self.echo.address;
        let by_channel = dice.below(3) > 0;
        if by_channel {
            assert_eq!(client.bind(0x4000, peer).error(), None);
        } else {
            assert_eq!(client.permit(peer.ip()).error(), None);
        }
        for _ in 0..dice.below(6) {
            let bodies: Vec<_> = (0..WINDOW)
                .map(|n| payload(dice.below(1200) as usize, n))
                .collect();
            for body in &bodies {
                if by_channel {
                    client.say(0x4000, body);
                } else {
                    client.send(peer, body);
                }
            }
            for body in bodies {
                let expected = match by_channel {
                    true => Heard::Channel(0x4000, body),
                    false => Heard::Data(peer, body),
                };
                assert_eq!(client.hears(), expected);
            }
            self.messages
                .fetch_add(2 * WINDOW as u64, Ordering::Relaxed);
        }
    }

    fn report(&self, what: &str) {
        eprintln!(
            "{:>5} s {what}: {} KiB resident, {} files, {} relay sockets, {} allocations made, {} of them left in silence, {} messages relayed",
            self.start.elapsed().as_secs(),
            self.callbox.resident(),
            self.callbox.open_files(),
            self.callbox.relay_sockets(),
            self.allocations.load(Ordering::Relaxed),
            self.vanished.load(Ordering::Relaxed),
            self.messages.load(Ordering::Relaxed),
        );
    }

    /// Takes every port that is free; how many there were.
    fn free_ports(&self) -> usize {
        let mut clients = Vec::new();
        let mut relayed: HashSet<SocketAddr> = HashSet::new();
        loop {
            let mut client = Client::udp(self.callbox.address);
            let answer = client.allocate();
            match answer.error() {
                None => assert!(relayed.insert(answer.relayed()), "a port twice"),
                Some(437) => continue,
                Some(508) => break,
                other => panic!("{other:?}"),
            }
            clients.push(client);
        }
        for client in &mut clients {
            assert_eq!(client.refresh(0).error(), None);
        }
        clients.len()
    }
}

#[test]
fn after_a_soak_nothing_is_left_of_its_clients() {
    let minutes = std::env::var("CALLBOX_SOAK_MINUTES").ok();
    let minutes: Option<u64> = minutes.map(|text| text.parse().unwrap());
    let time = minutes.map_or(SHORT, |minutes| Duration::from_secs(60 * minutes));
    // What is compared with the end: the second minute, or of the short soak the second quarter.
    let settled = minutes.map_or(SHORT / 2, |_| Duration::from_secs(120));
    let soak = Soak::start();
    // Other programs may sit on some of the range.
    let ports = soak.free_ports();
    assert!(ports > relay_ports()[0].len() / 2, "only {ports} are free");
    let files = soak.callbox.open_files();
    let mut resident = 0;
    std::thread::scope(|scope| {
        let soak = &soak;
        for (at, way) in [Way::Udp, Way::Udp, Way::Tcp, Way::Tls]
            .into_iter()
            .enumerate()
        {
            scope.spawn(move || {
                // A lane that fails ends the others as well.
                let _stop = StopAtEnd(&soak.stop);
                soak.lane(way, 0x9E37_79B9 + at as u64);
            });
        }
        let mut next_report = Duration::ZERO;
        while soak.start.elapsed() < time && !soak.stop.load(Ordering::Acquire) {
            if resident == 0 && soak.start.elapsed() >= settled {
                resident = soak.callbox.resident();
            }
            if soak.start.elapsed() >= next_report {
                soak.report("soaking");
                next_report += if minutes.is_some() {
                    Duration::from_secs(60)
                } else {
                    SHORT / 4
                };
            }
            std::thread::sleep(Duration::from_millis(100));
        }
        soak.stop.store(true, Ordering::Release);
    });
    soak.report("soaked");
    let silent = soak.silent.lock().unwrap().len();
    let mut now = soak.callbox.resident();
    assert!(silent > 5, "some must have fallen silent");
    if minutes.is_none() {
        until("all but the silent ones are gone", || {
            soak.callbox.relay_sockets() == silent
        });
        let free = soak.free_ports();
        assert_eq!(free, ports - silent, "of the others nothing is left");
    } else {
        let end = clock::now() + EXPIRY;
        while clock::now() < end && soak.callbox.open_files() > files {
            std::thread::sleep(Duration::from_secs(1));
        }
        soak.report("expired");
        now = soak.callbox.resident();
        assert_eq!(soak.callbox.relay_sockets(), 0);
        assert_eq!(
            soak.free_ports(),
            ports,
            "every port and every allocation is free"
        );
        assert_eq!(soak.callbox.open_files(), files);
        let log = soak.callbox.log();
        let count = |event: &str| log.lines().filter(|line| line.contains(event)).count();
        assert_eq!(count("relay allocated"), count("relay ended"));
    }
    eprintln!("{resident} KiB when it had settled, {now} KiB in the end");
    // Short soaks are measured in pages that were not touched before; a leak is not that small.
    let most = if minutes.is_some() {
        resident * 105 / 100
    } else {
        resident + 2048
    };
    assert!(now <= most, "{resident} KiB have become {now}");
}

struct StopAtEnd<'a>(&'a AtomicBool);

impl Drop for StopAtEnd<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Release);
    }
}
