//! `/ice`: who may ask, how often, and the answer's headers. What is in the answer is
//! [`crate::ice`]'s.

use std::net::IpAddr;
use std::sync::PoisonError;
use std::sync::atomic::Ordering;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt as _, Limited};
use hyper::body::Body;
use hyper::header::{
    ACCESS_CONTROL_ALLOW_HEADERS, ACCESS_CONTROL_ALLOW_METHODS, ACCESS_CONTROL_ALLOW_ORIGIN,
    ACCESS_CONTROL_EXPOSE_HEADERS, ACCESS_CONTROL_MAX_AGE, AUTHORIZATION, CACHE_CONTROL,
    CONTENT_LENGTH, CONTENT_TYPE, HeaderMap, HeaderValue, LINK, RETRY_AFTER, VARY,
    WWW_AUTHENTICATE,
};
use hyper::{Method, Request, Response, StatusCode};

use super::authority::Authority;
use super::body::Answer;
use super::origin::Source;
use super::page::text;
use super::{Inner, Services};
use crate::config::settings::IceAccess;
use crate::ice::wish::Wish;
use crate::ice::{Configuration, Credential, Format, Offer, credential_id};
use crate::net::clock;
use crate::telemetry::repeats::{Repeated, note};

/// Some clients post a wish for a lifetime; nobody needs more than this to do so.
const MAX_BODY: usize = 16 * 1024;

/// Whether the asker gets credentials, and which pages may read the answer.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Access {
    Granted(Readers),
    /// A key would open.
    NeedsKey,
    Refused,
}

/// `Access-Control-Allow-Origin`.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Readers {
    SameOrigin,
    Everybody,
    One(String),
}

/// Answers GET, HEAD and POST.
pub(super) async fn answer<B>(
    services: &Services,
    request: Request<B>,
    own: Option<&Authority>,
    peer: IpAddr,
) -> Response<Answer>
where
    B: Body + Unpin,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    let inner = &*services.inner;
    let (head, body) = request.into_parts();
    // Read in any case, or the refusal of many requests on one connection looks like an attack.
    let body = read(body, inner.limits.header).await;
    let wish = Wish::asked(head.uri.query().unwrap_or_default());
    let bearer = bearer(&head.headers);
    let keys = bearer.as_deref().into_iter().chain(wish.key.as_deref());
    let holder = holder(inner, keys, wish.key.as_deref());
    let access = match &holder {
        // Whoever has a key answers for the page that uses it.
        Some(_) => Access::Granted(Readers::Everybody),
        None => access(inner, &head.headers, own),
    };
    // Before the network's budget is asked: a page elsewhere must not use up that of its visitors.
    if access == Access::Refused {
        inner.stats.foreign_origins.fetch_add(1, Ordering::Relaxed);
        note(Repeated::ForeignOrigin, peer);
        return text(StatusCode::FORBIDDEN, "Not for this origin\n");
    }
    let is_allowed = inner
        .limiter
        .lock()
        .unwrap_or_else(PoisonError::into_inner)
        .allow(peer, clock::now());
    let readers = match &access {
        Access::Granted(readers) => readers,
        Access::NeedsKey | Access::Refused => &Readers::Everybody,
    };
    if !is_allowed {
        inner.stats.ice_limited.fetch_add(1, Ordering::Relaxed);
        note(Repeated::TooManyConfigurations, peer);
        let mut response = text(StatusCode::TOO_MANY_REQUESTS, "Too many requests\n");
        let headers = response.headers_mut();
        headers.insert(RETRY_AFTER, HeaderValue::from_static("1"));
        allow_readers(headers, readers);
        return response;
    }
    if access == Access::NeedsKey {
        return unauthorized("A key is needed\n", readers);
    }
    // Whoever may join a room gets credentials with the seat; without that right, none here either.
    let token = bearer.as_deref().or(wish.token.as_deref());
    let needs_token = holder.is_none() && inner.ice.access == IceAccess::SameOrigin;
    if needs_token && !inner.hub.reception().knows(token) {
        return unauthorized("A token is needed\n", readers);
    }
    let mut response = match body {
        Ok(body) => grant(inner, wish.or_posted(&body), holder, own, &head.method),
        Err(refusal) => refusal,
    };
    allow_readers(response.headers_mut(), readers);
    response
}

