//! `/ice`: who may ask, how often, and the answer's headers. What is in the answer is
//! [`crate::ice`]'s.

use std::net::IpAddr;
use std::sync::PoisonError;
use std::sync::atomic::Ordering;
use std::time::Duration;

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
use super::upgrade;
use super::{Inner, Services};
use crate::config::settings::IceAccess;
use crate::ice::{Configuration, Credential, Offer, credential_id};
use crate::net::clock;
use crate::signal::apprtc::query::Query;
use crate::telemetry::repeats::{Repeated, note};

/// Some clients post a wish for a lifetime; nobody needs more than this to do so.
const MAX_BODY: usize = 16 * 1024;

/// Whether the asker gets credentials, and which pages may read the answer.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Access {
    Granted(Readers),
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
    let query = head.uri.query().unwrap_or_default();
    // AppRTC's clients were told a key with their place in a room, which opens for whoever has it.
    // One that we do not know neither opens nor closes anything.
    let parsed = Query::parse(query);
    let key = parsed.get("key");
    let holder = key.and_then(|key| inner.hub.apprtc().holder(key));
    let access = match &holder {
        Some(_) => Access::Granted(Readers::Everybody),
        None => access(inner, &head.headers, own),
    };
    let readers = match access {
        Access::Granted(readers) => readers,
        Access::Refused => {
            inner.stats.foreign_origins.fetch_add(1, Ordering::Relaxed);
            note(Repeated::ForeignOrigin, peer);
            return text(StatusCode::FORBIDDEN, "Not for this origin\n");
        }
    };
    let allowed = inner
        .limiter
        .lock()
        .unwrap_or_else(PoisonError::into_inner)
        .allow(peer, clock::now());
    if !allowed {
        inner.stats.ice_limited.fetch_add(1, Ordering::Relaxed);
        note(Repeated::TooManyConfigurations, peer);
        let mut response = text(StatusCode::TOO_MANY_REQUESTS, "Too many requests\n");
        let headers = response.headers_mut();
        headers.insert(RETRY_AFTER, HeaderValue::from_static("1"));
        allow_readers(headers, &readers);
        return response;
    }
    // Whoever may join a room gets credentials with the seat; without that right, none here either.
    let token = bearer(&head.headers).or_else(|| upgrade::token(query));
    if holder.is_none()
        && inner.ice.access != IceAccess::Open
        && !inner.hub.reception().knows(token.as_deref())
    {
        let mut response = text(StatusCode::UNAUTHORIZED, "A token is needed\n");
        let headers = response.headers_mut();
        headers.insert(WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        allow_readers(headers, &readers);
        return response;
    }
    if let Some(refusal) = discard(body, inner.limits.header).await {
        return refusal;
    }
    let Some(host) = inner
        .hosts
        .first()
        .map(String::as_str)
        .or_else(|| own.map(Authority::host))
    else {
        return text(StatusCode::BAD_REQUEST, "Which host?\n");
    };
    let mut unique = [0; 8];
    if aws_lc_rs::rand::fill(&mut unique).is_err() {
        return text(StatusCode::INTERNAL_SERVER_ERROR, "No randomness\n");
    }
    let unique = u64::from_be_bytes(unique);
    let id = match holder {
        Some(names) => credential_id(names, unique),
        None => credential_id(wishes(query), unique),
    };
    let now = clock::unix_time();
    let credential = Credential::new(&inner.secret, &id, now, inner.credential_ttl);
    let configuration = Configuration::new(&Offer {
        host,
        endpoints: inner.endpoints,
        credential: &credential,
        now,
        policy: inner.ice.policy,
        extra_servers: &inner.ice.extra_servers,
    });
    inner.stats.ice_granted.fetch_add(1, Ordering::Relaxed);
    respond(&configuration, &readers, &head.method)
}

/// Answers OPTIONS: a browser asks before a page elsewhere posts JSON.
pub(super) fn preflight(
    services: &Services,
    headers: &HeaderMap,
    own: Option<&Authority>,
) -> Response<Answer> {
    let Access::Granted(readers) = access(&services.inner, headers, own) else {
        return text(StatusCode::FORBIDDEN, "Not for this origin\n");
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

fn respond(configuration: &Configuration, readers: &Readers, method: &Method) -> Response<Answer> {
    let Ok(json) = serde_json::to_vec(configuration) else {
        return text(StatusCode::INTERNAL_SERVER_ERROR, "Cannot be written\n");
    };
    let mut response = Response::new(Answer::empty());
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    headers.insert(CONTENT_LENGTH, HeaderValue::from(json.len() as u64));
    // Never compressed either: secrets beside reflected input are what compression gives away.
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert(
        ACCESS_CONTROL_EXPOSE_HEADERS,
        HeaderValue::from_static("Link"),
    );
    allow_readers(headers, readers);
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

fn access(inner: &Inner, headers: &HeaderMap, own: Option<&Authority>) -> Access {
    if inner.ice.access == IceAccess::Open {
        return Access::Granted(Readers::Everybody);
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

/// Reads a body to its end, so that the connection can be used again, and tells why it would not.
async fn discard<B>(body: B, within: Duration) -> Option<Response<Answer>>
where
    B: Body + Unpin,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    if body.is_end_stream() {
        return None;
    }
    match tokio::time::timeout(within, Limited::new(body, MAX_BODY).collect()).await {
        Ok(Ok(_)) => None,
        Ok(Err(_)) => Some(text(StatusCode::PAYLOAD_TOO_LARGE, "Too large\n")),
        Err(_) => Some(text(StatusCode::REQUEST_TIMEOUT, "Too slow\n")),
    }
}

/// What the client calls itself: its user, or its room and member.
fn wishes(query: &str) -> impl Iterator<Item = &str> {
    let value = move |wanted: &'static [&'static str]| {
        query
            .split('&')
            .filter_map(|pair| pair.split_once('='))
            .find_map(|(name, value)| wanted.contains(&name).then_some(value))
    };
    let user = value(&["user"]);
    let (room, member) = match user {
        Some(_) => (None, None),
        None => (value(&["room"]), value(&["member", "uid", "client"])),
    };
    user.into_iter().chain(room).chain(member)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_client_is_called_by_its_user_or_its_room_and_member() {
        for (query, expected) in [
            ("", &[] as &[&str]),
            ("format=x&flag", &[]),
            ("user=alice", &["alice"]),
            ("room=r&user=alice", &["alice"]),
            ("room=r&uid=m", &["r", "m"]),
            ("member=m", &["m"]),
        ] {
            assert_eq!(wishes(query).collect::<Vec<_>>(), expected, "{query}");
        }
    }
}
