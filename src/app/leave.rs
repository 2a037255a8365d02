//! The end of the process: nobody new comes in, calls get their time, then everybody is told.

use std::io;
use std::time::{Duration, Instant};

use tokio::signal::unix::{Signal, SignalKind, signal};

use super::manager;
use crate::config::Settings;
use crate::net::clock;
use crate::shutdown::Drain;
use crate::signal::hub::Hub;
use crate::turn::io::Workers;

/// How long connections get to end by themselves once told to.
const GOODBYE: Duration = Duration::from_secs(5);

/// How often it is looked whether calls go on.
const LOOK: Duration = Duration::from_millis(200);

/// How often the log and the service manager are told how far it has come.
const PROGRESS: Duration = Duration::from_secs(10);

/// How often the log is told while nobody waits for us.
const SLOW_PROGRESS: Duration = Duration::from_secs(600);

/// How often those are sent away who are in no call and would keep others waiting elsewhere.
const DISMISSAL: Duration = Duration::from_secs(10);

/// What becomes of those who have not begun a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Newcomers {
    /// They are told that there is no room.
    Refused,
    /// Another process has them, except for those who have got as far as here.
    Elsewhere,
}

/// Ends everything but the workers' threads.
pub(super) struct Leaving<'a> {
    drain: &'a Drain,
    workers: &'a Workers,
    hub: &'a Hub,
    /// For whoever waits for this process to be gone.
    drain_timeout: Duration,
    /// While nobody does.
    hand_over_timeout: Duration,
}

impl<'a> Leaving<'a> {
    pub(super) fn new(
        drain: &'a Drain,
        workers: &'a Workers,
        hub: &'a Hub,
        settings: &Settings,
    ) -> Self {
        let drain_timeout = settings.drain_timeout;
        Self {
            drain,
            workers,
            hub,
            drain_timeout,
            hand_over_timeout: settings.hand_over_timeout.max(drain_timeout),
        }
    }

    /// Returns when all connections have ended, when time is up, or when it is told to end once
    /// more.
    pub(super) async fn run(&self, newcomers: Newcomers, signals: &mut Signals) {
        self.drain.announce();
        match newcomers {
            Newcomers::Refused => self.workers.drain(),
            // The manager is not told of an end: it would hold up a reboot for it.
            Newcomers::Elsewhere => {
                tokio::select! {
                    () = self.calls_elsewhere() => return self.say_goodbye().await,
                    () = signals.next() => tracing::info!(
                        seconds = self.drain_timeout.as_secs(),
                        "told to end: waiting for calls no longer than drain_timeout"
                    ),
                }
            }
        }
        manager::stopping("waiting for calls to end");
        let leaving = async {
            self.calls().await;
            self.say_goodbye().await;
        };
        tokio::select! {
            () = leaving => {}
            () = signals.next() => {
                tracing::info!("told to end a second time: stopping at once");
                self.drain.begin();
            }
        }
    }

    async fn say_goodbye(&self) {
        manager::stopping("closing connections");
        self.drain.begin();
        if !self.drain.finish(GOODBYE).await {
            tracing::warn!("some connections did not end in time");
        }
    }

    /// Waits until no call is carried any more, or `drain_timeout` is over.
    async fn calls(&self) {
        let mut wait = Wait::new("drain_timeout", self.drain_timeout, PROGRESS);
        while let Some(left) = wait.goes_on(self.left()) {
            if let Some(Left { relays, rooms }) = wait.due(left) {
                tracing::info!(
                    relays,
                    rooms,
                    seconds_left = wait.seconds_left(),
                    "draining: waiting for calls to end; one more signal stops at once"
                );
                manager::stopping(&format!("{relays} relays and {rooms} rooms are waited for"));
            }
            wait.pause().await;
        }
    }

    /// The same while another process serves everybody else. Whoever is in no call must not stay:
    /// those with whom they might be in one find them there only.
    async fn calls_elsewhere(&self) {
        let mut wait = Wait::new("hand_over_timeout", self.hand_over_timeout, SLOW_PROGRESS);
        let mut dismissal = clock::now() + self.drain_timeout.min(DISMISSAL);
        while let Some(left) = wait.goes_on(self.left()) {
            if let Some(Left { relays, rooms }) = wait.due(left) {
                tracing::info!(
                    relays,
                    rooms,
                    seconds_left = wait.seconds_left(),
                    "handed over: waiting for calls to end"
                );
                manager::status(&format!(
                    "another process serves the newcomers; {relays} relays and {rooms} rooms are waited for"
                ));
            }
            let now = clock::now();
            if now >= dismissal {
                dismissal = now + DISMISSAL;
                self.hub.dismiss();
            }
            wait.pause().await;
        }
    }

    fn left(&self) -> Left {
        Left {
            relays: self.workers.allocations(),
            rooms: self.hub.calls(),
        }
    }
}

/// What is waited for.
#[derive(Clone, Copy, Debug)]
struct Left {
    relays: u32,
    rooms: usize,
}

/// A wait for calls.
struct Wait {
    /// The setting that ends it.
    key: &'static str,
    patience: Duration,
    progress: Duration,
    began: Instant,
    said: Option<Instant>,
}

impl Wait {
    fn new(key: &'static str, patience: Duration, progress: Duration) -> Self {
        Self {
            key,
            patience,
            progress,
            began: clock::now(),
            said: None,
        }
    }

    fn waited(&self) -> Duration {
        clock::now().saturating_duration_since(self.began)
    }

    fn seconds_left(&self) -> u64 {
        self.patience.saturating_sub(self.waited()).as_secs()
    }

    /// `None`: it is over.
    fn goes_on(&self, left: Left) -> Option<Left> {
        let Left { relays, rooms } = left;
        if relays == 0 && rooms == 0 {
            tracing::info!("no calls are left: stopping");
            return None;
        }
        if self.waited() >= self.patience {
            let key = self.key;
            tracing::warn!(
                relays,
                rooms,
                "stopping with calls that go on ({key} is over)"
            );
            return None;
        }
        Some(left)
    }

    /// What is left, if it is time to tell.
    fn due(&mut self, left: Left) -> Option<Left> {
        let now = clock::now();
        let is_due = self
            .said
            .is_none_or(|said| now.saturating_duration_since(said) >= self.progress);
        is_due.then(|| {
            self.said = Some(now);
            left
        })
    }

    async fn pause(&self) {
        tokio::time::sleep(LOOK.min(self.patience.saturating_sub(self.waited()))).await;
    }
}

/// Ctrl-C and the service manager's wish.
pub(super) struct Signals {
    interrupt: Signal,
    terminate: Signal,
}

impl Signals {
    pub(super) fn new() -> io::Result<Self> {
        Ok(Self {
            interrupt: signal(SignalKind::interrupt())?,
            terminate: signal(SignalKind::terminate())?,
        })
    }

    pub(super) async fn next(&mut self) {
        tokio::select! {
            _ = self.interrupt.recv() => {}
            _ = self.terminate.recv() => {}
        }
    }
}
