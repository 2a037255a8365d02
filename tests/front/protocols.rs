//! One port for everything: who is recognised as what, and who is not let in.

use std::io::{Read as _, Write as _};

use callbox::cert::self_signed;
use callbox::net::clock;
use callbox::net::stream::ClientStream;
use callbox::state::StateDir;
use rustls::{AlertDescription, HandshakeKind, NamedGroup};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use crate::door::{BINDING, Door, Scratch, Setup, ask, count, tls, within};

const CLOSING: &str = "GET / HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n";

#[tokio::test]
async fn http2_is_spoken_where_it_was_negotiated() {
    let door = Door::open().await;
    let mut stream = door.tls(&["h2", "http/1.1"]).await;
    assert_eq!(stream.get_ref().1.alpn_protocol(), Some(&b"h2"[..]));
    // The preface, empty SETTINGS, and HEADERS that end stream 1: GET, https, /, :authority.
    let mut bytes = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec();
    bytes.extend([0, 0, 0, 4, 0, 0, 0, 0, 0]);
    let block = b"\x82\x87\x84\x41\x09localhost";
    bytes.extend([0, 0, block.len() as u8, 1, 5, 0, 0, 0, 1]);
    bytes.extend(block);
    stream.write_all(&bytes).await.unwrap();
    let mut body = Vec::new();
    let mut status = None;
    loop {
        let mut header = [0; 9];
        within(stream.read_exact(&mut header)).await.unwrap();
        let length = u32::from_be_bytes([0, header[0], header[1], header[2]]) as usize;
        let mut payload = vec![0; length];
        within(stream.read_exact(&mut payload)).await.unwrap();
        match header[3] {
            // `:status: 200` is entry 8 of HPACK's static table.
            1 => status = Some(payload[0]),
            0 => body.extend(payload),
            _ => {}
        }
        let ends_stream = matches!(header[3], 0 | 1) && header[4] & 1 == 1;
        if ends_stream {
            break;
        }
    }
    assert_eq!(status, Some(0x88));
    assert_eq!(body, b"<!doctype html>call");
}

#[tokio::test]
async fn http1_is_spoken_with_alpn_and_without_and_without_a_server_name() {
    let door = Door::open().await;
    let page = "<!doctype html>call";
    assert_eq!(door.get("/", &[]).await.text(), page);

    let unnamed = ask(door.tls(&[]).await, CLOSING).await;
    assert_eq!((unnamed.status, unnamed.text()), (200, page));

    let mut config = door.trusting(&[]);
    config.enable_sni = false;
    let stream = tls(door.https, config).await.unwrap();
    assert_eq!(ask(stream, CLOSING).await.text(), page);
}

#[tokio::test]
async fn the_key_exchange_is_post_quantum_and_a_second_visit_resumes() {
    let door = Door::open().await;
    let config = door.trusting(&["http/1.1"]);
    let mut first = tls(door.https, config.clone()).await.unwrap();
    let group = first.get_ref().1.negotiated_key_exchange_group().unwrap();
    assert_eq!(group.name(), NamedGroup::X25519MLKEM768);
    // Tickets follow the handshake, so something has to be read.
    first.write_all(CLOSING.as_bytes()).await.unwrap();
    within(first.read_to_end(&mut Vec::new())).await.unwrap();
    let second = tls(door.https, config).await.unwrap();
    let kind = second.get_ref().1.handshake_kind();
    assert_eq!(kind, Some(HandshakeKind::Resumed));
}

#[tokio::test]
async fn clients_of_tls_1_2_resume_as_well_and_on_either_port() {
    let door = Door::open().await;
    let provider = rustls::crypto::aws_lc_rs::default_provider();
    let mut roots = rustls::RootCertStore::empty();
    roots.add(door.certificate.clone()).unwrap();
    let config = rustls::ClientConfig::builder_with_provider(provider.into())
        .with_protocol_versions(&[&rustls::version::TLS12])
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    let mut kinds = Vec::new();
    // A TURN client that comes back may come to the other port.
    for address in [door.https, door.https, door.turn] {
        let stream = tls(address, config.clone()).await.unwrap();
        kinds.push(stream.get_ref().1.handshake_kind().unwrap());
    }
    assert_eq!(kinds[0], HandshakeKind::Full);
    assert_eq!(kinds[1..], [HandshakeKind::Resumed, HandshakeKind::Resumed]);
}

