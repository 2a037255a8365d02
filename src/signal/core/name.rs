//! Names that clients choose, checked once when they come in.
//!
//! A room name carries its namespace, so that one core can serve several dialects whose users
//! shall not meet by chance.

use std::fmt;
use std::sync::Arc;

use unicode_normalization::{UnicodeNormalization as _, is_nfc};

/// Longest name of a room, in bytes. No client we know of lets its user type more than 40 characters.
pub const ROOM_NAME_MAX: usize = 256;

/// Longest id of a member, in bytes. Known clients use 13 characters or a UUID.
pub const MEMBER_ID_MAX: usize = 64;

/// A set of rooms apart from all others; each dialect has its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Namespace(&'static str);

impl Namespace {
    /// The namespace with this label.
    pub const fn new(label: &'static str) -> Self {
        Self(label)
    }

    /// The label.
    pub const fn label(self) -> &'static str {
        self.0
    }
}

/// Name of a room. Cheap to clone.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct RoomName {
    namespace: Namespace,
    text: Arc<str>,
}

impl RoomName {
    /// Checks a name. The empty one is allowed: clients in use send it when nothing was typed.
    pub fn new(namespace: Namespace, text: &str) -> Result<Self, NameError> {
        Ok(Self {
            namespace,
            text: checked(text, ROOM_NAME_MAX)?,
        })
    }

    /// The set of rooms that it belongs to.
    pub fn namespace(&self) -> Namespace {
        self.namespace
    }

    /// The name, in Unicode's composed form.
    pub fn as_str(&self) -> &str {
        &self.text
    }
}

impl fmt::Debug for RoomName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{:?}", self.namespace.0, self.text)
    }
}

/// What a member calls itself; unique within a room at any one time. Cheap to clone.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct MemberId(Arc<str>);

impl MemberId {
    /// Checks an id.
    pub fn new(text: &str) -> Result<Self, NameError> {
        if text.is_empty() {
            return Err(NameError::Empty);
        }
        Ok(Self(checked(text, MEMBER_ID_MAX)?))
    }

    /// The id, in Unicode's composed form.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl AsRef<str> for MemberId {
    fn as_ref(&self) -> &str {
        self.as_str()
    }
}

impl fmt::Debug for MemberId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.0, f)
    }
}

/// Why a name was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NameError {
    /// Nothing there.
    #[error("must not be empty")]
    Empty,
    /// More bytes than allowed.
    #[error("must not be longer than {limit} bytes")]
    TooLong {
        /// The most that is allowed.
        limit: usize,
    },
    /// Control characters would let a client forge lines in logs and terminals.
    #[error("must not contain control characters")]
    ControlCharacter,
}

/// The name in the composed form (NFC): what looks the same and was typed on two systems is the
/// same.
fn checked(text: &str, limit: usize) -> Result<Arc<str>, NameError> {
    // Before any work is done with it; and after, since a few characters grow.
    if text.len() > limit {
        return Err(NameError::TooLong { limit });
    }
    if text.chars().any(char::is_control) {
        return Err(NameError::ControlCharacter);
    }
    if is_nfc(text) {
        return Ok(text.into());
    }
    let composed: String = text.nfc().collect();
    if composed.len() > limit {
        return Err(NameError::TooLong { limit });
    }
    Ok(composed.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    const HERE: Namespace = Namespace::new("here");
    const THERE: Namespace = Namespace::new("there");

    #[test]
    fn a_name_is_measured_in_bytes() {
        assert!(RoomName::new(HERE, &"r".repeat(ROOM_NAME_MAX)).is_ok());
        assert_eq!(
            RoomName::new(HERE, &"房".repeat(ROOM_NAME_MAX / 3 + 1)),
            Err(NameError::TooLong {
                limit: ROOM_NAME_MAX
            })
        );
        assert!(MemberId::new(&"u".repeat(MEMBER_ID_MAX)).is_ok());
        assert_eq!(
            MemberId::new(&"u".repeat(MEMBER_ID_MAX + 1)),
            Err(NameError::TooLong {
                limit: MEMBER_ID_MAX
            })
        );
    }

    #[test]
    fn control_characters_are_refused_and_other_scripts_are_not() {
        assert_eq!(
            RoomName::new(HERE, "a\nb"),
            Err(NameError::ControlCharacter)
        );
        assert_eq!(MemberId::new("\u{9b}"), Err(NameError::ControlCharacter));
        assert!(RoomName::new(HERE, "我们的 room 🎥").is_ok());
    }

    #[test]
    fn a_room_may_lack_a_name_but_a_member_may_not() {
        assert!(RoomName::new(HERE, "").is_ok());
        assert_eq!(MemberId::new(""), Err(NameError::Empty));
    }

    #[test]
    fn namespaces_keep_equal_names_apart() {
        assert_ne!(RoomName::new(HERE, "123"), RoomName::new(THERE, "123"));
    }

    #[test]
    fn a_name_typed_on_two_systems_is_one_name() {
        let typed = ["caf\u{e9}", "cafe\u{301}"];
        let [one, other] = typed.map(|text| RoomName::new(HERE, text).unwrap());
        assert_eq!(one, other);
        assert_eq!(other.as_str(), typed[0]);
        assert_eq!(
            MemberId::new(typed[0]).unwrap(),
            MemberId::new(typed[1]).unwrap()
        );
        // Three bytes that become nine.
        let grows = "\u{1d160}".repeat(ROOM_NAME_MAX / 4);
        assert!(matches!(
            RoomName::new(HERE, &grows),
            Err(NameError::TooLong { .. })
        ));
    }
}
