//! The operator's own applications behind this front door: a request under one of their paths goes
//! to them, and their answer goes back, piece by piece.
//!
//! Which paths are theirs is [`super::router`]'s to say; limits on visitors' connections are
//! [`super::serve`]'s.

mod body;
mod connect;
mod failure;
mod headers;
mod pool;
mod tunnel;

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use http_body_util::{BodyExt as _, Limited};
use hyper::body::{Body, Incoming};
use hyper::client::conn::http1::SendRequest;
use hyper::header::{EXPECT, UPGRADE};
use hyper::http::uri::PathAndQuery;
use hyper::upgrade::OnUpgrade;
use hyper::{Request, Response, StatusCode, Uri, Version};
use tokio::io::{AsyncRead, AsyncWrite};

use self::body::{Download, Progress, Upload};
use self::failure::{Failure, Fault};
use self::headers::Known;
use self::pool::{Line, Place, Pool};
use super::activity::GOODBYE;
use super::authority::Authority;
use super::body::Answer;
use super::serve::{Client, Reply};
use super::upgrade;
use crate::config::settings;
use crate::net::clock;

/// How often a failing application is worth a line in the log.
const COMPLAIN_EVERY: Duration = Duration::from_secs(1);

/// One application.
#[derive(Debug)]
pub(super) struct Proxy {
    settings: settings::Proxy,
    pool: Pool,
    /// How long a visitor may pause in the middle of a body.
    patience: Duration,
    complaints: Mutex<Complaints>,
    /// It did not answer when it was last asked.
    failing: AtomicBool,
}

#[derive(Debug, Default)]
struct Complaints {
    last: Option<Instant>,
    suppressed: u64,
}

impl Proxy {
    pub(super) fn new(settings: settings::Proxy, patience: Duration) -> Self {
        Self {
            pool: Pool::new(&settings),
            settings,
            patience,
            complaints: Mutex::default(),
            failing: AtomicBool::new(false),
        }
    }

    /// Everything below this path is the application's.
    pub(super) fn path(&self) -> &str {
        &self.settings.path
    }