#[tokio::test]
async fn plain_http_on_the_https_port_is_sent_to_https_on_the_same_port() {
    let door = Door::open().await;
    let port = door.https.port();
    let request = format!("GET /r/room?x=1 HTTP/1.1\r\nHost: localhost:{port}\r\n\r\n");
    let reply = ask(TcpStream::connect(door.https).await.unwrap(), &request).await;
    assert_eq!(reply.status, 308);
    let expected = format!("https://localhost:{port}/r/room?x=1");
    assert_eq!(reply.header("location"), Some(&*expected));
}

#[tokio::test]
async fn the_http_port_redirects_or_knows_nothing() {
    let door = Door::open().await;
    let request = "POST /a?b HTTP/1.1\r\nHost: localhost:80\r\nContent-Length: 0\r\n\r\n";
    let reply = ask(TcpStream::connect(door.http).await.unwrap(), request).await;
    assert_eq!(reply.status, 308);
    let expected = format!("https://localhost:{}/a?b", door.https.port());
    assert_eq!(reply.header("location"), Some(&*expected));
    assert_eq!(reply.header("x-content-type-options"), Some("nosniff"));

    let bad = "GET / HTTP/1.1\r\nHost: a/b\r\n\r\n";
    let reply = ask(TcpStream::connect(door.http).await.unwrap(), bad).await;
    assert_eq!((reply.status, reply.header("location")), (400, None));

    let closed = Setup {
        redirect: false,
        ..Setup::default()
    };
    let door = closed.open().await;
    let reply = ask(TcpStream::connect(door.http).await.unwrap(), request).await;
    assert_eq!((reply.status, reply.header("location")), (404, None));
}

#[tokio::test]
async fn plain_stun_reaches_turn_with_every_byte_however_it_arrives() {
    let mut door = Door::open().await;
    for address in [door.https, door.turn] {
        let mut stream = TcpStream::connect(address).await.unwrap();
        stream.set_nodelay(true).unwrap();
        for byte in &BINDING[..6] {
            stream.write_all(&[*byte]).await.unwrap();
        }
        stream.write_all(&BINDING[6..]).await.unwrap();
        stream.write_all(b"and more").await.unwrap();
        let handed = door.turn_client().await;
        assert!(handed.tls.is_none());
        assert_eq!(handed.peer, stream.local_addr().unwrap());
        assert_eq!(handed.local, address);
        assert!(handed.received.len() <= 20);
        let mut socket = handed.socket;
        socket.set_nonblocking(false).unwrap();
        let mut all = handed.received;
        while all.len() < BINDING.len() + 8 {
            let mut piece = [0; 64];
            let length = socket.read(&mut piece).unwrap();
            assert_ne!(length, 0);
            all.extend_from_slice(&piece[..length]);
        }
        assert_eq!(all, [BINDING, b"and more"].concat());
        socket.write_all(b"answer").unwrap();
        let mut answer = [0; 6];
        within(stream.read_exact(&mut answer)).await.unwrap();
        assert_eq!(&answer, b"answer");
    }
}

/// What a TURN worker would do: replay, then read and write through the TLS layer.
fn echo(handed: ClientStream, total: usize) {
    handed.socket.set_nonblocking(false).unwrap();
    let mut tls = handed.tls.unwrap();
    // The worker waits for the socket: what was decrypted already must be in `received`.
    let left = tls.reader().read(&mut [0; 1]).unwrap_err();
    assert_eq!(left.kind(), std::io::ErrorKind::WouldBlock);
    assert!(!tls.wants_write() && !tls.is_handshaking());
    let mut stream = rustls::StreamOwned::new(*tls, handed.socket);
    stream.write_all(&handed.received).unwrap();
    let mut seen = handed.received.len();
    while seen < total {
        let mut piece = [0; 4096];
        let length = stream.read(&mut piece).unwrap();
        assert_ne!(length, 0);
        stream.write_all(&piece[..length]).unwrap();
        seen += length;
    }
}

#[tokio::test]
async fn stun_inside_tls_reaches_turn_with_a_working_tls_layer() {
    let mut door = Door::open().await;
    let message = [BINDING, &[7; 30_000]].concat();
    for address in [door.https, door.turn] {
        for alpn in [&[][..], &["stun.turn"]] {
            for version in [&rustls::version::TLS13, &rustls::version::TLS12] {
                let mut config = door.trusting(alpn);
                if version.version == rustls::ProtocolVersion::TLSv1_2 {
                    let provider = rustls::crypto::aws_lc_rs::default_provider();
                    let mut roots = rustls::RootCertStore::empty();
                    roots.add(door.certificate.clone()).unwrap();
                    config = rustls::ClientConfig::builder_with_provider(provider.into())
                        .with_protocol_versions(&[version])
                        .unwrap()
                        .with_root_certificates(roots)
                        .with_no_client_auth();
                    config.alpn_protocols = alpn.iter().map(|a| a.as_bytes().to_vec()).collect();
                }
                config.enable_sni = false;
                let mut stream = tls(address, config).await.unwrap();
                // Several records in one flight: none may stay behind in the hand-over.
                stream.write_all(&message).await.unwrap();
                let handed = door.turn_client().await;
                assert_eq!(&handed.received[..BINDING.len()], BINDING);
                let total = message.len() + 5;
                let worker = tokio::task::spawn_blocking(move || echo(handed, total));
                stream.write_all(b"later").await.unwrap();
                let mut back = vec![0; total];
                within(stream.read_exact(&mut back)).await.unwrap();
                assert_eq!(back, [&*message, b"later"].concat());
                worker.await.unwrap();
            }
        }
    }
    assert_eq!(count(&door.stats.turn), 8);
}

