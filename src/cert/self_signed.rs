//! The certificate we make ourselves: kept in the state directory, so that a browser which was
//! told once to accept it is not asked again, and made anew when it no longer fits.

use std::net::IpAddr;
use std::path::Path;
use std::time::Duration;

use rcgen::{
    CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa, KeyPair,
    KeyUsagePurpose, SanType, date_time_ymd,
};
use rustls::crypto::CryptoProvider;
use rustls::sign::CertifiedKey;
use x509_parser::prelude::{FromDer as _, GeneralName, X509Certificate};

use super::files;
use crate::state::{StateDir, StateError};

/// Name of the certificate in the state directory, for those who want to import it.
pub const CERT_FILE: &str = "self-signed.crt";
/// Name of its key.
pub const KEY_FILE: &str = "self-signed.key";

/// Browsers distrust what is valid for longer than 398 days, even when the user has trusted it.
const VALIDITY: Duration = Duration::from_secs(397 * DAY);
/// Made anew when less than this is left.
const RENEW_BEFORE: Duration = Duration::from_secs(30 * DAY);
/// Clocks of phones are not always right.
const BACKDATED: Duration = Duration::from_secs(DAY);
const DAY: u64 = 24 * 60 * 60;

/// Why there is no certificate.
#[derive(Debug, thiserror::Error)]
pub enum SelfSignedError {
    /// It could not be kept.
    #[error(transparent)]
    State(#[from] StateError),
    /// It could not be made.
    #[error("making a self-signed certificate failed: {0}")]
    Make(#[from] rcgen::Error),
    /// What was made could not be loaded.
    #[error("the self-signed certificate just made cannot be used: {0}")]
    Unusable(#[source] Box<files::FilesError>),
}

/// The kept certificate if it covers all `names` and `addresses` (and `localhost`) and stays valid
/// for a month after `now` (seconds since 1970), else a new one, which is kept.
pub fn load_or_make(
    state: &StateDir,
    names: &[String],
    addresses: &[IpAddr],
    now: u64,
    provider: &CryptoProvider,
) -> Result<CertifiedKey, SelfSignedError> {
    let wanted = wanted(names, addresses);
    if let (Some(cert), Some(key)) = (state.read(CERT_FILE)?, state.read(KEY_FILE)?)
        // A crash between the two writes leaves a pair that does not match: it is made anew too.
        && let Ok(kept) = load(&cert, &key, provider)
        && kept.cert.first().is_some_and(|leaf| fits(leaf, &wanted, now))
    {
        return Ok(kept);
    }
    let (cert, key) = make(&wanted, now)?;
    state.write_private(KEY_FILE, key.as_bytes())?;
    state.write_private(CERT_FILE, cert.as_bytes())?;
    tracing::info!(
        path = %state.path().join(CERT_FILE).display(),
        "made a self-signed certificate"
    );
    load(cert.as_bytes(), key.as_bytes(), provider)
        .map_err(|error| SelfSignedError::Unusable(Box::new(error)))
}

/// What the certificate must name, without repetitions.
fn wanted(names: &[String], addresses: &[IpAddr]) -> Vec<SanType> {
    let local = ["localhost".to_owned()];
    let mut wanted: Vec<SanType> = Vec::new();
    let names = names
        .iter()
        .chain(&local)
        // A host name in another script must come in its ASCII form; as it is, it cannot be named.
        .filter_map(|name| name.clone().try_into().ok().map(SanType::DnsName));
    let addresses = addresses
        .iter()
        .map(|address| SanType::IpAddress(address.to_canonical()));
    for san in names.chain(addresses) {
        if !wanted.contains(&san) {
            wanted.push(san);
        }
    }
    wanted
}

fn load(
    cert: &[u8],
    key: &[u8],
    provider: &CryptoProvider,
) -> Result<CertifiedKey, files::FilesError> {
    files::parse(
        (Path::new(CERT_FILE), cert),
        (Path::new(KEY_FILE), key),
        provider,
    )
}

/// Whether a kept certificate can stay.
fn fits(der: &[u8], wanted: &[SanType], now: u64) -> bool {
    let Ok((_, certificate)) = X509Certificate::from_der(der) else {
        return false;
    };
    let Ok(Some(names)) = certificate.subject_alternative_name() else {
        return false;
    };
    let named = |san: &SanType| {
        names
            .value
            .general_names
            .iter()
            .any(|name| match (name, san) {
                (GeneralName::DNSName(have), SanType::DnsName(want)) => *have == want.as_str(),
                (GeneralName::IPAddress(have), SanType::IpAddress(IpAddr::V4(want))) => {
                    *have == want.octets()
                }
                (GeneralName::IPAddress(have), SanType::IpAddress(IpAddr::V6(want))) => {
                    *have == want.octets()
                }
                _ => false,
            })
    };
    let now = i64::try_from(now).unwrap_or(i64::MAX);
    let month = RENEW_BEFORE.as_secs() as i64;
    let validity = certificate.validity();
    validity.not_before.timestamp() <= now
        && validity.not_after.timestamp() >= now.saturating_add(month)
        && wanted.iter().all(named)
}

/// Certificate and key as PEM.
fn make(names: &[SanType], now: u64) -> Result<(String, String), rcgen::Error> {
    let key = KeyPair::generate_for(&rcgen::PKCS_ECDSA_P256_SHA256)?;
    let mut parameters = CertificateParams::default();
    let mut subject = DistinguishedName::new();
    let title = match names.first() {
        Some(SanType::DnsName(name)) => name.to_string(),
        _ => "callbox".to_owned(),
    };
    subject.push(DnType::CommonName, title);
    subject.push(DnType::OrganizationName, "callbox, self-signed");
    parameters.distinguished_name = subject;
    parameters.subject_alt_names = names.to_vec();
    let from = date_time_ymd(1970, 1, 1) + Duration::from_secs(now).saturating_sub(BACKDATED);
    parameters.not_before = from;
    parameters.not_after = from + VALIDITY;
    // A certificate that may sign others would let whoever steals this key speak for any site to
    // the people who trusted it; browsers also refuse such a one as a server's own.
    parameters.is_ca = IsCa::ExplicitNoCa;
    parameters.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    parameters.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    let certificate = parameters.self_signed(&key)?;
    Ok((certificate.pem(), key.serialize_pem()))
}

#[cfg(test)]
mod tests;
