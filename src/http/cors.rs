//! Which pages of other sites may read our files (`[web] cors_origins`). Pure.

use hyper::header::{
    ACCESS_CONTROL_ALLOW_HEADERS, ACCESS_CONTROL_ALLOW_METHODS, ACCESS_CONTROL_ALLOW_ORIGIN,
    ACCESS_CONTROL_EXPOSE_HEADERS, ACCESS_CONTROL_MAX_AGE, ACCESS_CONTROL_REQUEST_METHOD,
    HeaderMap, HeaderValue, ORIGIN, VARY,
};
use hyper::{Method, Response, StatusCode};

use super::body::Answer;

/// Whether a browser asks what it may ask.
pub(super) fn is_preflight(method: &Method, request: &HeaderMap, origins: &[String]) -> bool {
    !origins.is_empty()
        && method == Method::OPTIONS
        && request.contains_key(ORIGIN)
        && request.contains_key(ACCESS_CONTROL_REQUEST_METHOD)
}

/// Answers it.
pub(super) fn preflight(request: &HeaderMap, origins: &[String]) -> Response<Answer> {
    let mut response = Response::new(Answer::empty());
    *response.status_mut() = StatusCode::NO_CONTENT;
    let headers = response.headers_mut();
    allow(headers, request, origins);
    if headers.contains_key(ACCESS_CONTROL_ALLOW_ORIGIN) {
        for (name, value) in [
            (ACCESS_CONTROL_ALLOW_METHODS, "GET, HEAD"),
            (
                ACCESS_CONTROL_ALLOW_HEADERS,
                "range, if-range, if-none-match, if-modified-since, x-requested-with, content-type",
            ),
            (ACCESS_CONTROL_MAX_AGE, "7200"),
        ] {
            headers.insert(name, HeaderValue::from_static(value));
        }
    }
    response
}

/// Adds to the answer who may read it.
pub(super) fn allow(headers: &mut HeaderMap, request: &HeaderMap, origins: &[String]) {
    if origins.is_empty() {
        return;
    }
    let everybody = origins.iter().any(|origin| origin == "*");
    let value = match everybody {
        true => Some(HeaderValue::from_static("*")),
        false => {
            also_varies(headers);
            let named = |origin: &HeaderValue| {
                origins
                    .iter()
                    .any(|one| one.as_bytes().eq_ignore_ascii_case(origin.as_bytes()))
            };
            let mut given = request.get_all(ORIGIN).iter();
            given
                .next()
                .filter(|origin| named(origin) && given.next().is_none())
                .cloned()
        }
    };
    if let Some(value) = value {
        headers.insert(ACCESS_CONTROL_ALLOW_ORIGIN, value);
        headers.insert(
            ACCESS_CONTROL_EXPOSE_HEADERS,
            HeaderValue::from_static("accept-ranges, content-length, content-range, etag"),
        );
    }
}

/// Caches must keep the answers to different sites apart.
fn also_varies(headers: &mut HeaderMap) {
    let value = match headers.get(VARY) {
        Some(_) => HeaderValue::from_static("accept-encoding, origin"),
        None => HeaderValue::from_static("origin"),
    };
    headers.insert(VARY, value);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn allowed(origins: &[&str], asker: Option<&str>) -> (Option<String>, Option<String>) {
        let mut request = HeaderMap::new();
        if let Some(asker) = asker {
            request.insert(ORIGIN, asker.parse().unwrap());
        }
        let origins: Vec<String> = origins.iter().map(|&origin| origin.to_owned()).collect();
        let mut headers = HeaderMap::new();
        allow(&mut headers, &request, &origins);
        let text = |name| {
            let value: &HeaderValue = headers.get(name)?;
            Some(value.to_str().unwrap().to_owned())
        };
        (text(ACCESS_CONTROL_ALLOW_ORIGIN), text(VARY))
    }

    #[test]
    fn named_sites_may_read_and_others_may_not() {
        let (all, varies) = (Some("*".to_owned()), Some("origin".to_owned()));
        let friend = Some("https://friend.example".to_owned());
        let named = ["https://friend.example", "http://lab:8080"];
        assert_eq!(allowed(&[], Some("https://a")), (None, None));
        assert_eq!(allowed(&["*"], Some("https://a")), (all.clone(), None));
        assert_eq!(allowed(&["*"], None), (all, None));
        assert_eq!(allowed(&named, friend.as_deref()), (friend, varies.clone()));
        for other in [
            None,
            Some("https://friend.example.evil"),
            Some("http://friend.example"),
            Some("null"),
        ] {
            assert_eq!(allowed(&named, other), (None, varies.clone()), "{other:?}");
        }
    }
}
