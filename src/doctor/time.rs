//! Is the clock right? TURN credentials, certificates and tickets depend on it.

use std::net::SocketAddr;

use bytes::Bytes;
use http_body_util::Full;
use hyper::header::{CONNECTION, DATE, HOST, USER_AGENT};
use hyper::{Request, Uri};

use super::dial;
use super::dns;
use super::report::Finding;

/// What a server elsewhere says of the time.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Elsewhere {
    /// Seconds since 1970, at our time of the second number.
    Says(u64, u64),
    /// It cannot be asked, and why.
    Unreachable(String),
}

/// More than the network takes, less than what any credential bears.
const TOLERANCE: u64 = 60;

/// Asks the server of a URL for its `Date`. Its certificate does not matter: with a wrong clock
/// each one looks expired, and all that a liar can do is to make us report a clock.
pub async fn observe(servers: &[std::net::IpAddr], url: &str, now: fn() -> u64) -> Elsewhere {
    match ask(servers, url, now).await {
        Ok((theirs, ours)) => Elsewhere::Says(theirs, ours),
        Err(why) => Elsewhere::Unreachable(why),
    }
}

async fn ask(
    servers: &[std::net::IpAddr],
    url: &str,
    now: fn() -> u64,
) -> Result<(u64, u64), String> {
    let uri: Uri = url.parse().map_err(|_| format!("{url} is no URL"))?;
    let host = uri.host().ok_or_else(|| format!("{url} has no host"))?;
    let port = uri.port_u16().unwrap_or(443);
    let addresses = dns::resolve(servers, host).await?;
    let mut why = String::new();
    const MAX_TRIED: usize = 2;
    for ip in addresses.into_iter().take(MAX_TRIED) {
        match date(SocketAddr::new(ip, port), host, &uri).await {
            Ok(theirs) => return Ok((theirs, now())),
            Err(error) => why = format!("{host} ({ip}): {error}"),
        }
    }
    Err(why)
}

async fn date(address: SocketAddr, host: &str, uri: &Uri) -> Result<u64, String> {
    let stream = dial::tcp(address)
        .await
        .map_err(|closed| closed.to_string())?;
    let stream = dial::tls(stream, host).await?;
    let path = uri.path_and_query().map_or("/", |path| path.as_str());
    let request = Request::get(path)
        .header(
            HOST,
            uri.authority().map_or(host, |authority| authority.as_str()),
        )
        .header(USER_AGENT, concat!("callbox/", env!("CARGO_PKG_VERSION")))
        .header(CONNECTION, "close")
        .body(Full::new(Bytes::new()))
        .map_err(|error| error.to_string())?;
    let answer = dial::http(stream, request, dial::ANSWER).await?;
    answer
        .headers()
        .get(DATE)
        .and_then(|date| httpdate::parse_http_date(date.to_str().ok()?).ok())
        .and_then(|date| date.duration_since(std::time::UNIX_EPOCH).ok())
        .map(|since| since.as_secs())
        .ok_or_else(|| "answers without a Date".to_owned())
}

/// Judges the difference.
pub fn judge(elsewhere: &Elsewhere, who: &str) -> Finding {
    match elsewhere {
        Elsewhere::Unreachable(why) => {
            Finding::skipped("clock", format!("{who} cannot be asked: {why}"))
        }
        Elsewhere::Says(theirs, ours) if theirs.abs_diff(*ours) > TOLERANCE => Finding::failed(
            "clock.off",
            format!(
                "this machine's clock is {} {} that of {who}",
                span(theirs.abs_diff(*ours)),
                if ours > theirs { "ahead of" } else { "behind" }
            ),
            "`timedatectl set-ntp true`, and `timedatectl` shows whether it helps",
        ),
        Elsewhere::Says(..) => Finding::ok("clock", format!("agrees with {who}")),
    }
}

fn span(seconds: u64) -> String {
    match seconds {
        0..=179 => format!("{seconds} seconds"),
        180..=10_799 => format!("{} minutes", seconds / 60),
        10_800..=259_199 => format!("{} hours", seconds / 3600),
        _ => format!("{} days", seconds / 86_400),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_clock_may_be_a_minute_off() {
        for (theirs, ours, expected) in [
            (1000, 1000, "agrees"),
            (1060, 1000, "agrees"),
            (940, 1000, "agrees"),
            (1061, 1000, "61 seconds behind"),
            (1000, 1600, "10 minutes ahead of"),
            (0, 36_000, "10 hours ahead of"),
            (86_400 * 400, 0, "400 days behind"),
        ] {
            let finding = judge(&Elsewhere::Says(theirs, ours), "ca.example");
            assert!(finding.text.contains(expected), "{}", finding.text);
            assert_eq!(finding.id == "clock", expected == "agrees");
        }
        let unreachable = Elsewhere::Unreachable("no way out".to_owned());
        assert_eq!(judge(&unreachable, "ca.example").id, "clock");
    }
}
