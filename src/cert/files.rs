//! The operator's own certificate, from two PEM files.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use rustls::crypto::CryptoProvider;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::sign::CertifiedKey;

/// Why the files cannot be used. Each text names the file and the remedy.
#[derive(Debug, thiserror::Error)]
pub enum FilesError {
    /// A file cannot be read.
    #[error("{path}: {source}")]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// The kernel's answer.
        source: io::Error,
    },
    /// Not PEM, or damaged PEM.
    #[error("{path}: not a valid PEM file: {source}")]
    NotPem {
        /// The file.
        path: PathBuf,
        /// Where it broke.
        source: rustls::pki_types::pem::Error,
    },
    /// PEM, but without a certificate.
    #[error("{path}: holds no certificate (expected -----BEGIN CERTIFICATE-----)")]
    NoCertificate {
        /// The file.
        path: PathBuf,
    },
    /// PEM, but without a private key.
    #[error("{path}: holds no private key (expected -----BEGIN PRIVATE KEY-----)")]
    NoKey {
        /// The file.
        path: PathBuf,
    },
    /// A key behind a passphrase.
    #[error(
        "{path}: the private key is encrypted; decrypt it with `openssl pkey -in {path} -out plain.pem`"
    )]
    EncryptedKey {
        /// The file.
        path: PathBuf,
    },
    /// A key of a kind that TLS cannot use.
    #[error("{path}: this private key cannot be used for TLS: {source}")]
    UnusableKey {
        /// The file.
        path: PathBuf,
        /// Why.
        source: rustls::Error,
    },
    /// Two files that do not belong together.
    #[error(
        "{key} is not the key of the first certificate in {cert}; the chain must start with the server's own certificate"
    )]
    Mismatch {
        /// The chain.
        cert: PathBuf,
        /// The key.
        key: PathBuf,
    },
    /// A certificate that cannot be parsed.
    #[error("{path}: the first certificate cannot be used: {source}")]
    UnusableCertificate {
        /// The file.
        path: PathBuf,
        /// Why.
        source: rustls::Error,
    },
}

/// Reads a chain (leaf first) and its key, and checks that they belong together.
pub fn load(
    cert: &Path,
    key: &Path,
    provider: &CryptoProvider,
) -> Result<CertifiedKey, FilesError> {
    let chain_text = read(cert)?;
    let key_text = read(key)?;
    parse((cert, &chain_text), (key, &key_text), provider)
}

/// The same from bytes; the paths are for the messages.
pub(super) fn parse(
    (cert, chain_text): (&Path, &[u8]),
    (key, key_text): (&Path, &[u8]),
    provider: &CryptoProvider,
) -> Result<CertifiedKey, FilesError> {
    let chain = CertificateDer::pem_slice_iter(chain_text)
        .collect::<Result<Vec<_>, _>>()
        .map_err(|source| FilesError::NotPem {
            path: cert.to_owned(),
            source,
        })?;
    if chain.is_empty() {
        return Err(FilesError::NoCertificate {
            path: cert.to_owned(),
        });
    }
    let der = PrivateKeyDer::from_pem_slice(key_text).map_err(|source| {
        let path = key.to_owned();
        let encrypted = b"ENCRYPTED";
        match source {
            _ if key_text.windows(encrypted.len()).any(|w| w == encrypted) => {
                FilesError::EncryptedKey { path }
            }
            rustls::pki_types::pem::Error::NoItemsFound => FilesError::NoKey { path },
            source => FilesError::NotPem { path, source },
        }
    })?;
    let signer = provider
        .key_provider
        .load_private_key(der)
        .map_err(|source| FilesError::UnusableKey {
            path: key.to_owned(),
            source,
        })?;
    let certified = CertifiedKey::new(chain, signer);
    match certified.keys_match() {
        Ok(()) | Err(rustls::Error::InconsistentKeys(rustls::InconsistentKeys::Unknown)) => {
            Ok(certified)
        }
        Err(rustls::Error::InconsistentKeys(_)) => Err(FilesError::Mismatch {
            cert: cert.to_owned(),
            key: key.to_owned(),
        }),
        Err(source) => Err(FilesError::UnusableCertificate {
            path: cert.to_owned(),
            source,
        }),
    }
}

fn read(path: &Path) -> Result<Vec<u8>, FilesError> {
    fs::read(path).map_err(|source| FilesError::Unreadable {
        path: path.to_owned(),
        source,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use rustls::crypto::aws_lc_rs::default_provider;

    fn pair() -> (String, String) {
        let key = rcgen::KeyPair::generate().unwrap();
        let certificate = rcgen::CertificateParams::new(vec!["a.example".to_owned()])
            .unwrap()
            .self_signed(&key)
            .unwrap();
        (certificate.pem(), key.serialize_pem())
    }

    fn parse_text(chain: &str, key: &str) -> Result<CertifiedKey, FilesError> {
        parse(
            (Path::new("c.pem"), chain.as_bytes()),
            (Path::new("k.pem"), key.as_bytes()),
            &default_provider(),
        )
    }

    #[test]
    fn a_chain_is_kept_in_its_order() {
        let (leaf, key) = pair();
        let (issuer, _) = pair();
        let loaded = parse_text(&format!("{leaf}{issuer}"), &key).unwrap();
        assert_eq!(loaded.cert.len(), 2);
    }

    #[test]
    fn a_chain_with_the_issuer_first_is_told_apart_from_a_good_one() {
        let (leaf, key) = pair();
        let (issuer, _) = pair();
        let error = parse_text(&format!("{issuer}{leaf}"), &key).unwrap_err();
        assert!(matches!(error, FilesError::Mismatch { .. }), "{error}");
    }

    #[test]
    fn each_mistake_has_its_own_message() {
        let (leaf, key) = pair();
        let locked =
            "-----BEGIN ENCRYPTED PRIVATE KEY-----\nAAAA\n-----END ENCRYPTED PRIVATE KEY-----\n";
        for (chain, key, expected) in [
            ("", key.as_str(), "c.pem: holds no certificate"),
            (&key, &key, "c.pem: holds no certificate"),
            (&leaf, "", "k.pem: holds no private key"),
            (&leaf, &leaf, "k.pem: holds no private key"),
            (&leaf, locked, "k.pem: the private key is encrypted"),
            (
                "-----BEGIN CERTIFICATE-----\n",
                &key,
                "c.pem: not a valid PEM",
            ),
            (
                "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n",
                &key,
                "c.pem: the first certificate cannot be used",
            ),
        ] {
            let error = parse_text(chain, key).unwrap_err().to_string();
            assert!(error.starts_with(expected), "{error}");
        }
    }

    #[test]
    fn a_missing_file_is_named() {
        let error = load(
            Path::new("/nonexistent/c.pem"),
            Path::new("/nonexistent/k.pem"),
            &default_provider(),
        )
        .unwrap_err();
        assert!(error.to_string().starts_with("/nonexistent/c.pem: "));
    }
}
