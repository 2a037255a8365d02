//! What is left out of a message on its way through, and what is said about the visitor. Pure.

use std::net::IpAddr;

use hyper::header::{
    CONNECTION, COOKIE, EXPECT, Entry, HOST, HeaderMap, HeaderName, HeaderValue,
    PROXY_AUTHENTICATE, PROXY_AUTHORIZATION, SERVER, TE, TRAILER, TRANSFER_ENCODING, UPGRADE,
};
use hyper::{Method, Version};

/// What we know about a request better than its client.
#[derive(Clone, Copy, Debug)]
pub(super) struct Known<'a> {
    /// Where it comes from.
    pub(super) peer: IpAddr,
    /// The host that it named, with the port if there was one.
    pub(super) host: &'a str,
}

/// The protocol that an HTTP/1.1 request asks to change to, if it may be asked of an application.
pub(super) fn upgrade(
    method: &Method,
    version: Version,
    headers: &HeaderMap,
) -> Option<HeaderValue> {
    if method != Method::GET || version != Version::HTTP_11 || !lists(headers, "upgrade") {
        return None;
    }
    let mut tokens = headers.get_all(UPGRADE).iter();
    let token = tokens.next()?;
    // An application that went over to HTTP/2 could be sent requests that nobody has looked at.
    let http2 = token
        .to_str()
        .ok()?
        .split(',')
        .any(|token| token.trim().to_ascii_lowercase().starts_with("h2"));
    (!http2 && tokens.next().is_none()).then(|| token.clone())
}

/// Turns a visitor's request into the one for the application.
pub(super) fn request(headers: &mut HeaderMap, known: Known<'_>, upgrade: Option<HeaderValue>) {
    let wants_trailers = headers
        .get_all(TE)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .any(|coding| coding.trim().eq_ignore_ascii_case("trailers"));
    remove_hop_by_hop(headers);
    // Our own HTTP library asks for the body, and answers the client's wish, when it is wanted.
    headers.remove(EXPECT);
    for name in spoken_for(headers) {
        headers.remove(name);
    }
    join_cookies(headers);
    let mut connection = Vec::new();
    if let Some(token) = upgrade {
        headers.insert(UPGRADE, token);
        connection.push("upgrade");
    }
    if wants_trailers {
        headers.insert(TE, HeaderValue::from_static("trailers"));
        connection.push("te");
    }
    if !connection.is_empty() {
        set(headers, CONNECTION, &connection.join(", "));
    }
    let peer = known.peer.to_canonical();
    let node = match peer {
        IpAddr::V4(peer) => peer.to_string(),
        // RFC 7239 section 6.1: in brackets, and therefore in quotes.
        IpAddr::V6(peer) => format!("\"[{peer}]\""),
    };
    set(headers, HOST, known.host);
    set(headers, X_FORWARDED_FOR, &peer.to_string());
    set(headers, X_REAL_IP, &peer.to_string());
    set(headers, X_FORWARDED_HOST, known.host);
    headers.insert(X_FORWARDED_PROTO, HeaderValue::from_static("https"));
    let forwarded = format!("for={node};host=\"{}\";proto=https", known.host);
    set(headers, FORWARDED, &forwarded);
}

/// Turns the application's answer into the one for the visitor.
pub(super) fn response(headers: &mut HeaderMap) {
    remove_hop_by_hop(headers);
    // Versions help those who look for holes.
    headers.remove(SERVER);
}

const FORWARDED: HeaderName = HeaderName::from_static("forwarded");
const X_FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
const X_FORWARDED_HOST: HeaderName = HeaderName::from_static("x-forwarded-host");
const X_FORWARDED_PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");
const X_REAL_IP: HeaderName = HeaderName::from_static("x-real-ip");

/// What concerns one connection only, besides what `Connection` names (RFC 9110 section 7.6.1).
const HOP_BY_HOP: [HeaderName; 9] = [
    CONNECTION,
    TE,
    TRANSFER_ENCODING,
    UPGRADE,
    PROXY_AUTHENTICATE,
    PROXY_AUTHORIZATION,
    HeaderName::from_static("keep-alive"),
    HeaderName::from_static("proxy-connection"),
    HeaderName::from_static("http2-settings"),
];

/// What a message needs, whatever `Connection` says: without them it would mean something else.
const NOT_HOP_BY_HOP: [HeaderName; 3] = [HOST, hyper::header::CONTENT_LENGTH, TRAILER];

