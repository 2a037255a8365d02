//! Keys of the ICE configuration: what AppRTC's clients send back in `key=`. Pure: the secret and
//! the time are arguments.
//!
//! A client that has joined has the id that nobody else knows, so that is its key. Who has not
//! joined gets a signed one that is good for some minutes.

use aws_lc_rs::hmac;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

use super::core::{CLIENT_MAX, ROOM_MAX, is_id};
use crate::config::Secret;

/// What somebody had to show to be given a key. A key is good as long as that is enough: one that
/// anybody got opens nothing any more once joining needs a token.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Shown {
    Nothing,
    Token,
}

/// Makes and checks keys of those who have not joined.
#[derive(Debug)]
pub(super) struct Keys {
    key: hmac::Key,
}

impl Keys {
    pub(super) fn new(secret: &Secret) -> Self {
        Self {
            key: hmac::Key::new(hmac::HMAC_SHA256, secret.expose()),
        }
    }

    /// A key that is good for a while after `now` (seconds since 1970).
    pub(super) fn passing(&self, shown: Shown, now: u64) -> String {
        let expires = now.saturating_add(LIFETIME);
        let tag = hmac::sign(&self.key, &signed(shown, expires));
        format!("{expires}~{}", URL_SAFE_NO_PAD.encode(tag.as_ref()))
    }

    /// Whether this is such a key, and still good where one has to show this.
    pub(super) fn is_passing(&self, key: &str, shown: Shown, now: u64) -> bool {
        let read = || {
            let (expires, tag) = key.split_once('~')?;
            let expires: u64 = expires.parse().ok()?;
            let tag = URL_SAFE_NO_PAD.decode(tag).ok()?;
            hmac::verify(&self.key, &signed(shown, expires), &tag).ok()?;
            Some(expires)
        };
        key.len() <= LONGEST && read().is_some_and(|expires| expires >= now)
    }
}

/// The key of a client.
pub(super) fn of_client(room: &str, client: &str) -> String {
    format!("{room}.{client}")
}

/// The room and the id in the key of a client.
pub(super) fn client(key: &str) -> Option<(&str, &str)> {
    let (room, client) = key.split_once('.')?;
    (is_id(room, ROOM_MAX) && is_id(client, CLIENT_MAX)).then_some((room, client))
}

/// Told apart from everything else that the same secret signs.
fn signed(shown: Shown, expires: u64) -> [u8; 24] {
    let mut bytes = match shown {
        Shown::Nothing => *b"callbox ice key.________",
        Shown::Token => *b"callbox ice pass________",
    };
    if let Some(end) = bytes.last_chunk_mut() {
        *end = expires.to_be_bytes();
    }
    bytes
}

/// Seconds: a page asks as soon as it is there.
const LIFETIME: u64 = 600;

/// A number, a tilde, a tag.
const LONGEST: usize = 20 + 1 + 43;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_passing_key_is_good_for_a_while_and_cannot_be_made_up() {
        let keys = Keys::new(&Secret::new("north"));
        let key = keys.passing(Shown::Nothing, 1000);
        let is_good = |keys: &Keys, now| keys.is_passing(&key, Shown::Nothing, now);
        assert!(is_good(&keys, 1000));
        assert!(is_good(&keys, 1000 + LIFETIME));
        assert!(!is_good(&keys, 1001 + LIFETIME));
        assert!(!is_good(&Keys::new(&Secret::new("south")), 1000));
        let longer = key.replacen("1600", "9600", 1);
        assert_ne!(longer, key);
        for wrong in [&*longer, "", "~", "1600~", "1600", "x~y", &"9".repeat(100)] {
            assert!(!keys.is_passing(wrong, Shown::Nothing, 1000), "{wrong}");
        }
        assert!(keys.passing(Shown::Token, u64::MAX).len() <= LONGEST);
    }

    #[test]
    fn a_key_that_anybody_got_is_none_where_a_token_has_to_be_shown() {
        let keys = Keys::new(&Secret::new("north"));
        let key = keys.passing(Shown::Nothing, 1000);
        assert!(!keys.is_passing(&key, Shown::Token, 1000));
        let key = keys.passing(Shown::Token, 1000);
        assert!(keys.is_passing(&key, Shown::Token, 1000));
    }

    #[test]
    fn a_clients_key_names_it() {
        assert_eq!(client(&of_client("r-1", "c_2")), Some(("r-1", "c_2")));
        for wrong in ["", ".", "r.", ".c", "r", "r.c.d", "r.c d", "ü.c"] {
            assert_eq!(client(wrong), None, "{wrong}");
        }
    }
}
