//! The end of the process: nobody new comes in, calls get their time, then everybody is told.

use std::io;
use std::time::{Duration, Instant};

use tokio::signal::unix::{Signal, SignalKind, signal};

use super::manager;
use crate::config::settings::Settings;
use crate::net::clock;
use crate::shutdown::Drain;
use crate::signal::hub::Hub;
use crate::turn::io::Workers;

/// How long connections get to end by themselves once told to.
const GOODBYE: Duration = Duration::from_secs(5);

/// How often it is looked whether calls go on.
const LOOK: Duration = Duration::from_millis(200);

/// How often the log says how far it has come.
const PROGRESS: Duration = Duration::from_secs(10);

/// What becomes of those who have not begun a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Newcomers {
    /// They are told that there is no room.
    Refused,
    /// Another process has them, except for those who have got as far as here.
    Elsewhere,
}

impl Newcomers {
    fn patience(self, settings: &Settings) -> Patience {
        let (key, limit) = match self {
            Self::Refused => ("drain_timeout", settings.drain_timeout),
            Self::Elsewhere => ("hand_over_timeout", settings.hand_over_timeout),
        };
        Patience { key, limit }
    }
}

/// How long calls are waited for, and where it is said.
struct Patience {
    key: &'static str,
    limit: Duration,
}

/// Ends everything but the workers' threads. Returns when all connections have ended, when time is
/// up, or at the next signal.
pub(super) async fn run(
    drain: &Drain,
    workers: &Workers,
    hub: &Hub,
    settings: &Settings,
    newcomers: Newcomers,
    signals: &mut Signals,
) {
    drain.announce();
    if newcomers == Newcomers::Refused {
        workers.drain();
    }
    manager::stopping("waiting for calls to end");
    let leaving = async {
        wait_for_calls(workers, hub, newcomers.patience(settings)).await;
        drain.begin();
        if !drain.finish(GOODBYE).await {
            tracing::warn!("some connections did not end in time");
        }
    };
    tokio::select! {
        () = leaving => {}
        () = signals.next() => {
            tracing::info!("told to end a second time: stopping at once");
            drain.begin();
        }
    }
}

/// Waits until no call is carried any more, or patience ends.
async fn wait_for_calls(workers: &Workers, hub: &Hub, patience: Patience) {
    let Patience { key, limit } = patience;
    let began = clock::now();
    let mut said = None;
    loop {
        let (relays, rooms) = (workers.allocations(), hub.calls());
        let waited = clock::now().saturating_duration_since(began);
        if relays == 0 && rooms == 0 {
            tracing::info!("no calls are left: stopping");
            return;
        }
        if waited >= limit {
            tracing::warn!(
                relays,
                rooms,
                "stopping with calls that go on ({key} is over)"
            );
            return;
        }
        if is_due(&mut said, clock::now()) {
            tracing::info!(
                relays,
                rooms,
                seconds_left = (limit - waited).as_secs(),
                "draining: waiting for calls to end; one more signal stops at once"
            );
            manager::stopping(&format!("{relays} relays and {rooms} rooms are waited for"));
        }
        tokio::time::sleep(LOOK.min(limit - waited)).await;
    }
}

fn is_due(said: &mut Option<Instant>, now: Instant) -> bool {
    let due = said.is_none_or(|said| now.saturating_duration_since(said) >= PROGRESS);
    if due {
        *said = Some(now);
    }
    due
}

/// Ctrl-C and the service manager's wish.
pub(super) struct Signals {
    interrupt: Signal,
    terminate: Signal,
    /// The next one says what is known.
    forgiven: bool,
}

impl Signals {
    pub(super) fn new() -> io::Result<Self> {
        Ok(Self {
            interrupt: signal(SignalKind::interrupt())?,
            terminate: signal(SignalKind::terminate())?,
            forgiven: false,
        })
    }

    pub(super) async fn next(&mut self) {
        loop {
            tokio::select! {
                _ = self.interrupt.recv() => {}
                _ = self.terminate.recv() => {}
            }
            if !std::mem::take(&mut self.forgiven) {
                return;
            }
            tracing::info!("ending already, when the calls have ended; one more stops at once");
        }
    }

    /// Lets one signal pass.
    pub(super) fn forgive(&mut self) {
        self.forgiven = true;
    }
}
