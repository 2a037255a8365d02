//! Who is asking: the long-term credential mechanism (RFC 8489 section 9.2) with REST user names
//! and fixed users.

use std::collections::HashMap;

use aws_lc_rs::hmac;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;

use crate::turn::stun::integrity::userhash;
use crate::turn::stun::{Algorithm, AttributeType, ErrorCode, Key, Message};

use super::nonce::{Freshness, Nonces};
use super::server::{Now, Origin};

/// The PASSWORD-ALGORITHMS value: MD5 and SHA-256, neither with parameters.
pub const PASSWORD_ALGORITHMS: [u8; 8] = [0, 2, 0, 0, 0, 1, 0, 0];

/// Longest realm: with it, an IPv4 client's 28-byte Allocate and a 401 keep to 1 : 3.
pub const MAX_REALM: usize = 32;

/// Longest user name that is looked at (RFC 8489 section 14.3: fewer than 509 bytes).
const MAX_USERNAME: usize = 508;

/// Everything a request is checked against. Immutable; shared by all workers.
#[derive(Debug)]
pub struct Credentials {
    realm: Vec<u8>,
    nonces: Nonces,
    /// The current one first, then those that it has replaced.
    secrets: Vec<Secret>,
    users: HashMap<Vec<u8>, Vec<u8>>,
    hashes: HashMap<[u8; 32], Vec<u8>>,
}

/// A shared secret of REST user names.
#[derive(Debug)]
struct Secret {
    key: hmac::Key,
    /// Until when, in seconds since 1970, its user names are good for new allocations.
    until: u64,
}

impl Secret {
    fn new(secret: &[u8], until: u64) -> Self {
        let key = hmac::Key::new(hmac::HMAC_SHA1_FOR_LEGACY_USE_ONLY, secret);
        Self { key, until }
    }

    /// The password that belongs to a user name.
    fn sign(&self, username: &[u8]) -> Vec<u8> {
        let tag = hmac::sign(&self.key, username);
        STANDARD.encode(tag.as_ref()).into_bytes()
    }
}

/// A request whose sender knows the password.
#[derive(Debug)]
pub struct Authenticated {
    /// User name as sent, or as found by its hash.
    pub username: Box<[u8]>,
    /// The long-term key.
    pub key: Key,
    /// How the answer is sealed: as the request was.
    pub seal: Seal,
    /// Until when, in seconds since 1970, the password is good for a new allocation.
    pub until: u64,
}

/// Which integrity attribute a message carries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Seal {
    /// MESSAGE-INTEGRITY
    Sha1,
    /// MESSAGE-INTEGRITY-SHA256
    Sha256,
}

/// Why a request is not believed. 401 and 438 carry a challenge.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// No or wrong credentials.
    Unauthenticated,
    /// The nonce is old or somebody else's.
    StaleNonce,
    /// The request contradicts itself.
    BadRequest,
}

impl Refusal {
    /// The code on the wire.
    pub fn code(self) -> ErrorCode {
        match self {
            Self::Unauthenticated => ErrorCode::Unauthenticated,
            Self::StaleNonce => ErrorCode::StaleNonce,
            Self::BadRequest => ErrorCode::BadRequest,
        }
    }
}

impl Credentials {
    /// `secret` signs REST user names, `nonce_secret` nonces; `users` have fixed passwords.
    pub fn new(
        realm: &str,
        secret: &[u8],
        nonce_secret: &[u8],
        users: impl IntoIterator<Item = (String, Vec<u8>)>,
    ) -> Self {
        let users: HashMap<Vec<u8>, Vec<u8>> = users
            .into_iter()
            .map(|(name, password)| (name.into_bytes(), password))
            .collect();
        let hashes = users
            .keys()
            .map(|name| (userhash(name, realm.as_bytes()), name.clone()))
            .collect();
        Self {
            realm: realm.as_bytes().to_vec(),
            nonces: Nonces::new(nonce_secret),
            secrets: vec![Secret::new(secret, u64::MAX)],
            users,
            hashes,
        }
    }

