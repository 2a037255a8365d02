//! Nonces that need no memory: a time and an HMAC over it and the client's address.
//!
//! A nonce is valid for one client address and a limited time, on every worker, and after a
//! restart with the same secret. It is short on purpose: a 401 must stay below three times its
//! request. There are two forms, which the HMAC tells apart, so that nobody on the way can turn
//! one into the other: with and without the cookie of RFC 8489 section 9.2 that announces
//! password algorithms.

use std::net::IpAddr;

use aws_lc_rs::{constant_time, hmac};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

/// "obMatJos2" and the 24 security feature bits in base64: password algorithms. That is bit 0,
/// which RFC 8489 section 18.1 puts leftmost; its appendix B.1 has its bit in another place, the
/// example in RFC 8656 section 20 has it here.
pub const COOKIE: &[u8; 13] = b"obMatJos2gAAA";

/// Bytes of the longer form: the cookie and 11 bytes in base64.
pub const LEN: usize = COOKIE.len() + TEXT;

/// How long a nonce is good. RFC 8656 section 5 suggests an hour; some clients end the call when
/// a nonce goes stale, and one bound to their address is of no use to anybody else.
const LIFETIME: u64 = 24 * 3600;

const TIME: usize = 4;
const MAC: usize = 7;
/// Time and HMAC in base64.
const TEXT: usize = 15;

/// Whether a nonce announces password algorithms.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// With the cookie: goes with a PASSWORD-ALGORITHMS attribute.
    Announcing,
    /// Without: where the attribute would make the answer too big.
    Plain,
}

/// A nonce to be sent.
#[derive(Clone, Copy, Debug)]
pub struct Nonce {
    bytes: [u8; LEN],
    form: Form,
}

impl Nonce {
    /// What goes into the attribute.
    pub fn as_bytes(&self) -> &[u8] {
        match self.form {
            Form::Announcing => &self.bytes,
            Form::Plain => &self.bytes[COOKIE.len()..],
        }
    }
}

/// What a nonce in a request turned out to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Freshness {
    /// Ours, for this client, recent.
    Fresh,
    /// Anything else.
    Stale,
}

/// Makes and checks nonces.
#[derive(Clone)]
pub struct Nonces {
    key: hmac::Key,
}

impl Nonces {
    /// `secret` decides which nonces are ours.
    pub fn new(secret: &[u8]) -> Self {
        Self {
            key: hmac::Key::new(hmac::HMAC_SHA256, secret),
        }
    }

    /// A nonce for a client, from the wall clock in seconds.
    pub fn make(&self, client: IpAddr, unix: u64, form: Form) -> Nonce {
        let time = (unix as u32).to_be_bytes();
        let mut raw = [0; TIME + MAC];
        raw[..TIME].copy_from_slice(&time);
        raw[TIME..].copy_from_slice(&self.mac(client, time, form)[..MAC]);
        let mut bytes = [0; LEN];
        bytes[..COOKIE.len()].copy_from_slice(COOKIE);
        URL_SAFE_NO_PAD
            .encode_slice(raw, &mut bytes[COOKIE.len()..])
            .expect("11 bytes are 15 characters");
        Nonce { bytes, form }
    }

    /// Judges a nonce that a client sent.
    pub fn check(&self, nonce: &[u8], client: IpAddr, unix: u64) -> Freshness {
        let (text, form) = match nonce.strip_prefix(COOKIE) {
            Some(text) => (text, Form::Announcing),
            None => (nonce, Form::Plain),
        };
        // The decoder insists on room for whole groups of four.
        let mut raw = [0; 12];
        if text.len() != TEXT || URL_SAFE_NO_PAD.decode_slice(text, &mut raw) != Ok(TIME + MAC) {
            return Freshness::Stale;
        }
        let mut time = [0; TIME];
        time.copy_from_slice(&raw[..TIME]);
        let ours = self.mac(client, time, form);
        if constant_time::verify_slices_are_equal(&ours[..MAC], &raw[TIME..TIME + MAC]).is_err() {
            return Freshness::Stale;
        }
        // A clock that was set back must not turn every nonce stale.
        let age = unix.saturating_sub(u64::from(u32::from_be_bytes(time)));
        if age <= LIFETIME {
            Freshness::Fresh
        } else {
            Freshness::Stale
        }
    }

    fn mac(&self, client: IpAddr, time: [u8; TIME], form: Form) -> [u8; 32] {
        let mut context = hmac::Context::with_key(&self.key);
        context.update(&[form as u8]);
        context.update(&time);
        match client.to_canonical() {
            IpAddr::V4(ip) => context.update(&ip.octets()),
            IpAddr::V6(ip) => context.update(&ip.octets()),
        }
        let mut out = [0; 32];
        out.copy_from_slice(context.sign().as_ref());
        out
    }
}

impl std::fmt::Debug for Nonces {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Nonces")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const CLIENT: &str = "198.51.100.4";

    fn check(nonces: &Nonces, nonce: &[u8], client: &str, unix: u64) -> Freshness {
        nonces.check(nonce, client.parse().unwrap(), unix)
    }

    #[test]
    fn a_nonce_is_good_for_its_client_its_time_and_its_secret() {
        let nonces = Nonces::new(b"secret");
        for form in [Form::Announcing, Form::Plain] {
            let made = nonces.make(CLIENT.parse().unwrap(), 1_000_000, form);
            let nonce = made.as_bytes();
            assert_eq!(check(&nonces, nonce, CLIENT, 1_000_000), Freshness::Fresh);
            let restarted = Nonces::new(b"secret");
            assert_eq!(
                check(&restarted, nonce, CLIENT, 1_000_000 + LIFETIME),
                Freshness::Fresh
            );
            for (nonces, client, unix) in [
                (&nonces, CLIENT, 1_000_001 + LIFETIME),
                (&nonces, "198.51.100.5", 1_000_000),
                (&Nonces::new(b"other"), CLIENT, 1_000_000),
            ] {
                assert_eq!(check(nonces, nonce, client, unix), Freshness::Stale);
            }
        }
    }

    #[test]
    fn changing_any_byte_or_the_form_spoils_it() {
        let nonces = Nonces::new(b"secret");
        let made = nonces.make(CLIENT.parse().unwrap(), 77, Form::Announcing);
        let nonce = made.as_bytes();
        for at in 0..LEN {
            let mut changed = nonce.to_vec();
            changed[at] ^= 0x20;
            assert_eq!(
                check(&nonces, &changed, CLIENT, 77),
                Freshness::Stale,
                "{at}"
            );
        }
        assert_eq!(
            check(&nonces, &nonce[..LEN - 1], CLIENT, 77),
            Freshness::Stale
        );
        assert_eq!(
            check(&nonces, &nonce[COOKIE.len()..], CLIENT, 77),
            Freshness::Stale
        );
        assert_eq!(check(&nonces, b"", CLIENT, 77), Freshness::Stale);
    }
}
