//! One HTTP connection: hyper, its limits, its deadlines and its end.

use std::any::Any;
use std::convert::Infallible;
use std::future::{Future, poll_fn};
use std::io::{self, IoSlice};
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker, ready};
use std::time::{Duration, Instant};

use hyper::body::{Body, Incoming};
use hyper::rt::Executor;
use hyper::server::conn::{http1, http2};
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::activity::{Activity, GOODBYE, Late, Limits, Protocol, Turn};
use super::body::Answer;
use super::redirect::To;
use super::{Services, legacy, redirect};
use crate::net::abort::Abort;
use crate::net::clock;
use crate::net::corked::Corked;
use crate::shutdown::Drain;

/// Whose connection it is.
#[derive(Clone, Debug)]
pub struct Client {
    /// Its address.
    pub peer: SocketAddr,
    /// The end of the process.
    pub drain: Drain,
    /// The connection's slot in the limits, held for as long as anybody serves it.
    pub slot: Arc<dyn Any + Send + Sync>,
}

/// Headers of a request: browsers send a dozen.
const MAX_HEADERS: usize = 64;
/// Bytes of a request's header. Cookies of other services on the same host come along.
const MAX_HEADER_BYTES: usize = 32 * 1024;
/// Requests at a time on one HTTP/2 connection; a page has fewer files.
const MAX_STREAMS: u32 = 64;
/// Streams reset before anybody looked at them, by the client or by its breaking the rules: the
/// library ends a connection with more of them.
const MAX_RESETS: usize = 32;
/// Bytes of one body, and of all of a connection, that wait for whoever takes them.
const STREAM_WINDOW: u32 = 128 * 1024;
const CONNECTION_WINDOW: u32 = 256 * 1024;
/// Bytes of one answer that wait for the client.
const SEND_BUFFER: usize = 64 * 1024;
/// A phone that lost its network does not close its connections.
const PING_INTERVAL: Duration = Duration::from_secs(20);
const PING_TIMEOUT: Duration = Duration::from_secs(20);

/// Serves HTTP/1.1 until the connection ends or becomes a WebSocket.
pub async fn http1<I>(io: I, client: Client, services: Services)
where
    I: AsyncRead + AsyncWrite + Abort + Unpin + Send + 'static,
{
    one_by_one(io, client, services, Offer::Everything).await;
}

/// Serves WebSockets, and nothing else, from any page and on any path.
pub async fn websockets<I>(io: I, client: Client, services: Services)
where
    I: AsyncRead + AsyncWrite + Abort + Unpin + Send + 'static,
{
    one_by_one(io, client, services, Offer::WebSockets).await;
}

/// What there is on a connection.
#[derive(Clone, Copy, Debug)]
enum Offer {
    Everything,
    WebSockets,
}

async fn one_by_one<I>(io: I, client: Client, services: Services, offer: Offer)
where
    I: AsyncRead + AsyncWrite + Abort + Unpin + Send + 'static,
{
    let activity = Shared::new(Protocol::Http1);
    let (guard, served, drain) = (activity.clone(), services.clone(), client.drain.clone());
    let client = Arc::new(client);
    let service = service_fn(move |request: Request<Incoming>| {
        let (services, client) = (services.clone(), client.clone());
        let running = Running::begin(&guard, &services, &request);
        async move {
            let response = match offer {
                Offer::Everything => services.respond::<I>(request, &client).await,
                Offer::WebSockets => legacy::respond::<I>(&services, request, &client).await,
            };
            Ok::<_, Infallible>(response.map(|body| body.with_exchange(running)))
        }
    });
    let connection = http1_builder()
        .serve_connection(TokioIo::new(Metered::new(io, activity.clone())), service)
        .with_upgrades();
    let mut connection = std::pin::pin!(connection);
    drive(
        &mut connection,
        |connection| connection.as_mut().graceful_shutdown(),
        |_| Poll::Ready(Ok(())),
        &Batch::default(),
        &activity,
        &served,
        &drain,
    )
    .await;
}

