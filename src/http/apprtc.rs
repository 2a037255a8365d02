//! AppRTC over HTTP: the room server's routes, and Collider's below `/collider`. The rooms are
//! [`crate::signal::apprtc`]'s; here their answers get statuses, JSON and headers.

mod collider;

use std::net::IpAddr;
use std::sync::PoisonError;
use std::sync::atomic::Ordering;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt as _, Limited};
use hyper::body::Body;
use hyper::header::{
    ACCESS_CONTROL_ALLOW_METHODS, ACCESS_CONTROL_ALLOW_ORIGIN, CACHE_CONTROL, CONTENT_LENGTH,
    CONTENT_TYPE, EXPECT, HeaderMap, HeaderValue, RETRY_AFTER, USER_AGENT, VARY,
};
use hyper::http::request::Parts;
use hyper::{Request, Response, StatusCode};
use serde_json::{Value, json};

use super::authority::Authority;
use super::body::Answer;
use super::origin::Source;
use super::page::text;
use super::router::{AppRtcRoute, RoomRoute};
use super::{Inner, Services, proxy, template};
use crate::config::settings::IcePolicy;
use crate::net::clock;
use crate::signal::apprtc::core::{CAPACITY, Lost, ROOM_MAX, Refusal, is_id};
use crate::signal::apprtc::params::{Params, Site, is_loopback};
use crate::signal::apprtc::query::Query;
use crate::telemetry::repeats::{Repeated, note};

/// Answers a request to one of AppRTC's routes, with a method that it knows.
pub(super) async fn answer<B>(
    services: &Services,
    request: Request<B>,
    route: AppRtcRoute,
    own: Option<&Authority>,
    peer: IpAddr,
) -> Response<Answer>
where
    B: Body + Unpin,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    let (head, body) = request.into_parts();
    let mut response = match route {
        AppRtcRoute::Collider(route) => collider::answer(services, &head, body, route, peer).await,
        AppRtcRoute::Room(route) => room_server(services, &head, body, route, own, peer).await,
    };
    let no_store = HeaderValue::from_static("no-store");
    response.headers_mut().insert(CACHE_CONTROL, no_store);
    response
}

async fn room_server<B>(
    services: &Services,
    head: &Parts,
    body: B,
    route: RoomRoute,
    own: Option<&Authority>,
    peer: IpAddr,
) -> Response<Answer>
where
    B: Body + Unpin,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    let inner = &*services.inner;
    let source = Source::of(
        &head.headers,
        own,
        &inner.hosts,
        &inner.signaling.allowed_origins,
    );
    // A page elsewhere could take seats in its visitors' names.
    if source == Source::Foreign {
        unread(head, body).await;
        inner.stats.foreign_origins.fetch_add(1, Ordering::Relaxed);
        return text(StatusCode::FORBIDDEN, "Not for this origin\n");
    }
    let body = match read(inner, body).await {
        Ok(body) => body,
        Err(refusal) => return refusal,
    };
    let rooms = inner.hub.apprtc();
    let mut response = match route {
        RoomRoute::Join(room) => join(inner, head, &room, own, peer),
        RoomRoute::Message(room, client) => match is_admitted(inner, peer) {
            false => busy("Too many messages\n"),
            true => message(inner, &room, &client, &body),
        },
        RoomRoute::Leave(room, client) => {
            rooms.leave(&room, &client);
            text(StatusCode::OK, "")
        }
        RoomRoute::Params => {
            let query = query(head);
            let key = passing_key(inner, &query);
            let params = Params::new(&query, &site(inner, head, own, &key).as_site());
            match serde_json::to_value(params) {
                Ok(params) => as_json(&params),
                Err(_) => text(StatusCode::INTERNAL_SERVER_ERROR, "Cannot be written\n"),
            }
        }
        RoomRoute::Report => as_json(&json!({ "result": report(&body) })),
    };
    if let Source::Allowed(origin) = source {
        let headers = response.headers_mut();
        if let Ok(origin) = HeaderValue::from_str(&origin) {
            headers.insert(ACCESS_CONTROL_ALLOW_ORIGIN, origin);
        }
        headers.insert(VARY, HeaderValue::from_static("origin"));
    }
    response
}

