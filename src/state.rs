//! The state directory: secrets, certificates, accounts, and whose they are.
//!
//! Owns how files get there (private, whole or not at all) and that one process writes at a time.
//! What the files mean is their owners' business.

mod lasting;
mod metrics;

use std::collections::HashMap;
use std::fs::{self, DirBuilder, File, OpenOptions, TryLockError};
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};

use aws_lc_rs::rand::{SecureRandom as _, SystemRandom};

use crate::config::Secret;

/// What can go wrong with the state directory. Each text says what to do.
#[derive(Debug, thiserror::Error)]
pub enum StateError {
    /// The directory cannot be made or opened.
    #[error(
        "state directory {path}: {source}; give a directory that this user can write to (state_dir)"
    )]
    Directory {
        /// The directory.
        path: PathBuf,
        /// The kernel's answer.
        source: io::Error,
    },
    /// Another process has it.
    #[error(
        "state directory {path} is in use by {}; stop that one or give another state_dir",
        .pid.map_or_else(|| "another process".to_owned(), |pid| format!("process {pid}"))
    )]
    InUse {
        /// The directory.
        path: PathBuf,
        /// The holder, when it has said so.
        pid: Option<u32>,
    },
    /// A file in it cannot be read or written.
    #[error("state file {path}: {source}")]
    File {
        /// The file.
        path: PathBuf,
        /// The kernel's answer.
        source: io::Error,
    },
    /// A file holds what we never wrote.
    #[error("state file {path} {problem}; restore it, or delete it and a new one will be made")]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        problem: &'static str,
    },
    /// A write through a handle that was opened for reading.
    #[error("state directory {path} is not this process's to write to")]
    ReadOnly {
        /// The directory.
        path: PathBuf,
    },
    /// The system has no random bytes for us.
    #[error("the system's random number generator failed")]
    NoRandomness,
}

/// An open state directory.
#[derive(Debug)]
pub struct StateDir {
    path: PathBuf,
    rights: Mutex<Rights>,
    /// What a full or read-only disk did not take: good until the process ends.
    unwritten: Mutex<HashMap<String, Vec<u8>>>,
}

/// What this process may do with the directory.
#[derive(Debug)]
enum Rights {
    Read,
    /// With the lock that says so, unless the disk has no place for it.
    Write(#[expect(dead_code, reason = "held, not used")] Option<File>),
}

/// More than any file of ours has; a larger one is not ours.
const MAX_FILE: u64 = 1 << 20;
const LOCK_NAME: &str = "lock";

impl StateDir {
    /// Opens the directory for this process alone, making it (mode 0700) when it is missing.
    pub fn open(path: impl Into<PathBuf>) -> Result<Self, StateError> {
        let path = path.into();
        let directory = |source| StateError::Directory {
            path: path.clone(),
            source,
        };
        let made = DirBuilder::new().recursive(true).mode(0o700).create(&path);
        if let Err(error) = made {
            if !takes_nothing(&error) {
                return Err(directory(error));
            }
            tracing::error!(path = %path.display(), %error, "nothing is kept: {MEMORY_ONLY}");
        }
        match fs::metadata(&path) {
            Ok(data) if data.permissions().mode() & 0o002 != 0 => tracing::warn!(
                path = %path.display(),
                "anybody on this machine can replace the files of the state directory; chmod o-w it"
            ),
            Ok(_) => {}
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(directory(error)),
        }
        let lock = match lock(&path.join(LOCK_NAME)) {
            Ok(lock) => Some(lock),
            Err(Locked::Held(pid)) => return Err(StateError::InUse { pid, path }),
            Err(Locked::Failed(error)) if takes_nothing(&error) => {
                tracing::error!(path = %path.display(), %error, "cannot be locked: {MEMORY_ONLY}");
                None
            }
            Err(Locked::Failed(error)) => return Err(directory(error)),
        };
        Ok(Self {
            path,
            rights: Mutex::new(Rights::Write(lock)),
            unwritten: Mutex::default(),
        })
    }

