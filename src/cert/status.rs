//! How it stands with the certificate, for `/readyz`, metrics, the log and HSTS.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::day;
use super::leaf::Leaf;
use crate::net::clock;

/// Where the current certificate is from.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Source {
    /// Made here.
    #[default]
    SelfSigned,
    /// The operator's.
    Files,
    /// Ordered from an authority.
    Acme,
}

impl Source {
    /// As `[tls] mode` calls it.
    pub fn name(self) -> &'static str {
        match self {
            Self::SelfSigned => "self-signed",
            Self::Files => "files",
            Self::Acme => "acme",
        }
    }
}

/// How it stands at one moment. Times are seconds since 1970.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Snapshot {
    /// Where the current certificate is from.
    pub source: Source,
    /// What it says about itself.
    pub leaf: Leaf,
    /// Whether browsers everywhere trust it.
    pub publicly_valid: bool,
    /// When a new one was last ordered, or read from files.
    pub last_attempt: Option<u64>,
    /// Why the last attempt failed; `None` after one that did not.
    pub last_error: Option<String>,
    /// When the next order begins.
    pub next_attempt: Option<u64>,
}

impl Snapshot {
    /// The `certificate` of `/readyz`.
    pub fn to_json(&self) -> serde_json::Value {
        serde_json::json!({
            "source": self.source.name(),
            "names": self.leaf.names,
            "not_after": day::rfc3339(self.leaf.not_after),
            "publicly_valid": self.publicly_valid,
            "last_attempt": self.last_attempt.map(day::rfc3339),
            "last_error": self.last_error,
            "next_attempt": self.next_attempt.map(day::rfc3339),
        })
    }
}

/// Shared by whoever supplies certificates and whoever asks. Clones are the same one.
#[derive(Clone, Debug, Default)]
pub struct Status(Arc<Inner>);

#[derive(Debug, Default)]
struct Inner {
    now: Mutex<Snapshot>,
    /// Beside the rest because each answer to a browser asks for it.
    publicly_valid: AtomicBool,
    foreign: AtomicBool,
    failures: AtomicU64,
}

impl Status {
    /// How it stands.
    pub fn snapshot(&self) -> Snapshot {
        let mut now = self.lock().clone();
        now.publicly_valid &= clock::unix_time() <= now.leaf.not_after;
        now
    }

    /// Attempts that failed since the start.
    pub fn failures(&self) -> u64 {
        self.0.failures.load(Ordering::Relaxed)
    }

    /// Whether browsers everywhere trust the current certificate.
    pub fn is_publicly_valid(&self) -> bool {
        self.0.publicly_valid.load(Ordering::Relaxed)
    }

    /// Whether the current certificate was made here.
    pub fn is_self_signed(&self) -> bool {
        !self.0.foreign.load(Ordering::Relaxed)
    }

    pub(super) fn installed(&self, source: Source, leaf: Leaf, publicly_valid: bool) {
        let mut now = self.lock();
        now.source = source;
        now.leaf = leaf;
        now.publicly_valid = publicly_valid;
        let foreign = source != Source::SelfSigned;
        self.0.foreign.store(foreign, Ordering::Relaxed);
        let public = &self.0.publicly_valid;
        public.store(publicly_valid, Ordering::Relaxed);
    }

    pub(super) fn attempt(&self, at: u64) {
        let mut now = self.lock();
        now.last_attempt = Some(at);
        now.next_attempt = None;
    }

    pub(super) fn succeeded(&self) {
        self.lock().last_error = None;
    }

    pub(super) fn failed(&self, why: String) {
        self.0.failures.fetch_add(1, Ordering::Relaxed);
        self.lock().last_error = Some(why);
    }

    pub(super) fn next(&self, at: u64) {
        self.lock().next_attempt = Some(at);
    }

    fn lock(&self) -> MutexGuard<'_, Snapshot> {
        self.0.now.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
