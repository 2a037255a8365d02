//! Requests and answers: pages, ICE configuration, the way into signaling.
//!
//! Owns everything between a decrypted byte stream and the parts that answer. Which bytes are HTTP
//! at all is [`crate::front`]'s business.

mod activity;
mod apprtc;
mod authority;
mod body;
mod conditional;
mod cors;
mod frames;
mod handshake;
mod headers;
mod ice;
mod legacy;
mod metrics;
mod origin;
mod page;
mod peerjs;
mod probe;
mod proxy;
mod redirect;
pub mod router;
mod serve;
mod template;
mod upgrade;

use std::net::IpAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use arc_swap::ArcSwap;
use hyper::body::{Body as _, Incoming};
use hyper::header::{
    ALLOW, CONTENT_LENGTH, EXPECT, Entry, HeaderMap, HeaderValue, InvalidHeaderValue,
};
use hyper::{Method, Request, StatusCode, Version};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_util::sync::CancellationToken;

use self::authority::Authority;
use self::body::Answer;
use self::headers::Policy;
use self::page::Fallback;
use self::proxy::Proxy;
use self::router::Route;
use self::serve::Reply;
use self::upgrade::From;
use crate::assets::Assets;
use crate::cert::CertStore;
use crate::config::settings::Hsts;
use crate::config::{Secret, Settings, settings};
use crate::doctor::probe::Prober;
use crate::ice::{self as ice_servers, ApiKeys, Endpoints};
use crate::limit::PrefixLimiter;
use crate::net::clock;
use crate::signal::hub::Hub;

pub use self::activity::Limits;
pub use self::redirect::To;
pub use self::serve::{Client, http1, http2, plain, websockets};

/// Everything that answers a request. Clones share it; settings may change between two connections,
/// not within one.
#[derive(Clone)]
pub struct Services {
    inner: Arc<Inner>,
    latest: Arc<ArcSwap<Inner>>,
}

/// What [`Services`] will be when it is installed.
#[derive(Debug)]
pub struct Prepared(Inner);

/// The parts that do not come from the configuration.
#[derive(Debug)]
pub struct Parts {
    /// The pages.
    pub assets: Assets,
    /// The rooms.
    pub hub: Hub,
    /// Shared secret of TURN credentials.
    pub secret: Secret,
    /// The current certificate.
    pub certificates: CertStore,
    /// Where STUN and TURN are listening.
    pub endpoints: Endpoints,
    /// Looks at other servers that want it, if this one does.
    pub prober: Option<Prober>,
    /// By which addresses clients reach us.
    pub addresses: Vec<IpAddr>,
}

/// What has happened, for whoever publishes it.
#[derive(Debug, Default)]
pub struct Stats {
    /// WebSockets and ICE configurations refused because of their `Origin`.
    pub foreign_origins: AtomicU64,
    /// ICE configurations handed out.
    pub ice_granted: AtomicU64,
    /// ICE configurations refused because a network asked too often.
    pub ice_limited: AtomicU64,
    /// Requests that an application of the operator's has answered.
    pub proxied: AtomicU64,
    /// Requests that it should have answered.
    pub proxy_failures: AtomicU64,
    /// Connections cut for not sending a request or taking an answer in time.
    pub stalled: AtomicU64,
    /// Connections closed because nobody used them.
    pub idle: AtomicU64,
    /// Connections of HTTP/2 cut for floods of frames.
    pub flooding: AtomicU64,
    /// WebSockets accepted.
    pub websockets: AtomicU64,
    /// WebSockets refused because their network opened too many.
    pub websockets_limited: AtomicU64,
    /// Requests that Collider has answered with an error.
    pub collider_errors: AtomicU64,
}

/// The operator's `[web] csp` is no header value.
#[derive(Debug, thiserror::Error)]
#[error("web.csp: {0}")]
pub struct InvalidPolicy(#[from] InvalidHeaderValue);

struct Inner {
    assets: Assets,
    hub: Hub,
    secret: Secret,
    certificates: CertStore,
    hsts: Hsts,
    endpoints: Endpoints,
    prober: Option<Prober>,
    addresses: Vec<IpAddr>,
    hosts: Vec<String>,
    signaling: settings::Signaling,
    ice: settings::Ice,
    api_keys: ApiKeys,
    proxies: Vec<Arc<Proxy>>,
    credential_ttl: Duration,
    policy: Policy,
    fallback: Fallback,
    cors_origins: Vec<String>,
    limits: Limits,
    limiter: Mutex<PrefixLimiter>,
    websocket_limiter: Mutex<PrefixLimiter>,
    join_limiter: Mutex<PrefixLimiter>,
    started: Instant,
    stats: Arc<Stats>,
    /// Other settings are in force: who comes again is to come over another connection.
    retired: CancellationToken,
}

impl std::fmt::Debug for Inner {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Inner").finish_non_exhaustive()
    }
}

impl Inner {
    /// The host by which this client reaches STUN and TURN.
    fn reachable(&self, own: Option<&Authority>) -> Option<String> {
        let asked = own.map(Authority::host);
        ice_servers::host::reachable(asked, &self.hosts, &self.addresses)
    }

