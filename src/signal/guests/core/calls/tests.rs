use std::time::Duration;

use proptest::prelude::*;

use super::*;
use crate::net::clock;
use crate::signal::record::World;

const A: ConnectionId = ConnectionId::new(1);
const B: ConnectionId = ConnectionId::new(2);
const C: ConnectionId = ConnectionId::new(3);

fn calls() -> Calls<&'static str> {
    Calls::new(Numbers::new(World::PeerJs, 5), 50)
}

fn say(calls: &mut Calls<&'static str>, from: ConnectionId, to: ConnectionId, word: Word) {
    calls.handle_word((from, &"from"), (to, &"to"), word);
}

fn ended(calls: &mut Calls<&'static str>) -> Vec<(usize, u64, Duration)> {
    std::iter::from_fn(|| calls.poll_ended())
        .map(|account| (account.most, account.messages, account.lasted))
        .collect()
}

#[test]
fn an_offer_and_its_answer_make_a_call_until_one_of_the_two_is_gone() {
    let mut calls = calls();
    let start = clock::now();
    calls.set_time(start);
    for (from, to, word) in [
        (A, B, Word::Other),
        (A, B, Word::Answer),
        (A, B, Word::Offer),
        (A, B, Word::Other),
        // Nobody answers oneself.
        (A, B, Word::Answer),
        (A, A, Word::Offer),
    ] {
        say(&mut calls, from, to, word);
    }
    assert_eq!((calls.calls(), calls.views(None, 9).len()), (0, 0));
    say(&mut calls, B, A, Word::Answer);
    say(&mut calls, B, A, Word::Offer);
    say(&mut calls, A, B, Word::Answer);
    assert_eq!(calls.calls(), 1);
    let view = calls.views(None, 9).remove(0);
    assert_eq!((view.account.most, view.seats.len()), (2, 2));
    assert_eq!(calls.find(Target::Room(view.account.id)), [A, B]);
    assert_eq!(calls.find(Target::Seat(view.seats[1].id)), [B]);
    calls.set_time(start + Duration::from_secs(7));
    calls.handle_leave(B);
    assert_eq!(ended(&mut calls), [(2, 6, Duration::from_secs(7))]);
    assert_eq!(calls.calls(), 0);
    assert!(calls.pairs.is_empty() && calls.others.is_empty());
}

#[test]
fn both_may_offer_and_either_answers() {
    for answers in [A, B] {
        let mut calls = calls();
        say(&mut calls, A, B, Word::Offer);
        say(&mut calls, B, A, Word::Offer);
        assert_eq!(calls.calls(), 0);
        let to = if answers == A { B } else { A };
        say(&mut calls, answers, to, Word::Answer);
        assert_eq!(calls.calls(), 1);
        calls.handle_end(B, A);
        calls.handle_end(B, A);
        assert_eq!(ended(&mut calls).len(), 1);
    }
}

#[test]
fn a_client_that_has_another_connection_keeps_its_calls() {
    let mut calls = calls();
    say(&mut calls, A, B, Word::Offer);
    say(&mut calls, B, A, Word::Answer);
    calls.handle_move(A, C);
    calls.handle_leave(A);
    assert_eq!(calls.calls(), 1);
    calls.handle_leave(B);
    assert_eq!(calls.calls(), 0);
    assert!(calls.pairs.is_empty() && calls.others.is_empty());
}

#[test]
fn whoever_offers_to_everybody_fills_nothing_and_loses_no_call() {
    let mut calls = calls();
    say(&mut calls, A, B, Word::Offer);
    say(&mut calls, B, A, Word::Answer);
    for number in 10..1000 {
        say(&mut calls, A, ConnectionId::new(number), Word::Offer);
    }
    assert_eq!((calls.pairs.len(), calls.calls()), (OF_ONE, 1));
    for number in 1000..2000 {
        let (one, other) = (ConnectionId::new(number), ConnectionId::new(number + 5000));
        say(&mut calls, one, other, Word::Offer);
    }
    assert_eq!(calls.pairs.len(), 50);
    // The latest are remembered.
    say(&mut calls, ConnectionId::new(999), A, Word::Answer);
    assert_eq!(calls.calls(), 2);
    calls.end_all();
    assert_eq!(ended(&mut calls).len(), 2);
    calls.handle_leave(A);
    assert_eq!(ended(&mut calls), []);
}

proptest! {
    #[test]
    fn what_is_remembered_agrees_and_goes_with_those_whom_it_is_of(
        steps in prop::collection::vec((0..6_u8, 0..6_u64, 0..6_u64), 0..200),
    ) {
        let mut calls = calls();
        let mut over = 0;
        for (step, one, other) in steps {
            let (one, other) = (ConnectionId::new(one), ConnectionId::new(other));
            match step {
                0 | 1 => say(&mut calls, one, other, Word::Offer),
                2 => say(&mut calls, one, other, Word::Answer),
                3 => calls.handle_end(one, other),
                4 => calls.handle_leave(one),
                _ => calls.handle_move(one, other),
            }
            let views = calls.views(None, 99);
            prop_assert_eq!(views.len(), calls.calls());
            over += ended(&mut calls).len();
            let known: usize = calls.others.values().map(Vec::len).sum();
            prop_assert_eq!(known, calls.pairs.len() * 2);
        }
        let left = calls.calls();
        for number in 0..6 {
            calls.handle_leave(ConnectionId::new(number));
        }
        prop_assert_eq!(ended(&mut calls).len(), left);
        prop_assert!(calls.pairs.is_empty() && calls.others.is_empty());
        prop_assert!(over < 200);
    }
}
