//! y-webrtc's frames: `subscribe`, `unsubscribe` and `publish` with topics, `ping` and `pong`.
//!
//! Owns the JSON of these frames. Who has subscribed to what is [`crate::signal::guests`]' business.

use std::borrow::Cow;
use std::fmt;

use serde::Serialize;
use serde::de::{Deserialize, Deserializer, Error as _, MapAccess, SeqAccess, Visitor};
use serde_json::value::RawValue;

use super::scalar::Scalar;
use super::{Ask, Malformed, Request};
use crate::signal::core::{Namespace, RoomName};

/// Where the topics live.
pub const NAMESPACE: Namespace = Namespace::new("y");

/// What a client wants.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Topical {
    /// To hear what is published under these topics.
    Subscribe(Vec<RoomName>),
    /// To hear it no more.
    Unsubscribe(Vec<RoomName>),
    /// To be heard by those who do.
    Publish(Publication),
}

/// What is to be heard.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Publication {
    /// By whom.
    pub topic: RoomName,
    /// The frame up to the number of those who hear it.
    start: String,
}

impl Publication {
    /// The frame for `clients` subscribers.
    pub fn text(&self, clients: usize) -> String {
        format!("{}\"clients\":{clients}}}", self.start)
    }
}

/// What a frame asks for.
pub(super) fn parse(text: &str) -> Result<Request, Malformed> {
    let Fields(fields) = serde_json::from_str(text).map_err(|_| Malformed)?;
    let field = |name: &str| {
        let found = fields.iter().find(|(key, _)| key == name);
        found.map(|(_, value)| value.get())
    };
    let word = |name: &str| {
        let scalar: Scalar<'_> = serde_json::from_str(field(name)?).ok()?;
        scalar.as_str().map(str::to_owned)
    };
    let topics = || field("topics").and_then(|topics| serde_json::from_str(topics).ok());
    Ok(match word("type").as_deref() {
        Some("subscribe") => {
            let Topics(topics) = topics().unwrap_or_default();
            Request::Ask(Ask::Topics(Topical::Subscribe(topics)))
        }
        Some("unsubscribe") => {
            let Topics(topics) = topics().unwrap_or_default();
            Request::Ask(Ask::Topics(Topical::Unsubscribe(topics)))
        }
        Some("publish") => match word("topic").as_deref().and_then(topic) {
            Some(topic) => Request::Ask(Ask::Topics(Topical::Publish(Publication {
                topic,
                start: start(&fields).ok_or(Malformed)?,
            }))),
            None => Request::Nothing,
        },
        Some("ping") => Request::Reply(r#"{"type":"pong"}"#.to_owned()),
        _ => Request::Nothing,
    })
}

/// Tells a client that a topic is not for it. Clients pass over what they do not know; people who
/// look at what passes do not.
pub fn refuse(topic: &RoomName, why: &str) -> Option<String> {
    let refused = Refused {
        kind: "error",
        topic: topic.as_str(),
        reason: why,
    };
    serde_json::to_string(&refused).ok()
}

/// An impossible name is nobody's topic, and the empty one is none.
fn topic(name: &str) -> Option<RoomName> {
    RoomName::new(NAMESPACE, name)
        .ok()
        .filter(|topic| !topic.as_str().is_empty())
}

/// All fields but the one that is ours to fill.
fn start(fields: &[(Cow<'_, str>, &RawValue)]) -> Option<String> {
    let mut text = String::from("{");
    for (name, value) in fields.iter().filter(|(name, _)| name != "clients") {
        text.push_str(&serde_json::to_string(name).ok()?);
        text.push(':');
        text.push_str(value.get());
        text.push(',');
    }
    Some(text)
}

#[derive(Serialize)]
struct Refused<'a> {
    #[serde(rename = "type")]
    kind: &'a str,
    topic: &'a str,
    reason: &'a str,
}

/// The fields of an object in their order, each name once.
struct Fields<'a>(Vec<(Cow<'a, str>, &'a RawValue)>);

impl<'de: 'a, 'a> Deserialize<'de> for Fields<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(FieldsVisitor)
    }
}

struct FieldsVisitor;

