use super::*;
use crate::signal::dialect::topics::{NAMESPACE, Topical};
use crate::signal::dialect::{Ask, Dialect, Request};
use crate::signal::record::World;

const A: ConnectionId = ConnectionId::new(1);
const B: ConnectionId = ConnectionId::new(2);
const C: ConnectionId = ConnectionId::new(3);

fn topics() -> Topics {
    let limits = Limits {
        topics: 2,
        subscribers: 2,
        of_one: 2,
    };
    Topics::new(limits, Numbers::new(World::Topics, 3))
}

fn name(text: &str) -> RoomName {
    RoomName::new(NAMESPACE, text).unwrap()
}

/// How many topics were refused.
fn subscribe(topics: &mut Topics, who: ConnectionId, to: &[&str], only: Option<&Only>) -> usize {
    let names = to.iter().map(|topic| name(topic)).collect();
    let mut out = Vec::new();
    let refused = topics.handle_subscribe(who, names, only, &mut out);
    assert_eq!(out.len(), refused);
    refused
}

/// Who hears it, and the text.
fn publish(
    topics: &mut Topics,
    who: ConnectionId,
    topic: &str,
) -> Option<(Vec<ConnectionId>, String)> {
    let text = format!(r#"{{"type":"publish","topic":"{topic}","data":1}}"#);
    let Ok(Request::Ask(Ask::Topics(Topical::Publish(publication)))) = Dialect::Topics.parse(&text)
    else {
        panic!("it is published");
    };
    let mut out = Vec::new();
    topics.handle_publish(who, &publication, &mut out);
    match out.pop() {
        Some(Letter::Text(to, text)) => Some((to, text)),
        _ => None,
    }
}

#[test]
fn all_subscribers_hear_what_is_published_and_how_many_they_are() {
    let mut topics = topics();
    assert_eq!(subscribe(&mut topics, A, &["x"], None), 0);
    assert_eq!(subscribe(&mut topics, B, &["x", "x"], None), 0);
    let (to, text) = publish(&mut topics, A, "x").unwrap();
    assert_eq!(to, [A, B]);
    assert_eq!(
        text,
        r#"{"type":"publish","topic":"x","data":1,"clients":2}"#
    );
    topics.handle_unsubscribe(A, &[name("x"), name("y")]);
    let (to, text) = publish(&mut topics, B, "x").unwrap();
    assert_eq!(to, [B]);
    assert!(text.contains("\"clients\":1"));
}

#[test]
fn who_has_not_subscribed_is_not_heard() {
    let mut topics = topics();
    subscribe(&mut topics, A, &["x"], None);
    assert_eq!(publish(&mut topics, B, "x"), None);
    topics.handle_leave(A);
    assert_eq!(publish(&mut topics, A, "x"), None);
    assert_eq!(topics.topics(), 0);
    assert!(topics.subscribers.is_empty());
}

#[test]
fn a_topic_is_told_of_when_its_last_subscriber_is_gone() {
    let mut topics = topics();
    let start = crate::net::clock::now();
    topics.set_time(start);
    subscribe(&mut topics, A, &["x"], None);
    assert_eq!(topics.calls(), 0);
    subscribe(&mut topics, B, &["x", "y"], None);
    assert_eq!(topics.calls(), 1);
    publish(&mut topics, A, "x").unwrap();
    let views = topics.views(None, 9);
    assert_eq!(views.len(), 2);
    assert_eq!(views[0].account.name.as_deref(), Some("x"));
    assert_eq!(topics.find(Target::Room(views[0].account.id)), [A, B]);
    assert_eq!(topics.find(Target::Seat(views[1].seats[0].id)), [B]);
    topics.set_time(start + std::time::Duration::from_secs(3));
    topics.handle_leave(A);
    topics.handle_unsubscribe(B, &[name("x")]);
    let account = topics.poll_ended().unwrap();
    assert_eq!((account.most, account.messages), (2, 1));
    assert_eq!(account.lasted.as_secs(), 3);
    assert_eq!(topics.poll_ended(), None);
    topics.end_all();
    assert_eq!(topics.poll_ended().unwrap().name.as_deref(), Some("y"));
    topics.handle_leave(B);
    assert_eq!(topics.poll_ended(), None);
}

#[test]
fn topics_subscribers_and_topics_of_one_are_limited() {
    let mut topics = topics();
    assert_eq!(subscribe(&mut topics, A, &["x", "y", "z"], None), 1);
    assert_eq!(subscribe(&mut topics, B, &["z", "x"], None), 1);
    assert_eq!(subscribe(&mut topics, C, &["x", "y"], None), 1);
    for one in [A, B, C] {
        topics.handle_leave(one);
    }
    assert_eq!(topics.topics(), 0);
}

#[test]
fn a_token_is_for_its_topic_and_may_need_somebody_to_be_there() {
    let mut topics = topics();
    let only = Only {
        topic: name("x"),
        may_create: false,
    };
    assert_eq!(subscribe(&mut topics, A, &["x", "y"], Some(&only)), 2);
    subscribe(&mut topics, B, &["x"], None);
    assert_eq!(subscribe(&mut topics, A, &["x", "y"], Some(&only)), 1);
}
