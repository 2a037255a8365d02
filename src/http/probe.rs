//! `/probe`: another server asks how it looks from here. What may be looked at is
//! [`crate::doctor::probe`]'s decision; the address comes from the connection alone.

use std::net::IpAddr;
use std::time::Duration;

use http_body_util::{BodyExt as _, Limited};
use hyper::body::Body;
use hyper::header::{
    ALLOW, CACHE_CONTROL, CONTENT_LENGTH, CONTENT_TYPE, HeaderValue, ORIGIN, RETRY_AFTER,
};
use hyper::{Method, Request, StatusCode};

use super::body::Answer;
use super::page::text;
use super::serve::Reply;
use crate::doctor::outside;
use crate::doctor::probe::{Prober, Refusal};

/// Where it is.
pub(super) const PATH: &str = outside::PATH;

/// A wish is some hundred bytes.
const MAX_BODY: usize = 1024;

/// For those bytes.
const PATIENCE: Duration = Duration::from_secs(5);

/// Answers whoever asks.
pub(super) async fn answer<B>(prober: &Prober, request: Request<B>, peer: IpAddr) -> Reply
where
    B: Body + Unpin,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    if request.method() != Method::POST {
        let mut response = text(StatusCode::METHOD_NOT_ALLOWED, "Not this way\n");
        response
            .headers_mut()
            .insert(ALLOW, HeaderValue::from_static("POST"));
        return response;
    }
    let is_from_a_page = request.headers().contains_key(ORIGIN);
    // To its end before anything is said: an answer over what is still being sent may get lost.
    let read = tokio::time::timeout(
        PATIENCE,
        Limited::new(request.into_body(), MAX_BODY).collect(),
    );
    let Ok(Ok(body)) = read.await else {
        return text(
            StatusCode::BAD_REQUEST,
            "What to look at, in 1 KiB of JSON\n",
        );
    };
    // Pages could make a visitor's address be looked at.
    if is_from_a_page {
        return text(StatusCode::FORBIDDEN, "Not for pages\n");
    }
    let Ok(wish) = serde_json::from_slice(&body.to_bytes()) else {
        return text(StatusCode::BAD_REQUEST, "Not understood\n");
    };
    let sight = match prober.look(peer, &wish).await {
        Ok(sight) => sight,
        Err(Refusal::Address) => {
            return text(
                StatusCode::FORBIDDEN,
                "Your address may not be probed from here\n",
            );
        }
        Err(Refusal::Ports) => {
            return text(
                StatusCode::BAD_REQUEST,
                "At most four ports of each transport\n",
            );
        }
        Err(Refusal::Busy) => {
            let mut response = text(StatusCode::TOO_MANY_REQUESTS, "Too many probes\n");
            response
                .headers_mut()
                .insert(RETRY_AFTER, HeaderValue::from_static("5"));
            return response;
        }
    };
    tracing::debug!(%peer, "looked at another server, which had asked for it");
    let Ok(json) = serde_json::to_vec(&sight) else {
        return text(StatusCode::INTERNAL_SERVER_ERROR, "Cannot be written\n");
    };
    let mut response = Reply::new(Answer::empty());
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    headers.insert(CONTENT_LENGTH, HeaderValue::from(json.len() as u64));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    *response.body_mut() = Answer::bytes(json);
    response
}
