//! Who may ask the admin listener.
//!
//! Without a token only this machine can reach it, and so can every page that a browser on this
//! machine has open: those are told apart by what browsers add to a request, and by a `Host` that
//! is a name, as it is when a name of a stranger is made to point here (DNS rebinding). Our own page
//! is known by its origin, which is the address that it asks.

use std::net::IpAddr;

use aws_lc_rs::constant_time;
use hyper::Method;
use hyper::header::{AUTHORIZATION, HOST, HeaderMap, HeaderValue, ORIGIN};

use crate::config::secret::Secret;

/// Why a request is not answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Refusal {
    /// The token is missing or wrong.
    Token,
    /// A page of another site asks.
    Foreign,
}

/// Whether a request may be answered.
pub(super) fn check(
    method: &Method,
    headers: &HeaderMap,
    token: Option<&Secret>,
) -> Result<(), Refusal> {
    if let Some(token) = token {
        let given = headers
            .get(AUTHORIZATION)
            .and_then(|value| value.as_bytes().split_at_checked("Bearer ".len()))
            .filter(|(scheme, _)| scheme.eq_ignore_ascii_case(b"Bearer "))
            .map(|(_, token)| token)
            .unwrap_or_default();
        return constant_time::verify_slices_are_equal(given, token.expose())
            .map_err(|_| Refusal::Token);
    }
    let host = headers.get(HOST).and_then(|host| host.to_str().ok());
    let changes = !matches!(*method, Method::GET | Method::HEAD);
    match host {
        Some(host) if !is_address(host) => Err(Refusal::Foreign),
        _ if changes && !is_own(headers.get(ORIGIN), host) => Err(Refusal::Foreign),
        _ => Ok(()),
    }
}

/// Whether an origin is that of our own page, or of no page at all.
fn is_own(origin: Option<&HeaderValue>, host: Option<&str>) -> bool {
    let Some(origin) = origin else { return true };
    let asked = origin
        .to_str()
        .ok()
        .and_then(|origin| origin.strip_prefix("http://"));
    asked.is_some() && asked == host
}

/// Whether a `Host` names an address, or this machine.
fn is_address(host: &str) -> bool {
    if let Some(rest) = host.strip_prefix('[') {
        return rest
            .split_once(']')
            .is_some_and(|(ip, _)| ip.parse::<IpAddr>().is_ok());
    }
    let name = host.rsplit_once(':').map_or(host, |(name, _)| name);
    name.eq_ignore_ascii_case("localhost") || name.parse::<IpAddr>().is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ask(method: &Method, headers: &[(&str, &str)], token: Option<&str>) -> Result<(), Refusal> {
        let mut map = HeaderMap::new();
        for (name, value) in headers {
            map.insert(
                hyper::header::HeaderName::from_bytes(name.as_bytes()).unwrap(),
                value.parse().unwrap(),
            );
        }
        let token = token.map(|token| Secret::new(token.as_bytes()));
        check(method, &map, token.as_ref())
    }

    #[test]
    fn only_this_machine_by_address_is_answered_without_a_token() {
        for host in [
            "127.0.0.1:9090",
            "[::1]:9090",
            "localhost:9090",
            "localhost",
        ] {
            assert_eq!(ask(&Method::GET, &[("host", host)], None), Ok(()), "{host}");
        }
        for host in ["evil.example:9090", "[evil]:1", "1.2.3.4.evil.example"] {
            let refused = Err(Refusal::Foreign);
            assert_eq!(
                ask(&Method::GET, &[("host", host)], None),
                refused,
                "{host}"
            );
        }
    }

    #[test]
    fn a_page_of_another_site_cannot_drain() {
        let headers = [
            ("host", "127.0.0.1:9090"),
            ("origin", "https://evil.example"),
        ];
        assert_eq!(ask(&Method::POST, &headers, None), Err(Refusal::Foreign));
        assert_eq!(ask(&Method::POST, &headers[..1], None), Ok(()));
        for (origin, answer) in [
            ("http://127.0.0.1:9090", Ok(())),
            ("http://127.0.0.1:9091", Err(Refusal::Foreign)),
            ("http://localhost:9090", Err(Refusal::Foreign)),
            ("https://127.0.0.1:9090", Err(Refusal::Foreign)),
            ("null", Err(Refusal::Foreign)),
        ] {
            let headers = [("host", "127.0.0.1:9090"), ("origin", origin)];
            assert_eq!(ask(&Method::DELETE, &headers, None), answer, "{origin}");
        }
    }

    #[test]
    fn a_token_is_asked_for_and_then_enough() {
        let with = |value| ask(&Method::POST, &[("authorization", value)], Some("secret"));
        assert_eq!(with("Bearer secret"), Ok(()));
        assert_eq!(with("bearer secret"), Ok(()));
        for wrong in [
            "Bearer secre",
            "Bearer secret2",
            "Bearer ",
            "Basic secret",
            "secret",
        ] {
            assert_eq!(with(wrong), Err(Refusal::Token), "{wrong}");
        }
        assert_eq!(ask(&Method::GET, &[], Some("secret")), Err(Refusal::Token));
    }
}