/// Serves HTTP/2 until the connection ends.
pub async fn http2<I>(io: I, client: Client, services: Services)
where
    I: AsyncRead + AsyncWrite + Abort + Unpin + Send + 'static,
{
    let activity = Shared::new(Protocol::Http2);
    let (guard, served, drain) = (activity.clone(), services.clone(), client.drain.clone());
    let client = Arc::new(client);
    let service = service_fn(move |request: Request<Incoming>| {
        let (services, client) = (services.clone(), client.clone());
        let running = Running::begin(&guard, &services, &request);
        async move {
            let response = services.respond::<I>(request, &client).await;
            Ok::<_, Infallible>(response.map(|body| body.with_exchange(running)))
        }
    });
    let batch = Batch::default();
    let mut builder = http2::Builder::new(batch.clone());
    builder
        .timer(TokioTimer::new())
        .max_concurrent_streams(MAX_STREAMS)
        .max_pending_accept_reset_streams(MAX_RESETS)
        .max_local_error_reset_streams(MAX_RESETS)
        .initial_stream_window_size(STREAM_WINDOW)
        .initial_connection_window_size(CONNECTION_WINDOW)
        .max_send_buf_size(SEND_BUFFER)
        .max_header_list_size(MAX_HEADER_BYTES as u32)
        .keep_alive_interval(PING_INTERVAL)
        .keep_alive_timeout(PING_TIMEOUT);
    let io = Corked::new(Metered::new(io, activity.clone()));
    let corked = io.clone();
    let connection = builder.serve_connection(TokioIo::new(io), service);
    let mut connection = std::pin::pin!(connection);
    drive(
        &mut connection,
        |connection| connection.as_mut().graceful_shutdown(),
        |cx| corked.poll_uncork(cx),
        &batch,
        &activity,
        &served,
        &drain,
    )
    .await;
}

/// Answers plain HTTP with a redirect.
pub async fn plain<I>(io: I, to: To, client: Client, services: Services)
where
    I: AsyncRead + AsyncWrite + Abort + Unpin + Send + 'static,
{
    let activity = Shared::new(Protocol::Http1);
    let service = service_fn(|request: Request<Incoming>| {
        let challenges = services.inner.certificates.challenges();
        let mut response = match challenges.file(request.uri().path()) {
            Some(content) => redirect::challenge(content),
            None => redirect::answer(&request, to),
        };
        services.secure(&mut response, None);
        std::future::ready(Ok::<_, Infallible>(response))
    });
    let connection = http1_builder()
        .keep_alive(false)
        .serve_connection(TokioIo::new(Metered::new(io, activity.clone())), service);
    let mut connection = std::pin::pin!(connection);
    drive(
        &mut connection,
        |connection| connection.as_mut().graceful_shutdown(),
        |_| Poll::Ready(Ok(())),
        &Batch::default(),
        &activity,
        &services,
        &client.drain,
    )
    .await;
}

fn http1_builder() -> http1::Builder {
    let mut builder = http1::Builder::new();
    builder
        .timer(TokioTimer::new())
        // `Activity` times headers; hyper's timer would cut idle connections as well.
        .header_read_timeout(None)
        .max_headers(MAX_HEADERS)
        .max_header_size(MAX_HEADER_BYTES)
        .max_buf_size(2 * MAX_HEADER_BYTES);
    builder
}

