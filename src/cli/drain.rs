//! `callbox drain`: tells the running appliance to end when its calls have ended, and waits until it
//! has. For managers that can run a command before they stop a container.

use std::io::Read as _;
use std::net::TcpStream;

use super::healthcheck::{PATIENCE, address, ask};
use super::{Configuration, Failure};

/// Runs the command.
pub(super) fn run(configuration: &Configuration) -> Result<(), Failure> {
    let admin = configuration.load()?.settings.admin;
    let answer = ask(&admin, "POST /drain")?;
    let first = answer.lines().next().unwrap_or_default();
    if first.split(' ').nth(1) != Some("202") {
        let address = address(&admin)?;
        return Err(anyhow::anyhow!("{address} did not begin to drain: {first}").into());
    }
    // The admin listener answers until the process ends. Each connection is held until it is closed:
    // by the end, or because nothing was asked on it for a while.
    let address = address(&admin)?;
    while let Ok(mut stream) = TcpStream::connect_timeout(&address, PATIENCE) {
        // How it ends says nothing; the next attempt to connect does.
        let _ = stream.read(&mut [0; 256]);
    }
    Ok(())
}
