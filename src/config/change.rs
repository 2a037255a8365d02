//! What differs between two configurations, and what of it can be applied to a running process.

use std::fmt;

use super::load::Loaded;
use super::report::Effective;
use super::settings::{Front, Log, Settings, Signaling, Turn};

/// When a changed key takes effect.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Applies {
    /// At once, without disturbing anybody.
    Now,
    /// When the process starts the next time.
    AtRestart,
}

/// A key with two values.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Change {
    /// `section.key`
    pub key: &'static str,
    /// As TOML, secrets redacted; `None`: not set.
    pub from: Option<String>,
    /// The same of the new value.
    pub to: Option<String>,
    /// When it counts.
    pub applies: Applies,
}

impl fmt::Display for Change {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { key, from, to, .. } = self;
        let said = |value: &Option<String>| value.clone().unwrap_or_else(|| "(none)".to_owned());
        write!(f, "{key}: {} -> {}", said(from), said(to))
    }
}

/// Keys that decide what is bound, who may write where, or how the workers are laid out.
const AT_RESTART: &[&str] = &[
    "external_ip",
    "state_dir",
    "front.https",
    "front.http",
    "front.redirect",
    "signaling.legacy_listen",
    "turn.listen",
    "turn.realm",
    "turn.relay_ports",
    "turn.discovery",
    "turn.tcp_relays",
    "turn.workers",
    "admin.listen",
    "admin.token_file",
    "log.format",
    "log.privacy",
];

/// All keys that differ, in the order of the file.
pub fn changes(old: &Loaded, new: &Loaded) -> Vec<Change> {
    let differs = |(one, other): &(&Effective, &Effective)| one.fingerprint != other.fingerprint;
    old.effective
        .iter()
        .zip(&new.effective)
        .filter(differs)
        .map(|(from, to)| Change {
            key: to.key,
            from: from.value.clone(),
            to: to.value.clone(),
            applies: match AT_RESTART.contains(&to.key) {
                true => Applies::AtRestart,
                false => Applies::Now,
            },
        })
        .collect()
}

impl Settings {
    /// These settings as far as a process that was started with `running` can take them.
    pub fn applicable(self, running: &Self) -> Self {
        let old = running.clone();
        Self {
            external_ip: old.external_ip,
            state_dir: old.state_dir,
            front: Front {
                https: old.front.https,
                http: old.front.http,
                redirect: old.front.redirect,
                ..self.front
            },
            signaling: Signaling {
                legacy_listen: old.signaling.legacy_listen,
                ..self.signaling
            },
            turn: Turn {
                listen: old.turn.listen,
                // The default realm is the first host, which may change; the realm may not.
                realm: old.turn.realm,
                relay_ports: old.turn.relay_ports,
                discovery: old.turn.discovery,
                tcp_relays: old.turn.tcp_relays,
                workers: old.turn.workers,
                ..self.turn
            },
            admin: old.admin,
            log: Log {
                format: old.log.format,
                privacy: old.log.privacy,
                ..self.log
            },
            ..self
        }
    }
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use super::*;
    use crate::config::Sources;
    use crate::config::file::KEYS;

    fn load(text: &str) -> Loaded {
        let sources = Sources {
            file: Some((PathBuf::from("appliance.toml"), text.to_owned())),
            environment: Vec::new(),
            state_dir: PathBuf::from("/state"),
        };
        sources.load().unwrap()
    }

    #[test]
    fn a_difference_names_both_values_and_when_it_counts() {
        let old = load("host = 'a.example'\n[turn]\nuser_quota = 3\n");
        let new =
            load("host = 'a.example'\n[turn]\nrelay_ports = '50000-50100'\n[web]\ndir = '/srv'\n");
        let lines: Vec<_> = changes(&old, &new)
            .iter()
            .map(|change| (change.to_string(), change.applies))
            .collect();
        let expected = [
            (
                "turn.relay_ports: \"49152-65535\" -> \"50000-50100\"",
                Applies::AtRestart,
            ),
            ("turn.user_quota: 3 -> 12", Applies::Now),
            ("web.dir: (none) -> \"/srv\"", Applies::Now),
        ];
        assert_eq!(lines, expected.map(|(line, at)| (line.to_owned(), at)));
        assert!(changes(&new, &new.clone()).is_empty());
    }

    #[test]
    fn a_changed_secret_is_seen_and_not_shown() {
        let old = load(
            "[turn]\nsecret = 'the first secret'\nstatic_users = [{ username = 'u', password = 'one' }]\n",
        );
        let new = load(
            "[turn]\nsecret = 'the other secret'\nstatic_users = [{ username = 'u', password = 'two' }]\n",
        );
        let changes = changes(&old, &new);
        let keys: Vec<_> = changes.iter().map(|change| change.key).collect();
        assert_eq!(keys, ["turn.secret", "turn.static_users"]);
        for change in changes {
            let line = change.to_string();
            assert!(!line.contains("first") && !line.contains("two"), "{line}");
        }
    }

    #[test]
    fn what_needs_a_restart_stays_as_it_was_and_all_else_is_new() {
        for key in AT_RESTART {
            assert!(KEYS.iter().any(|one| one.path == *key), "{key}");
        }
        let old = load("");
        let new = load(
            "host = ['a.example']\nexternal_ip = '192.0.2.1'\nstate_dir = '/other'\ndrain_timeout = '1m'\nhand_over_timeout = '2m'\n\
             [front]\nhttps = ['[::]:1443']\nhttp = []\nredirect = false\nmax_per_ip = 7\n\
             [turn]\nlisten = ['192.0.2.1:3478', '192.0.2.1:3479', '192.0.2.2:3478', '192.0.2.2:3479']\nrealm = 'r'\nrelay_ports = '50000-50100'\nworkers = 7\n\
             discovery = true\ntcp_relays = true\nuser_quota = 1\n\
             [signaling]\nlegacy_listen = ['ws://127.0.0.1:7777']\nmax_rooms = 5\n\
             [admin]\nlisten = ['127.0.0.1:1']\n[log]\nlevel = 'debug'\nformat = 'json'\nprivacy = false\n",
        );
        let merged = new.settings.applicable(&old.settings);
        assert_eq!(merged.host, ["a.example"]);
        assert_eq!(merged.front.max_per_ip.get(), 7);
        assert_eq!(merged.turn.user_quota, 1);
        assert_eq!(merged.log.level, "debug");
        assert_eq!(merged.drain_timeout.as_secs(), 60);
        assert_eq!(merged.hand_over_timeout.as_secs(), 120);
        assert_eq!(merged.state_dir, old.settings.state_dir);
        assert_eq!(merged.external_ip, old.settings.external_ip);
        assert_eq!(merged.front.https, old.settings.front.https);
        assert_eq!(merged.front.http, old.settings.front.http);
        assert!(merged.front.redirect);
        assert_eq!(merged.turn.listen, old.settings.turn.listen);
        assert_eq!(merged.turn.realm, old.settings.turn.realm);
        assert_eq!(merged.turn.relay_ports, old.settings.turn.relay_ports);
        assert_eq!(merged.turn.workers, old.settings.turn.workers);
        assert!(!merged.turn.discovery && !merged.turn.tcp_relays);
        assert!(merged.signaling.legacy_listen.is_empty());
        assert_eq!(merged.signaling.max_rooms, 5);
        assert_eq!(merged.admin.listen, old.settings.admin.listen);
        assert_eq!(merged.log.format, old.settings.log.format);
        assert!(merged.log.privacy);
    }
}
