//! From a request to a WebSocket session (RFC 6455 section 4.2).

use std::sync::atomic::Ordering;

use hyper::body::Incoming;
use hyper::header::{
    CONNECTION, HeaderMap, HeaderValue, RETRY_AFTER, SEC_WEBSOCKET_ACCEPT, SEC_WEBSOCKET_PROTOCOL,
    SEC_WEBSOCKET_VERSION, UPGRADE,
};
use hyper::upgrade::OnUpgrade;
use hyper::{Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt as _};

use super::Services;
use super::activity::GOODBYE;
use super::authority::Authority;
use super::body::Answer;
use super::handshake;
use super::origin::Source;
use super::page::text;
use super::router::{self, Upgrade, World};
use super::serve::{Client, Metered};
use crate::signal::dialect::{Dialect, native};
use crate::signal::session::{self, Visitor};
use crate::telemetry::repeats::{Repeated, note};

/// What the request's `Upgrade` header asks for.
pub(super) fn wanted(headers: &HeaderMap) -> Upgrade {
    let websocket = headers
        .get_all(UPGRADE)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .any(|protocol| protocol.trim().eq_ignore_ascii_case("websocket"));
    match websocket {
        true => Upgrade::WebSocket,
        false => Upgrade::None,
    }
}

/// Whose pages may open a WebSocket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum From {
    /// Ours and those that the operator has named.
    OurPages,
    /// Anybody's.
    AnyPage,
}

/// Checks the handshake and the origin; when both are good, the connection goes on as a session of
/// its own, which holds the connection's slot.
pub(super) fn accept<I>(
    services: &Services,
    mut request: Request<Incoming>,
    own: Option<&Authority>,
    client: &Client,
    from: From,
) -> Response<Answer>
where
    I: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let inner = &*services.inner;
    let source = Source::of(
        request.headers(),
        own,
        &inner.hosts,
        &inner.signaling.allowed_origins,
    );
    if source == Source::Foreign && from == From::OurPages {
        inner.stats.foreign_origins.fetch_add(1, Ordering::Relaxed);
        note(Repeated::ForeignOrigin, client.peer.ip());
        return refuse(
            request,
            client,
            text(StatusCode::FORBIDDEN, "Not for this origin\n"),
        );
    }
    if !inner.admits(client.peer.ip()) {
        note(Repeated::TooManySockets, client.peer.ip());
        inner
            .stats
            .websockets_limited
            .fetch_add(1, Ordering::Relaxed);
        let mut answer = text(StatusCode::TOO_MANY_REQUESTS, "Too many connections\n");
        let headers = answer.headers_mut();
        headers.insert(RETRY_AFTER, HeaderValue::from_static("1"));
        return refuse(request, client, answer);
    }
    let accepted = match handshake::accept(&request) {
        Ok(accepted) => accepted,
        Err(error) => {
            tracing::debug!(%error, "bad WebSocket handshake");
            let answer = match request.headers().get(SEC_WEBSOCKET_VERSION) {
                Some(version) if version != "13" => required(),
                _ => text(StatusCode::BAD_REQUEST, "Not a WebSocket handshake\n"),
            };
            return refuse(request, client, answer);
        }
    };
    inner.stats.websockets.fetch_add(1, Ordering::Relaxed);
    let mut response = Response::new(Answer::empty());
    *response.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
    for (name, value) in [
        (CONNECTION, HeaderValue::from_static("Upgrade")),
        (UPGRADE, HeaderValue::from_static("websocket")),
        (SEC_WEBSOCKET_ACCEPT, accepted),
    ] {
        response.headers_mut().insert(name, value);
    }
    let dialect = match router::world(request.uri().path()) {
        Some(World::PeerJs) => Dialect::PeerJs,
        Some(World::Topics) => Dialect::Topics,
        None => dialect(request.headers()),
    };
    if dialect == Dialect::Native {
        // RFC 6455 section 4.2.2: one of those that were offered.
        let chosen = HeaderValue::from_static(native::PROTOCOL);
        response
            .headers_mut()
            .insert(SEC_WEBSOCKET_PROTOCOL, chosen);
    }
    let visitor = Visitor {
        peer: client.peer,
        dialect,
        host: inner.reachable(own).unwrap_or_default().into(),
        token: request.uri().query().and_then(token),
        query: request.uri().query().unwrap_or_default().into(),
    };
    let upgrade = hyper::upgrade::on(&mut request);
    let (drain, slot) = (client.drain.clone(), client.slot.clone());
    let hub = inner.hub.clone();
    let waiting = async move {
        let upgraded = match upgrade.await {
            Ok(upgraded) => upgraded,
            Err(error) => {
                tracing::debug!(%error, "gone before the upgrade");
                return;
            }
        };
        let Ok(parts) = upgraded.downcast::<TokioIo<Metered<I>>>() else {
            tracing::error!("an upgraded connection is not what was served");
            return;
        };
        // hyper and its deadlines end here: the session speaks to the TLS stream itself.
        // On the heap: a future has room for what it is given more than once.
        let Some(stream) = parts.io.into_inner().into_inner().map(Box::new) else {
            return;
        };
        // What this task has needed goes with it. The session's is small and has nothing of HTTP in
        // it: most of the time most sessions only wait.
        let (received, its_drain) = (parts.read_buf, drain.clone());
        let session = async move {
            session::run(stream, received, visitor, hub, its_drain).await;
            drop(slot);
        };
        drain.spawn(session);
    };
    client.drain.spawn(waiting);
    response
}

/// What the client wants to speak. Subprotocols that we do not know are passed over: some clients
/// name one, and fail only when another is confirmed.
fn dialect(headers: &HeaderMap) -> Dialect {
    let offered = headers
        .get_all(SEC_WEBSOCKET_PROTOCOL)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','));
    Dialect::of_protocols(offered).unwrap_or_default()
}

/// The token in a query, for clients of which only the address can be changed. Tokens need no
/// percent-encoding.
pub(super) fn token(query: &str) -> Option<Box<str>> {
    query
        .split('&')
        .find_map(|pair| pair.strip_prefix("token="))
        .map(Box::from)
}

/// Ends the connection after a refusal.
fn refuse(
    mut request: Request<Incoming>,
    client: &Client,
    answer: Response<Answer>,
) -> Response<Answer> {
    decline(hyper::upgrade::on(&mut request), client, answer)
}

/// Answers instead of changing the protocol, and ends the connection then. hyper hands a connection
/// that was asked to change its protocol to whoever waits for that, and drops it when nobody does;
/// TLS wants a closing word.
pub(super) fn decline(
    upgrade: OnUpgrade,
    client: &Client,
    mut answer: Response<Answer>,
) -> Response<Answer> {
    let close = HeaderValue::from_static("close");
    answer.headers_mut().insert(CONNECTION, close);
    client.drain.spawn(async move {
        if let Ok(ended) = upgrade.await {
            let _ = tokio::time::timeout(GOODBYE, TokioIo::new(ended).shutdown()).await;
        }
    });
    answer
}

/// For a request that should have been an upgrade, or asks for a version we do not have.
pub(super) fn required() -> Response<Answer> {
    let mut response = text(StatusCode::UPGRADE_REQUIRED, "This is a WebSocket\n");
    let headers = response.headers_mut();
    headers.insert(UPGRADE, HeaderValue::from_static("websocket"));
    headers.insert(SEC_WEBSOCKET_VERSION, HeaderValue::from_static("13"));
    response
}
