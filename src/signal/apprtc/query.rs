//! The query of a URL: names and values, as forms write them. Pure.

use std::fmt::Write as _;

/// Decoded pairs, in order.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Query {
    pairs: Vec<(String, String)>,
}

impl Query {
    /// Reads what stands after the question mark. What is not well encoded stays as it is.
    pub fn parse(text: &str) -> Self {
        let pairs = text
            .split('&')
            .filter(|pair| !pair.is_empty())
            .take(MOST)
            .map(|pair| {
                let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
                (decode(name), decode(value))
            })
            .collect();
        Self { pairs }
    }

    /// The first value of this name, if it is more than nothing.
    pub fn get(&self, wanted: &str) -> Option<&str> {
        let mut values = self.pairs.iter().filter(|(name, _)| name == wanted);
        let (_, value) = values.next()?;
        (!value.is_empty()).then_some(value)
    }

    /// Whether the name is there, with or without a value.
    pub fn has(&self, wanted: &str) -> bool {
        self.pairs.iter().any(|(name, _)| name == wanted)
    }

    /// Whether the value is the word `true`.
    pub fn is_true(&self, wanted: &str) -> bool {
        self.flag(wanted) == Some(true)
    }

    /// The value as `true` or `false`, if it is one of these words.
    pub fn flag(&self, wanted: &str) -> Option<bool> {
        match self.get(wanted)?.to_ascii_lowercase().as_str() {
            "true" => Some(true),
            "false" => Some(false),
            _ => None,
        }
    }

    /// All of it in a form that means the same in a URL, an attribute, and a string of a script:
    /// with its question mark, or nothing.
    pub fn encoded(&self) -> String {
        let mut text = String::new();
        for (name, value) in &self.pairs {
            text.push(if text.is_empty() { '?' } else { '&' });
            encode(name, &mut text);
            // With the sign in any case: `&copy` alone would be a character to HTML.
            text.push('=');
            encode(value, &mut text);
        }
        text
    }
}

/// More than any client has arguments.
const MOST: usize = 64;

fn decode(text: &str) -> String {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((&byte, after)) = rest.split_first() {
        rest = after;
        bytes.push(match byte {
            b'+' => b' ',
            b'%' => match rest.split_at_checked(2).and_then(|(two, after)| {
                let hex = std::str::from_utf8(two).ok()?;
                // `from_str_radix` would also take a sign.
                let digits = two.iter().all(u8::is_ascii_hexdigit);
                let byte = u8::from_str_radix(hex, 16).ok().filter(|_| digits)?;
                Some((byte, after))
            }) {
                Some((byte, after)) => {
                    rest = after;
                    byte
                }
                None => b'%',
            },
            byte => byte,
        });
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

/// Percent-encodes all but what means nothing anywhere.
pub(super) fn encode(text: &str, out: &mut String) {
    for byte in text.bytes() {
        let is_plain = byte.is_ascii_alphanumeric()
            || matches!(byte, b'-' | b'_' | b'.' | b'~' | b',' | b':' | b'/');
        match is_plain {
            true => out.push(char::from(byte)),
            false => {
                // Writing to a string does not fail.
                let _ = write!(out, "%{byte:02X}");
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn values_are_decoded_and_the_first_of_a_name_counts() {
        let query = Query::parse("a=1&a=2&b=x+y%21&flag&empty=&c=%e5%ae%a4&d=%zz%&e=1=2&=v&&");
        assert_eq!(query.get("a"), Some("1"));
        assert_eq!(query.get("b"), Some("x y!"));
        assert_eq!(query.get("c"), Some("室"));
        assert_eq!(query.get("d"), Some("%zz%"));
        assert_eq!(query.get("e"), Some("1=2"));
        assert_eq!(query.get("flag"), None);
        assert!(query.has("flag") && query.has("empty") && !query.has("x"));
        assert!(Query::parse("hd=TRUE").is_true("hd"));
        assert_eq!(Query::parse("dtls=False").flag("dtls"), Some(false));
        assert_eq!(Query::parse("dtls=1").flag("dtls"), None);
    }

    #[test]
    fn what_is_written_again_means_the_same_and_breaks_out_of_nothing() {
        let query = Query::parse("a=%3Cscript%3E'\"&b&copy=1&c=x%26y");
        assert_eq!(query.encoded(), "?a=%3Cscript%3E%27%22&b=&copy=1&c=x%26y");
        assert_eq!(Query::parse("").encoded(), "");
    }

    proptest! {
        #[test]
        fn a_query_survives_being_written_and_read(text in ".{0,200}") {
            let query = Query::parse(&text);
            let written = query.encoded();
            prop_assert!(written.bytes().all(|byte| byte.is_ascii_graphic()
                && !matches!(byte, b'"' | b'\'' | b'<' | b'>' | b'\\' | b'`')));
            prop_assert_eq!(Query::parse(written.trim_start_matches('?')), query);
        }
    }
}
