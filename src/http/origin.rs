//! Whether a page that asks for something is one of ours. Pure.

use hyper::HeaderMap;
use hyper::header::ORIGIN;

use super::authority::Authority;

/// Where a request says that it comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Source {
    /// No `Origin`: not a browser, or a browser that saw no need.
    Unsaid,
    /// `null`: a file, a sandbox, an app's web view.
    Opaque,
    /// A page of this appliance.
    Own,
    /// The origin that Android's AppRTC client claims, on every server.
    AppRtc,
    /// A page of somebody whom the operator has named. Holds the origin as it was sent.
    Allowed(String),
    /// Anybody else.
    Foreign,
}

/// `https://appr.tc` is compiled into AppRTCMobile; a browser cannot be on that page against us
/// for more than opening a socket.
const APP_RTC: &str = "https://appr.tc";

impl Source {
    /// Judges the `Origin` of a request that came to `own`, over TLS. `names` are the configured
    /// host names, `allowed` the configured origins.
    pub(super) fn of(
        headers: &HeaderMap,
        own: Option<&Authority>,
        names: &[String],
        allowed: &[String],
    ) -> Self {
        let mut origins = headers.get_all(ORIGIN).iter();
        let Some(origin) = origins.next() else {
            return Self::Unsaid;
        };
        let Ok(origin) = origin.to_str() else {
            return Self::Foreign;
        };
        if origins.next().is_some() {
            return Self::Foreign;
        }
        let origin = origin.trim();
        if origin.eq_ignore_ascii_case("null") {
            return Self::Opaque;
        }
        if origin.eq_ignore_ascii_case(APP_RTC) {
            return Self::AppRtc;
        }
        let same = |one: &String| one.trim_end_matches('/').eq_ignore_ascii_case(origin);
        if allowed.iter().any(same) {
            return Self::Allowed(origin.to_owned());
        }
        // Ours are secure pages only: what a plain http page says may be anybody's.
        let Some(page) = https(origin) else {
            return Self::Foreign;
        };
        let is_host = own.is_some_and(|own| secure(own) == secure(&page));
        let is_name = names
            .iter()
            .any(|name| name.eq_ignore_ascii_case(page.host()));
        if is_host || is_name {
            Self::Own
        } else {
            Self::Foreign
        }
    }
}

fn https(origin: &str) -> Option<Authority> {
    let (scheme, rest) = origin.split_once("://")?;
    scheme
        .eq_ignore_ascii_case("https")
        .then(|| Authority::parse(rest))?
}

/// Host and port with the default port filled in.
fn secure(authority: &Authority) -> (&str, u16) {
    (authority.host(), authority.port().unwrap_or(443))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn judge(origin: &str, host: &str) -> Source {
        let mut headers = HeaderMap::new();
        headers.insert(ORIGIN, origin.parse().unwrap());
        Source::of(
            &headers,
            Authority::parse(host).as_ref(),
            &["call.example".to_owned()],
            &[
                "https://friend.example".to_owned(),
                "http://lab:8080/".to_owned(),
            ],
        )
    }

    #[test]
    fn only_our_pages_and_named_ones_are_not_foreign() {
        let allowed = |origin: &str| Source::Allowed(origin.to_owned());
        for (origin, host, expected) in [
            ("https://192.0.2.1:8443", "192.0.2.1:8443", Source::Own),
            ("https://LOCALHOST", "localhost:443", Source::Own),
            ("https://localhost:443", "localhost", Source::Own),
            ("https://[::1]:8443", "[0::1]:8443", Source::Own),
            ("https://call.example", "192.0.2.1", Source::Own),
            ("null", "a", Source::Opaque),
            ("https://appr.tc", "a", Source::AppRtc),
            (
                "https://friend.example",
                "a",
                allowed("https://friend.example"),
            ),
            ("http://lab:8080", "a", allowed("http://lab:8080")),
            ("https://192.0.2.1:9443", "192.0.2.1:8443", Source::Foreign),
            ("http://192.0.2.1:8443", "192.0.2.1:8443", Source::Foreign),
            ("https://call.example.evil", "call.example", Source::Foreign),
            ("https://evilcall.example", "call.example", Source::Foreign),
            ("https://call.example@evil", "call.example", Source::Foreign),
            ("https://appr.tc.evil", "a", Source::Foreign),
            ("http://appr.tc", "a", Source::Foreign),
            ("https://friend.example.evil", "a", Source::Foreign),
            ("https://", "a", Source::Foreign),
            ("a", "a", Source::Foreign),
            ("", "a", Source::Foreign),
        ] {
            assert_eq!(judge(origin, host), expected, "{origin} at {host}");
        }
    }

    #[test]
    fn none_is_unsaid_and_two_are_foreign() {
        let own = Authority::parse("a");
        let mut headers = HeaderMap::new();
        assert_eq!(Source::of(&headers, own.as_ref(), &[], &[]), Source::Unsaid);
        headers.append(ORIGIN, "https://a".parse().unwrap());
        assert_eq!(Source::of(&headers, own.as_ref(), &[], &[]), Source::Own);
        assert_eq!(Source::of(&headers, None, &[], &[]), Source::Foreign);
        headers.append(ORIGIN, "https://b".parse().unwrap());
        assert_eq!(
            Source::of(&headers, own.as_ref(), &[], &[]),
            Source::Foreign
        );
    }
}
