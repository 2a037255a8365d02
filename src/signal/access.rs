//! Tokens for joining: signed statements of an operator's own application (JWT, RFC 7519). Pure:
//! keys and the time are arguments. Where keys come from is [`super::keyring`]'s business.

#[cfg(test)]
mod tests;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use jsonwebtoken::{Algorithm, DecodingKey, Validation, decode, decode_header};
use serde::Deserialize;

use super::core::{MemberId, NameError, Namespace, RoomName};

/// The keys that tokens may be signed with.
#[derive(Debug, Default)]
pub struct Keys {
    keys: Vec<(Algorithm, DecodingKey)>,
}

/// Why a file holds no key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum KeyError {
    /// Guessable.
    #[error(
        "a shared secret needs at least {MIN_SECRET} bytes; make one with: openssl rand -hex 32"
    )]
    ShortSecret,
    /// A key of another kind, or damaged.
    #[error(
        "not the public key of an Ed25519 pair; make one with: openssl genpkey -algorithm ed25519, openssl pkey -pubout"
    )]
    NotEd25519,
    /// It has no business on this machine.
    #[error("this is a private key: only its public half belongs here (openssl pkey -pubout)")]
    Private,
}

/// What a token allows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Grant {
    /// To be in this room.
    pub room: RoomName,
    /// Under this name, or any.
    pub user: Option<MemberId>,
    /// To be the first there.
    pub may_create: bool,
    /// To close it to others.
    pub may_lock: bool,
}

/// Why a token is worth nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TokenError {
    /// Not a token in the first place.
    #[error("not a JSON Web Token")]
    Malformed,
    /// An algorithm other than HS256 and EdDSA, or one that no key is for.
    #[error("no key here is for its algorithm")]
    Algorithm,
    /// Not signed by any of the keys.
    #[error("its signature does not match")]
    Signature,
    /// It lacks what it needs to say.
    #[error("its claims need room (text) and exp (seconds since 1970)")]
    Claims,
    /// A name in it cannot be one.
    #[error("a name in it {0}")]
    Name(#[from] NameError),
    /// Too old.
    #[error("it has expired")]
    Expired,
    /// Too new.
    #[error("it is not valid yet")]
    NotYet,
}

#[derive(Deserialize)]
struct Claims {
    room: String,
    #[serde(alias = "sub")]
    user: Option<String>,
    // RFC 7519 section 2: dates may have fractions.
    exp: f64,
    nbf: Option<f64>,
    #[serde(default = "yes", alias = "may-create")]
    may_create: bool,
    #[serde(default, alias = "may-lock")]
    may_lock: bool,
}

impl Keys {
    /// The keys in these files: the public half of an Ed25519 pair as PEM, or a shared secret.
    pub fn parse<'a>(files: impl IntoIterator<Item = &'a [u8]>) -> Result<Self, KeyError> {
        let keys = files.into_iter().map(key).collect::<Result<_, _>>()?;
        Ok(Self { keys })
    }

    /// What a token allows at `now` (seconds since 1970).
    pub fn verify(&self, token: &str, namespace: Namespace, now: u64) -> Result<Grant, TokenError> {
        if token.len() > MAX_TOKEN {
            return Err(TokenError::Malformed);
        }
        let algorithm = decode_header(token).map_err(|_| TokenError::Malformed)?.alg;
        let mut wrong = TokenError::Algorithm;
        // While keys are being changed there are two of a kind.
        for (_, key) in self.keys.iter().filter(|(of, _)| *of == algorithm) {
            match decode::<Claims>(token, key, &validation(algorithm)) {
                Ok(token) => return grant(&token.claims, namespace, now),
                Err(error) => {
                    wrong = match error.kind() {
                        jsonwebtoken::errors::ErrorKind::Json(_) => return Err(TokenError::Claims),
                        _ => TokenError::Signature,
                    };
                }
            }
        }
        Err(wrong)
    }
}

fn grant(claims: &Claims, namespace: Namespace, now: u64) -> Result<Grant, TokenError> {
    let now = now as f64;
    // Not a number would compare as neither.
    if !claims.exp.is_finite() || claims.exp + SKEW <= now {
        return Err(TokenError::Expired);
    }
    if claims.nbf.is_some_and(|nbf| nbf - SKEW > now) {
        return Err(TokenError::NotYet);
    }
    Ok(Grant {
        room: RoomName::new(namespace, &claims.room)?,
        user: claims.user.as_deref().map(MemberId::new).transpose()?,
        may_create: claims.may_create,
        may_lock: claims.may_lock,
    })
}

/// The signature only: the library would ask the clock for the rest.
fn validation(algorithm: Algorithm) -> Validation {
    let mut validation = Validation::new(algorithm);
    validation.required_spec_claims.clear();
    validation.validate_exp = false;
    validation.validate_nbf = false;
    validation.validate_aud = false;
    validation
}

fn key(file: &[u8]) -> Result<(Algorithm, DecodingKey), KeyError> {
    let text = file.trim_ascii();
    if let Some(pem) = text.strip_prefix(b"-----BEGIN") {
        let pem = std::str::from_utf8(pem).map_err(|_| KeyError::NotEd25519)?;
        return public_key(pem);
    }
    if text.len() < MIN_SECRET {
        return Err(KeyError::ShortSecret);
    }
    Ok((Algorithm::HS256, DecodingKey::from_secret(text)))
}

/// RFC 8410: a SubjectPublicKeyInfo of this kind is a fixed prefix and 32 bytes.
fn public_key(pem: &str) -> Result<(Algorithm, DecodingKey), KeyError> {
    let (label, rest) = pem.split_once("-----").ok_or(KeyError::NotEd25519)?;
    if label.contains("PRIVATE") {
        return Err(KeyError::Private);
    }
    let (body, _) = rest.split_once("-----END").ok_or(KeyError::NotEd25519)?;
    let body: String = body.split_ascii_whitespace().collect();
    let der = STANDARD.decode(body).map_err(|_| KeyError::NotEd25519)?;
    let raw = der
        .strip_prefix(&SPKI_ED25519)
        .filter(|raw| raw.len() == 32);
    let raw = raw.ok_or(KeyError::NotEd25519)?;
    Ok((Algorithm::EdDSA, DecodingKey::from_ed_der(raw)))
}

fn yes() -> bool {
    true
}

/// Algorithm identifier and bit string header.
const SPKI_ED25519: [u8; 12] = [
    0x30, 0x2a, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x03, 0x21, 0x00,
];

/// As many bytes as the hash has (RFC 7518 section 3.2).
const MIN_SECRET: usize = 32;

/// Longer ones do not fit into a URL that every proxy passes on.
const MAX_TOKEN: usize = 4096;

/// Seconds by which two machines' clocks may differ.
const SKEW: f64 = 30.0;
