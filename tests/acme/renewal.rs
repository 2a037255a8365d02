//! A new certificate in the middle of everything.

use std::net::UdpSocket;
use std::time::Duration;

use tokio_tungstenite::tungstenite::{self, Message};

use super::appliance::{Appliance, Challenge, Tls, credulous};
use super::authority::{Authority, Temper};
use super::client::Client;
use super::harness::until;

fn beat(socket: &mut tungstenite::WebSocket<Tls>) {
    let beat = Message::text(r#"{"type":"heartbeat"}"#);
    socket.send(beat).unwrap();
    loop {
        let answer = socket.read().unwrap();
        // The server's pings wait in line.
        if answer.is_text() {
            assert!(answer.to_text().unwrap().contains("heartbeat"));
            return;
        }
    }
}

/// Something to the peer through the relay, and something back.
fn relays(client: &mut Client, peer: &UdpSocket) {
    client.say(0x4000, b"there");
    let mut bytes = [0; 64];
    let (length, relay) = peer.recv_from(&mut bytes).unwrap();
    assert_eq!(&bytes[..length], b"there");
    peer.send_to(b"and back", relay).unwrap();
    assert_eq!(client.hears().payload(), b"and back");
}

#[test]
fn a_renewal_ends_no_connection_and_no_allocation() {
    let authority = Authority::start(Temper {
        validity: 16,
        ..Temper::default()
    });
    let appliance = Appliance::start(&authority, &["localhost"], Challenge::TlsAlpn01);
    let first = appliance.is_certified("localhost");

    let url = format!("wss://localhost:{}/ws", appliance.address().port());
    let stream = appliance.tls("localhost", credulous(&["http/1.1"]));
    let (mut idle, _) = tungstenite::client(url, stream).unwrap();
    let peer = UdpSocket::bind("127.0.0.1:0").unwrap();
    peer.set_read_timeout(Some(Duration::from_secs(60)))
        .unwrap();
    let client = Client::tls(appliance.address(), credulous(&[]));
    let (mut client, _) = client.allocated();
    assert_eq!(
        client.bind(0x4000, peer.local_addr().unwrap()).error(),
        None
    );
    relays(&mut client, &peer);

    // Twice: the first may come while we are still busy above.
    let mut before = first;
    for _ in 0..2 {
        until("another certificate is shown", || {
            relays(&mut client, &peer);
            appliance.leaf("localhost") != before
        });
        let after = appliance.leaf("localhost");
        assert!(after.until() > before.until());
        before = after;
    }
    beat(&mut idle);
    relays(&mut client, &peer);
    assert_eq!(client.refresh(600).error(), None);
    assert!(authority.orders() >= 3);

    // TURN over TLS shows the new one too.
    let socket = std::net::TcpStream::connect(appliance.address()).unwrap();
    drop(socket);
    let stream = appliance.tls("localhost", credulous(&["stun.turn"]));
    let shown = stream.conn.peer_certificates().unwrap()[0].clone();
    assert!(!shown.is_empty());
}

#[test]
fn after_a_change_of_names_the_old_certificate_serves_until_there_is_a_new_one() {
    let mut authority = Authority::start(Temper::default());
    let mut appliance = Appliance::start(&authority, &["localhost"], Challenge::TlsAlpn01);
    let old = appliance.is_certified("localhost");
    let root = authority.root();

    // The authority is away: all that there is was ordered before.
    authority.stop();
    appliance.start_again_as(&["localhost", "call.internal"]);
    assert_eq!(appliance.leaf("localhost"), old, "the first handshake");
    let header = appliance.page("localhost", &root);
    assert!(header.starts_with("http/1.1 200"), "{header}");
    appliance.says("no new certificate", 1);
    assert_eq!(appliance.leaf("localhost"), old);

    // It is no reason not to order the new one.
    authority.start_again();
    appliance.hang_up();
    until("another certificate is shown", || {
        appliance.leaf("localhost") != old
    });
    let header = appliance.page("call.internal", &authority.root());
    assert!(header.starts_with("http/1.1 200"), "{header}");

    // Where none of the names is its own, it is of no use.
    authority.stop();
    appliance.start_again_as(&["talk.internal"]);
    let own = appliance.leaf("talk.internal");
    assert!(own.issuer().contains("self-signed"), "{}", own.issuer());
}
