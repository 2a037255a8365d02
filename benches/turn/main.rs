//! callbox beside coturn and webrtc-rs, in one alternating run on this machine.
//!
//! `cargo bench --bench turn -- [--workload NAME,...] [--reps N] [--seconds S] [--coturn PATH]
//! [--callbox PATH] [--syscalls]`
//!
//! Each server runs alone on core 0, the load generator on core 1, all on loopback. Medians of the
//! repetitions are printed, and our figure as a ratio of coturn's: on shared machines only ratios
//! of one run mean anything.

#![allow(
    missing_docs,
    clippy::unwrap_used,
    clippy::disallowed_methods,
    reason = "a program for developers that measures time"
)]

mod client;
#[path = "../common/options.rs"]
#[allow(dead_code, reason = "each benchmark needs a part of it")]
mod common;
mod control;
mod datagrams;
mod server;
mod streams;

use std::collections::BTreeMap;
use std::process::ExitCode;
use std::time::Duration;

use common::{Values, median};
use server::{Kind, Server};

/// What a workload measured: name of the figure, and its value. Lower is better unless the name
/// says "per second".
pub(crate) type Figures = Vec<(&'static str, f64)>;

/// One way of loading a server.
struct Workload {
    name: &'static str,
    about: &'static str,
    run: fn(&Server, Duration) -> anyhow::Result<Figures>,
    /// webrtc-rs has no streams.
    streams: bool,
}

const WORKLOADS: &[Workload] = &[
    Workload {
        name: "channel200",
        about: "ChannelData of 200 B, echoed by a peer, as fast as it goes",
        run: |server, time| datagrams::echo(server, time, datagrams::Shape::new(200)),
        streams: false,
    },
    Workload {
        name: "channel1100",
        about: "the same with 1100 B",
        run: |server, time| datagrams::echo(server, time, datagrams::Shape::new(1100)),
        streams: false,
    },
    Workload {
        name: "trains",
        about: "1100 B in trains of 8 of one flow",
        run: |server, time| datagrams::echo(server, time, datagrams::Shape::new(1100).train(8)),
        streams: false,
    },
    Workload {
        name: "send200",
        about: "Send and Data indications of 200 B",
        run: |server, time| datagrams::echo(server, time, datagrams::Shape::new(200).indications()),
        streams: false,
    },
    Workload {
        name: "relay-relay",
        about: "from one allocation to another, 200 B; a message counts once",
        run: datagrams::relay_to_relay,
        streams: false,
    },
    Workload {
        name: "latency",
        about: "one way, 200 B ChannelData at 20,000 packets a second",
        run: datagrams::latency,
        streams: false,
    },
    Workload {
        name: "rate",
        about: "highest rate of 200 B ChannelData, echoed, with less than 0.1 % lost",
        run: datagrams::highest_rate,
        streams: false,
    },
    Workload {
        name: "tcp",
        about: "TCP client leg, 200 B, 20 clients, as fast as it goes",
        run: |server, time| streams::echo(server, time, streams::Leg::Tcp),
        streams: true,
    },
    Workload {
        name: "tls",
        about: "TLS client leg, 1100 B, 50 clients, 10,000 packets a second",
        run: |server, time| streams::echo(server, time, streams::Leg::Tls),
        streams: true,
    },
    Workload {
        name: "tls-full",
        about: "the same clients, as fast as it goes: nobody sleeps",
        run: |server, time| streams::echo(server, time, streams::Leg::TlsFull),
        streams: true,
    },
    Workload {
        name: "allocations",
        about: "allocations a second, and resident memory of each with a channel",
        run: control::allocations,
        streams: false,
    },
    Workload {
        name: "flood",
        about: "unauthenticated Allocates, as fast as they can be sent",
        run: control::flood,
        streams: false,
    },
];

fn main() -> ExitCode {
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run() -> anyhow::Result<()> {
    let options = Options::parse()?;
    if let Some(port) = options.serve_webrtc {
        return server::serve_webrtc(port);
    }
    if !common::is_pinned()? {
        return Ok(());
    }
    println!(
        "{} repetitions of {} s; server on core 0, generator on core 1; loopback",
        options.common.reps,
        options.common.time.as_secs_f64()
    );
    for workload in WORKLOADS {
        if !options.common.wants(workload.name) {
            continue;
        }
        println!("\n{}: {}", workload.name, workload.about);
        measure(workload, &options)?;
    }
    server::clean_up();
    Ok(())
}

fn measure(workload: &Workload, options: &Options) -> anyhow::Result<()> {
    let kinds: Vec<Kind> = Kind::ALL
        .into_iter()
        .filter(|kind| !(workload.streams && *kind == Kind::Webrtc))
        .collect();
    // Figure -> server -> values.
    let mut results: BTreeMap<&str, Values<Kind>> = BTreeMap::new();
    for _ in 0..options.common.reps {
        for kind in &kinds {
            let server = Server::start(*kind, options)?;
            match (workload.run)(&server, options.common.time) {
                Ok(figures) => {
                    for (name, value) in figures {
                        let values = results.entry(name).or_default().entry(*kind).or_default();
                        values.push(value);
                    }
                }
                Err(error) => println!("  {:<10} failed: {error:#}", kind.name()),
            }
        }
    }
    for (figure, servers) in results {
        let median = |kind| servers.get(&kind).map(|values| median(values));
        print!("  {figure:<34}");
        for kind in &kinds {
            match median(*kind) {
                Some(value) => print!(" {:>10} {value:>11.1}", kind.name()),
                None => print!(" {:>10} {:>11}", kind.name(), "-"),
            }
        }
        match (median(Kind::Callbox), median(Kind::Coturn)) {
            (Some(ours), Some(theirs)) if theirs > 0.0 => println!("   ratio {:.2}", ours / theirs),
            _ => println!(),
        }
    }
    Ok(())
}

pub(crate) struct Options {
    pub(crate) common: common::Options,
    pub(crate) coturn: String,
    /// Whether system calls are counted, which costs the servers a little.
    pub(crate) syscalls: bool,
    serve_webrtc: Option<u16>,
}

impl Options {
    fn parse() -> anyhow::Result<Self> {
        let (mut coturn, mut syscalls, mut serve_webrtc) = ("turnserver".to_owned(), false, None);
        let names: Vec<_> = WORKLOADS.iter().map(|workload| workload.name).collect();
        let more = |option: &str, value: &mut common::Value<'_>| {
            match option {
                "--coturn" => coturn = value()?,
                "--syscalls" => syscalls = true,
                "--serve-webrtc" => serve_webrtc = Some(value()?.parse()?),
                _ => return Ok(false),
            }
            Ok(true)
        };
        let common = common::Options::parse(5, Duration::from_secs(2), &names, more)?;
        Ok(Self {
            common,
            coturn,
            syscalls,
            serve_webrtc,
        })
    }
}
