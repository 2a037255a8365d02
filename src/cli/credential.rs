//! `callbox credential`: a TURN user for a client that does not ask `/ice` itself.
//!
//! The same credential and the same addresses as `/ice` hands out. Nothing is stored, so nothing
//! can be listed or revoked.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use anyhow::{Context as _, bail};
use clap::Args;
use serde_json::{Value, json};

use super::{Configuration, Failure};
use crate::config::{self, Secret, Settings};
use crate::ice::{self, Credential, Endpoints, Offer};
use crate::net::{clock, interface};
use crate::state::{StateDir, StateError};

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
    let now = clock::unix_time();
    let credential = Credential::new(&secret, &arguments.user, now, ttl);
    let configuration = rtc_configuration(&settings, &host(&settings), &credential, now)
        .map_err(anyhow::Error::from)?;
    print!("{}", report(&credential, &configuration));
    Ok(())
}

/// The shared secret, as configured or as made by the appliance at its first start.
fn secret(settings: &Settings) -> anyhow::Result<Secret> {
    if let Some(secret) = &settings.turn.secret {
        return Ok(secret.clone());
    }
    let directory = settings.state_dir.display();
    let kept = match StateDir::inspect(&settings.state_dir) {
        Ok(state) => state.read(SECRET)?,
        Err(StateError::Directory { source, .. }) if source.kind() == io::ErrorKind::NotFound => {
            None
        }
        Err(error) => return Err(error.into()),
    };
    let kept = kept.with_context(|| {
        format!("there is no secret in {directory} yet: start callbox once, or set turn.secret")
    })?;
    match kept.trim_ascii() {
        [] => bail!("the secret in {directory} is empty: delete {SECRET} there and start callbox"),
        secret => Ok(Secret::new(secret)),
    }
}

/// The file that the appliance keeps it in.
const SECRET: &str = "turn.secret";

/// The name or the address that clients use, an IPv6 address in brackets.
fn host(settings: &Settings) -> String {
    let host = settings.host.first().cloned().or_else(|| {
        let advertised = interface::advertised(&settings.external_ip);
        advertised.iter().next().map(|ip| ip.to_string())
    });
    match host {
        Some(host) if host.contains(':') => format!("[{host}]"),
        Some(host) => host,
        None => "localhost".to_owned(),
    }
}

/// What a page passes to `new RTCPeerConnection`.
fn rtc_configuration(
    settings: &Settings,
    host: &str,
    credential: &Credential,
    now: u64,
) -> serde_json::Result<Value> {
    let port = |listeners: &[SocketAddr]| listeners.first().map(SocketAddr::port);
    let answer = ice::Configuration::new(&Offer {
        host,
        endpoints: Endpoints {
            tcp_port: port(&settings.turn.listen),
            tls_port: port(&settings.front.https),
            ..Endpoints::default()
        }
        .with_udp(settings.turn.listen.iter().map(SocketAddr::port)),
        credential,
        now,
        policy: settings.ice.policy,
        extra_servers: &settings.ice.extra_servers,
    });
    let answer = serde_json::to_value(answer)?;
    let field = |name| answer.get(name).cloned().unwrap_or_default();
    Ok(json!({
        "iceServers": field("iceServers"),
        "iceTransportPolicy": field("iceTransportPolicy"),
    }))
}

/// What is printed.
fn report(credential: &Credential, configuration: &Value) -> String {
    let Credential {
        username, password, ..
    } = credential;
    format!("username: {username}\npassword: {password}\n\n{configuration:#}\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn urls(settings: &Settings) -> Vec<String> {
        let credential = Credential::new(&Secret::new("s"), "alice", 1, Duration::from_secs(9));
        let made = rtc_configuration(settings, &host(settings), &credential, 1).unwrap();
        let servers = made["iceServers"].as_array().unwrap();
        let turn = servers
            .iter()
            .find(|s| s["username"] == "10:alice")
            .unwrap();
        assert_eq!(turn["credential"], credential.password);
        let urls = turn["urls"].as_array().unwrap().iter();
        urls.map(|url| url.as_str().unwrap().to_owned()).collect()
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
