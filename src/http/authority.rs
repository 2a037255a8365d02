//! The host that a request names, checked before it is used in a URL or compared. Pure.

use std::fmt;
use std::net::{Ipv4Addr, Ipv6Addr};

use hyper::Request;
use hyper::header::HOST;

/// Host and port of a request or of an origin.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Authority {
    host: String,
    port: Option<u16>,
}

/// Longest DNS name in text form.
const MAX_NAME: usize = 253;

impl Authority {
    /// Reads `host`, `host:port`, `[v6]` or `[v6]:port`. Nothing else passes, so that what does can
    /// be put into a header, a URL or a page.
    pub(super) fn parse(text: &str) -> Option<Self> {
        let (host, port) = match text.strip_prefix('[') {
            Some(rest) => {
                let (address, port) = rest.split_once(']')?;
                let address: Ipv6Addr = address.parse().ok()?;
                (format!("[{address}]"), port)
            }
            None => {
                let end = text.find(':').unwrap_or(text.len());
                let (name, port) = text.split_at(end);
                (name_or_v4(name)?, port)
            }
        };
        let port = match port {
            // An empty port means the default one (RFC 3986 section 3.2.3).
            "" | ":" => None,
            port => Some(number(port.strip_prefix(':')?)?),
        };
        Some(Self { host, port })
    }

    /// What the request is addressed to: the target's authority (HTTP/2, absolute form) or `Host`.
    pub(super) fn of<B>(request: &Request<B>) -> Option<Self> {
        if let Some(authority) = request.uri().authority() {
            return Self::parse(authority.as_str());
        }
        let mut hosts = request.headers().get_all(HOST).iter();
        let host = hosts.next()?;
        // Two of them: whoever judged the request before us may have looked at the other one.
        if hosts.next().is_some() {
            return None;
        }
        Self::parse(host.to_str().ok()?)
    }

    /// Lower-case name, IPv4 address, or IPv6 address in brackets.
    pub(super) fn host(&self) -> &str {
        &self.host
    }

    /// The port, if it is named.
    pub(super) fn port(&self) -> Option<u16> {
        self.port
    }

    /// The same host at another port; `None` is the default port of the scheme.
    pub(super) fn with_port(self, port: Option<u16>) -> Self {
        Self { port, ..self }
    }
}

impl fmt::Display for Authority {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.host)?;
        match self.port {
            Some(port) => write!(f, ":{port}"),
            None => Ok(()),
        }
    }
}

fn name_or_v4(text: &str) -> Option<String> {
    if text.is_empty() || text.len() > MAX_NAME {
        return None;
    }
    let name = text.strip_suffix('.').unwrap_or(text);
    let good = |label: &str| {
        !label.is_empty()
            && label.len() <= 63
            && label
                .bytes()
                .all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_')
    };
    if !name.split('.').all(good) {
        return None;
    }
    // What ends in a number is an IPv4 address to browsers, or nothing.
    let last = name.rsplit('.').next().unwrap_or_default();
    if last.bytes().all(|b| b.is_ascii_digit()) {
        return name.parse::<Ipv4Addr>().ok().map(|v4| v4.to_string());
    }
    Some(text.to_ascii_lowercase())
}

fn number(text: &str) -> Option<u16> {
    // `parse` would also take a plus sign.
    let digits = text.bytes().all(|b| b.is_ascii_digit());
    text.parse().ok().filter(|_| digits)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts_are_names_or_addresses_and_nothing_else() {
        for (text, expected) in [
            ("call.example", Some("call.example")),
            ("Call.Example:8443", Some("call.example:8443")),
            ("call.example:", Some("call.example")),
            ("call.example.", Some("call.example.")),
            ("localhost", Some("localhost")),
            ("my_host", Some("my_host")),
            ("192.0.2.1:80", Some("192.0.2.1:80")),
            ("[::1]:8443", Some("[::1]:8443")),
            ("[2001:DB8:0::1]", Some("[2001:db8::1]")),
            ("", None),
            (":80", None),
            ("a..b", None),
            (".", None),
            ("192.0.2.300", None),
            ("192.0.2", None),
            ("1", None),
            ("::1", None),
            ("[::1", None),
            ("[::1]x", None),
            ("[::1%25eth0]", None),
            ("[call.example]", None),
            ("a:b", None),
            ("a:65536", None),
            ("a:+80", None),
            ("a:80:80", None),
            ("user@a", None),
            ("a/b", None),
            ("a b", None),
            ("a\r\nb", None),
            ("a\"b", None),
            ("a;b", None),
            ("é.example", None),
        ] {
            let parsed = Authority::parse(text).map(|a| a.to_string());
            assert_eq!(parsed.as_deref(), expected, "{text:?}");
        }
        assert!(Authority::parse(&"a".repeat(64)).is_none());
        assert!(Authority::parse(&"a.".repeat(127)).is_none());
    }

    #[test]
    fn the_target_comes_before_the_header_and_two_headers_are_none() {
        let request = |uri: &str, hosts: &[&str]| {
            let mut builder = Request::builder().uri(uri);
            for host in hosts {
                builder = builder.header(HOST, *host);
            }
            Authority::of(&builder.body(()).unwrap()).map(|a| a.to_string())
        };
        assert_eq!(request("/", &["a"]).as_deref(), Some("a"));
        assert_eq!(request("https://b:1/", &["a"]).as_deref(), Some("b:1"));
        assert_eq!(request("https://u@b/", &[]), None);
        assert_eq!(request("/", &["a", "b"]), None);
        assert_eq!(request("/", &[]), None);
    }
}