    /// Whether another WebSocket may be opened from this address's network.
    fn admits(&self, ip: IpAddr) -> bool {
        let mut limiter = self
            .websocket_limiter
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        limiter.allow(ip, clock::now())
    }
}

/// Prefixes whose ICE requests are counted apart; those beyond share.
const ICE_SLOTS: usize = 4096;
/// A class behind one address opens the page at the same moment.
const ICE_BURST: u32 = 120;
/// Sustained.
const ICE_PER_SECOND: u32 = 10;
/// Seconds' worth of WebSockets that a network may open at once: all come back after a restart.
const CONNECTION_BURST: u32 = 10;

impl Services {
    /// Puts the parts together.
    pub fn new(settings: &Settings, parts: Parts) -> Result<Self, InvalidPolicy> {
        let inner = Inner::new(settings, parts, Arc::default(), clock::now())?;
        let inner = Arc::new(inner);
        Ok(Self {
            latest: Arc::new(ArcSwap::new(Arc::clone(&inner))),
            inner,
        })
    }

    /// The same with the settings that are in force now.
    pub fn latest(&self) -> Self {
        Self {
            inner: self.latest.load_full(),
            latest: Arc::clone(&self.latest),
        }
    }

    /// Puts other parts together, or says why that cannot be done. Nothing changes yet.
    pub fn prepare(&self, settings: &Settings, parts: Parts) -> Result<Prepared, InvalidPolicy> {
        let (stats, started) = (Arc::clone(&self.inner.stats), self.inner.started);
        Inner::new(settings, parts, stats, started).map(Prepared)
    }

    /// Serves whoever comes from now on in another way. Connections that are there answer what they
    /// have been asked and end; WebSockets stay.
    pub fn install(&self, prepared: Prepared) {
        let before = self.latest.swap(Arc::new(prepared.0));
        before.retired.cancel();
    }

    /// What has happened so far.
    pub fn stats(&self) -> &Stats {
        &self.inner.stats
    }
}

impl Inner {
    fn new(
        settings: &Settings,
        parts: Parts,
        stats: Arc<Stats>,
        started: Instant,
    ) -> Result<Self, InvalidPolicy> {
        let connections = settings.signaling.prefix_connections_per_second;
        let policy = Policy::new(settings.web.csp.as_deref(), parts.assets.is_built_in())?;
        Ok(Self {
            assets: parts.assets,
            hub: parts.hub,
            secret: parts.secret,
            certificates: parts.certificates,
            hsts: settings.front.hsts,
            endpoints: parts.endpoints,
            prober: parts.prober,
            addresses: parts.addresses,
            hosts: settings.host.clone(),
            signaling: settings.signaling.clone(),
            ice: settings.ice.clone(),
            api_keys: ApiKeys::new(&settings.ice.api_keys),
            proxies: settings
                .proxy
                .iter()
                .map(|proxy| Arc::new(Proxy::new(proxy.clone(), settings.front.idle_timeout)))
                .collect(),
            credential_ttl: settings.turn.credential_ttl,
            policy,
            fallback: match settings.web.spa {
                true => Fallback::FirstPage,
                false => Fallback::NotFound,
            },
            cors_origins: settings.web.cors_origins.clone(),
            limits: Limits {
                header: settings.front.header_timeout,
                idle: settings.front.idle_timeout,
            },
            limiter: Mutex::new(PrefixLimiter::new(ICE_SLOTS, ICE_BURST, ICE_PER_SECOND)),
            websocket_limiter: Mutex::new(PrefixLimiter::new(
                ICE_SLOTS,
                connections.saturating_mul(CONNECTION_BURST),
                connections,
            )),
            // Joining AppRTC's rooms takes as much as a socket does.
            join_limiter: Mutex::new(PrefixLimiter::new(
                ICE_SLOTS,
                connections.saturating_mul(CONNECTION_BURST),
                connections,
            )),
            started,
            stats,
            retired: CancellationToken::new(),
        })
    }
}

