//! A front door on ports of its own, and clients simple enough to send what no library would.

use std::net::{IpAddr, SocketAddr};
use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use callbox::assets::{Assets, Embedded, Variant};
use callbox::cert::{CertStore, self_signed};
use callbox::config::settings::{
    Admin, ExternalIp, Front, Hsts, Ice, IceAccess, IcePolicy, Log, LogFormat, Signaling, Tls,
    Turn, Web,
};
use callbox::config::{Secret, Settings};
use callbox::front::{self, Listener, Role, Stats};
use callbox::http::{Parts, Services, To};
use callbox::ice::{Endpoints, Issuer};
use callbox::net::clock;
use callbox::net::stream::ClientStream;
use callbox::shutdown::Drain;
use callbox::signal::hub::Hub;
use callbox::signal::keyring::Keyring;
use callbox::signal::reception::Reception;
use callbox::state::StateDir;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

/// Longer than anything here takes, shorter than anybody's patience.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);

pub(crate) const SECRET: &str = "a secret of the test";

pub(crate) const BINDING: &[u8] = b"\x00\x01\x00\x00\x21\x12\xa4\x42abcdefghijkl";

static TABLE: &[Embedded] = &[
    Embedded {
        path: "app.js",
        content_type: "text/javascript; charset=utf-8",
        identity: Variant {
            bytes: b"plain code",
            etag: "\"js\"",
        },
        gzip: Some(Variant {
            bytes: b"gzip",
            etag: "\"js-gz\"",
        }),
        brotli: Some(Variant {
            bytes: b"br",
            etag: "\"js-br\"",
        }),
    },
    Embedded {
        path: "index.html",
        content_type: "text/html; charset=utf-8",
        identity: Variant {
            bytes: b"<!doctype html>call",
            etag: "\"page\"",
        },
        gzip: None,
        brotli: None,
    },
];

/// A directory that goes away with the test.
pub(crate) struct Scratch(pub(crate) PathBuf);

impl Scratch {
    pub(crate) fn new(what: &str) -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let name = format!("callbox-front-{what}-{}-{number}", std::process::id());
        Self(std::env::temp_dir().join(name))
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// What a test may change.
pub(crate) struct Setup {
    pub(crate) settings: Settings,
    pub(crate) assets: Assets,
    pub(crate) endpoints: Endpoints,
    pub(crate) redirect: bool,
    pub(crate) keyring: Option<Arc<Keyring>>,
}

impl Default for Setup {
    fn default() -> Self {
        Self {
            settings: settings(),
            assets: Assets::table(TABLE),
            endpoints: Endpoints {
                udp_port: Some(3478),
                web_udp_port: None,
                tcp_port: Some(3479),
                tls_port: Some(8443),
            },
            redirect: true,
            keyring: None,
        }
    }
}

pub(crate) struct Door {
    pub(crate) https: SocketAddr,
    pub(crate) http: SocketAddr,
    pub(crate) turn: SocketAddr,
    pub(crate) ws: SocketAddr,
    pub(crate) wss: SocketAddr,
    pub(crate) drain: Drain,
    pub(crate) stats: Arc<Stats>,
    pub(crate) services: Services,
    pub(crate) certificates: CertStore,
    pub(crate) certificate: CertificateDer<'static>,
    handed_over: mpsc::Receiver<ClientStream>,
    _state: Scratch,
}

impl Setup {
    pub(crate) async fn open(self) -> Door {
        let state = Scratch::new("state");
        let directory = StateDir::open(&state.0).unwrap();
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let addresses: [IpAddr; 1] = ["127.0.0.1".parse().unwrap()];
        let now = clock::unix_time();
        let names = &self.settings.host;
        let made = self_signed::load_or_make(&directory, names, &addresses, now, &provider);
        let made = made.unwrap();
        let certificate = made.cert[0].clone();
        let certificates = CertStore::new(made);

        let drain = Drain::new();
        let parts = Parts {
            assets: self.assets,
            hub: Hub::start(
                &self.settings.signaling,
                Reception::new(
                    &self.settings.signaling,
                    &Secret::new(SECRET),
                    Issuer {
                        secret: Secret::new(SECRET),
                        endpoints: self.endpoints,
                        ttl: self.settings.turn.credential_ttl,
                        policy: self.settings.ice.policy,
                        extra_servers: Vec::new(),
                    },
                    self.keyring,
                ),
                &drain,
            ),
            secret: Secret::new(SECRET),
            certificates: certificates.clone(),
            endpoints: self.endpoints,
            prober: None,
            addresses: vec!["192.0.2.1".parse().unwrap()],
        };
        let services = Services::new(&self.settings, parts).unwrap();
        let mut sockets = Vec::new();
        for _ in Role::ALL {
            sockets.push(TcpListener::bind("127.0.0.1:0").await.unwrap());
        }
        let addresses: Vec<SocketAddr> = sockets.iter().map(|s| s.local_addr().unwrap()).collect();
        let redirected = match self.redirect {
            true => To::Port(addresses[0].port()),
            false => To::Nowhere,
        };
        let roles = [
            (Role::Https, To::SamePort),
            (Role::Http, redirected),
            (Role::Turn, To::Nowhere),
            (Role::Ws, To::Nowhere),
            (Role::Wss, To::Nowhere),
        ];
        let listeners = sockets
            .into_iter()
            .zip(roles)
            .map(|(socket, (role, plain))| Listener {
                socket,
                role,
                plain,
            })
            .collect();
        let (sender, handed_over) = mpsc::channel(16);
        let serving = front::serve(
            listeners,
            services.clone(),
            certificates.clone(),
            provider,
            Arc::new(move |stream| sender.try_send(stream).unwrap()),
            &self.settings.front,
            &drain,
        )
        .unwrap();
        Door {
            https: addresses[0],
            http: addresses[1],
            turn: addresses[2],
            ws: addresses[3],
            wss: addresses[4],
            drain,
            stats: Arc::clone(serving.stats()),
            services,
            certificates,
            certificate,
            handed_over,
            _state: state,
        }
    }
}

impl Door {
    pub(crate) async fn open() -> Self {
        Setup::default().open().await
    }

