//! Configuration through the binary: `callbox check`, its output, its exit codes.

#![allow(
    clippy::unwrap_used,
    reason = "helpers of tests, not only the tests, may panic"
)]

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::atomic::{AtomicU32, Ordering};

use aws_lc_rs::hmac;
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;

/// A directory of this test's own.
fn directory() -> PathBuf {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    let number = NEXT.fetch_add(1, Ordering::Relaxed);
    let name = format!("config-{}-{number}", std::process::id());
    let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
    fs::create_dir_all(&path).unwrap();
    path
}

/// Runs callbox in a directory with nothing but these variables.
fn callbox(directory: &Path, arguments: &[&str], variables: &[(&str, &str)]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_callbox"))
        .args(arguments)
        .current_dir(directory)
        .env_clear()
        .env("XDG_STATE_HOME", directory)
        .envs(variables.iter().copied())
        .output()
        .unwrap()
}

/// `callbox check` of a file in the working directory.
fn check(text: &str, variables: &[(&str, &str)]) -> Output {
    let directory = directory();
    fs::write(directory.join("appliance.toml"), text).unwrap();
    callbox(&directory, &["check"], variables)
}

/// Puts a certificate and its key into a directory.
fn certificate(directory: &Path) {
    let made = rcgen::generate_simple_self_signed(["call.example.com".to_owned()]).unwrap();
    fs::write(directory.join("cert.pem"), made.cert.pem()).unwrap();
    fs::write(directory.join("key.pem"), made.signing_key.serialize_pem()).unwrap();
}

/// What a good configuration puts out.
fn good(text: &str, variables: &[(&str, &str)]) -> String {
    let output = check(text, variables);
    let errors = String::from_utf8(output.stderr).unwrap();
    assert_eq!((output.status.code(), errors.as_str()), (Some(0), ""));
    String::from_utf8(output.stdout).unwrap()
}

/// What is said about a bad one, a line each.
fn bad(text: &str, variables: &[(&str, &str)]) -> Vec<String> {
    let output = check(text, variables);
    assert_eq!(output.status.code(), Some(2));
    assert_eq!(output.stdout, b"");
    let errors = String::from_utf8(output.stderr).unwrap();
    errors.lines().map(str::to_owned).collect()
}

/// The assignments of TOML text as `section.key` -> value, `check`'s remarks removed.
fn assignments(text: &str) -> BTreeMap<String, String> {
    let mut section = String::new();
    let mut found = BTreeMap::new();
    for line in text.lines() {
        if let Some(name) = line
            .strip_prefix('[')
            .and_then(|line| line.strip_suffix(']'))
        {
            section = format!("{name}.");
        } else if let Some((key, value)) = line.split_once(" = ").filter(|_| !line.starts_with('#'))
        {
            let value = value.split("  # ").next().unwrap_or(value).trim();
            found.insert(format!("{section}{key}"), value.to_owned());
        }
    }
    found
}

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

#[test]
fn an_unknown_key_is_named_with_its_line_and_the_nearest_right_one() {
    assert_eq!(
        bad("# a remark\n\n[turn]\nrelm = 'x'\n", &[]),
        ["appliance.toml:4: turn.relm: unknown key, did you mean \"realm\"?"]
    );
    assert_eq!(
        bad("[trun]\nrealm = 'x'\n", &[]),
        ["appliance.toml:1: trun: unknown key, did you mean \"turn\"?"]
    );
    assert_eq!(
        bad("realm = 'x'\n", &[]),
        ["appliance.toml:1: realm: unknown key, did you mean \"turn.realm\"?"]
    );
    assert_eq!(
        bad("[web]\ncolour = 'x'\n", &[]),
        ["appliance.toml:2: web.colour: unknown key"]
    );
    assert_eq!(
        bad(
            "[turn]\nstatic_users = [\n  { usrname = 'a', username = 'a', password = 'b' },\n]\n",
            &[]
        ),
        ["appliance.toml:3: turn.static_users[0].usrname: unknown key, did you mean \"username\"?"]
    );
}

