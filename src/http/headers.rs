//! Headers that every answer carries, so that a browser keeps pages apart from the rest of the web.

use std::sync::Arc;

use arc_swap::ArcSwapOption;
use hyper::HeaderMap;
use hyper::header::{
    CONTENT_SECURITY_POLICY, HeaderName, HeaderValue, InvalidHeaderValue, REFERRER_POLICY,
    STRICT_TRANSPORT_SECURITY, X_CONTENT_TYPE_OPTIONS,
};

use super::authority::Authority;

/// Which Content-Security-Policy is sent.
#[derive(Clone, Debug)]
pub(super) enum Policy {
    /// The strict one that our own pages are written for.
    BuiltIn(Last),
    /// The operator's.
    Given(HeaderValue),
    /// None: an operator's pages were written without one in mind.
    None,
}

impl Policy {
    pub(super) fn new(given: Option<&str>, built_in: bool) -> Result<Self, InvalidHeaderValue> {
        match given.map(str::trim) {
            Some("") => Ok(Self::None),
            Some(text) => HeaderValue::from_str(text).map(Self::Given),
            None if built_in => Ok(Self::BuiltIn(Last::default())),
            None => Ok(Self::None),
        }
    }
}

/// The policy for the host that was named last: nearly always it is named again.
#[derive(Clone, Debug, Default)]
pub(super) struct Last(Arc<ArcSwapOption<(Authority, HeaderValue)>>);

impl Last {
    fn csp(&self, own: Option<&Authority>) -> HeaderValue {
        let Some(own) = own else {
            return built_in_csp(None);
        };
        if let Some(last) = &*self.0.load()
            && last.0 == *own
        {
            return last.1.clone();
        }
        let value = built_in_csp(Some(own));
        self.0.store(Some(Arc::new((own.clone(), value.clone()))));
        value
    }
}

/// Adds what is missing. `own` is the host that the request named.
pub(super) fn secure(headers: &mut HeaderMap, policy: &Policy, own: Option<&Authority>) {
    match policy {
        Policy::BuiltIn(last) => {
            headers.insert(CONTENT_SECURITY_POLICY, last.csp(own));
        }
        Policy::Given(value) => {
            headers.insert(CONTENT_SECURITY_POLICY, value.clone());
        }
        Policy::None => {}
    }
    for (name, value) in FIXED {
        headers.insert(name, value);
    }
}

/// A year, for this name alone: others of the same domain may have no HTTPS.
pub(super) fn strict(headers: &mut HeaderMap) {
    let year = HeaderValue::from_static("max-age=31536000");
    headers.entry(STRICT_TRANSPORT_SECURITY).or_insert(year);
}

// Made once, by the compiler: for names that the library does not know, that is work.
const FIXED: [(HeaderName, HeaderValue); 4] = [
    (
        HeaderName::from_static("permissions-policy"),
        HeaderValue::from_static(
            "camera=(self), microphone=(self), display-capture=(self), autoplay=(self), \
             fullscreen=(self), screen-wake-lock=(self), geolocation=(), payment=(), usb=()",
        ),
    ),
    (
        HeaderName::from_static("cross-origin-opener-policy"),
        HeaderValue::from_static("same-origin"),
    ),
    (X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff")),
    // `no-referrer` would do as well, but makes some browsers send `Origin: null` to ourselves.
    (REFERRER_POLICY, HeaderValue::from_static("same-origin")),
];

fn built_in_csp(own: Option<&Authority>) -> HeaderValue {
    // Safari before 15.4 does not count wss under 'self'. The host has been checked to be a name or
    // an address, so it cannot end the directive; a policy cannot name an IPv6 address at all.
    let socket = own
        .filter(|own| !own.host().starts_with('['))
        .map(|own| format!(" wss://{own}"))
        .unwrap_or_default();
    let text = format!(
        "default-src 'self'; connect-src 'self'{socket}; img-src 'self' data: blob:; \
         media-src 'self' blob: mediastream:; object-src 'none'; base-uri 'none'; \
         form-action 'self'; frame-ancestors 'none'"
    );
    HeaderValue::from_str(&text).unwrap_or(HeaderValue::from_static("default-src 'self'"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn csp(policy: &Policy, host: &str) -> Option<String> {
        let mut headers = HeaderMap::new();
        secure(&mut headers, policy, Authority::parse(host).as_ref());
        assert_eq!(headers["x-content-type-options"], "nosniff");
        assert_eq!(headers["cross-origin-opener-policy"], "same-origin");
        assert!(!headers.contains_key("server"));
        assert!(!headers.contains_key("strict-transport-security"));
        headers
            .get(CONTENT_SECURITY_POLICY)
            .map(|value| value.to_str().unwrap().to_owned())
    }

    #[test]
    fn our_pages_get_a_policy_without_inline_code() {
        let policy = Policy::new(None, true).unwrap();
        let text = csp(&policy, "call.example:8443").unwrap();
        assert!(
            text.contains("connect-src 'self' wss://call.example:8443;"),
            "{text}"
        );
        assert!(text.contains("frame-ancestors 'none'"));
        assert!(!text.contains("unsafe"));
        for host in ["other.example", "call.example:8443", "call.example:8443"] {
            let socket = format!("connect-src 'self' wss://{host};");
            assert!(csp(&policy, host).unwrap().contains(&socket), "{host}");
        }
        assert!(
            csp(&policy, "[::1]:8443")
                .unwrap()
                .contains("connect-src 'self';")
        );
        assert!(
            csp(&policy, "a;script-src *")
                .unwrap()
                .contains("connect-src 'self';")
        );
    }

    #[test]
    fn an_operators_pages_get_the_operators_policy_or_none() {
        let given = Policy::new(Some("default-src https:"), false).unwrap();
        assert_eq!(csp(&given, "a").as_deref(), Some("default-src https:"));
        assert_eq!(csp(&Policy::new(None, false).unwrap(), "a"), None);
        assert_eq!(csp(&Policy::new(Some(""), true).unwrap(), "a"), None);
        assert!(Policy::new(Some("a\nb"), true).is_err());
    }
}