    /// The next connection that was recognised as TURN.
    pub(crate) async fn turn_client(&mut self) -> ClientStream {
        within(self.handed_over.recv()).await.unwrap()
    }

    /// A client configuration that trusts this door's certificate, and nothing else.
    pub(crate) fn trusting(&self, alpn: &[&str]) -> ClientConfig {
        let mut roots = RootCertStore::empty();
        roots.add(self.certificate.clone()).unwrap();
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let mut config = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(roots)
            .with_no_client_auth();
        config.alpn_protocols = alpn.iter().map(|name| name.as_bytes().to_vec()).collect();
        config
    }

    /// A TLS connection to the HTTPS port.
    pub(crate) async fn tls(&self, alpn: &[&str]) -> TlsStream<TcpStream> {
        tls(self.https, self.trusting(alpn)).await.unwrap()
    }

    /// One request to the HTTPS port, over HTTP/1.1 and TLS.
    pub(crate) async fn ask(&self, request: &str) -> Reply {
        ask(self.tls(&["http/1.1"]).await, request).await
    }

    /// A GET with these extra header lines.
    pub(crate) async fn get(&self, path: &str, headers: &[&str]) -> Reply {
        let extra: String = headers.iter().map(|line| format!("{line}\r\n")).collect();
        let port = self.https.port();
        self.ask(&format!(
            "GET {path} HTTP/1.1\r\nHost: localhost:{port}\r\nConnection: close\r\n{extra}\r\n"
        ))
        .await
    }
}

impl Drop for Door {
    fn drop(&mut self) {
        self.drain.begin();
    }
}

pub(crate) async fn tls(
    address: SocketAddr,
    config: ClientConfig,
) -> std::io::Result<TlsStream<TcpStream>> {
    tls_over(TcpStream::connect(address).await?, config).await
}

/// The same over a connection on which something has been said.
pub(crate) async fn tls_over(
    tcp: TcpStream,
    config: ClientConfig,
) -> std::io::Result<TlsStream<TcpStream>> {
    let name = ServerName::try_from("localhost").unwrap();
    within(TlsConnector::from(Arc::new(config)).connect(name, tcp)).await
}

/// Fails the test instead of hanging it.
pub(crate) async fn within<F: Future>(work: F) -> F::Output {
    tokio::time::timeout(PATIENCE, work)
        .await
        .expect("it takes too long")
}

/// What came back.
#[derive(Debug)]
pub(crate) struct Reply {
    pub(crate) status: u16,
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) body: Vec<u8>,
}

impl Reply {
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        let mut found = self.headers.iter().filter(|(n, _)| n == name);
        let value = found.next().map(|(_, value)| value.as_str());
        assert!(found.next().is_none(), "{name} comes twice");
        value
    }

    pub(crate) fn text(&self) -> &str {
        std::str::from_utf8(&self.body).unwrap()
    }

    pub(crate) fn json(&self) -> serde_json::Value {
        serde_json::from_slice(&self.body).unwrap()
    }
}

