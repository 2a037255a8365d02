//! Where settings come from: the file, the environment, the command line.

use std::fs;

use crate::harness::{assignments, bad, callbox, directory, good};

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