#[test]
fn everything_that_is_wrong_is_said_at_once() {
    let said = bad(
        "host = ['https://call.example.com']\n\
         [front]\nidle_timeout = 75\nhttps = [\n  '[::]:443',\n  '443',\n]\n\
         [turn]\nworkers = 'many'\nrelay_ports = '9-1'\ndeny_peers = ['10.1.0.0/8']\n\
         [tls]\nmode = 'selfsigned'\n[log]\nlevel = 'inof'\n",
        &[("CALLBOX_TURN__USER_QUOTA", "-1")],
    );
    let expected = [
        "appliance.toml:1: host[0]: a host name only, without \"https://\"",
        "appliance.toml:3: front.idle_timeout: expected a duration such as \"20s\", \"500ms\" or \"1h30m\", found the number 75",
        "appliance.toml:6: front.https[1]: an address is missing in front of the port: write \"[::]:443\" for all of them",
        "appliance.toml:9: turn.workers: expected a number, found \"many\"",
        "appliance.toml:10: turn.relay_ports: the range ends before it begins: write \"1-9\"",
        "appliance.toml:11: turn.deny_peers[0]: 10.1.0.0 is not the first address of its /8: write \"10.0.0.0/8\" for the network or \"10.1.0.0/32\" for the one address",
        "appliance.toml:13: tls.mode: expected \"auto\", \"acme\", \"files\" or \"self-signed\", found \"selfsigned\", did you mean \"self-signed\"?",
        "appliance.toml:15: log.level: expected \"error\", \"warn\", \"info\", \"debug\", \"trace\", \"off\" or a filter such as \"info,callbox::turn=debug\", found \"inof\"",
        "CALLBOX_TURN__USER_QUOTA: turn.user_quota: -1 is not between 0 and 4294967295",
    ];
    assert_eq!(said, expected);
}

#[test]
fn a_realm_is_short_enough_for_every_answer() {
    let long = "r".repeat(33);
    let said = bad(&format!("[turn]\nrealm = '{long}'\n"), &[]);
    assert!(
        said[0].starts_with("appliance.toml:2: turn.realm: expected 1 to 32 bytes"),
        "{said:?}"
    );
    good("[turn]\nrealm = 'r'\n", &[]);
}

#[test]
fn text_that_is_not_toml_is_an_error_with_its_line() {
    let said = bad("[turn]\nrealm = \n", &[]);
    assert!(said[0].starts_with("appliance.toml:2: "), "{said:?}");
}

#[test]
fn the_environment_is_above_the_file() {
    let output = good(
        "host = ['file.example']\n[front]\nredirect = true\n[signaling]\nmax_message = '1MB'\n",
        &[
            ("CALLBOX_HOST", "one.example, two.example"),
            ("CALLBOX_FRONT__REDIRECT", "false"),
            ("CALLBOX_FRONT__HTTPS", "[::]:8443"),
            ("CALLBOX_EXTERNAL_IP", "8.8.8.8,2a00::1"),
            ("CALLBOX_TURN__DENY_PEERS", "['8.0.0.0/8', \"9.0.0.0/8\"]"),
            ("CALLBOX_SIGNALING__MAX_MESSAGE", ""),
            ("CALLBOX_PORT_443_TCP", "tcp://10.0.0.1:443"),
        ],
    );
    let values = assignments(&output);
    assert_eq!(values["host"], "[\"one.example\", \"two.example\"]");
    assert_eq!(values["front.redirect"], "false");
    assert_eq!(values["front.https"], "[\"[::]:8443\"]");
    assert_eq!(values["external_ip"], "[\"8.8.8.8\", \"2a00::1\"]");
    assert_eq!(values["turn.deny_peers"], "[\"8.0.0.0/8\", \"9.0.0.0/8\"]");
    assert_eq!(values["signaling.max_message"], "\"1MB\"");
    assert!(
        output.contains("# warning: CALLBOX_PORT_443_TCP is set"),
        "{output}"
    );
}

