//! New settings for a running process: read, compared, checked, applied; or not, and why.
//!
//! Everything that can fail is made before anything is changed, so that a configuration counts as a
//! whole or not at all.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::Notify;

use super::fixed::{self, Fixed, Listening};
use super::{Error, manager};
use crate::cert::CertStore;
use crate::config::change::{Applies, Change, changes};
use crate::config::{self, Loaded, Secret, Settings, Sources};
use crate::front::Serving;
use crate::http::Services;
use crate::net::clock;
use crate::shutdown::Drain;
use crate::signal::hub::Hub;
use crate::telemetry::log::Levels;
use crate::turn::io::Remote;

/// How often the file is looked at. Twice the same before it counts: it may be half written.
const EVERY: Duration = Duration::from_secs(1);

/// How long the workers may take to take their settings.
const WORKERS: Duration = Duration::from_secs(5);

/// Secrets that were replaced and are still known.
const MOST_FORMER: usize = 4;

/// Where settings came from.
#[derive(Clone, Debug)]
pub struct Source {
    /// The file that was named, if one was.
    pub named: Option<PathBuf>,
    /// What was read from it.
    pub loaded: Loaded,
}

/// What settings are given to.
pub(super) struct Handles {
    pub(super) hub: Hub,
    pub(super) services: Services,
    pub(super) front: Serving,
    pub(super) workers: Remote,
    pub(super) certificates: CertStore,
    pub(super) levels: Levels,
}

/// Applies new settings until the end is announced.
pub(super) struct Reload {
    /// In force.
    pub(super) running: Settings,
    /// The same, for whoever else wants to know.
    pub(super) in_force: Arc<ArcSwap<Settings>>,
    pub(super) fixed: Fixed,
    pub(super) listening: Listening,
    pub(super) secret: Secret,
    pub(super) former: Vec<(Secret, u64)>,
    pub(super) handles: Handles,
    /// Whoever looks after certificate files is told to look at once.
    pub(super) told: Arc<Notify>,
    /// Ends whoever reads the keys of tokens again.
    pub(super) keys: Drain,
    /// Ends whoever looks for the next certificate.
    pub(super) certificate: Drain,
    pub(super) drain: Drain,
}

/// Why new settings are not in force.
#[derive(Debug, thiserror::Error)]
enum Refused {
    #[error(transparent)]
    Configuration(#[from] config::Error),
    #[error(transparent)]
    Part(#[from] Error),
}

impl Reload {
    /// Starts to watch. Without a source a hangup only has certificates looked at.
    pub(super) fn run(mut self, source: Option<Source>) -> Result<(), Error> {
        // Without a receiver the signal would end the process, while it drains as well.
        let mut hangup =
            signal(SignalKind::hangup()).map_err(|error| Error::System("signals", error))?;
        let drain = self.drain.clone();
        drain.spawn_detached(async move {
            match source {
                Some(source) => self.watch(source, &mut hangup).await,
                None => {
                    while hangup.recv().await.is_some() {
                        self.told.notify_one();
                    }
                }
            }
        });
        Ok(())
    }

    async fn watch(&mut self, mut source: Source, hangup: &mut Signal) {
        // It may have changed since it was read for the start.
        let mut seen = source.loaded.text.clone();
        let mut fresh = None;
        loop {
            let asked = tokio::select! {
                () = tokio::time::sleep(EVERY) => false,
                taken = hangup.recv() => taken.is_some(),
            };
            if self.drain.is_announced() {
                continue;
            }
            let now = text(&source.named).await;
            if asked {
                self.told.notify_one();
            } else if now == seen {
                fresh = None;
                continue;
            } else if fresh.as_ref() != Some(&now) {
                fresh = Some(now);
                continue;
            }
            seen = now;
            fresh = None;
            manager::reloading();
            self.again(&mut source).await;
            manager::ready();
        }
    }

    /// Reads the configuration and applies it, or says why not.
    async fn again(&mut self, source: &mut Source) {
        self.fixed.state.persist();
        let named = source.named.clone();
        let Ok(read) = tokio::task::spawn_blocking(move || config::load(named.as_deref())).await
        else {
            return;
        };
        let applied = match read {
            Ok(loaded) => self.take(source, loaded).await.map_err(Refused::from),
            Err(error) => Err(error.into()),
        };
        if let Err(refused) = applied {
            for line in refused.to_string().lines() {
                tracing::error!("the settings stay as they are: {line}");
            }
        }
    }

    async fn take(&mut self, source: &mut Source, loaded: Loaded) -> Result<(), Error> {
        let changes = changes(&source.loaded, &loaded);
        if changes.is_empty() {
            tracing::info!("the configuration was read again: nothing has changed");
            source.loaded = loaded;
            return Ok(());
        }
        let settings = loaded.settings.clone().applicable(&self.running);
        self.apply(settings, &changes).await?;
        for warning in &loaded.warnings {
            tracing::warn!("{warning}");
        }
        for change in &changes {
            match change.applies {
                Applies::Now => tracing::info!("changed: {change}"),
                Applies::AtRestart => tracing::warn!("needs a restart: {change}"),
            }
        }
        source.loaded = loaded;
        Ok(())
    }

    async fn apply(&mut self, settings: Settings, changes: &[Change]) -> Result<(), Error> {
        let Self {
            fixed,
            listening,
            handles,
            ..
        } = self;
        let secret = fixed.secret(&settings)?;
        let is_changed = |section: &str| changes.iter().any(|one| one.key.starts_with(section));
        let supply = match is_changed("tls.") || is_changed("host") {
            true => Some(fixed.supply(&settings)?),
            false => None,
        };
        let keyring = fixed::keyring(&settings)?;
        let parts = fixed.parts(
            &settings,
            listening,
            &secret,
            &handles.hub,
            &handles.certificates,
        )?;
        let prepared = handles.services.prepare(&settings, parts)?;
        handles
            .levels
            .apply(&settings.log)
            .map_err(|error| Error::System("log", std::io::Error::other(error)))?;

        // Nothing below can fail.
        if secret != self.secret {
            let until =
                clock::unix_time().saturating_add(self.running.turn.credential_ttl.as_secs());
            let before = std::mem::replace(&mut self.secret, secret.clone());
            self.former.retain(|(former, _)| *former != secret);
            self.former.insert(0, (before, until));
            self.former.truncate(MOST_FORMER);
        }
        let config = fixed.turn(&settings, listening, &secret, &self.former);
        let quota = (settings.turn.user_quota, settings.turn.total_quota);
        if !handles.workers.configure(&config, quota, WORKERS).await {
            tracing::error!("a TURN worker has not taken its settings; send SIGHUP once more");
        }
        self.keys.announce();
        self.keys = self.drain.child();
        fixed::watch_keys(keyring.as_ref(), &self.keys);
        let reception = fixed.reception(&settings, listening, &secret, keyring);
        handles.hub.apply(&settings.signaling, reception);
        handles.services.install(prepared);
        handles.front.apply(&settings.front);
        if let Some(supply) = supply {
            self.certificate.announce();
            self.certificate = self.drain.child();
            supply.run(handles.certificates.clone(), &self.told, &self.certificate);
        }
        self.in_force.store(Arc::new(settings.clone()));
        self.running = settings;
        Ok(())
    }
}

/// The file as it is now.
async fn text(named: &Option<PathBuf>) -> Option<Secret> {
    let named = named.clone();
    let read = move || Some(Secret::new(Sources::find(named.as_deref()).ok()?.file?.1));
    tokio::task::spawn_blocking(read).await.ok()?
}
