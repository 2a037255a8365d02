//! Coming back under a simulated clock, with connections that break at any moment and clients that
//! believe nothing that does not fit what they knew.

use super::resume::{KEPT, TERMS};
use super::*;

/// What may happen to one of the clients, or to the time.
#[derive(Clone, Debug)]
enum Fate {
    Joins(usize, u8),
    Leaves(usize),
    /// Its connection breaks, and nobody knows yet. What was under way is lost.
    Breaks(usize),
    /// The server notices that the broken connections are broken.
    Noticed(usize),
    Returns(usize),
    /// So many messages arrive.
    Hears(usize, usize),
    /// A pong arrives.
    Acknowledges(usize),
    Says(usize, usize),
    SaysToAll(usize),
    Locks(usize, bool),
    Passes(u64),
}

const CLIENTS: usize = 5;

fn fates() -> impl Strategy<Value = Vec<Fate>> {
    let who = || 0..CLIENTS;
    let fate = prop_oneof![
        3 => (who(), 0..2_u8).prop_map(|(c, r)| Fate::Joins(c, r)),
        1 => who().prop_map(Fate::Leaves),
        3 => who().prop_map(Fate::Breaks),
        2 => who().prop_map(Fate::Noticed),
        4 => who().prop_map(Fate::Returns),
        6 => (who(), 1..6_usize).prop_map(|(c, n)| Fate::Hears(c, n)),
        3 => who().prop_map(Fate::Acknowledges),
        8 => (who(), who()).prop_map(|(from, to)| Fate::Says(from, to)),
        3 => who().prop_map(Fate::SaysToAll),
        1 => (who(), any::<bool>()).prop_map(|(c, lock)| Fate::Locks(c, lock)),
        2 => (1..40_u64).prop_map(Fate::Passes),
    ];
    proptest::collection::vec(fate, 1..250)
}

/// A client with its connection, and what it believes.
#[derive(Default)]
struct Person {
    connection: Option<u64>,
    /// Broken connections of which the server does not know.
    ghosts: Vec<u64>,
    under_way: VecDeque<(Event<u32>, Option<u64>)>,
    /// A new one for each join.
    id: String,
    ticket: Option<Ticket>,
    received: u64,
    /// It has heard of its seat over this connection.
    seated: bool,
    others: BTreeSet<String>,
    away: BTreeSet<String>,
    locked: bool,
}

/// Everybody, the server, and what the server has promised to each seat.
struct World {
    core: Rooms<u32>,
    now: Instant,
    people: Vec<Person>,
    connections: u64,
    messages: u32,
    /// Texts that each seat is to get, in order; what it has got is taken out.
    owed: BTreeMap<u64, VecDeque<u32>>,
    /// The server's own view: who holds which seat.
    seats: BTreeMap<u64, (RoomName, MemberId)>,
    losses: usize,
}

impl World {
    fn new(resume: Resume, capacity: usize) -> Self {
        Self {
            core: rooms_keeping(resume, capacity, 9),
            now: clock::now(),
            people: std::iter::repeat_with(Person::default)
                .take(CLIENTS)
                .collect(),
            connections: 0,
            messages: 0,
            owed: BTreeMap::new(),
            seats: BTreeMap::new(),
            losses: 0,
        }
    }

    fn befalls(&mut self, fate: &Fate) {
        match *fate {
            Fate::Joins(who, name) => {
                if self.people[who].ticket.is_none() && self.people[who].under_way.is_empty() {
                    let connection = self.connect(who);
                    let id = format!("{who}-{connection}");
                    self.people[who].id = id.clone();
                    let (name, id) = (room(&name.to_string()), member(&id));
                    self.core.handle_join(at(connection), name, id, TERMS);
                }
            }
            Fate::Leaves(who) => {
                if let Some(connection) = self.people[who].connection {
                    self.core.handle_leave(at(connection), &Claim::default());
                    self.forget(who);
                }
            }
            Fate::Breaks(who) => {
                let person = &mut self.people[who];
                person.ghosts.extend(person.connection.take());
                person.under_way.clear();
            }
            Fate::Noticed(who) => {
                for ghost in std::mem::take(&mut self.people[who].ghosts) {
                    self.core
                        .handle_disconnect(at(ghost), Departure::Lost, self.now);
                }
            }
            Fate::Returns(who) => {
                let received = self.people[who].received;
                if let Some(ticket) = self.people[who].ticket.clone()
                    && self.people[who].connection.is_none()
                {
                    let connection = self.connect(who);
                    self.core.handle_resume(at(connection), ticket, received);
                }
            }
            Fate::Hears(who, count) => {
                for _ in 0..count {
                    if let Some((event, number)) = self.people[who].under_way.pop_front() {
                        self.hear(who, event, number);
                    }
                }
            }
            Fate::Acknowledges(who) => {
                let person = &self.people[who];
                // A pong brings back what a ping brought, over this very connection.
                if let (Some(connection), true) = (person.connection, person.seated) {
                    self.core
                        .handle_acknowledge(at(connection), person.received);
                }
            }
            Fate::Says(from, to) => {
                if let Ok(to) = MemberId::new(&self.people[to].id) {
                    self.say(from, &Recipient::Member(to));
                }
            }
            Fate::SaysToAll(from) => self.say(from, &Recipient::Others),
            Fate::Locks(who, lock) => {
                if let Some(connection) = self.people[who].connection {
                    let door = if lock { Door::Locked } else { Door::Open };
                    let claim = Claim::default();
                    self.core.handle_door(at(connection), &claim, door);
                }
            }
            Fate::Passes(seconds) => {
                self.now += Duration::from_secs(seconds);
                self.core.handle_timeout(self.now);
            }
        }
        self.deliver();
    }

