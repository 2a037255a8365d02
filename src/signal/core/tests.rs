//! The core by example, and against a model that is too simple to be wrong.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use proptest::prelude::*;

use std::time::{Duration, Instant};

use super::*;
use crate::net::clock;

mod resume;
mod weather;

const SPACE: Namespace = Namespace::new("test");

impl Payload for u32 {
    fn weight(&self) -> usize {
        4
    }
}

const NOTHING_KEPT: Resume = Resume {
    window: Duration::ZERO,
    items: 0,
    bytes: 0,
    total: 0,
    squeezed: 0,
};

fn rooms(capacity: usize, max_rooms: usize) -> Rooms<u32> {
    rooms_keeping(NOTHING_KEPT, capacity, max_rooms)
}

fn rooms_keeping(resume: Resume, capacity: usize, max_rooms: usize) -> Rooms<u32> {
    let limits = Limits {
        max_rooms,
        room_capacity: NonZeroUsize::new(capacity).unwrap(),
        resume,
    };
    Rooms::new(limits, SeatId::new(u64::MAX))
}

fn at(number: u64) -> ConnectionId {
    ConnectionId::new(number)
}

fn room(name: &str) -> RoomName {
    RoomName::new(SPACE, name).unwrap()
}

fn member(id: &str) -> MemberId {
    MemberId::new(id).unwrap()
}

/// What comes out, with the seat's number left out where it does not matter.
fn drain(core: &mut Rooms<u32>) -> Vec<(u64, Event<u32>)> {
    std::iter::from_fn(|| core.poll_delivery())
        .map(|Delivery { to, mut event, .. }| {
            if let Event::Joined { ticket, .. } = &mut event {
                ticket.seat = SeatId::new(0);
            }
            (to.number(), event)
        })
        .collect()
}

fn join(core: &mut Rooms<u32>, connection: u64, name: &str, id: &str) -> Vec<(u64, Event<u32>)> {
    core.handle_join(at(connection), room(name), member(id), Terms::PLAIN);
    drain(core)
}

fn leave(core: &mut Rooms<u32>, connection: u64) {
    core.handle_disconnect(at(connection), Departure::Lost, clock::now());
}

fn joined(name: &str, id: &str, others: &[&str]) -> Event<u32> {
    Event::Joined {
        ticket: Ticket {
            room: room(name),
            member: member(id),
            seat: SeatId::new(0),
            terms: Terms::PLAIN,
        },
        others: others
            .iter()
            .map(|id| Other {
                member: member(id),
                first: true,
            })
            .collect(),
        door: Door::Open,
        returning: false,
    }
}

fn arrived(name: &str, id: &str) -> Event<u32> {
    Event::Arrived {
        room: room(name),
        member: member(id),
        returning: false,
    }
}

fn left(name: &str, id: &str) -> Event<u32> {
    Event::Left {
        room: room(name),
        member: member(id),
    }
}

fn refused(name: &str, id: &str, why: Refusal) -> Event<u32> {
    Event::Refused {
        room: room(name),
        member: member(id),
        why,
    }
}

#[test]
fn members_meet_in_the_order_in_which_they_came() {
    let mut core = rooms(3, 9);
    assert_eq!(join(&mut core, 1, "r", "a"), [(1, joined("r", "a", &[]))]);
    assert_eq!(
        join(&mut core, 2, "r", "b"),
        [(1, arrived("r", "b")), (2, joined("r", "b", &["a"])),]
    );
    assert_eq!(
        join(&mut core, 3, "r", "c"),
        [
            (1, arrived("r", "c")),
            (2, arrived("r", "c")),
            (3, joined("r", "c", &["a", "b"])),
        ]
    );
}

#[test]
fn a_full_room_refuses_and_its_members_hear_nothing() {
    let mut core = rooms(1, 9);
    join(&mut core, 1, "r", "a");
    assert_eq!(
        join(&mut core, 2, "r", "b"),
        [(2, refused("r", "b", Refusal::Full))]
    );
    // Not even to somebody who says to be the one inside.
    assert_eq!(
        join(&mut core, 2, "r", "a"),
        [(2, refused("r", "a", Refusal::Full))]
    );
}

