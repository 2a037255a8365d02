//! Bodies on their way through: piece by piece, each piece asked for when the last one is gone.

use std::future::Future as _;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use bytes::Bytes;
use hyper::body::{Body, Frame, Incoming, SizeHint};
use tokio::sync::oneshot;
use tokio::time::Sleep;

use super::Proxy;
use super::failure::Failure;
use super::pool::{Line, Place};
use crate::http::activity::PROGRESS;
use crate::net::clock;

/// Who let a deadline pass.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum Late {
    /// The visitor, who did not go on sending.
    #[error("the visitor sends nothing")]
    Visitor,
    /// The application, which does not read.
    #[error("the application reads nothing")]
    Application,
}

/// A visitor's body for the application.
#[derive(Debug)]
pub(super) struct Upload {
    visitor: Option<Incoming>,
    /// The time that the visitor may let us wait for each [`PROGRESS`] bytes. It stands still while
    /// the application has enough to do.
    patience: Deadline,
    since: usize,
    ended: Ended,
}

/// Tells when an upload has ended.
#[derive(Debug)]
struct Ended {
    completely: Arc<AtomicBool>,
    /// Gone when it ended in whatever way.
    _alive: Option<oneshot::Sender<()>>,
}

/// What others see of an upload.
#[derive(Debug)]
pub(super) struct Progress {
    completely: Arc<AtomicBool>,
    alive: Option<oneshot::Receiver<()>>,
}

impl Upload {
    /// A body that may keep us waiting for `patience` in between.
    pub(super) fn new(visitor: Incoming, patience: Duration) -> (Self, Progress) {
        let empty = visitor.is_end_stream();
        let completely = Arc::new(AtomicBool::new(empty));
        let (sender, alive) = oneshot::channel();
        let upload = Self {
            visitor: (!empty).then_some(visitor),
            patience: Deadline::new(patience),
            since: 0,
            ended: Ended {
                completely: completely.clone(),
                _alive: (!empty).then_some(sender),
            },
        };
        let alive = Some(alive);
        (upload, Progress { completely, alive })
    }

    /// The body of a request that has none.
    pub(super) fn none() -> Self {
        Self {
            visitor: None,
            patience: Deadline::new(Duration::ZERO),
            since: 0,
            ended: Ended {
                completely: Arc::new(AtomicBool::new(true)),
                _alive: None,
            },
        }
    }
}

impl Progress {
    /// Waits until nothing more is sent.
    pub(super) async fn ended(&mut self) {
        if let Some(alive) = &mut self.alive {
            let _ = alive.await;
            self.alive = None;
        }
    }

    /// Whether everything has been taken over for sending.
    pub(super) fn is_complete(&self) -> bool {
        self.completely.load(Ordering::Acquire)
    }
}

impl Body for Upload {
    type Data = Bytes;
    type Error = Box<dyn std::error::Error + Send + Sync>;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        let this = &mut *self;
        let Some(visitor) = &mut this.visitor else {
            return Poll::Ready(None);
        };
        let polled = Pin::new(&mut *visitor).poll_frame(cx);
        let ended = match &polled {
            Poll::Ready(None) => true,
            Poll::Ready(Some(Ok(_))) => visitor.is_end_stream(),
            Poll::Ready(Some(Err(_))) => false,
            Poll::Pending => {
                return match this.patience.poll(cx) {
                    Poll::Ready(()) => Poll::Ready(Some(Err(Late::Visitor.into()))),
                    Poll::Pending => Poll::Pending,
                };
            }
        };
        if let Poll::Ready(Some(Ok(frame))) = &polled {
            this.since += frame.data_ref().map_or(0, Bytes::len);
        }
        this.patience.pause();
        if this.since >= PROGRESS {
            this.since = 0;
            this.patience.rest();
        }
        if ended {
            this.visitor = None;
            this.ended.completely.store(true, Ordering::Release);
            this.ended._alive = None;
        }
        polled.map_err(Into::into)
    }

    fn is_end_stream(&self) -> bool {
        self.visitor.is_none()
    }

    fn size_hint(&self) -> SizeHint {
        match &self.visitor {
            Some(visitor) => visitor.size_hint(),
            None => SizeHint::with_exact(0),
        }
    }
}

