//! Text -> value: durations, sizes, addresses, ranges, prefixes, names.
//!
//! Pure functions that know neither the key nor the file they work for.

use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::ops::RangeInclusive;
use std::time::Duration;

use super::settings::Network;

/// What a text should have been.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TextError {
    /// It has another form.
    #[error("expected {0}")]
    Form(&'static str),
    /// The form is right, the value is not.
    #[error("{0}")]
    Value(String),
}

/// `20s`, `500ms`, `12h`, `1h30m`, `0s`.
pub fn duration(text: &str) -> Result<Duration, TextError> {
    let form = TextError::Form("a duration such as \"20s\", \"500ms\" or \"1h30m\"");
    let mut rest = text.trim();
    if rest.is_empty() {
        return Err(form);
    }
    let mut total = Duration::ZERO;
    let mut largest = u64::MAX;
    while !rest.is_empty() {
        let (number, unit, after) = number_and_unit(rest).ok_or_else(|| form.clone())?;
        let milliseconds = match unit {
            "ms" => 1,
            "s" => 1_000,
            "m" | "min" => 60_000,
            "h" => 3_600_000,
            "d" => 86_400_000,
            _ => return Err(form),
        };
        // "1m1h" and "1s1s" are slips, not durations.
        if milliseconds >= largest {
            return Err(form);
        }
        largest = milliseconds;
        total = number
            .checked_mul(milliseconds)
            .and_then(|part| total.checked_add(Duration::from_millis(part)))
            .filter(|total| *total <= LONGEST_DURATION)
            .ok_or_else(|| TextError::Value("more than ten years".to_owned()))?;
        rest = after;
    }
    Ok(total)
}

/// Longer waits are slips, and sums with them could overflow a clock.
const LONGEST_DURATION: Duration = Duration::from_secs(10 * 366 * 86_400);

/// `64KiB`, `1MB`, `512`, in bytes.
pub(super) fn size(text: &str) -> Result<usize, TextError> {
    let form = TextError::Form("a size such as \"64KiB\" or \"1MB\"");
    let text = text.trim();
    let (number, unit, "") = number_and_unit(text).ok_or_else(|| form.clone())? else {
        return Err(form);
    };
    let factor: u64 = match unit {
        "" | "B" => 1,
        "kB" | "KB" => 1_000,
        "MB" => 1_000_000,
        "GB" => 1_000_000_000,
        "KiB" => 1 << 10,
        "MiB" => 1 << 20,
        "GiB" => 1 << 30,
        _ => return Err(form),
    };
    number
        .checked_mul(factor)
        .and_then(|bytes| usize::try_from(bytes).ok())
        .ok_or_else(|| TextError::Value("more than this machine can count".to_owned()))
}

/// Splits `12h30m` into 12, `h` and `30m`.
fn number_and_unit(text: &str) -> Option<(u64, &str, &str)> {
    let digits = text
        .find(|c: char| !c.is_ascii_digit())
        .unwrap_or(text.len());
    let (number, rest) = text.split_at(digits);
    let unit = rest
        .find(|c: char| c.is_ascii_digit())
        .unwrap_or(rest.len());
    let (unit, rest) = rest.split_at(unit);
    Some((number.parse().ok()?, unit.trim(), rest))
}

/// `0.0.0.0:443`, `[::]:443`.
pub(super) fn address(text: &str) -> Result<SocketAddr, TextError> {
    let text = text.trim();
    if let Ok(address) = text.parse() {
        return Ok(address);
    }
    if let Some(port) = text.strip_prefix(':').or(Some(text))
        && port.parse::<u16>().is_ok()
    {
        return Err(TextError::Value(format!(
            "an address is missing in front of the port: write \"[::]:{port}\" for all of them"
        )));
    }
    if text.parse::<IpAddr>().is_ok() {
        return Err(TextError::Value(format!(
            "a port is missing behind the address: write \"{}\"",
            match text.contains(':') {
                true => format!("[{text}]:443"),
                false => format!("{text}:443"),
            }
        )));
    }
    Err(TextError::Form(
        "an address and a port such as \"0.0.0.0:443\" or \"[::]:443\"",
    ))
}

/// `49152-65535`
pub(super) fn ports(text: &str) -> Result<RangeInclusive<u16>, TextError> {
    let form = TextError::Form("a range of ports such as \"49152-65535\"");
    let (first, last) = text.split_once('-').ok_or_else(|| form.clone())?;
    let port = |text: &str| text.trim().parse::<u16>().map_err(|_| form.clone());
    let (first, last) = (port(first)?, port(last)?);
    if first == 0 {
        return Err(TextError::Value("port 0 cannot be relayed from".to_owned()));
    }
    if first > last {
        return Err(TextError::Value(format!(
            "the range ends before it begins: write \"{last}-{first}\""
        )));
    }
    Ok(first..=last)
}

