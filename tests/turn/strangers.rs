//! What strangers can do to us, and through us to others: reflection, floods, spoofed addresses.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, UdpSocket};
use std::os::fd::AsFd as _;
use std::time::Duration;

use callbox::net::clock;
use callbox::net::sys::{self, BATCH, ReceiveScratch, SendScratch, SocketFamily};
use callbox::turn::stun::{
    Algorithm, AttributeType, Class, ErrorCode, Key, Method, TransactionId, Writer,
};

use super::client::Client;
use super::harness::{SILENCE, Setup, USER};

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

/// Bytes that come back for each of these messages, sent from one socket.
fn answers_to(server: SocketAddr, socket: &UdpSocket, messages: &[Vec<u8>]) -> Vec<usize> {
    let mut got = vec![0; messages.len()];
    let places: HashMap<_, _> = (0..messages.len())
        .map(|at| (messages[at].get(8..20).unwrap_or_default(), at))
        .collect();
    assert_eq!(places.len(), messages.len(), "ids must differ");
    let mut bytes = [0; 2048];
    let mut collect = |patience: Duration| {
        socket.set_read_timeout(Some(patience)).unwrap();
        while let Ok((len, _)) = socket.recv_from(&mut bytes) {
            let id = bytes[..len].get(8..20).unwrap_or_default();
            got[*places.get(id).expect("an answer to something")] += len;
        }
    };
    for some in messages.chunks(50) {
        for message in some {
            socket.send_to(message, server).unwrap();
        }
        collect(Duration::from_millis(20));
    }
    collect(SILENCE);
    got
}

type Fill<'a> = Box<dyn Fn(&mut Writer<'_>) + 'a>;

/// What a stranger may put into a message. `nonce` is a good one for its address, `port` its own.
fn shapes<'a>(realm: &'a str, nonce: &'a [u8], port: u16) -> Vec<(&'static str, Fill<'a>)> {
    let name = |writer: &mut Writer<'_>, nonce: &[u8]| {
        writer.attribute(AttributeType::USERNAME, USER.as_bytes());
        writer.attribute(AttributeType::REALM, realm.as_bytes());
        writer.attribute(AttributeType::NONCE, nonce);
    };
    let key = |algorithm| Key::long_term(algorithm, USER.as_bytes(), realm.as_bytes(), b"guess");
    let unknown = |count: u16| -> Fill<'a> {
        Box::new(move |writer| {
            for kind in 0..count {
                writer.attribute(AttributeType(0x7000 + kind), &[]);
            }
        })
    };
    vec![
        ("bare", Box::new(|_| {})),
        ("FINGERPRINT", Box::new(|writer| writer.fingerprint())),
        (
            "a wrong FINGERPRINT",
            Box::new(|writer| writer.u32(AttributeType::FINGERPRINT, 1)),
        ),
        (
            "REQUESTED-TRANSPORT",
            Box::new(|writer| writer.u32(AttributeType::REQUESTED_TRANSPORT, 17 << 24)),
        ),
        (
            "SOFTWARE",
            Box::new(|writer| writer.attribute(AttributeType::SOFTWARE, &[b'x'; 100])),
        ),
        (
            "as long as a frame",
            Box::new(|writer| writer.attribute(AttributeType::SOFTWARE, &[b'x'; 1400])),
        ),
        ("one unknown attribute", unknown(1)),
        ("eight unknown attributes", unknown(8)),
        ("many unknown attributes", unknown(200)),
        (
            "a name alone",
            Box::new(|writer| writer.attribute(AttributeType::USERNAME, USER.as_bytes())),
        ),
        ("no seal", Box::new(move |writer| name(writer, nonce))),
        (
            "a wrong seal",
            Box::new(move |writer| {
                name(writer, nonce);
                writer.message_integrity(&key(Algorithm::Md5));
            }),
        ),
        (
            "a nonce that is none",
            Box::new(move |writer| {
                name(writer, b"none");
                writer.message_integrity(&key(Algorithm::Md5));
            }),
        ),
        (
            "a wrong SHA-256 seal",
            Box::new(move |writer| {
                writer.attribute(AttributeType::USERHASH, &[1; 32]);
                writer.attribute(AttributeType::REALM, realm.as_bytes());
                writer.attribute(AttributeType::NONCE, nonce);
                writer.attribute(
                    AttributeType::PASSWORD_ALGORITHMS,
                    &[0, 2, 0, 0, 0, 1, 0, 0],
                );
                writer.attribute(AttributeType::PASSWORD_ALGORITHM, &[0, 2, 0, 0]);
                writer.message_integrity_sha256(&key(Algorithm::Sha256));
            }),
        ),
        (
            "empty attributes",
            Box::new(|writer| {
                writer.attribute(AttributeType::USERNAME, &[]);
                writer.attribute(AttributeType::REALM, &[]);
                writer.attribute(AttributeType::NONCE, &[]);
                writer.attribute(AttributeType::MESSAGE_INTEGRITY, &[]);
            }),
        ),
        (
            // RFC 5780: answer elsewhere, or with more.
            "CHANGE-REQUEST",
            Box::new(|writer| writer.u32(AttributeType(0x0003), 6)),
        ),
        (
            "PADDING",
            Box::new(|writer| writer.attribute(AttributeType(0x0026), &[0; 64])),
        ),
        (
            "RESPONSE-PORT",
            Box::new(move |writer| writer.u32(AttributeType(0x0027), u32::from(port) << 16)),
        ),
        (
            "an error code",
            Box::new(|writer| writer.error_code(ErrorCode::StaleNonce)),
        ),
    ]
}

