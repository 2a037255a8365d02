//! The dashboard: a page that asks the other paths and shows what they say. Its files are the same
//! for everybody and need no token; what they ask for does.

use hyper::StatusCode;
use hyper::header::{
    CONTENT_SECURITY_POLICY, HeaderName, HeaderValue, REFERRER_POLICY, X_CONTENT_TYPE_OPTIONS,
};

use super::{Answer, respond};

/// Nothing but its own files and its own listener, and in nobody's frame.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; \
    img-src data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'; \
    require-trusted-types-for 'script'";

const HTML: &str = "text/html; charset=utf-8";
const CSS: &str = "text/css; charset=utf-8";
const SCRIPT: &str = "text/javascript; charset=utf-8";

/// The file of that path.
pub(super) fn file(path: &str) -> Option<Answer> {
    let (kind, text) = match path {
        "/" => (HTML, include_str!("dashboard/index.html")),
        "/dashboard.css" => (CSS, include_str!("dashboard/dashboard.css")),
        "/dashboard.js" => (SCRIPT, include_str!("dashboard/dashboard.js")),
        "/texts.js" => (SCRIPT, include_str!("dashboard/texts.js")),
        _ => return None,
    };
    let mut answer = respond(StatusCode::OK, kind, text.to_owned());
    let headers = answer.headers_mut();
    for (name, value) in [
        (CONTENT_SECURITY_POLICY, POLICY),
        (REFERRER_POLICY, "no-referrer"),
        (X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (
            HeaderName::from_static("cross-origin-opener-policy"),
            "same-origin",
        ),
        (
            HeaderName::from_static("cross-origin-resource-policy"),
            "same-origin",
        ),
    ] {
        headers.insert(name, HeaderValue::from_static(value));
    }
    Some(answer)
}

#[cfg(test)]
mod tests {

    #[test]
    fn the_page_names_no_foreign_origin_and_nothing_that_its_policy_forbids() {
        for text in [
            include_str!("dashboard/index.html"),
            include_str!("dashboard/dashboard.css"),
            include_str!("dashboard/dashboard.js"),
            include_str!("dashboard/texts.js"),
        ] {
            for forbidden in [
                "http:",
                "https:",
                "//cdn",
                "style=",
                "onclick=",
                "innerHTML",
            ] {
                assert!(!text.contains(forbidden), "{forbidden}");
            }
        }
    }

    #[test]
    fn both_languages_have_all_the_words() {
        let texts = include_str!("dashboard/texts.js");
        let words = |from: &str| {
            let begin = texts.find(from).unwrap();
            let block = &texts[begin..begin + texts[begin..].find("};").unwrap()];
            let mut keys: Vec<String> = block
                .split([',', '{', '\n'])
                .filter_map(|part| part.split_once(": '"))
                .map(|(key, _)| key.trim().to_owned())
                .collect();
            keys.sort();
            keys
        };
        let english = words("ENGLISH");
        assert!(english.len() > 40, "{english:?}");
        assert_eq!(english, words("CHINESE"));
    }
}
