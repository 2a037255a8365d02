//! Files as answers: variants, entity tags, conditional requests.

use std::borrow::Cow;
use std::io::{Seek as _, SeekFrom};

use bytes::Bytes;
use hyper::header::{
    ACCEPT, ACCEPT_ENCODING, ACCEPT_RANGES, CACHE_CONTROL, CONTENT_ENCODING, CONTENT_LENGTH,
    CONTENT_RANGE, CONTENT_TYPE, ETAG, HeaderMap, HeaderValue, LAST_MODIFIED, LOCATION, VARY,
};
use hyper::{Method, Response, StatusCode};

use super::body::Answer;
use super::conditional::{self, Validators, Wanted};
use crate::assets::negotiate::{Accepted, Encoding};
use crate::assets::{Assets, Content, Found, Lookup};

/// What is shown for a path without a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fallback {
    /// That there is none.
    NotFound,
    /// The first page, whose scripts read the path (`[web] spa`).
    FirstPage,
}

/// Answers a GET or HEAD for `path`, as [`Assets::find`] takes it.
pub(super) async fn serve(
    assets: &Assets,
    method: &Method,
    headers: &HeaderMap,
    path: &str,
    fallback: Fallback,
) -> Response<Answer> {
    let accepted = headers
        .get(ACCEPT_ENCODING)
        .and_then(|value| value.to_str().ok())
        .map_or(Accepted::PLAIN, Accepted::parse);
    let mut lookup = assets.find(path, accepted).await;
    if fallback == Fallback::FirstPage
        && matches!(lookup, Ok(Lookup::Missing))
        && names_a_page(path, headers)
    {
        lookup = assets.find("index.html", accepted).await;
    }
    match lookup {
        Ok(Lookup::Found(found)) => file(found, method, headers),
        Ok(Lookup::IsDirectory) => with_slash(path),
        Ok(Lookup::Missing) => text(StatusCode::NOT_FOUND, "Not found\n"),
        Err(error) => {
            tracing::warn!(path, %error, "a file of web.dir cannot be read");
            text(StatusCode::INTERNAL_SERVER_ERROR, "Cannot be read\n")
        }
    }
}

/// Whether somebody goes to this path, or a page asks for a file that is missing: a page in place of
/// a script or an image would only hide that.
fn names_a_page(path: &str, headers: &HeaderMap) -> bool {
    let name = path.rsplit('/').next().unwrap_or(path);
    let asks_for_html = || {
        let accept = headers.get(ACCEPT).and_then(|value| value.to_str().ok());
        accept.is_some_and(|accept| accept.contains("text/html"))
    };
    !name.contains('.') || asks_for_html()
}

/// A short answer for people.
pub(super) fn text(status: StatusCode, text: impl Into<Bytes>) -> Response<Answer> {
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
    if let Some(date) = found.modified.and_then(conditional::http_date) {
        headers.insert(LAST_MODIFIED, date);
    }
    let validators = Validators {
        etag: &found.etag,
        modified: found.modified,
    };
    if conditional::is_known(request, validators) {
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
    let mut wanted = Wanted::Whole;
    // A part of a compressed form is of use to nobody who has not got the rest of that form.
    if found.encoding == Encoding::Identity {
        headers.insert(ACCEPT_RANGES, HeaderValue::from_static("bytes"));
        if method == Method::GET {
            wanted = conditional::wanted(request, validators, length);
        }
    }
    let part = match wanted {
        Wanted::Whole => 0..length,
        Wanted::Part(part) => {
            let text = format!(
                "bytes {}-{}/{length}",
                part.start,
                part.end.saturating_sub(1)
            );
            range_header(headers, &text);
            *response.status_mut() = StatusCode::PARTIAL_CONTENT;
            part
        }
        Wanted::Unsatisfiable => {
            let mut response = text(StatusCode::RANGE_NOT_SATISFIABLE, "There is less of it\n");
            range_header(response.headers_mut(), &format!("bytes */{length}"));
            return response;
        }
    };
    let length = part.end - part.start;
    response
        .headers_mut()
        .insert(CONTENT_LENGTH, HeaderValue::from(length));
    if method != Method::HEAD {
        *response.body_mut() = match found.content {
            Content::Static(bytes) => {
                let part = usize::try_from(part.start)
                    .ok()
                    .zip(usize::try_from(part.end).ok());
                let bytes = part.and_then(|(start, end)| bytes.get(start..end));
                Answer::bytes(bytes.unwrap_or_default())
            }
            Content::File(mut file, _) => match file.seek(SeekFrom::Start(part.start)) {
                Ok(_) => Answer::file(file, length),
                Err(error) => {
                    tracing::warn!(%error, "a file of web.dir cannot be read");
                    return text(StatusCode::INTERNAL_SERVER_ERROR, "Cannot be read\n");
                }
            },
        };
    }
    response
}

/// Headers of a file with those that every answer carries; a map that grows is copied.
const HEADERS: usize = 14;

fn range_header(headers: &mut HeaderMap, text: &str) {
    if let Ok(value) = HeaderValue::from_str(text) {
        headers.insert(CONTENT_RANGE, value);
    }
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
    fn a_missing_script_is_no_page() {
        let html = HeaderMap::from_iter([(ACCEPT, "text/html,*/*;q=0.8".parse().unwrap())]);
        let any = HeaderMap::from_iter([(ACCEPT, "*/*".parse().unwrap())]);
        for (path, headers, expected) in [
            ("users/7", &any, true),
            ("users/jane.doe", &html, true),
            ("users/", &any, true),
            ("app.js", &any, false),
            ("v1.2/users", &any, true),
            ("img/logo.png", &HeaderMap::new(), false),
        ] {
            assert_eq!(names_a_page(path, headers), expected, "{path}");
        }
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
