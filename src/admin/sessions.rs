//! `/sessions`: what is going on, page by page, and `DELETE /sessions/{id}`, which ends one of it.
//! Where the sessions come from is the composition root's.

use std::future::Future;
use std::pin::Pin;

use hyper::StatusCode;
use serde_json::Value;

use super::{Answer, respond, text};

/// Sessions on a page, unless asked otherwise, and at most.
const PAGE: usize = 100;
const MAX_PAGE: usize = 500;

/// What takes its time.
pub type Later<'a, T> = Pin<Box<dyn Future<Output = Result<T, Failure>> + Send + 'a>>;

/// Everything that goes on.
pub trait Sessions: Send + Sync {
    /// A page of it, as JSON.
    fn page(&self, wish: Wish) -> Later<'_, Value>;

    /// Ends the session of that name.
    fn end(&self, id: String) -> Later<'_, ()>;
}

/// Which page.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Wish {
    /// Of everything or of one kind.
    pub only: Option<Kind>,
    /// Where an earlier page said that this one begins.
    pub cursor: Option<String>,
    /// Sessions on it at most.
    pub limit: usize,
}

/// What a session is of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// TURN.
    Allocations,
    /// Signaling.
    Rooms,
}

/// Why there is no answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Failure {
    /// The cursor is none of ours.
    #[error("this is no cursor: begin without one")]
    Cursor,
    /// There is no session of that name.
    #[error("there is no such session (any more)")]
    Unknown,
    /// Whoever knows was too busy.
    #[error("too busy to answer in time: ask again")]
    Busy,
}

impl Wish {
    /// Reads a query. What it does not know it refuses, so that a slip of the pen is noticed.
    pub(super) fn of(query: &str) -> Result<Self, &'static str> {
        let mut wish = Self {
            only: None,
            cursor: None,
            limit: PAGE,
        };
        for pair in query.split('&').filter(|pair| !pair.is_empty()) {
            match pair.split_once('=').unwrap_or((pair, "")) {
                ("limit", text) => {
                    let limit = text
                        .parse()
                        .ok()
                        .filter(|limit| (1..=MAX_PAGE).contains(limit));
                    wish.limit = limit.ok_or("limit is a number from 1 to 500\n")?;
                }
                ("cursor", text) => wish.cursor = Some(text.to_owned()),
                ("only", "allocations") => wish.only = Some(Kind::Allocations),
                ("only", "rooms") => wish.only = Some(Kind::Rooms),
                ("only", _) => return Err("only=allocations or only=rooms\n"),
                _ => return Err("known are: limit, cursor, only\n"),
            }
        }
        Ok(wish)
    }
}

pub(super) async fn list(sessions: &dyn Sessions, query: &str) -> Answer {
    let wish = match Wish::of(query) {
        Ok(wish) => wish,
        Err(why) => return text(StatusCode::BAD_REQUEST, why),
    };
    match sessions.page(wish).await {
        Ok(page) => respond(StatusCode::OK, "application/json", format!("{page:#}\n")),
        Err(failure) => fail(failure),
    }
}

pub(super) async fn end(sessions: &dyn Sessions, id: &str) -> Answer {
    match sessions.end(id.to_owned()).await {
        Ok(()) => text(StatusCode::OK, "ended\n"),
        Err(failure) => fail(failure),
    }
}

fn fail(failure: Failure) -> Answer {
    let status = match failure {
        Failure::Cursor => StatusCode::BAD_REQUEST,
        Failure::Unknown => StatusCode::NOT_FOUND,
        Failure::Busy => StatusCode::SERVICE_UNAVAILABLE,
    };
    respond(status, "text/plain; charset=utf-8", format!("{failure}\n"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_is_bounded_and_a_slip_is_noticed() {
        let wish = Wish::of("").unwrap();
        assert_eq!((wish.only, wish.cursor, wish.limit), (None, None, PAGE));
        let wish = Wish::of("only=rooms&cursor=r1&limit=500").unwrap();
        assert_eq!(wish.only, Some(Kind::Rooms));
        assert_eq!((wish.cursor.as_deref(), wish.limit), (Some("r1"), MAX_PAGE));
        for wrong in ["limit=0", "limit=501", "limit=", "only=calls", "page=2"] {
            assert!(Wish::of(wrong).is_err(), "{wrong}");
        }
    }
}
