//! A value as somebody wrote it: typed as far as TOML types go, not yet understood.
//!
//! The file, the environment and the defaults all become this tree; `build` makes sense of it.

use std::collections::BTreeMap;

/// A table: a section, or an entry of a list of tables.
pub(super) type Table = BTreeMap<String, Value>;

/// A value of the tree.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Value {
    /// Text in quotes, or an environment variable.
    Text(String),
    /// A whole number.
    Number(i128),
    /// `true` or `false`.
    Flag(bool),
    /// `[...]`
    List(Vec<Self>),
    /// `[section]` or `{...}`
    Table(Table),
    /// What no key takes: a float or a date. Holds its name for the error.
    Other(&'static str),
}

impl Value {
    /// What this is, for "expected ..., found ...".
    pub(super) fn describe(&self) -> String {
        match self {
            Self::Text(text) => format!("{text:?}"),
            Self::Number(number) => format!("the number {number}"),
            Self::Flag(flag) => flag.to_string(),
            Self::List(_) => "a list".to_owned(),
            Self::Table(_) => "a table".to_owned(),
            Self::Other(name) => (*name).to_owned(),
        }
    }

    /// The same without quoting it: for values that may be secret.
    pub(super) fn kind(&self) -> &'static str {
        match self {
            Self::Text(_) => "text",
            Self::Number(_) => "a number without quotes",
            Self::Flag(_) => "true or false",
            Self::List(_) => "a list",
            Self::Table(_) => "a table",
            Self::Other(name) => name,
        }
    }

    /// As TOML text on one line.
    pub(super) fn to_toml(&self) -> String {
        match self {
            Self::Text(text) => quote(text),
            Self::Number(number) => number.to_string(),
            Self::Flag(flag) => flag.to_string(),
            Self::List(list) => {
                let items: Vec<_> = list.iter().map(Self::to_toml).collect();
                format!("[{}]", items.join(", "))
            }
            Self::Table(table) => {
                let items: Vec<_> = table
                    .iter()
                    .map(|(key, value)| format!("{key} = {}", value.to_toml()))
                    .collect();
                format!("{{ {} }}", items.join(", "))
            }
            Self::Other(name) => quote(name),
        }
    }
}

/// A TOML basic string.
fn quote(text: &str) -> String {
    use std::fmt::Write as _;

    let mut quoted = String::with_capacity(text.len() + 2);
    quoted.push('"');
    for c in text.chars() {
        match c {
            '"' => quoted.push_str("\\\""),
            '\\' => quoted.push_str("\\\\"),
            '\n' => quoted.push_str("\\n"),
            '\t' => quoted.push_str("\\t"),
            '\r' => quoted.push_str("\\r"),
            c if c.is_control() => {
                let _ = write!(quoted, "\\u{:04X}", u32::from(c));
            }
            c => quoted.push(c),
        }
    }
    quoted.push('"');
    quoted
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::config::document::Document;

    proptest! {
        #[test]
        fn any_text_survives_being_written_and_read(text in any::<String>()) {
            let document = Document::parse(&format!("key = {}", Value::Text(text.clone()).to_toml()));
            prop_assert!(document.errors.is_empty());
            prop_assert_eq!(document.root.get("key"), Some(&Value::Text(text)));
        }
    }
}
