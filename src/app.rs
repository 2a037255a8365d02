//! Temporary signature of the composition root.

use crate::config::Settings;

/// What to run.
#[derive(Clone, Debug)]
pub struct Plan {
    /// Settings.
    pub settings: Settings,
    /// How it was started.
    pub mode: Mode,
    /// What `config` warned of, to be logged.
    pub warnings: Vec<String>,
}

/// How the appliance was started.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// `callbox serve`
    Serve,
    /// `callbox try`: prints the banner once it listens.
    Try,
}

/// Why it ended.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Nothing is wired yet.
    #[error("not wired")]
    Unwired,
}

/// Runs until told to end.
pub async fn run(plan: Plan) -> Result<(), Error> {
    tracing::debug!(?plan, "planned");
    Err(Error::Unwired)
}