impl Services {
    /// Answers one request that came over TLS on a connection of type `I`.
    async fn respond<I>(&self, mut request: Request<Incoming>, client: &Client) -> Reply
    where
        I: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let inner = &*self.inner;
        let own = Authority::of(&request);
        if own.is_none() && request.version() >= Version::HTTP_11 {
            unread(&mut request).await;
            // RFC 9112 section 3.2: none, several and nonsense are all the client's mistake.
            let mut response = page::text(StatusCode::BAD_REQUEST, "Which host?\n");
            self.secure(&mut response, None);
            return response;
        }
        if let Some(prober) = &inner.prober
            && request.uri().path() == probe::PATH
        {
            let looked = Box::pin(probe::answer(prober, request, client.peer.ip()));
            let mut response = looked.await;
            self.secure(&mut response, own.as_ref());
            return response;
        }
        if let Some(proxy) = self.proxy(request.method(), request.uri().path()) {
            // Apart, or the future of every page would be as large as this one.
            let forwarded = Box::pin(proxy.forward::<I>(request, own.as_ref(), client));
            let mut response = self.proxied(forwarded.await, own.as_ref());
            self.insist(&mut response);
            return response;
        }
        let route = router::route(
            request.method(),
            request.uri().path(),
            upgrade::wanted(request.headers()),
            &inner.signaling.path,
        );
        if !matches!(route, Route::Ice | Route::WebSocket | Route::AppRtc(_)) {
            unread(&mut request).await;
        }
        let (method, sent) = (request.method(), request.headers());
        let head = method == Method::HEAD;
        let mut response = match route {
            Route::Page => {
                let (head, _) = request.into_parts();
                // Apart, as what is done for few requests.
                match Box::pin(apprtc::page(self, &head, own.as_ref())).await {
                    Some(page) => page,
                    None => self.file(&head.method, &head.headers, "index.html").await,
                }
            }
            Route::Asset(path) => self.file(method, sent, &path).await,
            Route::MethodNotAllowed("GET, HEAD")
                if cors::is_preflight(method, sent, &inner.cors_origins) =>
            {
                cors::preflight(sent, &inner.cors_origins)
            }
            Route::Ice => ice::answer(self, request, own.as_ref(), client.peer.ip()).await,
            Route::IcePreflight => ice::preflight(self, sent, own.as_ref()),
            Route::WebSocket => {
                upgrade::accept::<I>(self, request, own.as_ref(), client, From::OurPages)
            }
            Route::UpgradeRequired => upgrade::required(),
            Route::PeerJs(route) => peerjs::answer(self, route, sent, own.as_ref()),
            Route::AppRtc(route) => {
                let peer = client.peer.ip();
                Box::pin(apprtc::answer(self, request, route, own.as_ref(), peer)).await
            }
            Route::MethodNotAllowed(allow) => {
                let mut response = page::text(StatusCode::METHOD_NOT_ALLOWED, "Not this way\n");
                let allow = HeaderValue::from_static(allow);
                response.headers_mut().insert(ALLOW, allow);
                response
            }
            Route::NotFound => page::text(StatusCode::NOT_FOUND, "Not found\n"),
        };
        self.secure(&mut response, own.as_ref());
        self.insist(&mut response);
        if head {
            // HTTP/1 leaves the body out by itself; on HTTP/2 it would break the stream.
            let length = response.body().size_hint().exact().map(HeaderValue::from);
            if let (Entry::Vacant(entry), Some(length)) =
                (response.headers_mut().entry(CONTENT_LENGTH), length)
            {
                entry.insert(length);
            }
            *response.body_mut() = Answer::empty();
        }
        response
    }

    /// Tells browsers to come by HTTPS only. With a certificate that they do not trust, that would
    /// lock people out.
    fn insist(&self, response: &mut Reply) {
        let status = self.inner.certificates.status();
        let is_strict = match self.inner.hsts {
            Hsts::Auto => status.is_publicly_valid(),
            Hsts::On => !status.is_self_signed(),
            Hsts::Off => false,
        };
        if is_strict {
            headers::strict(response.headers_mut());
        }
    }

    async fn file(&self, method: &Method, sent: &HeaderMap, path: &str) -> Reply {
        let inner = &*self.inner;
        let mut response = page::serve(&inner.assets, method, sent, path, inner.fallback).await;
        cors::allow(response.headers_mut(), sent, &inner.cors_origins);
        response
    }

    /// The application that a path belongs to.
    fn proxy(&self, method: &Method, path: &str) -> Option<Arc<Proxy>> {
        let Inner {
            proxies, signaling, ..
        } = &*self.inner;
        // Both ask a proxy for something, and not what is behind it.
        let is_for_us = matches!(*method, Method::TRACE | Method::CONNECT);
        if proxies.is_empty() || is_for_us || router::is_reserved(path, &signaling.path) {
            return None;
        }
        let paths = proxies.iter().map(|proxy| proxy.path());
        proxies.get(router::longest(path, paths)?).cloned()
    }

    fn is_proxied<B>(&self, request: &Request<B>) -> bool {
        self.proxy(request.method(), request.uri().path()).is_some()
    }

    /// An application speaks for itself; what we say in its place has the headers of our pages.
    fn proxied(&self, answered: Result<Reply, Reply>, own: Option<&Authority>) -> Reply {
        let stats = &self.inner.stats;
        match answered {
            Ok(reply) => {
                stats.proxied.fetch_add(1, Ordering::Relaxed);
                reply
            }
            Err(mut page) => {
                stats.proxy_failures.fetch_add(1, Ordering::Relaxed);
                self.secure(&mut page, own);
                page
            }
        }
    }

    fn secure(&self, response: &mut Reply, own: Option<&Authority>) {
        headers::secure(response.headers_mut(), &self.inner.policy, own);
    }
}

/// Takes what nobody reads of a request, so that HTTP/2 need not reset it.
async fn unread(request: &mut Request<Incoming>) {
    if !request.body().is_end_stream() {
        let waits = request.headers().contains_key(EXPECT);
        // Apart, since hardly any request has such a body.
        Box::pin(proxy::swallow(request.body_mut(), waits)).await;
    }
}

impl std::fmt::Debug for Services {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Services").finish_non_exhaustive()
    }
}
