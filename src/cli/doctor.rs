//! `callbox doctor`: finds the broken link and says how to mend it.

use std::io::{self, Write as _};

use anyhow::Context as _;
use clap::Args;

use super::{Configuration, Failure};
use crate::config::Loaded;
use crate::doctor::{self, Plan, Report};

/// Arguments of `callbox doctor`.
#[derive(Debug, Args)]
pub(super) struct Arguments {
    /// Print everything that was looked at, as JSON
    #[arg(long)]
    json: bool,
    /// Another callbox, with `front.probes = true`, which says how this one looks from outside
    #[arg(long, value_name = "URL", value_parser = origin)]
    from: Option<String>,
    #[command(flatten)]
    configuration: Configuration,
}

fn origin(text: &str) -> Result<String, &'static str> {
    let rest = text.strip_prefix("https://").unwrap_or_default();
    let rest = rest.trim_end_matches('/');
    match rest.is_empty() || rest.contains(['/', '?', '#', '@', ' ']) {
        true => Err("https:// and a host, like https://call.example.org"),
        false => Ok(format!("https://{rest}")),
    }
}

/// Runs the command.
pub(super) fn run(arguments: Arguments, before: Configuration) -> Result<(), Failure> {
    let Loaded { settings, file, .. } = arguments.configuration.or(before).load()?;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .context("the runtime cannot be started")?;
    let report = runtime.block_on(doctor::examine(Plan {
        settings,
        file,
        running: None,
        from: arguments.from,
    }));
    // A lookup that hangs must not hold up the end.
    runtime.shutdown_background();
    print(&report, arguments.json).context("the report cannot be written")?;
    match report.is_healthy() {
        true => Ok(()),
        false => Err(Failure::Unwell),
    }
}

fn print(report: &Report, json: bool) -> io::Result<()> {
    let mut out = io::stdout().lock();
    match json {
        true => writeln!(out, "{:#}", report.to_json()),
        false => out.write_all(report.to_text().as_bytes()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_origin_of_another_server_is_taken() {
        let good = Ok("https://other.example:8443".to_owned());
        assert_eq!(origin("https://other.example:8443/"), good);
        for text in [
            "",
            "other.example",
            "http://other.example",
            "https://",
            "https://a@b",
            "https://a/b",
        ] {
            assert!(origin(text).is_err(), "{text}");
        }
    }
}
