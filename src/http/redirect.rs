//! Plain HTTP is answered with the way to HTTPS, and with nothing else.

use hyper::header::{CONNECTION, CONTENT_TYPE, HeaderValue, LOCATION};
use hyper::{Request, Response, StatusCode};

use super::authority::Authority;
use super::body::Answer;
use super::page::text;

/// Where plain HTTP is sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum To {
    /// The same host and port: the request came to a port that speaks HTTPS as well.
    SamePort,
    /// The same host at this port.
    Port(u16),
    /// Nowhere: 404.
    Nowhere,
}

/// The file that a certificate authority looks for.
pub(super) fn challenge(content: String) -> Response<Answer> {
    let mut response = Response::new(Answer::bytes(content));
    let headers = response.headers_mut();
    let kind = HeaderValue::from_static("application/octet-stream");
    headers.insert(CONTENT_TYPE, kind);
    headers.insert(CONNECTION, HeaderValue::from_static("close"));
    response
}

pub(super) fn answer<B>(request: &Request<B>, to: To) -> Response<Answer> {
    let mut response = match (to, location(request, to)) {
        (To::Nowhere, _) => text(StatusCode::NOT_FOUND, "Not found\n"),
        (_, None) => text(StatusCode::BAD_REQUEST, "Which host?\n"),
        (_, Some(location)) => {
            // 308 keeps the method: an app that posts to the wrong scheme still gets its answer.
            let mut response = text(StatusCode::PERMANENT_REDIRECT, "Use https\n");
            response.headers_mut().insert(LOCATION, location);
            response
        }
    };
    // There is nothing more to say on this connection.
    response
        .headers_mut()
        .insert(CONNECTION, HeaderValue::from_static("close"));
    response
}

fn location<B>(request: &Request<B>, to: To) -> Option<HeaderValue> {
    let named = Authority::of(request)?;
    let port = match to {
        To::SamePort => named.port(),
        To::Port(port) => Some(port),
        To::Nowhere => return None,
    };
    let secure = named.with_port(port.filter(|port| *port != 443));
    let path = request
        .uri()
        .path_and_query()
        .map(|path| path.as_str())
        .filter(|path| path.starts_with('/'))
        .unwrap_or("/");
    HeaderValue::from_str(&format!("https://{secure}{path}")).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn to(to: To, host: &str, uri: &str) -> Option<String> {
        let request = Request::builder()
            .uri(uri)
            .header("host", host)
            .body(())
            .unwrap();
        location(&request, to).map(|value| value.to_str().unwrap().to_owned())
    }

    #[test]
    fn host_path_and_query_stay_and_the_port_becomes_the_right_one() {
        for (rule, host, uri, expected) in [
            (
                To::SamePort,
                "a:8443",
                "/r/x?y=1&z",
                "https://a:8443/r/x?y=1&z",
            ),
            (To::SamePort, "a", "/", "https://a/"),
            (To::SamePort, "a:443", "/", "https://a/"),
            (To::Port(443), "a:80", "/x", "https://a/x"),
            (To::Port(8443), "a", "/x", "https://a:8443/x"),
            (To::Port(8443), "[::1]:80", "/", "https://[::1]:8443/"),
            (To::Port(443), "a", "*", "https://a/"),
            (To::Port(443), "a", "//evil/x", "https://a//evil/x"),
            (To::Port(443), "a", "http://b/x?y", "https://b/x?y"),
        ] {
            assert_eq!(to(rule, host, uri).as_deref(), Some(expected));
        }
    }

    #[test]
    fn a_host_that_is_none_leads_nowhere() {
        for host in ["", "a/b", "user@a", "a b", "1.2.3"] {
            assert_eq!(to(To::Port(443), host, "/"), None, "{host}");
        }
        assert_eq!(to(To::Nowhere, "a", "/"), None);
    }
}