#[test]
fn a_refused_join_leaves_the_old_seat_alone() {
    let mut core = rooms(1, 9);
    join(&mut core, 1, "r", "a");
    join(&mut core, 2, "s", "b");
    assert_eq!(
        join(&mut core, 2, "r", "b"),
        [(2, refused("r", "b", Refusal::Full))]
    );
    assert_eq!(
        join(&mut core, 3, "s", "c"),
        [(3, refused("s", "c", Refusal::Full))]
    );
}

#[test]
fn joining_again_changes_nothing() {
    let mut core = rooms(2, 9);
    join(&mut core, 1, "r", "a");
    join(&mut core, 2, "r", "b");
    assert_eq!(join(&mut core, 1, "r", "a"), []);
    assert_eq!((core.rooms(), core.members()), (1, 2));
}

#[test]
fn joining_again_under_another_id_is_leaving_and_coming() {
    let mut core = rooms(2, 9);
    join(&mut core, 1, "r", "a");
    join(&mut core, 2, "r", "b");
    assert_eq!(
        join(&mut core, 2, "r", "c"),
        [
            (1, left("r", "b")),
            (1, arrived("r", "c")),
            (2, joined("r", "c", &["a"])),
        ]
    );
}

#[test]
fn an_id_in_use_is_refused_and_free_again_when_its_connection_ends() {
    let mut core = rooms(3, 9);
    join(&mut core, 1, "r", "a");
    assert_eq!(
        join(&mut core, 2, "r", "a"),
        [(2, refused("r", "a", Refusal::MemberTaken))]
    );
    leave(&mut core, 1);
    assert_eq!(drain(&mut core), []);
    assert_eq!(join(&mut core, 2, "r", "a"), [(2, joined("r", "a", &[]))]);
    // The end of the first connection, heard of once more, is not the end of the second.
    leave(&mut core, 1);
    assert_eq!(core.members(), 1);
}

#[test]
fn moving_to_another_room_leaves_the_first() {
    let mut core = rooms(2, 9);
    join(&mut core, 1, "r", "a");
    join(&mut core, 2, "r", "b");
    assert_eq!(
        join(&mut core, 2, "s", "b"),
        [(1, left("r", "b")), (2, joined("s", "b", &[]))]
    );
}

#[test]
fn the_last_room_may_be_swapped_for_another() {
    let mut core = rooms(2, 1);
    join(&mut core, 1, "r", "a");
    assert_eq!(
        join(&mut core, 2, "s", "b"),
        [(2, refused("s", "b", Refusal::TooManyRooms))]
    );
    assert_eq!(join(&mut core, 1, "s", "a"), [(1, joined("s", "a", &[]))]);
    join(&mut core, 2, "s", "b");
    assert_eq!(
        join(&mut core, 2, "r", "b"),
        [(2, refused("r", "b", Refusal::TooManyRooms))]
    );
}

#[test]
fn a_leave_that_names_somebody_else_is_nothing() {
    let mut core = rooms(2, 9);
    join(&mut core, 1, "r", "a");
    join(&mut core, 2, "r", "b");
    for claim in [
        Claim {
            room: Some(room("r")),
            member: Some(member("a")),
        },
        Claim {
            room: Some(room("s")),
            member: Some(member("b")),
        },
    ] {
        core.handle_leave(at(2), &claim);
        assert_eq!(drain(&mut core), []);
    }
    let without_a_seat = Event::Failed {
        to: None,
        why: Failure::NotJoined,
    };
    core.handle_leave(at(3), &Claim::default());
    assert_eq!(drain(&mut core), [(3, without_a_seat)]);
    core.handle_leave(at(2), &Claim::default());
    assert_eq!(drain(&mut core), [(1, left("r", "b"))]);
}

