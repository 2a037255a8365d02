//! Everything that a client can want, in one run on one port, told apart by what it sends.

use std::io::{Read as _, Write as _};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpStream};
use std::process::{Command, Stdio};

use callbox::turn::stun::address::decode_xor;
use callbox::turn::stun::{AttributeType, Class, Message, Method, TransactionId, Writer};
use tokio_tungstenite::tungstenite;

use super::harness::Callbox;

/// The balancer; everybody else comes from 127.0.0.1.
const BALANCER: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 2);

fn page(callbox: &Callbox, version: &str) -> String {
    let format = "\n%{http_version} %{response_code}";
    let output = callbox.curl(&[version, "--write-out", format, &callbox.url("/")]);
    let text = String::from_utf8(output.stdout).unwrap();
    let error = String::from_utf8(output.stderr).unwrap();
    assert!(text.starts_with("<!doctype html>"), "{error}{text}");
    text.lines().last().unwrap().to_owned()
}

fn heartbeat(callbox: &Callbox) {
    let stream = callbox.tls(Ipv4Addr::LOCALHOST, b"", &["http/1.1"]);
    let url = format!("wss://localhost:{}/ws", callbox.port);
    let (mut socket, _) = tungstenite::client(url, stream).unwrap();
    let beat = tungstenite::Message::text(r#"{"type":"heartbeat"}"#);
    socket.send(beat).unwrap();
    let answer = socket.read().unwrap();
    assert!(answer.to_text().unwrap().contains("heartbeat"));
}

/// coturn's client, to itself through two relays of ours. Over TLS it overlooks messages that came
/// in one piece, with any server.
fn uclient(callbox: &Callbox, options: &[&str]) {
    let output = Command::new("turnutils_uclient")
        .args(["-u", "tester", "-w", "a password for tests"])
        .args(["-p", &callbox.port.to_string()])
        .args(["-y", "-c", "-n", "10", "-z", "20"])
        .args(options)
        .arg("127.0.0.1")
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned();
    let received = text.rsplit_once("tot_recv_msgs=").map(|(_, rest)| rest);
    let received = received.and_then(|rest| rest.lines().next()?.trim().parse::<u32>().ok());
    assert!(received.is_some_and(|n| n > 0), "{options:?}: {text}");
    assert!(output.status.success(), "{options:?}: {text}");
}

/// What `openssl s_client` prints, which is also what comes back.
fn s_client(callbox: &Callbox, options: &[&str], say: &[u8]) -> String {
    let mut child = Command::new("openssl")
        .args(["s_client", "-connect", &callbox.address().to_string()])
        .args(["-ign_eof", "-CAfile"])
        .arg(callbox.certificate())
        .args(options)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut stdin = child.stdin.take().unwrap();
    // It may have failed and gone.
    let _ = stdin.write_all(say);
    let output = child.wait_with_output().unwrap();
    drop(stdin);
    String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned()
}

/// The mapped address in the answer to a Binding request.
fn mapped(stream: &mut (impl std::io::Read + std::io::Write)) -> SocketAddr {
    let mut bytes = [0; 512];
    let id = TransactionId(*b"one port....");
    let length = Writer::new(&mut bytes, Class::Request, Method::BINDING, id)
        .finish()
        .unwrap();
    stream.write_all(&bytes[..length]).unwrap();
    let (header, body) = bytes.split_at_mut(20);
    stream.read_exact(header).unwrap();
    let length = usize::from(u16::from_be_bytes([header[2], header[3]]));
    stream.read_exact(&mut body[..length]).unwrap();
    let message = Message::parse(&bytes[..20 + length]).unwrap();
    let mut attributes = message.attributes();
    let mapped = attributes.find(|attribute| attribute.kind == AttributeType::XOR_MAPPED_ADDRESS);
    decode_xor(mapped.unwrap().value, message.transaction_id()).unwrap()
}

fn answer(mut stream: impl std::io::Read + std::io::Write) -> String {
    let request = b"GET / HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n";
    stream.write_all(request).unwrap();
    let mut bytes = Vec::new();
    stream.read_to_end(&mut bytes).unwrap();
    String::from_utf8(bytes).unwrap()
}

#[test]
fn one_port_serves_every_client_that_comes_to_it() {
    let callbox = Callbox::start("proxy_protocol = [\"127.0.0.2/32\"]", "");
    std::thread::scope(|scope| {
        // TURN over TLS and over TCP, while all the others come.
        scope.spawn(|| uclient(&callbox, &["-t", "-S"]));
        scope.spawn(|| uclient(&callbox, &["-t"]));
        everybody_else(&callbox);
    });
}

fn everybody_else(callbox: &Callbox) {
    let local = IpAddr::from(Ipv4Addr::LOCALHOST);
    assert_eq!(page(callbox, "--http1.1"), "1.1 200");
    assert_eq!(page(callbox, "--http2"), "2 200");
    heartbeat(callbox);

    // STUN over TCP, and over TLS with a name for it.
    let mut plain = TcpStream::connect(callbox.address()).unwrap();
    assert_eq!(mapped(&mut plain), plain.local_addr().unwrap());
    let mut named = callbox.tls(Ipv4Addr::LOCALHOST, b"", &["stun.turn"]);
    assert_eq!(mapped(&mut named).ip(), local);

    // Neither SNI nor ALPN, in both versions of TLS, for HTTP.
    let request = b"GET / HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n";
    for version in ["-tls1_3", "-tls1_2"] {
        let said = s_client(callbox, &["-noservername", version], request);
        assert!(said.contains("Verify return code: 0 (ok)"), "{said}");
        assert!(said.contains("No ALPN negotiated"), "{said}");
        assert!(said.contains("HTTP/1.1 200 OK"), "{said}");
        assert!(said.contains("<!doctype html>"), "{said}");
    }
    let said = s_client(callbox, &["-alpn", "h2,http/1.1"], b"");
    assert!(said.contains("ALPN protocol: h2"), "{said}");

    // Through a load balancer, in front of each of the three.
    let client: SocketAddr = "203.0.113.9:4242".parse().unwrap();
    let v1 = b"PROXY TCP4 203.0.113.9 192.0.2.1 4242 443\r\n";
    let v2 = b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x0c\xcb\0\x71\x09\xc0\0\x02\x01\x10\x92\x01\xbb";
    for header in [&v1[..], v2] {
        let mut turn = callbox.tcp(BALANCER);
        turn.write_all(header).unwrap();
        assert_eq!(mapped(&mut turn), client);
        let mut turns = callbox.tls(BALANCER, header, &[]);
        assert_eq!(mapped(&mut turns), client);
        let https = callbox.tls(BALANCER, header, &["http/1.1"]);
        assert!(answer(https).starts_with("HTTP/1.1 200 OK"));
    }
    let mut silent = callbox.tcp(BALANCER);
    silent.write_all(request).unwrap();
    let mut bytes = Vec::new();
    let _ = silent.read_to_end(&mut bytes);
    assert_eq!(bytes, b"");
    let warned = |line: &str| line.contains(" WARN ") && line.contains("make it send them");
    assert!(callbox.log().lines().any(warned));

    // Plain HTTP is sent to where it belongs, and what nobody speaks is closed.
    let plain = answer(callbox.tcp(Ipv4Addr::LOCALHOST));
    assert!(plain.starts_with("HTTP/1.1 308"), "{plain}");
    let mut strange = callbox.tcp(Ipv4Addr::LOCALHOST);
    strange.write_all(b"\x05\x01\x00").unwrap();
    let mut bytes = Vec::new();
    let _ = strange.read_to_end(&mut bytes);
    assert_eq!(bytes, b"");
}

#[test]
fn a_scanner_finds_no_old_version_and_no_weak_cipher() {
    let callbox = Callbox::start("", "");
    let output = Command::new("sslscan")
        .args(["--no-colour", "--xml=-", "--sni-name=localhost"])
        .args(["--no-heartbleed", "--no-groups"])
        .arg(callbox.address().to_string())
        .output()
        .unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    for version in ["2\"", "3\""] {
        let off = format!("<protocol type=\"ssl\" version=\"{version} enabled=\"0\"");
        assert!(text.contains(&off), "{off}\n{text}");
    }
    for (version, enabled) in [("1.0", 0), ("1.1", 0), ("1.2", 1), ("1.3", 1)] {
        let state = format!("<protocol type=\"tls\" version=\"{version}\" enabled=\"{enabled}\"");
        assert!(text.contains(&state), "{state}\n{text}");
    }
    let ciphers: Vec<&str> = text.lines().filter(|l| l.contains("<cipher ")).collect();
    assert!(ciphers.len() >= 6, "{text}");
    for cipher in ciphers {
        // The tool calls the ciphers of TLS 1.3 acceptable.
        let good = ["strong", "acceptable"].map(|s| format!("strength=\"{s}\""));
        assert!(good.iter().any(|good| cipher.contains(good)), "{cipher}");
        let aead = ["GCM", "POLY1305"];
        assert!(aead.iter().any(|mode| cipher.contains(mode)), "{cipher}");
        assert!(
            cipher.contains("ECDHE-") || cipher.contains("TLSv1.3"),
            "{cipher}"
        );
    }
    assert!(text.contains("<renegotiation supported=\"0\""), "{text}");
}
