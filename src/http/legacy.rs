//! Listeners for clients that have a port of their own compiled in: WebSockets on any path, opened by
//! any page, and nothing else.
//!
//! Such clients come from pages and apps that know nothing of this appliance, and the servers that they
//! were written for did not look at `Origin`. Nothing here depends on who a browser's user is: there
//! are no cookies, and where joining needs a token, it needs one here as well.

use hyper::body::Incoming;
use hyper::{Method, Request};
use tokio::io::{AsyncRead, AsyncWrite};

use super::Services;
use super::authority::Authority;
use super::router::Upgrade;
use super::serve::{Client, Reply};
use super::upgrade::{self, From};

/// Answers one request.
pub(super) fn respond<I>(services: &Services, request: Request<Incoming>, client: &Client) -> Reply
where
    I: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let own = Authority::of(&request);
    let wanted = upgrade::wanted(request.headers());
    let mut response = match (request.method(), wanted) {
        (&Method::GET, Upgrade::WebSocket) => {
            upgrade::accept::<I>(services, request, own.as_ref(), client, From::AnyPage)
        }
        _ => upgrade::required(),
    };
    services.secure(&mut response, own.as_ref());
    response
}