#[test]
fn a_message_reaches_whom_it_names_and_only_from_whom_it_names() {
    let mut core = rooms(3, 9);
    for (connection, id) in [(1, "a"), (2, "b"), (3, "c")] {
        join(&mut core, connection, "r", id);
    }
    join(&mut core, 4, "s", "d");
    let nobody = Claim::default();
    let to = |id| Recipient::Member(member(id));

    core.handle_relay(at(1), &nobody, &to("c"), &7);
    assert_eq!(drain(&mut core), [(3, Event::Relayed(7))]);

    let forged = Claim {
        room: None,
        member: Some(member("b")),
    };
    let elsewhere = Claim {
        room: Some(room("s")),
        member: None,
    };
    core.handle_relay(at(1), &forged, &to("c"), &7);
    core.handle_relay(at(1), &elsewhere, &to("d"), &7);
    core.handle_relay(at(1), &nobody, &to("d"), &7);
    core.handle_relay(at(1), &nobody, &to("a"), &7);
    core.handle_relay(at(1), &nobody, &Recipient::OnlyOther, &7);
    assert_eq!(drain(&mut core), []);
    core.handle_relay(at(5), &nobody, &to("a"), &7);
    let without_a_seat = Event::Failed {
        to: Some(member("a")),
        why: Failure::NotJoined,
    };
    assert_eq!(drain(&mut core), [(5, without_a_seat)]);
    assert_eq!(core.counters().relayed, 1);
    assert_eq!(core.counters().undeliverable, 6);
}

#[test]
fn a_message_for_the_only_other_member_needs_one() {
    let mut core = rooms(2, 9);
    join(&mut core, 1, "r", "a");
    core.handle_relay(at(1), &Claim::default(), &Recipient::OnlyOther, &1);
    assert_eq!(drain(&mut core), []);
    join(&mut core, 2, "r", "b");
    core.handle_relay(at(1), &Claim::default(), &Recipient::OnlyOther, &2);
    assert_eq!(drain(&mut core), [(2, Event::Relayed(2))]);
}

/// What a client may do.
#[derive(Clone, Debug)]
enum Act {
    Join(u64, u8, u8),
    Leave(u64),
    LeaveAs(u64, u8, u8),
    Relay(u64, u8),
    RelayAny(u64),
    Disconnect(u64),
}

fn acts() -> impl Strategy<Value = Vec<Act>> {
    let connection = 0..6_u64;
    let room = 0..3_u8;
    let id = 0..5_u8;
    let act = prop_oneof![
        4 => (connection.clone(), room.clone(), id.clone()).prop_map(|(c, r, i)| Act::Join(c, r, i)),
        1 => connection.clone().prop_map(Act::Leave),
        1 => (connection.clone(), room, id.clone()).prop_map(|(c, r, i)| Act::LeaveAs(c, r, i)),
        4 => (connection.clone(), id).prop_map(|(c, i)| Act::Relay(c, i)),
        2 => connection.clone().prop_map(Act::RelayAny),
        1 => connection.prop_map(Act::Disconnect),
    ];
    proptest::collection::vec(act, 1..120)
}

/// What each client can know of the world, put together from what it was told.
#[derive(Default)]
struct Witness {
    seat: Option<(RoomName, MemberId)>,
    others: BTreeSet<String>,
    last_from: BTreeMap<u64, u32>,
}

impl Witness {
    /// Checks that an event makes sense to somebody who has seen what this one has seen.
    fn hear(&mut self, event: Event<u32>, senders: &HashMap<u32, u64>) {
        match event {
            Event::Joined { ticket, others, .. } => {
                let seat = Some((ticket.room, ticket.member));
                assert_ne!(self.seat, seat);
                self.seat = seat;
                self.others.clear();
                for Other { member, .. } in others {
                    assert!(self.others.insert(member.as_str().to_owned()));
                }
            }
            Event::Arrived { room, member, .. } => {
                self.in_room(&room);
                assert!(
                    self.others.insert(member.as_str().to_owned()),
                    "met {member:?} twice"
                );
            }
            Event::Left { room, member } => {
                self.in_room(&room);
                assert!(
                    self.others.remove(member.as_str()),
                    "{member:?} left without having come"
                );
            }
            Event::Refused { .. } => {}
            Event::Failed { why, .. } => {
                assert_eq!((&self.seat, why), (&None, Failure::NotJoined));
            }
            Event::Relayed(number) => {
                assert!(self.seat.is_some(), "a message for somebody without a seat");
                let from = senders[&number];
                let before = self.last_from.insert(from, number);
                assert!(
                    before < Some(number),
                    "{before:?} then {number} from {from}"
                );
            }
            other => panic!("{other:?} is for those who come back"),
        }
    }

