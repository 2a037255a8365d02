//! Relayed TCP connections (RFC 6062).

use std::net::SocketAddr;
use std::time::Duration;

use super::{PEER, addr, seconds, stats};
use crate::fuzzing::client::{Answer, Client, tcp, udp};
use crate::fuzzing::world::{Outcome, Plan, World};
use crate::turn::core::connections::MAX_CONNECTIONS;
use crate::turn::core::{ConnectionId, Direction, Link};
use crate::turn::stun::address::decode_xor;
use crate::turn::stun::{AttributeType, Class, Message, Method, Writer};

fn world() -> World {
    World::new(Plan {
        tcp_relays: true,
        ..Plan::default()
    })
}

/// A client on a stream.
fn client(number: u32) -> Client {
    Client::new(0, number as u8, &format!("user{number}")).over_stream(number)
}

/// A client with a relay for connections.
fn allocated() -> (World, Client, SocketAddr) {
    let mut world = world();
    let mut client = client(1);
    let relay = client.allocate_tcp(&mut world);
    (world, client, relay)
}

/// Asks for a connection: its name, or the error code.
fn connect(world: &mut World, client: &mut Client, peer: &str) -> Result<ConnectionId, u16> {
    let packet = client.signed(Method::CONNECT, |writer| {
        writer.xor_address(AttributeType::XOR_PEER_ADDRESS, addr(peer));
    });
    let before: Vec<_> = world.shared.connections.keys().copied().collect();
    match client.send(world, &packet) {
        Outcome::Answer(bytes) => Err(Answer(bytes).code()),
        Outcome::Nothing => {
            let mut all = world.shared.connections.keys();
            let new = all.find(|id| !before.contains(id));
            Ok(*new.expect("it was begun"))
        }
        other => panic!("{other:?}"),
    }
}

/// What a client is told by itself.
fn told(outcome: Outcome, client: &Client) -> Answer {
    match outcome {
        Outcome::ToClient { link, bytes, .. } => {
            assert_eq!(link, client.origin.link);
            Answer(bytes)
        }
        other => panic!("{other:?}"),
    }
}

fn id_of(answer: &Answer) -> ConnectionId {
    let value = answer.value(AttributeType::CONNECTION_ID);
    ConnectionId(u32::from_be_bytes(value.try_into().unwrap()))
}

/// The data connection of a client: a stream of its own.
fn data(client: &Client, number: u32) -> Client {
    client.clone().over_stream(number)
}

fn bind(world: &mut World, stream: &mut Client, id: ConnectionId) -> Result<ConnectionId, u16> {
    let packet = stream.signed(Method::CONNECTION_BIND, |writer| {
        writer.u32(AttributeType::CONNECTION_ID, id.0);
    });
    match stream.send(world, &packet) {
        Outcome::Bound { bytes, connection } => {
            let answer = Answer(bytes);
            assert_eq!((answer.code(), id_of(&answer)), (0, connection));
            assert!(answer.message().verify_sha1(&stream.key()));
            Ok(connection)
        }
        Outcome::Answer(bytes) => Err(Answer(bytes).code()),
        other => panic!("{other:?}"),
    }
}

