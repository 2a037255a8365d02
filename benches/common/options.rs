//! What the benchmarks have in common: their options, their core, medians, and what a process costs.

use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

/// The options that every benchmark has.
pub(crate) struct Options {
    workloads: Vec<String>,
    /// How often everything is repeated.
    pub(crate) reps: usize,
    /// How long one repetition takes.
    pub(crate) time: Duration,
    /// The build of ours that is measured.
    pub(crate) callbox: PathBuf,
}

/// What takes the next argument, for options that have a value.
pub(crate) type Value<'a> = dyn FnMut() -> anyhow::Result<String> + 'a;

impl Options {
    /// Reads the command line. `more` is given each option that is not among the common ones and
    /// says whether it knows it; `workloads` are the names that may be asked for.
    pub(crate) fn parse(
        reps: usize,
        time: Duration,
        workloads: &[&str],
        mut more: impl FnMut(&str, &mut Value<'_>) -> anyhow::Result<bool>,
    ) -> anyhow::Result<Self> {
        let mut options = Self {
            workloads: Vec::new(),
            reps,
            time,
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
                other => anyhow::ensure!(
                    more(other, &mut value)?,
                    "unknown option {other}; workloads: {}",
                    workloads.join(", ")
                ),
            }
        }
        for name in &options.workloads {
            anyhow::ensure!(
                workloads.contains(&name.as_str()),
                "no workload {name}; there are {}",
                workloads.join(", ")
            );
        }
        Ok(options)
    }

    pub(crate) fn wants(&self, name: &str) -> bool {
        self.workloads.is_empty() || self.workloads.iter().any(|w| w == name)
    }
}

/// Whether this is the program that measures. If not, it has been started again on core 1, has
/// run, and there is nothing left to do.
pub(crate) fn is_pinned() -> anyhow::Result<bool> {
    if std::env::var_os("CALLBOX_BENCH_PINNED").is_some() {
        return Ok(true);
    }
    let status = Command::new("taskset")
        .args(["-c", "1"])
        .arg(std::env::current_exe()?)
        .args(std::env::args_os().skip(1))
        .env("CALLBOX_BENCH_PINNED", "1")
        .status()?;
    anyhow::ensure!(status.success(), "the run failed");
    Ok(false)
}

/// Values of one figure, by server.
pub(crate) type Values<K> = BTreeMap<K, Vec<f64>>;

pub(crate) fn median(values: &[f64]) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    match sorted.len() {
        0 => f64::NAN,
        n if n % 2 == 1 => sorted[n / 2],
        n => f64::midpoint(sorted[n / 2 - 1], sorted[n / 2]),
    }
}

/// Nanoseconds of processor time that the threads of a process and of its children have used.
pub(crate) fn cpu(process: u32) -> u64 {
    family(process).into_iter().map(spent).sum()
}

/// A process and its children.
pub(crate) fn family(process: u32) -> Vec<u32> {
    let path = format!("/proc/{process}/task/{process}/children");
    let children = fs::read_to_string(path).unwrap_or_default();
    let children = children.split_whitespace().filter_map(|id| id.parse().ok());
    std::iter::once(process).chain(children).collect()
}

fn spent(process: u32) -> u64 {
    fs::read_dir(format!("/proc/{process}/task"))
        .map(|tasks| {
            tasks
                .flatten()
                .filter_map(|task| fs::read_to_string(task.path().join("schedstat")).ok())
                .filter_map(|text| text.split(' ').next()?.parse::<u64>().ok())
                .sum()
        })
        .unwrap_or(0)
}

/// Resident bytes of one process.
pub(crate) fn resident(process: u32) -> u64 {
    fs::read_to_string(format!("/proc/{process}/status"))
        .ok()
        .and_then(|status| {
            let line = status.lines().find(|line| line.starts_with("VmRSS:"))?;
            line.split_whitespace().nth(1)?.parse::<u64>().ok()
        })
        .map_or(0, |kib| kib * 1024)
}
