//! What a client wishes for when it asks for an ICE configuration: in the query, or in the body that
//! clients of other services post. Pure. A wish that makes no sense is no wish.

use std::time::Duration;

use serde_json::{Map, Value};

use super::Format;
use crate::signal::apprtc::query::Query;

/// The wishes of one request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Wish {
    /// The shape of the answer; `Err`: one that there is not.
    pub format: Result<Format, UnknownFormat>,
    /// For how long the credential shall be good.
    pub ttl: Option<Duration>,
    /// What the client calls itself: its user, or its room and member.
    pub names: Vec<String>,
    /// `key=`: of the operator's, or what AppRTC's clients were given when they joined.
    pub key: Option<String>,
    /// `token=`, for clients of which only the address can be changed.
    pub token: Option<String>,
}

/// `format=` names no format.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("there is no such format: it is one of {}, or not given", Format::NAMES.join(", "))]
pub struct UnknownFormat;

impl Wish {
    /// Reads the query alone.
    pub fn asked(query: &str) -> Self {
        let query = Query::parse(query);
        let first = |names: &[&str]| names.iter().find_map(|name| query.get(name));
        let user = first(USER);
        let names = match user {
            Some(user) => vec![user.to_owned()],
            None => [first(&["room"]), first(MEMBER)]
                .into_iter()
                .flatten()
                .map(str::to_owned)
                .collect(),
        };
        Self {
            format: match query.get("format") {
                Some(name) => Format::of(name).ok_or(UnknownFormat),
                None => Ok(Format::default()),
            },
            ttl: first(TTL).and_then(seconds),
            names,
            key: query.get("key").map(str::to_owned),
            token: query.get("token").map(str::to_owned),
        }
    }

    /// Adds what a body of JSON or of a form says. The query comes first.
    pub fn or_posted(mut self, body: &[u8]) -> Self {
        let posted = posted(body);
        self.ttl = self.ttl.or(posted.ttl);
        if self.names.is_empty() {
            self.names = posted.names;
        }
        self
    }

    /// How long the credential is good: as wished, but neither longer than the operator allows nor
    /// too short to be used.
    pub fn lifetime(&self, longest: Duration) -> Duration {
        match self.ttl {
            Some(wished) => wished.max(SHORTEST).min(longest),
            None => longest,
        }
    }
}

impl Default for Wish {
    fn default() -> Self {
        Self {
            format: Ok(Format::default()),
            ttl: None,
            names: Vec::new(),
            key: None,
            token: None,
        }
    }
}

/// Gathering takes its time, and clocks differ.
const SHORTEST: Duration = Duration::from_secs(60);

/// Who asks, in the spellings of several services.
const USER: &[&str] = &["user", "username", "customIdentifier", "ClientId"];
const MEMBER: &[&str] = &["member", "uid", "client"];
const TTL: &[&str] = &["ttl", "Ttl", "TTL"];

/// Clients do not always say what their body is, and some say something else.
fn posted(body: &[u8]) -> Wish {
    let Ok(text) = std::str::from_utf8(body) else {
        return Wish::default();
    };
    if !text.trim_start().starts_with('{') {
        return Wish::asked(text);
    }
    let Ok(fields) = serde_json::from_str::<Map<String, Value>>(text) else {
        return Wish::default();
    };
    let first = |names: &[&str]| names.iter().find_map(|name| fields.get(*name));
    let text = |names: &[&str]| match first(names)? {
        Value::String(text) if !text.is_empty() => Some(text.clone()),
        _ => None,
    };
    let names = match text(USER) {
        Some(user) => vec![user],
        None => [text(&["room"]), text(MEMBER)]
            .into_iter()
            .flatten()
            .collect(),
    };
    Wish {
        ttl: first(TTL).and_then(|value| match value {
            Value::Number(number) => number.as_u64().map(Duration::from_secs),
            Value::String(text) => seconds(text),
            _ => None,
        }),
        names,
        ..Wish::default()
    }
}

