//! TOML text -> tree, and the line of everything in it.
//!
//! Knows no key: what the tree should hold is decided in `file` and `build`.

use std::collections::HashMap;

use toml::de::{DeTable, DeValue};

use super::value::{Table, Value};

/// A parsed text.
#[derive(Debug, Default)]
pub(super) struct Document {
    /// What the text says, as far as it could be read.
    pub(super) root: Table,
    /// Where it is not TOML: line and reason.
    pub(super) errors: Vec<(usize, String)>,
    lines: HashMap<String, usize>,
}

impl Document {
    /// Reads everything that can be read and notes the rest as errors.
    pub(super) fn parse(text: &str) -> Self {
        // Editors on Windows put a byte order mark in front.
        let text = text.strip_prefix('\u{feff}').unwrap_or(text);
        let starts = LineStarts::of(text);
        let (table, errors) = DeTable::parse_recoverable(text);
        let mut lines = HashMap::new();
        let root = convert_table(table.get_ref(), "", &starts, &mut lines);
        let errors = errors
            .iter()
            .map(|error| {
                let line = error.span().map_or(1, |span| starts.line(span.start));
                (line, error.message().to_owned())
            })
            .collect();
        Self {
            root,
            errors,
            lines,
        }
    }

    /// The line of `turn.listen[1]`, or of the nearest thing around it that has one.
    pub(super) fn line(&self, path: &str) -> Option<usize> {
        let mut path = path;
        loop {
            if let Some(line) = self.lines.get(path) {
                return Some(*line);
            }
            path = &path[..path.rfind(['.', '['])?];
        }
    }
}

/// Offsets at which lines begin.
struct LineStarts(Vec<usize>);

impl LineStarts {
    fn of(text: &str) -> Self {
        let after = text.match_indices('\n').map(|(at, _)| at + 1);
        Self(std::iter::once(0).chain(after).collect())
    }

    fn line(&self, offset: usize) -> usize {
        self.0.partition_point(|start| *start <= offset)
    }
}

fn convert_table(
    table: &DeTable<'_>,
    path: &str,
    starts: &LineStarts,
    lines: &mut HashMap<String, usize>,
) -> Table {
    let mut converted = Table::new();
    for (key, value) in table.iter() {
        let name = key.get_ref().as_ref();
        let path = match path {
            "" => name.to_owned(),
            _ => format!("{path}.{name}"),
        };
        lines.insert(path.clone(), starts.line(key.span().start));
        let value = convert(value.get_ref(), &path, starts, lines);
        converted.insert(name.to_owned(), value);
    }
    converted
}

fn convert(
    value: &DeValue<'_>,
    path: &str,
    starts: &LineStarts,
    lines: &mut HashMap<String, usize>,
) -> Value {
    match value {
        DeValue::String(text) => Value::Text(text.clone().into_owned()),
        DeValue::Integer(integer) => i128::from_str_radix(integer.as_str(), integer.radix())
            .map_or(
                Value::Other("a number out of all proportion"),
                Value::Number,
            ),
        DeValue::Float(_) => Value::Other("a number with a fraction"),
        DeValue::Boolean(flag) => Value::Flag(*flag),
        DeValue::Datetime(_) => Value::Other("a date"),
        DeValue::Array(array) => {
            let mut list = Vec::with_capacity(array.len());
            for (index, item) in array.iter().enumerate() {
                let path = format!("{path}[{index}]");
                lines.insert(path.clone(), starts.line(item.span().start));
                list.push(convert(item.get_ref(), &path, starts, lines));
            }
            Value::List(list)
        }
        DeValue::Table(table) => Value::Table(convert_table(table, path, starts, lines)),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn every_key_and_every_element_has_its_line() {
        let document = Document::parse(
            "host = [\n  \"a.example\",\n  \"b.example\",\n]\n\n[turn]\nrealm = \"x\"\n\n\
             [[turn.static_users]]\nusername = \"u\"\n",
        );
        assert!(document.errors.is_empty());
        assert_eq!(document.line("host"), Some(1));
        assert_eq!(document.line("host[1]"), Some(3));
        assert_eq!(document.line("turn.realm"), Some(7));
        assert_eq!(document.line("turn.static_users[0].username"), Some(10));
        assert_eq!(document.line("turn.static_users[0].missing"), Some(9));
        assert_eq!(document.line("nothing"), None);
    }

    #[test]
    fn text_that_is_not_toml_is_an_error_with_its_line() {
        let document = Document::parse("host = [\"a\"]\nrealm = = 1\n");
        assert_eq!(document.errors.first().map(|error| error.0), Some(2));
        let document = Document::parse("a = 1\na = 2\n");
        assert_eq!(document.errors.first().map(|error| error.0), Some(2));
    }

    proptest! {
        #[test]
        fn no_text_breaks_the_reader(text in any::<String>()) {
            let document = Document::parse(&text);
            document.line("a.b[0].c");
        }

        #[test]
        fn nothing_that_looks_like_toml_breaks_the_reader(text in "[a-c=\\[\\]{}\".,\n 0-9#']{0,60}") {
            Document::parse(&text);
        }
    }
}
