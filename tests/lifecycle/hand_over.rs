//! One process takes the place of another: nobody is refused, no call ends.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use socket2::{Domain, Socket, Type};

use crate::client::Client;
use crate::harness::{Process, Site, pair, relays, until};

/// What a service manager binds: HTTPS, and two UDP sockets on the same port.
pub(crate) fn sockets(site: &Site) -> [OwnedFd; 3] {
    sockets_on(SocketAddr::new(site.ip, site.https))
}

fn sockets_on(address: SocketAddr) -> [OwnedFd; 3] {
    let datagrams = || {
        let socket = Socket::new(Domain::for_address(address), Type::DGRAM, None).unwrap();
        if address.is_ipv6() {
            socket.set_only_v6(false).unwrap();
        }
        socket.set_reuse_address(true).unwrap();
        socket.set_reuse_port(true).unwrap();
        socket.bind(&address.into()).unwrap();
        OwnedFd::from(socket)
    };
    let https = TcpListener::bind(address).unwrap();
    [https.into(), datagrams(), datagrams()]
}

/// TURN on the port of HTTPS, so that three sockets are all there is.
fn site(name: &str) -> Site {
    site_with(name, "drain_timeout = '1h'")
}

/// The same with these lines before the sections.
pub(crate) fn site_with(name: &str, top: &str) -> Site {
    let mut site = Site::new(name, "", "");
    site.turn = site.https;
    site.configure(top, "");
    site
}

fn relayed(mut client: Client) -> (Client, UdpSocket) {
    assert_eq!(client.allocate().error(), None);
    let peer = UdpSocket::bind("127.0.0.1:0").unwrap();
    let answer = client.bind(0x4000, peer.local_addr().unwrap());
    assert_eq!(answer.error(), None);
    relays(&mut client, &peer, 0x4000);
    (client, peer)
}

