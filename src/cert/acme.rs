//! Certificates from an authority (RFC 8555): when to order, what to do when that fails.
//!
//! The protocol is `rustls-acme`'s, used for one order at a time: it is started when an order is
//! due by our own clock and dropped when that order has ended, well or badly, or has been silent
//! for too long. So its own retries, which come within seconds, never happen. Nobody waits for any
//! of this: what is served meanwhile is the certificate of the last order, or a self-signed one.

mod backoff;
mod cache;
mod challenge;
mod failure;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use futures_util::{Stream, StreamExt as _};
use rustls::crypto::CryptoProvider;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;
use rustls::sign::CertifiedKey;
use rustls::{ClientConfig, RootCertStore};
use rustls_acme::{AcmeConfig, Event, EventError, EventOk, UseChallenge};
use tokio::sync::Notify;

use self::backoff::Backoff;
use self::cache::{Cache, CacheError, Names};
use self::failure::Failure;
use super::status::Source;
use super::{CertStore, day, trust};
use crate::config::settings::{Acme, Challenge};
use crate::net::clock;
use crate::shutdown::Drain;
use crate::state::StateDir;

pub use self::challenge::{Challenges, is_challenge};

/// An order that says nothing for this long has died without knowing: the engine sets no deadlines.
const WATCHDOG: Duration = Duration::from_secs(600);

/// The wall clock may be set while we wait for it: look at it this often.
const LOOK: Duration = Duration::from_secs(900);

/// Orders cannot even be tried.
#[derive(Debug, thiserror::Error)]
pub enum AcmeError {
    /// The operator's root certificates.
    #[error("{path}: {what}")]
    Roots {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        what: String,
    },
    /// TLS towards the authority.
    #[error("setting up TLS failed: {0}")]
    Tls(#[from] rustls::Error),
}

/// Whoever orders certificates.
#[derive(Debug)]
pub struct Orders {
    acme: Acme,
    hosts: Vec<String>,
    files: Names,
    state: Arc<StateDir>,
    client: Arc<ClientConfig>,
    provider: Arc<CryptoProvider>,
}

impl Orders {
    /// Reads what it needs. Nobody is asked for anything yet.
    pub fn new(
        acme: &Acme,
        hosts: &[String],
        state: Arc<StateDir>,
        provider: &Arc<CryptoProvider>,
    ) -> Result<Self, AcmeError> {
        let client = ClientConfig::builder_with_provider(Arc::clone(provider))
            .with_safe_default_protocol_versions()?
            .with_root_certificates(roots(acme)?)
            .with_no_client_auth();
        Ok(Self {
            files: Names::new(acme, hosts),
            acme: acme.clone(),
            hosts: hosts.to_vec(),
            state,
            client: Arc::new(client),
            provider: Arc::clone(provider),
        })
    }

    /// The certificate of the last order, or after a change of names of an earlier one.
    pub fn cached(&self) -> Option<CertifiedKey> {
        let now = clock::unix_time();
        cache::certificate(&self.state, &self.files, &self.hosts, now, &self.provider)
    }

    /// Orders whenever it is time, until the drain begins. A wait after a failure ends early when
    /// the operator says so through `hangup`.
    pub async fn run(self, store: CertStore, hangup: Arc<Notify>, drain: Drain) {
        let now = clock::unix_time();
        let mut due = match store.status().snapshot() {
            current if current.source == Source::Acme && current.leaf.covers(&self.hosts) => {
                current.leaf.renewal(random())
            }
            _ => now,
        };
        let mut backoff = Backoff::default();
        if let Some((kept, left)) = self.kept_backoff(now)
            && due <= now
        {
            backoff = kept;
            due = now + left.as_secs();
            if !left.is_zero() {
                tracing::warn!(
                    until = day::rfc3339(due),
                    "the last order failed before the restart: the next one waits; SIGHUP orders at once"
                );
            }
        }
        loop {
            store.status().next(due);
            tokio::select! {
                () = at(due) => {}
                () = hangup.notified() => {
                    if backoff == Backoff::default() && due > clock::unix_time() {
                        tracing::info!(
                            next_order = day::rfc3339(due),
                            "hangup: there are no certificate files to read again, and no order is due"
                        );
                        continue;
                    }
                }
                () = drain.announced() => return,
            }
            store.status().attempt(clock::unix_time());
            tracing::info!(
                names = self.hosts.join(" "),
                directory = self.acme.directory,
                "ordering a certificate"
            );
            let ordered = tokio::select! {
                ordered = self.order(&store) => ordered,
                () = drain.announced() => return,
            };
            let now = clock::unix_time();
            match ordered {
                Ok(renewal) => {
                    due = renewal;
                    backoff.succeeded();
                    self.keep_backoff("");
                    store.status().succeeded();
                    tracing::info!(
                        names = self.hosts.join(" "),
                        until = store.status().snapshot().leaf.until(),
                        next_order = day::rfc3339(due),
                        "new certificate"
                    );
                }
                Err(failure) => {
                    let wait = backoff.failed(random());
                    due = now + wait.as_secs();
                    self.keep_backoff(&backoff.to_text(due));
                    let error = failure.explain(self.acme.challenge);
                    tracing::warn!(
                        error,
                        again_in_seconds = wait.as_secs(),
                        serving = store.status().snapshot().source.name(),
                        "no new certificate: the old one stays"
                    );
                    store.status().failed(error);
                }
            }
        }
    }

