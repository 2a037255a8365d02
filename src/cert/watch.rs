//! The operator's files again and again: a renewed certificate is served within seconds.

use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use rustls::crypto::CryptoProvider;
use tokio::sync::Notify;

use super::CertStore;
use super::files;
use super::status::Source;
use crate::net::clock;
use crate::shutdown::Drain;

/// How often the files are looked at.
const EVERY: Duration = Duration::from_secs(2);

/// What to watch.
#[derive(Debug)]
pub struct Watch {
    /// Certificate chain.
    pub cert: PathBuf,
    /// Private key.
    pub key: PathBuf,
    /// Names that it should be good for.
    pub hosts: Vec<String>,
    /// Cryptography.
    pub provider: Arc<CryptoProvider>,
}

/// What changes when a file is written, replaced, or when a link on the way leads elsewhere.
type Mark = Option<[i128; 7]>;

impl Watch {
    /// Looks until the drain begins; at once when told through `hangup`.
    pub async fn run(self, store: CertStore, hangup: Arc<Notify>, drain: Drain) {
        // The first look reads them in any case: they may have changed since they were loaded.
        let mut seen = None;
        let mut trouble = Trouble::default();
        loop {
            let asked = tokio::select! {
                () = tokio::time::sleep(EVERY) => false,
                () = hangup.notified() => true,
                () = drain.announced() => return,
            };
            let now = Some(self.mark());
            if now == seen && trouble.is_over() && !asked {
                continue;
            }
            seen = now;
            let status = store.status();
            status.attempt(clock::unix_time());
            match files::load(&self.cert, &self.key, &self.provider) {
                Ok(key) => {
                    trouble = Trouble::default();
                    let same = key.cert == store.current().cert;
                    status.succeeded();
                    if same && !asked {
                        continue;
                    }
                    store.install(key, Source::Files, &self.hosts, &self.provider);
                    tracing::info!(
                        until = status.snapshot().leaf.until(),
                        "the certificate was read again"
                    );
                }
                Err(error) => {
                    let error = error.to_string();
                    if trouble.is_news(&error, asked) {
                        tracing::warn!(
                            error,
                            "the old certificate is kept; the files are looked at again every {} s",
                            EVERY.as_secs()
                        );
                        status.failed(error);
                    }
                }
            }
        }
    }

    fn mark(&self) -> [Mark; 2] {
        [mark(&self.cert), mark(&self.key)]
    }
}

fn mark(path: &Path) -> Mark {
    // Follows links: what counts is where they lead.
    let data = std::fs::metadata(path).ok()?;
    Some([
        data.dev().into(),
        data.ino().into(),
        data.size().into(),
        data.mtime().into(),
        data.mtime_nsec().into(),
        data.ctime().into(),
        data.ctime_nsec().into(),
    ])
}

/// Files that could not be read, and whether that has been said.
#[derive(Debug, Default)]
struct Trouble {
    last: Option<String>,
    said: Option<String>,
}

impl Trouble {
    fn is_over(&self) -> bool {
        self.last.is_none()
    }

    /// Certificate and key are written one after the other, so a pair that does not match is
    /// nothing to speak of until it has lasted from one look to the next.
    fn is_news(&mut self, error: &str, asked: bool) -> bool {
        let lasts = self.last.as_deref() == Some(error);
        self.last = Some(error.to_owned());
        let news = (lasts || asked) && self.said.as_deref() != Some(error);
        if news {
            self.said = Some(error.to_owned());
        }
        news
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_lasts_is_said_once() {
        let mut trouble = Trouble::default();
        let news = ["a", "a", "a", "b", "b", "a", "a"].map(|error| trouble.is_news(error, false));
        assert_eq!(news, [false, true, false, false, true, false, true]);
        assert!(!trouble.is_over());
        let mut trouble = Trouble::default();
        assert!(trouble.is_news("a", true));
        assert!(!trouble.is_news("a", true));
    }
}
