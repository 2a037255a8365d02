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

mod load;
mod server;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::process::{Command, ExitCode};
use std::time::Duration;

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
    let options = Options::parse()?;
    if std::env::var_os("CALLBOX_BENCH_PINNED").is_none() {
        return pin();
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

/// Starts this program again on core 1.
fn pin() -> anyhow::Result<()> {
    let status = Command::new("taskset")
        .args(["-c", "1"])
        .arg(std::env::current_exe()?)
        .args(std::env::args_os().skip(1))
        .env("CALLBOX_BENCH_PINNED", "1")
        .status()?;
    anyhow::ensure!(status.success(), "the run failed");
    Ok(())
}

fn measure(workload: &Workload, options: &Options, page: &[u8]) -> anyhow::Result<()> {
    let mut results: BTreeMap<Kind, Vec<f64>> = BTreeMap::new();
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
        .map(|(kind, values)| (kind, median(values)))
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

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(f64::NAN)
}

struct Options {
    workloads: Vec<String>,
    reps: usize,
    time: Duration,
    callbox: PathBuf,
}

impl Options {
    fn parse() -> anyhow::Result<Self> {
        let mut options = Self {
            workloads: Vec::new(),
            reps: 5,
            time: Duration::from_secs(3),
            callbox: env!("CARGO_BIN_EXE_callbox").into(),
        };
        let mut args = std::env::args().skip(1);
        while let Some(arg) = args.next() {
            let mut value = || {
                let missing = || anyhow::anyhow!("{arg} needs a value");
                args.next().ok_or_else(missing)
            };
            match arg.as_str() {
                "--workload" => options
                    .workloads
                    .extend(value()?.split(',').map(str::to_owned)),
                "--reps" => options.reps = value()?.parse()?,
                "--seconds" => options.time = Duration::from_secs_f64(value()?.parse()?),
                "--callbox" => options.callbox = value()?.into(),
                // What cargo passes to every benchmark.
                "--bench" => {}
                other => anyhow::bail!("unknown option {other}"),
            }
        }
        Ok(options)
    }

    fn wants(&self, name: &str) -> bool {
        self.workloads.is_empty() || self.workloads.iter().any(|w| w == name)
    }
}
