//! A TCP connection that turned out to speak STUN or TURN, on its way out of tokio into a TURN
//! worker's own event loop. Owns the hand-over format only; both ends are elsewhere.

use std::fmt;
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;

/// A client connection that has said enough to be recognised.
pub struct ClientStream {
    /// Non-blocking, with Nagle's algorithm off. In no reactor any more.
    pub socket: TcpStream,
    /// The TLS layer with its handshake done, or `None` for plain TCP.
    ///
    /// All plaintext that it could decrypt is in `received`, so a reader may wait for the socket.
    /// It may still want to write (session tickets that did not fit into the socket's buffer).
    pub tls: Option<Box<rustls::ServerConnection>>,
    /// Who is calling.
    pub peer: SocketAddr,
    /// The address they called.
    pub local: SocketAddr,
    /// Plaintext read so far, to be replayed before the socket is read.
    pub received: Vec<u8>,
    /// The connection's slot in the front door's limits, released on drop.
    pub permit: Box<dyn Send>,
}

impl fmt::Debug for ClientStream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ClientStream")
            .field("tls", &self.tls.is_some())
            .field("peer", &self.peer)
            .field("local", &self.local)
            .field("received", &self.received.len())
            .finish_non_exhaustive()
    }
}

/// Takes over a TURN connection. Must not block: it is called from a tokio worker.
pub type TurnSink = Arc<dyn Fn(ClientStream) + Send + Sync>;
