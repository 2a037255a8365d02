//! The end of the process: one signal to everybody, one deadline for all.

use std::future::Future;
use std::time::Duration;

use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// Handed to everything that serves. Clones share the same state.
#[derive(Clone, Debug, Default)]
pub struct Drain {
    token: CancellationToken,
    tasks: TaskTracker,
}

impl Drain {
    /// A drain that has not begun.
    pub fn new() -> Self {
        Self::default()
    }

    /// Spawns a task that [`Drain::finish`] waits for.
    pub fn spawn<F>(&self, task: F) -> JoinHandle<F::Output>
    where
        F: Future + Send + 'static,
        F::Output: Send + 'static,
    {
        self.tasks.spawn(task)
    }

    /// Spawns a task that nobody waits for: it ends with the process at the latest.
    #[expect(
        clippy::disallowed_methods,
        reason = "the drain is where tasks come from, these too"
    )]
    pub fn spawn_detached<F>(&self, task: F)
    where
        F: Future<Output = ()> + Send + 'static,
    {
        tokio::spawn(task);
    }

    /// Resolves once the drain begins: stop accepting, tell peers, end.
    pub async fn begun(&self) {
        self.token.cancelled().await;
    }

    /// Whether the drain has begun.
    pub fn is_begun(&self) -> bool {
        self.token.is_cancelled()
    }

    /// Tells everybody to end.
    pub fn begin(&self) {
        self.token.cancel();
        self.tasks.close();
    }

    /// Waits until every task has ended or `deadline` has passed. True when all have ended.
    pub async fn finish(&self, deadline: Duration) -> bool {
        self.tasks.close();
        tokio::time::timeout(deadline, self.tasks.wait())
            .await
            .is_ok()
    }
}