fn remove_hop_by_hop(headers: &mut HeaderMap) {
    let named: Vec<HeaderName> = connection_options(headers)
        .filter_map(|option| HeaderName::from_bytes(option.as_bytes()).ok())
        .filter(|name| !NOT_HOP_BY_HOP.contains(name))
        .collect();
    for name in named.iter().chain(&HOP_BY_HOP) {
        headers.remove(name);
    }
}

fn connection_options(headers: &HeaderMap) -> impl Iterator<Item = &str> {
    headers
        .get_all(CONNECTION)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .map(str::trim)
}

fn lists(headers: &HeaderMap, option: &str) -> bool {
    connection_options(headers).any(|listed| listed.eq_ignore_ascii_case(option))
}

/// Headers by which applications learn what a proxy knows, and which a client must not write. Some
/// applications see `_` and `-` as the same.
fn spoken_for(headers: &HeaderMap) -> Vec<HeaderName> {
    let is_ours = |name: &HeaderName| {
        let name = name.as_str().replace('_', "-");
        name.starts_with("x-forwarded")
            || matches!(name.as_str(), "forwarded" | "x-real-ip")
            // CGI programs would take it for the address of a proxy to use.
            || name == "proxy"
    };
    headers
        .keys()
        .filter(|name| is_ours(name))
        .cloned()
        .collect()
}

/// HTTP/2 may send a cookie a field; HTTP/1.1 has one field for all (RFC 9113 section 8.2.3).
fn join_cookies(headers: &mut HeaderMap) {
    let Entry::Occupied(entry) = headers.entry(COOKIE) else {
        return;
    };
    if entry.iter().count() < 2 {
        return;
    }
    let joined = entry
        .iter()
        .map(HeaderValue::as_bytes)
        .collect::<Vec<_>>()
        .join(&b"; "[..]);
    entry.remove_entry_mult();
    if let Ok(value) = HeaderValue::from_bytes(&joined) {
        headers.insert(COOKIE, value);
    }
}