fn allocate(world: &mut World, client: &mut Client, fill: impl FnOnce(&mut Writer<'_>)) -> u16 {
    client.log_in(world);
    client.call(world, Method::ALLOCATE, fill).code()
}

#[test]
fn connections_are_relayed_only_where_that_is_wanted_and_only_for_streams() {
    assert_eq!(allocate(&mut super::world(), &mut client(1), tcp), 442);
    let mut world = world();
    let mut over_udp = Client::new(0, 1, "one");
    assert_eq!(allocate(&mut world, &mut over_udp, tcp), 400);
    assert_eq!(allocate(&mut world, &mut client(2), tcp), 0);
    assert_eq!(world.shared.listening.len(), 1);
    assert_eq!(world.shared.sockets.len(), 0);
    for (number, kind, value) in [
        (3, AttributeType::EVEN_PORT, &[0][..]),
        (4, AttributeType::DONT_FRAGMENT, &[]),
        (5, AttributeType::RESERVATION_TOKEN, &[0; 8]),
        (6, AttributeType::ADDITIONAL_ADDRESS_FAMILY, &[2, 0, 0, 0]),
    ] {
        let code = allocate(&mut world, &mut client(number), |writer| {
            tcp(writer);
            writer.attribute(kind, value);
        });
        assert_eq!(code, 400, "{kind:?}");
    }
    world.audit();
}

#[test]
fn without_the_key_its_methods_are_unknown() {
    let mut world = super::world();
    let mut client = client(1);
    client.allocate(&mut world);
    for method in [Method::CONNECT, Method::CONNECTION_BIND] {
        let packet = client.signed(method, |writer| {
            writer.u32(AttributeType::CONNECTION_ID, 0);
        });
        assert_eq!(client.send(&mut world, &packet), Outcome::Nothing);
    }
}

#[test]
fn connect_is_answered_once_the_peer_has_answered() {
    let (mut world, mut client, _) = allocated();
    let id = connect(&mut world, &mut client, PEER).unwrap();
    assert_eq!(world.shared.connections[&id], Some(addr(PEER)));
    let answer = told(world.connected(id, true), &client);
    assert_eq!((answer.code(), id_of(&answer)), (0, id));
    assert!(answer.message().verify_sha1(&client.key()));
    assert_eq!(world.connected(id, true), Outcome::Nothing, "only once");
    assert_eq!(bind(&mut world, &mut data(&client, 2), id), Ok(id));
    assert_eq!(stats(&world, |s| s.connections_made), 1);
    world.audit();
}

#[test]
fn a_connection_that_fails_is_447_and_may_be_tried_again() {
    let (mut world, mut client, _) = allocated();
    let id = connect(&mut world, &mut client, PEER).unwrap();
    assert_eq!(told(world.connected(id, false), &client).code(), 447);
    assert!(world.shared.connections.is_empty());
    assert_eq!(bind(&mut world, &mut data(&client, 2), id), Err(400));
    world.shared.exhausted = true;
    assert_eq!(connect(&mut world, &mut client, PEER), Err(447));
    world.shared.exhausted = false;
    assert!(connect(&mut world, &mut client, PEER).is_ok());
    world.audit();
}

#[test]
fn a_connection_that_takes_more_than_30_seconds_is_447() {
    let (mut world, mut client, _) = allocated();
    let id = connect(&mut world, &mut client, PEER).unwrap();
    world.pass(Duration::from_millis(29_900));
    assert!(world.late.is_empty());
    world.pass(Duration::from_millis(1_200));
    let answer = told(world.late.remove(0), &client);
    assert_eq!(answer.code(), 447);
    assert!(answer.message().verify_sha1(&client.key()));
    assert_eq!(world.connected(id, true), Outcome::Nothing);
    assert!(world.shared.connections.is_empty());
    world.audit();
}

#[test]
fn a_second_connection_to_the_same_peer_is_446() {
    let (mut world, mut client, _) = allocated();
    let id = connect(&mut world, &mut client, PEER).unwrap();
    assert_eq!(connect(&mut world, &mut client, PEER), Err(446));
    world.connected(id, true);
    assert_eq!(connect(&mut world, &mut client, PEER), Err(446));
    assert_eq!(bind(&mut world, &mut data(&client, 2), id), Ok(id));
    assert_eq!(connect(&mut world, &mut client, PEER), Err(446));
    assert!(connect(&mut world, &mut client, "8.8.8.8:5001").is_ok());
    world.disconnected(id);
    assert!(connect(&mut world, &mut client, PEER).is_ok());
    world.audit();
}

#[test]
fn connect_needs_an_allocation_of_its_kind_and_a_peer() {
    let mut world = world();
    let mut nobody = client(1);
    nobody.log_in(&mut world);
    assert_eq!(connect(&mut world, &mut nobody, PEER), Err(437));
    let mut of_datagrams = client(2);
    of_datagrams.allocate(&mut world);
    assert_eq!(connect(&mut world, &mut of_datagrams, PEER), Err(400));
    let mut client = client(3);
    client.allocate_tcp(&mut world);
    let answer = client.call(&mut world, Method::CONNECT, |_| {});
    assert_eq!(answer.code(), 400);
    let v6 = "[2001:4860:4860::8888]:53";
    assert_eq!(connect(&mut world, &mut client, v6), Err(443));
    let mut other = Client::new(0, 3, "other").over_stream(3);
    other.heed(&Answer(client.log_in(&mut world).0));
    assert_eq!(connect(&mut world, &mut other, PEER), Err(441));
}

#[test]
fn a_relay_for_connections_carries_no_datagrams() {
    let (mut world, mut client, relay) = allocated();
    assert_eq!(client.bind(&mut world, 0x4000, addr(PEER)), 400);
    assert_eq!(client.permit(&mut world, &[addr(PEER)]), 0);
    let outcome = client.send_to(&mut world, addr(PEER), b"x");
    assert_eq!(outcome, Outcome::Nothing);
    assert_eq!(world.peer(relay, addr(PEER), b"x"), None);
    // Nor does one arrive from a relay for datagrams.
    let mut other = Client::new(1, 9, "nine");
    other.allocate(&mut world);
    other.permit(&mut world, &[relay]);
    client.permit(&mut world, &[relay]);
    assert_eq!(other.send_to(&mut world, relay, b"x"), Outcome::Nothing);
}

#[test]
fn a_permitted_peer_may_connect_and_the_client_is_told() {
    let (mut world, mut client, relay) = allocated();
    assert!(world.incoming(relay, addr(PEER)).is_none());
    client.permit(&mut world, &[addr(PEER)]);
    let (id, outcome) = world.incoming(relay, addr(PEER)).unwrap();
    let Outcome::ToClient { link, bytes, .. } = outcome else {
        panic!("the client is told");
    };
    assert_eq!(link, client.origin.link);
    let message = Message::parse(&bytes).unwrap();
    assert_eq!(message.class(), Class::Indication);
    assert_eq!(message.method(), Method::CONNECTION_ATTEMPT);
    assert_eq!(message.u32(AttributeType::CONNECTION_ID), Some(id.0));
    let peer = message.value(AttributeType::XOR_PEER_ADDRESS).unwrap();
    assert_eq!(decode_xor(peer, message.transaction_id()), Some(addr(PEER)));
    assert_eq!(bind(&mut world, &mut data(&client, 2), id), Ok(id));
    world.pass(seconds(301));
    assert!(world.incoming(relay, addr("8.8.8.8:5002")).is_none());
    assert!(world.shared.connections.contains_key(&id), "it goes on");
    world.audit();
}

#[test]
fn what_nobody_binds_within_30_seconds_is_closed() {
    let (mut world, mut client, relay) = allocated();
    client.permit(&mut world, &[addr(PEER)]);
    let (incoming, _) = world.incoming(relay, addr(PEER)).unwrap();
    let begun = connect(&mut world, &mut client, "8.8.8.8:5001").unwrap();
    world.pass(seconds(20));
    // The peer's answer begins another wait.
    world.connected(begun, true);
    world.pass(Duration::from_millis(11_100));
    assert!(!world.shared.connections.contains_key(&incoming));
    assert!(world.shared.connections.contains_key(&begun));
    assert_eq!(bind(&mut world, &mut data(&client, 2), incoming), Err(400));
    world.pass(seconds(20));
    assert!(world.shared.connections.is_empty());
    assert!(world.late.is_empty(), "nobody is told");
    world.audit();
}

#[test]
fn a_bound_connection_lasts_and_a_closing_one_has_30_seconds() {
    let (mut world, mut client, _) = allocated();
    let id = connect(&mut world, &mut client, PEER).unwrap();
    world.connected(id, true);
    bind(&mut world, &mut data(&client, 2), id).unwrap();
    world.pass(seconds(500));
    assert!(world.shared.connections.contains_key(&id));
    world.servers[0].handle_closing(world.now, id);
    world.pass(seconds(29));
    // Asked again, it does not begin anew.
    world.servers[0].handle_closing(world.now, id);
    world.pass(seconds(2));
    assert!(world.shared.connections.is_empty());
    world.audit();
}

#[test]
fn only_the_owner_binds_and_only_once_and_over_a_stream_of_its_own() {
    let (mut world, mut client, _) = allocated();
    let id = connect(&mut world, &mut client, PEER).unwrap();
    assert_eq!(
        bind(&mut world, &mut data(&client, 2), id),
        Err(400),
        "not connected yet"
    );
    world.connected(id, true);
    let mut stranger = Client::new(0, 1, "stranger").over_stream(3);
    stranger.log_in(&mut world);
    assert_eq!(bind(&mut world, &mut stranger, id), Err(441));
    assert_eq!(bind(&mut world, &mut client.clone(), id), Err(400));
    let mut over_udp = Client::new(0, 1, "user1");
    over_udp.log_in(&mut world);
    assert_eq!(bind(&mut world, &mut over_udp, id), Err(400));
    let mut other = data(&client, 4);
    let answer = other.call(&mut world, Method::CONNECTION_BIND, |_| {});
    assert_eq!(answer.code(), 400);
    let unknown = ConnectionId(id.0 ^ 1);
    assert_eq!(bind(&mut world, &mut data(&client, 4), unknown), Err(400));
    assert_eq!(bind(&mut world, &mut data(&client, 4), id), Ok(id));
    assert_eq!(bind(&mut world, &mut data(&client, 5), id), Err(400));
}

#[test]
fn a_bind_without_credentials_is_challenged() {
    let (mut world, mut client, _) = allocated();
    let id = connect(&mut world, &mut client, PEER).unwrap();
    world.connected(id, true);
    let mut stream = data(&client, 2);
    let packet = stream.bare(Class::Request, Method::CONNECTION_BIND, |writer| {
        writer.u32(AttributeType::CONNECTION_ID, id.0);
    });
    assert_eq!(stream.ask(&mut world, &packet).code(), 401);
    assert_eq!(bind(&mut world, &mut stream, id), Ok(id));
}

#[test]
fn a_bind_finds_the_worker_that_has_the_connection() {
    let (mut world, mut client, _) = allocated();
    let id = connect(&mut world, &mut client, PEER).unwrap();
    world.connected(id, true);
    let mut stream = data(&client, 2);
    stream.worker = 1;
    let packet = stream.signed(Method::CONNECTION_BIND, |writer| {
        writer.u32(AttributeType::CONNECTION_ID, id.0);
    });
    let outcome = stream.send(&mut world, &packet);
    assert_eq!(outcome, Outcome::HandOver { worker: 0 });
    stream.worker = 0;
    let outcome = stream.send(&mut world, &packet);
    assert!(matches!(outcome, Outcome::Bound { .. }));
    // A worker that there is not, and a stream that has an allocation, stay where they are.
    assert_eq!(
        bind(&mut world, &mut data(&client, 3), ConnectionId(u32::MAX)),
        Err(400)
    );
    let mut busy = self::client(7);
    busy.worker = 1;
    busy.allocate_tcp(&mut world);
    assert_eq!(bind(&mut world, &mut busy, id), Err(400));
}

#[test]
fn connections_end_with_their_allocation() {
    for how in 0..4 {
        let (mut world, mut client, relay) = allocated();
        client.permit(&mut world, &[addr(PEER)]);
        world.incoming(relay, addr(PEER)).unwrap();
        let id = connect(&mut world, &mut client, "8.8.8.8:1").unwrap();
        world.connected(id, true);
        bind(&mut world, &mut data(&client, 2), id).unwrap();
        connect(&mut world, &mut client, "8.8.8.8:2").unwrap();
        match how {
            0 => drop(client.refresh(&mut world, 0)),
            1 => world.close(0, client.origin.link),
            2 => world.stop(),
            _ => world.pass(seconds(3600)),
        }
        assert!(world.shared.connections.is_empty(), "case {how}");
        assert!(world.shared.listening.is_empty());
        world.audit();
    }
}

#[test]
fn closing_a_data_stream_leaves_the_allocation_alone() {
    let (mut world, mut client, _) = allocated();
    let id = connect(&mut world, &mut client, PEER).unwrap();
    world.connected(id, true);
    bind(&mut world, &mut data(&client, 2), id).unwrap();
    world.disconnected(id);
    world.close(0, Link::Stream(2));
    assert!(connect(&mut world, &mut client, PEER).is_ok());
    world.audit();
}

#[test]
fn an_allocation_has_so_many_connections_and_no_more() {
    let (mut world, mut client, relay) = allocated();
    client.permit(&mut world, &[addr(PEER)]);
    let mut ids = Vec::new();
    for port in 1..=MAX_CONNECTIONS {
        let peer = format!("8.8.4.4:{port}");
        ids.push(connect(&mut world, &mut client, &peer).unwrap());
    }
    assert_eq!(connect(&mut world, &mut client, PEER), Err(508));
    assert!(world.incoming(relay, addr(PEER)).is_none());
    world.disconnected(ids[0]);
    assert!(world.incoming(relay, addr(PEER)).is_some());
    world.audit();
}

#[test]
fn two_relays_for_connections_of_ours_reach_each_other() {
    let mut world = world();
    let (mut one, mut two) = (client(1), client(2));
    two.worker = 1;
    let (from, to) = (one.allocate_tcp(&mut world), two.allocate_tcp(&mut world));
    let id = connect(&mut world, &mut one, &to.to_string()).unwrap();
    // Behind the NAT that this world stands behind, it is reached where it is bound.
    let dialed = SocketAddr::new(crate::fuzzing::world::BOUND_V4.into(), to.port());
    assert_eq!(world.shared.connections[&id], Some(dialed));
    // And is seen to come from there.
    let source = SocketAddr::new(dialed.ip(), from.port());
    assert!(world.incoming(to, source).is_none(), "without permission");
    two.permit(&mut world, &[from]);
    assert!(world.incoming(to, source).is_some());
    // One's own is nobody else's.
    assert_eq!(connect(&mut world, &mut one, &from.to_string()), Err(403));
    // Another program on this machine is not reached, and does not get in.
    let other = format!("9.9.9.9:{}", 8080);
    assert_eq!(connect(&mut world, &mut one, &other), Err(403));
    assert!(world.incoming(to, addr(&other)).is_none());
    // Nor is a relay for datagrams.
    let mut datagrams = Client::new(0, 7, "seven");
    datagrams.log_in(&mut world);
    let answer = datagrams.call(&mut world, Method::ALLOCATE, udp);
    let at = answer.relayed()[0].to_string();
    assert_eq!(connect(&mut world, &mut one, &at), Err(403));
}

#[test]
fn rates_hold_for_connections_too() {
    let mut world = World::new(Plan {
        tcp_relays: true,
        max_bps: 80_000,
        ..Plan::default()
    });
    let mut client = client(1);
    client.allocate_tcp(&mut world);
    let id = connect(&mut world, &mut client, PEER).unwrap();
    world.connected(id, true);
    let way = Direction::ToPeer;
    let server = &mut world.servers[0];
    // A second's worth is 10,000 bytes.
    assert_eq!(server.handle_stream_bytes(world.now, id, way, 9_000), 0);
    let debt = server.handle_stream_bytes(world.now, id, way, 16_000);
    assert!((15_000..16_000).contains(&debt), "{debt}");
    let other = Direction::ToClient;
    assert_eq!(server.handle_stream_bytes(world.now, id, other, 5_000), 0);
    world.pass(seconds(1));
    let left = world.servers[0].pay(world.now, id, way, debt);
    assert!((debt - 10_000..debt - 9_000).contains(&left), "{left}");
    let counted = world.servers[0].stats();
    assert_eq!(counted.to_peers.total().bytes, 25_000);
    assert_eq!(counted.to_clients.total().bytes, 5_000);
}
