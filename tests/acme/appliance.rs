//! The binary with an authority, and a look at the certificate that it shows.

use std::fs;
use std::io::{Read as _, Write as _};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::path::PathBuf;
use std::process::{Command, Output};
use std::sync::Arc;
use std::time::Duration;

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::CryptoProvider;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{ClientConfig, ClientConnection, RootCertStore, SignatureScheme, StreamOwned};
use x509_parser::prelude::{FromDer as _, X509Certificate};

use super::authority::Authority;
use super::harness::{PASSWORD, PATIENCE, Program, Scratch, USER, free_port, until};

/// TLS as a client.
pub(crate) type Tls = StreamOwned<ClientConnection, TcpStream>;

/// A callbox with a state that outlives it.
pub(crate) struct Appliance {
    directory: Scratch,
    process: Program,
    https: u16,
    pub(crate) http: u16,
}

/// How the names are proved.
#[derive(Clone, Copy)]
pub(crate) enum Challenge {
    TlsAlpn01,
    Http01,
}

impl Appliance {
    pub(crate) fn start(authority: &Authority, names: &[&str], challenge: Challenge) -> Self {
        Self::of(&authority.url(), authority, names, challenge)
    }

    /// The same, told of another directory.
    pub(crate) fn of(
        url: &str,
        authority: &Authority,
        names: &[&str],
        challenge: Challenge,
    ) -> Self {
        let directory = Scratch::new("appliance");
        let at = directory.path().display();
        let (https, http, turn) = (authority.https, authority.http, free_port());
        let challenge = match challenge {
            Challenge::TlsAlpn01 => "tls-alpn-01",
            Challenge::Http01 => "http-01",
        };
        let config = format!(
            "host = {names:?}\nexternal_ip = \"127.0.0.1\"\nstate_dir = \"{at}/state\"\n\
             [front]\nhttps = [\"127.0.0.1:{https}\"]\nhttp = [\"127.0.0.1:{http}\"]\n\
             [tls]\nmode = \"acme\"\nacme_directory = \"{url}\"\nacme_email = \"operator@example.com\"\n\
             acme_ca_file = \"{}\"\nacme_challenge = \"{challenge}\"\n\
             [turn]\nlisten = [\"127.0.0.1:{turn}\"]\nallow_peers = [\"127.0.0.0/8\"]\nworkers = 1\n\
             static_users = [{{ username = \"{USER}\", password = \"{PASSWORD}\" }}]\n\
             [admin]\nlisten = []\n[log]\nlevel = \"callbox=debug,info\"\n",
            authority.ca_file().display()
        );
        fs::write(directory.path().join("appliance.toml"), config).unwrap();
        let process = serve(&directory);
        let mut appliance = Self {
            directory,
            process,
            https,
            http,
        };
        appliance.wait();
        appliance
    }

    fn wait(&mut self) {
        until("callbox listens", || {
            assert!(!self.process.has_ended(), "{}", self.log());
            TcpStream::connect(self.address()).is_ok()
        });
    }

    /// Ends it by force and starts it again.
    pub(crate) fn start_again(&mut self) {
        self.process.kill();
        self.process = serve(&self.directory);
        self.wait();
    }

    /// The same with other names.
    pub(crate) fn start_again_as(&mut self, names: &[&str]) {
        let file = self.directory.path().join("appliance.toml");
        let config = fs::read_to_string(&file).unwrap();
        let (_, rest) = config.split_once('\n').unwrap();
        fs::write(&file, format!("host = {names:?}\n{rest}")).unwrap();
        self.start_again();
    }

    pub(crate) fn hang_up(&self) {
        self.process.signal("-HUP");
    }

    pub(crate) fn address(&self) -> SocketAddr {
        SocketAddr::new(Ipv4Addr::LOCALHOST.into(), self.https)
    }

    /// Everything it said, those before it included.
    pub(crate) fn log(&self) -> String {
        self.process.log()
    }

    pub(crate) fn state(&self) -> PathBuf {
        self.directory.path().join("state")
    }

    pub(crate) fn check(&self) -> Output {
        Command::new(env!("CARGO_BIN_EXE_callbox"))
            .args(["check", "--config", "appliance.toml"])
            .current_dir(self.directory.path())
            .output()
            .unwrap()
    }