    /// Opens the directory of a process that may be running, to look only.
    pub fn inspect(path: impl Into<PathBuf>) -> Result<Self, StateError> {
        let path = path.into();
        match fs::read_dir(&path) {
            Ok(_) => Ok(Self {
                path,
                rights: Mutex::new(Rights::Read),
                unwritten: Mutex::default(),
            }),
            Err(source) => Err(StateError::Directory { path, source }),
        }
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Leaves the directory to another process; from now on this one only reads.
    pub fn release(&self) {
        *self.rights.lock().unwrap_or_else(PoisonError::into_inner) = Rights::Read;
    }

    /// How many files are in memory only, because the disk is full or read-only.
    pub fn unwritten(&self) -> usize {
        self.memory().len()
    }

    /// Writes those, if the disk takes them by now.
    pub fn persist(&self) {
        let waiting: Vec<_> = self.memory().clone().into_iter().collect();
        for (name, bytes) in waiting {
            if let Err(error) = self.write_private(&name, &bytes) {
                tracing::warn!(%error, "still in memory only");
            }
        }
    }

    fn memory(&self) -> MutexGuard<'_, HashMap<String, Vec<u8>>> {
        self.unwritten
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    /// Why what is written here will be lost, if it will.
    pub fn throwaway(&self) -> Option<String> {
        lasting::throwaway(&self.path)
    }

    /// The content of a file, or `None` when there is none.
    pub fn read(&self, name: &str) -> Result<Option<Vec<u8>>, StateError> {
        if let Some(bytes) = self.memory().get(name) {
            return Ok(Some(bytes.clone()));
        }
        let path = self.path.join(name);
        let mut content = Vec::new();
        let read = match File::open(&path) {
            Ok(file) => file.take(MAX_FILE + 1).read_to_end(&mut content),
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => Err(error),
        };
        match read {
            Ok(_) if content.len() as u64 > MAX_FILE => Err(StateError::Damaged {
                path,
                problem: "is larger than any file of ours",
            }),
            Ok(_) => Ok(Some(content)),
            Err(source) => Err(StateError::File { path, source }),
        }
    }

    /// The names of the files that begin and end like this.
    pub fn names(&self, prefix: &str, suffix: &str) -> Result<Vec<String>, StateError> {
        let failed = |source| StateError::File {
            path: self.path.clone(),
            source,
        };
        let mut names = Vec::new();
        for entry in fs::read_dir(&self.path).map_err(failed)? {
            let name = entry.map_err(failed)?.file_name();
            let fits = |name: &&str| name.starts_with(prefix) && name.ends_with(suffix);
            names.extend(name.to_str().filter(fits).map(str::to_owned));
        }
        Ok(names)
    }

    /// Replaces a file by `bytes`, readable by this user only. After a crash at any moment the old
    /// content or the new one is there, never a part.
    pub fn write_private(&self, name: &str, bytes: &[u8]) -> Result<(), StateError> {
        // Held until the file is there: whoever gives the directory away waits for it.
        let rights = self.rights.lock().unwrap_or_else(PoisonError::into_inner);
        if matches!(*rights, Rights::Read) {
            return Err(StateError::ReadOnly {
                path: self.path.clone(),
            });
        }
        let path = self.path.join(name);
        // The lock makes us the only writer, so one temporary name is enough; what a crash left
        // there is of no use.
        let temporary = self.path.join(format!(".{name}.new"));
        let _ = fs::remove_file(&temporary);
        let written = OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(&temporary)
            .and_then(|mut file| {
                file.write_all(bytes)?;
                file.sync_all()
            })
            .and_then(|()| fs::rename(&temporary, &path))
            .and_then(|()| File::open(&self.path)?.sync_all());
        match written {
            Ok(()) => {
                self.memory().remove(name);
                Ok(())
            }
            Err(source) => {
                let _ = fs::remove_file(&temporary);
                if !takes_nothing(&source) {
                    return Err(StateError::File { path, source });
                }
                tracing::error!(path = %path.display(), error = %source, "{MEMORY_ONLY}");
                self.memory().insert(name.to_owned(), bytes.to_vec());
                Ok(())
            }
        }
    }

    /// A secret of `bytes` random bytes: made on first use, the same ever after.
    ///
    /// It is kept, and handed out, as lower-case hexadecimal text, so that the file's content can
    /// be pasted as the shared secret of another TURN server and means the same there.
    pub fn secret(&self, name: &str, bytes: usize) -> Result<Secret, StateError> {
        if let Some(kept) = self.read(name)? {
            let text = kept.trim_ascii();
            // Sixteen hexadecimal digits are 64 bits: whatever is shorter was not made here.
            if text.len() < 16 || !text.iter().all(u8::is_ascii_graphic) {
                return Err(StateError::Damaged {
                    path: self.path.join(name),
                    problem: "does not hold a secret",
                });
            }
            return Ok(Secret::new(text));
        }
        let mut random = vec![0; bytes];
        SystemRandom::new()
            .fill(&mut random)
            .map_err(|_| StateError::NoRandomness)?;
        let text: String = random.iter().map(|byte| format!("{byte:02x}")).collect();
        self.write_private(name, format!("{text}\n").as_bytes())?;
        Ok(Secret::new(text))
    }
}

/// Said when the disk is full or read-only.
const MEMORY_ONLY: &str = "the disk takes nothing; secrets and certificates that are made now are lost when this process \
     ends, and with them credentials and seats: make room or make it writable, then send SIGHUP";

/// Full or read-only: no reason not to serve with what there is.
fn takes_nothing(error: &io::Error) -> bool {
    use io::ErrorKind::{QuotaExceeded, ReadOnlyFilesystem, StorageFull};
    matches!(
        error.kind(),
        StorageFull | ReadOnlyFilesystem | QuotaExceeded
    )
}

/// Why the lock could not be had.
enum Locked {
    Held(Option<u32>),
    Failed(io::Error),
}

fn lock(path: &Path) -> Result<File, Locked> {
    let opened = OpenOptions::new()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .mode(0o600)
        .open(path)
        .or_else(|error| match takes_nothing(&error) {
            // One that was made before can be locked all the same.
            true => File::open(path).map_err(|_| error),
            false => Err(error),
        });
    let mut lock = opened.map_err(Locked::Failed)?;
    match lock.try_lock() {
        Ok(()) => {}
        Err(TryLockError::WouldBlock) => {
            let mut holder = String::new();
            // Without the pid the message is poorer, not wrong.
            let _ = (&lock).take(32).read_to_string(&mut holder);
            return Err(Locked::Held(holder.trim().parse().ok()));
        }
        Err(TryLockError::Error(error)) => return Err(Locked::Failed(error)),
    }
    // That it is held is what counts; by whom is for messages.
    let _ = lock
        .set_len(0)
        .and_then(|()| writeln!(lock, "{}", std::process::id()));
    Ok(lock)
}

#[cfg(test)]
mod tests;
