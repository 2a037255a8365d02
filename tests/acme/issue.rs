//! First certificates.

use std::fs;
use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::os::unix::fs::PermissionsExt as _;

use super::appliance::{Appliance, Challenge, credulous};
use super::authority::{Authority, Temper};

/// A whole life: nothing, a certificate, and the same one after a start.
fn is_issued_once(challenge: Challenge) {
    let authority = Authority::start(Temper::default());
    let mut appliance = Appliance::start(&authority, &["localhost"], challenge);
    let leaf = appliance.is_certified("localhost");
    let header = appliance.page("localhost", &authority.root());
    assert!(header.starts_with("http/1.1 200"), "{header}");
    // Nobody but the test trusts this authority: to insist on it would lock everybody else out.
    assert!(!header.contains("strict-transport-security"), "{header}");
    assert_eq!(authority.orders(), 1);

    // What is kept is nobody else's, and whole files only.
    let names = fs::read_dir(appliance.state()).unwrap();
    for entry in names.map(Result::unwrap) {
        let mode = entry.metadata().unwrap().permissions().mode();
        assert_eq!(mode & 0o077, 0, "{entry:?}");
        let name = entry.file_name().into_string().unwrap();
        assert!(!name.ends_with(".new"), "{name}");
    }

    appliance.start_again();
    assert_eq!(appliance.leaf("localhost"), leaf, "the first handshake");
    let check = appliance.check();
    let text = String::from_utf8_lossy(&check.stdout).into_owned();
    assert!(check.status.success(), "{text}");
    assert!(text.contains(&authority.url()), "{text}");
    assert_eq!(authority.orders(), 1, "the kept one was good");
}

#[test]
fn a_name_gets_a_certificate_by_a_handshake_and_keeps_it() {
    is_issued_once(Challenge::TlsAlpn01);
}

#[test]
fn a_name_gets_a_certificate_over_plain_http_and_keeps_it() {
    is_issued_once(Challenge::Http01);
}

#[test]
fn several_names_are_in_one_certificate() {
    let authority = Authority::start(Temper::default());
    let names = ["call.internal", "talk.internal", "localhost"];
    let appliance = Appliance::start(&authority, &names, Challenge::TlsAlpn01);
    let leaf = appliance.is_certified("call.internal");
    let root = authority.root();
    for name in names {
        assert_eq!(appliance.leaf(name), leaf);
        let header = appliance.page(name, &root);
        assert!(header.starts_with("http/1.1 200"), "{name}: {header}");
    }
    assert_eq!(authority.orders(), 1);
}

#[test]
fn without_an_order_under_way_the_paths_of_the_challenges_lead_nowhere_special() {
    let authority = Authority::start(Temper::default());
    let appliance = Appliance::start(&authority, &["localhost"], Challenge::Http01);
    appliance.is_certified("localhost");

    let socket = TcpStream::connect(appliance.address()).unwrap();
    let mut connection =
        rustls::ClientConnection::new(credulous(&["acme-tls/1"]), "localhost".try_into().unwrap())
            .unwrap();
    let mut socket = socket;
    let error = loop {
        match connection.complete_io(&mut socket) {
            Ok(_) => assert!(connection.is_handshaking(), "a handshake for no challenge"),
            Err(error) => break error,
        }
    };
    assert!(
        error.to_string().contains("NoApplicationProtocol"),
        "{error}"
    );

    let mut plain = TcpStream::connect(("127.0.0.1", appliance.http)).unwrap();
    let request =
        b"GET /.well-known/acme-challenge/guessed?x=1 HTTP/1.1\r\nHost: localhost\r\n\r\n";
    plain.write_all(request).unwrap();
    let mut answer = String::new();
    plain.read_to_string(&mut answer).unwrap();
    let refused = answer.starts_with("HTTP/1.1 308") || answer.starts_with("HTTP/1.1 404");
    assert!(refused, "{answer}");
}