/// The first page, or that of a room, where the operator has put AppRTC's templates. `None`: there
/// are none.
pub(super) async fn page(
    services: &Services,
    head: &Parts,
    own: Option<&Authority>,
) -> Option<Response<Answer>> {
    let inner = &*services.inner;
    if inner.assets.is_built_in() {
        return None;
    }
    let room = head.uri.path().strip_prefix("/r/");
    let room = room.filter(|room| is_id(room, ROOM_MAX));
    let is_full = room.is_some_and(|room| inner.hub.apprtc().occupants(room) >= CAPACITY);
    let name = match is_full {
        true => "full_template.html",
        false => "index_template.html",
    };
    let template = match inner.assets.template(name).await {
        Ok(template) => template?,
        Err(error) => {
            tracing::warn!(name, %error, "a template of web.dir cannot be read");
            return Some(text(StatusCode::INTERNAL_SERVER_ERROR, "Cannot be read\n"));
        }
    };
    let query = query(head);
    let key = passing_key(inner, &query);
    let site = site(inner, head, own, &key);
    let site = site.as_site();
    let mut params = Params::new(&query, &site);
    if let Some(room) = room {
        params = params.in_room(room, &query, &site);
    }
    let page = match template::render(&template, &params) {
        Ok(page) => page,
        Err(error) => {
            tracing::warn!(name, %error, "a template of web.dir cannot be filled");
            return Some(text(
                StatusCode::INTERNAL_SERVER_ERROR,
                "Cannot be filled\n",
            ));
        }
    };
    let mut response = text(StatusCode::OK, page);
    let html = HeaderValue::from_static("text/html; charset=utf-8");
    response.headers_mut().insert(CONTENT_TYPE, html);
    Some(response)
}

fn join(
    inner: &Inner,
    head: &Parts,
    room: &str,
    own: Option<&Authority>,
    peer: IpAddr,
) -> Response<Answer> {
    // Each join takes a place, as each WebSocket does.
    let is_allowed = inner
        .join_limiter
        .lock()
        .unwrap_or_else(PoisonError::into_inner)
        .allow(peer, clock::now());
    if !is_allowed {
        return busy("Too many joins\n");
    }
    let query = query(head);
    let rooms = inner.hub.apprtc();
    let refused = |result: &str| as_json(&json!({"result": result, "params": {"messages": []}}));
    let is_there = rooms.occupants(room) > 0;
    if !inner
        .hub
        .reception()
        .admits(room, is_there, query.get("token"))
    {
        note(Repeated::NotAdmitted, peer);
        return refused("ERROR");
    }
    let joined = match rooms.join(room, is_loopback(&query)) {
        Ok(joined) => joined,
        Err(Refusal::Full) => return refused("FULL"),
        Err(Refusal::Duplicate) => return refused("DUPLICATE_CLIENT"),
        Err(why @ Refusal::TooManyRooms) => {
            note(Repeated::RefusedJoin, peer);
            tracing::debug!(%why, "an AppRTC client cannot join");
            return refused("ERROR");
        }
    };
    let key = rooms.key_of(room, &joined.client);
    let site = site(inner, head, own, &key);
    let site = site.as_site();
    let params = Params::new(&query, &site)
        .in_room(room, &query, &site)
        .joined(joined.client, joined.is_initiator, &joined.messages);
    match serde_json::to_value(params) {
        Ok(params) => as_json(&json!({"result": "SUCCESS", "params": params})),
        Err(_) => text(StatusCode::INTERNAL_SERVER_ERROR, "Cannot be written\n"),
    }
}

fn message(inner: &Inner, room: &str, client: &str, body: &Bytes) -> Response<Answer> {
    let result = |result: &str| as_json(&json!({ "result": result }));
    // Empty: clients take an empty message for a broken server.
    let Some(body) = std::str::from_utf8(body)
        .ok()
        .filter(|body| !body.is_empty())
    else {
        return result("ERROR");
    };
    match inner.hub.apprtc().message(room, client, body) {
        Ok(()) => result("SUCCESS"),
        Err(Lost::UnknownRoom) => result("UNKNOWN_ROOM"),
        Err(Lost::UnknownClient) => result("UNKNOWN_CLIENT"),
        Err(Lost::TooManyStored) => result("ERROR"),
        // The original could not pass it on to Collider.
        Err(Lost::TooManyWaiting) => text(StatusCode::INTERNAL_SERVER_ERROR, ""),
    }
}

