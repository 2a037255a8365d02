//! The pages: built into the binary, or a directory of the operator's.
//!
//! Owns finding a file and its variants. Request methods, caching rules and headers are
//! [`crate::http`]'s.

mod directory;
pub mod negotiate;
mod types;

use std::borrow::Cow;
use std::fs::File;
use std::io::{self, Read as _};
use std::path::PathBuf;

use directory::Directory;
pub use directory::DirectoryError;
use negotiate::{Accepted, Encoding};

/// Where pages come from. Clones share it.
#[derive(Clone, Debug)]
pub struct Assets {
    source: Source,
}

#[derive(Clone, Debug)]
enum Source {
    Table(&'static [Embedded]),
    Directory(Directory),
}

/// A file in the binary.
#[derive(Debug)]
pub struct Embedded {
    /// Relative to the root, `/` between segments.
    pub path: &'static str,
    /// Its media type.
    pub content_type: &'static str,
    /// As it is.
    pub identity: Variant,
    /// Compressed, where that is worth it.
    pub gzip: Option<Variant>,
    /// Compressed, where that is worth it.
    pub brotli: Option<Variant>,
}

/// One representation of a file.
#[derive(Debug)]
pub struct Variant {
    /// The bytes of the body.
    pub bytes: &'static [u8],
    /// Strong entity tag, quotes included; differs between variants (RFC 9110 section 8.8.3.3).
    pub etag: &'static str,
}

/// What there is under a path.
#[derive(Debug)]
pub enum Lookup {
    /// A file.
    Found(Found),
    /// A directory, asked for without its closing slash: relative links would go astray.
    IsDirectory,
    /// Nothing that may be shown.
    Missing,
}

/// A file in the representation that suits the client.
#[derive(Debug)]
pub struct Found {
    /// Its media type.
    pub content_type: &'static str,
    /// Its entity tag, quotes included.
    pub etag: Cow<'static, str>,
    /// Unix time of its last change, where that says something.
    pub modified: Option<u64>,
    /// How `content` is compressed.
    pub encoding: Encoding,
    /// Whether another client might get another representation.
    pub varies: bool,
    /// The bytes.
    pub content: Content,
}

/// The bytes of a file.
#[derive(Debug)]
pub enum Content {
    /// In memory for good.
    Static(&'static [u8]),
    /// To be read, this many bytes.
    File(File, u64),
}

/// `build.rs` writes this table from `web/`, sorted by path.
static BUILT_IN: &[Embedded] = include!(concat!(env!("OUT_DIR"), "/assets.rs"));

impl Assets {
    /// The pages in the binary.
    pub fn built_in() -> Self {
        Self::table(BUILT_IN)
    }

    /// Pages from a table, which must be sorted by path.
    pub fn table(table: &'static [Embedded]) -> Self {
        debug_assert!(table.is_sorted_by_key(|file| file.path));
        Self {
            source: Source::Table(table),
        }
    }

    /// The files of a directory, as they are at each request.
    pub fn directory(path: impl Into<PathBuf>) -> Result<Self, DirectoryError> {
        Ok(Self {
            source: Source::Directory(Directory::open(path.into())?),
        })
    }

    /// Whether these are our own pages, which our own Content-Security-Policy fits.
    pub fn is_built_in(&self) -> bool {
        matches!(self.source, Source::Table(_))
    }

    /// A file of the operator's as text, to be filled in rather than shown; `None` if there is no
    /// such file.
    pub async fn template(&self, path: &'static str) -> io::Result<Option<String>> {
        let Source::Directory(directory) = &self.source else {
            return Ok(None);
        };
        let directory = directory.clone();
        tokio::task::spawn_blocking(move || match directory.find(path)? {
            Lookup::Found(Found {
                content: Content::File(file, length),
                ..
            }) if length <= MAX_TEMPLATE => io::read_to_string(file.take(length)).map(Some),
            Lookup::Found(_) => Err(io::ErrorKind::FileTooLarge.into()),
            Lookup::IsDirectory | Lookup::Missing => Ok(None),
        })
        .await
        .unwrap_or_else(|ended| Err(io::Error::other(ended)))
    }

    /// Looks up a decoded path without its leading slash, as [`crate::http::router`] hands it out:
    /// a path that ends with a slash means the `index.html` there, and `about` finds `about.html`.
    pub async fn find(&self, path: &str, accepted: Accepted) -> io::Result<Lookup> {
        match &self.source {
            Source::Table(table) => Ok(find_embedded(table, path, accepted)),
            Source::Directory(directory) => {
                let (directory, path) = (directory.clone(), path.to_owned());
                // Disks may be slow, and network file systems may hang.
                tokio::task::spawn_blocking(move || directory.find(&path))
                    .await
                    .unwrap_or_else(|ended| Err(io::Error::other(ended)))
            }
        }
    }
}

/// Far larger than any page made by hand.
const MAX_TEMPLATE: u64 = 1 << 20;

fn find_embedded(table: &'static [Embedded], path: &str, accepted: Accepted) -> Lookup {
    let entry = |path: &str| {
        table
            .binary_search_by_key(&path, |file| file.path)
            .ok()
            .and_then(|index| table.get(index))
    };
    let found = entry(path).or_else(|| alternative(path).and_then(|path| entry(&path)));
    let Some(file) = found else {
        let below = format!("{path}/index.html");
        return match entry(&below) {
            Some(_) => Lookup::IsDirectory,
            None => Lookup::Missing,
        };
    };
    let encoding = accepted.choose(file.brotli.is_some(), file.gzip.is_some());
    let variant = match encoding {
        Encoding::Brotli => file.brotli.as_ref(),
        Encoding::Gzip => file.gzip.as_ref(),
        Encoding::Identity => None,
    };
    let variant = variant.unwrap_or(&file.identity);
    Lookup::Found(Found {
        content_type: file.content_type,
        etag: Cow::Borrowed(variant.etag),
        modified: None,
        encoding,
        varies: file.brotli.is_some() || file.gzip.is_some(),
        content: Content::Static(variant.bytes),
    })
}

/// The file that a path without a file name, or without an extension, stands for.
fn alternative(path: &str) -> Option<String> {
    if path.is_empty() || path.ends_with('/') {
        return Some(format!("{path}index.html"));
    }
    let name = path.rsplit('/').next().unwrap_or(path);
    (!name.contains('.')).then(|| format!("{path}.html"))
}

#[cfg(test)]
mod tests;
