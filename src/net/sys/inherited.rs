//! Descriptors that were open before this process began.

use std::io;
use std::os::fd::{FromRawFd as _, OwnedFd};
use std::sync::atomic::{AtomicBool, Ordering};

/// Takes the descriptors that a service manager has opened for this process (sd_listen_fds(3)).
/// Whoever asks first gets them all.
pub fn inherited() -> io::Result<Vec<OwnedFd>> {
    static TAKEN: AtomicBool = AtomicBool::new(false);
    if TAKEN.swap(true, Ordering::AcqRel) {
        return Ok(Vec::new());
    }
    // Each was found open just now, else this would be an error.
    let descriptors = sd_notify::listen_fds()?;
    // SAFETY: the manager opened them for this process, whose id it named, and nobody has taken
    // them before.
    Ok(descriptors
        .map(|fd| unsafe { OwnedFd::from_raw_fd(fd) })
        .collect())
}
