//! The front door beside nginx, in one alternating run on this machine.
//!
//! `cargo bench --bench front -- [--workload NAME,...] [--reps N] [--seconds S] [--callbox PATH]`
//!
//! Each server runs alone on core 0, the load generator on core 1, over loopback, with the same
//! certificate (ECDSA P-256), cipher and page. What is measured is the server's processor time for
//! one unit of work, from /proc/PID/task/*/schedstat. Medians of the repetitions are printed, and
//! ours as a ratio of each nginx: on shared machines only ratios of one run mean anything.

#![allow(
    missing_docs,
    clippy::unwrap_used,
    clippy::disallowed_methods,
    reason = "a program for developers that measures time"
)]

#[path = "../common/options.rs"]
#[allow(dead_code, reason = "each benchmark needs a part of it")]
mod common;
mod load;
mod server;

use std::collections::BTreeMap;
use std::process::ExitCode;
use std::time::Duration;

use common::{Options, Values, median};
use load::Site;
use server::{Kind, Server};

/// One way of loading a server; returns how often its unit of work was done.
struct Workload {
    name: &'static str,
    about: &'static str,
    run: fn(&Site, Duration) -> anyhow::Result<u64>,
}

const WORKLOADS: &[Workload] = &[
    Workload {
        name: "handshake",
        about: "a connection with a full handshake of TLS 1.3 (X25519), and nothing else",
        run: |site, time| load::handshakes(site, time, load::Exchange::X25519),
    },
    Workload {
        name: "handshake-pq",
        about: "the same with the client's best key exchange: X25519MLKEM768 where there is one",
        run: |site, time| load::handshakes(site, time, load::Exchange::Best),
    },
    Workload {
        name: "http1",
        about: "the page over HTTP/1.1, 32 connections that stay",
        run: load::http1,
    },
    Workload {
        name: "http2",
        about: "the page over HTTP/2, 8 connections that stay, 8 requests at a time on each",
        run: load::http2,
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
    let names: Vec<_> = WORKLOADS.iter().map(|workload| workload.name).collect();
    let options = Options::parse(5, Duration::from_secs(3), &names, |_, _| Ok(false))?;
    if !common::is_pinned()? {
        return Ok(());
    }
    println!(
        "{} repetitions of {} s; server on core 0, generator on core 1; loopback",
        options.reps,
        options.time.as_secs_f64()
    );
    let page = server::page(&options.callbox)?;
    println!(
        "a page of {} bytes; server's microseconds a unit",
        page.len()
    );
    for workload in WORKLOADS {
        if options.wants(workload.name) {
            println!("\n{}: {}", workload.name, workload.about);
            measure(workload, &options, &page)?;
        }
    }
    Ok(())
}

fn measure(workload: &Workload, options: &Options, page: &[u8]) -> anyhow::Result<()> {
    let mut results = Values::<Kind>::new();
    for _ in 0..options.reps {
        for kind in Kind::ALL {
            let server = Server::start(kind, &options.callbox, page)?;
            // Caches, buffers and frequency settle first.
            (workload.run)(&server.site, options.time / 4)?;
            let before = server.cpu();
            let units = (workload.run)(&server.site, options.time)?;
            let spent = server.cpu() - before;
            anyhow::ensure!(units > 0, "nothing was done");
            let each = spent as f64 / 1000.0 / units as f64;
            results.entry(kind).or_default().push(each);
        }
    }
    let medians: BTreeMap<Kind, f64> = results
        .into_iter()
        .map(|(kind, values)| (kind, median(&values)))
        .collect();
    let ours = medians.get(&Kind::Callbox).copied().unwrap_or(f64::NAN);
    for (kind, value) in &medians {
        println!(
            "  {:<16} {value:>8.1} us   ratio {:.2}",
            kind.name(),
            ours / value
        );
    }
    Ok(())
}
