//! Signaling beside nginx and node with `ws`, in one alternating run on this machine.
//!
//! `cargo bench --bench signal -- [--workload NAME,...] [--reps N] [--seconds S] [--callbox PATH]`
//!
//! All processes of a server run together on core 0, the load generator on core 1, over loopback,
//! with the same certificate (ECDSA P-256), key exchange and cipher; clients speak the course
//! dialect, which both know. Medians of the repetitions are printed, and ours as a ratio of theirs:
//! on shared machines only ratios of one run mean anything. Processor time is that of all threads,
//! from /proc/PID/task/*/schedstat.
//!
//! Beside a rate stands what it costs a loop that only passes bytes on, on the same core: the
//! system's own share, below which no server gets that is woken for each message.
//!
//! The generator comes from one address, so the limits that are meant for one are off:
//! `signaling.prefix_connections_per_second`, `signaling.prefix_messages_per_second`,
//! `front.max_per_ip`. It raises its own file limit, and says so where that does not suffice.

#![allow(
    missing_docs,
    clippy::unwrap_used,
    clippy::disallowed_methods,
    reason = "a program for developers that measures time"
)]

mod bare;
mod client;
#[path = "../common/options.rs"]
#[allow(dead_code, reason = "each benchmark needs a part of it")]
mod common;
mod load;
mod server;

use std::process::ExitCode;
use std::time::Duration;

use common::{Options, Values, median};
use server::{Kind, Server};

/// The figure that has something to be compared with.
pub(crate) const CPU_A_MESSAGE: &str = "CPU us a message";

/// What a workload measured: name of the figure, and its value.
pub(crate) type Figures = Vec<(&'static str, f64)>;

/// One way of loading a server.
struct Workload {
    name: &'static str,
    about: &'static str,
    run: fn(&Server, Duration) -> anyhow::Result<Figures>,
    /// Messages a second, where the kernel's share of them is to be shown.
    bare: Option<u32>,
}

const WORKLOADS: &[Workload] = &[
    Workload {
        name: "idle",
        about: "resident memory of wss connections in rooms of two that say nothing",
        run: load::idle,
        bare: None,
    },
    Workload {
        name: "closed",
        about: "resident memory when 5,000 such connections have come and gone",
        run: load::closed,
        bare: None,
    },
    Workload {
        name: "joins",
        about: "a connection with a full handshake of TLS 1.3 (X25519) that joins, meets, and goes",
        run: load::joins,
        bare: None,
    },
    Workload {
        name: "kills",
        about: "members whose connections are reset: how long their mates wait to be told",
        run: load::kills,
        bare: None,
    },
    Workload {
        name: "rate1000",
        about: "messages of 300 bytes, 1,000 a second from 200 clients",
        run: |server, time| load::rate(server, time, 1_000),
        bare: Some(1_000),
    },
    Workload {
        name: "rate10000",
        about: "the same, 10,000 a second",
        run: |server, time| load::rate(server, time, 10_000),
        bare: Some(10_000),
    },
    Workload {
        name: "saturated",
        about: "the same, as fast as they go, four under way from each client",
        run: load::saturated,
        bare: None,
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
    if bare::has_served()? {
        return Ok(());
    }
    let names: Vec<_> = WORKLOADS.iter().map(|workload| workload.name).collect();
    let options = Options::parse(3, Duration::from_secs(4), &names, |_, _| Ok(false))?;
    if !common::is_pinned()? {
        return Ok(());
    }
    println!(
        "{} repetitions of {} s; servers on core 0, generator on core 1; loopback; {} open files",
        options.reps,
        options.time.as_secs_f64(),
        server::files(),
    );
    for workload in WORKLOADS {
        if options.wants(workload.name) {
            println!("\n{}: {}", workload.name, workload.about);
            measure(workload, &options)?;
        }
    }
    Ok(())
}

fn measure(workload: &Workload, options: &Options) -> anyhow::Result<()> {
    // In the order in which a workload names them.
    let mut results: Vec<(&str, Values<Kind>)> = Vec::new();
    let mut bare = Vec::new();
    for _ in 0..options.reps {
        if let Some(per_second) = workload.bare {
            bare.push(bare::cost(options.time, per_second)?);
        }
        for kind in Kind::ALL {
            let server = Server::start(kind, &options.callbox)?;
            let figures = match (workload.run)(&server, options.time) {
                Ok(figures) => figures,
                Err(error) => {
                    println!("  {} failed: {error:#}", kind.name());
                    continue;
                }
            };
            for (figure, value) in figures {
                let at = results.iter().position(|(name, _)| *name == figure);
                let at = at.unwrap_or_else(|| {
                    results.push((figure, Values::new()));
                    results.len() - 1
                });
                results[at].1.entry(kind).or_default().push(value);
            }
        }
    }
    for (figure, values) in results {
        let of = |kind| values.get(&kind).map_or(f64::NAN, |values| median(values));
        let (ours, theirs) = (of(Kind::Callbox), of(Kind::Stack));
        println!(
            "  {figure:<26} {} {ours:>9.1}   {} {theirs:>9.1}   ratio {:.2}",
            Kind::Callbox.name(),
            Kind::Stack.name(),
            ours / theirs
        );
        if let (CPU_A_MESSAGE, [_, ..]) = (figure, &*bare) {
            let least = median(&bare);
            let share = least / theirs;
            println!(
                "  {:<26} {:<7} {least:>9.1}   {:<12} {theirs:>9.1}   ratio {share:.2}",
                "... of bare passing on",
                "a loop",
                Kind::Stack.name(),
            );
        }
    }
    Ok(())
}
