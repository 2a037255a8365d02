//! Tokens as an application makes them, and as nobody should.

use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jsonwebtoken::{EncodingKey, Header, encode};
use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;

const SPACE: Namespace = Namespace::new("test");
const SECRET: &[u8] = b"0123456789abcdef0123456789abcdef";
const NOW: u64 = 1_790_000_000;

// openssl genpkey -algorithm ed25519; openssl pkey -pubout
const PRIVATE: &str = "-----BEGIN PRIVATE KEY-----
MC4CAQAwBQYDK2VwBCIEIBdqPuOnjc7+Nl4pbT+wa9+ZgVdgQqLLSpBQICbMu1hp
-----END PRIVATE KEY-----
";

fn keys(files: &[&[u8]]) -> Keys {
    Keys::parse(files.iter().copied()).unwrap()
}

fn signed(claims: &Value, secret: &[u8]) -> String {
    encode(
        &Header::default(),
        claims,
        &EncodingKey::from_secret(secret),
    )
    .unwrap()
}

fn claims() -> Value {
    json!({"room": "123", "user": "alice", "exp": NOW + 60})
}

/// A pair made here: the private half as the library wants it, the public one as a file.
fn pair() -> (EncodingKey, Vec<u8>) {
    use aws_lc_rs::signature::{Ed25519KeyPair, KeyPair as _};
    let der = Ed25519KeyPair::generate_pkcs8(&aws_lc_rs::rand::SystemRandom::new()).unwrap();
    let public = Ed25519KeyPair::from_pkcs8(der.as_ref()).unwrap();
    let spki = [&SPKI_ED25519, public.public_key().as_ref()].concat();
    let pem = format!(
        "-----BEGIN PUBLIC KEY-----\n{}\n-----END PUBLIC KEY-----\n",
        STANDARD.encode(spki)
    );
    (EncodingKey::from_ed_der(der.as_ref()), pem.into_bytes())
}

#[test]
fn a_token_of_a_shared_secret_says_who_may_be_where() {
    let keys = keys(&[SECRET]);
    let grant = keys.verify(&signed(&claims(), SECRET), SPACE, NOW).unwrap();
    let expected = Grant {
        room: RoomName::new(SPACE, "123").unwrap(),
        user: Some(MemberId::new("alice").unwrap()),
        may_create: true,
        may_lock: false,
    };
    assert_eq!(grant, expected);
    let full = json!({"room": "1", "sub": "bob", "exp": NOW as f64 + 0.5, "may_create": false,
        "may_lock": true, "aud": "somebody", "iat": 1});
    let grant = keys.verify(&signed(&full, SECRET), SPACE, NOW).unwrap();
    assert_eq!(
        (grant.user, grant.may_create, grant.may_lock),
        (Some(MemberId::new("bob").unwrap()), false, true)
    );
}

#[test]
fn a_token_of_a_key_pair_is_checked_with_the_public_half() {
    let (private, public) = pair();
    let token = encode(&Header::new(Algorithm::EdDSA), &claims(), &private).unwrap();
    let (_, other) = pair();
    // While keys are being changed, the old one comes first.
    let both = keys(&[&other, SECRET, &public]);
    assert!(both.verify(&token, SPACE, NOW).is_ok());
    assert_eq!(
        keys(&[&other]).verify(&token, SPACE, NOW),
        Err(TokenError::Signature)
    );
    assert_eq!(
        keys(&[SECRET]).verify(&token, SPACE, NOW),
        Err(TokenError::Algorithm)
    );
    // The public key is no secret: used as one, it must not pass.
    let confused = signed(&claims(), &public);
    assert_eq!(
        keys(&[&public]).verify(&confused, SPACE, NOW),
        Err(TokenError::Algorithm)
    );
}

#[test]
fn a_token_is_good_for_its_time_only() {
    let keys = keys(&[SECRET]);
    let at = |claims: &Value, now| keys.verify(&signed(claims, SECRET), SPACE, now).err();
    assert_eq!(at(&claims(), NOW + 60 + 29), None);
    assert_eq!(at(&claims(), NOW + 60 + 30), Some(TokenError::Expired));
    let later = json!({"room": "1", "exp": NOW + 60, "nbf": NOW + 40});
    assert_eq!(at(&later, NOW), Some(TokenError::NotYet));
    assert_eq!(at(&later, NOW + 10), None);
}

#[test]
fn what_a_token_must_say_it_must_say() {
    let keys = keys(&[SECRET]);
    for (claims, wrong) in [
        (json!({"room": "1"}), TokenError::Claims),
        (json!({"exp": NOW + 60}), TokenError::Claims),
        (json!({"room": 1, "exp": NOW + 60}), TokenError::Claims),
        (json!({"room": "1", "exp": "soon"}), TokenError::Claims),
        (
            json!({"room": "a\u{7}", "exp": NOW + 60}),
            TokenError::Name(NameError::ControlCharacter),
        ),
        (
            json!({"room": "1", "user": "", "exp": NOW + 60}),
            TokenError::Name(NameError::Empty),
        ),
    ] {
        let token = signed(&claims, SECRET);
        assert_eq!(keys.verify(&token, SPACE, NOW), Err(wrong), "{claims}");
    }
}

#[test]
fn an_unsigned_or_changed_token_is_worth_nothing() {
    let keys = keys(&[SECRET]);
    let token = signed(&claims(), SECRET);
    let parts: Vec<&str> = token.split('.').collect();
    let [_, body, tag] = parts[..] else {
        panic!("{token}")
    };
    let header = |text: &str| URL_SAFE_NO_PAD.encode(text);
    for forged in [
        format!("{}.{body}.", header(r#"{"alg":"none"}"#)),
        format!("{}.{body}.{tag}", header(r#"{"alg":"none"}"#)),
        format!("{}.{body}.{tag}", header(r#"{"alg":"HS512"}"#)),
        format!("{}.{body}", parts[0]),
        format!(
            "{}.{}.{tag}",
            parts[0],
            header(&claims().to_string().replace("123", "124"))
        ),
        format!("{token}x"),
        "x".repeat(5000),
        String::new(),
    ] {
        assert!(keys.verify(&forged, SPACE, NOW).is_err(), "{forged}");
    }
}

#[test]
fn a_file_that_is_no_key_is_named_for_what_it_is() {
    let parse = |file: &[u8]| Keys::parse([file]).err();
    assert_eq!(parse(b"secret"), Some(KeyError::ShortSecret));
    assert_eq!(parse(b""), Some(KeyError::ShortSecret));
    assert_eq!(parse(PRIVATE.as_bytes()), Some(KeyError::Private));
    for file in [
        "-----BEGIN PUBLIC KEY-----\nMIIB\n-----END PUBLIC KEY-----",
        "-----BEGIN PUBLIC KEY-----\nMIIB",
        "-----BEGIN ",
        "-----BEGIN CERTIFICATE-----\n!\n-----END CERTIFICATE-----",
    ] {
        assert_eq!(parse(file.as_bytes()), Some(KeyError::NotEd25519), "{file}");
    }
    assert_eq!(parse(b"  0123456789abcdef0123456789abcdef\n"), None);
}

proptest! {
    #[test]
    fn no_text_is_a_token_by_chance(text in "[A-Za-z0-9_.-]{0,200}|.{0,60}") {
        prop_assert!(keys(&[SECRET]).verify(&text, SPACE, NOW).is_err());
    }
}
