//! `callbox check`: what is in force, where it comes from, what is odd about it.
//!
//! The output is TOML that means the same when it is read again, secrets aside.

use std::fmt::Write as _;
use std::fs;
use std::io::{self, Write as _};
use std::net::IpAddr;

use rustls::sign::CertifiedKey;

use super::{Configuration, Failure};
use crate::cert::leaf::Leaf;
use crate::cert::{acme, files};
use crate::config::settings::{ExternalIp, Tls};
use crate::config::{self, Loaded, Origin, Problem};
use crate::net::interface;
use crate::net::reach::{Reach, reach};
use crate::state::StateDir;

/// Runs the command.
pub(super) fn run(configuration: &Configuration) -> Result<(), Failure> {
    let loaded = configuration.load()?;
    let missing = unusable(&loaded);
    if !missing.is_empty() {
        return Err(config::Error::Invalid(missing).into());
    }
    let mut text = effective(&loaded);
    text.push('\n');
    for warning in loaded.warnings.iter().chain(&surroundings(&loaded)) {
        let _ = writeln!(text, "# warning: {warning}");
    }
    let _ = writeln!(text, "# certificate: {}", certificate(&loaded));
    let _ = match &loaded.file {
        Some(file) => writeln!(text, "# {}: OK", file.display()),
        None => writeln!(text, "# no configuration file, built-in defaults: OK"),
    };
    // A reader such as `head` may have seen enough.
    let _ = io::stdout().write_all(text.as_bytes());
    Ok(())
}

/// The settings as TOML, each line with its origin.
fn effective(loaded: &Loaded) -> String {
    let mut text = String::new();
    let mut section = None;
    for entry in &loaded.effective {
        let (table, name) = match entry.key.split_once('.') {
            Some((table, name)) => (Some(table), name),
            None => (None, entry.key),
        };
        if table != section {
            section = table;
            let _ = writeln!(text, "\n[{}]", table.unwrap_or_default());
        }
        let assignment = match &entry.value {
            Some(value) => format!("{name} = {value}"),
            None => format!("# {name}"),
        };
        let _ = write!(text, "{assignment:<44}  # {}", entry.origin);
        let _ = match entry.note.as_str() {
            "" => writeln!(text),
            note => writeln!(text, ": {note}"),
        };
    }
    text
}

/// Files that the settings name and that the appliance could not start with.
fn unusable(loaded: &Loaded) -> Vec<Problem> {
    let mut problems = Vec::new();
    let mut problem = |key: &str, what: String| {
        let entry = loaded.effective.iter().find(|entry| entry.key == key);
        problems.push(Problem {
            origin: entry.map_or(Origin::Default, |entry| entry.origin.clone()),
            key: key.to_owned(),
            what,
            meant: None,
        });
    };
    let settings = &loaded.settings;
    if let Tls::Files { cert, key } = &settings.tls {
        let provider = rustls::crypto::aws_lc_rs::default_provider();
        if let Err(error) = files::load(cert, key, &provider) {
            problem("tls.cert", error.to_string());
        }
    }
    if let Tls::Acme(acme) = &settings.tls
        && let Err(error) = acme::roots(acme)
    {
        problem("tls.acme_ca_file", error.to_string());
    }
    if let Some(directory) = &settings.web.dir
        && let Err(error) = fs::read_dir(directory)
    {
        problem("web.dir", format!("{}: {error}", directory.display()));
    }
    problems
}

/// Which certificate a start would serve, until when, and what happens next.
fn certificate(loaded: &Loaded) -> String {
    let settings = &loaded.settings;
    let provider = rustls::crypto::aws_lc_rs::default_provider();
    let of = |key: &CertifiedKey| {
        let leaf = Leaf::of(key);
        format!("for {}, until {}", leaf.names.join(" "), leaf.until())
    };
    match &settings.tls {
        Tls::SelfSigned => {
            "self-signed, made by callbox and renewed at a start in its last month".to_owned()
        }
        Tls::Files { cert, key } => match files::load(cert, key, &provider) {
            Ok(loaded) => format!(
                "from {}, {}; read again when it changes",
                cert.display(),
                of(&loaded)
            ),
            Err(error) => error.to_string(),
        },
        Tls::Acme(acme) => {
            let state = StateDir::inspect(&settings.state_dir).ok();
            let kept = state.and_then(|s| acme::peek(acme, &settings.host, &s, &provider));
            match kept {
                Some(key) => format!(
                    "from {}, {}; renewed when a third of its life is left",
                    acme.directory,
                    of(&key)
                ),
                None => format!(
                    "self-signed, until {} has issued one for {}, which is asked at the start",
                    acme.directory,
                    settings.host.join(" ")
                ),
            }
        }
    }
}

/// What this machine makes of settings that ask it.
fn surroundings(loaded: &Loaded) -> Vec<String> {
    let settings = &loaded.settings;
    if settings.external_ip != ExternalIp::Auto {
        return Vec::new();
    }
    let addresses: Vec<IpAddr> = interface::advertised(&settings.external_ip)
        .iter()
        .collect();
    if addresses.iter().any(|ip| reach(*ip) == Reach::Public) {
        return Vec::new();
    }
    let list: Vec<_> = addresses.iter().map(IpAddr::to_string).collect();
    vec![match list.is_empty() {
        true => "external_ip: this machine has no address to advertise".to_owned(),
        false => format!(
            "external_ip: {} will be advertised, which the Internet cannot reach: \
             on a cloud server set external_ip to its public address",
            list.join(" and ")
        ),
    }]
}
