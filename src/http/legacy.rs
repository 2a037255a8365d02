//! Listeners for clients that have a port of their own compiled in: WebSockets on any path, opened by
//! any page, Collider's HTTP under the paths that it has on a port of its own, and nothing else.
//!
//! Such clients come from pages and apps that know nothing of this appliance, and the servers that they
//! were written for did not look at `Origin`. Nothing here depends on who a browser's user is: there
//! are no cookies, and where joining needs a token, it needs one here as well.

use hyper::body::Incoming;
use hyper::{Method, Request};
use tokio::io::{AsyncRead, AsyncWrite};

use super::Services;
use super::authority::Authority;
use super::router::{self, AppRtcRoute, ColliderRoute, Upgrade};
use super::serve::{Client, Reply};
use super::upgrade::{self, From};
use super::{apprtc, unread};

/// Answers one request.
pub(super) async fn respond<I>(
    services: &Services,
    mut request: Request<Incoming>,
    client: &Client,
) -> Reply
where
    I: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let own = Authority::of(&request);
    let wanted = upgrade::wanted(request.headers());
    let route = router::bare_collider(request.uri().path());
    let mut response = match (request.method(), wanted, route) {
        (&Method::GET, Upgrade::WebSocket, _) => {
            upgrade::accept::<I>(services, request, own.as_ref(), client, From::AnyPage)
        }
        (&Method::POST | &Method::DELETE | &Method::OPTIONS, _, route)
        | (&Method::GET | &Method::HEAD, _, route @ ColliderRoute::Status) => {
            let (route, peer) = (AppRtcRoute::Collider(route), client.peer.ip());
            // Apart, as what is done for few requests.
            Box::pin(apprtc::answer(services, request, route, own.as_ref(), peer)).await
        }
        _ => {
            unread(&mut request).await;
            upgrade::required()
        }
    };
    services.secure(&mut response, own.as_ref());
    response
}
