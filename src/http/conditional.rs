//! What a client has already, and which part it wants (RFC 9110 sections 13 and 14). Pure.

use std::ops::Range;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use hyper::header::{
    HeaderMap, HeaderName, HeaderValue, IF_MODIFIED_SINCE, IF_NONE_MATCH, IF_RANGE, RANGE,
};

/// What tells two states of a file apart.
#[derive(Clone, Copy, Debug)]
pub(super) struct Validators<'a> {
    /// Entity tag, quotes included.
    pub(super) etag: &'a str,
    /// Unix time of the last change, where it is known.
    pub(super) modified: Option<u64>,
}

/// How much of a file is wanted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Wanted {
    /// All of it.
    Whole,
    /// This part, which is not empty.
    Part(Range<u64>),
    /// A part that there is not.
    Unsatisfiable,
}

/// Whether the client has this state already.
pub(super) fn is_known(request: &HeaderMap, validators: Validators<'_>) -> bool {
    if request.contains_key(IF_NONE_MATCH) {
        // Better than a date, which is not looked at then.
        return matches(request, validators.etag);
    }
    let since = date(request, IF_MODIFIED_SINCE);
    since.is_some_and(|since| validators.modified.is_some_and(|at| at <= since))
}

/// Which part is wanted. Several parts, and whatever is not understood, are the whole: section 14.2
/// lets a server disregard the header.
pub(super) fn wanted(request: &HeaderMap, validators: Validators<'_>, length: u64) -> Wanted {
    let mut ranges = request.get_all(RANGE).iter();
    let (Some(range), None) = (ranges.next(), ranges.next()) else {
        return Wanted::Whole;
    };
    if !is_still(request, validators) {
        return Wanted::Whole;
    }
    range
        .to_str()
        .ok()
        .and_then(|text| part(text, length))
        .unwrap_or(Wanted::Whole)
}

/// `If-Range`: a part of one state must not be joined to a part of another.
fn is_still(request: &HeaderMap, validators: Validators<'_>) -> bool {
    let Some(condition) = request.get(IF_RANGE) else {
        return true;
    };
    // A weak tag is given to what may have changed without showing it; its date is no better.
    let is_strong = validators.etag.starts_with('"');
    let same_tag = || condition.as_bytes() == validators.etag.as_bytes();
    let same_date = || {
        let date = date(request, IF_RANGE);
        date.is_some() && date == validators.modified
    };
    is_strong && (same_tag() || same_date())
}

fn part(text: &str, length: u64) -> Option<Wanted> {
    let (unit, set) = text.split_once('=')?;
    if !unit.trim().eq_ignore_ascii_case("bytes") || set.contains(',') {
        return None;
    }
    let (first, last) = set.trim().split_once('-')?;
    let range = match (number(first), number(last)) {
        (Some(first), Some(last)) if first <= last => first..last.saturating_add(1).min(length),
        (Some(first), None) if last.is_empty() => first..length,
        (None, Some(suffix)) if first.is_empty() => length.saturating_sub(suffix)..length,
        _ => return None,
    };
    Some(match range.is_empty() {
        true => Wanted::Unsatisfiable,
        false => Wanted::Part(range),
    })
}

/// More digits than fit are more than there is of anything.
fn number(text: &str) -> Option<u64> {
    let digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    digits.then(|| text.parse().unwrap_or(u64::MAX))
}

/// `If-None-Match` with the weak comparison that it prescribes (section 13.1.2).
fn matches(request: &HeaderMap, etag: &str) -> bool {
    let opaque = |tag: &str| tag.trim().trim_start_matches("W/").to_owned();
    let ours = opaque(etag);
    request
        .get_all(IF_NONE_MATCH)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .any(|tag| tag.trim() == "*" || opaque(tag) == ours)
}

fn date(request: &HeaderMap, name: HeaderName) -> Option<u64> {
    let text = request.get(name)?.to_str().ok()?;
    let time = httpdate::parse_http_date(text).ok()?;
    Some(time.duration_since(UNIX_EPOCH).ok()?.as_secs())
}