/// The configuration, for somebody who may have it.
fn grant(
    inner: &Inner,
    wish: Wish,
    holder: Option<Holder>,
    own: Option<&Authority>,
    method: &Method,
) -> Response<Answer> {
    let format = match wish.format {
        Ok(format) => format,
        Err(unknown) => return text(StatusCode::BAD_REQUEST, format!("{unknown}\n")),
    };
    let Some(host) = inner.reachable(own) else {
        return text(StatusCode::BAD_REQUEST, "Which host?\n");
    };
    let mut unique = [0; 8];
    if aws_lc_rs::rand::fill(&mut unique).is_err() {
        return text(StatusCode::INTERNAL_SERVER_ERROR, "No randomness\n");
    }
    let names = match holder {
        Some(Holder::Guest(names)) => names,
        Some(Holder::Named(name)) => [vec![name], wish.names.clone()].concat(),
        None => wish.names.clone(),
    };
    let names = names.iter().map(String::as_str);
    let id = credential_id(names, u64::from_be_bytes(unique));
    let now = clock::unix_time();
    let ttl = wish.lifetime(inner.credential_ttl);
    let configuration = Configuration::new(&Offer {
        host: &host,
        endpoints: inner.endpoints,
        credential: &Credential::new(&inner.secret, &id, now, ttl),
        now,
        policy: inner.ice.policy,
        extra_servers: &inner.ice.extra_servers,
    });
    inner.stats.ice_granted.fetch_add(1, Ordering::Relaxed);
    respond(&configuration, format, method)
}

/// Whose key a request has.
enum Holder {
    /// A key of the operator's, by its name.
    Named(String),
    /// A client of AppRTC, by its room if it is in one: it was told a key with its page.
    Guest(Vec<String>),
}

/// A key that we do not know neither opens nor closes anything.
fn holder<'a>(
    inner: &Inner,
    mut keys: impl Iterator<Item = &'a str>,
    key: Option<&str>,
) -> Option<Holder> {
    let named = keys.find_map(|key| inner.api_keys.holder(key.as_bytes()));
    if let Some(name) = named {
        return Some(Holder::Named(name.to_owned()));
    }
    let names = inner.hub.apprtc().holder(key?)?;
    // Everybody is told the other kind, that of visitors of the page.
    let is_enough = inner.ice.access != IceAccess::Key || !names.is_empty();
    is_enough.then(|| Holder::Guest(names.into_iter().map(str::to_owned).collect()))
}

