//! Connecting as a client: TCP, TLS and one HTTP request, each with a deadline.
//!
//! Certificates are taken as they come and judged elsewhere: what is wrong with one is a finding
//! of its own, and must not hide what is behind it.

use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::client::conn::http1;
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{ClientConfig, DigitallySignedStruct, SignatureScheme};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

/// For a connection: a lost SYN is sent again after a second.
pub const CONNECT: Duration = Duration::from_millis(2500);

/// For a handshake, and for an answer.
pub const ANSWER: Duration = Duration::from_secs(3);

/// Bytes of an answer that anybody here is interested in.
const MAX_BODY: usize = 64 * 1024;

/// Why there is no connection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Closed {
    /// Nobody listens there, and the machine says so.
    Refused,
    /// Nothing comes back: a firewall, or no machine.
    Silent,
    /// Another error of the kernel's.
    Failed(String),
}

impl fmt::Display for Closed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Refused => f.write_str("refused"),
            Self::Silent => f.write_str("no answer"),
            Self::Failed(error) => f.write_str(error),
        }
    }
}

/// A TCP connection.
pub async fn tcp(address: SocketAddr) -> Result<TcpStream, Closed> {
    match timeout(CONNECT, TcpStream::connect(address)).await {
        Ok(Ok(stream)) => {
            // Small messages that wait for their answers.
            let _ = stream.set_nodelay(true);
            Ok(stream)
        }
        Ok(Err(error)) if error.kind() == io::ErrorKind::ConnectionRefused => Err(Closed::Refused),
        Ok(Err(error)) if error.kind() == io::ErrorKind::TimedOut => Err(Closed::Silent),
        Ok(Err(error)) => Err(Closed::Failed(error.to_string())),
        Err(_) => Err(Closed::Silent),
    }
}

/// TLS over a connection, asking for `name`, whatever certificate is shown.
pub async fn tls(stream: TcpStream, name: &str) -> Result<TlsStream<TcpStream>, String> {
    let bare = name
        .trim_start_matches('[')
        .trim_end_matches(']')
        .to_owned();
    let name = ServerName::try_from(bare).map_err(|_| format!("{name} is no server name"))?;
    let config = credulous().map_err(|error| error.to_string())?;
    match timeout(ANSWER, TlsConnector::from(config).connect(name, stream)).await {
        Ok(Ok(stream)) => Ok(stream),
        Ok(Err(error)) => Err(error.to_string()),
        Err(_) => Err("the TLS handshake is not answered".to_owned()),
    }
}

/// The chain that was shown, leaf first.
pub fn chain(stream: &TlsStream<TcpStream>) -> Vec<CertificateDer<'static>> {
    let shown = stream.get_ref().1.peer_certificates().unwrap_or_default();
    shown.iter().map(|der| der.clone().into_owned()).collect()
}

/// One request, one answer, read to its end.
pub async fn http<S>(
    stream: S,
    request: Request<Full<Bytes>>,
    within: Duration,
) -> Result<Response<Bytes>, String>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let exchange = async {
        let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
        // It ends with the sender, and not before the last byte of the answer is in.
        let answered = async move {
            let answer = sender.send_request(request).await?;
            let (head, body) = answer.into_parts();
            let body = Limited::new(body, MAX_BODY).collect().await;
            Ok(body.map(|body| Response::from_parts(head, body.to_bytes())))
        };
        let (answer, _) = tokio::join!(answered, connection);
        answer
    };
    match timeout(within, exchange).await {
        Ok(Ok(Ok(answer))) => Ok(answer),
        Ok(Ok(Err(error))) => Err(error.to_string()),
        Ok(Err(error)) => Err(hyper_error(&error)),
        Err(_) => Err("no answer in time".to_owned()),
    }
}

fn hyper_error(error: &hyper::Error) -> String {
    match std::error::Error::source(error) {
        Some(source) => format!("{error}: {source}"),
        None => error.to_string(),
    }
}

fn credulous() -> Result<Arc<ClientConfig>, rustls::Error> {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let mut config = ClientConfig::builder_with_provider(Arc::clone(&provider))
        .with_safe_default_protocol_versions()?
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(Credulous(provider)))
        .with_no_client_auth();
    // Resuming would hide the certificate.
    config.resumption = rustls::client::Resumption::disabled();
    Ok(Arc::new(config))
}

/// Believes every certificate; who has its key is verified all the same.
#[derive(Debug)]
struct Credulous(Arc<CryptoProvider>);

impl ServerCertVerifier for Credulous {
    fn verify_server_cert(
        &self,
        _end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls12_signature(
            message,
            cert,
            signed,
            &self.0.signature_verification_algorithms,
        )
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls13_signature(
            message,
            cert,
            signed,
            &self.0.signature_verification_algorithms,
        )
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}
