//! What can go wrong between us and the application: what the visitor is told, which is little, and
//! what the operator's log says, which is what to look at.

use std::error::Error as _;
use std::io;
use std::time::Duration;

use hyper::header::{CONTENT_TYPE, HeaderValue, RETRY_AFTER};
use hyper::{Response, StatusCode};

use super::body::Late;
use crate::http::body::Answer;
use crate::http::page;

/// Why there is no answer of the application.
#[derive(Debug, thiserror::Error)]
pub(super) enum Failure {
    /// Its name has no address.
    #[error("its name cannot be resolved: {0}")]
    Unresolved(#[source] io::Error),
    /// Nobody takes the connection.
    #[error("cannot connect: {0}")]
    Refused(#[source] io::Error),
    /// Nobody takes it within the time.
    #[error("no connection within connect_timeout ({0:?})")]
    ConnectTimeout(Duration),
    /// It does not read.
    #[error("takes no more of the request; send_timeout passed")]
    SendTimeout,
    /// It does not answer.
    #[error("sends nothing; read_timeout ({0:?}) passed")]
    ReadTimeout(Duration),
    /// It closed the connection, or what it says is not HTTP.
    #[error("{}", chain(.0))]
    Broken(#[source] hyper::Error),
    /// It changed to a protocol that nobody had asked for.
    #[error("answered 101 to a request that was no upgrade")]
    Unasked,
    /// Everybody is waiting for it already.
    #[error("max_connections ({0}) requests are under way and none has ended")]
    Busy(usize),
    /// This visitor has many requests under way.
    #[error("one visitor has half of max_connections under way")]
    Greedy,
    /// The visitor did not send what was announced.
    #[error("the visitor was too slow with the body of the request")]
    SlowVisitor,
    /// The visitor sent half of it and went, or sent what is no body.
    #[error("the visitor's request broke off")]
    BrokenVisitor,
}

/// Whose fault it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fault {
    /// The application's: the operator wants to know.
    Application,
    /// Too many visitors at a time, or too few places.
    Crowd,
    /// The visitor's.
    Visitor,
}

impl Failure {
    /// Tells the kinds of the library's errors apart.
    pub(super) fn of(error: hyper::Error) -> Self {
        let mut source = error.source();
        while let Some(cause) = source {
            if let Some(late) = cause.downcast_ref::<Late>() {
                return match late {
                    Late::Visitor => Self::SlowVisitor,
                    Late::Application => Self::SendTimeout,
                };
            }
            // An error in an error of IO is not its source but what it is.
            if let Some(inner) = cause
                .downcast_ref::<io::Error>()
                .and_then(io::Error::get_ref)
                && inner.is::<Late>()
            {
                return Self::SendTimeout;
            }
            source = cause.source();
        }
        match error.is_user() {
            true => Self::BrokenVisitor,
            false => Self::Broken(error),
        }
    }

    pub(super) fn fault(&self) -> Fault {
        match self {
            Self::Busy(_) | Self::Greedy => Fault::Crowd,
            Self::SlowVisitor | Self::BrokenVisitor => Fault::Visitor,
            _ => Fault::Application,
        }
    }

    /// What the visitor sees: nothing of where the application is, or what it is.
    pub(super) fn page(&self) -> Response<Answer> {
        let status = match self {
            Self::ConnectTimeout(_) | Self::SendTimeout | Self::ReadTimeout(_) => {
                StatusCode::GATEWAY_TIMEOUT
            }
            Self::Unresolved(_) | Self::Refused(_) | Self::Broken(_) | Self::Unasked => {
                StatusCode::BAD_GATEWAY
            }
            Self::Busy(_) | Self::Greedy => StatusCode::SERVICE_UNAVAILABLE,
            Self::SlowVisitor => {
                return page::text(StatusCode::REQUEST_TIMEOUT, "Too slow\n");
            }
            Self::BrokenVisitor => {
                return page::text(StatusCode::BAD_REQUEST, "The request broke off\n");
            }
        };
        let mut response = page::text(status, PAGE);
        let headers = response.headers_mut();
        headers.insert(
            CONTENT_TYPE,
            HeaderValue::from_static("text/html; charset=utf-8"),
        );
        if status == StatusCode::SERVICE_UNAVAILABLE {
            headers.insert(RETRY_AFTER, HeaderValue::from_static(RETRY));
        }
        response
    }
}

/// Seconds until a crowd may have dispersed.
const RETRY: &str = "2";

const PAGE: &str = "<!doctype html>\n<html lang=\"en\">\n<meta charset=\"utf-8\">\n\
    <meta name=\"viewport\" content=\"width=device-width\">\n<title>Not available</title>\n\
    <h1>This page is not available right now</h1>\n\
    <p>The application behind it does not answer. Please try again in a moment.</p>\n</html>\n";

/// The library's errors say what happened, and their sources why.
fn chain(error: &hyper::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text.push_str(": ");
        text.push_str(&cause.to_string());
        source = cause.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use hyper::body::Body as _;

    #[test]
    fn the_visitor_learns_nothing_about_the_application() {
        let refused = || io::Error::other("10.1.2.3:3000 said no");
        for (failure, status) in [
            (Failure::Unresolved(refused()), 502),
            (Failure::Refused(refused()), 502),
            (Failure::Unasked, 502),
            (Failure::ConnectTimeout(Duration::from_secs(5)), 504),
            (Failure::ReadTimeout(Duration::from_secs(5)), 504),
            (Failure::SendTimeout, 504),
            (Failure::Busy(7), 503),
            (Failure::Greedy, 503),
            (Failure::SlowVisitor, 408),
            (Failure::BrokenVisitor, 400),
        ] {
            let page = failure.page();
            assert_eq!(page.status().as_u16(), status, "{failure}");
            assert_eq!(page.headers()["cache-control"], "no-store");
            assert_eq!(page.headers().contains_key("retry-after"), status == 503);
            if status >= 500 {
                assert_eq!(page.body().size_hint().exact(), Some(PAGE.len() as u64));
            }
        }
        for secret in ["10.1", "3000", "upstream", "proxy", "timeout"] {
            assert!(!PAGE.contains(secret));
        }
    }
}