#[test]
fn a_misspelt_variable_is_an_error() {
    assert_eq!(
        bad(
            "",
            &[("CALLBOX_TURN_REALM", "x"), ("CALLBOX_TURN__RELM", "x")]
        ),
        [
            "CALLBOX_TURN_REALM: no such setting, did you mean \"CALLBOX_TURN__REALM\"?",
            "CALLBOX_TURN__RELM: no such setting, did you mean \"CALLBOX_TURN__REALM\"?",
        ]
    );
}

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
fn a_certificate_needs_its_key() {
    assert_eq!(
        bad("[tls]\ncert = 'c.pem'\n", &[]),
        [
            "appliance.toml:2: tls.cert: tls.key is missing: a certificate needs its key and a key its certificate"
        ]
    );
    let said = bad("[tls]\nmode = 'files'\n", &[]);
    assert!(
        said[0].starts_with("appliance.toml:2: tls.mode: tls.cert"),
        "{said:?}"
    );
    let directory = directory();
    certificate(&directory);
    let tls = "[tls]\ncert = 'cert.pem'\nkey = 'key.pem'\n";
    fs::write(directory.join("appliance.toml"), tls).unwrap();
    let output = callbox(&directory, &["check"], &[]);
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(
        text.contains("default: the certificate from cert and key"),
        "{text}"
    );
}

