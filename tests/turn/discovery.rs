//! NAT behaviour discovery (RFC 5780): what a client on loopback, where there is no NAT, finds out.

use std::net::{SocketAddr, UdpSocket};
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use callbox::net::clock;
use callbox::turn::stun::{AttributeType, Class, Message, Method, TransactionId, Writer};

use super::harness::{Callbox, Directory, PATIENCE, Run, SILENCE, Setup};

const SECOND: &str = "127.0.0.2";

fn square() -> Callbox {
    let setup = Setup {
        listen: vec!["127.0.0.1", SECOND],
        two_ports: true,
        ..Setup::default()
    };
    setup.turn("discovery = true\nworkers = 2").start()
}

/// Our four addresses: neither changed, the port, the address, both.
fn addresses(callbox: &Callbox) -> [SocketAddr; 4] {
    let second = |address: SocketAddr| SocketAddr::new(SECOND.parse().unwrap(), address.port());
    let (first, port) = (callbox.address, callbox.second);
    [first, port, second(first), second(port)]
}

/// Asks until something comes; from where, and what.
fn ask(
    socket: &UdpSocket,
    heard_at: &UdpSocket,
    server: SocketAddr,
    fill: impl Fn(&mut Writer<'_>),
) -> (SocketAddr, Vec<u8>) {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    let mut id = [6; 12];
    id[..4].copy_from_slice(&NEXT.fetch_add(1, Ordering::Relaxed).to_be_bytes());
    let id = TransactionId(id);
    let mut bytes = [0; 2048];
    let mut writer = Writer::new(&mut bytes, Class::Request, Method::BINDING, id);
    fill(&mut writer);
    let len = writer.finish().unwrap();
    heard_at.set_read_timeout(Some(SILENCE)).unwrap();
    let end = clock::now() + PATIENCE;
    while clock::now() < end {
        socket.send_to(&bytes[..len], server).unwrap();
        let mut answer = vec![0; 4096];
        while let Ok((len, from)) = heard_at.recv_from(&mut answer) {
            // Who was asked twice answers twice.
            if Message::parse(&answer[..len]).unwrap().transaction_id() == id {
                answer.truncate(len);
                return (from, answer);
            }
        }
    }
    panic!("no answer from {server}");
}

fn plain(answer: &[u8], kind: AttributeType) -> Option<SocketAddr> {
    let message = Message::parse(answer).unwrap();
    let &[0, 1, high, low, a, b, c, d] = message.value(kind)? else {
        panic!("no IPv4 address");
    };
    let port = u16::from_be_bytes([high, low]);
    Some(SocketAddr::from(([a, b, c, d], port)))
}

#[test]
fn answers_leave_from_the_address_and_port_that_were_asked_for() {
    let callbox = square();
    let all = addresses(&callbox);
    // Several clients, since the kernel spreads them over the workers.
    for _ in 0..4 {
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        for asked in 0..4_usize {
            for change in 0..4_usize {
                let flags = [0, 2, 4, 6][change];
                let (from, answer) = ask(&socket, &socket, all[asked], |writer| {
                    writer.u32(AttributeType::CHANGE_REQUEST, flags);
                });
                let expected = all[asked ^ change];
                assert_eq!(from, expected, "{asked} with {flags}");
                let origin = plain(&answer, AttributeType::RESPONSE_ORIGIN);
                assert_eq!(origin, Some(expected));
                let other = plain(&answer, AttributeType::OTHER_ADDRESS);
                assert_eq!(other, Some(all[asked ^ 3]));
                let mapped = plain(&answer, AttributeType::MAPPED_ADDRESS);
                assert_eq!(mapped, socket.local_addr().ok());
            }
        }
    }
}

#[test]
fn an_answer_goes_to_another_port_of_the_client_if_it_asks() {
    let callbox = square();
    let (socket, other) = (
        UdpSocket::bind("127.0.0.1:0").unwrap(),
        UdpSocket::bind("127.0.0.1:0").unwrap(),
    );
    let port = other.local_addr().unwrap().port();
    let (from, answer) = ask(&socket, &other, callbox.address, |writer| {
        writer.u32(AttributeType::RESPONSE_PORT, u32::from(port) << 16);
    });
    assert_eq!(from, callbox.address);
    assert_eq!(
        plain(&answer, AttributeType::MAPPED_ADDRESS),
        socket.local_addr().ok(),
        "it says where the request came from"
    );
}

#[test]
fn a_padded_request_is_answered_as_long() {
    let callbox = square();
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    let (_, answer) = ask(&socket, &socket, callbox.address, |writer| {
        writer.attribute(AttributeType::PADDING, &[b'p'; 1500]);
    });
    let message = Message::parse(&answer).unwrap();
    assert_eq!(message.value(AttributeType::PADDING), Some(&[0; 1500][..]));
}

#[test]
fn coturns_discovery_finds_out_that_there_is_no_nat_on_loopback() {
    let callbox = square();
    let directory = Directory::new();
    let port = callbox.address.port().to_string();
    let run = |options: &str| {
        let mut command = Command::new("turnutils_natdiscovery");
        command.args(options.split_whitespace()).args([
            "-p",
            &port,
            "-L",
            "127.0.0.1",
            "127.0.0.1",
        ]);
        Run::start(&directory, options.to_owned(), &mut command)
    };
    for (options, expected) in [
        ("-m", "NAT with Endpoint Independent Mapping!"),
        ("-f", "NAT with Endpoint Independent Filtering!"),
        ("-m -f -P", "NAT with Endpoint Independent Filtering!"),
        ("-c -A 127.0.0.3", "UDP reflexive addr: 127.0.0.3:"),
        ("-H", "maybe a successful hairpinning"),
    ] {
        let (code, output) = run(options).finish(Duration::from_secs(30));
        assert_eq!(code, Some(0), "{options}: {output}");
        assert!(output.contains(expected), "{options}: {output}");
    }
}
