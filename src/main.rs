//! Arguments in, exit code out.

use std::process::ExitCode;

use callbox::cli::Arguments;
use clap::Parser as _;

fn main() -> ExitCode {
    // Fails only when there is a provider already, and nothing has run before this line.
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    Arguments::parse().run()
}
