//! Coming back, by example.

use super::*;

const WINDOW: Duration = Duration::from_secs(30);

pub(super) const KEPT: Resume = Resume {
    window: WINDOW,
    items: 100,
    bytes: 1 << 20,
    total: 1 << 20,
    squeezed: 1 << 10,
};

pub(super) const TERMS: Terms = Terms {
    resumable: true,
    may_create: true,
    may_lock: true,
};

fn core() -> Rooms<u32> {
    rooms_keeping(KEPT, 2, 9)
}

/// Takes a seat and shows that its ticket has arrived.
fn sit(core: &mut Rooms<u32>, connection: u64, id: &str) -> Ticket {
    core.handle_join(at(connection), room("r"), member(id), TERMS);
    let ticket = std::iter::from_fn(|| core.poll_delivery())
        .find_map(|delivery| match delivery.event {
            Event::Joined { ticket, .. } => Some(ticket),
            _ => None,
        })
        .unwrap();
    core.handle_acknowledge(at(connection), 0);
    ticket
}

fn lose(core: &mut Rooms<u32>, connection: u64, now: Instant) -> Vec<(u64, Event<u32>)> {
    core.handle_disconnect(at(connection), Departure::Lost, now);
    drain(core)
}

fn say(core: &mut Rooms<u32>, connection: u64, number: u32) {
    core.handle_relay(
        at(connection),
        &Claim::default(),
        &Recipient::Others,
        &number,
    );
}

fn away(id: &str) -> Event<u32> {
    Event::Away {
        room: room("r"),
        member: member(id),
    }
}

fn back(id: &str, lost: bool) -> Event<u32> {
    Event::Back {
        room: room("r"),
        member: member(id),
        lost,
    }
}

fn resumed(ticket: &Ticket, received: u64, lost: Option<Lost>) -> Event<u32> {
    Event::Resumed {
        ticket: ticket.clone(),
        received,
        lost,
    }
}

#[test]
fn who_comes_back_in_time_gets_its_seat_and_what_it_has_missed() {
    let (mut core, now) = (core(), clock::now());
    let ticket = sit(&mut core, 1, "a");
    sit(&mut core, 2, "b");
    say(&mut core, 2, 7);
    drain(&mut core);
    assert_eq!(lose(&mut core, 1, now), [(2, away("a"))]);
    assert_eq!((core.members(), core.away()), (2, 1));
    say(&mut core, 2, 8);
    assert_eq!(drain(&mut core), []);
    // It has seen b come, and nothing of what b said.
    core.handle_resume(at(3), ticket.clone(), 1);
    assert_eq!(
        drain(&mut core),
        [
            (3, resumed(&ticket, 0, None)),
            (3, Event::Relayed(7)),
            (3, Event::Relayed(8)),
            (2, back("a", false)),
        ]
    );
    assert_eq!((core.members(), core.away()), (2, 0));
    core.handle_timeout(now + WINDOW * 2);
    assert_eq!(drain(&mut core), []);
}

#[test]
fn the_seat_is_kept_for_the_window_and_not_longer() {
    let (mut core, now) = (core(), clock::now());
    let ticket = sit(&mut core, 1, "a");
    sit(&mut core, 2, "b");
    lose(&mut core, 1, now);
    // Nobody else gets it, not even under its name.
    assert_eq!(
        join(&mut core, 3, "r", "a"),
        [(3, refused("r", "a", Refusal::Full))]
    );
    assert_eq!(core.poll_timeout(), Some(now + WINDOW));
    core.handle_timeout(now + WINDOW - Duration::from_millis(1));
    assert_eq!(drain(&mut core), []);
    core.handle_timeout(now + WINDOW);
    assert_eq!(drain(&mut core), [(2, left("r", "a"))]);
    assert_eq!(core.poll_timeout(), None);
    // Later it comes as somebody new, whom the others may know.
    core.handle_resume(at(3), ticket, 1);
    let heard = drain(&mut core);
    let returning = Event::Arrived {
        room: room("r"),
        member: member("a"),
        returning: true,
    };
    assert_eq!(heard[0], (2, returning));
    assert!(
        matches!(&heard[1], (3, Event::Joined { returning: true, others, .. }) if others.len() == 1)
    );
}

#[test]
fn a_half_open_ghost_does_not_keep_the_seat_from_its_owner() {
    let (mut core, now) = (core(), clock::now());
    let ticket = sit(&mut core, 1, "a");
    sit(&mut core, 2, "b");
    core.handle_resume(at(3), ticket.clone(), 1);
    assert_eq!(
        drain(&mut core),
        [
            (1, Event::Superseded),
            (3, resumed(&ticket, 0, None)),
            (2, back("a", false)),
        ]
    );
    // What the ghost still says, and its end, are nothing.
    say(&mut core, 1, 7);
    assert!(matches!(drain(&mut core)[..], [(1, Event::Failed { .. })]));
    assert_eq!(lose(&mut core, 1, now), []);
    say(&mut core, 3, 8);
    assert_eq!(drain(&mut core), [(2, Event::Relayed(8))]);
}

