//! Random people in one room, under a clock that jumps.

use std::collections::{HashMap, HashSet};

use proptest::prelude::*;

use super::*;

#[derive(Clone, Debug)]
enum Step {
    Join(bool),
    Message(usize),
    Register(usize),
    Send(usize),
    Post(usize),
    Bye(usize),
    Leave(usize),
    Delete(usize),
    Disconnect(usize, bool),
    Evict(bool),
    Wait(u64),
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let who = 0..6_usize;
    let step = prop_oneof![
        3 => prop::bool::weighted(0.1).prop_map(Step::Join),
        4 => who.clone().prop_map(Step::Message),
        3 => who.clone().prop_map(Step::Register),
        4 => who.clone().prop_map(Step::Send),
        1 => who.clone().prop_map(Step::Post),
        1 => who.clone().prop_map(Step::Bye),
        1 => who.clone().prop_map(Step::Leave),
        1 => who.clone().prop_map(Step::Delete),
        1 => (who, any::<bool>()).prop_map(|(who, gone)| Step::Disconnect(who, gone)),
        1 => any::<bool>().prop_map(Step::Evict),
        1 => (1..70_u64).prop_map(Step::Wait),
    ];
    prop::collection::vec(step, 0..80)
}

/// Clients by the order in which they joined, with the socket that each had last.
#[derive(Default)]
struct People {
    names: Vec<String>,
    sockets: HashMap<usize, u64>,
    /// The client of each socket that is open.
    open: HashMap<u64, usize>,
}

impl People {
    /// The last few, or a stranger.
    fn name(&self, who: usize) -> String {
        let index = self.names.len().wrapping_sub(1 + who);
        self.names
            .get(index)
            .cloned()
            .unwrap_or_else(|| "stranger".into())
    }

    fn socket(&self, who: usize) -> u64 {
        let index = self.names.len().wrapping_sub(1 + who);
        self.sockets.get(&index).copied().unwrap_or(u64::MAX)
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn two_at_most_each_message_once_and_in_order_and_nothing_is_left_behind(steps in steps()) {
        let mut world = World::with(limits());
        let mut people = People::default();
        let mut said = 0_u64;
        let mut next_socket = 0;
        // What each client has been told, from anybody, as numbers of messages.
        let mut heard: HashMap<usize, Vec<u64>> = HashMap::new();
        let (mut listed, mut told_of) = (HashSet::new(), HashSet::new());
        for step in steps {
            said += 1;
            let body = said.to_string();
            match step {
                Step::Join(loopback) => {
                    let name = format!("c{}", people.names.len());
                    if let Ok((_, messages)) = world.join_as("r", &name, loopback) {
                        let index = people.names.len();
                        people.names.push(name);
                        heard.entry(index).or_default().extend(
                            messages.iter().map(|one| one.parse::<u64>().unwrap()),
                        );
                    }
                }
                Step::Message(who) => {
                    let _ = world.message(&people.name(who), &body);
                }
                Step::Register(who) => {
                    next_socket += 1;
                    if world.register(next_socket, &people.name(who)).is_ok() {
                        let index = people.names.len() - 1 - who;
                        people.sockets.insert(index, next_socket);
                        people.open.insert(next_socket, index);
                    }
                }
                Step::Send(who) => world.send(people.socket(who), &body),
                Step::Post(who) => {
                    let name = people.name(who);
                    let _ = world.rooms.handle_post("r", &name, body.as_str().into(), world.now);
                }
                Step::Bye(who) => world.send(people.socket(who), BYE),
                Step::Leave(who) => world.leave(&people.name(who)),
                Step::Delete(who) => world.delete(&people.name(who)),
                Step::Disconnect(who, gone) => {
                    let socket = people.socket(who);
                    people.open.remove(&socket);
                    world.rooms.handle_disconnect(ConnectionId::new(socket), gone, world.now);
                }
                Step::Evict(everybody) => {
                    if let Some(view) = world.rooms.views(None, 1, world.now).pop() {
                        let target = match (everybody, view.seats.last()) {
                            (false, Some(seat)) => Target::Seat(seat.id),
                            _ => Target::Room(view.account.id),
                        };
                        prop_assert!(world.rooms.handle_eviction(target, world.now));
                    }
                }
                Step::Wait(seconds) => world.wait(SECOND * u32::try_from(seconds).unwrap()),
            }
            for (to, what) in world.told() {
                match what {
                    Told::Message(text) => {
                        // Nobody is told anything over a socket that is closed, or not theirs.
                        let index = people.open.get(&to).copied();
                        prop_assert!(index.is_some(), "socket {to} was told {text}");
                        if let (Ok(number), Some(index)) = (text.parse::<u64>(), index) {
                            heard.entry(index).or_default().push(number);
                        }
                    }
                    Told::Replaced | Told::Removed | Told::Evicted => {
                        people.open.remove(&to);
                    }
                }
            }
            prop_assert!(world.rooms.occupants("r") <= CAPACITY);
            // A room is listed as long as somebody has a place, and told of once, when nobody has.
            while let Some(account) = world.rooms.poll_ended() {
                prop_assert!((1..=CAPACITY).contains(&account.most));
                prop_assert!(told_of.insert(account.id.number()));
            }
            for view in world.rooms.views(None, 9, world.now) {
                prop_assert!((1..=CAPACITY).contains(&view.seats.len()));
                prop_assert!(!told_of.contains(&view.account.id.number()));
                listed.insert(view.account.id.number());
            }
            prop_assert!(world.rooms.held() <= CAPACITY * 2 * 100);
        }
        for numbers in heard.values() {
            prop_assert!(numbers.is_sorted_by(|one, other| one < other), "{numbers:?}");
        }
        let open: Vec<u64> = people.open.keys().copied().collect();
        for socket in open {
            world.disconnect(socket);
        }
        world.wait(200 * SECOND);
        told_of.extend(std::iter::from_fn(|| world.rooms.poll_ended()).map(|one| one.id.number()));
        prop_assert!(listed.is_subset(&told_of));
        let rooms = &world.rooms;
        prop_assert_eq!((rooms.rooms(), rooms.clients(), rooms.held()), (0, 0, 0));
        prop_assert_eq!(rooms.poll_timeout(), None);
        prop_assert!(rooms.sockets.is_empty());
    }
}
