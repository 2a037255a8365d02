//! What a client can cost: amplification, floods, quotas, bandwidth, credentials that expire.

use std::net::{IpAddr, Ipv4Addr, SocketAddr, UdpSocket};
use std::time::Duration;

use callbox::net::clock;
use callbox::turn::stun::{AttributeType, Class, Method, TransactionId, Writer};

use super::client::{Client, rest_credential};
use super::harness::{SILENCE, Setup, until};

/// A message without credentials.
fn bare(class: Class, method: Method, fill: impl Fn(&mut Writer<'_>)) -> Vec<u8> {
    let mut bytes = vec![0; 512];
    let mut writer = Writer::new(&mut bytes, class, method, TransactionId([5; 12]));
    fill(&mut writer);
    let len = writer.finish().unwrap();
    bytes.truncate(len);
    bytes
}

fn bare_allocate() -> Vec<u8> {
    bare(Class::Request, Method::ALLOCATE, |writer| {
        writer.u32(AttributeType::REQUESTED_TRANSPORT, 17 << 24);
    })
}

/// Bytes that come back in answer to one datagram, all of them.
fn answer_to(server: SocketAddr, request: &[u8]) -> usize {
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    socket.connect(server).unwrap();
    socket.set_read_timeout(Some(SILENCE)).unwrap();
    socket.send(request).unwrap();
    let mut bytes = [0; 2048];
    let mut total = 0;
    while let Ok(len) = socket.recv(&mut bytes) {
        total += len;
    }
    total
}

#[test]
fn no_answer_without_credentials_is_worth_a_reflection() {
    // The longest realm there may be.
    let realm = "r".repeat(32);
    let callbox = Setup::default()
        .turn(&format!("realm = \"{realm}\""))
        .start();
    let binding = bare(Class::Request, Method::BINDING, |_| {});
    let answer = answer_to(callbox.address, &binding);
    assert!(answer > 0, "a Binding is answered");
    assert!(answer * 10 <= binding.len() * 16, "{answer} bytes to 20");

    let fingerprinted = bare(Class::Request, Method::BINDING, |writer| {
        writer.fingerprint()
    });
    let answer = answer_to(callbox.address, &fingerprinted);
    assert!(answer > 0 && answer * 10 <= fingerprinted.len() * 16);

    let allocate = bare_allocate();
    let answer = answer_to(callbox.address, &allocate);
    assert!(answer > 0, "an Allocate is challenged");
    assert!(answer <= 3 * allocate.len(), "{answer} bytes to 28");

    for (method, padding) in [
        (Method::ALLOCATE, 0),
        (Method::REFRESH, 0),
        (Method::CREATE_PERMISSION, 0),
        (Method::CHANNEL_BIND, 8),
        (Method::new(0x0ABC), 0),
        (Method::ALLOCATE, 100),
    ] {
        let request = bare(Class::Request, method, |writer| {
            if padding > 0 {
                writer.attribute(AttributeType::SOFTWARE, &vec![b'x'; padding]);
            }
        });
        let answer = answer_to(callbox.address, &request);
        assert!(
            answer <= 3 * request.len(),
            "{method:?}: {answer} bytes to {}",
            request.len()
        );
    }
    // Unknown attributes are named in an answer, but not without end.
    let unknown = bare(Class::Request, Method::BINDING, |writer| {
        for kind in 0x7000..0x7040 {
            writer.attribute(AttributeType(kind), &[]);
        }
    });
    let answer = answer_to(callbox.address, &unknown);
    assert!(answer <= 3 * unknown.len(), "{answer}");
}

#[test]
fn what_is_no_request_is_not_answered() {
    let callbox = Setup::default().start();
    let nothing: Vec<Vec<u8>> = vec![
        Vec::new(),
        vec![0],
        vec![0x40, 0, 0, 4, 1, 2, 3, 4],
        vec![0xFF; 100],
        bare(Class::Indication, Method::BINDING, |_| {}),
        bare(Class::Indication, Method::ALLOCATE, |_| {}),
        bare(Class::Success, Method::BINDING, |_| {}),
        bare(Class::Error, Method::ALLOCATE, |writer| {
            writer.error_code(callbox::turn::stun::ErrorCode::StaleNonce);
        }),
    ];
    for message in nothing {
        assert_eq!(answer_to(callbox.address, &message), 0, "{message:02x?}");
    }
}

/// A socket at an address of its own.
fn at(address: [u8; 4], server: SocketAddr) -> UdpSocket {
    let socket = UdpSocket::bind((IpAddr::from(Ipv4Addr::from(address)), 0)).unwrap();
    socket.connect(server).unwrap();
    socket.set_nonblocking(true).unwrap();
    socket
}

fn drain(socket: &UdpSocket) -> usize {
    let mut bytes = [0; 512];
    std::iter::from_fn(|| socket.recv(&mut bytes).ok()).count()
}

#[test]
fn a_flood_from_everywhere_leaves_nothing_behind() {
    let callbox = Setup::default().start();
    let allocate = bare_allocate();
    let flood = |networks: std::ops::Range<u8>, rounds: usize| {
        let sockets: Vec<_> = networks
            .flat_map(|network| (1..=10).map(move |host| [127, 77, network, host]))
            .map(|address| at(address, callbox.address))
            .collect();
        let mut answers = 0;
        for _ in 0..rounds {
            // No more at once than a socket's queue holds, so that the server sees them all.
            for some in sockets.chunks(100) {
                let mut missing = 0;
                for socket in some {
                    missing += usize::from(socket.send(&allocate).is_ok());
                }
                let end = clock::now() + Duration::from_millis(200);
                while missing > 0 && clock::now() < end {
                    let got = some.iter().map(drain).sum::<usize>();
                    answers += got;
                    missing = missing.saturating_sub(got);
                }
            }
        }
        answers
    };
    // What every packet touches, whoever sent it: buffers of the receiving side.
    flood(200..220, 10);
    Client::udp(callbox.address).allocated().0.refresh(0);
    let before = callbox.resident();
    let answers = flood(0..100, 20);
    assert!(answers > 10_000, "only {answers} of 20,000 were handled");
    // Answered: the flood before it has been dealt with.
    Client::udp(callbox.address).allocated().0.refresh(0);
    let grown = callbox.resident().saturating_sub(before);
    assert!(grown < 2048, "{grown} KiB more after 20,000 Allocates");
}

#[test]
fn a_prefix_that_asks_too_much_goes_unanswered_and_others_do_not() {
    let callbox = Setup::default().start();
    let allocate = bare_allocate();
    let start = clock::now();
    let sockets: Vec<_> = (1..=50)
        .map(|host| at([127, 88, 1, host], callbox.address))
        .collect();
    let mut answers = 0;
    let end = start + Duration::from_secs(3);
    let mut sent = 0;
    while clock::now() < end {
        for socket in &sockets {
            sent += usize::from(socket.send(&allocate).is_ok());
            answers += drain(socket);
        }
    }
    // While that prefix has used up its share, a client elsewhere is served at once.
    let (_client, _) = Client::udp(callbox.address).allocated();
    std::thread::sleep(SILENCE);
    answers += sockets.iter().map(drain).sum::<usize>();
    let elapsed = start.elapsed().as_millis() as usize;
    // Twice 2,000 at once and 1,000 a second: each prefix has a bucket in either of two tables.
    let most = 2 * (2000 + elapsed + 1000);
    eprintln!("{answers} answers to {sent} Allocates, at most {most}");
    assert!(answers > 0);
    assert!(answers <= most, "{answers} answers to {sent}");
    assert!(sent > most, "only {sent} were sent: nothing is proved");
}

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
