//! The certificate that new connections are given, replaceable while the process runs.

use std::sync::Arc;

use arc_swap::ArcSwap;
use rustls::crypto::CryptoProvider;
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;

use super::acme::Challenges;
use super::leaf::Leaf;
use super::status::{Source, Status};
use super::trust;
use crate::net::clock;

/// Holds the current certificate. Clones see each other's replacements.
#[derive(Clone, Debug)]
pub struct CertStore {
    current: Arc<ArcSwap<CertifiedKey>>,
    status: Status,
    challenges: Challenges,
}

impl CertStore {
    /// Starts with this one, of which nothing is known.
    pub fn new(certificate: CertifiedKey) -> Self {
        Self {
            current: Arc::new(ArcSwap::from_pointee(certificate)),
            status: Status::default(),
            challenges: Challenges::default(),
        }
    }

    /// Gives this one to every handshake from now on. Connections that exist keep theirs.
    pub fn replace(&self, certificate: CertifiedKey) {
        self.current.store(Arc::new(certificate));
    }

    /// The same, and tells [`CertStore::status`]. `hosts` are the names it should be good for; none
    /// leaves it to the certificate.
    pub fn install(
        &self,
        certificate: CertifiedKey,
        source: Source,
        hosts: &[String],
        provider: &Arc<CryptoProvider>,
    ) {
        let leaf = Leaf::of(&certificate);
        let names = match hosts {
            [] => leaf.names.as_slice(),
            hosts => hosts,
        };
        let public = source != Source::SelfSigned
            && trust::is_trusted(
                &certificate,
                names,
                clock::unix_time(),
                trust::public_roots(),
                provider,
            );
        self.replace(certificate);
        self.status.installed(source, leaf, public);
    }

    /// The one that is given out now.
    pub fn current(&self) -> Arc<CertifiedKey> {
        self.current.load_full()
    }

    /// How it stands with it.
    pub fn status(&self) -> &Status {
        &self.status
    }

    /// What a certificate authority may come to ask.
    pub fn challenges(&self) -> &Challenges {
        &self.challenges
    }
}

impl ResolvesServerCert for CertStore {
    /// One certificate for every name and for none: TURN clients often send no SNI, and a page
    /// opened by address cannot.
    fn resolve(&self, _hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(self.current())
    }
}
