use super::*;
use crate::net::clock;
use crate::signal::core::Target;
use crate::signal::dialect::collider::BYE;
use crate::signal::record;

mod chance;

const SECOND: Duration = Duration::from_secs(1);

fn limits() -> Limits {
    Limits {
        max_rooms: 3,
        stored: Size {
            messages: 4,
            bytes: 100,
        },
        waiting: Size {
            messages: 4,
            bytes: 100,
        },
        total: 1000,
        squeezed: 10,
        grace: 10 * SECOND,
        arrival: 60 * SECOND,
        settling: 20 * SECOND,
        open: false,
    }
}

/// Rooms, a clock, and who was told what.
struct World {
    rooms: Rooms,
    now: Instant,
}

impl World {
    fn new() -> Self {
        Self::with(limits())
    }

    fn with(limits: Limits) -> Self {
        Self {
            rooms: Rooms::new(limits, Numbers::new(record::World::AppRtc, 9)),
            now: clock::now(),
        }
    }

    fn join(&mut self, room: &str, client: &str) -> Result<(bool, Vec<String>), Refusal> {
        self.join_as(room, client, false)
    }

    fn join_as(
        &mut self,
        room: &str,
        client: &str,
        loopback: bool,
    ) -> Result<(bool, Vec<String>), Refusal> {
        let welcome = self.rooms.handle_join(room, client, loopback, self.now)?;
        let messages = welcome.messages.iter().map(|one| one.to_string());
        Ok((welcome.is_initiator, messages.collect()))
    }

    fn message(&mut self, client: &str, body: &str) -> Result<(), Lost> {
        self.rooms
            .handle_message("r", client, body.into(), self.now)
    }

    fn send(&mut self, socket: u64, body: &str) {
        let socket = ConnectionId::new(socket);
        let _ = self.rooms.handle_send(socket, body.into(), self.now);
    }

    fn register(&mut self, socket: u64, client: &str) -> Result<(), Complaint> {
        let socket = ConnectionId::new(socket);
        self.rooms.handle_register(socket, "r", client, self.now)
    }

    fn leave(&mut self, client: &str) {
        self.rooms.handle_leave("r", client, self.now);
    }

    fn delete(&mut self, client: &str) {
        self.rooms.handle_delete("r", client, self.now);
    }

    fn disconnect(&mut self, socket: u64) {
        let socket = ConnectionId::new(socket);
        self.rooms.handle_disconnect(socket, false, self.now);
    }

    fn wait(&mut self, time: Duration) {
        self.now += time;
        self.rooms.handle_timeout(self.now);
    }

    fn told(&mut self) -> Vec<(u64, Told)> {
        std::iter::from_fn(|| self.rooms.poll_delivery())
            .map(|delivery| (delivery.to.number(), delivery.what))
            .collect()
    }

    /// Two clients with sockets 1 and 2.
    fn pair(&mut self) {
        self.join("r", "a").unwrap();
        self.join("r", "b").unwrap();
        self.register(1, "a").unwrap();
        self.register(2, "b").unwrap();
    }
}

fn message(to: u64, body: &str) -> (u64, Told) {
    (to, Told::Message(body.into()))
}

#[test]
fn the_first_is_initiator_and_the_second_gets_what_it_said_once() {
    let mut world = World::new();
    assert_eq!(world.join("r", "a"), Ok((true, vec![])));
    for body in ["candidate", "offer"] {
        world.message("a", body).unwrap();
    }
    let said = vec!["candidate".to_owned(), "offer".to_owned()];
    assert_eq!(world.join("r", "b"), Ok((false, said)));
    assert_eq!(world.join("r", "c"), Err(Refusal::Full));
    world.leave("b");
    assert_eq!(world.join("r", "c"), Ok((false, vec![])));
    assert_eq!(world.rooms.held(), 0);
}

