//! The end of the process in two steps: first nobody new comes in and those who can go elsewhere
//! are sent there, then everybody ends. One deadline for all.

use std::future::Future;
use std::time::Duration;

use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// Handed to everything that serves. Clones share the same state.
#[derive(Clone, Debug, Default)]
pub struct Drain {
    announced: CancellationToken,
    token: CancellationToken,
    tasks: TaskTracker,
}

impl Drain {
    /// A drain that has not begun.
    pub fn new() -> Self {
        Self::default()
    }

    /// For a part that may end before the rest: to announce, begin or finish the child leaves the
    /// parent alone, and the other way round it does not.
    pub fn child(&self) -> Self {
        Self {
            announced: self.announced.child_token(),
            token: self.token.child_token(),
            tasks: self.tasks.clone(),
        }
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

    /// Resolves once the end has been announced: stop accepting, send away who can come back
    /// elsewhere, and leave calls alone.
    pub async fn announced(&self) {
        self.announced.cancelled().await;
    }

    /// Whether the end has been announced.
    pub fn is_announced(&self) -> bool {
        self.announced.is_cancelled()
    }

    /// Announces the end.
    pub fn announce(&self) {
        self.announced.cancel();
    }

    /// Resolves once the drain begins: tell peers, end.
    pub async fn begun(&self) {
        self.token.cancelled().await;
    }

    /// Whether the drain has begun.
    pub fn is_begun(&self) -> bool {
        self.token.is_cancelled()
    }

    /// Tells everybody to end, which announces it as well.
    pub fn begin(&self) {
        self.announced.cancel();
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