/// Polls the connection to its end, or to the end of our patience.
async fn drive<C>(
    connection: &mut Pin<&mut C>,
    goodbye: impl Fn(&mut Pin<&mut C>),
    uncork: impl Fn(&mut Context<'_>) -> Poll<io::Result<()>>,
    batch: &Batch,
    activity: &Shared,
    services: &Services,
    drain: &Drain,
) where
    C: Future<Output = hyper::Result<()>>,
{
    let limits = &services.inner.limits;
    let (deadline, _) = activity.deadline(limits);
    let mut alarm = std::pin::pin!(tokio::time::sleep_until(deadline.into()));
    // Whoever asks again shall ask elsewhere; what has been asked is answered. Who has just come in
    // has not asked yet, and would take the end of the connection for a fault.
    let mut end = std::pin::pin!(async {
        tokio::select! {
            () = drain.announced() => {}
            () = services.inner.retired.cancelled() => {}
        }
        if activity.lock().activity.is_fresh() {
            tokio::time::sleep(GOODBYE).await;
        }
    });
    let mut draining = false;
    let late = poll_fn(|cx| {
        activity.begin();
        if !draining && end.as_mut().poll(cx).is_ready() {
            draining = true;
            activity.note(Activity::drain_began);
            goodbye(connection);
        }
        loop {
            if let Poll::Ready(ended) = connection.as_mut().poll(cx) {
                if let Err(error) = ended {
                    tracing::debug!(%error, "connection ended");
                }
                return Poll::Ready(None);
            }
            // What was answered is to be sent.
            if !batch.run(drain) {
                break;
            }
        }
        if let Poll::Ready(Err(error)) = uncork(cx) {
            tracing::debug!(%error, "connection broke");
            return Poll::Ready(None);
        }
        loop {
            // Whatever moves the deadline happens in that poll, or wakes us for the next one.
            let (deadline, late) = activity.deadline(limits);
            // An alarm that is too early costs one look at the clock then; to set it anew for each
            // request would cost more.
            if alarm.deadline() > deadline.into() {
                alarm.as_mut().reset(deadline.into());
            }
            ready!(alarm.as_mut().poll(cx));
            if alarm.deadline() == deadline.into() {
                return Poll::Ready(Some(late));
            }
            alarm.as_mut().reset(deadline.into());
        }
    })
    .await;
    let Some(late) = late else { return };
    tracing::debug!(?late, "connection cut");
    let stats = services.stats();
    let counter = match late {
        Late::Stalled => &stats.stalled,
        Late::Idle => &stats.idle,
        Late::Flooding => &stats.flooding,
    };
    counter.fetch_add(1, Ordering::Relaxed);
    match late {
        Late::Idle => {
            goodbye(connection);
            let ended = poll_fn(|cx| {
                let ended = connection.as_mut().poll(cx);
                let _ = uncork(cx);
                ended
            });
            let _ = tokio::time::timeout(GOODBYE, ended).await;
        }
        Late::Stalled | Late::Flooding => activity.note(|activity, _| activity.cut()),
    }
}

/// The connection's record, shared by its stream and its requests.
#[derive(Clone, Debug)]
struct Shared(Arc<Mutex<Record>>);

#[derive(Debug)]
struct Record {
    activity: Activity,
    /// The time, while the connection is being polled: all that happens then happens at once.
    now: Option<Instant>,
}

impl Shared {
    fn new(protocol: Protocol) -> Self {
        let activity = Activity::new(protocol, clock::now());
        Self(Arc::new(Mutex::new(Record {
            activity,
            now: None,
        })))
    }

    /// Notes something that happens now.
    fn note(&self, note: impl FnOnce(&mut Activity, Instant)) {
        let mut record = self.lock();
        let now = record.now.unwrap_or_else(clock::now);
        note(&mut record.activity, now);
    }

    /// Stops the clock until [`Shared::deadline`] is asked for.
    fn begin(&self) {
        self.lock().now = Some(clock::now());
    }

    fn deadline(&self, limits: &Limits) -> (Instant, Late) {
        let mut record = self.lock();
        record.now = None;
        record.activity.deadline(limits)
    }

    fn lock(&self) -> MutexGuard<'_, Record> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A request that is being answered.
#[derive(Debug)]
pub(super) struct Running {
    activity: Shared,
    turn: Turn,
}

impl Running {
    fn begin<B: Body>(activity: &Shared, services: &Services, request: &Request<B>) -> Self {
        // What waits for an application has deadlines of its own, for the client's part as well.
        let turn = match request.body().is_end_stream() || services.is_proxied(request) {
            true => Turn::Server,
            false => Turn::Client,
        };
        activity.note(|activity, now| activity.request_began(now, turn));
        Self {
            activity: activity.clone(),
            turn,
        }
    }

    /// The client has been given something to take.
    pub(super) fn given(&mut self) {
        match self.turn {
            Turn::Client => self.activity.note(Activity::took),
            Turn::Server => self.becomes(Turn::Client),
        }
    }

    /// The client wants more than there is.
    pub(super) fn wanted(&mut self) {
        if self.turn == Turn::Client {
            self.becomes(Turn::Server);
        }
    }

    fn becomes(&mut self, turn: Turn) {
        self.turn = turn;
        self.activity
            .note(|activity, now| activity.turned(now, turn));
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.activity
            .note(|activity, now| activity.request_ended(now, self.turn));
    }
}

/// Requests of HTTP/2 that have not been looked at.
///
/// A task for each would cost more than most answers. So they wait until the connection has read
/// what there is; then each gets one try, after which all answers leave together. Only what cannot
/// be answered at once becomes a task, which shutdown waits for.
#[derive(Clone, Default)]
struct Batch(Arc<Mutex<Vec<Task>>>);

type Task = Pin<Box<dyn Future<Output = ()> + Send>>;

impl Batch {
    /// Runs what waits. False: there was nothing.
    fn run(&self, drain: &Drain) -> bool {
        let tasks = std::mem::take(&mut *self.lock());
        let any = !tasks.is_empty();
        for mut task in tasks {
            // Who is polled again is told so as a task.
            let mut cx = Context::from_waker(Waker::noop());
            if task.as_mut().poll(&mut cx).is_pending() {
                drain.spawn(task);
            }
        }
        any
    }

    fn lock(&self) -> MutexGuard<'_, Vec<Task>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<F> Executor<F> for Batch
where
    F: Future<Output = ()> + Send + 'static,
{
    fn execute(&self, task: F) {
        self.lock().push(Box::pin(task));
    }
}

/// A stream that notes when bytes move, and that is reset when its client was cut.
#[derive(Debug)]
pub(super) struct Metered<I> {
    /// Gone once it has been taken out.
    inner: Option<I>,
    activity: Shared,
    abort: fn(&I),
}

impl<I> Metered<I> {
    fn new(inner: I, activity: Shared) -> Self
    where
        I: Abort,
    {
        Self {
            inner: Some(inner),
            activity,
            abort: I::abort,
        }
    }

    pub(super) fn into_inner(mut self) -> Option<I> {
        self.inner.take()
    }

    fn inner(&mut self) -> io::Result<Pin<&mut I>>
    where
        I: Unpin,
    {
        let gone = || io::ErrorKind::NotConnected.into();
        self.inner.as_mut().map(Pin::new).ok_or_else(gone)
    }

    /// Notes what became of an attempt to write.
    fn wrote(&self, result: &Poll<io::Result<usize>>) {
        match result {
            Poll::Ready(Ok(length)) if *length > 0 => self
                .activity
                .note(|activity, now| activity.wrote(now, *length)),
            Poll::Ready(_) => {}
            Poll::Pending => self.activity.note(Activity::blocked),
        }
    }
}

impl<I> Drop for Metered<I> {
    fn drop(&mut self) {
        if let Some(inner) = &self.inner
            && self.activity.lock().activity.is_cut()
        {
            (self.abort)(inner);
        }
    }
}

impl<I: AsyncRead + Unpin> AsyncRead for Metered<I> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buf.filled().len();
        ready!(self.inner()?.poll_read(cx, buf))?;
        if let Some(bytes) = buf.filled().get(before..).filter(|bytes| !bytes.is_empty()) {
            self.activity
                .note(|activity, now| activity.read(now, bytes));
        }
        Poll::Ready(Ok(()))
    }
}

impl<I: AsyncWrite + Unpin> AsyncWrite for Metered<I> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        let result = self.inner()?.poll_write(cx, buf);
        self.wrote(&result);
        result
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let result = self.inner()?.poll_write_vectored(cx, bufs);
        self.wrote(&result);
        result
    }

    fn is_write_vectored(&self) -> bool {
        self.inner.as_ref().is_some_and(I::is_write_vectored)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let flushed = self.inner()?.poll_flush(cx);
        self.activity.note(|activity, now| match flushed {
            Poll::Ready(_) => activity.flushed(),
            Poll::Pending => activity.blocked(now),
        });
        flushed
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.inner()?.poll_shutdown(cx)
    }
}

/// What a request's service returns.
pub(super) type Reply = Response<Answer>;
