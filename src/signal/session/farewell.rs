//! Why a session ends, what the client is told, and how its connection is closed.

use std::future::poll_fn;
use std::io::{self, ErrorKind};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::time::timeout;

use super::wire::{Broken, Wire};
use crate::signal::core::Departure;
use crate::signal::dialect::Dialect;
use crate::signal::dialect::native::Complaint;
use crate::signal::frame::{CloseCode, Found, Violation};

/// Why a session ended.
#[derive(Debug, thiserror::Error)]
pub(super) enum End {
    /// The client closed it, with or without a word.
    #[error("closed by the client")]
    Closed(Option<CloseCode>),
    /// The connection broke.
    #[error("connection lost: {0}")]
    Lost(io::Error),
    /// Nothing came from the client, not even the answer to a ping.
    #[error("no sign of life")]
    Silent,
    /// The client does not read, and a frame has waited too long.
    #[error("client does not read")]
    Stuck,
    /// The client does not read as fast as its peers write.
    #[error("too many messages waiting")]
    TooSlow,
    /// More messages than allowed.
    #[error("too many messages")]
    TooFast,
    /// A message longer than allowed.
    #[error("message too big")]
    TooBig,
    /// A binary message.
    #[error("only text messages are understood")]
    Binary,
    /// Text that is not UTF-8.
    #[error("text is not UTF-8")]
    NotUtf8,
    /// Too many messages that are not JSON.
    #[error("too many messages that are not JSON objects")]
    Malformed,
    /// Frames that RFC 6455 forbids.
    #[error("{0}")]
    Protocol(Violation),
    /// The process ends.
    #[error("service restart")]
    Restart,
    /// The client may not come in.
    #[error("{0}")]
    Denied(Complaint),
    /// All has been said.
    #[error("done")]
    Done,
    /// The client has come back over another connection.
    #[error("resumed over another connection")]
    Superseded,
    /// The operator has ended it.
    #[error("ended by the operator")]
    Evicted,
}

impl End {
    /// The close frame that tells the client; `None` where it has closed already, or cannot hear.
    fn close_code(&self, dialect: Dialect) -> Option<CloseCode> {
        // The codes of RFC 6455 do not say whether it is of any use to come back. Ours do, to
        // clients that know them.
        let ours = |code, else_: CloseCode| match dialect {
            Dialect::Native => CloseCode::application(code),
            _ => else_,
        };
        Some(match self {
            Self::Closed(_) | Self::Lost(_) | Self::Stuck => return None,
            Self::Done => CloseCode::NORMAL,
            Self::Protocol(_) => CloseCode::PROTOCOL,
            Self::Binary => CloseCode::UNSUPPORTED,
            Self::NotUtf8 => CloseCode::INVALID,
            Self::Denied(_) => CloseCode::POLICY,
            Self::Malformed => ours(4400, CloseCode::POLICY),
            Self::Silent => ours(4408, CloseCode::POLICY),
            Self::Superseded => ours(4409, CloseCode::POLICY),
            Self::Evicted => ours(4403, CloseCode::POLICY),
            Self::TooFast => ours(4429, CloseCode::POLICY),
            Self::TooBig => CloseCode::SIZE,
            Self::Restart => CloseCode::RESTART,
            Self::TooSlow => CloseCode::AGAIN,
        })
    }

    /// Whether the client is done, or may come back to its seat.
    pub(super) fn departure(&self) -> Departure {
        match self {
            // A page that is left closes its sockets with 1001 by itself. Without any code it was
            // a library or a script that has given up on this connection, not on the call.
            Self::Closed(Some(CloseCode::NORMAL | CloseCode::AWAY)) => Departure::Left,
            _ => Departure::Lost,
        }
    }
}

impl From<Broken> for End {
    fn from(broken: Broken) -> Self {
        match broken {
            Broken::Violation(Violation::TooBig) => Self::TooBig,
            Broken::Violation(Violation::NotUtf8) => Self::NotUtf8,
            Broken::Violation(violation) => Self::Protocol(violation),
            Broken::Lost(error) => Self::Lost(error),
        }
    }
}

/// Closes the connection in a way that lets the client learn why, within [`PATIENCE`].
pub(super) async fn say<S>(mut socket: Wire<S>, dialect: Dialect, end: End)
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    if matches!(end, End::Lost(_) | End::Stuck) {
        return;
    }
    // Who does not play along is closed all the same.
    let _ = timeout(PATIENCE, orderly(&mut socket, dialect, end)).await;
}

async fn orderly<S>(socket: &mut Wire<S>, dialect: Dialect, end: End) -> io::Result<()>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    match end {
        // RFC 6455 section 5.5.1: answered with its own code.
        End::Closed(code) => socket.close(code, ""),
        _ => socket.close(end.close_code(dialect), &end.to_string()),
    }
    poll_fn(|cx| socket.poll_flush(cx)).await?;
    let undecoded = match end {
        End::Closed(_) => false,
        // Until the client's own close frame, or the end of what can be decoded.
        _ => loop {
            match poll_fn(|cx| socket.poll_next(cx)).await {
                Ok(Found::Close(_)) => break false,
                Ok(_) => {}
                Err(Broken::Violation(_)) => break true,
                Err(Broken::Lost(error)) => return Err(error),
            }
        },
    };
    // Section 7.1.1: the server closes first.
    let stream = socket.stream();
    stream.shutdown().await?;
    if !undecoded {
        return Ok(());
    }
    // Closing with bytes unread resets the connection, and a reset overtakes the close frame.
    let mut discarded = vec![0; 4096];
    loop {
        match stream.read(&mut discarded).await {
            Ok(0) => return Ok(()),
            Err(error) if error.kind() != ErrorKind::Interrupted => return Err(error),
            _ => {}
        }
    }
}

/// How long a client may take to answer a close frame.
const PATIENCE: Duration = Duration::from_secs(2);
