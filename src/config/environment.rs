//! `CALLBOX_...` variables -> tree.
//!
//! A variable is text; the shape of its key decides what the text becomes. So a secret of digits
//! stays text, and a list may be written as TOML, with commas, or as its only element.

use std::ffi::{OsStr, OsString};

use super::document::Document;
use super::file::{KEYS, Key, PREFIX, Shape};
use super::nearest::nearest;
use super::report::{Origin, Problem};
use super::value::{Table, Value};

/// What the environment says.
#[derive(Debug, Default)]
pub(super) struct Environment {
    /// The tree.
    pub(super) root: Table,
    /// Variables that are wrong.
    pub(super) problems: Vec<Problem>,
    /// Variables that begin like ours and are none of ours.
    pub(super) ignored: Vec<String>,
}

impl Environment {
    /// Picks our variables out of all.
    pub(super) fn read(variables: &[(OsString, OsString)]) -> Self {
        let mut environment = Self::default();
        for (name, value) in variables {
            if let Some(name) = name.to_str().filter(|name| name.starts_with(PREFIX)) {
                environment.variable(name, value);
            }
        }
        environment
    }

    fn variable(&mut self, name: &str, value: &OsStr) {
        let Some(key) = KEYS.iter().find(|key| key.variable() == name) else {
            return self.unknown(name);
        };
        let mut wrong = |what: &str| {
            self.problems.push(Problem {
                origin: Origin::Variable(name.to_owned()),
                key: key.path.to_owned(),
                what: what.to_owned(),
                meant: None,
            });
        };
        let Some(text) = value.to_str() else {
            return wrong("the variable is not UTF-8");
        };
        // `${NAME:-}` of a compose file leaves an empty variable where nothing is meant.
        if text.is_empty() {
            return;
        }
        match value_of(key, text) {
            Ok(value) => self.insert(key, value),
            Err(what) => wrong(&what),
        }
    }

    fn insert(&mut self, key: &Key, value: Value) {
        let table = match key.section() {
            None => &mut self.root,
            Some(section) => {
                let section = self.root.entry(section.to_owned());
                match section.or_insert_with(|| Value::Table(Table::new())) {
                    Value::Table(table) => table,
                    _ => return,
                }
            }
        };
        table.insert(key.name().to_owned(), value);
    }

    fn unknown(&mut self, name: &str) {
        let names: Vec<String> = KEYS.iter().map(Key::variable).collect();
        // The prefix is the same everywhere and would make everything look alike.
        let own = |name: &str| name.len().min(PREFIX.len());
        let meant = nearest(
            &name[own(name)..],
            names.iter().map(|name| &name[own(name)..]),
        )
        .map(|meant| format!("{PREFIX}{meant}"));
        // One `_` too few is the usual slip; `nearest` does not see underscores at all.
        if meant.is_none() && !name.contains("__") {
            // Container platforms and compose files use names of this form for their own ends.
            self.ignored.push(name.to_owned());
            return;
        }
        self.problems.push(Problem {
            origin: Origin::Variable(name.to_owned()),
            key: String::new(),
            what: "no such setting".to_owned(),
            meant,
        });
    }
}

fn value_of(key: &Key, text: &str) -> Result<Value, String> {
    let trimmed = text.trim();
    match key.shape {
        // Blanks belong to a secret.
        Shape::Text if key.secret => Ok(Value::Text(text.to_owned())),
        Shape::Text => Ok(Value::Text(trimmed.to_owned())),
        Shape::Number => Ok(trimmed
            .parse()
            .map_or_else(|_| Value::Text(trimmed.to_owned()), Value::Number)),
        Shape::Flag => Ok(match trimmed {
            "true" => Value::Flag(true),
            "false" => Value::Flag(false),
            other => Value::Text(other.to_owned()),
        }),
        // An address in brackets is no array, whatever it begins with.
        Shape::List if trimmed.starts_with('[') && trimmed.ends_with(']') && !is_ipv6(trimmed) => {
            toml_value(trimmed)
        }
        Shape::List => Ok(Value::List(
            trimmed
                .split(',')
                .map(str::trim)
                .filter(|item| !item.is_empty())
                .map(|item| Value::Text(item.to_owned()))
                .collect(),
        )),
        Shape::Tables(fields) => toml_value(trimmed).map_err(|_| {
            format!(
                "expected a TOML list of tables such as [{{ {} = \"...\" }}]",
                fields.first().unwrap_or(&"name")
            )
        }),
    }
}

fn is_ipv6(text: &str) -> bool {
    text.trim_matches(['[', ']'])
        .parse::<std::net::Ipv6Addr>()
        .is_ok()
}