#[test]
fn what_is_said_before_the_other_has_a_socket_waits_for_it_in_order() {
    let mut world = World::new();
    world.join("r", "a").unwrap();
    world.message("a", "1").unwrap();
    world.join("r", "b").unwrap();
    world.message("a", "2").unwrap();
    world.register(1, "a").unwrap();
    world.send(1, "3");
    assert_eq!(world.told(), []);
    world.register(2, "b").unwrap();
    assert_eq!(world.told(), [message(2, "2"), message(2, "3")]);
    world.send(2, "4");
    assert_eq!(world.told(), [message(1, "4")]);
}

#[test]
fn a_goodbye_after_leaving_is_heard_by_who_was_there_and_by_nobody_else() {
    let mut world = World::new();
    world.pair();
    world.leave("a");
    world.join("r", "c").unwrap();
    world.register(3, "c").unwrap();
    world.send(1, BYE);
    assert_eq!(world.told(), [message(2, BYE)]);
    world.disconnect(1);
    world.delete("a");
    world.wait(20 * SECOND);
    assert_eq!(world.told(), []);
}

#[test]
fn a_goodbye_leaves_before_it_is_heard() {
    let mut world = World::new();
    world.pair();
    world.send(1, BYE);
    assert_eq!(world.rooms.occupants("r"), 1);
    // The survivor begins anew, and whoever comes next gets that offer.
    world.message("b", "offer").unwrap();
    world.leave("a");
    world.delete("a");
    assert_eq!(world.told(), [message(2, BYE), (1, Told::Removed)]);
    assert_eq!(world.join("r", "c"), Ok((false, vec!["offer".to_owned()])));
}

#[test]
fn what_was_said_in_a_call_that_is_over_is_not_for_the_next_one() {
    let mut world = World::new();
    world.pair();
    world.leave("a");
    world.message("b", "late candidate").unwrap();
    world.send(1, BYE);
    world.send(1, "later candidate");
    assert_eq!(world.told(), [message(2, BYE)]);
    assert_eq!(world.join("r", "c"), Ok((false, vec![])));
}

#[test]
fn whoever_vanishes_is_waited_for_and_then_missed() {
    let mut world = World::new();
    world.pair();
    world.disconnect(1);
    world.wait(9 * SECOND);
    assert_eq!(world.rooms.occupants("r"), 2);
    world.register(3, "a").unwrap();
    world.send(2, "still there");
    assert_eq!(world.told(), [message(3, "still there")]);
    world.disconnect(3);
    world.wait(10 * SECOND);
    assert_eq!(world.told(), [message(2, BYE)]);
    assert_eq!(world.rooms.occupants("r"), 1);
    assert_eq!(world.register(4, "a"), Err(Complaint::Unknown));
}

#[test]
fn a_page_that_said_it_goes_makes_way_for_who_comes() {
    let mut world = World::new();
    world.pair();
    world
        .rooms
        .handle_disconnect(ConnectionId::new(1), true, world.now);
    assert_eq!(world.told(), []);
    assert_eq!(world.join("r", "c"), Ok((false, vec![])));
    assert_eq!(world.told(), [message(2, BYE)]);
}

#[test]
fn who_has_not_come_to_its_socket_for_long_makes_way_for_who_comes() {
    let mut world = World::new();
    world.join("r", "given up").unwrap();
    world.wait(5 * SECOND);
    world.join("r", "again").unwrap();
    world.register(1, "again").unwrap();
    world.wait(14 * SECOND);
    assert_eq!(
        world.join("r", "friend"),
        Err(Refusal::Full),
        "it may be slow"
    );
    world.wait(SECOND);
    assert_eq!(world.join("r", "friend"), Ok((false, vec![])));
    assert_eq!(world.told(), [message(1, BYE)]);
    assert_eq!(world.register(2, "given up"), Err(Complaint::Full));
    // Whoever has a socket, or talks, stays.
    world.message("friend", "1").unwrap();
    world.wait(19 * SECOND);
    world.message("friend", "2").unwrap();
    world.wait(19 * SECOND);
    assert_eq!(world.join("r", "third"), Err(Refusal::Full));
    world.register(2, "friend").unwrap();
    world.wait(100 * SECOND);
    assert_eq!(world.join("r", "third"), Err(Refusal::Full));
    world.disconnect(2);
    assert_eq!(
        world.join("r", "third"),
        Err(Refusal::Full),
        "it may come back"
    );
}

