//! Files as answers: variants, entity tags, conditional requests.

use std::borrow::Cow;

use hyper::header::{
    ACCEPT_ENCODING, CACHE_CONTROL, CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_TYPE, ETAG,
    HeaderMap, HeaderValue, IF_NONE_MATCH, LOCATION, VARY,
};
use hyper::{Method, Response, StatusCode};

use super::body::Answer;
use crate::assets::negotiate::Accepted;
use crate::assets::{Assets, Content, Found, Lookup};

/// Answers a GET or HEAD for `path`, as [`Assets::find`] takes it.
pub(super) async fn serve(
    assets: &Assets,
    method: &Method,
    headers: &HeaderMap,
    path: &str,
) -> Response<Answer> {
    let accepted = headers
        .get(ACCEPT_ENCODING)
        .and_then(|value| value.to_str().ok())
        .map_or(Accepted::PLAIN, Accepted::parse);
    match assets.find(path, accepted).await {
        Ok(Lookup::Found(found)) => file(found, method, headers),
        Ok(Lookup::IsDirectory) => with_slash(path),
        Ok(Lookup::Missing) => text(StatusCode::NOT_FOUND, "Not found\n"),
        Err(error) => {
            tracing::warn!(path, %error, "a file of web.dir cannot be read");
            text(StatusCode::INTERNAL_SERVER_ERROR, "Cannot be read\n")
        }
    }
}

/// A short answer for people.
pub(super) fn text(status: StatusCode, text: &'static str) -> Response<Answer> {
    let mut response = Response::new(Answer::bytes(text));
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(
        CONTENT_TYPE,
        HeaderValue::from_static("text/plain; charset=utf-8"),
    );
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}

fn file(found: Found, method: &Method, request: &HeaderMap) -> Response<Answer> {
    let mut response = Response::new(Answer::empty());
    *response.headers_mut() = HeaderMap::with_capacity(HEADERS);
    let headers = response.headers_mut();
    // Names carry no hash, so a copy is kept but never used without asking: asking costs one round
    // trip and no bytes, and after an update nobody runs a mixture of two versions.
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-cache"));
    if found.varies {
        headers.insert(VARY, HeaderValue::from_static("accept-encoding"));
    }
    let etag = match &found.etag {
        Cow::Borrowed(etag) => Ok(HeaderValue::from_static(etag)),
        Cow::Owned(etag) => HeaderValue::from_str(etag),
    };
    if let Ok(etag) = etag {
        headers.insert(ETAG, etag);
    }
    if matches(request, &found.etag) {
        *response.status_mut() = StatusCode::NOT_MODIFIED;
        return response;
    }
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(found.content_type));
    if let Some(token) = found.encoding.token() {
        headers.insert(CONTENT_ENCODING, HeaderValue::from_static(token));
    }
    let length = match &found.content {
        Content::Static(bytes) => bytes.len() as u64,
        Content::File(_, length) => *length,
    };
    headers.insert(CONTENT_LENGTH, HeaderValue::from(length));
    if method != Method::HEAD {
        *response.body_mut() = match found.content {
            Content::Static(bytes) => Answer::bytes(bytes),
            Content::File(file, length) => Answer::file(file, length),
        };
    }
    response
}

/// Headers of a file with those that every answer carries; a map that grows is copied.
const HEADERS: usize = 14;

/// `If-None-Match` with the weak comparison that it prescribes (RFC 9110 section 13.1.2).
fn matches(request: &HeaderMap, etag: &str) -> bool {
    fn opaque(tag: &str) -> &str {
        tag.trim().trim_start_matches("W/")
    }
    let ours = opaque(etag);
    request
        .get_all(IF_NONE_MATCH)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .any(|tag| tag.trim() == "*" || opaque(tag) == ours)
}

/// Relative links in an index page need the slash.
fn with_slash(path: &str) -> Response<Answer> {
    let mut response = text(StatusCode::PERMANENT_REDIRECT, "Moved\n");
    let mut location = String::from("/");
    for byte in path.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'_' | b'.' | b'~' | b'/' => {
                location.push(char::from(byte));
            }
            byte => location.push_str(&format!("%{byte:02X}")),
        }
    }
    location.push('/');
    if let Ok(location) = HeaderValue::from_str(&location) {
        response.headers_mut().insert(LOCATION, location);
    }
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tags_match_whatever_their_strength_and_neighbours() {
        for (header, expected) in [
            ("\"a\"", true),
            ("W/\"a\"", true),
            ("\"b\", \"a\"", true),
            ("\"b\" ,W/\"a\"", true),
            ("*", true),
            ("\"a-gz\"", false),
            ("a", false),
            ("", false),
        ] {
            let mut headers = HeaderMap::new();
            headers.insert(IF_NONE_MATCH, header.parse().unwrap());
            assert_eq!(matches(&headers, "\"a\""), expected, "{header}");
            assert_eq!(matches(&headers, "W/\"a\""), expected, "{header}");
        }
        assert!(!matches(&HeaderMap::new(), "\"a\""));
    }

    #[test]
    fn a_directory_moves_to_its_slash_on_this_host() {
        let location = |path: &str| {
            with_slash(path).headers()[LOCATION]
                .to_str()
                .unwrap()
                .to_owned()
        };
        assert_eq!(location("docs"), "/docs/");
        assert_eq!(location("a b/\u{e9}"), "/a%20b/%C3%A9/");
    }
}