impl<'de> Visitor<'de> for FieldsVisitor {
    type Value = Fields<'de>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<Self::Value, A::Error> {
        let mut fields: Vec<(Cow<'de, str>, &RawValue)> = Vec::new();
        while let Some((Name(name), value)) = entries.next_entry()? {
            // A client would believe the last of several.
            if fields.len() >= MOST_FIELDS || fields.iter().any(|(before, _)| *before == name) {
                return Err(A::Error::custom("too many fields"));
            }
            fields.push((name, value));
        }
        Ok(Fields(fields))
    }
}

/// A newtype, since serde borrows a bare `Cow` only when told how.
#[derive(serde::Deserialize)]
struct Name<'a>(#[serde(borrow)] Cow<'a, str>);

/// A list of topics; what is none in it does not count.
#[derive(Default)]
struct Topics(Vec<RoomName>);

impl<'de> Deserialize<'de> for Topics {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_seq(TopicsVisitor)
    }
}

struct TopicsVisitor;

impl<'de> Visitor<'de> for TopicsVisitor {
    type Value = Topics;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a list")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Self::Value, A::Error> {
        let mut topics = Vec::new();
        while let Some(item) = items.next_element::<Scalar<'de>>()? {
            if topics.len() < MOST_TOPICS {
                topics.extend(item.as_str().and_then(topic));
            }
        }
        Ok(Topics(topics))
    }
}

/// Clients send three.
const MOST_FIELDS: usize = 32;

/// Topics of one frame; a client may have more with several frames.
pub const MOST_TOPICS: usize = 256;

#[cfg(test)]
mod tests {
    use super::*;

    fn topical(text: &str) -> Topical {
        match parse(text) {
            Ok(Request::Ask(Ask::Topics(topical))) => topical,
            other => panic!("{text}: {other:?}"),
        }
    }

    fn names(topical: Topical) -> Vec<String> {
        match topical {
            Topical::Subscribe(topics) | Topical::Unsubscribe(topics) => topics
                .iter()
                .map(|topic| topic.as_str().to_owned())
                .collect(),
            Topical::Publish(publication) => vec![publication.topic.as_str().to_owned()],
        }
    }

    #[test]
    fn topics_are_read_and_what_is_none_is_passed_over() {
        let text = r#"{"type":"subscribe","topics":["a",null,"",{"b":1},"c\u0000",["d"],"e"]}"#;
        assert_eq!(names(topical(text)), ["a", "e"]);
        let text = r#"{"topics":["a"],"type":"unsubscribe"}"#;
        assert_eq!(names(topical(text)), ["a"]);
        for text in [
            r#"{"type":"subscribe"}"#,
            r#"{"type":"subscribe","topics":"a"}"#,
        ] {
            assert!(names(topical(text)).is_empty(), "{text}");
        }
    }

    #[test]
    fn what_is_published_stays_as_it_is_and_the_number_of_clients_is_ours() {
        let text =
            r#"{"type":"publish", "clients":99, "topic":"a","data":{"n": 1.0e2,"t":"\u003c"}}"#;
        let Topical::Publish(publication) = topical(text) else {
            panic!("it is published");
        };
        assert_eq!(
            publication.text(3),
            r#"{"type":"publish","topic":"a","data":{"n": 1.0e2,"t":"\u003c"},"clients":3}"#
        );
    }

    #[test]
    fn pings_are_answered_and_the_rest_leads_to_nothing() {
        let pong = Request::Reply(r#"{"type":"pong"}"#.to_owned());
        assert_eq!(parse(r#"{"type":"ping"}"#), Ok(pong));
        for text in [
            r#"{"type":"publish"}"#,
            r#"{"type":"publish","topic":""}"#,
            "{}",
        ] {
            assert_eq!(parse(text), Ok(Request::Nothing), "{text}");
        }
        let many: String = (0..40).map(|n| format!("\"{n}\":1,")).collect();
        for text in [
            "",
            "[]",
            "1",
            r#"{"a":1,"a":2}"#,
            &format!("{{{many}\"z\":1}}"),
        ] {
            assert_eq!(parse(text), Err(Malformed), "{text}");
        }
    }
}