    /// Asks the application. The error is a page of ours in place of its answer.
    pub(super) async fn forward<I>(
        self: &Arc<Self>,
        mut request: Request<Incoming>,
        own: Option<&Authority>,
        client: &Client,
    ) -> Result<Reply, Reply>
    where
        I: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let asks = request.version() == Version::HTTP_11 && request.headers().contains_key(UPGRADE);
        let mut visitor = asks.then(|| hyper::upgrade::on(&mut request));
        let answered = self.ask::<I>(request, own, client, &mut visitor).await;
        match &answered {
            Ok(_) if self.failing.swap(false, Ordering::Relaxed) => {
                tracing::info!(upstream = %self.settings.upstream, "the application answers again");
            }
            Ok(_) => {}
            Err(failure) => self.complain(failure, "no answer for a visitor"),
        }
        let decline = |reply| match visitor {
            Some(visitor) => upgrade::decline(visitor, client, reply),
            None => reply,
        };
        match answered {
            Ok(reply) => Ok(decline(reply)),
            Err(failure) => Err(decline(failure.page())),
        }
    }

    /// Takes `visitor` if the connection changes its protocol.
    async fn ask<I>(
        self: &Arc<Self>,
        request: Request<Incoming>,
        own: Option<&Authority>,
        client: &Client,
        visitor: &mut Option<OnUpgrade>,
    ) -> Result<Reply, Failure>
    where
        I: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let wish = headers::upgrade(request.method(), request.version(), request.headers())
            .filter(|_| request.body().is_end_stream());
        let wished = wish.is_some();
        let (head, body) = request.into_parts();
        let waits = head.headers.contains_key(EXPECT);
        let place = match self.pool.place(client.peer.ip()).await {
            Ok(place) => place,
            Err(failure) => {
                swallow(body, waits).await;
                return Err(failure);
            }
        };
        let (upload, mut progress) = Upload::new(body, self.patience);
        let host = own.map(Authority::to_string);
        let known = Known {
            peer: client.peer.ip(),
            host: host.as_deref().unwrap_or("localhost"),
        };
        let mut outgoing = Request::new(upload);
        *outgoing.method_mut() = head.method;
        *outgoing.uri_mut() = origin_form(&head.uri);
        *outgoing.headers_mut() = head.headers;
        headers::request(outgoing.headers_mut(), known, wish);

        let (answered, line) = self
            .exchange(outgoing, &mut progress, client, waits)
            .await?;
        if answered.status() != StatusCode::SWITCHING_PROTOCOLS {
            return Ok(self.answer(answered, line, place, progress));
        }
        let visitor = visitor.take_if(|_| wished).ok_or(Failure::Unasked)?;
        let quiet = self.settings.upgrade_timeout;
        Ok(tunnel::open::<I>(answered, visitor, line, client, quiet))
    }

    /// Sends the request on a connection that is there, or on a new one.
    async fn exchange(
        &self,
        mut outgoing: Request<Upload>,
        progress: &mut Progress,
        client: &Client,
        waits: bool,
    ) -> Result<(Response<Incoming>, Line), Failure> {
        if let Some(mut line) = self.pool.take_idle() {
            // Sent twice only if twice is as good as once (RFC 9110 section 9.2.2).
            let spare = (outgoing.method().is_idempotent() && outgoing.body().is_end_stream())
                .then(|| again(&outgoing));
            match self.send(&mut line.sender, outgoing, progress).await {
                Ok(answered) => return Ok((answered, line)),
                // The application closed the connection while it lay idle, or just now.
                Err(Unanswered {
                    unsent: Some(request),
                    ..
                }) => outgoing = request,
                Err(Unanswered { failure, .. }) => match (failure, spare) {
                    (Failure::Broken(error), Some(spare)) if is_closed(&error) => {
                        tracing::debug!(%error, "once more, on a new connection");
                        outgoing = spare;
                    }
                    (failure, _) => return Err(failure),
                },
            }
        }
        let mut line = match self.pool.connect(&client.drain).await {
            Ok(line) => line,
            Err(failure) => {
                swallow(outgoing.into_body(), waits).await;
                return Err(failure);
            }
        };
        match self.send(&mut line.sender, outgoing, progress).await {
            Ok(answered) => Ok((answered, line)),
            Err(unanswered) => Err(unanswered.failure),
        }
    }

    async fn send(
        &self,
        sender: &mut SendRequest<Upload>,
        request: Request<Upload>,
        progress: &mut Progress,
    ) -> Result<Response<Incoming>, Unanswered> {
        let answered = sender.try_send_request(request);
        let overdue = async {
            // The time for the answer begins with the end of the question.
            progress.ended().await;
            tokio::time::sleep(self.settings.read_timeout).await;
        };
        tokio::select! {
            biased;
            answered = answered => answered.map_err(|mut error| Unanswered {
                unsent: error.take_message(),
                failure: Failure::of(error.into_error()),
            }),
            () = overdue => Err(Unanswered {
                unsent: None,
                failure: Failure::ReadTimeout(self.settings.read_timeout),
            }),
        }
    }

    fn answer(
        self: &Arc<Self>,
        answered: Response<Incoming>,
        line: Line,
        place: Place,
        progress: Progress,
    ) -> Reply {
        let (mut head, body) = answered.into_parts();
        headers::response(&mut head.headers);
        let download = Download::new(body, self.clone(), line, place, progress);
        let mut response = Response::new(Answer::stream(download));
        *response.status_mut() = head.status;
        *response.headers_mut() = head.headers;
        response
    }

    /// Tells the operator, whom the visitor's page tells nothing.
    fn complain(&self, failure: &Failure, what: &'static str) {
        let upstream = &self.settings.upstream;
        if failure.fault() == Fault::Visitor {
            tracing::debug!(%upstream, %failure, what);
            return;
        }
        if failure.fault() == Fault::Application {
            self.failing.store(true, Ordering::Relaxed);
        }
        let now = clock::now();
        let mut complaints = self
            .complaints
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        // An application that is down is one piece of news, however many visitors it has.
        if complaints
            .last
            .is_some_and(|last| now.saturating_duration_since(last) < COMPLAIN_EVERY)
        {
            complaints.suppressed += 1;
            return;
        }
        complaints.last = Some(now);
        let suppressed = std::mem::take(&mut complaints.suppressed);
        let path = self.path();
        tracing::warn!(path, %upstream, cause = %failure, suppressed, "{what}");
    }
}

/// A request without an answer, and what can be done about it.
struct Unanswered {
    failure: Failure,
    /// Nothing of it has left us.
    unsent: Option<Request<Upload>>,
}

/// Bytes of a body that are read although nobody wants them.
const SWALLOW: usize = 64 * 1024;

/// Reads what a visitor is sending while the answer is an error already. Otherwise HTTP/1 could not
/// use the connection again, and HTTP/2 would take what is still under way for a mistake, of which
/// it forgives few. One who waits to be asked for a body sends none.
pub(super) async fn swallow<B>(body: B, waits: bool)
where
    B: Body + Unpin,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    if !waits && !body.is_end_stream() {
        let _ = tokio::time::timeout(GOODBYE, Limited::new(body, SWALLOW).collect()).await;
    }
}

/// The same request once more; it has no body.
fn again(request: &Request<Upload>) -> Request<Upload> {
    let mut again = Request::new(Upload::none());
    *again.method_mut() = request.method().clone();
    *again.uri_mut() = request.uri().clone();
    *again.headers_mut() = request.headers().clone();
    again
}

/// Whether the application closed the connection without a word.
fn is_closed(error: &hyper::Error) -> bool {
    let reset = || {
        let cause = std::error::Error::source(error)?.downcast_ref::<std::io::Error>()?;
        Some(matches!(
            cause.kind(),
            std::io::ErrorKind::ConnectionReset | std::io::ErrorKind::BrokenPipe
        ))
    };
    error.is_canceled() || error.is_incomplete_message() || reset().unwrap_or(false)
}

/// Path and query alone, as they came: an application behind us is no proxy.
fn origin_form(uri: &Uri) -> Uri {
    let path = uri
        .path_and_query()
        .cloned()
        .unwrap_or_else(|| PathAndQuery::from_static("/"));
    Uri::from(path)
}
