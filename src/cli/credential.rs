//! `callbox credential`: a TURN user for a client that does not ask `/ice` itself.
//!
//! The credential follows draft-uberti-behave-turn-rest: the name carries its own expiry, the
//! password is a MAC over the name. Nothing is stored, so nothing can be listed or revoked.

use std::net::SocketAddr;
use std::time::Duration;

use anyhow::Context as _;
use aws_lc_rs::hmac;
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use clap::Args;
use serde_json::json;

use super::{Configuration, Failure};
use crate::config::{self, Settings};
use crate::net::{clock, interface};

/// Arguments of `callbox credential`.
#[derive(Debug, Args)]
pub struct Arguments {
    /// How long it is good for [default: turn.credential_ttl, 12h]
    #[arg(long, value_name = "DURATION", value_parser = config::duration)]
    ttl: Option<Duration>,
    /// Name that quotas and logs show
    #[arg(long, default_value = "cli", value_name = "NAME", value_parser = name)]
    user: String,
    #[command(flatten)]
    configuration: Configuration,
}

fn name(text: &str) -> Result<String, &'static str> {
    let good = !text.is_empty()
        && text.len() <= 128
        && text.chars().all(|c| c.is_ascii_graphic() && c != ':');
    match good {
        true => Ok(text.to_owned()),
        false => Err("1 to 128 visible ASCII characters without a colon"),
    }
}

/// Runs the command.
pub(super) fn run(arguments: Arguments, before: Configuration) -> Result<(), Failure> {
    let settings = arguments.configuration.or(before).load()?.settings;
    let secret = secret(&settings)?;
    let ttl = arguments.ttl.unwrap_or(settings.turn.credential_ttl);
    let credential = Credential::new(&secret, &arguments.user, clock::unix_time() + ttl.as_secs());
    print!("{}", report(&credential, &urls(&settings)));
    Ok(())
}

/// The shared secret.
fn secret(settings: &Settings) -> anyhow::Result<Vec<u8>> {
    settings
        .turn
        .secret
        .as_ref()
        .map(|secret| secret.expose().to_vec())
        .with_context(|| {
            format!(
                "there is no secret yet: start callbox once, or set turn.secret ({})",
                settings.state_dir.display()
            )
        })
}

/// A name with its password.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Credential {
    /// `expiry:name`
    pub username: String,
    /// Base64 of the MAC.
    pub password: String,
}

impl Credential {
    /// Derives the password of `user` until `expires`, in seconds since 1970.
    pub fn new(secret: &[u8], user: &str, expires: u64) -> Self {
        let username = format!("{expires}:{user}");
        let key = hmac::Key::new(hmac::HMAC_SHA1_FOR_LEGACY_USE_ONLY, secret);
        let password = BASE64_STANDARD.encode(hmac::sign(&key, username.as_bytes()));
        Self { username, password }
    }
}

/// Where a client finds the server that knows the credential.
fn urls(settings: &Settings) -> Vec<String> {
    let host = settings.host.first().cloned().or_else(|| {
        let advertised = interface::advertised(&settings.external_ip);
        advertised.iter().next().map(|ip| ip.to_string())
    });
    let host = host.unwrap_or_else(|| "localhost".to_owned());
    let host = match host.contains(':') {
        true => format!("[{host}]"),
        false => host,
    };
    let port = |listeners: &[SocketAddr]| listeners.first().map(SocketAddr::port);
    let mut urls = Vec::new();
    if let Some(port) = port(&settings.turn.listen) {
        urls.push(format!("turn:{host}:{port}?transport=udp"));
        urls.push(format!("turn:{host}:{port}?transport=tcp"));
    }
    if let Some(port) = port(&settings.front.https) {
        urls.push(format!("turns:{host}:{port}?transport=tcp"));
    }
    urls
}

/// What is printed.
fn report(credential: &Credential, urls: &[String]) -> String {
    let Credential { username, password } = credential;
    let configuration = json!({
        "iceServers": [{ "urls": urls, "username": username, "credential": password }],
    });
    format!("username: {username}\npassword: {password}\n\n{configuration:#}\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_password_is_the_mac_of_the_name() {
        // printf 1700000000:alice | openssl dgst -sha1 -hmac north -binary | base64
        let credential = Credential::new(b"north", "alice", 1_700_000_000);
        assert_eq!(credential.username, "1700000000:alice");
        assert_eq!(credential.password, "Cd/49soE35ICqcJF/bCTn8Z4OyE=");
    }

    #[test]
    fn the_configuration_names_only_what_is_listened_on() {
        let mut settings = Settings::builtin("/nowhere".into());
        settings.host = vec!["call.example.com".to_owned()];
        settings.turn.listen = vec!["[::]:3479".parse().unwrap()];
        assert_eq!(
            urls(&settings),
            [
                "turn:call.example.com:3479?transport=udp",
                "turn:call.example.com:3479?transport=tcp",
                "turns:call.example.com:443?transport=tcp",
            ]
        );
        settings.host = vec!["2001:db8::1".to_owned()];
        settings.turn.listen.clear();
        assert_eq!(urls(&settings), ["turns:[2001:db8::1]:443?transport=tcp"]);
    }

    #[test]
    fn names_that_would_break_the_form_are_refused() {
        assert_eq!(name("alice"), Ok("alice".to_owned()));
        for text in ["", "a:b", "a b", "\u{e9}"] {
            assert!(name(text).is_err(), "{text}");
        }
    }
}