#[test]
fn a_host_gets_its_certificate_from_an_authority_if_it_can() {
    let output = good("host = ['call.example.com']\n", &[]);
    for part in [
        "default: a certificate ordered from acme_directory",
        "# certificate: self-signed, until https://acme-v02.api.letsencrypt.org/directory has issued one for call.example.com",
    ] {
        assert!(output.contains(part), "{part}\n{output}");
    }
    let output = good("", &[]);
    assert!(
        output.contains("# certificate: self-signed, made by callbox"),
        "{output}"
    );
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

#[test]
fn a_name_that_no_authority_certifies_is_refused_before_anybody_is_asked() {
    for host in [
        "localhost",
        "box.local",
        "a.internal",
        "nas.home.arpa",
        "x.test",
        "box",
        "192.0.2.1",
    ] {
        let acme = format!("host = ['{host}']\n[tls]\nmode = 'acme'\n");
        let said = bad(&acme, &[]);
        assert!(
            said[0].starts_with("appliance.toml:3: tls.mode: "),
            "{said:?}"
        );
        for part in [host, "\"self-signed\"", "acme_ca_file"] {
            assert!(said[0].contains(part), "{part}: {said:?}");
        }
        // Where nobody asked for it, a start must not fail.
        let output = good(&format!("host = ['{host}']\n"), &[]);
        assert!(
            output.contains("so the certificate is self-signed"),
            "{output}"
        );
    }
    let private = "host = ['box.internal']\n[tls]\nmode = 'acme'\nacme_directory = 'https://ca.internal/acme'\n";
    good(private, &[]);
    let said = bad("[tls]\nmode = 'acme'\n", &[]);
    assert!(said[0].contains("host is missing"), "{said:?}");
}

#[test]
fn challenges_need_the_port_that_an_authority_comes_to() {
    let host = "host = ['call.example.com']\n";
    let output = good(&format!("{host}[front]\nhttps = ['[::]:8443']\n"), &[]);
    assert!(
        output.contains("connects to port 443, which is not in front.https"),
        "{output}"
    );
    let http = "[tls]\nacme_challenge = 'http-01'\n";
    let output = good(&format!("{host}[front]\nhttp = ['[::]:8080']\n{http}"), &[]);
    assert!(
        output.contains("connects to port 80, which is not in front.http"),
        "{output}"
    );
    let said = bad(&format!("{host}[front]\nhttp = []\n{http}"), &[]);
    assert!(said[0].contains("front.http, which is empty"), "{said:?}");
}

#[test]
fn an_authority_that_cannot_be_asked_is_found_before_the_start() {
    let host = "host = ['call.example.com']\n[tls]\n";
    let said = bad(
        &format!("{host}acme_directory = 'http://ca.example.com'\n"),
        &[],
    );
    assert!(
        said[0].contains("tls.acme_directory: expected the https:// URL"),
        "{said:?}"
    );
    let said = bad(&format!("{host}acme_email = 'nobody'\n"), &[]);
    assert!(
        said[0].contains("tls.acme_email: expected an address"),
        "{said:?}"
    );
    let said = bad(&format!("{host}acme_ca_file = 'ca.pem'\n"), &[]);
    assert!(
        said[0].contains("tls.acme_ca_file: ca.pem: No such file"),
        "{said:?}"
    );
}

#[test]
fn files_that_are_not_there_are_found_before_the_start() {
    let said = bad(
        "[tls]\ncert = 'c.pem'\nkey = 'k.pem'\n[web]\ndir = 'pages'\n",
        &[],
    );
    assert_eq!(said.len(), 2, "{said:?}");
    assert!(
        said[0].starts_with("appliance.toml:2: tls.cert: c.pem: No such file"),
        "{said:?}"
    );
    assert!(
        said[1].starts_with("appliance.toml:5: web.dir: pages: No such file"),
        "{said:?}"
    );
}

#[test]
fn settings_that_exclude_each_other_are_an_error() {
    let said = bad(
        "[front]\nhttps = ['[::]:443']\nhttp = ['0.0.0.0:443']\n\
         [turn]\nlisten = ['[::]:443']\n[signaling]\nidle_timeout = '20s'\n",
        &[],
    );
    assert!(said.iter().any(|line| line.starts_with("appliance.toml:3: front.http: 0.0.0.0:443 is covered by")), "{said:?}");
    assert!(
        said.iter().any(|line| line.starts_with(
            "appliance.toml:5: turn.listen: [::]:443 is covered by 0.0.0.0:443 in front.http"
        )),
        "{said:?}"
    );
    assert!(
        said.iter().any(
            |line| line.starts_with("appliance.toml:7: signaling.idle_timeout: must be longer")
        ),
        "{said:?}"
    );
}

#[test]
fn a_proxy_that_cannot_work_is_an_error_with_its_line() {
    let said = bad(
        "[[proxy]]\npath = 'app'\nupstream = '127.0.0.1:3000'\n\
         [[proxy]]\npath = '/b'\nupstream = 'https://b'\n\
         [[proxy]]\npth = '/c'\nupstream = 'http://c/base'\nread_timeout = 5\n",
        &[],
    );
    let expected = [
        "appliance.toml:2: proxy[0].path: a path begins with a slash: write \"/app\"",
        "appliance.toml:3: proxy[0].upstream: the scheme is missing: write \"http://127.0.0.1:3000\"",
        "appliance.toml:6: proxy[1].upstream: https to an application is not supported: it is expected on this machine or on a private network, by \"http://\" or \"unix:\"",
        "appliance.toml:7: proxy[2]: path is missing",
        "appliance.toml:8: proxy[2].pth: unknown key, did you mean \"path\"?",
        "appliance.toml:9: proxy[2].upstream: a host and a port only: the application is asked for the path that the visitor named, found \"http://c/base\"",
        "appliance.toml:10: proxy[2].read_timeout: expected a duration such as \"20s\", \"500ms\" or \"1h30m\", found the number 5",
    ];
    assert_eq!(said, expected);
    assert_eq!(
        bad(
            "[[proxy]]\npath = '/a'\nupstream = 'http://a'\n\
             [[proxy]]\npath = '/a/'\nupstream = 'http://b'\n",
            &[]
        ),
        ["appliance.toml:5: proxy[1].path: \"/a\" has a proxy already"]
    );
}

#[test]
fn the_five_lines_of_a_tutorials_site_are_five_and_good() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/migrate.md");
    let text = fs::read_to_string(path).unwrap();
    let lines = text.split("```toml\n").nth(1).unwrap();
    let lines = lines.split("```").next().unwrap();
    assert_eq!(lines.lines().count(), 5, "{lines}");
    let files = directory();
    certificate(&files);
    let here = files.display().to_string();
    let lines = lines
        .replace("/usr/local/nginx/conf/cert", &here)
        .replace("/usr/local/nginx/client", &here);
    let output = good(&lines, &[]);
    assert!(
        output.contains("the certificate from cert and key"),
        "{output}"
    );
    // Whether the machine has a public address is not this file's doing.
    let warned = output
        .lines()
        .any(|line| line.starts_with("# warning: ") && !line.contains("external_ip"));
    assert!(!warned, "{output}");
}

