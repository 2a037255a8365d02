//! What a client can cost: quotas, bandwidth, credentials that expire.

use std::net::UdpSocket;
use std::time::Duration;

use callbox::net::clock;

use super::client::{Client, rest_credential};
use super::harness::{SILENCE, Setup, until};

#[test]
fn quotas_of_a_user_and_of_all_hold_and_are_given_back() {
    let callbox = Setup::default()
        .turn("user_quota = 2\ntotal_quota = 3")
        .start();
    let in_an_hour = clock::unix_time() + 3600;
    let client = || Client::udp(callbox.address);
    let phone = |later| client().with(rest_credential(in_an_hour + later, "phone"));
    let (mut first, _) = client().allocated();
    let (_second, _) = client().allocated();
    assert_eq!(client().allocate().error(), Some(486));
    let (_third, _) = phone(0).allocated();
    assert_eq!(phone(1).allocate().error(), Some(508), "the server is full");
    assert_eq!(first.refresh(0).error(), None);
    // The same account, whatever time stands in the name.
    let (_fourth, _) = phone(2).allocated();
    assert_eq!(client().allocate().error(), Some(508));
}

#[test]
fn bandwidth_is_limited_in_each_direction_and_comes_back() {
    const SIZE: usize = 1000;
    // 20,000 bytes a second, and as many at once.
    let callbox = Setup::default()
        .turn("max_bps_per_allocation = 160_000")
        .start();
    let peer = UdpSocket::bind("127.0.0.1:0").unwrap();
    peer.set_nonblocking(true).unwrap();
    let (mut client, relayed) = Client::udp(callbox.address).allocated();
    let to = peer.local_addr().unwrap();
    assert_eq!(client.bind(0x4000, to).error(), None);
    let start = clock::now();
    for _ in 0..100 {
        client.say(0x4000, &[7; SIZE]);
        peer.send_to(&[8; SIZE], relayed).unwrap();
    }
    std::thread::sleep(SILENCE);
    let mut bytes = [0; 2048];
    let up = std::iter::from_fn(|| peer.recv(&mut bytes).ok()).count();
    let mut down = 0;
    while client
        .hears_until(clock::now() + Duration::from_millis(50))
        .is_some()
    {
        down += 1;
    }
    let most = 21 + start.elapsed().as_millis() as usize / 50;
    assert!((15..=most).contains(&up), "{up} of 100 to the peer");
    assert!((15..=most).contains(&down), "{down} of 100 to the client");
    until("the bucket fills again", || {
        client.say(0x4000, b"more");
        peer.recv(&mut bytes).is_ok()
    });
}

#[test]
fn a_credential_that_expires_ends_no_allocation_and_makes_no_new_one() {
    let callbox = Setup::default().start();
    let soon = clock::unix_time() + 2;
    let credential = rest_credential(soon, "phone");
    let (mut client, relayed) = Client::udp(callbox.address)
        .with(credential.clone())
        .allocated();
    until("the credential expires", || clock::unix_time() > soon);
    assert_eq!(client.refresh(900).error(), None);
    assert_eq!(client.permit(relayed.ip()).error(), None);
    let mut late = Client::udp(callbox.address).with(credential);
    assert_eq!(late.allocate().error(), Some(401));
    let wrong = ("1999999999:phone".to_owned(), "guessed".to_owned());
    let mut wrong = Client::udp(callbox.address).with(wrong);
    assert_eq!(wrong.allocate().error(), Some(401));
}