#[test]
fn who_never_comes_to_its_socket_is_given_up_unless_it_talks() {
    let mut world = World::new();
    world.join("r", "a").unwrap();
    for _ in 0..4 {
        world.wait(59 * SECOND);
        world.message("a", "x").unwrap();
    }
    world.wait(59 * SECOND);
    assert_eq!(world.rooms.rooms(), 1);
    world.wait(SECOND);
    assert_eq!(
        (
            world.rooms.rooms(),
            world.rooms.clients(),
            world.rooms.held()
        ),
        (0, 0, 0)
    );
    assert_eq!(world.rooms.poll_timeout(), None);
}

#[test]
fn who_leaves_without_a_word_is_said_goodbye_for() {
    let mut world = World::new();
    world.join("r", "a").unwrap();
    world.join("r", "b").unwrap();
    world.register(1, "a").unwrap();
    world.leave("b");
    assert_eq!(world.told(), []);
    world.wait(10 * SECOND);
    assert_eq!(world.told(), [message(1, BYE)]);
    // Alone there is nobody to wait for.
    world.leave("a");
    world.disconnect(1);
    assert_eq!(world.rooms.rooms(), 0);
}

#[test]
fn a_goodbye_may_come_by_post() {
    let mut world = World::new();
    world.pair();
    world.disconnect(1);
    world.leave("a");
    let posted = world.rooms.handle_post("r", "a", BYE.into(), world.now);
    assert_eq!(posted, Ok(()));
    assert_eq!(world.told(), [message(2, BYE)]);
    world.wait(20 * SECOND);
    assert_eq!(world.told(), []);
}

#[test]
fn deleting_a_client_that_was_in_a_call_says_goodbye_once() {
    let mut world = World::new();
    world.pair();
    world.delete("a");
    assert_eq!(world.told(), [message(2, BYE), (1, Told::Removed)]);
    // The frame that was overtaken.
    world.send(1, BYE);
    world.delete("a");
    world.leave("a");
    assert_eq!(world.told(), []);
}

#[test]
fn a_new_socket_takes_the_place_of_the_old_one() {
    let mut world = World::new();
    world.pair();
    world.register(3, "a").unwrap();
    assert_eq!(world.told(), [(1, Told::Replaced)]);
    world.disconnect(1);
    world.wait(20 * SECOND);
    world.send(2, "x");
    assert_eq!(world.told(), [message(3, "x")]);
    assert_eq!(world.register(3, "a"), Err(Complaint::RegisteredTwice));
}

#[test]
fn only_who_has_joined_has_a_voice() {
    let mut world = World::new();
    assert_eq!(world.register(1, "a"), Err(Complaint::Unknown));
    assert_eq!(world.message("a", "x"), Err(Lost::UnknownRoom));
    world.join("r", "a").unwrap();
    assert_eq!(world.message("z", "x"), Err(Lost::UnknownClient));
    assert_eq!(world.register(1, "z"), Err(Complaint::Unknown));
    let posted = world.rooms.handle_post("r", "z", "x".into(), world.now);
    assert_eq!(posted, Err(Lost::UnknownClient));
    world.join("r", "b").unwrap();
    assert_eq!(world.register(1, "z"), Err(Complaint::Full));
    world.delete("z");
    world.leave("z");
    assert_eq!(world.rooms.occupants("r"), 2);
}