    /// With secrets that were replaced: each makes passwords for new allocations until a time in
    /// seconds since 1970, and goes on to do so for allocations in being.
    pub fn with_former<'a>(mut self, former: impl IntoIterator<Item = (&'a [u8], u64)>) -> Self {
        let former = former.into_iter();
        self.secrets
            .extend(former.map(|(secret, until)| Secret::new(secret, until)));
        self
    }

    /// The realm that keys are made with.
    pub fn realm(&self) -> &[u8] {
        &self.realm
    }

    /// The nonce maker.
    pub fn nonces(&self) -> &Nonces {
        &self.nonces
    }

    /// Checks a request as RFC 8489 section 9.2.4 orders it. `known` is the owner of the
    /// allocation on this 5-tuple, whose hashed user name can be recognised.
    pub fn check(
        &self,
        request: &Message<'_>,
        origin: &Origin,
        now: Now,
        known: Option<&[u8]>,
    ) -> Result<Authenticated, Refusal> {
        let sha1 = request.find(AttributeType::MESSAGE_INTEGRITY).is_some();
        let sha256 = request
            .find(AttributeType::MESSAGE_INTEGRITY_SHA256)
            .is_some();
        if !sha1 && !sha256 {
            return Err(Refusal::Unauthenticated);
        }
        let name = request.value(AttributeType::USERNAME);
        let hash = request.value(AttributeType::USERHASH);
        let (Some(realm), Some(nonce)) = (
            request.value(AttributeType::REALM),
            request.value(AttributeType::NONCE),
        ) else {
            return Err(Refusal::BadRequest);
        };
        if name.is_none() && hash.is_none() {
            return Err(Refusal::BadRequest);
        }
        let freshness = self.nonces.check(nonce, origin.client.ip(), now.unix);
        let algorithm = self.algorithm(request)?;
        let username = match (name, hash) {
            (Some(name), _) if name.len() <= MAX_USERNAME => name,
            (None, Some(hash)) => self.by_hash(hash, known).ok_or(Refusal::Unauthenticated)?,
            _ => return Err(Refusal::Unauthenticated),
        };
        // Both seals, where both are present, must fit: the weaker is no way round the stronger.
        let fits = |(password, until): (Vec<u8>, u64)| {
            let key = Key::long_term(algorithm, username, &self.realm, &password);
            let sealed =
                (!sha1 || request.verify_sha1(&key)) && (!sha256 || request.verify_sha256(&key));
            sealed.then_some((key, until))
        };
        let found = self.passwords(username).find_map(fits);
        let (key, until) = found.ok_or(Refusal::Unauthenticated)?;
        if realm != self.realm {
            return Err(Refusal::Unauthenticated);
        }
        if freshness == Freshness::Stale {
            return Err(Refusal::StaleNonce);
        }
        Ok(Authenticated {
            username: username.into(),
            key,
            seal: if sha256 { Seal::Sha256 } else { Seal::Sha1 },
            until,
        })
    }

    /// Whether what was believed is still good for a new allocation.
    pub fn may_allocate(&self, who: &Authenticated, unix: u64) -> bool {
        let username = &*who.username;
        self.users.contains_key(username)
            || who.until >= unix && rest_expiry(username).is_some_and(|at| at >= unix)
    }

    /// The bid-down rules: what the client says it was offered must be what we offer.
    fn algorithm(&self, request: &Message<'_>) -> Result<Algorithm, Refusal> {
        let chosen = request.value(AttributeType::PASSWORD_ALGORITHM);
        let offered = request.value(AttributeType::PASSWORD_ALGORITHMS);
        match (chosen, offered) {
            (None, None) => Ok(Algorithm::Md5),
            (Some(chosen), Some(offered)) if offered == PASSWORD_ALGORITHMS => match chosen {
                [0, 1, 0, 0] => Ok(Algorithm::Md5),
                [0, 2, 0, 0] => Ok(Algorithm::Sha256),
                _ => Err(Refusal::BadRequest),
            },
            _ => Err(Refusal::BadRequest),
        }
    }

    fn by_hash<'a>(&'a self, hash: &[u8], known: Option<&'a [u8]>) -> Option<&'a [u8]> {
        let hash: &[u8; 32] = hash.try_into().ok()?;
        if let Some(known) = known
            && userhash(known, &self.realm) == *hash
        {
            return Some(known);
        }
        self.hashes.get(hash).map(Vec::as_slice)
    }

    /// What the password may be, and until when it is good for new allocations.
    fn passwords(&self, username: &[u8]) -> impl Iterator<Item = (Vec<u8>, u64)> {
        let fixed = self.users.get(username);
        let secrets = match fixed.is_none() && rest_expiry(username).is_some() {
            true => self.secrets.as_slice(),
            false => &[],
        };
        let made = secrets
            .iter()
            .map(|secret| (secret.sign(username), secret.until));
        fixed
            .map(|password| (password.clone(), u64::MAX))
            .into_iter()
            .chain(made)
    }
}

