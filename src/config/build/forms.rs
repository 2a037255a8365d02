//! The forms of single keys that no other key shares.

use std::net::IpAddr;
use std::time::Duration;

use crate::config::settings::{ExternalIp, LegacyListener, Network};
use crate::config::shape::{Parsed, list, text, wrong};
use crate::config::text::{self, TextError};
use crate::config::value::Value;
use crate::turn::core::auth::MAX_REALM;

pub(super) fn external_ip(value: &Value) -> Parsed<ExternalIp> {
    let written = list(text(advertised))(value)?;
    if let [None] = written.as_slice() {
        return Ok(ExternalIp::Auto);
    }
    let (mut v4, mut v6) = (None, None);
    for address in written {
        let before = match address {
            None => return wrong("\"auto\" stands alone"),
            Some(IpAddr::V4(address)) => v4.replace(address).is_some(),
            Some(IpAddr::V6(address)) => v6.replace(address).is_some(),
        };
        if before {
            return wrong("at most one IPv4 and one IPv6 address can be advertised");
        }
    }
    match (v4, v6) {
        (None, None) => wrong("expected \"auto\" or an address, found an empty list"),
        (v4, v6) => Ok(ExternalIp::Given { v4, v6 }),
    }
}

/// An address that can be advertised; `None` for "auto".
fn advertised(text: &str) -> Result<Option<IpAddr>, TextError> {
    if text == "auto" {
        return Ok(None);
    }
    let address: IpAddr = text
        .trim_matches(['[', ']'])
        .parse()
        .map_err(|_| TextError::Form("\"auto\" or an address such as \"203.0.113.7\""))?;
    let address = address.to_canonical();
    if address.is_unspecified() || address.is_multicast() {
        return Err(TextError::Value(format!("{address} is nobody's address")));
    }
    Ok(Some(address))
}

/// `false`, or the networks of the load balancers.
pub(super) fn balancers(value: &Value) -> Parsed<Vec<Network>> {
    let flag = match value {
        Value::Flag(flag) => Some(*flag),
        // From the environment the word comes as a list of one.
        Value::List(items) => match items.as_slice() {
            [Value::Text(word)] => word.parse().ok(),
            _ => None,
        },
        _ => None,
    };
    match flag {
        Some(false) => Ok(Vec::new()),
        Some(true) => wrong(
            "true would let anybody claim any address: list the networks of your load balancers, such as [\"10.0.0.0/8\"]",
        ),
        None => list(text(text::network))(value),
    }
}

pub(super) fn positive_duration(text: &str) -> Result<Duration, TextError> {
    match text::duration(text)? {
        Duration::ZERO => Err(TextError::Value("must be longer than nothing".to_owned())),
        duration => Ok(duration),
    }
}

/// A call that lasts longer than a week is one that nobody has noticed.
pub(super) fn drain_timeout(text: &str) -> Result<Duration, TextError> {
    match text::duration(text)? {
        timeout if timeout <= Duration::from_secs(7 * 24 * 3600) => Ok(timeout),
        _ => Err(TextError::Value("must not be longer than 168h".to_owned())),
    }
}

/// A seat that nobody sits in is one that nobody else can have.
pub(super) fn resume_window(text: &str) -> Result<Duration, TextError> {
    match text::duration(text)? {
        window if window <= Duration::from_secs(3600) => Ok(window),
        _ => Err(TextError::Value("must not be longer than 1h".to_owned())),
    }
}

/// Where clients with a compiled-in port connect, as they write it.
pub(super) fn legacy_listener(text: &str) -> Result<LegacyListener, TextError> {
    let form = TextError::Form(
        "\"ws://\" or \"wss://\", an address and a port, such as \"ws://[::]:7777\"",
    );
    let (tls, address) = match text.trim().split_once("://") {
        Some(("ws", address)) => (false, address),
        Some(("wss", address)) => (true, address),
        _ => return Err(form),
    };
    // Such addresses are often copied out of a client, with its path.
    let address = text::address(address.trim_end_matches('/'))?;
    Ok(LegacyListener { address, tls })
}

/// A session description needs a few KiB; more than the upper bound is no message.
pub(super) fn message_size(text: &str) -> Result<usize, TextError> {
    let size = text::size(text)?;
    match (4 << 10..=16 << 20).contains(&size) {
        true => Ok(size),
        false => Err(TextError::Value(format!(
            "{size} bytes are not between 4KiB and 16MiB"
        ))),
    }
}

/// An origin, or `*` for each.
pub(super) fn origin_or_all(text: &str) -> Result<String, TextError> {
    match text.trim() {
        "*" => Ok("*".to_owned()),
        text => text::origin(text),
    }
}

/// RFC 8489 section 14.9 allows 127 characters; a 401 must stay small, so we allow fewer.
pub(super) fn realm(text: &str) -> Result<String, TextError> {
    let fits = (1..=MAX_REALM).contains(&text.len());
    match fits && !text.contains(|c: char| c == '"' || c == '\\' || c.is_control()) {
        true => Ok(text.to_owned()),
        false => Err(TextError::Value(format!(
            "expected 1 to {MAX_REALM} bytes without quotes or backslashes, found {text:?}"
        ))),
    }
}

/// RFC 8489 section 14.3: less than 509 bytes.
pub(super) fn username(text: &str) -> Result<String, TextError> {
    match (1..509).contains(&text.len()) && !text.contains(char::is_control) {
        true => Ok(text.to_owned()),
        false => Err(TextError::Form("a name of 1 to 508 bytes")),
    }
}

/// A level, or a filter. A single word that is no level would be taken for a module's name.
pub(super) fn level(text: &str) -> Result<String, TextError> {
    let form = TextError::Form(
        "\"error\", \"warn\", \"info\", \"debug\", \"trace\", \"off\" or a filter such as \"info,callbox::turn=debug\"",
    );
    let levels = ["error", "warn", "info", "debug", "trace", "off"];
    let word = !text.contains([',', '=', '[', ':']);
    if text.is_empty() || (word && !levels.contains(&text)) {
        return Err(form);
    }
    match tracing_subscriber::EnvFilter::builder().parse(text) {
        Ok(_) => Ok(text.to_owned()),
        Err(error) => Err(TextError::Value(format!("not a filter: {error}"))),
    }
}
