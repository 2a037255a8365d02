//! A directory of the operator's, served instead of the pages built in.
//!
//! Nothing outside it is ever shown, whatever a path or a link in it says, and nothing hidden.

use std::borrow::Cow;
use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _};
use std::path::{Component, Path, PathBuf};

use super::negotiate::Encoding;
use super::{Content, Found, Lookup, alternative, types};
use crate::net::clock;

/// Seconds: the coarsest clock of a file system in use.
const TICK: u64 = 2;

/// Why a directory cannot be served.
#[derive(Debug, thiserror::Error)]
pub enum DirectoryError {
    /// It is not there, or not ours to read.
    #[error("web.dir {path}: {source}")]
    Unreadable {
        /// The directory.
        path: PathBuf,
        /// The kernel's answer.
        source: io::Error,
    },
}

#[derive(Clone, Debug)]
pub(super) struct Directory {
    root: PathBuf,
}

impl Directory {
    pub(super) fn open(root: PathBuf) -> Result<Self, DirectoryError> {
        match fs::read_dir(&root) {
            Ok(_) => Ok(Self { root }),
            Err(source) => Err(DirectoryError::Unreadable { path: root, source }),
        }
    }

    /// Blocks on the disk.
    pub(super) fn find(&self, path: &str) -> io::Result<Lookup> {
        // Resolved each time: a deployment may swap a link that the configured path goes through.
        let root = self.root.canonicalize()?;
        let lookup = look(&root, path)?;
        if !matches!(lookup, Lookup::Missing) {
            return Ok(lookup);
        }
        match alternative(path) {
            Some(other) => look(&root, &other),
            None => Ok(Lookup::Missing),
        }
    }
}

fn look(root: &Path, path: &str) -> io::Result<Lookup> {
    let slash = path.is_empty() || path.ends_with('/');
    match open_below(root, path) {
        Ok(Some((file, resolved))) => {
            let metadata = file.metadata()?;
            if metadata.is_file() && !slash {
                return Ok(Lookup::Found(describe(file, &resolved, &metadata)));
            }
            // Devices, pipes and sockets are nobody's pages.
            Ok(match metadata.is_dir() && !slash {
                true => Lookup::IsDirectory,
                false => Lookup::Missing,
            })
        }
        Ok(None) => Ok(Lookup::Missing),
        Err(error) => match error.kind() {
            io::ErrorKind::NotFound
            | io::ErrorKind::NotADirectory
            | io::ErrorKind::PermissionDenied
            | io::ErrorKind::InvalidFilename
            | io::ErrorKind::InvalidInput => Ok(Lookup::Missing),
            _ if error.raw_os_error() == Some(libc::ELOOP) => Ok(Lookup::Missing),
            _ => Err(error),
        },
    }
}

/// Opens what `path` leads to, unless that is outside of `root` or hidden.
fn open_below(root: &Path, path: &str) -> io::Result<Option<(File, PathBuf)>> {
    let relative = Path::new(path);
    if !is_shown(relative) {
        return Ok(None);
    }
    // Every link is followed here, and where they lead is judged: a link out of the directory, or
    // to something hidden in it, is as good as nothing.
    let resolved = root.join(relative).canonicalize()?;
    match resolved.strip_prefix(root) {
        Ok(inside) if is_shown(inside) => {}
        _ => return Ok(None),
    }
    let file = OpenOptions::new()
        .read(true)
        // The path is free of links now; one that appears meanwhile is not followed. A pipe
        // without a writer must not hold the thread.
        .custom_flags(libc::O_NOFOLLOW | libc::O_NONBLOCK | libc::O_NOCTTY)
        .open(&resolved)?;
    Ok(Some((file, resolved)))
}

/// Plain, visible segments only. `/.well-known/` is meant for the public (RFC 8615).
fn is_shown(path: &Path) -> bool {
    path.components().enumerate().all(|(depth, component)| {
        let Component::Normal(name) = component else {
            return false;
        };
        let hidden = name.as_encoded_bytes().starts_with(b".");
        !hidden || (depth == 0 && name == ".well-known")
    })
}

fn describe(file: File, path: &Path, metadata: &fs::Metadata) -> Found {
    // Two writes within one tick of the clock look alike, so that the tag of a file that has just
    // been written promises less. The time of change cannot be set back, unlike that of the content.
    let now = clock::unix_time();
    let settled = u64::try_from(metadata.ctime()).is_ok_and(|at| at + TICK < now);
    let etag = format!(
        "{}\"{:x}-{:x}-{:x}-{:x}\"",
        if settled { "" } else { "W/" },
        metadata.mtime(),
        metadata.ctime(),
        metadata.ctime_nsec(),
        metadata.len()
    );
    let modified = u64::try_from(metadata.mtime()).ok().filter(|at| *at <= now);
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    Found {
        content_type: types::content_type(&name),
        etag: Cow::Owned(etag),
        modified,
        encoding: Encoding::Identity,
        varies: false,
        content: Content::File(file, metadata.len()),
    }
}
