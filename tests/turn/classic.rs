//! Classic STUN (RFC 3489) over the wire.

use std::net::UdpSocket;

use callbox::net::clock;

use super::harness::{PATIENCE, SILENCE, Setup};

#[test]
fn a_request_without_the_cookie_is_answered_only_where_it_is_wanted() {
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    socket.set_read_timeout(Some(SILENCE)).unwrap();
    let request = *b"\x00\x01\x00\x00sixteen bytes...";
    let mut answer = [0; 64];

    let callbox = Setup::default().start();
    socket.send_to(&request, callbox.address).unwrap();
    assert!(socket.recv(&mut answer).is_err());

    let callbox = Setup::default().turn("classic_stun = true").start();
    let end = clock::now() + PATIENCE;
    let len = loop {
        socket.send_to(&request, callbox.address).unwrap();
        match socket.recv(&mut answer) {
            Ok(len) => break len,
            Err(error) => assert!(clock::now() < end, "{error}"),
        }
    };
    let port = socket.local_addr().unwrap().port().to_be_bytes();
    let mut expected = b"\x01\x01\x00\x0Csixteen bytes...\x00\x01\x00\x08\x00\x01".to_vec();
    expected.extend(port);
    expected.extend([127, 0, 0, 1]);
    assert_eq!(answer[..len], expected);
}
