//! The certificate that new connections are given, replaceable while the process runs.

use std::sync::Arc;

use arc_swap::ArcSwap;
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;

/// Holds the current certificate. Clones see each other's replacements.
#[derive(Clone, Debug)]
pub struct CertStore {
    current: Arc<ArcSwap<CertifiedKey>>,
}

impl CertStore {
    /// Starts with this one.
    pub fn new(certificate: CertifiedKey) -> Self {
        Self {
            current: Arc::new(ArcSwap::from_pointee(certificate)),
        }
    }

    /// Gives this one to every handshake from now on. Connections that exist keep theirs.
    pub fn replace(&self, certificate: CertifiedKey) {
        self.current.store(Arc::new(certificate));
    }

    /// The one that is given out now.
    pub fn current(&self) -> Arc<CertifiedKey> {
        self.current.load_full()
    }
}

impl ResolvesServerCert for CertStore {
    /// One certificate for every name and for none: TURN clients often send no SNI, and a page
    /// opened by address cannot.
    fn resolve(&self, _hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(self.current())
    }
}
