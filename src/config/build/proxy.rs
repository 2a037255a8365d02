//! `[[proxy]]`: paths that the operator's own applications answer.

use std::path::PathBuf;
use std::time::Duration;

use super::forms::positive_duration;
use crate::config::file::PROXY;
use crate::config::settings::{Proxy, Upstream};
use crate::config::shape::{Fields, Parsed, Wrong, list, number, text};
use crate::config::text::{self, TextError};
use crate::config::value::Value;

/// A connection on the same machine or network takes milliseconds.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// What nginx gives.
const IO_TIMEOUT: Duration = Duration::from_secs(60);
const MAX_CONNECTIONS: usize = 1024;

/// All of them.
pub(super) fn proxies(value: &Value) -> Parsed<Vec<Proxy>> {
    let proxies = list(proxy)(value)?;
    let twice: Vec<Wrong> = proxies
        .iter()
        .enumerate()
        .filter(|(index, proxy)| {
            proxies
                .iter()
                .take(*index)
                .any(|other| other.path == proxy.path)
        })
        .map(|(index, proxy)| Wrong {
            at: format!("[{index}].path"),
            what: format!("{:?} has a proxy already", proxy.path),
            meant: None,
        })
        .collect();
    match twice.is_empty() {
        true => Ok(proxies),
        false => Err(twice),
    }
}

fn proxy(value: &Value) -> Parsed<Proxy> {
    let mut fields = Fields::of(value, PROXY)?;
    let path = fields.get("path", text(path));
    let upstream = fields.get("upstream", text(upstream));
    for name in ["path", "upstream"] {
        if !fields.has(name) {
            fields.complain(format!("{name} is missing"));
        }
    }
    let mut time = |name, default| {
        let given = fields.get(name, text(positive_duration));
        given.unwrap_or(default)
    };
    let (connect_timeout, read_timeout, send_timeout) = (
        time("connect_timeout", CONNECT_TIMEOUT),
        time("read_timeout", IO_TIMEOUT),
        time("send_timeout", IO_TIMEOUT),
    );
    let upgrade_timeout = fields.get("upgrade_timeout", text(positive_duration));
    let max_connections = fields
        .get("max_connections", number(1..=100_000))
        .unwrap_or(MAX_CONNECTIONS);
    let made = path.zip(upstream).map(|(path, upstream)| Proxy {
        path,
        upstream,
        connect_timeout,
        read_timeout,
        send_timeout,
        upgrade_timeout,
        max_connections: max_connections
            .try_into()
            .unwrap_or(std::num::NonZeroUsize::MIN),
    });
    fields.finish(made)
}

/// `/`, `/app`, `/app/`.
fn path(text: &str) -> Result<String, TextError> {
    if text == "/" {
        return Ok(text.to_owned());
    }
    if !text.starts_with('/') {
        return Err(TextError::Value(format!(
            "a path begins with a slash: write {:?}",
            format!("/{text}")
        )));
    }
    text::path(text.strip_suffix('/').unwrap_or(text))
        .map_err(|_| TextError::Form("a path such as \"/app\", or \"/\" for everything"))
}

/// `http://host:port` or `unix:/path`.
fn upstream(text: &str) -> Result<Upstream, TextError> {
    let form = TextError::Form(
        "where the application listens, such as \"http://127.0.0.1:3000\" or \"unix:/run/app.sock\"",
    );
    let wrong = |what: String| Err(TextError::Value(what));
    if let Some(path) = text.strip_prefix("unix:") {
        return match path.starts_with('/') {
            true => Ok(Upstream::Unix(PathBuf::from(path))),
            false => wrong(format!(
                "the path of a socket is absolute, such as \"unix:/run/app.sock\", found {path:?}"
            )),
        };
    }
    let Some((scheme, rest)) = text.split_once("://") else {
        let meant = format!("http://{text}");
        return match upstream_authority(text) {
            Some(_) => wrong(format!("the scheme is missing: write {meant:?}")),
            None => Err(form),
        };
    };
    match scheme.to_ascii_lowercase().as_str() {
        "http" => {}
        "https" => {
            return wrong(
                "https to an application is not supported: it is expected on this machine or on a \
                 private network, by \"http://\" or \"unix:\""
                    .to_owned(),
            );
        }
        "ws" | "wss" => {
            return wrong(format!(
                "a WebSocket begins as a request: write {:?}",
                format!("http://{rest}")
            ));
        }
        _ => return Err(form),
    }
    let (authority, path) = rest.split_once('/').unwrap_or((rest, ""));
    if !path.is_empty() || authority.contains(['?', '#']) {
        return wrong(format!(
            "a host and a port only: the application is asked for the path that the visitor named, \
             found {text:?}"
        ));
    }
    upstream_authority(authority).ok_or(form)
}

fn upstream_authority(text: &str) -> Option<Upstream> {
    let (host, port) = match text.strip_prefix('[') {
        Some(rest) => {
            let (host, port) = rest.split_once(']')?;
            host.parse::<std::net::Ipv6Addr>().ok()?;
            (host, port.strip_prefix(':'))
        }
        None => match text.split_once(':') {
            Some((host, port)) => (host, Some(port)),
            None => (text, None),
        },
    };
    let port = match port {
        None => 80,
        Some(port) => port.parse().ok().filter(|port| *port != 0)?,
    };
    let host = text::host(host).ok()?;
    Some(Upstream::Http { host, port })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_upstream_is_a_host_and_a_port_or_a_socket() {
        let http = |host: &str, port| {
            Ok(Upstream::Http {
                host: host.to_owned(),
                port,
            })
        };
        assert_eq!(upstream("http://127.0.0.1:3000"), http("127.0.0.1", 3000));
        assert_eq!(upstream("http://App:3000/"), http("app", 3000));
        assert_eq!(upstream("http://app"), http("app", 80));
        assert_eq!(upstream("http://[::1]:3000"), http("::1", 3000));
        assert_eq!(
            upstream("unix:/run/app.sock"),
            Ok(Upstream::Unix(PathBuf::from("/run/app.sock")))
        );
    }

    #[test]
    fn a_wrong_upstream_is_told_what_is_right() {
        for (text, expected) in [
            ("127.0.0.1:3000", "write \"http://127.0.0.1:3000\""),
            (
                "https://127.0.0.1",
                "https to an application is not supported",
            ),
            ("ws://app:1", "write \"http://app:1\""),
            ("http://app:1/base", "a host and a port only"),
            ("http://app:1?x", "a host and a port only"),
            ("unix:app.sock", "absolute"),
            ("ftp://app", "expected where the application listens"),
            ("http://app:0", "expected"),
            ("http://app:99999", "expected"),
            ("http://user@app:1", "expected"),
            ("http://:1", "expected"),
            ("http://", "expected"),
            ("", "expected"),
        ] {
            let said = upstream(text).unwrap_err().to_string();
            assert!(said.contains(expected), "{text}: {said}");
        }
    }

    #[test]
    fn a_path_may_have_a_slash_at_its_end_and_needs_one_in_front() {
        assert_eq!(path("/app/").as_deref(), Ok("/app"));
        assert_eq!(path("/").as_deref(), Ok("/"));
        let said = path("app").unwrap_err().to_string();
        assert!(said.contains("write \"/app\""), "{said}");
        for wrong in ["//", "/a//b", "/a/../b", "/a b", "/a?b", "/%61"] {
            assert!(path(wrong).is_err(), "{wrong}");
        }
    }
}