/// Every kind of message there is, with every shape.
fn everything(realm: &str, nonce: &[u8], port: u16) -> Vec<(String, bool, Vec<u8>)> {
    let methods = [1, 2, 3, 4, 6, 7, 8, 9, 10, 11, 12, 0xABC].map(Method::new);
    let classes = [
        Class::Request,
        Class::Indication,
        Class::Success,
        Class::Error,
    ];
    let mut all = Vec::new();
    for method in methods {
        for class in classes {
            for (shape, fill) in shapes(realm, nonce, port) {
                let mut id = [0; 12];
                id[..4].copy_from_slice(&(all.len() as u32).to_be_bytes());
                let mut bytes = vec![0; 2048];
                let mut writer = Writer::new(&mut bytes, class, method, TransactionId(id));
                fill(&mut writer);
                let len = writer.finish().unwrap();
                bytes.truncate(len);
                let name = format!("{method:?} {class:?} with {shape}");
                all.push((name, class == Class::Request, bytes));
            }
        }
    }
    // A client of RFC 3489 has no cookie, but sixteen bytes of an id.
    let mut old = all[0].2.clone();
    old[4..8].copy_from_slice(&[1, 2, 3, 4]);
    old[8..12].copy_from_slice(&[0xFF; 4]);
    all.push(("a Binding without the cookie".to_owned(), true, old));
    all
}

/// Sends everything to a server; how much came back at most, as a multiple: to Binding, and to any
/// other request.
fn greatest_factors(setup: &Setup) -> [f64; 2] {
    // The longest realm there may be makes the longest challenge.
    let realm = "r".repeat(32);
    let turn = format!("{}\nrealm = \"{realm}\"", setup.turn);
    let callbox = setup.clone().turn(&turn).start();
    let mut client = Client::udp(callbox.address);
    assert_eq!(client.allocate().error(), None);
    assert_eq!(client.refresh(0).error(), None);
    // Not connected: answers may come from other addresses of ours.
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    let port = socket.local_addr().unwrap().port();
    let all = everything(&realm, &client.nonce(), port);
    let messages: Vec<_> = all.iter().map(|(_, _, bytes)| bytes.clone()).collect();
    let mut answered = 0;
    let mut most = [(0.0, ""); 2];
    let answers = answers_to(callbox.address, &socket, &messages);
    for ((name, is_request, message), got) in all.iter().zip(answers) {
        let factor = got as f64 / message.len() as f64;
        assert!(*is_request || got == 0, "{name}: {got} bytes back");
        answered += usize::from(got > 0);
        let is_binding = message[..2] == [0, 1];
        let place = &mut most[usize::from(!is_binding)];
        if factor > place.0 {
            *place = (factor, name);
        }
    }
    eprintln!("{answered} of {} answered; at most {most:?}", all.len());
    assert!(answered > 50, "only {answered} answered");
    most.map(|(factor, _)| factor)
}

