//! The frames of flutter-webrtc-demo: `new`, `peers`, `offer`, `answer`, `candidate`, `bye`, `leave`,
//! `keepalive` and `error`, each with what it is about in `data`.
//!
//! Owns the JSON of these frames. Who is there is [`crate::signal::guests`]' business.

use serde::{Deserialize, Serialize};

use super::scalar::Scalar;
use super::{Ask, Malformed, Request};
use crate::signal::core::{MemberId, Namespace};

/// Where its lobbies live.
pub const NAMESPACE: Namespace = Namespace::new("lobby");

/// What a client wants.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Wish {
    /// To be seen by the others.
    New {
        /// As whom.
        person: Person,
        /// What shows that it may.
        token: Option<String>,
    },
    /// The frame carried, as it is, to another one.
    Carry {
        /// Its kind, for an answer that says what went wrong.
        kind: String,
        /// Who it says it is from.
        from: Option<String>,
        /// Who it is for.
        to: String,
    },
    /// To end the call of these two.
    Bye(String),
    /// To be seen no more.
    Leave,
    /// The frame lacks something.
    Lacking {
        /// Its kind.
        kind: String,
        /// What it lacks, or what is wrong with it.
        what: String,
    },
}

/// What the others see.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Person {
    /// What messages for it are addressed to.
    #[serde(serialize_with = "as_text")]
    pub id: MemberId,
    /// For people.
    pub name: String,
    /// For people as well.
    pub user_agent: String,
}

/// Whether a frame of this kind, as the first, tells that the client speaks this dialect.
pub(super) fn is_first(kind: &str) -> bool {
    kind == "new"
}

/// What a frame asks for.
pub(super) fn parse(text: &str) -> Result<Request, Malformed> {
    // serde would also fill the fields from an array, in order.
    if !text.trim_ascii_start().starts_with('{') {
        return Err(Malformed);
    }
    let frame: Frame<'_> = serde_json::from_str(text).map_err(|_| Malformed)?;
    let kind = frame.kind.as_str().unwrap_or_default();
    let data = frame.data;
    let lacking = |what: &str| Wish::Lacking {
        kind: kind.to_owned(),
        what: what.to_owned(),
    };
    let wish = match kind {
        "new" => data.newcomer(lacking),
        "offer" | "answer" | "candidate" => match data.to.as_str() {
            Some(to) => Wish::Carry {
                kind: kind.to_owned(),
                from: data.from.as_str().map(str::to_owned),
                to: to.to_owned(),
            },
            None => lacking("to is missing"),
        },
        "bye" => match data.session.as_str() {
            Some(session) => Wish::Bye(session.to_owned()),
            None => lacking("session_id is missing"),
        },
        "leave" => Wish::Leave,
        "keepalive" => {
            return Ok(Request::Reply(
                r#"{"type":"keepalive","data":{}}"#.to_owned(),
            ));
        }
        // Perhaps from a newer client.
        _ => return Ok(Request::Nothing),
    };
    Ok(Request::Ask(Ask::Lobby(wish)))
}

/// Who is there.
pub fn peers<'a>(people: impl Iterator<Item = &'a Person>) -> Option<String> {
    told("peers", people.collect::<Vec<_>>())
}

/// The call is over, says the other side, to `to`.
pub fn bye(to: &str, session: &str) -> Option<String> {
    told(
        "bye",
        Bye {
            session_id: session,
            to,
        },
    )
}

/// Something was not done.
pub fn error(request: &str, reason: &str) -> Option<String> {
    told("error", Failed { reason, request })
}

#[derive(Deserialize)]
struct Frame<'a> {
    #[serde(borrow, default, rename = "type")]
    kind: Scalar<'a>,
    #[serde(borrow, default)]
    data: Data<'a>,
}

/// Of a description and a candidate nothing is looked at.
#[derive(Default, Deserialize)]
struct Data<'a> {
    #[serde(borrow, default)]
    id: Scalar<'a>,
    #[serde(borrow, default)]
    name: Scalar<'a>,
    #[serde(borrow, default)]
    user_agent: Scalar<'a>,
    #[serde(borrow, default)]
    token: Scalar<'a>,
    #[serde(borrow, default)]
    from: Scalar<'a>,
    #[serde(borrow, default)]
    to: Scalar<'a>,
    #[serde(borrow, default, rename = "session_id")]
    session: Scalar<'a>,
}