    fn connect(&mut self, who: usize) -> u64 {
        let person = &mut self.people[who];
        person.ghosts.extend(person.connection.take());
        self.connections += 1;
        person.connection = Some(self.connections);
        person.seated = false;
        person.under_way.clear();
        self.connections
    }

    fn forget(&mut self, who: usize) {
        let person = &mut self.people[who];
        *person = Person {
            ghosts: std::mem::take(&mut person.ghosts),
            ..Person::default()
        };
    }

    fn say(&mut self, from: usize, to: &Recipient) {
        let Some(connection) = self.people[from].connection else {
            return;
        };
        let before = self.core.counters().relayed;
        self.messages += 1;
        self.core
            .handle_relay(at(connection), &Claim::default(), to, &self.messages);
        if self.core.counters().relayed == before {
            return;
        }
        let from = member(&self.people[from].id);
        let (place, _) = self
            .seats
            .values()
            .find(|(_, id)| *id == from)
            .expect("only members are heard")
            .clone();
        for (seat, (name, id)) in &self.seats {
            let meant = match to {
                Recipient::Member(to) => to == id,
                _ => *id != from,
            };
            if *name == place && meant {
                self.owed.entry(*seat).or_default().push_back(self.messages);
            }
        }
    }

    /// Takes what the core gives, to the connections that exist. This is the server's side: what
    /// is read off here is what it decided, not what the clients learn.
    fn deliver(&mut self) {
        let gone: Vec<u64> = self
            .seats
            .iter()
            .filter(|(seat, (name, _))| {
                let held = self
                    .core
                    .rooms
                    .get_mut(name)
                    .and_then(|room| room.by_seat_mut(SeatId::new(**seat)));
                held.is_none()
            })
            .map(|(seat, _)| *seat)
            .collect();
        for seat in gone {
            self.seats.remove(&seat);
            self.owed.remove(&seat);
        }
        while let Some(Delivery { to, event, number }) = self.core.poll_delivery() {
            match &event {
                Event::Joined { ticket, .. } => {
                    let place = (ticket.room.clone(), ticket.member.clone());
                    assert!(!self.seats.values().any(|taken| *taken == place));
                    self.seats.insert(ticket.seat.number(), place);
                }
                Event::Resumed { ticket, lost, .. } => {
                    let owed = self.owed.entry(ticket.seat.number()).or_default();
                    if lost.is_some() {
                        self.losses += 1;
                        owed.clear();
                    }
                }
                Event::Superseded => continue,
                _ => {}
            }
            let owner = self
                .people
                .iter_mut()
                .find(|person| person.connection == Some(to.number()));
            if let Some(person) = owner {
                person.under_way.push_back((event, number));
            }
        }
    }

