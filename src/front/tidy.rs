//! Memory goes back to the system when many connections have ended.
//!
//! The C library keeps what was freed: a class that has gone home would cost what it cost at its
//! busiest until the process ends. Giving back means walking through all that is free, some
//! milliseconds, so it is done once for many connections, and away from the threads that serve.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Notify;

use crate::net::sys;
use crate::shutdown::Drain;

/// Counts connections that have ended since memory was last given back.
#[derive(Debug, Default)]
pub(super) struct Ended {
    count: usize,
    enough: Arc<Notify>,
}

impl Ended {
    /// One more.
    pub(super) fn add(&mut self) {
        self.count += 1;
        if self.count == ENOUGH {
            self.count = 0;
            self.enough.notify_one();
        }
    }

    /// What is notified when it is worth while.
    pub(super) fn enough(&self) -> Arc<Notify> {
        Arc::clone(&self.enough)
    }
}

/// Gives back whenever it is worth while, until the drain begins. Sleeps otherwise.
pub(super) async fn run(enough: Arc<Notify>, drain: Drain) {
    loop {
        tokio::select! {
            () = drain.begun() => return,
            () = enough.notified() => {}
        }
        // Where some have ended, more are ending.
        tokio::select! {
            () = drain.begun() => return,
            () = tokio::time::sleep(WAVE) => {}
        }
        // One that panicked has given nothing back, and that is all.
        let _ = tokio::task::spawn_blocking(sys::give_back_memory).await;
    }
}

/// Some megabytes' worth of connections.
const ENOUGH: usize = 250;

/// How long connections go on ending when many do.
const WAVE: Duration = Duration::from_secs(2);

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn it_is_worth_while_for_many_and_again_for_as_many_more() {
        let mut ended = Ended::default();
        let enough = ended.enough();
        for _ in 0..2 {
            for _ in 1..ENOUGH {
                ended.add();
            }
            let none = tokio::time::timeout(Duration::ZERO, enough.notified()).await;
            assert!(none.is_err());
            ended.add();
            enough.notified().await;
        }
    }
}
