//! The files with the keys of tokens, read again when they change.

use std::fs;
use std::io;
use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use tracing::{info, warn};

use super::access::{KeyError, Keys};

/// The keys in use.
#[derive(Debug)]
pub struct Keyring {
    files: Vec<PathBuf>,
    keys: ArcSwap<Keys>,
}

/// Why there are no keys.
#[derive(Debug, thiserror::Error)]
pub enum KeyringError {
    /// A file cannot be read.
    #[error("signaling.token_keys: {}: {source}", path.display())]
    File {
        /// Which.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// A file holds no key.
    #[error("signaling.token_keys: {}: {source}", path.display())]
    Key {
        /// Which.
        path: PathBuf,
        /// Why.
        source: KeyError,
    },
}

impl Keyring {
    /// Reads all files.
    pub fn open(files: &[PathBuf]) -> Result<Self, KeyringError> {
        let contents = read(files)?;
        Ok(Self {
            files: files.to_vec(),
            keys: ArcSwap::from_pointee(parse(files, &contents)?),
        })
    }

    /// The keys as they are now.
    pub fn keys(&self) -> Arc<Keys> {
        self.keys.load_full()
    }

    /// Looks at the files every `interval`, for ever. A change that makes no sense is told once,
    /// and the old keys stay.
    pub async fn watch(self: Arc<Self>, interval: Duration) {
        let mut known = read(&self.files).ok();
        loop {
            tokio::time::sleep(interval).await;
            let files = self.files.clone();
            let Ok(contents) = tokio::task::spawn_blocking(move || read(&files)).await else {
                return;
            };
            match contents {
                Ok(contents) if known.as_ref() == Some(&contents) => {}
                Ok(contents) => {
                    match parse(&self.files, &contents) {
                        Ok(keys) => {
                            self.keys.store(Arc::new(keys));
                            info!("the keys of tokens were read again");
                        }
                        Err(error) => warn!(%error, "the old keys of tokens are kept"),
                    }
                    known = Some(contents);
                }
                Err(error) => {
                    // In the midst of being replaced, perhaps; or gone.
                    if known.take().is_some() {
                        warn!(%error, "the old keys of tokens are kept");
                    }
                }
            }
        }
    }
}

fn read(files: &[PathBuf]) -> Result<Vec<Vec<u8>>, KeyringError> {
    files.iter().map(|path| read_one(path)).collect()
}

fn read_one(path: &Path) -> Result<Vec<u8>, KeyringError> {
    let mut bytes = Vec::new();
    fs::File::open(path)
        .and_then(|file| file.take(MAX_FILE).read_to_end(&mut bytes))
        .map_err(|source| KeyringError::File {
            path: path.to_owned(),
            source,
        })?;
    Ok(bytes)
}

fn parse(files: &[PathBuf], contents: &[Vec<u8>]) -> Result<Keys, KeyringError> {
    for (path, bytes) in files.iter().zip(contents) {
        Keys::parse([bytes.as_slice()]).map_err(|source| KeyringError::Key {
            path: path.clone(),
            source,
        })?;
    }
    // Each is good, so all are.
    Ok(Keys::parse(contents.iter().map(Vec::as_slice)).unwrap_or_default())
}

/// A key has some hundred bytes.
const MAX_FILE: u64 = 64 << 10;