#[test]
fn no_message_of_a_stranger_is_worth_a_reflection() {
    let [binding, other] = greatest_factors(&Setup::default());
    assert!((1.0..=1.6).contains(&binding), "{binding}");
    assert!((1.0..=3.0).contains(&other), "{other}");
}

#[test]
fn where_nats_are_discovered_no_answer_is_more_than_three_times_its_request_either() {
    let setup = Setup {
        listen: vec!["127.0.0.1", "127.0.0.2"],
        two_ports: true,
        ..Setup::default()
    };
    let [binding, other] = greatest_factors(&setup.turn("discovery = true"));
    assert!((1.6..=3.0).contains(&binding), "{binding}");
    assert!((1.0..=3.0).contains(&other), "{other}");
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
            writer.error_code(ErrorCode::StaleNonce);
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

/// Allocates whose source addresses are these, each answered before too many are under way.
/// Returns how many were answered.
fn spoof(server: SocketAddr, sources: impl Iterator<Item = Ipv4Addr>) -> usize {
    // Everything in 127.0.0.0/8 is this machine's: one socket may send from all of it, and hears
    // what is answered.
    let socket = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0)).unwrap();
    let allocate = bare_allocate();
    let mut sending = SendScratch::default();
    let mut receiving = ReceiveScratch::default();
    let mut buffers = vec![[0_u8; 256]; BATCH];
    let mut sources = sources.peekable();
    let mut answers = 0;
    while sources.peek().is_some() {
        let mut batch = sending.batch(SocketFamily::V4);
        let mut missing = 0_usize;
        for source in sources.by_ref().take(BATCH) {
            batch.message(server, Some(source.into()), None);
            batch.part(&allocate);
            missing += 1;
        }
        batch.send(socket.as_fd(), |_, error| panic!("{error}"));
        let end = clock::now() + Duration::from_millis(200);
        while missing > 0 && clock::now() < end {
            let room = buffers.iter_mut().map(|buffer| buffer.as_mut_slice());
            match sys::receive(socket.as_fd(), &mut receiving, room, |_, _| {}) {
                Ok(got) => {
                    answers += got;
                    missing = missing.saturating_sub(got);
                }
                Err(_) => std::thread::yield_now(),
            }
        }
    }
    answers
}

#[test]
fn two_hundred_thousand_spoofed_allocates_leave_nothing_behind() {
    let callbox = Setup::default().start();
    let network = |second: u8, networks: std::ops::Range<u8>| {
        networks.flat_map(move |third| (0..=249).map(move |n| Ipv4Addr::new(127, second, third, n)))
    };
    // What every packet touches, whoever sent it: buffers, and the limiter's whole table.
    spoof(callbox.address, network(200, 0..200));
    Client::udp(callbox.address).allocated().0.refresh(0);
    let (before, files) = (callbox.resident(), callbox.open_files());
    let sources = (10..14).flat_map(|second| network(second, 0..200));
    let answers = spoof(callbox.address, sources);
    assert!(answers > 190_000, "only {answers} of 200,000 were handled");
    // Answered: the flood before it has been dealt with.
    Client::udp(callbox.address).allocated().0.refresh(0);
    let grown = callbox.resident().saturating_sub(before);
    eprintln!("{answers} answers, {before} KiB before, {grown} KiB more after");
    assert!(grown < 1024, "{grown} KiB more after 200,000 Allocates");
    assert_eq!(callbox.open_files(), files);
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
