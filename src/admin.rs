//! The listener for whoever runs the appliance: metrics, health, drain. Plain HTTP on an address of
//! this machine; on any other only with a token. Knows nothing of what it shows: that is handed in.

mod dashboard;
mod guard;
pub mod sessions;

use std::convert::Infallible;
use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::header::{ACCEPT, ALLOW, CACHE_CONTROL, CONTENT_TYPE, HeaderValue, WWW_AUTHENTICATE};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::config::secret::Secret;
use crate::shutdown::Drain;
use crate::telemetry::metrics::{Format, Metrics};
use guard::Refusal;
use sessions::Sessions;

/// Connections at a time: a scraper, a health check, an operator or two.
const MAX_CONNECTIONS: usize = 32;

/// How long a request's header may take, and how long a connection may stay without one.
const HEADER_TIMEOUT: Duration = Duration::from_secs(30);

/// How long a connection may stay in all: a scraper comes again.
const MAX_LIFE: Duration = Duration::from_secs(600);

/// A pause after an accept that failed for want of descriptors.
const ACCEPT_PAUSE: Duration = Duration::from_millis(200);

/// What the listener shows.
pub struct Panel {
    /// Behind `/metrics`.
    pub metrics: Metrics,
    /// Behind `/readyz`: the state as JSON, and whether new callers are welcome.
    pub status: Box<dyn Fn() -> (serde_json::Value, bool) + Send + Sync>,
    /// Behind `/sessions`.
    pub sessions: Box<dyn Sessions>,
    /// Behind `POST /drain`.
    pub begin_drain: Box<dyn Fn() + Send + Sync>,
    /// Behind `/doctor`: an examination, as JSON, and whether all is well.
    pub examine: Examine,
    /// Held by whoever examines.
    pub patient: tokio::sync::Mutex<()>,
    /// What whoever asks has to know.
    pub token: Option<Secret>,
}

/// Begins an examination.
pub type Examine =
    Box<dyn Fn() -> Pin<Box<dyn Future<Output = (serde_json::Value, bool)> + Send>> + Send + Sync>;

impl fmt::Debug for Panel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Panel").finish_non_exhaustive()
    }
}

/// Serves until the process ends, beyond the beginning of the drain: that is when somebody wants to
/// know how it goes.
pub fn serve(listeners: Vec<TcpListener>, panel: Panel, drain: &Drain) -> Serving {
    let serving = Serving::default();
    let panel = Arc::new(panel);
    let slots = Arc::new(Semaphore::new(MAX_CONNECTIONS));
    for listener in listeners {
        let accepting = accept(
            listener,
            Arc::clone(&panel),
            Arc::clone(&slots),
            drain.clone(),
        );
        let (closed, open) = (serving.closed.clone(), serving.open.token());
        drain.spawn_detached(async move {
            let _open = open;
            tokio::select! {
                () = accepting => {}
                () = closed.cancelled() => {}
            }
        });
    }
    serving.open.close();
    serving
}

/// The listeners, as long as they are open.
#[derive(Debug, Default)]
pub struct Serving {
    closed: CancellationToken,
    open: TaskTracker,
}

impl Serving {
    /// Closes the listeners. When this returns their addresses are free for another process.
    pub async fn close(&self) {
        self.closed.cancel();
        self.open.wait().await;
    }
}