fn seconds(text: &str) -> Option<Duration> {
    // `parse` would also take a plus sign.
    let digits = text.bytes().all(|byte| byte.is_ascii_digit());
    text.parse()
        .ok()
        .filter(|_| digits)
        .map(Duration::from_secs)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const HOUR: Duration = Duration::from_secs(3600);

    #[test]
    fn a_client_is_called_by_its_user_or_its_room_and_member() {
        for (query, expected) in [
            ("", &[] as &[&str]),
            ("format=x&flag", &[]),
            ("user=alice", &["alice"]),
            ("service=turn&username=alice", &["alice"]),
            ("room=r&user=alice", &["alice"]),
            ("room=r%20s&uid=m", &["r s", "m"]),
            ("member=m", &["m"]),
        ] {
            assert_eq!(Wish::asked(query).names, expected, "{query}");
        }
    }

    #[test]
    fn a_lifetime_is_read_where_clients_write_it() {
        for (query, body, expected) in [
            ("ttl=3600", "", Some(3600)),
            ("", "Ttl=3600", Some(3600)),
            ("", r#"{"ttl":3600}"#, Some(3600)),
            ("", r#" {"ttl":"3600","customIdentifier":"a"}"#, Some(3600)),
            ("ttl=60", r#"{"ttl":3600}"#, Some(60)),
            ("ttl=x", r#"{"ttl":3600}"#, Some(3600)),
            ("ttl=-1", "", None),
            ("ttl=%2B1", "", None),
            ("ttl=1e3", "", None),
            ("ttl=99999999999999999999999", "", None),
            ("", r#"{"ttl":-1}"#, None),
            ("", r#"{"ttl":1.5}"#, None),
            ("", r#"{"ttl":[3600]}"#, None),
            ("", r#"{"ttl":3600"#, None),
            ("", "[3600]", None),
            ("", "\u{0}\u{1}", None),
        ] {
            let wish = Wish::asked(query).or_posted(body.as_bytes());
            assert_eq!(
                wish.ttl.map(|ttl| ttl.as_secs()),
                expected,
                "{query} {body}"
            );
        }
        assert_eq!(Wish::default().or_posted(&[0xff, 0xfe]), Wish::default());
    }

    #[test]
    fn a_lifetime_is_neither_too_short_nor_longer_than_the_operators() {
        let lifetime = |query: &str, longest| Wish::asked(query).lifetime(longest);
        assert_eq!(lifetime("", HOUR), HOUR);
        assert_eq!(lifetime("ttl=0", HOUR), SHORTEST);
        assert_eq!(lifetime("ttl=600", HOUR), Duration::from_secs(600));
        assert_eq!(lifetime("ttl=18446744073709551615", HOUR), HOUR);
        let short = Duration::from_secs(10);
        assert_eq!(lifetime("ttl=1", short), short);
    }

    #[test]
    fn an_unknown_format_is_told_which_there_are() {
        assert_eq!(Wish::asked("format=").format, Ok(Format::default()));
        assert_eq!(Wish::asked("format=kvs").format, Ok(Format::Kvs));
        let told = Wish::asked("format=xml").format.unwrap_err().to_string();
        for name in Format::NAMES {
            assert!(told.contains(name), "{told}");
        }
    }

    proptest! {
        #[test]
        fn whatever_is_sent_the_lifetime_stays_within_its_bounds(
            query in "(ttl|user|room|key|format|[&=%+a-z0-9]){0,40}",
            body in prop_oneof![
                proptest::collection::vec(any::<u8>(), 0..300),
                "\\{(\"(ttl|user|room|uid)\":(\"[^\"]{0,9}\"|-?[0-9]{1,25}|null|\\{\\}),?){0,4}\\}"
                    .prop_map(String::into_bytes),
                "(ttl|Ttl|username)=[0-9a-z%&=]{0,30}".prop_map(String::into_bytes),
            ],
        ) {
            let wish = Wish::asked(&query).or_posted(&body);
            let lifetime = wish.lifetime(HOUR);
            prop_assert!((SHORTEST..=HOUR).contains(&lifetime));
            prop_assert!(wish.names.len() <= 2);
        }
    }
}
