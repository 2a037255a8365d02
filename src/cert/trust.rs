//! Whether browsers everywhere trust a chain.

use std::sync::Arc;

use rustls::RootCertStore;
use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::ServerCertVerifier as _;
use rustls::crypto::CryptoProvider;
use rustls::pki_types::{ServerName, UnixTime};
use rustls::sign::CertifiedKey;
use std::time::Duration;

/// The roots that browsers agree on.
pub(super) fn public_roots() -> RootCertStore {
    RootCertStore {
        roots: webpki_roots::TLS_SERVER_ROOTS.to_vec(),
    }
}

/// Whether the chain leads to one of `roots` and is good for all `names` at this time.
pub(super) fn is_trusted(
    key: &CertifiedKey,
    names: &[String],
    now: u64,
    roots: RootCertStore,
    provider: &Arc<CryptoProvider>,
) -> bool {
    let Some((leaf, intermediates)) = key.cert.split_first() else {
        return false;
    };
    let builder = WebPkiServerVerifier::builder_with_provider(roots.into(), Arc::clone(provider));
    let Ok(verifier) = builder.build() else {
        return false;
    };
    let now = UnixTime::since_unix_epoch(Duration::from_secs(now));
    !names.is_empty()
        && names.iter().all(|name| {
            ServerName::try_from(name.as_str()).is_ok_and(|name| {
                verifier
                    .verify_server_cert(leaf, intermediates, &name, &[], now)
                    .is_ok()
            })
        })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::net::clock;
    use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};

    #[test]
    fn a_chain_is_trusted_for_its_names_by_those_who_have_its_root() {
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let root_key = KeyPair::generate().unwrap();
        let mut parameters = CertificateParams::default();
        parameters.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let root = parameters.self_signed(&root_key).unwrap();
        let key = KeyPair::generate().unwrap();
        let leaf = CertificateParams::new(["a.example".to_owned(), "b.example".to_owned()])
            .unwrap()
            .signed_by(&key, &Issuer::new(parameters, root_key))
            .unwrap();
        let signer = provider
            .key_provider
            .load_private_key(key.serialize_der().try_into().unwrap())
            .unwrap();
        let certified = CertifiedKey::new(vec![leaf.der().clone()], signer);
        let mut roots = RootCertStore::empty();
        roots.add(root.der().clone()).unwrap();
        let now = clock::unix_time();
        let trusted = |names: &[&str], roots: &RootCertStore, now| {
            let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
            is_trusted(&certified, &names, now, roots.clone(), &provider)
        };
        assert!(trusted(&["a.example", "b.example"], &roots, now));
        assert!(!trusted(&["a.example", "c.example"], &roots, now));
        assert!(!trusted(&[], &roots, now));
        assert!(!trusted(&["a.example"], &public_roots(), now));
        let after_all = 1_000_000_000_000;
        assert!(!trusted(&["a.example"], &roots, after_all));
    }
}