/// A date as headers have it.
pub(super) fn http_date(unix: u64) -> Option<HeaderValue> {
    // The format has four digits for the year.
    const LAST: u64 = 253_402_300_799;
    let time: SystemTime = UNIX_EPOCH + Duration::from_secs(unix.min(LAST));
    HeaderValue::from_str(&httpdate::fmt_http_date(time)).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    const DATE: &str = "Sun, 06 Nov 1994 08:49:37 GMT";
    const UNIX: u64 = 784_111_777;

    fn headers(lines: &[(HeaderName, &str)]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for (name, value) in lines {
            headers.append(name, value.parse().unwrap());
        }
        headers
    }

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
            let headers = headers(&[(IF_NONE_MATCH, header)]);
            assert_eq!(matches(&headers, "\"a\""), expected, "{header}");
            assert_eq!(matches(&headers, "W/\"a\""), expected, "{header}");
        }
        assert!(!matches(&HeaderMap::new(), "\"a\""));
    }

    #[test]
    fn a_tag_counts_before_a_date() {
        let validators = Validators {
            etag: "\"a\"",
            modified: Some(UNIX),
        };
        let known = |lines: &[(HeaderName, &str)]| is_known(&headers(lines), validators);
        assert!(!known(&[]));
        assert!(known(&[(IF_MODIFIED_SINCE, DATE)]));
        assert!(known(&[(
            IF_MODIFIED_SINCE,
            "Sun, 06 Nov 1994 08:49:38 GMT"
        )]));
        assert!(!known(&[(
            IF_MODIFIED_SINCE,
            "Sun, 06 Nov 1994 08:49:36 GMT"
        )]));
        // The two forms of old.
        assert!(known(&[(
            IF_MODIFIED_SINCE,
            "Sunday, 06-Nov-94 08:49:37 GMT"
        )]));
        assert!(known(&[(IF_MODIFIED_SINCE, "Sun Nov  6 08:49:37 1994")]));
        assert!(!known(&[(IF_MODIFIED_SINCE, "yesterday")]));
        assert!(!known(&[
            (IF_NONE_MATCH, "\"b\""),
            (IF_MODIFIED_SINCE, DATE)
        ]));
        assert!(known(&[(IF_NONE_MATCH, "\"a\""), (IF_MODIFIED_SINCE, "x")]));
        assert_eq!(http_date(UNIX).unwrap(), DATE);
        assert!(http_date(u64::MAX).is_some());
    }

    #[test]
    fn one_part_is_given_and_anything_else_is_the_whole() {
        use Wanted::{Part, Unsatisfiable, Whole};
        for (text, expected) in [
            ("bytes=0-0", Part(0..1)),
            ("bytes=2-4", Part(2..5)),
            ("Bytes = 2-4", Part(2..5)),
            ("bytes=2-", Part(2..10)),
            ("bytes=9-", Part(9..10)),
            ("bytes=2-99", Part(2..10)),
            ("bytes=0-99999999999999999999999", Part(0..10)),
            ("bytes=-3", Part(7..10)),
            ("bytes=-99", Part(0..10)),
            ("bytes=10-", Unsatisfiable),
            ("bytes=10-12", Unsatisfiable),
            ("bytes=99999999999999999999999-", Unsatisfiable),
            ("bytes=-0", Unsatisfiable),
            ("bytes=0-1,3-4", Whole),
            ("bytes=4-2", Whole),
            ("bytes=", Whole),
            ("bytes=-", Whole),
            ("bytes=a-b", Whole),
            ("bytes=+1-2", Whole),
            ("bytes=1 - 2", Whole),
            ("bytes 0-1", Whole),
            ("lines=0-1", Whole),
            ("", Whole),
        ] {
            let headers = headers(&[(RANGE, text)]);
            let validators = Validators {
                etag: "\"a\"",
                modified: None,
            };
            assert_eq!(wanted(&headers, validators, 10), expected, "{text}");
        }
        let none = Validators {
            etag: "\"a\"",
            modified: None,
        };
        let first = headers(&[(RANGE, "bytes=0-1")]);
        assert_eq!(wanted(&first, none, 0), Unsatisfiable);
        let two = headers(&[(RANGE, "bytes=0-1"), (RANGE, "bytes=2-3")]);
        assert_eq!(wanted(&two, none, 10), Whole);
        assert_eq!(wanted(&HeaderMap::new(), none, 10), Whole);
    }

    #[test]
    fn a_part_of_another_state_is_not_given() {
        for (etag, condition, expected) in [
            ("\"a\"", "\"a\"", true),
            ("\"a\"", "\"b\"", false),
            ("\"a\"", "W/\"a\"", false),
            ("\"a\"", DATE, true),
            ("\"a\"", "Sun, 06 Nov 1994 08:49:38 GMT", false),
            ("\"a\"", "x", false),
            ("W/\"a\"", "W/\"a\"", false),
            ("W/\"a\"", "\"a\"", false),
            ("W/\"a\"", DATE, false),
        ] {
            let headers = headers(&[(RANGE, "bytes=0-1"), (IF_RANGE, condition)]);
            let validators = Validators {
                etag,
                modified: Some(UNIX),
            };
            let given = wanted(&headers, validators, 10) == Wanted::Part(0..2);
            assert_eq!(given, expected, "{etag} {condition}");
        }
    }
}
