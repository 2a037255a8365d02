//! The command line: which command, with which settings, and the exit code.
//!
//! 0: done. 1: failed at run time. 2: wrong usage (clap's own) or wrong configuration.

use std::path::PathBuf;
use std::process::ExitCode;
use std::thread;

use clap::{Args, Parser, Subcommand};

use crate::app::{self, Mode, Plan, Source};
use crate::config::{self, Loaded};
use crate::telemetry::log::{self, Audience};

pub mod check;
pub mod credential;
mod doctor;
mod drain;
mod healthcheck;
pub mod try_call;

/// Browser calls from one process: HTTPS front door, signaling, STUN/TURN and a calling page.
#[derive(Debug, Parser)]
#[command(name = "callbox", version, disable_help_subcommand = true)]
pub struct Arguments {
    #[command(subcommand)]
    command: Option<Command>,
    #[command(flatten)]
    configuration: Configuration,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run the appliance (what happens without a command, too)
    Serve(Configuration),
    /// Make a call on this machine and its network within seconds, without any configuration
    Try(try_call::Arguments),
    /// Validate the configuration; print what is in force and where each value comes from
    Check(Configuration),
    /// Print TURN credentials and the RTCConfiguration that uses them
    Credential(credential::Arguments),
    /// Find the broken link between people and their calls; say how to mend it
    Doctor(doctor::Arguments),
    /// Exit 0 when the running appliance is ready
    Healthcheck(Configuration),
    /// Tell the running appliance to end when its calls have ended, and wait for that
    Drain(Configuration),
}

/// Where settings are read from.
#[derive(Clone, Debug, Default, Args)]
pub struct Configuration {
    /// Configuration file [default: ./appliance.toml, else /etc/callbox/appliance.toml, else none]
    #[arg(long = "config", value_name = "FILE")]
    file: Option<PathBuf>,
}

impl Configuration {
    /// The settings in force.
    fn load(&self) -> Result<Loaded, config::Error> {
        config::load(self.file.as_deref())
    }

    /// `callbox --config FILE check` means the same as `callbox check --config FILE`.
    fn or(self, before: Self) -> Self {
        Self {
            file: self.file.or(before.file),
        }
    }
}

impl Arguments {
    /// Runs the command to its end.
    pub fn run(self) -> ExitCode {
        let before = self.configuration;
        let result = match self.command {
            None => serve(&before),
            Some(Command::Serve(configuration)) => serve(&configuration.or(before)),
            Some(Command::Check(configuration)) => check::run(&configuration.or(before)),
            Some(Command::Credential(arguments)) => credential::run(arguments, before),
            Some(Command::Doctor(arguments)) => doctor::run(arguments, before),
            Some(Command::Healthcheck(configuration)) => {
                healthcheck::run(&configuration.or(before))
            }
            Some(Command::Drain(configuration)) => drain::run(&configuration.or(before)),
            Some(Command::Try(_)) if before.file.is_some() => Err(Failure::Usage(
                "`callbox try` takes no configuration".to_owned(),
            )),
            Some(Command::Try(arguments)) => try_call(&arguments),
        };
        match result {
            Ok(()) => ExitCode::SUCCESS,
            // The report has said it.
            Err(failure @ Failure::Unwell) => failure.code(),
            Err(failure) => {
                eprintln!("{failure}");
                failure.code()
            }
        }
    }
}

/// Why a command did not do what it was asked.
#[derive(Debug, thiserror::Error)]
enum Failure {
    #[error("{0}")]
    Usage(String),
    #[error(transparent)]
    Configuration(#[from] config::Error),
    #[error("callbox: {0:#}")]
    Runtime(#[from] anyhow::Error),
    #[error("something is broken")]
    Unwell,
}

impl Failure {
    fn code(&self) -> ExitCode {
        match self {
            Self::Usage(_) | Self::Configuration(_) => ExitCode::from(2),
            Self::Runtime(_) | Self::Unwell => ExitCode::from(1),
        }
    }
}

fn serve(configuration: &Configuration) -> Result<(), Failure> {
    let loaded = configuration.load()?;
    run(Plan {
        settings: loaded.settings.clone(),
        mode: Mode::Serve,
        source: Some(Source {
            named: configuration.file.clone(),
            loaded,
        }),
    })
}

fn try_call(arguments: &try_call::Arguments) -> Result<(), Failure> {
    let settings = try_call::settings(arguments)
        .map_err(|error| anyhow::anyhow!("no place for the state of this try: {error}"))?;
    run(Plan {
        settings,
        mode: Mode::Try,
        source: None,
    })
}

fn run(plan: Plan) -> Result<(), Failure> {
    app::seed_early();
    let audience = match plan.mode {
        Mode::Serve => Audience::Operator,
        Mode::Try => Audience::Terminal,
    };
    let levels = log::init(&plan.settings.log, audience).map_err(anyhow::Error::from)?;
    // Packets have threads of their own; what is left for the runtime is connections that mostly
    // wait, and each thread more costs memory.
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(
            thread::available_parallelism().map_or(1, |cores| cores.get().min(MOST_THREADS)),
        )
        .max_blocking_threads(BLOCKING_THREADS)
        .enable_all()
        .build()
        .map_err(anyhow::Error::from)?;
    runtime
        .block_on(app::run(plan, levels))
        .map_err(anyhow::Error::from)?;
    Ok(())
}

/// Threads that serve connections.
const MOST_THREADS: usize = 2;

/// Threads for files and name lookups, started as needed.
const BLOCKING_THREADS: usize = 4;