    /// The certificate that is shown to a client that asks for this name and believes anything.
    pub(crate) fn leaf(&self, name: &str) -> Leaf {
        let mut stream = self.tls(name, credulous(&[]));
        stream.flush().unwrap();
        while stream.conn.is_handshaking() {
            stream.conn.complete_io(&mut stream.sock).unwrap();
        }
        Leaf(
            stream.conn.peer_certificates().unwrap()[0]
                .clone()
                .into_owned(),
        )
    }

    pub(crate) fn tls(&self, name: &str, config: Arc<ClientConfig>) -> Tls {
        let socket = TcpStream::connect(self.address()).unwrap();
        socket.set_read_timeout(Some(PATIENCE)).unwrap();
        let name = ServerName::try_from(name.to_owned()).unwrap();
        let mut connection = ClientConnection::new(config, name).unwrap();
        let mut socket = socket;
        while connection.is_handshaking() {
            connection.complete_io(&mut socket).unwrap();
        }
        StreamOwned::new(connection, socket)
    }

    /// The header of the page, as a browser gets it that trusts `root` alone and checks everything.
    pub(crate) fn page(&self, name: &str, root: &CertificateDer<'static>) -> String {
        let mut stream = self.tls(name, trusting(root));
        let request = format!("GET / HTTP/1.1\r\nHost: {name}\r\nConnection: close\r\n\r\n");
        stream.write_all(request.as_bytes()).unwrap();
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).unwrap();
        let text = String::from_utf8_lossy(&answer).into_owned();
        let (header, _) = text.split_once("\r\n\r\n").unwrap();
        header.to_ascii_lowercase()
    }

    /// Waits for a certificate of somebody else's making.
    pub(crate) fn is_certified(&self, name: &str) -> Leaf {
        until("a certificate from the authority is shown", || {
            self.leaf(name).issuer().contains("Pebble")
        });
        self.leaf(name)
    }

    /// Waits until the log has this text so many times.
    pub(crate) fn says(&self, text: &str, times: usize) {
        let what = format!("the log says {text:?}, {times} times");
        until(&what, || self.log().matches(text).count() >= times);
    }

    /// For so long nothing may happen that `is_so` does not allow.
    pub(crate) fn remains(&self, time: Duration, what: &str, is_so: impl Fn() -> bool) {
        let end = callbox::net::clock::now() + time;
        while callbox::net::clock::now() < end {
            assert!(is_so(), "{what}");
            std::thread::sleep(Duration::from_millis(200));
        }
    }
}

fn serve(directory: &Scratch) -> Program {
    Program::start(
        Command::new(env!("CARGO_BIN_EXE_callbox"))
            .args(["serve", "--config", "appliance.toml"])
            .current_dir(directory.path()),
        directory.path().join("log"),
    )
}

/// A server's certificate.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Leaf(CertificateDer<'static>);

impl Leaf {
    fn read<T>(&self, read: impl Fn(&X509Certificate<'_>) -> T) -> T {
        let (_, certificate) = X509Certificate::from_der(&self.0).unwrap();
        read(&certificate)
    }

    pub(crate) fn issuer(&self) -> String {
        self.read(|certificate| certificate.issuer().to_string())
    }

    /// Seconds since 1970.
    pub(crate) fn until(&self) -> i64 {
        self.read(|certificate| certificate.validity().not_after.timestamp())
    }
}

fn provider() -> Arc<CryptoProvider> {
    Arc::new(rustls::crypto::aws_lc_rs::default_provider())
}

pub(crate) fn trusting(root: &CertificateDer<'static>) -> Arc<ClientConfig> {
    let mut roots = RootCertStore::empty();
    roots.add(root.clone()).unwrap();
    let config = ClientConfig::builder_with_provider(provider())
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    Arc::new(config)
}

/// A client that takes any certificate, because the test is about which one it is.
pub(crate) fn credulous(alpn: &[&str]) -> Arc<ClientConfig> {
    let mut config = ClientConfig::builder_with_provider(provider())
        .with_safe_default_protocol_versions()
        .unwrap()
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(Credulous(provider())))
        .with_no_client_auth();
    config.alpn_protocols = alpn.iter().map(|name| name.as_bytes().to_vec()).collect();
    config.resumption = rustls::client::Resumption::disabled();
    Arc::new(config)
}

#[derive(Debug)]
struct Credulous(Arc<CryptoProvider>);

impl ServerCertVerifier for Credulous {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &rustls::DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.0.signature_verification_algorithms;
        rustls::crypto::verify_tls12_signature(message, certificate, signature, algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &rustls::DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.0.signature_verification_algorithms;
        rustls::crypto::verify_tls13_signature(message, certificate, signature, algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}