fn toml_value(text: &str) -> Result<Value, String> {
    let document = Document::parse(&format!("value = {text}"));
    match document.errors.first() {
        Some((_, what)) => Err(format!("not a TOML list: {what}")),
        None => document
            .root
            .into_iter()
            .next()
            .filter(|(_, value)| matches!(value, Value::List(_)))
            .map(|(_, value)| value)
            .ok_or_else(|| "expected a list".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(variables: &[(&str, &str)]) -> Environment {
        let variables: Vec<_> = variables
            .iter()
            .map(|(name, value)| (OsString::from(name), OsString::from(value)))
            .collect();
        Environment::read(&variables)
    }

    fn value(name: &str, text: &str) -> Value {
        let environment = read(&[(name, text)]);
        assert_eq!(environment.problems, []);
        match environment.root.into_values().next() {
            Some(Value::Table(table)) => table.into_values().next().unwrap(),
            Some(value) => value,
            None => panic!("{name} is not ours"),
        }
    }

    fn texts(texts: &[&str]) -> Value {
        Value::List(
            texts
                .iter()
                .map(|text| Value::Text((*text).to_owned()))
                .collect(),
        )
    }

    #[test]
    fn digits_stay_text_where_text_is_wanted() {
        let text = |text: &str| Value::Text(text.to_owned());
        assert_eq!(value("CALLBOX_TURN__SECRET", "12345"), text("12345"));
        assert_eq!(value("CALLBOX_TURN__SECRET", " true "), text(" true "));
        assert_eq!(value("CALLBOX_TURN__REALM", "007"), text("007"));
        assert_eq!(value("CALLBOX_TURN__WORKERS", "3"), Value::Number(3));
        assert_eq!(
            value("CALLBOX_FRONT__REDIRECT", "false"),
            Value::Flag(false)
        );
    }

    #[test]
    fn lists_are_written_as_toml_with_commas_or_as_one_element() {
        assert_eq!(value("CALLBOX_HOST", "a.example"), texts(&["a.example"]));
        assert_eq!(
            value("CALLBOX_HOST", "a.example, b.example,"),
            texts(&["a.example", "b.example"])
        );
        assert_eq!(
            value("CALLBOX_HOST", "['a.example', \"b.example\"]"),
            texts(&["a.example", "b.example"])
        );
        assert_eq!(value("CALLBOX_HOST", "[]"), texts(&[]));
        assert_eq!(
            value("CALLBOX_FRONT__HTTPS", "[::]:443"),
            texts(&["[::]:443"])
        );
        assert_eq!(
            value("CALLBOX_FRONT__HTTPS", "[::1]:443,[::]:1"),
            texts(&["[::1]:443", "[::]:1"])
        );
        assert_eq!(value("CALLBOX_HOST", "[::1]"), texts(&["[::1]"]));
    }

    #[test]
    fn an_empty_variable_says_nothing() {
        assert!(read(&[("CALLBOX_TURN__REALM", "")]).root.is_empty());
    }

    #[test]
    fn a_misspelt_variable_is_an_error_and_a_foreign_one_is_not() {
        let environment = read(&[
            ("CALLBOX_TURN_REALM", "x"),
            ("CALLBOX_TURN__COLOUR", "x"),
            ("CALLBOX_PORT_443_TCP_ADDR", "x"),
            ("OTHER_TURN__REALM", "x"),
        ]);
        let problems: Vec<_> = environment
            .problems
            .iter()
            .map(Problem::to_string)
            .collect();
        assert_eq!(
            problems,
            [
                "CALLBOX_TURN_REALM: no such setting, did you mean \"CALLBOX_TURN__REALM\"?",
                "CALLBOX_TURN__COLOUR: no such setting",
            ]
        );
        assert_eq!(environment.ignored, ["CALLBOX_PORT_443_TCP_ADDR"]);
    }

    #[test]
    fn a_broken_list_is_an_error_that_names_the_variable() {
        let environment = read(&[
            ("CALLBOX_HOST", "['a.example]"),
            ("CALLBOX_TURN__STATIC_USERS", "bob"),
        ]);
        let problems: Vec<_> = environment
            .problems
            .iter()
            .map(Problem::to_string)
            .collect();
        assert_eq!(problems.len(), 2);
        assert!(
            problems[0].starts_with("CALLBOX_HOST: host: not a TOML list"),
            "{problems:?}"
        );
        assert!(problems[1].starts_with(
            "CALLBOX_TURN__STATIC_USERS: turn.static_users: expected a TOML list of tables"
        ));
    }
}
