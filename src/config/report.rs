//! What is said about a configuration: where a value came from, what is wrong with one.

use std::fmt;
use std::path::PathBuf;

/// Where a value was written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Origin {
    /// Nowhere: it is the built-in one.
    Default,
    /// In the file, on this line.
    File {
        /// As it was given on the command line or found.
        path: PathBuf,
        /// Counted from one.
        line: usize,
    },
    /// In this environment variable.
    Variable(String),
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Default => f.write_str("default"),
            Self::File { path, line } => write!(f, "{}:{line}", path.display()),
            Self::Variable(name) => f.write_str(name),
        }
    }
}

/// One thing that is wrong, in one line: `file:line: key: what, did you mean "..."?`
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// Where.
    pub origin: Origin,
    /// Which key, with the place inside of it: `turn.listen[1]`. Empty: the text itself.
    pub key: String,
    /// What is wrong with it.
    pub what: String,
    /// What was probably meant.
    pub meant: Option<String>,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: ", self.origin)?;
        if !self.key.is_empty() {
            write!(f, "{}: ", self.key)?;
        }
        f.write_str(&self.what)?;
        if let Some(meant) = &self.meant {
            write!(f, ", did you mean \"{meant}\"?")?;
        }
        Ok(())
    }
}

/// A key with the value in force.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Effective {
    /// Differs when the value does, secrets included.
    pub(super) fingerprint: u64,
    /// `section.name`, or `name` at the top.
    pub key: &'static str,
    /// TOML, secrets redacted. `None`: there is no value, `note` says what happens.
    pub value: Option<String>,
    /// What a person should know besides.
    pub note: String,
    /// Where it came from.
    pub origin: Origin,
}