fn unauthorized(why: &'static str, readers: &Readers) -> Response<Answer> {
    let mut response = text(StatusCode::UNAUTHORIZED, why);
    let headers = response.headers_mut();
    headers.insert(WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
    allow_readers(headers, readers);
    response
}

/// Answers OPTIONS: a browser asks before a page elsewhere posts JSON or shows a key.
pub(super) fn preflight(
    services: &Services,
    headers: &HeaderMap,
    own: Option<&Authority>,
) -> Response<Answer> {
    let inner = &services.inner;
    let readers = match access(inner, headers, own) {
        Access::Granted(readers) => readers,
        Access::NeedsKey => Readers::Everybody,
        // Only the request itself can tell whether the page has a key.
        Access::Refused if !inner.api_keys.is_empty() => Readers::Everybody,
        Access::Refused => return text(StatusCode::FORBIDDEN, "Not for this origin\n"),
    };
    let mut response = Response::new(Answer::empty());
    *response.status_mut() = StatusCode::NO_CONTENT;
    let headers = response.headers_mut();
    allow_readers(headers, &readers);
    if readers != Readers::SameOrigin {
        for (name, value) in [
            (ACCESS_CONTROL_ALLOW_METHODS, "GET, POST"),
            (ACCESS_CONTROL_ALLOW_HEADERS, "content-type, authorization"),
            (ACCESS_CONTROL_MAX_AGE, "7200"),
        ] {
            headers.insert(name, HeaderValue::from_static(value));
        }
    }
    response
}

fn respond(configuration: &Configuration, format: Format, method: &Method) -> Response<Answer> {
    let Ok(json) = configuration.shaped(format) else {
        return text(StatusCode::INTERNAL_SERVER_ERROR, "Cannot be written\n");
    };
    let mut response = Response::new(Answer::empty());
    if format.is_created() {
        *response.status_mut() = StatusCode::CREATED;
    }
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    headers.insert(CONTENT_LENGTH, HeaderValue::from(json.len() as u64));
    // Never compressed either: secrets beside reflected input are what compression gives away.
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert(
        ACCESS_CONTROL_EXPOSE_HEADERS,
        HeaderValue::from_static("Link"),
    );
    for link in configuration.links() {
        if let Ok(link) = HeaderValue::from_str(&link) {
            headers.append(LINK, link);
        }
    }
    if method != Method::HEAD {
        *response.body_mut() = Answer::bytes(json);
    }
    response
}

/// What is decided without a key.
fn access(inner: &Inner, headers: &HeaderMap, own: Option<&Authority>) -> Access {
    match inner.ice.access {
        IceAccess::Open => return Access::Granted(Readers::Everybody),
        IceAccess::Key => return Access::NeedsKey,
        IceAccess::SameOrigin => {}
    }
    match Source::of(headers, own, &inner.hosts, &inner.signaling.allowed_origins) {
        Source::Own | Source::AppRtc => Access::Granted(Readers::SameOrigin),
        Source::Allowed(origin) => Access::Granted(Readers::One(origin)),
        Source::Opaque | Source::Foreign => Access::Refused,
        // A same-origin GET carries no Origin, a no-cors request from elsewhere neither; current
        // browsers say which it is, and programs say nothing.
        Source::Unsaid => match headers.get("sec-fetch-site").map(HeaderValue::as_bytes) {
            None | Some(b"same-origin" | b"none") => Access::Granted(Readers::SameOrigin),
            Some(_) => Access::Refused,
        },
    }
}

/// The token of an `Authorization` header.
fn bearer(headers: &HeaderMap) -> Option<Box<str>> {
    let (scheme, token) = headers.get(AUTHORIZATION)?.to_str().ok()?.split_once(' ')?;
    scheme
        .eq_ignore_ascii_case("bearer")
        .then(|| token.trim().into())
}

fn allow_readers(headers: &mut HeaderMap, readers: &Readers) {
    let value = match readers {
        Readers::SameOrigin => None,
        Readers::Everybody => Some(HeaderValue::from_static("*")),
        Readers::One(origin) => HeaderValue::from_str(origin).ok(),
    };
    if let Some(value) = value {
        headers.insert(ACCESS_CONTROL_ALLOW_ORIGIN, value);
    }
    headers.insert(VARY, HeaderValue::from_static("origin"));
}

/// Reads a body to its end, so that the connection can be used again, or tells why not.
async fn read<B>(body: B, within: Duration) -> Result<Bytes, Response<Answer>>
where
    B: Body + Unpin,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    if body.is_end_stream() {
        return Ok(Bytes::new());
    }
    match tokio::time::timeout(within, Limited::new(body, MAX_BODY).collect()).await {
        Ok(Ok(body)) => Ok(body.to_bytes()),
        Ok(Err(_)) => Err(text(StatusCode::PAYLOAD_TOO_LARGE, "Too large\n")),
        Err(_) => Err(text(StatusCode::REQUEST_TIMEOUT, "Too slow\n")),
    }
}