/// What becomes of a report: clients of old expect to hear whether it was a good one. Nobody reads
/// them.
fn report(body: &Bytes) -> &'static str {
    let is_time = |value: Option<&Value>| value.is_some_and(Value::is_number);
    let is_good = |report: Value| {
        let event = report.get("event")?;
        let is_event = report.get("type")?.as_str()? == "event";
        let is_named = event.get("event_type")?.is_string();
        let is_timed =
            is_time(report.get("request_time_ms")) && is_time(event.get("event_time_ms"));
        Some(is_event && is_named && is_timed)
    };
    match serde_json::from_slice(body).ok().and_then(is_good) {
        Some(true) => "SUCCESS",
        _ => "INVALID_REQUEST",
    }
}

/// Reads a body of the size of a message.
async fn read<B>(inner: &Inner, mut body: B) -> Result<Bytes, Response<Answer>>
where
    B: Body + Unpin,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    if body.is_end_stream() {
        return Ok(Bytes::new());
    }
    let whole = Limited::new(&mut body, inner.signaling.max_message).collect();
    match tokio::time::timeout(BODY, whole).await {
        Ok(Ok(body)) => Ok(body.to_bytes()),
        Ok(Err(_)) => {
            proxy::swallow(body, false).await;
            Err(text(StatusCode::PAYLOAD_TOO_LARGE, "Too large\n"))
        }
        Err(_) => Err(text(StatusCode::REQUEST_TIMEOUT, "Too slow\n")),
    }
}

/// Takes a body that makes no difference to the answer, which could be lost otherwise.
async fn unread<B>(head: &Parts, body: B)
where
    B: Body + Unpin,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    proxy::swallow(body, head.headers.contains_key(EXPECT)).await;
}

/// How long a message may take to come.
const BODY: Duration = Duration::from_secs(30);

/// Whether another message may come from this address's network.
fn is_admitted(inner: &Inner, peer: IpAddr) -> bool {
    inner.hub.allows(peer, clock::now())
}

fn busy(why: &'static str) -> Response<Answer> {
    let mut response = text(StatusCode::TOO_MANY_REQUESTS, why);
    let after = HeaderValue::from_static("1");
    response.headers_mut().insert(RETRY_AFTER, after);
    response
}

fn query(head: &Parts) -> Query {
    Query::parse(head.uri.query().unwrap_or_default())
}

/// The key of somebody who has not joined; none where joining needs a token that is not there.
pub(super) fn passing_key(inner: &Inner, query: &Query) -> String {
    match inner.hub.reception().knows(query.get("token")) {
        true => inner.hub.apprtc().passing_key(),
        false => String::new(),
    }
}

/// A [`Site`] that owns its parts.
#[derive(Debug)]
pub(super) struct OwnSite<'a> {
    authority: String,
    key: &'a str,
    path: &'a str,
    user_agent: &'a str,
    room_link: crate::config::settings::RoomLink,
    is_relayed: bool,
}

impl OwnSite<'_> {
    pub(super) fn as_site(&self) -> Site<'_> {
        Site {
            authority: &self.authority,
            path: self.path,
            room_link: self.room_link,
            is_relayed: self.is_relayed,
            user_agent: self.user_agent,
            key: self.key,
        }
    }
}

pub(super) fn site<'a>(
    inner: &'a Inner,
    head: &'a Parts,
    own: Option<&Authority>,
    key: &'a str,
) -> OwnSite<'a> {
    // The page's own origin, or browsers refuse to show the link in the address bar.
    let authority = match (own, inner.hosts.first()) {
        (Some(own), _) => own.to_string(),
        (None, Some(host)) => host.clone(),
        (None, None) => String::new(),
    };
    OwnSite {
        authority,
        key,
        path: &inner.signaling.path,
        user_agent: agent(&head.headers),
        room_link: inner.signaling.room_link,
        is_relayed: inner.ice.policy == IcePolicy::Relay,
    }
}

fn agent(headers: &HeaderMap) -> &str {
    let agent = headers.get(USER_AGENT);
    agent
        .and_then(|agent| agent.to_str().ok())
        .unwrap_or_default()
}

fn as_json(value: &Value) -> Response<Answer> {
    let text = value.to_string();
    let mut response = Response::new(Answer::empty());
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    headers.insert(CONTENT_LENGTH, HeaderValue::from(text.len() as u64));
    *response.body_mut() = Answer::bytes(text);
    response
}

/// Every page may read the answer: who may act is told by ids that nobody can guess.
fn for_everybody(headers: &mut HeaderMap) {
    headers.insert(ACCESS_CONTROL_ALLOW_ORIGIN, HeaderValue::from_static("*"));
    headers.insert(
        ACCESS_CONTROL_ALLOW_METHODS,
        HeaderValue::from_static("POST, DELETE"),
    );
}
