//! Keys that nobody knows, and the keys that were probably meant.

use super::file::{self, KEYS};
use super::nearest::nearest;
use super::value::{Table, Value};

/// A key that cannot stay.
#[derive(Debug)]
pub(super) struct Unknown {
    /// Where it is: `turn.relm`.
    pub(super) path: String,
    /// What is wrong with it.
    pub(super) what: String,
    /// What was probably meant.
    pub(super) meant: Option<String>,
}

/// Every key of the file that is not in the table. The inside of a list is its reader's to judge.
pub(super) fn unknown(root: &Table) -> Vec<Unknown> {
    let mut unknown = Vec::new();
    let mut note = |path: &str, what: String, meant: Option<String>| {
        unknown.push(Unknown {
            path: path.to_owned(),
            what,
            meant,
        });
    };
    for (name, value) in root {
        if file::key(name).is_some_and(|key| key.section().is_none()) {
            continue;
        }
        if !file::sections().any(|section| section == name) {
            let meant = match value {
                Value::Table(_) => nearest(name, file::sections()).map(str::to_owned),
                _ => meant(None, name),
            };
            note(name, UNKNOWN.to_owned(), meant);
            continue;
        }
        let Value::Table(table) = value else {
            let what = format!("expected a section [{name}], found {}", value.kind());
            note(name, what, None);
            continue;
        };
        for inner in table.keys() {
            let path = format!("{name}.{inner}");
            if file::key(&path).is_none() {
                note(&path, UNKNOWN.to_owned(), meant(Some(name), inner));
            }
        }
    }
    unknown
}

const UNKNOWN: &str = "unknown key";

/// The key that was probably meant: one of the same section, else one of that name elsewhere.
fn meant(section: Option<&str>, name: &str) -> Option<String> {
    let siblings = KEYS.iter().filter(|key| key.section() == section);
    nearest(name, siblings.map(|key| key.name()))
        .map(str::to_owned)
        .or_else(|| {
            let elsewhere = KEYS.iter().find(|key| key.name() == name)?;
            Some(elsewhere.path.to_owned())
        })
}
