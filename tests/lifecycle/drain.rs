//! Ending: calls get their time, newcomers do not come in.

use std::io::{Read as _, Write as _};
use std::net::{TcpStream, UdpSocket};

use crate::client::Client;
use crate::harness::{Site, pair, relays, until};

/// A client with a channel to a socket of the test's.
fn relayed(site: &Site) -> (Client, UdpSocket) {
    let (mut client, _) = Client::udp(site.turn_address()).allocated();
    let peer = UdpSocket::bind("127.0.0.1:0").unwrap();
    let answer = client.bind(0x4000, peer.local_addr().unwrap());
    assert_eq!(answer.error(), None);
    (client, peer)
}

#[test]
fn a_relayed_call_goes_on_until_it_ends_and_nobody_new_comes_in() {
    let site = Site::new("relayed", "drain_timeout = '1h'", "");
    let mut process = site.start();
    let (mut client, peer) = relayed(&site);
    relays(&mut client, &peer, 0x4000);
    process.signal("-TERM");
    until("newcomers are not welcome", || {
        site.admin("GET /readyz").unwrap().contains(" 503 ")
    });
    assert_eq!(site.status()["draining"], true);
    until("nobody is accepted", || {
        TcpStream::connect(("127.0.0.1", site.https)).is_err()
    });
    let mut late = Client::udp(site.turn_address());
    until("allocations are refused", || {
        late.allocate().error() == Some(508)
    });
    assert_eq!(client.refresh(600).error(), None);
    relays(&mut client, &peer, 0x4000);
    process.says("waiting for calls to end");
    assert!(process.is_running());
    assert_eq!(client.refresh(0).error(), None);
    assert_eq!(process.ended(), Some(0));
    process.says("no calls are left");
}

#[test]
fn a_call_that_needs_only_signaling_is_waited_for_as_well() {
    let site = Site::new("signaled", "drain_timeout = '1h'", "");
    let mut process = site.start();
    let (mut first, mut second) = pair(&site, "blue");
    // Waiting alone is no call.
    let mut alone = site.course();
    alone.join("red", "c");
    process.signal("-TERM");
    process.says("waiting for calls to end");
    let offer = r#"{"cmd":"offer","roomId":"blue","uid":"a","remoteUid":"b","msg":"x"}"#;
    first.say(offer);
    assert_eq!(second.hears().unwrap(), offer);
    assert!(process.is_running());
    first.say(r#"{"cmd":"leave","roomId":"blue","uid":"a"}"#);
    assert!(second.hears().unwrap().contains("peer-leave"));
    assert!(alone.hears().is_err());
    assert_eq!(process.ended(), Some(0));
}

#[test]
fn patience_ends_with_drain_timeout() {
    let site = Site::new("patience", "drain_timeout = '300ms'", "");
    let mut process = site.start();
    let _call = relayed(&site);
    process.signal("-TERM");
    assert_eq!(process.ended(), Some(0));
    process.says("drain_timeout is over");
}

#[test]
fn a_second_signal_stops_at_once() {
    let site = Site::new("twice", "drain_timeout = '1h'", "");
    let mut process = site.start();
    let _call = relayed(&site);
    process.signal("-TERM");
    process.says("waiting for calls to end");
    process.signal("-INT");
    assert_eq!(process.ended(), Some(0));
    process.says("a second time");
}

/// Whether somebody whose handshake was over, and who asked only after the end had begun, is answered.
fn who_has_just_come_in_is_answered(site: &Site, hello: &[u8]) -> bool {
    let mut process = site.start();
    let mut tls = site.tls();
    while tls.conn.is_handshaking() {
        tls.conn.complete_io(&mut tls.sock).unwrap();
    }
    tls.write_all(hello).unwrap();
    process.signal("-TERM");
    process.says("no calls are left");
    let rest = &b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n"[hello.len()..];
    let mut answer = [0; 12];
    let answered = tls
        .write_all(rest)
        .and_then(|()| tls.read_exact(&mut answer));
    assert_eq!(process.ended(), Some(0));
    answered.is_ok() && &answer == b"HTTP/1.1 200"
}

#[test]
fn who_has_come_in_but_not_asked_yet_is_answered_before_the_end() {
    let site = Site::new("fresh", "", "");
    // Before the first byte they are at the door, after it they are HTTP's. A second to ask is
    // enough, but not for a test on a machine that stands still for so long.
    for hello in [&b""[..], b"GET /"] {
        let answered = (0..5).any(|_| who_has_just_come_in_is_answered(&site, hello));
        assert!(answered, "after {:?}", String::from_utf8_lossy(hello));
    }
}
