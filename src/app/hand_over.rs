//! Taking the place of a running process that has the same listening sockets from the service
//! manager, and giving up one's own: over a socket in the state directory, which only its owner may
//! open.

use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{UnixListener, UnixStream};
use tokio::time::timeout;

use crate::state::{StateDir, StateError};

/// Why nobody gave up their place.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The process there does not answer.
    #[error(
        "{busy}; it was asked to hand over, at {}, and did not: {cause}",
        path.display()
    )]
    Refused {
        /// Who has the state directory.
        busy: StateError,
        /// Where it was asked.
        path: PathBuf,
        /// What came of it.
        cause: io::Error,
    },
}

/// The name of the socket in the state directory.
const NAME: &str = "hand-over.sock";

/// What is asked, and what is answered once the place is free.
const REQUEST: &[u8; 7] = b"give 1\n";
const ANSWER: &[u8; 8] = b"yours 1\n";

/// How long the whole of it may take.
const PATIENCE: Duration = Duration::from_secs(15);

/// How long somebody who has connected may take to ask.
const QUESTION: Duration = Duration::from_secs(1);

/// A pause after an accept that failed.
const PAUSE: Duration = Duration::from_millis(200);

/// How long the other process may take to close the listeners that it has bound itself.
const LISTENERS: Duration = Duration::from_secs(3);

/// The state directory, and how it was come by.
pub(super) struct Opened {
    pub(super) state: StateDir,
    /// How long an address may still be taken.
    pub(super) patience: Duration,
}

impl Opened {
    pub(super) fn alone(state: StateDir) -> Self {
        let patience = Duration::ZERO;
        Self { state, patience }
    }
}

/// Opens the state directory, taking the place of the process that has it.
pub(super) async fn open(directory: &Path) -> Result<Opened, super::Error> {
    let busy = match StateDir::open(directory) {
        Err(busy @ StateError::InUse { .. }) => busy,
        other => return Ok(Opened::alone(other?)),
    };
    let path = directory.join(NAME);
    tracing::info!("asking the running process to hand over");
    match timeout(PATIENCE, ask(&path)).await {
        Ok(Ok(())) => Ok(Opened {
            state: StateDir::open(directory)?,
            patience: LISTENERS,
        }),
        Ok(Err(cause)) => Err(Error::Refused { busy, path, cause }.into()),
        Err(_) => {
            let cause = io::ErrorKind::TimedOut.into();
            Err(Error::Refused { busy, path, cause }.into())
        }
    }
}

async fn ask(path: &Path) -> io::Result<()> {
    let mut stream = UnixStream::connect(path).await?;
    stream.write_all(REQUEST).await?;
    let mut answer = [0; ANSWER.len()];
    stream.read_exact(&mut answer).await?;
    match &answer == ANSWER {
        true => Ok(()),
        false => Err(io::Error::other("it answers in words of another version")),
    }
}

/// That this process would give up its place.
pub(super) struct Offer(Option<UnixListener>);

impl Offer {
    pub(super) fn none() -> Self {
        Self(None)
    }

    /// To be made by whoever has the state directory.
    pub(super) fn new(directory: &Path) -> Self {
        let path = directory.join(NAME);
        // The directory is ours: what lies there was left behind by a process that is gone.
        let _ = std::fs::remove_file(&path);
        match UnixListener::bind(&path) {
            Ok(listener) => Self(Some(listener)),
            Err(error) => {
                tracing::warn!(%error, path = %path.display(), "no other process can take over without a pause");
                Self(None)
            }
        }
    }

    /// Resolves when another process wants the place.
    pub(super) async fn taken(&self) -> Successor {
        let Some(listener) = &self.0 else {
            return std::future::pending().await;
        };
        loop {
            let stream = match listener.accept().await {
                Ok((stream, _)) => stream,
                Err(error) => {
                    tracing::debug!(%error, "nobody can ask to take over");
                    tokio::time::sleep(PAUSE).await;
                    continue;
                }
            };
            if let Ok(Ok(successor)) = timeout(QUESTION, Successor::of(stream)).await {
                return successor;
            }
        }
    }
}

/// Who waits for the place.
pub(super) struct Successor(UnixStream);

impl Successor {
    async fn of(mut stream: UnixStream) -> io::Result<Self> {
        let mut request = [0; REQUEST.len()];
        stream.read_exact(&mut request).await?;
        match &request == REQUEST {
            true => Ok(Self(stream)),
            false => Err(io::ErrorKind::InvalidData.into()),
        }
    }

    /// Tells it that the place is free.
    pub(super) async fn welcome(mut self) {
        if let Err(error) = self.0.write_all(ANSWER).await {
            tracing::warn!(%error, "the process that wanted to take over is gone");
        }
    }
}