#[test]
fn a_proxy_takes_nothing_of_ours_and_does_not_lead_back_to_us() {
    for (path, upstream, what) in [
        (
            "/ws",
            "http://app:1",
            "path \"/ws\" is answered by callbox itself",
        ),
        ("/ice", "http://app:1", "path \"/ice\" is answered"),
        ("/r", "http://app:1", "path \"/r\" is answered"),
        ("/r/x", "http://app:1", "path \"/r/x\" is answered"),
        ("/a", "http://127.0.0.1:443", "callbox itself (front.https)"),
        ("/a", "http://localhost", "callbox itself (front.http)"),
        ("/a", "http://[::1]:3478", "callbox itself (turn.listen)"),
        (
            "/a",
            "http://call.example.com:80",
            "callbox itself (front.http)",
        ),
    ] {
        let said = bad(
            &format!(
                "host = ['call.example.com']\n[[proxy]]\npath = '{path}'\nupstream = '{upstream}'\n"
            ),
            &[],
        );
        assert_eq!(said.len(), 1, "{said:?}");
        assert!(said[0].starts_with("appliance.toml:2: proxy: "), "{said:?}");
        assert!(said[0].contains(what), "{said:?}");
    }
    let good = good(
        "[[proxy]]\npath = '/'\nupstream = 'http://127.0.0.1:3000'\n\
         [[proxy]]\npath = '/api/'\nupstream = 'unix:/run/api.sock'\n[web]\ndir = '/'\n",
        &[],
    );
    assert!(good.contains("upstream = \"unix:/run/api.sock\""), "{good}");
    assert!(
        good.contains("# warning: web.dir: shows below /r/ only"),
        "{good}"
    );
}

#[test]
fn turn_may_have_the_udp_side_of_the_https_port() {
    good("[turn]\nlisten = ['[::]:3478', '[::]:443']\n", &[]);
}

#[test]
fn what_is_probably_not_meant_is_a_warning() {
    let output = good(
        "host = ['call.example.com']\nexternal_ip = '10.0.0.5'\n\
         [turn]\nallow_peers = ['127.0.0.0/8']\nsecret = 'short'\n\
         [tls]\nmode = 'self-signed'\n",
        &[],
    );
    for warning in [
        "# warning: external_ip: 10.0.0.5 is not a public address",
        "# warning: tls.mode: the certificate for call.example.com is self-signed",
        "# warning: turn.allow_peers: 127.0.0.0/8",
        "# warning: turn.secret: shorter",
    ] {
        assert!(output.contains(warning), "{warning}\n{output}");
    }
    let output = good("external_ip = '8.8.8.8'\n", &[]);
    assert!(!output.contains("warning"), "{output}");
}

#[test]
fn the_named_file_is_used_and_a_missing_one_is_an_error() {
    let directory = directory();
    fs::write(
        directory.join("appliance.toml"),
        "host = ['found.example']\n",
    )
    .unwrap();
    fs::write(directory.join("other.toml"), "host = ['named.example']\n").unwrap();
    let run = |arguments: &[&str]| {
        let output = callbox(&directory, arguments, &[]);
        let text = [output.stdout, output.stderr].concat();
        (output.status.code(), String::from_utf8(text).unwrap())
    };
    assert!(run(&["check"]).1.contains("found.example"));
    assert!(
        run(&["check", "--config", "other.toml"])
            .1
            .contains("named.example")
    );
    assert!(
        run(&["--config", "other.toml", "check"])
            .1
            .contains("named.example")
    );
    let (code, text) = run(&["check", "--config", "missing.toml"]);
    assert_eq!(code, Some(2));
    assert!(text.starts_with("missing.toml: cannot be read: "), "{text}");
}

#[test]
fn paths_in_a_file_start_at_the_file() {
    let directory = directory();
    fs::create_dir(directory.join("etc")).unwrap();
    fs::write(directory.join("etc/secret"), "0123456789abcdef").unwrap();
    fs::write(
        directory.join("etc/callbox.toml"),
        "[turn]\nsecret_file = 'secret'\n",
    )
    .unwrap();
    let output = callbox(&directory, &["check", "--config", "etc/callbox.toml"], &[]);
    assert_eq!(output.status.code(), Some(0));
}

#[test]
fn wrong_usage_is_exit_code_2_and_help_is_none() {
    let directory = directory();
    let code = |arguments: &[&str]| callbox(&directory, arguments, &[]).status.code();
    assert_eq!(code(&["--help"]), Some(0));
    assert_eq!(code(&["chek"]), Some(2));
    assert_eq!(code(&["check", "--colour"]), Some(2));
    assert_eq!(code(&["try", "--port", "99999"]), Some(2));
    assert_eq!(code(&["--config", "x.toml", "try"]), Some(2));
    assert_eq!(code(&["credential", "--ttl", "soon"]), Some(2));
}
