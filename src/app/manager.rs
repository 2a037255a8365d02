//! What a service manager is told (sd_notify(3)): that we are ready, alive, ending. Nothing without
//! one.

use std::time::Duration;

use sd_notify::NotifyState;

use crate::shutdown::Drain;
use crate::signal::hub::Hub;
use crate::turn::io::Remote;

/// By how much the manager's patience is extended, again and again while calls end.
const EXTENSION: Duration = Duration::from_secs(30);

/// Everything is bound and served.
pub(super) fn ready() {
    tell(&[NotifyState::Ready]);
}

/// The settings are being read again; [`ready`] says that it is done.
pub(super) fn reloading() {
    match NotifyState::monotonic_usec_now() {
        Ok(now) => tell(&[NotifyState::Reloading, now]),
        Err(error) => tracing::debug!(%error, "no monotonic clock"),
    }
}

/// What goes on, for whoever asks the manager.
pub(super) fn status(what: &str) {
    tell(&[NotifyState::Status(what)]);
}

/// The end has been announced; `what` is waited for.
pub(super) fn stopping(what: &str) {
    let micros = u32::try_from(EXTENSION.as_micros()).unwrap_or(u32::MAX);
    tell(&[
        NotifyState::Stopping,
        NotifyState::Status(what),
        NotifyState::ExtendTimeoutUsec(micros),
    ]);
}

/// The last word.
pub(super) fn ended() {
    status("ended");
}

fn tell(states: &[NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(states) {
        tracing::debug!(%error, "the service manager cannot be told");
    }
}

/// Tells the manager from time to time that every part answers, if it wants to know. A process whose
/// parts hang is started again by it.
pub(super) fn watch(workers: Remote, hub: Hub, drain: &Drain) {
    let Some(limit) = sd_notify::watchdog_enabled() else {
        return;
    };
    let pause = limit / 4;
    drain.spawn_detached(async move {
        loop {
            tokio::time::sleep(pause).await;
            let relays = workers.answers(pause).await;
            // Should the rooms never be given free, this does not return, and nobody is told.
            hub.calls();
            match relays {
                true => tell(&[NotifyState::Watchdog]),
                false => tracing::error!("a TURN worker does not answer"),
            }
        }
    });
}