#[tokio::test]
async fn a_client_that_offers_only_strange_protocols_is_told_so() {
    let door = Door::open().await;
    let refusals = [
        (door.https, &["ftp", "acme-tls/1"][..]),
        (door.turn, &["h2", "http/1.1"]),
    ];
    for (address, alpn) in refusals {
        let error = tls(address, door.trusting(alpn)).await.unwrap_err();
        let inner = error.get_ref().unwrap().downcast_ref::<rustls::Error>();
        let expected = rustls::Error::AlertReceived(AlertDescription::NoApplicationProtocol);
        assert_eq!(inner, Some(&expected));
    }
}

#[tokio::test]
async fn what_is_not_served_is_closed() {
    let door = Door::open().await;
    for (address, bytes) in [
        (door.https, &b"\x05\x01\x00"[..]),
        (door.https, &[0; 20]),
        (door.https, b"\x80\x2e\x01\x03"),
        (door.turn, b"GET / HTTP/1.1\r\n\r\n"),
        (door.http, BINDING),
        (door.http, b"\x16\x03\x01\x00\x05hello"),
    ] {
        let mut stream = TcpStream::connect(address).await.unwrap();
        stream.write_all(bytes).await.unwrap();
        let mut answer = Vec::new();
        // Closed with or without a reset, but without a word.
        let _ = within(stream.read_to_end(&mut answer)).await;
        assert_eq!(answer, b"", "{bytes:?}");
    }
    // The same inside of TLS.
    for (address, alpn, bytes) in [
        (door.turn, None, CLOSING.as_bytes()),
        (door.https, None, b"\x05\x01\x00"),
        (door.https, Some("stun.turn"), CLOSING.as_bytes()),
    ] {
        let config = door.trusting(alpn.as_slice());
        let mut stream = tls(address, config).await.unwrap();
        stream.write_all(bytes).await.unwrap();
        let mut answer = Vec::new();
        let _ = within(stream.read_to_end(&mut answer)).await;
        assert_eq!(answer, b"", "{alpn:?}");
    }
    assert_eq!(count(&door.stats.turn), 0);
    assert_eq!(count(&door.stats.http), 0);
}

#[tokio::test]
async fn an_http2_preface_without_alpn_is_not_http2() {
    let door = Door::open().await;
    let preface = "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
    let mut stream = door.tls(&[]).await;
    stream.write_all(preface.as_bytes()).await.unwrap();
    let mut answer = Vec::new();
    let _ = within(stream.read_to_end(&mut answer)).await;
    assert!(!answer.starts_with(&[0, 0]), "{answer:?}");
}

#[tokio::test]
async fn a_new_certificate_is_used_from_the_next_connection_on() {
    let door = Door::open().await;
    let mut old = door.tls(&["http/1.1"]).await;
    let scratch = Scratch::new("other");
    let state = StateDir::open(&scratch.0).unwrap();
    let provider = rustls::crypto::aws_lc_rs::default_provider();
    let now = clock::unix_time();
    let other = self_signed::load_or_make(&state, &[], &[], now, &provider).unwrap();
    let leaf = other.cert[0].clone();
    door.certificates.replace(other);

    assert!(tls(door.https, door.trusting(&[])).await.is_err());
    let mut roots = rustls::RootCertStore::empty();
    roots.add(leaf).unwrap();
    let config = rustls::ClientConfig::builder_with_provider(provider.into())
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    let new = tls(door.https, config).await.unwrap();
    assert_eq!(ask(new, CLOSING).await.status, 200);
    // Who was here stays.
    old.write_all(CLOSING.as_bytes()).await.unwrap();
    let mut answer = Vec::new();
    within(old.read_to_end(&mut answer)).await.unwrap();
    assert!(answer.starts_with(b"HTTP/1.1 200"));
}
