//! Noticing that whoever is at the other end of a quiet TCP connection has gone.

use std::time::Duration;

use socket2::{SockRef, TcpKeepalive};
use tokio::net::TcpStream;

/// Quiet for this long, the kernel asks.
const QUIET: Duration = Duration::from_secs(60);
/// And asks again so often.
const INTERVAL: Duration = Duration::from_secs(15);
const ATTEMPTS: u32 = 4;

/// Lets the kernel end a connection whose other end does not answer for two minutes. A phone that
/// lost its network says no goodbye, and a tunnel through us has no deadline of its own.
pub fn watch(stream: &TcpStream) {
    let keepalive = TcpKeepalive::new()
        .with_time(QUIET)
        .with_interval(INTERVAL)
        .with_retries(ATTEMPTS);
    if let Err(error) = SockRef::from(stream).set_tcp_keepalive(&keepalive) {
        tracing::debug!(%error, "no TCP keep-alive");
    }
}