fn set(headers: &mut HeaderMap, name: HeaderName, value: &str) {
    match HeaderValue::from_str(value) {
        Ok(value) => headers.insert(name, value),
        // Not with what the client wrote instead.
        Err(_) => headers.remove(name),
    };
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(lines: &[(&str, &str)]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for (name, value) in lines {
            headers.append(
                HeaderName::from_bytes(name.as_bytes()).unwrap(),
                value.parse().unwrap(),
            );
        }
        headers
    }

    fn passed(lines: &[(&str, &str)]) -> HeaderMap {
        let mut headers = headers(lines);
        let known = Known {
            peer: "192.0.2.7".parse().unwrap(),
            host: "call.example:8443",
        };
        request(&mut headers, known, None);
        headers
    }

    #[test]
    fn what_belongs_to_a_connection_stays_behind() {
        let passed = passed(&[
            ("connection", "keep-alive, X-Once , te"),
            ("connection", "close"),
            ("x-once", "1"),
            ("keep-alive", "timeout=5"),
            ("te", "gzip"),
            ("transfer-encoding", "chunked"),
            ("proxy-authorization", "Basic eA=="),
            ("proxy-connection", "keep-alive"),
            ("upgrade", "h2c"),
            ("http2-settings", "AAA"),
            ("expect", "100-continue"),
            ("accept", "*/*"),
            ("authorization", "Bearer x"),
        ]);
        let mut left: Vec<&str> = passed.keys().map(HeaderName::as_str).collect();
        left.sort_unstable();
        assert_eq!(
            left,
            [
                "accept",
                "authorization",
                "forwarded",
                "host",
                "x-forwarded-for",
                "x-forwarded-host",
                "x-forwarded-proto",
                "x-real-ip"
            ]
        );
    }

    #[test]
    fn connection_cannot_name_what_a_message_needs() {
        let passed = passed(&[
            (
                "connection",
                "host, content-length, x-forwarded-for, cookie",
            ),
            ("content-length", "5"),
            ("cookie", "a=b"),
        ]);
        assert_eq!(passed["host"], "call.example:8443");
        assert_eq!(passed["content-length"], "5");
        assert_eq!(passed["x-forwarded-for"], "192.0.2.7");
        assert!(!passed.contains_key("cookie"));
    }

    #[test]
    fn nobody_but_us_says_where_a_request_comes_from() {
        let passed = passed(&[
            ("x-forwarded-for", "10.0.0.1"),
            ("x-forwarded-for", "10.0.0.2"),
            ("x-forwarded-proto", "http"),
            ("x-forwarded-host", "evil.example"),
            ("x-forwarded-port", "1"),
            ("x_forwarded_for", "10.0.0.3"),
            ("x-real-ip", "10.0.0.4"),
            ("x-real_ip", "10.0.0.4"),
            ("forwarded", "for=10.0.0.5"),
            ("proxy", "http://evil.example"),
            ("host", "evil.example"),
        ]);
        let all: Vec<String> = passed
            .iter()
            .map(|(name, value)| format!("{name}: {}", value.to_str().unwrap()))
            .collect();
        assert!(
            !all.iter()
                .any(|line| line.contains("10.0.0") || line.contains("evil")),
            "{all:?}"
        );
        assert_eq!(passed["host"], "call.example:8443");
        assert_eq!(passed["x-forwarded-host"], "call.example:8443");
        assert_eq!(passed["x-forwarded-proto"], "https");
        assert_eq!(passed["x-real-ip"], "192.0.2.7");
        assert_eq!(
            passed["forwarded"],
            "for=192.0.2.7;host=\"call.example:8443\";proto=https"
        );
        assert_eq!(passed.len(), 6);
    }

    #[test]
    fn an_ipv6_visitor_is_quoted_and_a_mapped_one_is_ipv4() {
        for (peer, plain, node) in [
            ("2001:db8::1", "2001:db8::1", "for=\"[2001:db8::1]\";"),
            ("::ffff:192.0.2.1", "192.0.2.1", "for=192.0.2.1;"),
        ] {
            let mut headers = HeaderMap::new();
            let known = Known {
                peer: peer.parse().unwrap(),
                host: "a",
            };
            request(&mut headers, known, None);
            assert_eq!(headers["x-forwarded-for"], plain);
            let forwarded = headers["forwarded"].to_str().unwrap();
            assert!(forwarded.starts_with(node), "{forwarded}");
        }
    }

    #[test]
    fn cookies_become_one_field() {
        let passed = passed(&[("cookie", "a=1"), ("cookie", "b=2; c=3")]);
        let cookies: Vec<_> = passed.get_all(COOKIE).iter().collect();
        assert_eq!(cookies, ["a=1; b=2; c=3"]);
    }

    #[test]
    fn a_wish_for_trailers_is_passed_on_and_no_other_coding() {
        let passed = passed(&[("te", "gzip;q=1, trailers"), ("trailer", "x-sum")]);
        assert_eq!(passed["te"], "trailers");
        assert_eq!(passed["connection"], "te");
        assert_eq!(passed["trailer"], "x-sum");
    }

    #[test]
    fn only_a_proper_request_for_another_protocol_is_one() {
        let ask = |method: Method, version, lines: &[(&str, &str)]| {
            upgrade(&method, version, &headers(lines))
                .map(|token| token.to_str().unwrap().to_owned())
        };
        let proper = [
            ("connection", "keep-alive, Upgrade"),
            ("upgrade", "websocket"),
        ];
        let get = |lines: &[(&str, &str)]| ask(Method::GET, Version::HTTP_11, lines);
        assert_eq!(get(&proper).as_deref(), Some("websocket"));
        assert_eq!(
            get(&[("connection", "upgrade"), ("upgrade", "custom/1")]).as_deref(),
            Some("custom/1")
        );
        assert_eq!(ask(Method::POST, Version::HTTP_11, &proper), None);
        assert_eq!(ask(Method::GET, Version::HTTP_10, &proper), None);
        assert_eq!(get(&[("upgrade", "websocket")]), None);
        assert_eq!(get(&[("connection", "upgrade")]), None);
        for token in ["h2c", "H2C", "websocket, h2c", "h2"] {
            let lines = [("connection", "upgrade"), ("upgrade", token)];
            assert_eq!(get(&lines), None, "{token}");
        }
        let twice = [
            ("connection", "upgrade"),
            ("upgrade", "websocket"),
            ("upgrade", "h2c"),
        ];
        assert_eq!(get(&twice), None);
    }

    #[test]
    fn an_answer_tells_neither_its_servers_name_nor_its_connections_business() {
        let mut headers = headers(&[
            ("server", "Example/1.2.3"),
            ("connection", "close, x-internal"),
            ("x-internal", "1"),
            ("transfer-encoding", "chunked"),
            ("set-cookie", "a=1"),
            ("set-cookie", "b=2"),
            ("content-length", "3"),
        ]);
        response(&mut headers);
        assert_eq!(headers.get_all("set-cookie").iter().count(), 2);
        assert_eq!(headers["content-length"], "3");
        assert_eq!(headers.len(), 3);
    }
}
