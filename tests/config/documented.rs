//! The documented file is what the code knows, and `callbox check` prints what is in force.

use std::fs;
use std::path::Path;

use crate::harness::{assignments, certificate, directory, good};

fn documented() -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("appliance.toml");
    fs::read_to_string(path).unwrap()
}

/// The documented file with one kind of its comments turned into settings.
fn uncommented(prefix: &str) -> String {
    let assignment = |line: &str| {
        let line = line.strip_prefix(prefix)?;
        let (key, _) = line.split_once(" = ")?;
        let good = key.bytes().all(|b| b.is_ascii_lowercase() || b == b'_');
        good.then(|| line.to_owned())
    };
    documented()
        .lines()
        .map(|line| assignment(line).unwrap_or_else(|| line.to_owned()) + "\n")
        .collect()
}

/// Every key that the code knows, from `check`: with a value, or as a remark without one.
fn known_keys() -> Vec<String> {
    let mut section = String::new();
    let mut keys = Vec::new();
    for line in good("", &[]).lines() {
        if let Some(name) = line
            .strip_prefix('[')
            .and_then(|line| line.strip_suffix(']'))
        {
            section = format!("{name}.");
        } else if line.contains("  # default") {
            let key = line.trim_start_matches("# ").split(' ').next().unwrap();
            keys.push(format!("{section}{key}"));
        }
    }
    keys.sort();
    keys
}

#[test]
fn the_documented_file_has_every_key_of_the_code_and_no_other() {
    let mut keys: Vec<String> = assignments(&uncommented("# ")).into_keys().collect();
    keys.extend(assignments(&uncommented("# Example: ")).into_keys());
    keys.sort();
    keys.dedup();
    assert_eq!(keys, known_keys());
}

#[test]
fn the_documented_defaults_are_the_defaults() {
    let defaults = assignments(&good("", &[]));
    let documented = uncommented("# ");
    assert_eq!(assignments(&good(&documented, &[])), defaults);
    for key in assignments(&documented).keys() {
        assert!(
            defaults.contains_key(key),
            "{key} has no fixed default: write \"Example:\""
        );
    }
}

#[test]
fn the_documented_examples_are_good() {
    let files = directory();
    certificate(&files);
    let here = |name: &str| files.join(name).display().to_string();
    // One of the two secrets at a time; and files that are there.
    let examples: String = uncommented("# Example: ")
        .replace("/etc/callbox/fullchain.pem", &here("cert.pem"))
        .replace("/etc/callbox/privkey.pem", &here("key.pem"))
        .replace("/srv/www", &here("."))
        .replace("/etc/callbox/admin.token", &here("key.pem"))
        .lines()
        .filter(|line| !line.starts_with("secret_file"))
        .map(|line| format!("{line}\n"))
        .collect();
    let output = good(&examples, &[]);
    assert!(
        output.contains("the certificate from cert and key"),
        "{output}"
    );
}

#[test]
fn the_documented_file_as_it_is_changes_nothing() {
    assert_eq!(
        assignments(&good(&documented(), &[])),
        assignments(&good("", &[]))
    );
}

#[test]
fn what_check_prints_means_the_same_when_it_is_read_again() {
    let text = "host = ['call.example.com']\n[turn]\nrelay_ports = '50000-50100'\nworkers = 3\n[web]\ndir = '/'\n";
    let first = good(text, &[]);
    assert_eq!(assignments(&good(&first, &[])), assignments(&first));
}

#[test]
fn every_line_says_where_its_value_comes_from() {
    let output = good(
        "host = ['call.example.com']\n\n[turn]\nrealm = 'file'\nuser_quota = 3\n",
        &[("CALLBOX_TURN__REALM", "environment")],
    );
    let line = |start: &str| {
        let mut lines = output.lines();
        lines
            .find(|line| line.starts_with(start))
            .unwrap_or_default()
    };
    assert!(line("host = ").ends_with("# appliance.toml:1"), "{output}");
    assert!(
        line("user_quota = 3 ").ends_with("# appliance.toml:5"),
        "{output}"
    );
    assert!(
        line("realm = \"environment\"").ends_with("# CALLBOX_TURN__REALM"),
        "{output}"
    );
    assert!(
        line("max_rooms = 100000").ends_with("# default"),
        "{output}"
    );
    assert!(output.ends_with("# appliance.toml: OK\n"), "{output}");
}
