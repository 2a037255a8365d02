//! Secrets and keys: where they come from, and that nobody sees them.

use std::fs;
use std::path::Path;

use aws_lc_rs::hmac;
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;

use crate::harness::{bad, callbox, directory, good};

#[test]
fn a_secret_of_digits_works_and_no_secret_is_printed() {
    let output = good(
        "[turn]\nstatic_users = [{ username = 'phone', password = 'hunter2hunter2' }]\n\
         [ice]\nextra_servers = [{ urls = 'turn:t.example', username = 'u', credential = 'topsecret' }]\n",
        &[("CALLBOX_TURN__SECRET", "1234567890123456")],
    );
    for secret in ["1234567890123456", "hunter2", "topsecret"] {
        assert!(!output.contains(secret), "{output}");
    }
    assert!(output.contains("secret = \"<redacted>\""), "{output}");
    assert!(output.contains("username = \"phone\""), "{output}");
}

#[test]
fn a_secret_that_is_wrong_is_not_printed_either() {
    let said = bad(
        "[turn]\nsecret = 8675309\nstatic_users = [{ username = 'a', password = 8675309 }, 8675309]\n",
        &[],
    );
    assert_eq!(said.len(), 3, "{said:?}");
    assert!(
        said.iter().all(|line| !line.contains("8675309")),
        "{said:?}"
    );
}

/// Whether `callbox credential` in this directory uses the secret.
fn uses(secret: &str, directory: &Path, variables: &[(&str, &str)]) -> bool {
    let output = callbox(directory, &["credential", "--user", "x"], variables);
    let text = String::from_utf8(output.stdout).unwrap();
    let errors = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(0), "{errors}");
    assert!(text.contains("\"iceServers\""), "{text}");
    let field = |name: &str| {
        let mut lines = text.lines();
        lines
            .find_map(|line| line.strip_prefix(name))
            .unwrap()
            .to_owned()
    };
    let username = field("username: ");
    assert!(username.ends_with(":x"), "{username}");
    let key = hmac::Key::new(hmac::HMAC_SHA1_FOR_LEGACY_USE_ONLY, secret.as_bytes());
    let expected = BASE64_STANDARD.encode(hmac::sign(&key, username.as_bytes()));
    field("password: ") == expected
}

#[test]
fn a_secret_may_be_in_a_file_named_by_the_file_or_by_the_environment() {
    let directory = directory();
    fs::write(directory.join("turn-secret"), "0123456789abcdef\n").unwrap();
    let config = directory.join("appliance.toml");
    fs::write(&config, "[turn]\nsecret_file = 'turn-secret'\n").unwrap();
    assert!(uses("0123456789abcdef", &directory, &[]));
    // The environment is above the file, whichever of the two keys each of them uses.
    fs::write(&config, "[turn]\nsecret = 'another secret altogether'\n").unwrap();
    assert!(uses("another secret altogether", &directory, &[]));
    let variables = [("CALLBOX_TURN__SECRET_FILE", "turn-secret")];
    assert!(uses("0123456789abcdef", &directory, &variables));
    let variables = [("CALLBOX_TURN__SECRET", "1234567890123456")];
    assert!(uses("1234567890123456", &directory, &variables));
    let missing = callbox(
        &directory,
        &["check"],
        &[("CALLBOX_TURN__SECRET_FILE", "missing")],
    );
    assert_eq!(missing.status.code(), Some(2));
    let said = String::from_utf8(missing.stderr).unwrap();
    assert!(
        said.starts_with("CALLBOX_TURN__SECRET_FILE: turn.secret_file: missing: cannot be read"),
        "{said}"
    );
    fs::write(
        &config,
        "[turn]\nsecret = 'one'\nsecret_file = 'turn-secret'\n",
    )
    .unwrap();
    let both = callbox(&directory, &["check"], &[]);
    assert!(
        String::from_utf8(both.stderr)
            .unwrap()
            .contains("keep one of them")
    );
}

#[test]
fn credentials_are_made_with_the_secret_that_the_appliance_keeps() {
    let directory = directory();
    let state = directory.join("state");
    let config = "state_dir = 'state'\n";
    fs::write(directory.join("appliance.toml"), config).unwrap();
    let before = callbox(&directory, &["credential"], &[]);
    assert_eq!(before.status.code(), Some(1));
    let said = String::from_utf8(before.stderr).unwrap();
    assert!(said.contains("start callbox once"), "{said}");
    assert!(!state.exists());
    fs::create_dir(&state).unwrap();
    fs::write(
        state.join("turn.secret"),
        "00112233445566778899aabbccddeeff\n",
    )
    .unwrap();
    assert!(uses("00112233445566778899aabbccddeeff", &directory, &[]));
}

#[test]
fn keys_to_the_ice_configuration_are_long_and_never_shown() {
    let key = "0123456789abcdef01234567";
    let keys = |entries: &str| format!("[ice]\naccess = 'key'\napi_keys = [{entries}]\n");
    let output = good(&keys(&format!("{{ name = 'shop', key = '{key}' }}")), &[]);
    assert!(output.contains("shop"), "{output}");
    assert!(!output.contains(key), "{output}");
    for (entries, part) in [
        ("{ name = 'shop', key = 'short' }", "at least 24 characters"),
        (
            "{ name = 'shop', key = 'a key with spaces in the middle' }",
            "visible ASCII",
        ),
        ("{ name = 'shop' }", "key is missing"),
        ("{ key = '0123456789abcdef01234567' }", "name is missing"),
        ("{ name = 'shop', keys = 'x' }", "did you mean"),
        ("", "ice.api_keys is empty"),
    ] {
        let said = bad(&keys(entries), &[]).join("\n");
        assert!(said.contains(part), "{entries}: {said}");
        assert!(!said.contains(key), "{said}");
    }
    let one = format!("{{ name = 'shop', key = '{key}' }}");
    let said = bad(&keys(&format!("{one}, {one}")), &[]).join("\n");
    assert!(said.contains("there twice"), "{said}");
}