/// Sends a request that asks for the connection to be closed, and reads to the end.
pub(crate) async fn ask<S: AsyncRead + AsyncWrite + Unpin>(mut stream: S, request: &str) -> Reply {
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut bytes = Vec::new();
    within(stream.read_to_end(&mut bytes)).await.unwrap();
    parse(&bytes)
}

/// Sends a request and reads one answer, leaving the connection open.
pub(crate) async fn ask_on<S: AsyncRead + AsyncWrite + Unpin>(
    stream: &mut S,
    request: &str,
) -> Reply {
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut bytes = Vec::new();
    loop {
        let mut piece = [0; 4096];
        let length = within(stream.read(&mut piece)).await.unwrap();
        assert_ne!(
            length,
            0,
            "closed after {:?}",
            String::from_utf8_lossy(&bytes)
        );
        bytes.extend_from_slice(&piece[..length]);
        let Some(end) = bytes.windows(4).position(|w| w == b"\r\n\r\n") else {
            continue;
        };
        let reply = parse(&bytes);
        let announced = reply.header("content-length").unwrap_or("0");
        if bytes.len() - end - 4 >= announced.parse().unwrap() {
            return reply;
        }
    }
}

fn parse(bytes: &[u8]) -> Reply {
    let end = bytes
        .windows(4)
        .position(|window| window == b"\r\n\r\n")
        .unwrap_or_else(|| panic!("no header in {:?}", String::from_utf8_lossy(bytes)));
    let head = std::str::from_utf8(&bytes[..end]).unwrap();
    let mut lines = head.split("\r\n");
    let status = lines.next().unwrap().split(' ').nth(1).unwrap();
    let headers = lines
        .map(|line| line.split_once(':').unwrap())
        .map(|(name, value)| (name.to_ascii_lowercase(), value.trim().to_owned()))
        .collect();
    Reply {
        status: status.parse().unwrap(),
        headers,
        body: bytes[end + 4..].to_vec(),
    }
}

/// Polls until `done`, or fails.
pub(crate) async fn until(what: &str, done: impl Fn() -> bool) {
    let end = clock::now() + PATIENCE;
    while !done() {
        assert!(clock::now() < end, "never: {what}");
        tokio::task::yield_now().await;
    }
}

/// Collects what was counted.
pub(crate) fn count(counter: &std::sync::atomic::AtomicU64) -> u64 {
    counter.load(Ordering::Relaxed)
}

pub(crate) fn settings() -> Settings {
    let some = |number| NonZeroUsize::new(number).unwrap();
    Settings {
        host: Vec::new(),
        external_ip: ExternalIp::Auto,
        drain_timeout: PATIENCE,
        hand_over_timeout: PATIENCE,
        state_dir: PathBuf::new(),
        front: Front {
            https: Vec::new(),
            http: Vec::new(),
            redirect: true,
            hsts: Hsts::Auto,
            handshake_timeout: PATIENCE,
            header_timeout: PATIENCE,
            idle_timeout: PATIENCE,
            max_connections: some(1000),
            max_per_ip: some(1000),
            proxy_protocol: Vec::new(),
            probes: false,
        },
        tls: Tls::SelfSigned,
        signaling: Signaling {
            allowed_origins: vec!["https://friend.example".to_owned()],
            ..Settings::builtin(PathBuf::new()).signaling
        },
        turn: Turn {
            listen: Vec::new(),
            realm: None,
            relay_ports: 49152..=65535,
            credential_ttl: Duration::from_secs(12 * 3600),
            secret: None,
            static_users: Vec::new(),
            allow_peers: Vec::new(),
            deny_peers: Vec::new(),
            user_quota: 12,
            total_quota: 0,
            max_bps_per_allocation: 0,
            max_bps: 0,
            discovery: false,
            classic_stun: false,
            tcp_relays: false,
            workers: some(1),
        },
        ice: Ice {
            policy: IcePolicy::All,
            extra_servers: Vec::new(),
            access: IceAccess::SameOrigin,
            api_keys: Vec::new(),
        },
        web: Web {
            dir: None,
            csp: None,
            cors_origins: Vec::new(),
            spa: false,
        },
        proxy: Vec::new(),
        admin: Admin {
            listen: Vec::new(),
            chosen: false,
            token: None,
        },
        log: Log {
            level: "info".to_owned(),
            format: LogFormat::Text,
            privacy: true,
        },
    }
}