/// The part of a user name by which quotas count: REST names change with each expiry. The same for
/// ever, whoever is configured meanwhile.
pub fn account(username: &[u8]) -> &[u8] {
    match username.iter().position(|b| *b == b':') {
        Some(colon) if rest_expiry(username).is_some() => {
            username.get(colon + 1..).unwrap_or_default()
        }
        _ => username,
    }
}

/// The time in `expiry:id` (draft-uberti-behave-turn-rest). A bare `expiry` is one too.
fn rest_expiry(username: &[u8]) -> Option<u64> {
    let digits = username.split(|b| *b == b':').next()?;
    if digits.is_empty() || digits.len() > 19 || !digits.iter().all(u8::is_ascii_digit) {
        return None;
    }
    std::str::from_utf8(digits).ok()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rest_names_are_a_time_and_an_id() {
        assert_eq!(rest_expiry(b"1700000000:room"), Some(1_700_000_000));
        assert_eq!(rest_expiry(b"1700000000"), Some(1_700_000_000));
        assert_eq!(rest_expiry(b"alice"), None);
        assert_eq!(rest_expiry(b":room"), None);
        assert_eq!(rest_expiry(b"-5:room"), None);
        assert_eq!(rest_expiry(b"99999999999999999999:x"), None);
    }

    #[test]
    fn quotas_count_the_id_and_not_the_expiry() {
        assert_eq!(account(b"17:room/m"), b"room/m");
        assert_eq!(account(b"a:b"), b"a:b");
        assert_eq!(account(b"17"), b"17");
    }

    #[test]
    fn a_name_is_good_as_long_as_it_says_and_no_longer_than_its_secret() {
        let credentials = Credentials::new("r", b"s", b"n", [("a:b".to_owned(), b"pw".to_vec())])
            .with_former([(&b"before"[..], 20)]);
        let may = |username: &[u8], until, unix| {
            let who = Authenticated {
                username: username.into(),
                key: Key::long_term(Algorithm::Md5, username, b"r", b"x"),
                seal: Seal::Sha1,
                until,
            };
            credentials.may_allocate(&who, unix)
        };
        assert!(may(b"a:b", u64::MAX, u64::MAX));
        assert!(may(b"17:x", u64::MAX, 17));
        assert!(!may(b"17:x", u64::MAX, 18));
        assert!(may(b"30:x", 20, 20));
        assert!(!may(b"30:x", 20, 21));
        let passwords: Vec<_> = credentials.passwords(b"30:x").collect();
        assert_eq!(passwords.len(), 2);
        assert_eq!(passwords[1].1, 20);
        assert_eq!(credentials.passwords(b"a:b").count(), 1);
        assert_eq!(credentials.passwords(b"nobody").count(), 0);
    }
}
