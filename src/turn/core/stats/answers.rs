//! Answers, counted by method and by what they said.

use crate::turn::stun::{ErrorCode, Method};

/// The methods that are answered, and how the metrics page calls them.
const METHODS: [(Method, &str); 7] = [
    (Method::BINDING, "binding"),
    (Method::ALLOCATE, "allocate"),
    (Method::REFRESH, "refresh"),
    (Method::CREATE_PERMISSION, "create_permission"),
    (Method::CHANNEL_BIND, "channel_bind"),
    (Method::CONNECT, "connect"),
    (Method::CONNECTION_BIND, "connection_bind"),
];

/// Success first, then the error codes in the order of [`ErrorCode::ALL`].
const OUTCOMES: usize = 1 + ErrorCode::ALL.len();

/// How many answers there were of each kind.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Answers([[u64; OUTCOMES]; METHODS.len()]);

impl Answers {
    /// Counts a success.
    pub(in crate::turn::core) fn success(&mut self, method: Method) {
        self.count(method, 0);
    }

    /// Counts an error.
    pub(in crate::turn::core) fn error(&mut self, method: Method, code: ErrorCode) {
        if let Some(at) = ErrorCode::ALL.iter().position(|known| *known == code) {
            self.count(method, 1 + at);
        }
    }

    fn count(&mut self, method: Method, outcome: usize) {
        let row = METHODS.iter().position(|(known, _)| *known == method);
        if let Some(counter) = row
            .and_then(|row| self.0.get_mut(row))
            .and_then(|row| row.get_mut(outcome))
        {
            *counter += 1;
        }
    }

    /// How often requests of a method succeeded.
    pub fn successes(&self, method: Method) -> u64 {
        self.iter()
            .find(|row| row.method == method && row.code.is_none())
            .map_or(0, |row| row.count)
    }

    /// Every kind, those that never happened among them.
    pub fn iter(&self) -> impl Iterator<Item = Row> + '_ {
        METHODS
            .iter()
            .zip(&self.0)
            .flat_map(|((method, name), row)| {
                row.iter().enumerate().map(|(at, count)| Row {
                    method: *method,
                    name,
                    code: at
                        .checked_sub(1)
                        .and_then(|at| ErrorCode::ALL.get(at))
                        .copied(),
                    count: *count,
                })
            })
    }

    /// Adds what another has counted.
    pub fn add(&mut self, other: &Self) {
        for (mine, theirs) in self.0.iter_mut().flatten().zip(other.0.iter().flatten()) {
            *mine += theirs;
        }
    }
}

/// One kind of answer.
#[derive(Clone, Copy, Debug)]
pub struct Row {
    /// What was asked.
    pub method: Method,
    /// The same in lower case.
    pub name: &'static str,
    /// The error; `None`: success.
    pub code: Option<ErrorCode>,
    /// How often.
    pub count: u64,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_are_counted_by_method_and_code_and_added_up() {
        let mut answers = Answers::default();
        answers.success(Method::BINDING);
        answers.error(Method::ALLOCATE, ErrorCode::Unauthenticated);
        answers.error(Method::ALLOCATE, ErrorCode::Unauthenticated);
        answers.error(Method::new(0xABC), ErrorCode::BadRequest);
        let mut all = answers;
        all.add(&answers);
        assert_eq!(all.successes(Method::BINDING), 2);
        let seen: Vec<_> = all
            .iter()
            .filter(|row| row.count > 0)
            .map(|row| (row.name, row.code.map(ErrorCode::value), row.count))
            .collect();
        assert_eq!(seen, [("binding", None, 2), ("allocate", Some(401), 4)]);
    }
}
