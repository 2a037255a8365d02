//! Real sockets on loopback.

use std::net::UdpSocket;
use std::os::fd::AsFd;
use std::time::Duration;

use super::*;

const SECOND: Option<Duration> = Some(Duration::from_secs(1));

fn bind(addr: &str) -> UdpSocket {
    let socket = UdpSocket::bind(addr).unwrap();
    socket.set_nonblocking(true).unwrap();
    socket
}

fn receive_all(socket: &UdpSocket, wanted: usize) -> Vec<(Vec<u8>, Received)> {
    let poller = Poller::new().unwrap();
    poller.add(socket.as_fd(), 7, Interest::Read).unwrap();
    let mut scratch = ReceiveScratch::default();
    let mut out = Vec::new();
    while out.len() < wanted {
        let mut ready = Vec::new();
        poller.wait(SECOND, &mut ready).unwrap();
        assert_eq!(ready.first().map(|r| r.token), Some(7), "nothing came");
        let mut buffers = vec![vec![0; 65536]; BATCH];
        let mut found = Vec::new();
        receive(
            socket.as_fd(),
            &mut scratch,
            buffers.iter_mut().map(Vec::as_mut_slice),
            |at, received| found.push((at, received)),
        )
        .unwrap();
        for (at, received) in found {
            out.push((buffers[at][..received.len].to_vec(), received));
        }
    }
    out
}

#[test]
fn a_batch_arrives_in_order_with_its_source_and_its_destination() {
    let server = bind("0.0.0.0:0");
    set_option(server.as_fd(), SocketOption::PacketInfoV4, 1).unwrap();
    let to: SocketAddr = format!("127.0.0.9:{}", server.local_addr().unwrap().port())
        .parse()
        .unwrap();
    let client = bind("127.0.0.1:0");
    let payloads: Vec<Vec<u8>> = (0..5_u8).map(|n| vec![n; usize::from(n) * 100]).collect();
    let mut scratch = SendScratch::default();
    let mut batch = scratch.batch(SocketFamily::V4);
    for payload in &payloads {
        batch.message(to, None, None);
        batch.part(b"head");
        batch.part(payload);
    }
    let sent = batch.send(client.as_fd(), |_, error| panic!("{error}"));
    assert_eq!(sent, 5);
    for (n, (bytes, received)) in receive_all(&server, 5).into_iter().enumerate() {
        assert_eq!(bytes[..4], *b"head");
        assert_eq!(bytes[4..], payloads[n]);
        assert_eq!(received.source, client.local_addr().unwrap());
        assert_eq!(received.local, Some("127.0.0.9".parse().unwrap()));
        assert!(!received.truncated);
    }
}

#[test]
fn a_dual_stack_socket_reports_and_sets_ipv4_addresses() {
    let server = bind("[::]:0");
    set_option(server.as_fd(), SocketOption::PacketInfoV6, 1).unwrap();
    let port = server.local_addr().unwrap().port();
    let client = bind("127.0.0.1:0");
    client.send_to(b"hi", format!("127.0.0.7:{port}")).unwrap();
    let (_, received) = receive_all(&server, 1).remove(0);
    assert_eq!(received.source, client.local_addr().unwrap());
    assert_eq!(received.local, Some("127.0.0.7".parse().unwrap()));
    let mut scratch = SendScratch::default();
    let mut batch = scratch.batch(SocketFamily::V6);
    batch.message(received.source, received.local, None);
    batch.part(b"back");
    assert_eq!(batch.send(server.as_fd(), |_, error| panic!("{error}")), 1);
    let (bytes, answer) = receive_all(&client, 1).remove(0);
    assert_eq!(bytes, b"back");
    assert_eq!(answer.source.ip().to_string(), "127.0.0.7");
}

#[test]
fn a_train_is_cut_by_the_kernel_and_joined_again() {
    let server = bind("127.0.0.1:0");
    set_option(server.as_fd(), SocketOption::UdpGro, 1).unwrap();
    let client = bind("127.0.0.1:0");
    let payload: Vec<u8> = (0..2500_u32).map(|n| n as u8).collect();
    let mut scratch = SendScratch::default();
    let mut batch = scratch.batch(SocketFamily::V4);
    batch.message(server.local_addr().unwrap(), None, Some(1000));
    batch.part(&payload);
    assert_eq!(batch.send(client.as_fd(), |_, error| panic!("{error}")), 1);
    let mut bytes = Vec::new();
    while bytes.len() < 2500 {
        for (part, received) in receive_all(&server, 1) {
            assert!(received.segment <= 1000);
            bytes.extend(part);
        }
    }
    assert_eq!(bytes, payload);
}