async fn accept(listener: TcpListener, panel: Arc<Panel>, slots: Arc<Semaphore>, drain: Drain) {
    loop {
        let Ok(slot) = Arc::clone(&slots).acquire_owned().await else {
            return;
        };
        match listener.accept().await {
            Ok((stream, _)) => {
                drain.spawn_detached(connection(stream, Arc::clone(&panel), slot));
            }
            Err(error) => {
                tracing::debug!(%error, "the admin listener cannot accept");
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

async fn connection(stream: TcpStream, panel: Arc<Panel>, _slot: OwnedSemaphorePermit) {
    let service = service_fn(async |request| Ok::<_, Infallible>(panel.answer(&request).await));
    let served = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEADER_TIMEOUT)
        .serve_connection(TokioIo::new(stream), service);
    // How a connection of the operator's ends is nobody's concern.
    let _ = tokio::time::timeout(MAX_LIFE, served).await;
}

type Answer = Response<Full<Bytes>>;

impl Panel {
    async fn answer(&self, request: &Request<Incoming>) -> Answer {
        let (method, headers) = (request.method(), request.headers());
        let reads = matches!(*method, Method::GET | Method::HEAD);
        // The page that asks for the token cannot have it yet.
        if self.token.is_some()
            && reads
            && let Some(file) = self.page(request)
        {
            return file;
        }
        match guard::check(method, headers, self.token.as_ref()) {
            Ok(()) => self.route(request, reads).await,
            Err(Refusal::Token) => {
                let mut answer = text(StatusCode::UNAUTHORIZED, "a token is needed\n");
                let scheme = HeaderValue::from_static("Bearer");
                answer.headers_mut().insert(WWW_AUTHENTICATE, scheme);
                answer
            }
            Err(Refusal::Foreign) => text(
                StatusCode::FORBIDDEN,
                "this listener is not for pages of other sites: ask it by address\n",
            ),
        }
    }

    /// A file of the dashboard. Whoever does not want HTML is told of the paths instead.
    #[expect(clippy::unused_self, reason = "one of the answers")]
    fn page(&self, request: &Request<Incoming>) -> Option<Answer> {
        let path = request.uri().path();
        let accept = request.headers().get(ACCEPT);
        let browses = accept.is_some_and(|accept| {
            let accept = accept.to_str().unwrap_or_default();
            accept.contains("text/html")
        });
        if path == "/" && !browses {
            return Some(text(StatusCode::OK, INDEX));
        }
        dashboard::file(path)
    }

    async fn route(&self, request: &Request<Incoming>, reads: bool) -> Answer {
        if reads && let Some(file) = self.page(request) {
            return file;
        }
        let session = request.uri().path().strip_prefix("/sessions/");
        if let Some(id) = session {
            return match *request.method() {
                Method::DELETE => sessions::end(&*self.sessions, id).await,
                _ => not_allowed("DELETE"),
            };
        }
        match request.uri().path() {
            "/metrics" if reads => {
                let accept = request.headers().get(ACCEPT);
                let accept = accept.and_then(|accept| accept.to_str().ok());
                let format = Format::accepted(accept.unwrap_or_default());
                match self.metrics.encode(format) {
                    Ok(page) => respond(StatusCode::OK, format.content_type(), page),
                    Err(_) => text(StatusCode::INTERNAL_SERVER_ERROR, "no metrics\n"),
                }
            }
            "/healthz" if reads => text(StatusCode::OK, "alive\n"),
            "/readyz" if reads => {
                let (status, ready) = (self.status)();
                let code = match ready {
                    true => StatusCode::OK,
                    false => StatusCode::SERVICE_UNAVAILABLE,
                };
                respond(code, "application/json", format!("{status:#}\n"))
            }
            "/doctor" if request.method() == Method::GET => self.doctor().await,
            "/drain" if request.method() == Method::POST => {
                (self.begin_drain)();
                text(StatusCode::ACCEPTED, "draining\n")
            }
            "/sessions" if reads => {
                let query = request.uri().query().unwrap_or_default();
                sessions::list(&*self.sessions, query).await
            }
            "/metrics" | "/healthz" | "/readyz" | "/sessions" | "/" => not_allowed("GET, HEAD"),
            "/doctor" => not_allowed("GET"),
            "/drain" => not_allowed("POST"),
            _ => text(StatusCode::NOT_FOUND, "not found; / lists what there is\n"),
        }
    }

    /// One examination at a time: each makes allocations and connections.
    async fn doctor(&self) -> Answer {
        let Ok(_turn) = self.patient.try_lock() else {
            let busy = "an examination is under way; ask again in some seconds\n";
            return text(StatusCode::TOO_MANY_REQUESTS, busy);
        };
        let (report, healthy) = (self.examine)().await;
        let code = match healthy {
            true => StatusCode::OK,
            false => StatusCode::SERVICE_UNAVAILABLE,
        };
        respond(code, "application/json", format!("{report:#}\n"))
    }
}

const INDEX: &str = "callbox, for its operator\n\n\
    GET    /               in a browser: the dashboard\n\
    GET    /metrics        Prometheus\n\
    GET    /healthz        200 while the process answers\n\
    GET    /readyz         200 while new callers are welcome; the state as JSON\n\
    GET    /sessions       relay allocations and rooms as JSON; ?limit= ?cursor= ?only=\n\
    GET    /doctor         examines everything, which takes some seconds; 503 when a link is broken\n\
    DELETE /sessions/{id}  ends an allocation, a room, or a member's part in one\n\
    GET    /doctor         what stands between people and their calls, as JSON\n\
    POST   /drain          end as on SIGTERM\n";

fn text(status: StatusCode, text: &'static str) -> Answer {
    respond(status, "text/plain; charset=utf-8", text.to_owned())
}

fn not_allowed(methods: &'static str) -> Answer {
    let mut answer = text(StatusCode::METHOD_NOT_ALLOWED, "not with this method\n");
    answer
        .headers_mut()
        .insert(ALLOW, HeaderValue::from_static(methods));
    answer
}

fn respond(status: StatusCode, kind: &'static str, body: String) -> Answer {
    let mut answer = Response::new(Full::new(Bytes::from(body)));
    *answer.status_mut() = status;
    let headers = answer.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(kind));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    answer
}