#[test]
fn what_waits_is_bounded_in_number_and_in_bytes() {
    let mut world = World::new();
    world.join("r", "a").unwrap();
    for _ in 0..4 {
        world.message("a", "x").unwrap();
    }
    assert_eq!(world.message("a", "x"), Err(Lost::TooManyStored));
    world.join("r", "b").unwrap();
    world.message("a", &"x".repeat(90)).unwrap();
    let lost = world.message("a", &"x".repeat(11));
    assert_eq!(lost, Err(Lost::TooManyWaiting));
    // The one thing that has to arrive.
    world.message("a", &"y".repeat(10)).unwrap();
    world.message("a", BYE).unwrap();
    world.register(2, "b").unwrap();
    assert_eq!(world.told(), [message(2, BYE)]);
    assert_eq!(world.rooms.held(), 0);
}

#[test]
fn when_memory_is_short_each_has_little() {
    let mut world = World::with(Limits {
        total: 50,
        ..limits()
    });
    for room in ["x", "y", "z"] {
        world.join(room, "a").unwrap();
    }
    let mut say = |room: &str, length: usize| {
        let body = "m".repeat(length).into();
        world.rooms.handle_message(room, "a", body, world.now)
    };
    assert_eq!(say("x", 60), Ok(()));
    assert_eq!(say("y", 11), Err(Lost::TooManyStored));
    assert_eq!(say("z", 10), Ok(()));
    assert_eq!(world.join("w", "a"), Err(Refusal::TooManyRooms));
}

#[test]
fn whoever_calls_itself_fills_its_room_and_hears_itself_under_either_name() {
    for name in ["LOOPBACK_CLIENT_ID", "loopback_client_id"] {
        let mut world = World::new();
        assert_eq!(world.join_as("r", "a", true), Ok((true, vec![])));
        assert_eq!(world.join("r", "b"), Err(Refusal::Full));
        world.message("a", "offer").unwrap();
        world.register(1, "a").unwrap();
        world.register(2, name).unwrap();
        world.send(2, "answer");
        assert_eq!(world.told(), [message(2, "offer"), message(1, "answer")]);
        assert_eq!(world.register(3, name), Err(Complaint::Taken));
        // Nobody else acts for it.
        world.delete(LOOPBACK);
        world.rooms.handle_leave("r", name, world.now);
        let posted = world.rooms.handle_post("r", name, "x".into(), world.now);
        assert!(posted.is_err());
        world.leave("a");
        world.send(1, BYE);
        assert_eq!(world.told(), [message(2, BYE)]);
        assert_eq!(world.join("r", "b"), Ok((true, vec![])));
        world.disconnect(1);
        world.disconnect(2);
        assert_eq!(world.rooms.clients(), 1);
    }
}

#[test]
fn a_phone_that_calls_itself_without_a_second_socket_is_heard_by_nobody() {
    let mut world = World::new();
    world.join_as("r", "a", true).unwrap();
    for _ in 0..10 {
        world.message("a", "offer").unwrap();
    }
    world.leave("a");
    assert_eq!((world.rooms.rooms(), world.rooms.held()), (0, 0));
}

#[test]
fn an_open_collider_takes_strangers_as_the_original_does() {
    let mut world = World::with(Limits {
        open: true,
        ..limits()
    });
    let posted = world.rooms.handle_post("r", "a", "1".into(), world.now);
    assert_eq!(posted, Ok(()));
    world.register(2, "b").unwrap();
    assert_eq!(world.told(), [message(2, "1")]);
    assert_eq!(world.register(3, "c"), Err(Complaint::Full));
    // Known by its post only, the first is given up after a while.
    world.wait(60 * SECOND);
    assert_eq!(world.told(), [message(2, BYE)]);
    world.register(3, "c").unwrap();
    assert_eq!(world.register(4, "not an id"), Err(Complaint::Full));
}

#[test]
fn people_who_come_and_go_do_not_pile_up() {
    let mut world = World::new();
    world.join("r", "stays").unwrap();
    world.register(0, "stays").unwrap();
    for number in 1..100 {
        let name = format!("c{number}");
        world.join("r", &name).unwrap();
        world.register(number, &name).unwrap();
        world.leave(&name);
    }
    assert!(world.rooms.clients() <= 10, "{}", world.rooms.clients());
}