    /// A client hears something, and believes it only if it fits what it knew.
    fn hear(&mut self, who: usize, event: Event<u32>, number: Option<u64>) {
        let person = &mut self.people[who];
        if let (Some(number), Some(_)) = (number, &person.ticket) {
            person.received += 1;
            assert_eq!(number, person.received, "both sides count alike");
        }
        let name = |id: &MemberId| id.as_str().to_owned();
        let here = |place: &RoomName| {
            let own = person.ticket.as_ref().map(|ticket| &ticket.room);
            assert_eq!(own, Some(place), "heard of a room that it is not in");
        };
        match event {
            Event::Joined {
                ticket,
                others,
                door,
                ..
            } => {
                person.ticket = Some(ticket);
                person.seated = true;
                person.received = 0;
                person.others = others.iter().map(|other| name(&other.member)).collect();
                person.away.clear();
                person.locked = door == Door::Locked;
            }
            Event::Resumed { ticket, lost, .. } => {
                assert_eq!(Some(ticket), person.ticket);
                person.seated = true;
                if let Some(lost) = lost {
                    person.received = lost.sent;
                    person.others = lost.others.iter().map(|one| name(&one.member)).collect();
                    person.away.clear();
                    person.locked = lost.door == Door::Locked;
                }
            }
            Event::Arrived { room, member, .. } => {
                here(&room);
                assert!(person.others.insert(name(&member)), "{member:?} came twice");
            }
            Event::Left { room, member } => {
                here(&room);
                assert!(
                    person.others.remove(&name(&member)),
                    "{member:?} left twice"
                );
                person.away.remove(&name(&member));
            }
            Event::Away { room, member } => {
                here(&room);
                assert!(person.others.contains(&name(&member)));
                assert!(person.away.insert(name(&member)), "{member:?} away twice");
            }
            Event::Back { room, member, .. } => {
                here(&room);
                assert!(person.others.contains(&name(&member)));
                person.away.remove(&name(&member));
            }
            Event::Door { room, door, .. } => {
                here(&room);
                person.locked = door == Door::Locked;
            }
            Event::Relayed(message) => {
                let seat = person.ticket.as_ref().expect("only members hear").seat;
                let due = self.owed.get_mut(&seat.number()).unwrap().pop_front();
                assert_eq!(due, Some(message), "lost, repeated or out of order");
            }
            Event::Refused { .. } => {
                // A ticket that is worth nothing any more.
                if number.is_none() {
                    person.ticket = None;
                }
            }
            Event::Failed { .. } => {}
            other => panic!("{other:?}"),
        }
    }

    /// Everybody comes back and hears all there is.
    fn settle(&mut self) {
        for who in 0..CLIENTS {
            self.befalls(&Fate::Hears(who, 10_000));
            self.befalls(&Fate::Breaks(who));
            self.befalls(&Fate::Returns(who));
        }
        for who in 0..CLIENTS {
            self.befalls(&Fate::Noticed(who));
        }
        // Whoever is away by now never had a ticket to come back with.
        self.befalls(&Fate::Passes(31));
        for who in 0..CLIENTS {
            self.befalls(&Fate::Hears(who, 10_000));
        }
    }

    fn check(&self, capacity: usize) {
        let mut truth: BTreeMap<RoomKey, BTreeSet<String>> = BTreeMap::new();
        for (name, id) in self.seats.values() {
            truth
                .entry(name.as_str().to_owned())
                .or_default()
                .insert(id.as_str().to_owned());
        }
        assert!(truth.values().all(|members| members.len() <= capacity));
        assert_eq!(self.core.members(), self.seats.len());
        for person in &self.people {
            let Some(ticket) = &person.ticket else {
                continue;
            };
            let mut known = person.others.clone();
            known.insert(ticket.member.as_str().to_owned());
            assert_eq!(Some(&known), truth.get(ticket.room.as_str()));
            assert_eq!(person.away, BTreeSet::new());
            let owed = self.owed.get(&ticket.seat.number());
            assert!(
                owed.is_none_or(VecDeque::is_empty),
                "never arrived: {owed:?}"
            );
            let door = self.core.rooms.get(&ticket.room).map(|room| room.door);
            assert_eq!(door == Some(Door::Locked), person.locked);
        }
    }
}

type RoomKey = String;

fn history(resume: Resume, capacity: usize, fates: &[Fate]) -> World {
    let mut world = World::new(resume, capacity);
    for fate in fates {
        world.befalls(fate);
    }
    world.settle();
    world.check(capacity);
    for who in 0..CLIENTS {
        world.befalls(&Fate::Leaves(who));
        world.befalls(&Fate::Breaks(who));
        world.befalls(&Fate::Noticed(who));
    }
    world.befalls(&Fate::Passes(31));
    assert_eq!((world.core.rooms(), world.core.members()), (0, 0));
    assert_eq!((world.core.away(), world.core.budget.used()), (0, 0));
    assert_eq!(world.core.poll_timeout(), None);
    world
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    /// Whatever breaks and whenever, nobody misses or hears twice what was meant for them.
    #[test]
    fn coming_back_neither_loses_nor_repeats(fates in fates(), capacity in 2..4_usize) {
        let world = history(KEPT_ALL, capacity, &fates);
        prop_assert_eq!(world.losses, 0);
    }

    /// Where less is kept than is missed, the client is told, and knows the room all the same.
    #[test]
    fn what_is_lost_is_never_lost_silently(
        fates in fates(), capacity in 2..4_usize, items in 0..4_usize
    ) {
        history(Resume { items, ..KEPT }, capacity, &fates);
    }
}

const KEPT_ALL: Resume = Resume {
    items: 10_000,
    ..KEPT
};
