//! A JSON value of which only text and numbers matter.
//!
//! Clients in the field write the same field now as text, now as a number. A field of any other
//! type counts as absent rather than making the whole frame malformed.

use std::borrow::Cow;
use std::fmt;

use serde::de::{Deserialize, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};

/// Text, a number as text, or nothing of use. Borrows from the frame where it can.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Scalar<'a>(Option<Cow<'a, str>>);

impl Scalar<'_> {
    pub(super) fn as_str(&self) -> Option<&str> {
        self.0.as_deref()
    }
}

impl<'de: 'a, 'a> Deserialize<'de> for Scalar<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(ScalarVisitor)
    }
}

struct ScalarVisitor;

impl<'de> Visitor<'de> for ScalarVisitor {
    type Value = Scalar<'de>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("any value")
    }

    fn visit_borrowed_str<E>(self, text: &'de str) -> Result<Self::Value, E> {
        Ok(Scalar(Some(Cow::Borrowed(text))))
    }

    fn visit_str<E>(self, text: &str) -> Result<Self::Value, E> {
        Ok(Scalar(Some(Cow::Owned(text.to_owned()))))
    }

    fn visit_u64<E>(self, number: u64) -> Result<Self::Value, E> {
        Ok(Scalar(Some(Cow::Owned(number.to_string()))))
    }

    fn visit_i64<E>(self, number: i64) -> Result<Self::Value, E> {
        Ok(Scalar(Some(Cow::Owned(number.to_string()))))
    }

    fn visit_f64<E>(self, number: f64) -> Result<Self::Value, E> {
        Ok(Scalar(Some(Cow::Owned(number.to_string()))))
    }

    fn visit_bool<E>(self, _: bool) -> Result<Self::Value, E> {
        Ok(Scalar(None))
    }

    fn visit_unit<E>(self) -> Result<Self::Value, E> {
        Ok(Scalar(None))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Self::Value, A::Error> {
        while items.next_element::<IgnoredAny>()?.is_some() {}
        Ok(Scalar(None))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<Self::Value, A::Error> {
        while entries.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {}
        Ok(Scalar(None))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(json: &str) -> Option<String> {
        let scalar: Scalar<'_> = serde_json::from_str(json).unwrap();
        scalar.as_str().map(str::to_owned)
    }

    #[test]
    fn text_and_numbers_become_text() {
        assert_eq!(read(r#""a""#).as_deref(), Some("a"));
        assert_eq!(read(r#""\u0061\n""#).as_deref(), Some("a\n"));
        assert_eq!(read("0").as_deref(), Some("0"));
        assert_eq!(read("100").as_deref(), Some("100"));
        assert_eq!(read("-1").as_deref(), Some("-1"));
        assert_eq!(read("1.5").as_deref(), Some("1.5"));
        // As JavaScript would print it, so that 1 and 1.0 name the same room.
        assert_eq!(read("1.0").as_deref(), Some("1"));
    }

    #[test]
    fn anything_else_counts_as_absent() {
        for json in ["null", "true", "[1,[2],{}]", r#"{"a":{"b":[]}}"#] {
            assert_eq!(read(json), None, "{json}");
        }
    }

    #[test]
    fn text_without_escapes_is_borrowed() {
        let scalar: Scalar<'_> = serde_json::from_str(r#""plain""#).unwrap();
        assert!(matches!(scalar.0, Some(Cow::Borrowed("plain"))));
    }
}
