//! A connection that has changed its protocol: bytes both ways, of which we know nothing.

use std::io;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use hyper::body::Incoming;
use hyper::header::{CONNECTION, HeaderValue, UPGRADE};
use hyper::upgrade::OnUpgrade;
use hyper::{Response, StatusCode};
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tracing::Instrument as _;

use super::connect::Paced;
use super::headers;
use super::pool::Line;
use crate::http::activity::GOODBYE;
use crate::http::body::Answer;
use crate::http::serve::{Client, Metered, Reply};
use crate::net::clock;
use crate::net::prefixed::Prefixed;
use crate::telemetry::log::Client as Shown;

/// Bytes that may be under way in one direction.
const PIECE: usize = 8 * 1024;

/// Answers with what the application said, and passes bytes on from then on. The tunnel holds the
/// slot of the visitor's connection; there cannot be more of them than connections.
pub(super) fn open<I>(
    mut answered: Response<Incoming>,
    visitor: OnUpgrade,
    line: Line,
    client: &Client,
    quiet: Option<Duration>,
) -> Reply
where
    I: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let application = hyper::upgrade::on(&mut answered);
    let protocol = answered.headers().get(UPGRADE).cloned();
    let (drain, slot) = (client.drain.clone(), client.slot.clone());
    let span = tracing::info_span!("tunnel", client = %Shown(client.peer));
    let tunnel = async move {
        let both = tokio::try_join!(visitor, application);
        drop(line);
        let (visitor, application) = match both {
            Ok(both) => both,
            Err(error) => {
                tracing::debug!(%error, "gone before the upgrade");
                return;
            }
        };
        let (Ok(visitor), Ok(application)) = (
            visitor.downcast::<TokioIo<Metered<I>>>(),
            application.downcast::<TokioIo<Paced>>(),
        ) else {
            tracing::error!("an upgraded connection is not what was served");
            return;
        };
        // hyper and its deadlines end here.
        let Some(stream) = visitor.io.into_inner().into_inner() else {
            return;
        };
        let mut visitor = Prefixed::new(visitor.read_buf.to_vec(), stream);
        let mut application = Prefixed::new(
            application.read_buf.to_vec(),
            application.io.into_inner().into_inner(),
        );
        let why = tokio::select! {
            ended = pass(&mut visitor, &mut application, quiet) => ended,
            () = drain.begun() => "the appliance is stopping",
        };
        tracing::debug!(why, "tunnel ended");
        let goodbye = async { tokio::join!(visitor.shutdown(), application.shutdown()) };
        let _ = tokio::time::timeout(GOODBYE, goodbye).await;
        drop(slot);
    };
    client.drain.spawn(tunnel.instrument(span));

    let mut response = Response::new(Answer::empty());
    *response.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
    let mut passed = std::mem::take(answered.headers_mut());
    headers::response(&mut passed);
    passed.insert(CONNECTION, HeaderValue::from_static("upgrade"));
    if let Some(protocol) = protocol {
        passed.insert(UPGRADE, protocol);
    }
    *response.headers_mut() = passed;
    response
}

/// Passes bytes on until both sides have ended, one has broken, or nothing has moved for `quiet`.
async fn pass<V, A>(visitor: V, application: A, quiet: Option<Duration>) -> &'static str
where
    V: AsyncRead + AsyncWrite + Unpin,
    A: AsyncRead + AsyncWrite + Unpin,
{
    let moved = Moved::new();
    let (from_visitor, to_visitor) = tokio::io::split(visitor);
    let (from_application, to_application) = tokio::io::split(application);
    let both = async {
        tokio::try_join!(
            pump(from_visitor, to_application, &moved),
            pump(from_application, to_visitor, &moved),
        )
    };
    tokio::select! {
        ended = both => match ended {
            Ok(_) => "both sides ended",
            Err(_) => "one side broke off",
        },
        () = moved.rested(quiet) => "upgrade_timeout passed",
    }
}

async fn pump<R, W>(mut from: R, mut to: W, moved: &Moved) -> io::Result<()>
where
    R: AsyncRead + Unpin,
    W: AsyncWrite + Unpin,
{
    let mut piece = vec![0; PIECE];
    loop {
        let length = from.read(&mut piece).await?;
        if length == 0 {
            return to.shutdown().await;
        }
        to.write_all(piece.get(..length).unwrap_or_default())
            .await?;
        to.flush().await?;
        moved.note();
    }
}

/// When bytes moved last.
struct Moved(Mutex<Instant>);

impl Moved {
    fn new() -> Self {
        Self(Mutex::new(clock::now()))
    }

    fn note(&self) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = clock::now();
    }

    /// Waits until nothing has moved for so long; for ever if that does not matter.
    async fn rested(&self, quiet: Option<Duration>) {
        let Some(quiet) = quiet else {
            return std::future::pending().await;
        };
        loop {
            let last = *self.0.lock().unwrap_or_else(PoisonError::into_inner);
            let end = last + quiet;
            if end <= clock::now() {
                return;
            }
            tokio::time::sleep_until(end.into()).await;
        }
    }
}
