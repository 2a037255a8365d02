//! TLS: what we offer, and the handshake. Which certificate is current is [`crate::cert`]'s.

use std::io;
use std::sync::Arc;

use rustls::crypto::CryptoProvider;
use rustls::crypto::aws_lc_rs::Ticketer;
use rustls::server::Acceptor;
use rustls::{ServerConfig, version};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_rustls::LazyConfigAcceptor;
use tokio_rustls::server::TlsStream;

use super::route::{ALPN_HTTP1, ALPN_HTTP2, ALPN_STUN, ALPN_TURN, Role};
use crate::cert::CertStore;
use crate::cert::acme::{self, Challenges};

/// TLS cannot be set up. Ours or the system's fault, never a client's.
#[derive(Debug, thiserror::Error)]
#[error("setting up TLS failed: {0}")]
pub struct TlsError(#[from] rustls::Error);

/// What is offered, by listener.
#[derive(Debug)]
pub(super) struct Configs {
    https: Arc<ServerConfig>,
    turn: Arc<ServerConfig>,
    websocket: Arc<ServerConfig>,
    challenges: Challenges,
}

impl Configs {
    pub(super) fn new(
        certificates: CertStore,
        provider: Arc<CryptoProvider>,
    ) -> Result<Self, TlsError> {
        let challenges = certificates.challenges().clone();
        let mut config = ServerConfig::builder_with_provider(provider)
            .with_protocol_versions(&[&version::TLS13, &version::TLS12])?
            .with_no_client_auth()
            .with_cert_resolver(Arc::new(certificates));
        // Tickets that carry their own state: resuming costs a client one round trip less and us
        // no memory.
        config.ticketer = Ticketer::new()?;
        // A client that names only protocols we do not have is refused by rustls with the alert
        // that says so (RFC 7301 section 3.2); one that names none is served.
        config.alpn_protocols = [ALPN_TURN, ALPN_STUN].map(<[u8]>::to_vec).to_vec();
        let turn = Arc::new(config.clone());
        // Ours is the order that counts: who names TURN at all wants TURN.
        config.alpn_protocols = [ALPN_TURN, ALPN_STUN, ALPN_HTTP2, ALPN_HTTP1]
            .map(<[u8]>::to_vec)
            .to_vec();
        let https = Arc::new(config.clone());
        config.alpn_protocols = vec![ALPN_HTTP1.to_vec()];
        Ok(Self {
            https,
            turn,
            websocket: Arc::new(config),
            challenges,
        })
    }

    /// The handshake, whole. The caller has the deadline.
    pub(super) async fn accept<IO>(&self, role: Role, io: IO) -> io::Result<TlsStream<IO>>
    where
        IO: AsyncRead + AsyncWrite + Unpin,
    {
        let hello = LazyConfigAcceptor::new(Acceptor::default(), io).await?;
        let is_challenge = role == Role::Https && acme::is_challenge(&hello.client_hello());
        // One that nobody is expecting is refused as any protocol that is not spoken here.
        let challenge = is_challenge.then(|| self.challenges.tls()).flatten();
        let config = match role {
            Role::Turn => &self.turn,
            Role::Wss => &self.websocket,
            Role::Https | Role::Http | Role::Ws => &self.https,
        };
        let config = challenge.unwrap_or_else(|| Arc::clone(config));
        hello.into_stream(config).await
    }
}
