//! What the authority is answered when it comes to see whether a name is ours.

use std::sync::Arc;

use arc_swap::ArcSwapOption;
use rustls::ServerConfig;
use rustls::server::ClientHello;
use rustls_acme::ResolvesServerCertAcme;

/// Answers of the order that is running, if one is. Clones share it.
#[derive(Clone, Debug, Default)]
pub struct Challenges(Arc<ArcSwapOption<Answers>>);

#[derive(Debug)]
struct Answers {
    resolver: Arc<ResolvesServerCertAcme>,
    /// None where the authority was asked to come to plain HTTP.
    tls: Option<Arc<ServerConfig>>,
}

/// Where an authority looks for files (RFC 8555 section 8.3).
const DIRECTORY: &str = "/.well-known/acme-challenge/";

/// Whether it is an authority that shakes hands here (RFC 8737).
pub fn is_challenge(hello: &ClientHello<'_>) -> bool {
    rustls_acme::is_tls_alpn_challenge(hello)
}

impl Challenges {
    /// What to shake hands with an authority with. `None`: nobody was asked to come.
    pub fn tls(&self) -> Option<Arc<ServerConfig>> {
        self.0.load().as_ref()?.tls.clone()
    }

    /// The file at this path.
    pub fn file(&self, path: &str) -> Option<String> {
        let token = path.strip_prefix(DIRECTORY)?;
        let open = self.0.load();
        open.as_ref()?.resolver.get_http_01_key_auth(token)
    }

    /// Answers until what is returned is dropped.
    pub(super) fn open(
        &self,
        resolver: Arc<ResolvesServerCertAcme>,
        tls: Option<Arc<ServerConfig>>,
    ) -> Open {
        self.0.store(Some(Arc::new(Answers { resolver, tls })));
        Open(self.clone())
    }
}

/// The time in which challenges are answered.
#[derive(Debug)]
pub(super) struct Open(Challenges);

impl Drop for Open {
    fn drop(&mut self) {
        self.0.0.store(None);
    }
}