impl Data<'_> {
    fn newcomer(&self, lacking: impl Fn(&str) -> Wish) -> Wish {
        let id = match self.id.as_str().map(MemberId::new) {
            Some(Ok(id)) => id,
            Some(Err(wrong)) => return lacking(&format!("id {wrong}")),
            None => return lacking("id is missing"),
        };
        let words = |text: &Scalar<'_>| shortened(text.as_str().unwrap_or_default());
        Wish::New {
            person: Person {
                id,
                name: words(&self.name),
                user_agent: words(&self.user_agent),
            },
            token: self.token.as_str().map(str::to_owned),
        }
    }
}

/// These words go to everybody each time that somebody comes or goes.
fn shortened(text: &str) -> String {
    text.chars()
        .filter(|c| !c.is_control())
        .take(LONGEST)
        .collect()
}

/// Characters of a name for people.
const LONGEST: usize = 64;

#[derive(Serialize)]
struct Told<'a, T> {
    data: T,
    #[serde(rename = "type")]
    kind: &'a str,
}

#[derive(Serialize)]
struct Bye<'a> {
    session_id: &'a str,
    to: &'a str,
}

#[derive(Serialize)]
struct Failed<'a> {
    reason: &'a str,
    request: &'a str,
}

/// Text always has a JSON form.
fn told<T: Serialize>(kind: &str, data: T) -> Option<String> {
    serde_json::to_string(&Told { data, kind }).ok()
}

fn as_text<S: serde::Serializer>(id: &MemberId, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(id.as_str())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wish(text: &str) -> Wish {
        match parse(text) {
            Ok(Request::Ask(Ask::Lobby(wish))) => wish,
            other => panic!("{text}: {other:?}"),
        }
    }

    #[test]
    fn a_newcomer_says_who_it_is() {
        let text = r#"{"type":"new","data":{"name":"Pixel\n6","id":"123456","user_agent":"dart"}}"#;
        let person = Person {
            id: MemberId::new("123456").unwrap(),
            name: "Pixel6".to_owned(),
            user_agent: "dart".to_owned(),
        };
        assert_eq!(
            wish(text),
            Wish::New {
                person: person.clone(),
                token: None
            }
        );
        assert_eq!(
            peers([&person].into_iter()).unwrap(),
            r#"{"data":[{"id":"123456","name":"Pixel6","user_agent":"dart"}],"type":"peers"}"#
        );
        let long = "x".repeat(5000);
        let text = format!(r#"{{"type":"new","data":{{"id":1,"name":"{long}"}}}}"#);
        assert!(matches!(wish(&text), Wish::New { person, .. } if person.name.len() == LONGEST));
    }

    #[test]
    fn what_is_for_another_names_it() {
        let text = r#"{"type":"offer","data":{"to":"b","from":"a","description":{"sdp":"v=0"}}}"#;
        let carry = Wish::Carry {
            kind: "offer".to_owned(),
            from: Some("a".to_owned()),
            to: "b".to_owned(),
        };
        assert_eq!(wish(text), carry);
        let text = r#"{"type":"bye","data":{"session_id":"a-b","from":"a"}}"#;
        assert_eq!(wish(text), Wish::Bye("a-b".to_owned()));
    }

    #[test]
    fn what_is_lacking_is_named() {
        for (text, expected) in [
            (r#"{"type":"new","data":{}}"#, "id is missing"),
            (r#"{"type":"new"}"#, "id is missing"),
            (r#"{"type":"new","data":{"id":""}}"#, "id must not be empty"),
            (r#"{"type":"offer","data":{"from":"a"}}"#, "to is missing"),
            (r#"{"type":"bye","data":{}}"#, "session_id is missing"),
        ] {
            let lacking = wish(text);
            assert!(
                matches!(&lacking, Wish::Lacking { what, .. } if what == expected),
                "{lacking:?}"
            );
        }
    }

    #[test]
    fn keepalives_are_answered_and_the_rest_leads_to_nothing() {
        let alive = Request::Reply(r#"{"type":"keepalive","data":{}}"#.to_owned());
        assert_eq!(parse(r#"{"type":"keepalive","data":{}}"#), Ok(alive));
        for text in ["{}", r#"{"type":"peers"}"#, r#"{"type":"error","data":{}}"#] {
            assert_eq!(parse(text), Ok(Request::Nothing), "{text}");
        }
        for text in ["", "[]", r#"{"type":"offer","data":{"to":"a","to":"b"}}"#] {
            assert_eq!(parse(text), Err(Malformed), "{text}");
        }
    }
}