/// An application's body for the visitor. Holds the connection that it comes on, and gives it back
/// when both bodies are through.
#[derive(Debug)]
pub(super) struct Download {
    application: Incoming,
    patience: Deadline,
    proxy: Arc<Proxy>,
    /// Until the end.
    held: Option<(Line, Place, Progress)>,
}

impl Download {
    pub(super) fn new(
        application: Incoming,
        proxy: Arc<Proxy>,
        line: Line,
        place: Place,
        upload: Progress,
    ) -> Self {
        let mut download = Self {
            patience: Deadline::new(proxy.settings.read_timeout),
            application,
            proxy,
            held: Some((line, place, upload)),
        };
        if download.application.is_end_stream() {
            download.finish();
        }
        download
    }

    fn finish(&mut self) {
        if let Some((line, _place, upload)) = self.held.take()
            // Otherwise the rest of a request stands where the next one should begin.
            && upload.is_complete()
        {
            self.proxy.pool.put_back(line);
        }
    }

    fn fail(&mut self, failure: &Failure) {
        self.held = None;
        self.proxy.complain(failure, "the answer broke off");
    }
}

impl Body for Download {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<io::Result<Frame<Bytes>>>> {
        let this = &mut *self;
        match Pin::new(&mut this.application).poll_frame(cx) {
            Poll::Ready(Some(Ok(frame))) => {
                this.patience.rest();
                if this.application.is_end_stream() {
                    this.finish();
                }
                Poll::Ready(Some(Ok(frame)))
            }
            Poll::Ready(None) => {
                this.finish();
                Poll::Ready(None)
            }
            Poll::Ready(Some(Err(error))) => {
                this.fail(&Failure::of(error));
                // The visitor was promised more: the connection must break.
                Poll::Ready(Some(Err(io::ErrorKind::UnexpectedEof.into())))
            }
            Poll::Pending => match this.patience.poll(cx) {
                Poll::Ready(()) => {
                    this.fail(&Failure::ReadTimeout(this.proxy.settings.read_timeout));
                    Poll::Ready(Some(Err(io::ErrorKind::TimedOut.into())))
                }
                Poll::Pending => Poll::Pending,
            },
        }
    }

    fn is_end_stream(&self) -> bool {
        self.application.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.application.size_hint()
    }
}

/// A deadline that runs while something is waited for.
#[derive(Debug)]
pub(super) struct Deadline {
    after: Duration,
    left: Duration,
    sleep: Option<Pin<Box<Sleep>>>,
    since: Option<Instant>,
}

impl Deadline {
    pub(super) fn new(after: Duration) -> Self {
        Self {
            after,
            left: after,
            sleep: None,
            since: None,
        }
    }

    /// Something has to be waited for. Ready when that has taken too long.
    pub(super) fn poll(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        if self.since.is_none() {
            let now = clock::now();
            self.since = Some(now);
            let end = (now + self.left).into();
            match &mut self.sleep {
                Some(sleep) => sleep.as_mut().reset(end),
                empty => *empty = Some(Box::pin(tokio::time::sleep_until(end))),
            }
        }
        match &mut self.sleep {
            Some(sleep) => sleep.as_mut().poll(cx),
            None => Poll::Pending,
        }
    }

    /// What was waited for has come. The next wait has what this one has left.
    pub(super) fn pause(&mut self) {
        if let Some(since) = self.since.take() {
            let waited = clock::now().saturating_duration_since(since);
            self.left = self.left.saturating_sub(waited);
        }
    }

    /// What was waited for has come. The next wait has all the time again.
    pub(super) fn rest(&mut self) {
        self.since = None;
        self.left = self.after;
    }
}