#[test]
fn one_bad_destination_does_not_stop_the_others() {
    let server = bind("127.0.0.1:0");
    let client = bind("127.0.0.1:0");
    let to = server.local_addr().unwrap();
    let mut scratch = SendScratch::default();
    let mut batch = scratch.batch(SocketFamily::V4);
    batch.message(to, None, None);
    batch.part(b"one");
    batch.message("[::1]:9".parse().unwrap(), None, None);
    batch.part(b"lost");
    batch.message(to, None, None);
    batch.part(b"two");
    let mut failures = Vec::new();
    let sent = batch.send(client.as_fd(), |at, _| failures.push(at));
    assert_eq!((sent, failures), (2, vec![1]));
    let got: Vec<Vec<u8>> = receive_all(&server, 2)
        .into_iter()
        .map(|(b, _)| b)
        .collect();
    assert_eq!(got, [b"one", b"two"]);
}

#[test]
fn an_event_wakes_the_poller_once() {
    let poller = Poller::new().unwrap();
    let event = event_fd().unwrap();
    poller.add(event.as_fd(), 1, Interest::Read).unwrap();
    let mut ready = Vec::new();
    poller.wait(Some(Duration::ZERO), &mut ready).unwrap();
    assert!(ready.is_empty());
    notify(event.as_fd());
    notify(event.as_fd());
    poller.wait(SECOND, &mut ready).unwrap();
    assert_eq!(ready.len(), 1);
    acknowledge(event.as_fd());
    poller.wait(Some(Duration::ZERO), &mut ready).unwrap();
    assert!(ready.is_empty());
}

#[test]
fn errors_of_earlier_datagrams_are_kept_apart_and_lose_none_of_the_others() {
    for (ip, options, refused) in [
        ("127.0.0.1", SocketOption::ErrorsV4, (3, 3)),
        ("[::1]", SocketOption::ErrorsV6, (1, 4)),
    ] {
        let any = format!("{ip}:0");
        let (client, server) = (bind(&any), bind(&any));
        set_option(client.as_fd(), options, 1).unwrap();
        let open = server.local_addr().unwrap();
        let closed = bind(&any).local_addr().unwrap();
        let family = match open {
            SocketAddr::V4(_) => SocketFamily::V4,
            SocketAddr::V6(_) => SocketFamily::V6,
        };
        let mut scratch = SendScratch::default();
        let mut batch = scratch.batch(family);
        for to in [closed, open, closed, closed, open, open] {
            batch.message(to, None, None);
            batch.part(b"payload");
        }
        let sent = batch.send(client.as_fd(), |at, error| panic!("{at}: {error}"));
        assert_eq!(sent, 6);
        assert_eq!(receive_all(&server, 3).len(), 3);

        let poller = Poller::new().unwrap();
        poller.add(client.as_fd(), 7, Interest::Read).unwrap();
        let mut ready = Vec::new();
        poller.wait(SECOND, &mut ready).unwrap();
        assert!(ready.first().is_some_and(|ready| ready.failed));
        let mut errors = Vec::new();
        let mut scratch = ReceiveScratch::default();
        let got = receive_errors(client.as_fd(), &mut scratch, |error| errors.push(error));
        assert_eq!(got.unwrap(), 3);
        let (kind, code) = refused;
        for error in &errors {
            assert_eq!((error.to, error.kind, error.code), (closed, kind, code));
        }
        assert_eq!(errors.len(), 3);
        // Nothing is left that would wake the poller or fail another call.
        poller.wait(Some(Duration::ZERO), &mut ready).unwrap();
        assert!(ready.is_empty());
        let none = receive_errors(client.as_fd(), &mut scratch, |_| panic!("no more"));
        assert_eq!(none.unwrap_err().kind(), io::ErrorKind::WouldBlock);
    }
}

#[test]
fn the_limit_of_open_files_only_rises() {
    let before = raise_file_limit(0).unwrap();
    // Nobody may open so many; what is allowed stays allowed.
    let after = raise_file_limit(u64::MAX - 1).unwrap();
    assert!(after >= before, "{after} of {before}");
    assert_eq!(raise_file_limit(0).unwrap(), after);
}
