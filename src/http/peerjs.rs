//! What PeerServer answers over HTTP: ids, and that it is there.

use std::sync::atomic::Ordering;

use hyper::header::{
    ACCESS_CONTROL_ALLOW_ORIGIN, CACHE_CONTROL, CONTENT_TYPE, HeaderMap, HeaderValue, VARY,
};
use hyper::{Response, StatusCode};

use super::Services;
use super::authority::Authority;
use super::body::Answer;
use super::origin::Source;
use super::page::text;
use super::router::PeerJsRoute;

/// Answers GET.
pub(super) fn answer(
    services: &Services,
    route: PeerJsRoute,
    headers: &HeaderMap,
    own: Option<&Authority>,
) -> Response<Answer> {
    let inner = &*services.inner;
    let allowed = &inner.signaling.allowed_origins;
    let source = Source::of(headers, own, &inner.hosts, allowed);
    if source == Source::Foreign {
        inner.stats.foreign_origins.fetch_add(1, Ordering::Relaxed);
        return text(StatusCode::FORBIDDEN, "Not for this origin\n");
    }
    let mut response = match route {
        PeerJsRoute::Id => match unguessable() {
            Some(id) => text(StatusCode::OK, id),
            None => text(StatusCode::INTERNAL_SERVER_ERROR, "No randomness\n"),
        },
        PeerJsRoute::Greeting => greeting(),
        // As its own server does, unless told otherwise.
        PeerJsRoute::Peers => text(StatusCode::UNAUTHORIZED, "Nobody is told who is there\n"),
    };
    let headers = response.headers_mut();
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert(VARY, HeaderValue::from_static("origin"));
    let reader = match source {
        Source::Allowed(origin) => HeaderValue::try_from(origin).ok(),
        Source::Opaque => Some(HeaderValue::from_static("null")),
        _ => None,
    };
    if let Some(reader) = reader {
        headers.insert(ACCESS_CONTROL_ALLOW_ORIGIN, reader);
    }
    response
}

fn greeting() -> Response<Answer> {
    let greeting = serde_json::json!({
        "name": "callbox",
        "description": "Brings PeerJS clients together: give them the path \"/\" or \"/peerjs\".",
    });
    let mut response = Response::new(Answer::bytes(greeting.to_string()));
    let json = HeaderValue::from_static("application/json");
    response.headers_mut().insert(CONTENT_TYPE, json);
    response
}

/// A random UUID (RFC 9562 section 5.4), which is what clients are used to.
fn unguessable() -> Option<String> {
    let mut bytes = [0; 16];
    aws_lc_rs::rand::fill(&mut bytes).ok()?;
    let number = u128::from_be_bytes(bytes);
    let version = number & !(0xf << 76) | (4 << 76);
    let variant = version & !(0b11 << 62) | (0b10 << 62);
    let hex = format!("{variant:032x}");
    let part = |range| hex.get(range);
    Some(format!(
        "{}-{}-{}-{}-{}",
        part(0..8)?,
        part(8..12)?,
        part(12..16)?,
        part(16..20)?,
        part(20..32)?
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_random_uuids() {
        let [one, other] = [(); 2].map(|()| unguessable().unwrap());
        assert_ne!(one, other);
        for id in [one, other] {
            let lengths: Vec<_> = id.split('-').map(str::len).collect();
            assert_eq!(lengths, [8, 4, 4, 4, 12], "{id}");
            assert_eq!(id.as_bytes()[14], b'4', "{id}");
            assert!(b"89ab".contains(&id.as_bytes()[19]), "{id}");
        }
    }
}
