//! Collider's own HTTP: messages of clients whose socket is gone, the end of a client, the status.

use std::net::IpAddr;
use std::sync::atomic::Ordering;

use bytes::Bytes;
use hyper::body::Body;
use hyper::http::request::Parts;
use hyper::{Method, Response, StatusCode};
use serde_json::json;

use super::{as_json, busy, for_everybody, is_admitted, read, unread};
use crate::http::Services;
use crate::http::body::Answer;
use crate::http::page::text;
use crate::http::router::ColliderRoute;
use crate::net::clock;
use crate::signal::apprtc::core::Lost;

/// Answers with the statuses and the words of the original.
pub(super) async fn answer<B>(
    services: &Services,
    head: &Parts,
    body: B,
    route: ColliderRoute,
    peer: IpAddr,
) -> Response<Answer>
where
    B: Body + Unpin,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    let inner = &*services.inner;
    let rooms = inner.hub.apprtc();
    let body = match (&route, &head.method) {
        (ColliderRoute::Client(..), &Method::POST) => read(inner, body).await,
        _ => {
            unread(head, body).await;
            Ok(Bytes::new())
        }
    };
    let mut response = match (route, &head.method) {
        (ColliderRoute::Status, &Method::GET | &Method::HEAD) => as_json(&status(services)),
        (ColliderRoute::Client(room, client), &Method::DELETE) => {
            rooms.delete(&room, &client);
            text(StatusCode::OK, "OK\n")
        }
        (ColliderRoute::Client(room, client), &Method::POST) => {
            match (is_admitted(inner, peer), body) {
                (false, _) => busy("Too many messages\n"),
                (true, Err(refusal)) => refusal,
                (true, Ok(body)) => post(services, &room, &client, &body),
            }
        }
        // A browser asks before it sends DELETE from a page elsewhere.
        (ColliderRoute::Client(..) | ColliderRoute::Status, _) => text(StatusCode::OK, ""),
        (ColliderRoute::Unknown, &Method::POST | &Method::DELETE) => {
            failed(services, format!("Invalid path: {}\n", head.uri.path()))
        }
        (ColliderRoute::Unknown, _) => text(StatusCode::OK, ""),
    };
    for_everybody(response.headers_mut());
    response
}

fn post(services: &Services, room: &str, client: &str, body: &[u8]) -> Response<Answer> {
    if body.is_empty() {
        return failed(services, "Empty request body\n".to_owned());
    }
    let Ok(body) = std::str::from_utf8(body) else {
        return failed(
            services,
            "Failed to send the message: not UTF-8\n".to_owned(),
        );
    };
    match services.inner.hub.apprtc().post(room, client, body) {
        Ok(()) => text(StatusCode::OK, "OK\n"),
        Err(why @ (Lost::UnknownRoom | Lost::UnknownClient)) => failed(
            services,
            format!("Failed to send the message: {why}, join first\n"),
        ),
        Err(why) => failed(services, format!("Failed to send the message: {why}\n")),
    }
}

fn failed(services: &Services, why: String) -> Response<Answer> {
    let stats = services.stats();
    stats.collider_errors.fetch_add(1, Ordering::Relaxed);
    text(StatusCode::INTERNAL_SERVER_ERROR, why)
}

/// What monitors of the original read: seconds since the start, and sockets.
fn status(services: &Services) -> serde_json::Value {
    let inner = &*services.inner;
    let rooms = inner.hub.apprtc();
    let up = clock::now().saturating_duration_since(inner.started);
    json!({
        "upsec": up.as_secs_f64(),
        "openws": rooms.sockets(),
        "totalws": rooms.sockets_so_far(),
        "wserrors": rooms.socket_errors(),
        "httperrors": inner.stats.collider_errors.load(Ordering::Relaxed),
    })
}
