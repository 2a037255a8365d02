//! Tree -> value, for one key: the step between "a list of texts" and "addresses".
//!
//! Each function here makes a reader for a kind of value; `build` says which key has which.

use std::ops::RangeInclusive;

use super::nearest::nearest;
use super::text::TextError;
use super::value::Value;

/// What is wrong inside a value.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Wrong {
    /// Where inside: empty, `[1]`, `[0].urls`.
    pub(super) at: String,
    /// What.
    pub(super) what: String,
    /// What was probably meant.
    pub(super) meant: Option<String>,
}

impl Wrong {
    /// Something wrong with the whole value.
    pub(super) fn new(what: impl Into<String>) -> Self {
        Self {
            at: String::new(),
            what: what.into(),
            meant: None,
        }
    }

    /// The same, seen from one level further up.
    fn inside(mut self, outer: &str) -> Self {
        self.at.insert_str(0, outer);
        self
    }
}

/// A value, or everything that is wrong with it.
pub(super) type Parsed<T> = Result<T, Vec<Wrong>>;

/// One thing wrong.
pub(super) fn wrong<T>(what: impl Into<String>) -> Parsed<T> {
    Err(vec![Wrong::new(what)])
}

/// Text in the form that `parse` knows.
pub(super) fn text<T>(
    parse: impl Fn(&str) -> Result<T, TextError>,
) -> impl Fn(&Value) -> Parsed<T> {
    move |value| match value {
        Value::Text(text) => parse(text).or_else(|error| {
            wrong(match error {
                TextError::Form(_) => format!("{error}, found {text:?}"),
                TextError::Value(_) => error.to_string(),
            })
        }),
        // A number where text is wanted: the parser knows what the text should look like.
        other => match parse("") {
            Err(error @ TextError::Form(_)) => {
                wrong(format!("{error}, found {}", other.describe()))
            }
            _ => wrong(format!(
                "expected text in quotes, found {}",
                other.describe()
            )),
        },
    }
}

/// Any text but none at all.
pub(super) fn words(text: &str) -> Result<String, TextError> {
    match text.trim().is_empty() {
        true => Err(TextError::Form("text in quotes")),
        false => Ok(text.to_owned()),
    }
}

/// A list of what `item` reads. A single text is a list of one.
pub(super) fn list<T>(item: impl Fn(&Value) -> Parsed<T>) -> impl Fn(&Value) -> Parsed<Vec<T>> {
    move |value| match value {
        Value::List(values) => {
            let mut items = Vec::with_capacity(values.len());
            let mut wrongs = Vec::new();
            for (index, value) in values.iter().enumerate() {
                match item(value) {
                    Ok(value) => items.push(value),
                    Err(inner) => {
                        wrongs.extend(inner.into_iter().map(|w| w.inside(&format!("[{index}]"))));
                    }
                }
            }
            if wrongs.is_empty() {
                Ok(items)
            } else {
                Err(wrongs)
            }
        }
        Value::Text(_) => item(value).map(|item| vec![item]),
        other => wrong(format!("expected a list, found {}", other.describe())),
    }
}

/// A whole number within bounds.
pub(super) fn number<T: TryFrom<i128>>(
    bounds: RangeInclusive<i128>,
) -> impl Fn(&Value) -> Parsed<T> {
    move |value| {
        let Value::Number(number) = value else {
            return wrong(format!("expected a number, found {}", value.describe()));
        };
        if bounds.contains(number)
            && let Ok(number) = T::try_from(*number)
        {
            return Ok(number);
        }
        wrong(format!(
            "{number} is not between {} and {}",
            bounds.start(),
            bounds.end()
        ))
    }
}

/// `true` or `false`.
pub(super) fn flag(value: &Value) -> Parsed<bool> {
    match value {
        Value::Flag(flag) => Ok(*flag),
        other => wrong(format!(
            "expected true or false, found {}",
            other.describe()
        )),
    }
}

/// One of a few words.
pub(super) fn choice<T: Copy>(words: &[(&'static str, T)]) -> impl Fn(&Value) -> Parsed<T> {
    move |value| {
        if let Value::Text(text) = value
            && let Some((_, meaning)) = words.iter().find(|(word, _)| word == text)
        {
            return Ok(*meaning);
        }
        let names = words.iter().map(|(word, _)| *word);
        let mut quoted: Vec<_> = names.clone().map(|word| format!("\"{word}\"")).collect();
        let last = quoted.pop().unwrap_or_default();
        let meant = match value {
            Value::Text(text) => nearest(text, names).map(str::to_owned),
            _ => None,
        };
        Err(vec![Wrong {
            at: String::new(),
            what: format!(
                "expected {} or {last}, found {}",
                quoted.join(", "),
                value.describe()
            ),
            meant,
        }])
    }
}

/// The fields of a table in a list; unknown fields are wrong.
pub(super) struct Fields<'a> {
    value: &'a Value,
    wrongs: Vec<Wrong>,
}

impl<'a> Fields<'a> {
    /// Opens the table.
    pub(super) fn of(value: &'a Value, names: &'static [&'static str]) -> Parsed<Self> {
        let Value::Table(table) = value else {
            return wrong(format!("expected a table, found {}", value.kind()));
        };
        let unknown = table.keys().filter(|name| !names.contains(&name.as_str()));
        let wrongs = unknown
            .map(|name| Wrong {
                at: format!(".{name}"),
                what: "unknown key".to_owned(),
                meant: nearest(name, names.iter().copied()).map(str::to_owned),
            })
            .collect();
        Ok(Self { value, wrongs })
    }

    /// A field that may be absent.
    pub(super) fn get<T>(&mut self, name: &str, read: impl Fn(&Value) -> Parsed<T>) -> Option<T> {
        let Value::Table(table) = self.value else {
            return None;
        };
        match read(table.get(name)?) {
            Ok(value) => Some(value),
            Err(wrongs) => {
                let at = format!(".{name}");
                self.wrongs
                    .extend(wrongs.into_iter().map(|w| w.inside(&at)));
                None
            }
        }
    }

    /// Whether the field was written, right or wrong.
    pub(super) fn has(&self, name: &str) -> bool {
        matches!(self.value, Value::Table(table) if table.contains_key(name))
    }

    /// Notes something wrong with the table.
    pub(super) fn complain(&mut self, what: impl Into<String>) {
        self.wrongs.push(Wrong::new(what));
    }

    /// What the fields make, unless something was wrong with one of them.
    pub(super) fn finish<T>(self, made: Option<T>) -> Parsed<T> {
        match made {
            Some(made) if self.wrongs.is_empty() => Ok(made),
            _ => Err(self.wrongs),
        }
    }
}
