//! Why a session ends, what the client is told, and how its connection is closed.

use std::io::ErrorKind;
use std::time::Duration;

use futures_util::StreamExt as _;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::time::timeout;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::error::ProtocolError;
use tokio_tungstenite::tungstenite::protocol::CloseFrame;
use tokio_tungstenite::tungstenite::protocol::frame::coding::CloseCode;
use tokio_tungstenite::tungstenite::{Error, Utf8Bytes};

use crate::signal::core::Departure;
use crate::signal::dialect::Dialect;
use crate::signal::dialect::native::Complaint;

/// Why a session ended.
#[derive(Debug, thiserror::Error)]
pub(super) enum End {
    /// The client closed it, with or without a word.
    #[error("closed by the client")]
    Closed(Option<CloseCode>),
    /// The connection broke.
    #[error("connection lost: {0}")]
    Lost(Error),
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
    Protocol(ProtocolError),
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
}

impl End {
    /// The close frame that tells the client; `None` where it has closed already, or cannot hear.
    fn close_code(&self, dialect: Dialect) -> Option<CloseCode> {
        // The codes of RFC 6455 do not say whether it is of any use to come back. Ours do, to
        // clients that know them.
        let ours = |code, else_: CloseCode| match dialect {
            Dialect::Native => CloseCode::Library(code),
            _ => else_,
        };
        Some(match self {
            Self::Closed(_) | Self::Lost(_) | Self::Stuck => return None,
            Self::Done => CloseCode::Normal,
            Self::Protocol(_) => CloseCode::Protocol,
            Self::Binary => CloseCode::Unsupported,
            Self::NotUtf8 => CloseCode::Invalid,
            Self::Denied(_) => CloseCode::Policy,
            Self::Malformed => ours(4400, CloseCode::Policy),
            Self::Silent => ours(4408, CloseCode::Policy),
            Self::Superseded => ours(4409, CloseCode::Policy),
            Self::TooFast => ours(4429, CloseCode::Policy),
            Self::TooBig => CloseCode::Size,
            Self::Restart => CloseCode::Restart,
            Self::TooSlow => CloseCode::Again,
        })
    }

    /// Whether the client is done, or may come back to its seat.
    pub(super) fn departure(&self) -> Departure {
        match self {
            // A page that is left closes its sockets with 1001 by itself. Without any code it was
            // a library or a script that has given up on this connection, not on the call.
            Self::Closed(Some(CloseCode::Normal | CloseCode::Away)) => Departure::Left,
            _ => Departure::Lost,
        }
    }
}

impl From<Error> for End {
    fn from(error: Error) -> Self {
        match error {
            Error::Capacity(_) => Self::TooBig,
            Error::Utf8(_) => Self::NotUtf8,
            // The socket ended between two frames without a word: a closed tab, or a crash.
            Error::Protocol(ProtocolError::ResetWithoutClosingHandshake) => Self::Lost(error),
            Error::Protocol(error) => Self::Protocol(error),
            error => Self::Lost(error),
        }
    }
}

/// Closes the connection in a way that lets the client learn why, within [`PATIENCE`].
pub(super) async fn say<S>(mut socket: WebSocketStream<S>, dialect: Dialect, end: End)
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    if matches!(end, End::Lost(_) | End::Stuck) {
        return;
    }
    let orderly = async {
        if let Some(code) = end.close_code(dialect) {
            let frame = CloseFrame {
                code,
                reason: Utf8Bytes::from(end.to_string()),
            };
            if socket.close(Some(frame)).await.is_err() {
                return;
            }
        }
        // Until the client's own close frame, or the end of what can be decoded.
        let mut undecoded = matches!(end, End::TooBig | End::NotUtf8 | End::Protocol(_));
        while let Some(message) = socket.next().await {
            undecoded |= message.is_err();
        }
        // RFC 6455 section 7.1.1: the server closes first.
        let raw = socket.get_mut();
        if raw.shutdown().await.is_err() || !undecoded {
            return;
        }
        // Closing with bytes unread resets the connection, and a reset overtakes the close frame.
        // On the heap: on the stack it would be part of every session from its first moment.
        let mut discarded = vec![0; 4096];
        loop {
            match raw.read(&mut discarded).await {
                Ok(0) => return,
                Err(error) if error.kind() != ErrorKind::Interrupted => return,
                _ => {}
            }
        }
    };
    // Who does not play along is closed all the same.
    let _ = timeout(PATIENCE, orderly).await;
}

/// How long a client may take to answer a close frame.
const PATIENCE: Duration = Duration::from_secs(2);
