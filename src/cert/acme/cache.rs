//! What is kept of an order: the account's key, the certificate with its key, failures.
//!
//! The engine gets its account from here and leaves its certificate here. It never gets the
//! certificate back: when the next order is due is not its decision.

use std::path::Path;
use std::sync::Arc;

use async_trait::async_trait;
use aws_lc_rs::digest;
use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair};
use rustls::crypto::CryptoProvider;
use rustls::sign::CertifiedKey;
use rustls_acme::{AccountCache, CertCache};

use crate::cert::files::{self, FilesError};
use crate::cert::leaf::Leaf;
use crate::cert::status::Source;
use crate::cert::store::CertStore;
use crate::config::settings::Acme;
use crate::state::{StateDir, StateError};

/// Names of files in the state directory. They depend on authority, names and address, so that
/// after a change of one of these nothing stale is taken for an answer.
#[derive(Clone, Debug)]
pub(super) struct Names {
    /// What the certificates of one authority begin with.
    authority: String,
    certificate: String,
    account: String,
    pub(super) backoff: String,
}

impl Names {
    pub(super) fn new(acme: &Acme, hosts: &[String]) -> Self {
        let mut sorted: Vec<&str> = hosts.iter().map(String::as_str).collect();
        sorted.sort_unstable();
        let order = fingerprint(&[&[acme.directory.as_str()], sorted.as_slice()].concat());
        let email = acme.email.as_deref().unwrap_or_default();
        let account = fingerprint(&[&acme.directory, email]);
        let authority = format!("acme-{}-", fingerprint(&[acme.directory.as_str()]));
        Self {
            certificate: format!("{authority}{order}.pem"),
            authority,
            account: format!("acme-account-{account}.key"),
            backoff: format!("acme-{order}.failures"),
        }
    }
}

fn fingerprint(parts: &[&str]) -> String {
    let hash = digest::digest(&digest::SHA256, parts.join("\n").as_bytes());
    let short = hash.as_ref().iter().take(6);
    short.map(|byte| format!("{byte:02x}")).collect()
}

/// The certificate of the last order, if it fits. Else, since the names have been changed, the newest
/// one of the same authority that is good for some of them: better than one that nobody trusts,
/// until there is another. `now` in seconds since 1970.
pub(super) fn certificate(
    state: &StateDir,
    names: &Names,
    hosts: &[String],
    now: u64,
    provider: &CryptoProvider,
) -> Option<CertifiedKey> {
    let last = read(state, &names.certificate, provider);
    if let Some(key) = last.filter(|key| Leaf::of(key).covers(hosts)) {
        return Some(key);
    }
    let kept = state
        .names(&names.authority, ".pem")
        .unwrap_or_else(|error| {
            tracing::warn!(%error, "kept certificates cannot be looked for");
            Vec::new()
        });
    kept.iter()
        .filter_map(|name| read(state, name, provider))
        .map(|key| (Leaf::of(&key), key))
        .filter(|(leaf, _)| leaf.serves(hosts, now))
        .max_by_key(|(leaf, _)| leaf.not_before)
        .map(|(_, key)| key)
}

fn read(state: &StateDir, name: &str, provider: &CryptoProvider) -> Option<CertifiedKey> {
    let content = state.read(name).unwrap_or_else(|error| {
        tracing::warn!(%error, "the kept certificate cannot be used");
        None
    });
    parse(name, &content?, provider)
        .inspect_err(|error| tracing::warn!(%error, "the kept certificate cannot be used"))
        .ok()
}

/// Key and chain in one file.
fn parse(name: &str, pem: &[u8], provider: &CryptoProvider) -> Result<CertifiedKey, FilesError> {
    let path = Path::new(name);
    files::parse((path, pem), (path, pem), provider)
}

/// Why the engine cannot have or leave what it wants.
#[derive(Debug, thiserror::Error)]
pub(super) enum CacheError {
    #[error(transparent)]
    State(#[from] StateError),
    #[error("the new certificate cannot be used: {0}")]
    Unusable(#[from] FilesError),
    #[error("writing it was given up")]
    Damaged,
}

/// What one order is given.
pub(super) struct Cache {
    pub(super) state: Arc<StateDir>,
    pub(super) files: Names,
    pub(super) hosts: Vec<String>,
    pub(super) store: CertStore,
    pub(super) provider: Arc<CryptoProvider>,
}

impl Cache {
    /// Syncing takes as long as the disk likes.
    async fn write(&self, name: &str, bytes: &[u8]) -> Result<(), CacheError> {
        let (state, name, bytes) = (Arc::clone(&self.state), name.to_owned(), bytes.to_vec());
        tokio::task::spawn_blocking(move || state.write_private(&name, &bytes))
            .await
            .map_err(|_| CacheError::Damaged)?
            .map_err(CacheError::State)
    }
}

#[async_trait]
impl CertCache for Cache {
    type EC = CacheError;

    async fn load_cert(&self, _: &[String], _: &str) -> Result<Option<Vec<u8>>, CacheError> {
        Ok(None)
    }

    async fn store_cert(&self, _: &[String], _: &str, pem: &[u8]) -> Result<(), CacheError> {
        let key = parse(&self.files.certificate, pem, &self.provider)?;
        // First: a full disk is no reason to go on with an old certificate.
        self.store
            .install(key, Source::Acme, &self.hosts, &self.provider);
        self.write(&self.files.certificate, pem).await
    }
}

#[async_trait]
impl AccountCache for Cache {
    type EA = CacheError;

    async fn load_account(&self, _: &[String], _: &str) -> Result<Option<Vec<u8>>, CacheError> {
        let kept = self.state.read(&self.files.account)?;
        let good = |key: &Vec<u8>| {
            let parsed = EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, key);
            if let Err(error) = parsed {
                tracing::warn!(%error, "the kept account's key is damaged: a new account is made");
            }
            parsed.is_ok()
        };
        Ok(kept.filter(good))
    }

    async fn store_account(&self, _: &[String], _: &str, key: &[u8]) -> Result<(), CacheError> {
        self.write(&self.files.account, key).await
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::settings::Challenge;

    fn acme(directory: &str, email: Option<&str>) -> Acme {
        Acme {
            directory: directory.to_owned(),
            email: email.map(str::to_owned),
            ca_file: None,
            challenge: Challenge::TlsAlpn01,
            throwaway: false,
            chosen: true,
        }
    }

    #[test]
    fn files_belong_to_one_authority_and_one_set_of_names() {
        let hosts = |names: &[&str]| -> Vec<String> {
            names.iter().map(|name| (*name).to_owned()).collect()
        };
        let a = Names::new(&acme("https://ca/", None), &hosts(&["a.b", "c.d"]));
        let turned = Names::new(&acme("https://ca/", None), &hosts(&["c.d", "a.b"]));
        assert_eq!(a.certificate, turned.certificate);
        let other = Names::new(&acme("https://other/", None), &hosts(&["a.b", "c.d"]));
        assert_ne!(a.certificate, other.certificate);
        assert_ne!(a.account, other.account);
        let fewer = Names::new(&acme("https://ca/", Some("a@b.c")), &hosts(&["a.b"]));
        assert_ne!(a.certificate, fewer.certificate);
        assert_ne!(a.account, fewer.account);
        assert_ne!(a.backoff, fewer.backoff);
    }
}