    fn in_room(&self, room: &RoomName) {
        let seat = self.seat.as_ref().map(|(seat, _)| seat);
        assert_eq!(seat, Some(room), "heard of a room that it is not in");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    /// After any history, what the clients were told is the whole truth and nothing else.
    #[test]
    fn everybody_knows_exactly_who_is_in_their_room(
        acts in acts(), capacity in 1..4_usize, max_rooms in 1..4_usize
    ) {
        let mut core = rooms(capacity, max_rooms);
        let mut witnesses: BTreeMap<u64, Witness> = BTreeMap::new();
        let mut senders = HashMap::new();
        for (number, act) in (1_u32..).zip(acts) {
            match act {
                Act::Join(c, r, i) => {
                    let (name, id) = (room(&r.to_string()), member(&i.to_string()));
                    core.handle_join(at(c), name, id, Terms::PLAIN);
                }
                Act::Leave(c) => {
                    core.handle_leave(at(c), &Claim::default());
                    forget(&mut witnesses, c);
                }
                Act::LeaveAs(c, r, i) => {
                    let claimed = (room(&r.to_string()), member(&i.to_string()));
                    let claim = Claim {
                        room: Some(claimed.0.clone()),
                        member: Some(claimed.1.clone()),
                    };
                    core.handle_leave(at(c), &claim);
                    if witnesses.get(&c).is_some_and(|own| own.seat == Some(claimed)) {
                        forget(&mut witnesses, c);
                    }
                }
                Act::Relay(c, i) => {
                    senders.insert(number, c);
                    let to = Recipient::Member(member(&i.to_string()));
                    core.handle_relay(at(c), &Claim::default(), &to, &number);
                }
                Act::RelayAny(c) => {
                    senders.insert(number, c);
                    core.handle_relay(at(c), &Claim::default(), &Recipient::OnlyOther, &number);
                }
                Act::Disconnect(c) => {
                    leave(&mut core, c);
                    forget(&mut witnesses, c);
                }
            }
            for (to, event) in drain(&mut core) {
                witnesses.entry(to).or_default().hear(event, &senders);
            }

            // The truth, from the seats that clients know to have.
            let mut truth: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
            for (name, id) in witnesses.values().filter_map(|own| own.seat.as_ref()) {
                let new = truth
                    .entry(name.as_str().to_owned())
                    .or_default()
                    .insert(id.as_str().to_owned());
                prop_assert!(new, "two members with one id");
            }
            prop_assert!(truth.values().all(|members| members.len() <= capacity));
            prop_assert!(truth.len() <= max_rooms);
            prop_assert_eq!(core.rooms(), truth.len());
            prop_assert_eq!(core.members(), truth.values().map(BTreeSet::len).sum::<usize>());
            for own in witnesses.values() {
                if let Some((name, id)) = &own.seat {
                    let mut known = own.others.clone();
                    known.insert(id.as_str().to_owned());
                    prop_assert_eq!(Some(&known), truth.get(name.as_str()));
                }
            }
        }
        for connection in 0..6 {
            leave(&mut core, connection);
        }
        prop_assert_eq!((core.rooms(), core.members()), (0, 0));
        prop_assert!(core.rooms.is_empty() && core.seats.is_empty());
    }
}

/// A client that has left knows so without being told.
fn forget(witnesses: &mut BTreeMap<u64, Witness>, connection: u64) {
    if let Some(witness) = witnesses.get_mut(&connection) {
        witness.seat = None;
        witness.others.clear();
    }
}
