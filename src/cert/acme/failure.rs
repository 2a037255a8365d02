//! Why there is no new certificate, in words that help.

use std::time::Duration;

use rustls_acme::acme::{AcmeError, Identifier, Problem};
use rustls_acme::{EventError, OrderError};

use super::cache::CacheError;
use crate::config::settings::Challenge;

/// An order that led to nothing.
#[derive(Debug)]
pub(super) enum Failure {
    /// No event for this long.
    Silent(Duration),
    /// The engine's, or the cache's through the engine.
    Order(Box<EventError<CacheError, CacheError>>),
    /// What was issued, good until then, is due for renewal already.
    Clock(String),
}

/// More of what a stranger sends is not worth a line of the log.
const LONGEST: usize = 600;

impl Failure {
    /// One line: what happened, and where it is known, what to do.
    pub(super) fn explain(&self, challenge: Challenge) -> String {
        let text = match self {
            Self::Silent(time) => format!(
                "the authority has not answered for {} minutes",
                time.as_secs() / 60
            ),
            Self::Clock(until) => format!(
                "a certificate was issued, but by this machine's clock it is at its end ({until}): is the clock right?"
            ),
            Self::Order(error) => match &**error {
                EventError::Order(error) => order(error, challenge),
                error => error.to_string(),
            },
        };
        // The log is made of lines.
        let clean = text.chars().map(|c| if c.is_control() { ' ' } else { c });
        clean.take(LONGEST).collect()
    }
}

fn order(error: &OrderError, challenge: Challenge) -> String {
    match error {
        OrderError::BadAuth(auth) => {
            let Identifier::Dns(name) = &auth.identifier;
            let problem = auth
                .challenges
                .iter()
                .find_map(|tried| tried.error.as_ref());
            let said = problem.map_or_else(|| format!("{:?}", auth.status), text);
            let kind = problem.and_then(|problem| problem.typ.as_deref());
            format!(
                "the authority could not make sure that {name} is ours: {said}{}",
                hint(kind.unwrap_or("unauthorized"), challenge)
            )
        }
        OrderError::BadOrder(order) => {
            let said = order.error.as_ref().map_or_else(String::new, text);
            format!("the authority rejected the order: {said}")
        }
        OrderError::TooManyAttemptsAuth(name) => format!(
            "the authority never came to see whether {name} is ours{}",
            hint("connection", challenge)
        ),
        OrderError::Acme(AcmeError::HttpRequest(error)) => {
            let said = error.to_string();
            match refused(&said) {
                Some(problem) => {
                    let kind = problem.typ.as_deref().unwrap_or_default();
                    format!(
                        "the authority refused: {}{}",
                        text(&problem),
                        hint(kind, challenge)
                    )
                }
                None => format!("the authority cannot be asked: {said}"),
            }
        }
        OrderError::Acme(AcmeError::Io(error)) => {
            format!("the authority cannot be asked: {error}")
        }
        error => error.to_string(),
    }
}

/// The engine has only text for an answer that is not a success: the status, and the body as a
/// string literal.
fn refused(said: &str) -> Option<Problem> {
    let body = said.get(said.find('"')?..)?;
    let body: String = serde_json::from_str(body).ok()?;
    serde_json::from_str(&body).ok()
}

fn text(problem: &Problem) -> String {
    let kind = problem.typ.as_deref().map(short).unwrap_or_default();
    let detail = problem.detail.as_deref().unwrap_or_default();
    format!("{kind}: {detail}")
}

/// `urn:ietf:params:acme:error:dns` -> `dns`
fn short(kind: &str) -> &str {
    kind.rsplit(':').next().unwrap_or(kind)
}

fn hint(kind: &str, challenge: Challenge) -> &'static str {
    match (short(kind), challenge) {
        ("dns", _) => {
            "; does the name lead to this machine, over IPv6 too if it has such an address?"
        }
        ("connection" | "unauthorized" | "tls", Challenge::TlsAlpn01) => {
            "; the name must lead here, and TCP port 443 must reach this process with nothing in between that ends TLS"
        }
        ("connection" | "unauthorized" | "tls", Challenge::Http01) => {
            "; the name must lead here, and TCP port 80 must reach this process"
        }
        ("caa", _) => "; a CAA record of the domain allows other authorities only",
        ("rateLimited", _) => "; nothing helps but waiting",
        ("externalAccountRequired", _) => {
            "; accounts that are registered elsewhere first are not supported: use another authority"
        }
        ("badNonce", _) => "; the next attempt may well succeed",
        _ => "",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_in_the_engines_words_is_taken_apart() {
        let said = "non 2xx http status: 400 \"{\\n \\\"type\\\": \\\"urn:ietf:params:acme:error:badNonce\\\",\\n \\\"detail\\\": \\\"JWS has an invalid anti-replay nonce\\\"}\"";
        let problem = refused(said).unwrap();
        assert_eq!(
            text(&problem),
            "badNonce: JWS has an invalid anti-replay nonce"
        );
        assert!(refused("io error: refused").is_none());
        assert!(refused("non 2xx http status: 502 \"<html>\"").is_none());
    }

    #[test]
    fn a_stranger_cannot_write_lines_into_the_log() {
        let failure = Failure::Clock(format!("x\ny\u{1b}[31m{}", "z".repeat(10_000)));
        let text = failure.explain(Challenge::TlsAlpn01);
        assert!(!text.contains(char::is_control));
        assert_eq!(text.chars().count(), LONGEST);
    }

    #[test]
    fn what_to_do_depends_on_the_challenge() {
        let kind = "urn:ietf:params:acme:error:connection";
        assert!(hint(kind, Challenge::TlsAlpn01).contains("443"));
        assert!(hint(kind, Challenge::Http01).contains("80"));
        assert_eq!(
            hint(
                "urn:ietf:params:acme:error:orderNotReady",
                Challenge::Http01
            ),
            ""
        );
    }
}