#[test]
fn the_server_says_how_much_of_the_client_has_arrived() {
    let (mut core, now) = (core(), clock::now());
    let ticket = sit(&mut core, 1, "a");
    sit(&mut core, 2, "b");
    for number in 0..3 {
        say(&mut core, 1, number);
    }
    core.handle_answer(at(1), 9);
    lose(&mut core, 1, now);
    drain(&mut core);
    core.handle_resume(at(3), ticket.clone(), 2);
    assert_eq!(drain(&mut core)[0], (3, resumed(&ticket, 4, None)));
}

#[test]
fn who_has_missed_too_much_is_told_so_and_how_the_room_is_now() {
    let mut core = rooms_keeping(Resume { items: 3, ..KEPT }, 3, 9);
    let now = clock::now();
    let ticket = sit(&mut core, 1, "a");
    sit(&mut core, 2, "b");
    core.handle_acknowledge(at(1), 1);
    lose(&mut core, 1, now);
    sit(&mut core, 4, "c");
    for number in 0..3 {
        say(&mut core, 2, number);
    }
    drain(&mut core);
    let other = |id| Other {
        member: member(id),
        first: false,
    };
    let lost = Lost {
        sent: 5,
        others: vec![other("b"), other("c")],
        door: Door::Open,
    };
    core.handle_resume(at(3), ticket.clone(), 1);
    assert_eq!(
        drain(&mut core),
        [
            (3, resumed(&ticket, 0, Some(lost.clone()))),
            (2, back("a", true)),
            (4, back("a", true)),
        ]
    );
    say(&mut core, 2, 9);
    let first = core.poll_delivery().unwrap();
    assert_eq!((first.event, first.number), (Event::Relayed(9), Some(6)));
    drain(&mut core);
    // Should it never have heard that something was lost, it is told again.
    core.handle_resume(at(5), ticket.clone(), 1);
    let lost = Lost { sent: 6, ..lost };
    assert_eq!(drain(&mut core)[1], (5, resumed(&ticket, 0, Some(lost))));
    // And if it has, nothing more is missing.
    core.handle_resume(at(6), ticket.clone(), 6);
    assert_eq!(drain(&mut core)[1], (6, resumed(&ticket, 0, None)));
}

#[test]
fn a_seat_whose_ticket_may_not_have_arrived_is_not_kept() {
    let (mut core, now) = (core(), clock::now());
    core.handle_join(at(1), room("r"), member("a"), TERMS);
    drain(&mut core);
    lose(&mut core, 1, now);
    assert_eq!((core.members(), core.rooms()), (0, 0));
}

#[test]
fn who_leaves_is_gone_at_once() {
    let (mut core, now) = (core(), clock::now());
    sit(&mut core, 1, "a");
    sit(&mut core, 2, "b");
    core.handle_disconnect(at(1), Departure::Left, now);
    assert_eq!(drain(&mut core), [(2, left("r", "a"))]);
}

#[test]
fn a_ticket_of_an_earlier_process_is_a_join_under_the_same_name() {
    let ticket = sit(&mut core(), 1, "a");
    let other = Ticket {
        seat: SeatId::new(77),
        ..ticket
    };
    let mut core = rooms_keeping(KEPT, 2, 9);
    core.handle_resume(at(1), other.clone(), 40);
    assert!(matches!(
        drain(&mut core)[..],
        [(
            1,
            Event::Joined {
                returning: true,
                ..
            }
        )]
    ));
    // Somebody who has the name by now keeps it.
    core.handle_resume(at(2), other, 40);
    assert_eq!(
        drain(&mut core),
        [(2, refused("r", "a", Refusal::MemberTaken))]
    );
}

#[test]
fn a_locked_room_takes_back_its_own_and_nobody_else() {
    let mut core = rooms_keeping(KEPT, 3, 9);
    let now = clock::now();
    let ticket = sit(&mut core, 1, "a");
    sit(&mut core, 2, "b");
    core.handle_door(at(1), &Claim::default(), Door::Locked);
    let locked = Event::Door {
        room: room("r"),
        by: member("a"),
        door: Door::Locked,
    };
    assert_eq!(drain(&mut core), [(1, locked.clone()), (2, locked)]);
    assert_eq!(
        join(&mut core, 3, "r", "c"),
        [(3, refused("r", "c", Refusal::Locked))]
    );
    lose(&mut core, 1, now);
    core.handle_resume(at(4), ticket, 2);
    assert!(matches!(
        drain(&mut core)[0],
        (4, Event::Resumed { lost: None, .. })
    ));
    core.handle_door(at(4), &Claim::default(), Door::Open);
    drain(&mut core);
    join(&mut core, 3, "r", "c");
    // Of another dialect, it may not.
    core.handle_door(at(3), &Claim::default(), Door::Locked);
    assert_eq!(drain(&mut core), []);
    assert_eq!(core.members(), 3);
}

#[test]
fn who_may_not_create_rooms_may_join_those_that_are() {
    let mut core = core();
    let guest = Terms {
        may_create: false,
        ..TERMS
    };
    core.handle_join(at(1), room("r"), member("a"), guest);
    assert_eq!(
        drain(&mut core),
        [(1, refused("r", "a", Refusal::NoSuchRoom))]
    );
    sit(&mut core, 2, "b");
    core.handle_join(at(1), room("r"), member("a"), guest);
    assert_eq!(core.members(), 2);
}
