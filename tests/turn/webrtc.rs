//! The TURN client of webrtc-rs, which shares no code with ours.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use callbox::net::clock;
use tokio::net::UdpSocket;
use tokio::time::timeout;
use turn::client::{Client, ClientConfig};
use webrtc_util::Conn;

use super::client::rest_credential;
use super::datagrams::{Echo, payload};
use super::harness::{Callbox, PASSWORD, PATIENCE, Setup, USER};

const MESSAGES: usize = 1000;

async fn client(callbox: &Callbox, (username, password): (String, String)) -> Client {
    let conn = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    let client = Client::new(ClientConfig {
        stun_serv_addr: callbox.address.to_string(),
        turn_serv_addr: callbox.address.to_string(),
        username,
        password,
        realm: String::new(),
        software: String::new(),
        rto_in_ms: 0,
        conn: Arc::new(conn),
        vnet: None,
    })
    .await
    .unwrap();
    client.listen().await.unwrap();
    client
}

fn user() -> (String, String) {
    (USER.to_owned(), PASSWORD.to_owned())
}

fn phone() -> (String, String) {
    rest_credential(clock::unix_time() + 600, "phone")
}

async fn receive(conn: &impl Conn) -> (Vec<u8>, SocketAddr) {
    let mut bytes = vec![0; 2000];
    let (len, from) = timeout(PATIENCE, conn.recv_from(&mut bytes))
        .await
        .expect("a message in time")
        .unwrap();
    bytes.truncate(len);
    (bytes, from)
}

/// Says one thing until it is heard: the first packets ask for the permission.
async fn open(from: &impl Conn, to: SocketAddr, at: &impl Conn) {
    let mut bytes = [0; 2000];
    for _ in 0..100 {
        from.send_to(b"open", to).await.unwrap();
        let heard = timeout(Duration::from_millis(200), at.recv_from(&mut bytes)).await;
        if heard.is_ok() {
            return;
        }
    }
    panic!("nothing gets through");
}

/// Forgets what is still under way.
async fn settle(conn: &impl Conn) {
    let mut bytes = [0; 2000];
    while timeout(Duration::from_millis(200), conn.recv_from(&mut bytes))
        .await
        .is_ok()
    {}
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn webrtc_rs_gets_every_packet_back_from_a_peer() {
    let callbox = Setup::default().start();
    let echo = Echo::start("127.0.0.1");
    for credential in [user(), phone()] {
        let client = client(&callbox, credential).await;
        let mapped = client.send_binding_request().await.unwrap();
        assert_eq!(mapped.ip(), callbox.address.ip());
        let relay = client.allocate().await.unwrap();
        open(&relay, echo.address, &relay).await;
        settle(&relay).await;
        // It binds a channel meanwhile: the first go as Send indications, the rest as ChannelData.
        for n in 0..MESSAGES {
            let message = payload(100 + n, n);
            relay.send_to(&message, echo.address).await.unwrap();
            assert_eq!(receive(&relay).await, (message, echo.address), "{n}");
        }
        client.close().await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn webrtc_rs_relays_to_itself_inside_the_process() {
    let setup = Setup {
        allow_peers: Vec::new(),
        ..Setup::default()
    };
    let callbox = setup.turn("workers = 2").start();
    let (one, two) = (
        client(&callbox, user()).await,
        client(&callbox, phone()).await,
    );
    let (first, second) = (one.allocate().await.unwrap(), two.allocate().await.unwrap());
    let (at_first, at_second) = (first.local_addr().unwrap(), second.local_addr().unwrap());
    // Either must have permitted the other before anything gets through.
    let _ = second.send_to(b"open", at_first).await;
    open(&first, at_second, &second).await;
    open(&second, at_first, &first).await;
    settle(&first).await;
    settle(&second).await;
    for n in 0..MESSAGES {
        let message = payload(100 + n, n);
        first.send_to(&message, at_second).await.unwrap();
        assert_eq!(receive(&second).await, (message.clone(), at_first), "{n}");
        second.send_to(&message, at_first).await.unwrap();
        assert_eq!(receive(&first).await, (message, at_second), "{n}");
    }
    one.close().await.unwrap();
    two.close().await.unwrap();
}
