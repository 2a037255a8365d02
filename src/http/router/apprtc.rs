//! The routes of AppRTC's room server and of Collider. Names of rooms and ids have few characters,
//! so nothing in these paths is ever encoded.

use hyper::Method;

use crate::signal::apprtc::core::{CLIENT_MAX, ROOM_MAX, is_id};
use crate::signal::apprtc::params::COLLIDER;

/// What is asked of either.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AppRtcRoute {
    /// The room server.
    Room(RoomRoute),
    /// Collider.
    Collider(ColliderRoute),
}

/// What is asked of the room server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RoomRoute {
    /// `/join/{room}`
    Join(String),
    /// `/message/{room}/{client}`
    Message(String, String),
    /// `/leave/{room}/{client}`, and under the name by which Collider calls it, `/bye/...`
    Leave(String, String),
    /// `/params`
    Params,
    /// `/a/`: what clients report about themselves.
    Report,
}

/// What is asked of Collider, below its prefix.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ColliderRoute {
    /// `/{room}/{client}`
    Client(String, String),
    /// `/status`
    Status,
    /// Anything else.
    Unknown,
}

/// What a path of AppRTC's means, whatever the method.
pub(super) fn find(path: &str) -> Option<AppRtcRoute> {
    if let Some(rest) = path.strip_prefix(COLLIDER) {
        return below_collider(rest).map(AppRtcRoute::Collider);
    }
    let mut segments = path.strip_prefix('/')?.split('/');
    let (first, room, client, rest) = (
        segments.next()?,
        segments.next(),
        segments.next(),
        segments.next(),
    );
    let is_room = room.is_some_and(|room| is_id(room, ROOM_MAX));
    let is_client = client.is_some_and(|client| is_id(client, CLIENT_MAX));
    let owned = |text: Option<&str>| text.unwrap_or_default().to_owned();
    let route = match (first, room, client, rest) {
        ("params", None, None, None) => RoomRoute::Params,
        ("a", Some(""), None, None) => RoomRoute::Report,
        ("join", _, None, None) if is_room => RoomRoute::Join(owned(room)),
        ("message", _, _, None) if is_room && is_client => {
            RoomRoute::Message(owned(room), owned(client))
        }
        ("leave" | "bye", _, _, None) if is_room && is_client => {
            RoomRoute::Leave(owned(room), owned(client))
        }
        _ => return None,
    };
    Some(AppRtcRoute::Room(route))
}

/// What a path means to Collider on a port of its own.
pub fn bare_collider(path: &str) -> ColliderRoute {
    below_collider(path).unwrap_or(ColliderRoute::Unknown)
}

fn below_collider(rest: &str) -> Option<ColliderRoute> {
    if rest.is_empty() {
        return Some(ColliderRoute::Unknown);
    }
    let rest = rest.strip_prefix('/')?;
    if rest == "status" {
        return Some(ColliderRoute::Status);
    }
    let found = rest
        .split_once('/')
        .filter(|(room, client)| is_id(room, ROOM_MAX) && is_id(client, CLIENT_MAX));
    Some(match found {
        Some((room, client)) => ColliderRoute::Client(room.to_owned(), client.to_owned()),
        None => ColliderRoute::Unknown,
    })
}

impl AppRtcRoute {
    /// The methods it knows, if this is none of them.
    pub(super) fn refuses(&self, method: &Method) -> Option<&'static str> {
        match (self, method) {
            // Whatever it does not know, Collider answers as if a browser had asked for leave.
            (Self::Collider(_), _) => None,
            (Self::Room(RoomRoute::Params), &Method::GET | &Method::HEAD) => None,
            (Self::Room(RoomRoute::Params), _) => Some("GET, HEAD"),
            (Self::Room(_), &Method::POST) => None,
            (Self::Room(_), _) => Some("POST"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_lead_to_the_room_server_and_to_collider() {
        let pair = || ("r-1".to_owned(), "C_2".to_owned());
        let room = |route| Some(AppRtcRoute::Room(route));
        let collider = |route| Some(AppRtcRoute::Collider(route));
        let long = format!("/join/{}", "r".repeat(ROOM_MAX + 1));
        for (path, expected) in [
            ("/join/r-1", room(RoomRoute::Join(pair().0))),
            (
                "/message/r-1/C_2",
                room(RoomRoute::Message(pair().0, pair().1)),
            ),
            ("/leave/r-1/C_2", room(RoomRoute::Leave(pair().0, pair().1))),
            ("/bye/r-1/C_2", room(RoomRoute::Leave(pair().0, pair().1))),
            ("/params", room(RoomRoute::Params)),
            ("/a/", room(RoomRoute::Report)),
            (
                "/collider/r-1/C_2",
                collider(ColliderRoute::Client(pair().0, pair().1)),
            ),
            ("/collider/status", collider(ColliderRoute::Status)),
            ("/collider", collider(ColliderRoute::Unknown)),
            ("/collider/", collider(ColliderRoute::Unknown)),
            ("/collider/a", collider(ColliderRoute::Unknown)),
            ("/collider/a/b/c", collider(ColliderRoute::Unknown)),
            ("/collider/a/%62", collider(ColliderRoute::Unknown)),
            ("/colliders", None),
            ("/a", None),
            ("/a/b", None),
            ("/params/", None),
            ("/join", None),
            ("/join/", None),
            ("/join/a/", None),
            ("/join/a/b", None),
            ("/join/a.b", None),
            ("/join/%61", None),
            (&*long, None),
            ("/message/a", None),
            ("/message/a/", None),
            ("/message/a/b/", None),
            ("/message/a/b/c", None),
            ("/leave//b", None),
            ("/probe/collider", None),
            ("/", None),
            ("", None),
        ] {
            assert_eq!(find(path), expected, "{path}");
        }
        for (path, expected) in [
            ("/r-1/C_2", ColliderRoute::Client(pair().0, pair().1)),
            ("/status", ColliderRoute::Status),
            ("/", ColliderRoute::Unknown),
            ("/collider/a/b", ColliderRoute::Unknown),
            ("*", ColliderRoute::Unknown),
            ("", ColliderRoute::Unknown),
        ] {
            assert_eq!(bare_collider(path), expected, "{path}");
        }
    }
}