#[test]
fn calls_stay_where_they_are_and_newcomers_go_to_the_new_process() {
    let site = site("taken-over");
    let sockets = sockets(&site);
    let mut old = Process::start(&site, &sockets);
    // Enough that both workers have some.
    let mut calls: Vec<_> = (0..10)
        .map(|_| relayed(Client::udp(site.turn_address())))
        .chain([relayed(Client::tcp(site.turn_address()))])
        .collect();
    let (mut first, mut second) = pair(&site, "blue");

    // Meanwhile others come all the time. None of them is to be refused.
    let over = Arc::new(AtomicBool::new(false));
    let callers = {
        let (over, address, trust) = (Arc::clone(&over), site.turn_address(), site.trust());
        thread::spawn(move || {
            let mut callers = 0;
            while !over.load(Ordering::Relaxed) {
                let caller = relayed(Client::tls(address, Arc::clone(&trust)));
                let _ = caller.0.socket();
                callers += 1;
                let mut caller = Client::udp(address);
                assert_eq!(caller.allocate().error(), None);
                assert_eq!(caller.refresh(0).error(), None);
            }
            callers
        })
    };
    let mut new = Process::start(&site, &sockets);
    old.says("another process serves the newcomers");
    for (client, peer) in &mut calls {
        relays(client, peer, 0x4000);
        assert_eq!(client.refresh(600).error(), None);
    }
    let offer = r#"{"cmd":"offer","roomId":"blue","uid":"a","remoteUid":"b","msg":"x"}"#;
    first.say(offer);
    assert_eq!(second.hears().unwrap(), offer);
    assert!(old.is_running() && new.is_running());
    over.store(true, Ordering::Relaxed);
    assert!(callers.join().unwrap() > 0);

    // The admin listener is the new process's: it knows its own allocations only.
    let allocations = || site.status()["turn"]["allocations"].as_u64();
    until("those who came have gone", || allocations() == Some(0));
    assert_eq!(site.status()["draining"], false);
    let newcomer = relayed(Client::udp(site.turn_address()));
    assert_eq!(allocations(), Some(1));

    for (client, _) in &mut calls {
        assert_eq!(client.refresh(0).error(), None);
    }
    first.say(r#"{"cmd":"leave","roomId":"blue","uid":"a"}"#);
    assert_eq!(old.ended(), Some(0));
    let (mut client, peer) = newcomer;
    relays(&mut client, &peer, 0x4000);
    assert!(new.is_running());
}

#[test]
fn on_a_socket_for_every_address_each_client_is_answered_from_the_one_it_knows() {
    let mut site = site("dual");
    site.ip = Ipv6Addr::UNSPECIFIED.into();
    site.configure("drain_timeout = '1h'", "");
    let sockets = sockets(&site);
    let _old = Process::start(&site, &sockets);
    let at = |ip: IpAddr| SocketAddr::new(ip, site.https);
    let mut calls = [
        relayed(Client::udp(at(Ipv4Addr::LOCALHOST.into()))),
        relayed(Client::udp(at(Ipv4Addr::new(127, 0, 0, 9).into()))),
        relayed(Client::udp(at(Ipv6Addr::LOCALHOST.into()))),
    ];
    let _new = Process::start(&site, &sockets);
    for (client, peer) in &mut calls {
        relays(client, peer, 0x4000);
        assert_eq!(client.refresh(600).error(), None);
    }
    assert_eq!(site.status()["turn"]["allocations"], 0);
    relayed(Client::udp(at(Ipv6Addr::LOCALHOST.into())));
    relayed(Client::udp(at(Ipv4Addr::LOCALHOST.into())));
}

#[test]
fn the_place_can_be_taken_again_and_again() {
    let site = site("again");
    let sockets = sockets(&site);
    let mut before = Process::start(&site, &sockets);
    for _ in 0..3 {
        let (mut client, peer) = relayed(Client::udp(site.turn_address()));
        let after = Process::start(&site, &sockets);
        relays(&mut client, &peer, 0x4000);
        assert_eq!(client.refresh(0).error(), None);
        assert_eq!(before.ended(), Some(0));
        before = after;
    }
}

#[test]
fn being_told_to_end_after_the_hand_over_ends_no_call() {
    let site = site("forgiven");
    let sockets = sockets(&site);
    let mut old = Process::start(&site, &sockets);
    let (mut client, peer) = relayed(Client::udp(site.turn_address()));
    let _new = Process::start(&site, &sockets);
    old.says("waiting for calls to end");
    old.signal("-TERM");
    old.says("told to end: waiting for calls no longer");
    relays(&mut client, &peer, 0x4000);
    old.signal("-TERM");
    assert_eq!(old.ended(), Some(0));
    old.says("a second time");
}

#[test]
fn after_a_hand_over_calls_outlive_drain_timeout_through_a_third_process_until_the_old_one_is_told_to_end()
 {
    let site = site_with("outlived", "drain_timeout = '300ms'");
    let sockets = sockets(&site);
    let mut first = Process::start(&site, &sockets);
    let (mut client, peer) = relayed(Client::udp(site.turn_address()));
    let (mut one, mut other) = pair(&site, "blue");
    let mut alone = site.course();
    alone.join("red", "c");
    let mut second = Process::start(&site, &sockets);
    // Whoever might come to red comes to the new process. So there is no waiting here, and once
    // that has been said drain_timeout is over.
    assert_eq!(alone.closed(), 1012);
    let mut later = relayed(Client::udp(site.turn_address()));
    let mut third = Process::start(&site, &sockets);
    let mut latest = relayed(Client::udp(site.turn_address()));
    second.says("handed over: waiting for calls to end");
    for (client, peer) in [(&mut client, &peer), (&mut later.0, &later.1)] {
        relays(client, peer, 0x4000);
        assert_eq!(client.refresh(600).error(), None);
    }
    let offer = r#"{"cmd":"offer","roomId":"blue","uid":"a","remoteUid":"b","msg":"x"}"#;
    one.say(offer);
    assert_eq!(other.hears().unwrap(), offer);
    assert!(first.is_running() && second.is_running());

    first.signal("-TERM");
    assert_eq!(first.ended(), Some(0));
    first.says("(drain_timeout is over)");
    assert_eq!(later.0.refresh(0).error(), None);
    assert_eq!(second.ended(), Some(0));
    relays(&mut latest.0, &latest.1, 0x4000);
    assert!(third.is_running());
}

#[test]
fn a_call_that_nobody_ends_is_over_with_hand_over_timeout() {
    let top = "drain_timeout = '100ms'\nhand_over_timeout = '400ms'";
    let site = site_with("bounded", top);
    let sockets = sockets(&site);
    let mut old = Process::start(&site, &sockets);
    let _call = relayed(Client::udp(site.turn_address()));
    let _new = Process::start(&site, &sockets);
    assert_eq!(old.ended(), Some(0));
    old.says("(hand_over_timeout is over)");
}

#[test]
fn while_nobody_runs_the_kernel_keeps_who_comes() {
    let site = site("nobody");
    let sockets = sockets(&site);
    let mut first = Process::start(&site, &sockets);
    first.signal("-TERM");
    assert_eq!(first.ended(), Some(0));
    let waiting = TcpStream::connect(site.turn_address()).unwrap();
    let _second = Process::start(&site, &sockets);
    let pending = Vec::new();
    let stream = waiting;
    relayed(Client::over(crate::client::Wire::Tcp { stream, pending }));
}
