//! `callbox healthcheck`: asks the running appliance whether it is ready, for Docker and the like.

use std::io::{self, Read as _, Write as _};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpStream};
use std::time::Duration;

use anyhow::{Context as _, bail};

use super::{Configuration, Failure};
use crate::config::settings::Admin;

/// Docker's own default is half a minute; an appliance that needs longer than this is not well.
pub(super) const PATIENCE: Duration = Duration::from_secs(5);

/// The state is some hundred bytes.
const MAX_ANSWER: u64 = 64 * 1024;

/// Runs the command.
pub(super) fn run(configuration: &Configuration) -> Result<(), Failure> {
    let settings = configuration.load()?.settings;
    let answer = ask(&settings.admin, "GET /readyz")?;
    let (head, body) = answer.split_once("\r\n\r\n").unwrap_or((&answer, ""));
    // Somebody else may live at the default address.
    if !body.contains("\"service\": \"callbox\"") {
        return Err(anyhow::anyhow!(
            "{}: whoever answers there is not callbox, or asks for another token: {}",
            address(&settings.admin)?,
            head.lines().next().unwrap_or_default()
        )
        .into());
    }
    match head.split(' ').nth(1) {
        Some("200") => Ok(()),
        _ => Err(anyhow::anyhow!("not ready:\n{body}").into()),
    }
}

/// Where the operator's listener is reached from here.
pub(super) fn address(admin: &Admin) -> anyhow::Result<SocketAddr> {
    let Some(first) = admin.listen.first() else {
        bail!("[admin] listen is empty: there is nobody to ask");
    };
    let ip = match first.ip() {
        IpAddr::V4(Ipv4Addr::UNSPECIFIED) => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(Ipv6Addr::UNSPECIFIED) => Ipv6Addr::LOCALHOST.into(),
        ip => ip,
    };
    Ok(SocketAddr::new(ip, first.port()))
}

/// What it answers to a request without a body, such as `GET /readyz`.
pub(super) fn ask(admin: &Admin, request: &str) -> anyhow::Result<String> {
    let address = address(admin)?;
    let unreachable = || {
        format!("nobody answers at {address} ([admin] listen): is `callbox serve` running here?")
    };
    let mut request = format!("{request} HTTP/1.0\r\nHost: {address}\r\n").into_bytes();
    if let Some(token) = &admin.token {
        request.extend_from_slice(b"Authorization: Bearer ");
        request.extend_from_slice(token.expose());
        request.extend_from_slice(b"\r\n");
    }
    request.extend_from_slice(b"\r\n");
    let exchange = || -> io::Result<String> {
        let mut stream = TcpStream::connect_timeout(&address, PATIENCE)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        stream.set_write_timeout(Some(PATIENCE))?;
        stream.write_all(&request)?;
        let mut answer = String::new();
        stream.take(MAX_ANSWER).read_to_string(&mut answer)?;
        Ok(answer)
    };
    exchange().with_context(unreachable)
}