/// `10.0.0.0/8`, `fd00::/8`, or one address.
pub(super) fn network(text: &str) -> Result<Network, TextError> {
    let form = TextError::Form("a network such as \"10.0.0.0/8\" or \"fd00::/8\"");
    let text = text.trim();
    let (address, prefix) = match text.split_once('/') {
        Some((address, prefix)) => (address, Some(prefix)),
        None => (text, None),
    };
    let address: IpAddr = address.parse().map_err(|_| form.clone())?;
    let longest: u8 = match address {
        IpAddr::V4(_) => 32,
        IpAddr::V6(_) => 128,
    };
    let prefix = match prefix {
        None => longest,
        Some(prefix) => prefix.parse::<u8>().map_err(|_| form)?,
    };
    if prefix > longest {
        return Err(TextError::Value(format!(
            "a prefix of this family has at most {longest} bits"
        )));
    }
    let first = first_of(address, prefix);
    if first != address {
        // Half of such entries mean one host, half the network: only the operator knows.
        return Err(TextError::Value(format!(
            "{address} is not the first address of its /{prefix}: write \"{first}/{prefix}\" for \
             the network or \"{address}/{longest}\" for the one address"
        )));
    }
    Ok(Network { address, prefix })
}

/// The address with everything behind the prefix zero.
fn first_of(address: IpAddr, prefix: u8) -> IpAddr {
    match address {
        IpAddr::V4(v4) => {
            let mask = u32::MAX.checked_shl(32 - u32::from(prefix)).unwrap_or(0);
            IpAddr::V4((v4.to_bits() & mask).into())
        }
        IpAddr::V6(v6) => {
            let mask = u128::MAX.checked_shl(128 - u32::from(prefix)).unwrap_or(0);
            IpAddr::V6((v6.to_bits() & mask).into())
        }
    }
}

/// A host name or an address, in the form certificates and `Host` headers use.
pub(super) fn host(text: &str) -> Result<String, TextError> {
    let text = text.trim().trim_end_matches('.');
    if text.contains("://") {
        return Err(TextError::Value(
            "a host name only, without \"https://\"".to_owned(),
        ));
    }
    if let Ok(ip) = text.trim_matches(['[', ']']).parse::<IpAddr>() {
        return Ok(ip.to_string());
    }
    if text.contains(':') {
        return Err(TextError::Value(
            "a host name only, without a port: ports are set in [front] https".to_owned(),
        ));
    }
    let label = |label: &str| {
        (1..=63).contains(&label.len())
            && label
                .bytes()
                .all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_')
            && !label.starts_with('-')
            && !label.ends_with('-')
    };
    if text.len() > 253 || !text.split('.').all(label) {
        return Err(TextError::Form(
            "a host name such as \"call.example.com\" (international ones in their xn-- form)",
        ));
    }
    Ok(text.to_ascii_lowercase())
}

/// `https://app.example.com`, as a browser writes it in `Origin`.
pub(super) fn origin(text: &str) -> Result<String, TextError> {
    let text = text.trim();
    let form = TextError::Form("an origin such as \"https://app.example.com\", without a path");
    let Some((scheme, rest)) = text.split_once("://") else {
        return Err(form);
    };
    let plain = rest.bytes().all(|b| b.is_ascii_graphic()) && !rest.contains(['/', '?', '#', '@']);
    if scheme.is_empty() || rest.is_empty() || !plain {
        return Err(form);
    }
    Ok(text.to_ascii_lowercase())
}

/// A path of ours: `/ws`.
pub(super) fn path(text: &str) -> Result<String, TextError> {
    let good = text.len() > 1
        && text.len() <= 256
        && text.starts_with('/')
        && !text.ends_with('/')
        && text
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || b"/-_.~".contains(&b))
        && text
            .split('/')
            .skip(1)
            .all(|part| !matches!(part, "" | "." | ".."));
    match good {
        true => Ok(text.to_owned()),
        false => Err(TextError::Form("a path such as \"/ws\"")),
    }
}

/// `stun:`, `turn:` and `turns:` URLs (RFC 7064, RFC 7065): scheme and something behind it.
pub(super) fn ice_url(text: &str) -> Result<String, TextError> {
    let form = TextError::Form("a URL such as \"stun:stun.example.com:3478\"");
    let (scheme, rest) = text.split_once(':').ok_or_else(|| form.clone())?;
    let known = ["stun", "stuns", "turn", "turns"].contains(&scheme);
    if !known
        || rest.is_empty()
        || rest.starts_with('/')
        || !rest.bytes().all(|b| b.is_ascii_graphic())
    {
        return Err(form);
    }
    Ok(text.to_owned())
}

/// The value of a header: one line, nothing but visible ASCII and blanks.
pub(super) fn header(text: &str) -> Result<String, TextError> {
    match text.bytes().all(|b| b.is_ascii_graphic() || b == b' ') {
        true => Ok(text.to_owned()),
        false => Err(TextError::Form("one line of ASCII")),
    }
}

impl fmt::Display for Network {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.address, self.prefix)
    }
}

#[cfg(test)]
mod tests;
