//! The certificate from the start on: which one is served first, and who looks for the next.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::sync::Arc;

use rustls::crypto::CryptoProvider;
use rustls::sign::CertifiedKey;
use tokio::sync::Notify;

use super::Error;
use crate::cert::acme::Orders;
use crate::cert::status::Source;
use crate::cert::watch::Watch;
use crate::cert::{CertStore, files, self_signed};
use crate::config::Settings;
use crate::config::settings::{Acme, Tls};
use crate::net::clock;
use crate::net::interface::Advertised;
use crate::shutdown::Drain;
use crate::state::StateDir;

/// Supplies certificates once everything listens.
pub(super) struct Supply {
    key: CertifiedKey,
    source: Source,
    hosts: Vec<String>,
    provider: Arc<CryptoProvider>,
    next: Next,
}

enum Next {
    Nothing,
    Files(Watch),
    Orders(Orders),
}

impl Supply {
    /// Finds what can be served at once. Waits for nobody.
    pub(super) fn new(
        settings: &Settings,
        state: &Arc<StateDir>,
        advertised: &Advertised,
        local: &[IpAddr],
        provider: &Arc<CryptoProvider>,
    ) -> Result<Self, Error> {
        let own = || {
            let addresses: BTreeSet<IpAddr> =
                local.iter().copied().chain(advertised.iter()).collect();
            let addresses: Vec<IpAddr> = addresses.into_iter().collect();
            let now = clock::unix_time();
            self_signed::load_or_make(state, &settings.host, &addresses, now, provider)
        };
        let (key, source, next): (CertifiedKey, _, _) = match &settings.tls {
            Tls::SelfSigned => (own()?, Source::SelfSigned, Next::Nothing),
            Tls::Files { cert, key } => {
                let watch = Watch {
                    cert: cert.clone(),
                    key: key.clone(),
                    hosts: settings.host.clone(),
                    provider: Arc::clone(provider),
                };
                let key = files::load(cert, key, provider)?;
                (key, Source::Files, Next::Files(watch))
            }
            Tls::Acme(acme) => match lasting(acme, state)? {
                false => (own()?, Source::SelfSigned, Next::Nothing),
                true => {
                    let orders = Orders::new(acme, &settings.host, Arc::clone(state), provider)?;
                    let (key, source) = match orders.cached() {
                        Some(key) => (key, Source::Acme),
                        None => (own()?, Source::SelfSigned),
                    };
                    (key, source, Next::Orders(orders))
                }
            },
        };
        Ok(Self {
            key,
            source,
            hosts: settings.host.clone(),
            provider: Arc::clone(provider),
            next,
        })
    }

    /// A store that holds the first one.
    pub(super) fn store(&self) -> CertStore {
        CertStore::new(self.key.clone())
    }

    /// Serves the first one from `store`, says so, and looks for the next one from now on, also
    /// when `told` to.
    pub(super) fn run(self, store: CertStore, told: &Arc<Notify>, drain: &Drain) {
        store.install(self.key, self.source, &self.hosts, &self.provider);
        let now = store.status().snapshot();
        tracing::info!(
            source = now.source.name(),
            names = now.leaf.names.join(" "),
            until = now.leaf.until(),
            next = match &self.next {
                Next::Nothing => "a new one is made at a start in its last month",
                Next::Files(_) => "read again when the files change",
                Next::Orders(_) if now.source == Source::Acme => "renewed in time",
                Next::Orders(_) => "only until the authority has issued one",
            },
            "certificate"
        );
        match self.next {
            Next::Nothing => {}
            Next::Files(watch) => {
                drain.spawn(watch.run(store, Arc::clone(told), drain.clone()));
            }
            Next::Orders(orders) => {
                drain.spawn(orders.run(store, Arc::clone(told), drain.clone()));
            }
        }
    }
}

/// Whether orders may be made. Without a place that lasts each start would order again, and after
/// a handful the authority refuses for a week.
fn lasting(acme: &Acme, state: &StateDir) -> Result<bool, Error> {
    let Some(why) = state.throwaway().filter(|_| acme.is_production()) else {
        return Ok(true);
    };
    let error = Error::Throwaway {
        path: state.path().to_owned(),
        why,
    };
    match (acme.throwaway, acme.chosen) {
        (true, _) => Ok(true),
        (false, true) => Err(error),
        (false, false) => {
            tracing::warn!("{error}; until then the certificate is self-signed");
            Ok(false)
        }
    }
}