/// Rooms that are over: most people, messages, seconds.
fn ended(world: &mut World) -> Vec<(usize, u64, u64)> {
    std::iter::from_fn(|| world.rooms.poll_ended())
        .map(|account| {
            assert_eq!(account.name.as_deref(), Some("r"));
            (account.most, account.messages, account.lasted.as_secs())
        })
        .collect()
}

#[test]
fn a_room_is_told_of_when_nobody_has_a_place_any_more() {
    let mut world = World::new();
    world.join("r", "a").unwrap();
    world.message("a", "offer").unwrap();
    world.wait(SECOND);
    world.join("r", "b").unwrap();
    world.register(1, "a").unwrap();
    world.register(2, "b").unwrap();
    world.send(2, "answer");
    assert!(world.message("z", "from a stranger").is_err());
    world.wait(SECOND);
    world.send(1, BYE);
    assert_eq!(ended(&mut world), []);
    world.leave("b");
    // The sockets are still open, and a goodbye is on its way.
    assert_eq!(ended(&mut world), [(2, 3, 2)]);
    world.send(2, BYE);
    world.disconnect(1);
    world.disconnect(2);
    assert_eq!(ended(&mut world), []);
    // The next one of that name is another room, even if somebody is still about to leave.
    world.pair();
    let first = world.rooms.views(None, 9, world.now).remove(0).account.id;
    world.leave("a");
    world.leave("b");
    world.join("r", "c").unwrap();
    let second = world.rooms.views(None, 9, world.now).remove(0);
    assert!(second.account.id > first);
    assert_eq!((second.account.most, second.seats.len()), (1, 1));
    assert_eq!(ended(&mut world), [(2, 0, 0)]);
    world.wait(60 * SECOND);
    assert_eq!(ended(&mut world), [(1, 0, 60)]);
}

#[test]
fn whoever_calls_itself_is_one_person() {
    let mut world = World::new();
    world.join_as("r", "a", true).unwrap();
    world.message("a", "offer").unwrap();
    let view = world.rooms.views(None, 9, world.now).remove(0);
    assert_eq!(view.seats.len(), 1);
    world.leave("a");
    assert_eq!(ended(&mut world), [(1, 1, 0)]);
}

#[test]
fn the_operator_ends_a_room_or_the_part_of_one_client_in_it() {
    let mut world = World::new();
    world.pair();
    let view = world.rooms.views(None, 9, world.now).remove(0);
    let seat = Target::Seat(view.seats[1].id);
    assert!(world.rooms.handle_eviction(seat, world.now));
    assert_eq!(world.told(), [message(1, BYE), (2, Told::Evicted)]);
    assert!(!world.rooms.handle_eviction(seat, world.now));
    assert_eq!(world.register(3, "b"), Err(Complaint::Unknown));
    world.disconnect(2);
    world.join("r", "c").unwrap();
    world.register(4, "c").unwrap();
    let room = Target::Room(view.account.id);
    assert!(world.rooms.handle_eviction(room, world.now));
    let told = world.told();
    for socket in [1, 4] {
        let last = told.iter().rfind(|(to, _)| *to == socket);
        assert_eq!(last, Some(&(socket, Told::Evicted)), "{told:?}");
    }
    assert_eq!(ended(&mut world), [(2, 0, 0)]);
    assert!(!world.rooms.handle_eviction(room, world.now));
    let rooms = &world.rooms;
    assert_eq!((rooms.rooms(), rooms.clients(), rooms.held()), (0, 0, 0));
    assert!(rooms.sockets.is_empty());
}

#[test]
fn the_end_of_the_process_is_the_end_of_every_room_and_says_goodbye_to_nobody() {
    let mut world = World::new();
    world.pair();
    world.rooms.end_all(world.now + SECOND);
    assert_eq!(ended(&mut world), [(2, 0, 1)]);
    assert_eq!(world.told(), []);
    world.disconnect(1);
    world.disconnect(2);
    world.wait(60 * SECOND);
    assert_eq!(ended(&mut world), []);
}
