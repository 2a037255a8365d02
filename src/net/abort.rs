//! Ending a connection without waiting for the client: what it has not taken is thrown away.
//!
//! After an ordinary close the kernel goes on offering what is in its buffers, up to some MiB a
//! connection, to a client that does not read on purpose.

use std::time::Duration;

use socket2::SockRef;
use tokio::net::TcpStream;

use super::prefixed::Prefixed;

/// A connection, or layers above one.
pub trait Abort {
    /// Makes the coming close a reset.
    fn abort(&self);
}

impl Abort for TcpStream {
    fn abort(&self) {
        // Only a socket that is gone refuses.
        let _ = SockRef::from(self).set_linger(Some(Duration::ZERO));
    }
}

impl<S: Abort> Abort for Prefixed<S> {
    fn abort(&self) {
        self.inner().abort();
    }
}

impl<S: Abort> Abort for tokio_rustls::server::TlsStream<S> {
    fn abort(&self) {
        self.get_ref().0.abort();
    }
}