    /// One order, to its end. Returns when the next one is due.
    async fn order(&self, store: &CertStore) -> Result<u64, Failure> {
        let cache = Cache {
            state: Arc::clone(&self.state),
            files: self.files.clone(),
            hosts: self.hosts.clone(),
            store: store.clone(),
            provider: Arc::clone(&self.provider),
        };
        let state = AcmeConfig::new_with_client_config(&self.hosts, Arc::clone(&self.client))
            .directory(&self.acme.directory)
            .contact(
                self.acme
                    .email
                    .iter()
                    .map(|email| format!("mailto:{email}")),
            )
            .challenge_type(match self.acme.challenge {
                Challenge::TlsAlpn01 => UseChallenge::TlsAlpn01,
                Challenge::Http01 => UseChallenge::Http01,
            })
            .cache(cache)
            .state();
        let tls = (self.acme.challenge == Challenge::TlsAlpn01)
            .then(|| state.challenge_rustls_config_with_provider(Arc::clone(&self.provider)));
        let _open = store.challenges().open(state.resolver(), tls);
        follow(state, WATCHDOG).await?;
        let leaf = store.status().snapshot().leaf;
        let renewal = leaf.renewal(random());
        match renewal > clock::unix_time() {
            true => Ok(renewal),
            // Ordering again at once, and so on, would use up a week's orders in a minute.
            false => Err(Failure::Clock(leaf.until())),
        }
    }

    fn kept_backoff(&self, now: u64) -> Option<(Backoff, Duration)> {
        let text = self.state.read(&self.files.backoff).ok()??;
        Backoff::from_text(std::str::from_utf8(&text).ok()?, now)
    }

    fn keep_backoff(&self, text: &str) {
        let kept = self.state.read(&self.files.backoff);
        if matches!(&kept, Ok(None)) && text.is_empty() {
            return;
        }
        if let Err(error) = self
            .state
            .write_private(&self.files.backoff, text.as_bytes())
        {
            tracing::warn!(%error, "a restart will not remember that orders failed");
        }
    }
}

/// The certificate that would be served at a start, for a look from outside.
pub fn peek(
    acme: &Acme,
    hosts: &[String],
    state: &StateDir,
    provider: &CryptoProvider,
) -> Option<CertifiedKey> {
    let now = clock::unix_time();
    cache::certificate(state, &Names::new(acme, hosts), hosts, now, provider)
}

/// Root certificates by which the authority's own server is known.
///
/// # Errors
///
/// The operator's file cannot be used.
pub fn roots(acme: &Acme) -> Result<RootCertStore, AcmeError> {
    let Some(path) = &acme.ca_file else {
        return Ok(trust::public_roots());
    };
    let wrong = |what: String| AcmeError::Roots {
        path: path.clone(),
        what,
    };
    let text = std::fs::read(path).map_err(|error| wrong(error.to_string()))?;
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_slice_iter(&text) {
        let certificate = certificate.map_err(|error| wrong(error.to_string()))?;
        roots
            .add(certificate)
            .map_err(|error| wrong(error.to_string()))?;
    }
    match roots.is_empty() {
        true => Err(wrong("holds no certificate".to_owned())),
        false => Ok(roots),
    }
}

/// Polls an order until it has ended. The certificate is installed by the cache, on the way.
async fn follow<S>(events: S, watchdog: Duration) -> Result<(), Failure>
where
    S: Stream<Item = Event<CacheError, CacheError>>,
{
    let mut events = std::pin::pin!(events);
    loop {
        let Ok(event) = tokio::time::timeout(watchdog, events.next()).await else {
            return Err(Failure::Silent(watchdog));
        };
        match event {
            Some(Ok(EventOk::CertCacheStore)) => return Ok(()),
            Some(Ok(
                EventOk::AccountCacheStore | EventOk::DeployedNewCert | EventOk::DeployedCachedCert,
            )) => {}
            Some(Err(EventError::CertCacheStore(CacheError::State(error)))) => {
                tracing::error!(%error, "the new certificate is served, but a restart will not find it");
                return Ok(());
            }
            Some(Err(error)) => return Err(Failure::Order(Box::new(error))),
            None => return Err(Failure::Silent(Duration::ZERO)),
        }
    }
}

/// Waits for a time of day.
async fn at(due: u64) {
    loop {
        let left = Duration::from_secs(due.saturating_sub(clock::unix_time()));
        if left.is_zero() {
            return;
        }
        tokio::time::sleep(left.min(LOOK)).await;
    }
}

fn random() -> u8 {
    let mut byte = [0];
    // Without randomness there is no jitter, which is no reason to fail.
    let _ = aws_lc_rs::rand::fill(&mut byte);
    byte[0]
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures_util::stream;

    fn run(events: impl Stream<Item = Event<CacheError, CacheError>>) -> Result<(), Failure> {
        tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .unwrap()
            .block_on(follow(events, Duration::from_millis(50)))
    }

    #[test]
    fn an_order_without_a_word_is_given_up() {
        let events = stream::iter([Ok(EventOk::AccountCacheStore)]).chain(stream::pending());
        assert!(matches!(run(events), Err(Failure::Silent(_))));
    }

    #[test]
    fn after_a_failure_the_engine_is_not_asked_again() {
        let asked = std::cell::Cell::new(0);
        let events = stream::poll_fn(|_| {
            asked.set(asked.get() + 1);
            let failure = CacheError::Damaged;
            std::task::Poll::Ready(Some(Err(EventError::AccountCacheLoad(failure))))
        });
        assert!(matches!(run(events), Err(Failure::Order(_))));
        assert_eq!(asked.get(), 1);
    }

    #[test]
    fn an_order_ends_when_its_certificate_has_been_kept() {
        let events = [
            Ok(EventOk::AccountCacheStore),
            Ok(EventOk::DeployedNewCert),
            Ok(EventOk::CertCacheStore),
        ];
        assert!(run(stream::iter(events).chain(stream::pending())).is_ok());
    }
}
