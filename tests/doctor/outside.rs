//! Asking another callbox how this one looks from outside, and what that one does not do.

use std::fs;

use crate::lab::{Lab, OTHER, Program, Site, is_root};

/// A second callbox, at 203.0.113.90.
fn other(lab: &mut Lab, probes: bool, turn: &str) {
    let at = lab.directory.join("other");
    fs::create_dir_all(&at).unwrap();
    let config = at.join("appliance.toml");
    let text = format!(
        "state_dir = \"{at}/state\"\nexternal_ip = \"{OTHER}\"\n\
         [front]\nhttps = [\"{OTHER}:443\"]\nhttp = []\nprobes = {probes}\n\
         [turn]\nlisten = [\"{OTHER}:3478\"]\nworkers = 1\n{turn}\n[admin]\nlisten = []\n",
        at = at.display()
    );
    fs::write(&config, text).unwrap();
    let mut command = lab.outside.command(env!("CARGO_BIN_EXE_callbox"));
    command.args(["serve", "--config"]).arg(&config);
    let mut callbox = Program::start(&mut command, at.join("log"));
    callbox.says("ready");
    lab.programs.push(callbox);
}

const OPEN: &str = "allow_peers = [\"203.0.113.0/24\"]";
const FROM: &[&str] = &["--from", "https://203.0.113.90"];

#[test]
fn without_a_hairpin_another_callbox_tells_that_all_is_well() {
    if !is_root() {
        return;
    }
    let mut lab = Lab::start(
        "outside-well",
        &Site {
            hairpin: false,
            ..Site::default()
        },
    );
    other(&mut lab, true, OPEN);
    let found = lab.examine(FROM);
    assert_eq!(found.code, Some(0), "{}", found.text);
    assert_eq!(found.state("address.hairpin"), "note");
    for id in [
        "outside.https",
        "outside.http",
        "outside.turn-udp",
        "outside.turn-tcp",
        "outside.range",
    ] {
        assert_eq!(found.state(id), "ok", "{id}: {:#}", found.report);
    }
}

#[test]
fn what_is_closed_only_from_outside_is_named() {
    if !is_root() {
        return;
    }
    let site = Site {
        hairpin: false,
        group: vec![
            "tcp dport { 80, 443, 3478 } accept",
            "udp dport 50000-50999 accept",
        ],
        ..Site::default()
    };
    let mut lab = Lab::start("outside-closed", &site);
    other(&mut lab, true, OPEN);
    let found = lab.examine(FROM);
    assert_eq!(found.code, Some(1), "{}", found.text);
    assert!(
        found.causes().contains(&"outside.turn-udp"),
        "{}",
        found.text
    );
    assert!(!found.causes().contains(&"outside.range"), "{}", found.text);
}

#[test]
fn a_callbox_probes_nobody_unless_its_operator_wants_it() {
    if !is_root() {
        return;
    }
    let mut lab = Lab::start("outside-off", &Site::default());
    other(&mut lab, false, OPEN);
    lab.examine(FROM).names("outside.off", &["probes = true"]);
}

#[test]
fn addresses_that_turn_would_not_relay_to_are_not_probed() {
    if !is_root() {
        return;
    }
    let mut lab = Lab::start("outside-refused", &Site::default());
    // The documentation's addresses are special ones.
    other(&mut lab, true, "");
    lab.examine(FROM)
        .names("outside.unreachable", &["status 403"]);
}

#[test]
fn a_probe_goes_to_whoever_asks_whatever_they_write() {
    if !is_root() {
        return;
    }
    let mut lab = Lab::start("outside-wish", &Site::default());
    other(&mut lab, true, OPEN);
    let ask = |arguments: &[&str]| {
        let mut command = lab.machine.command("curl");
        command.args([
            "--silent",
            "--insecure",
            "--max-time",
            "20",
            "-w",
            "\n%{http_code}",
        ]);
        command.args(arguments).arg("https://203.0.113.90/probe");
        String::from_utf8(command.output().unwrap().stdout).unwrap()
    };
    let wish = r#"{"name":"203.0.113.1","tls":443,"tcp":[3478]}"#;
    let good = ask(&[
        "--data",
        wish,
        "-H",
        "X-Forwarded-For: 203.0.113.1",
        "-H",
        "Forwarded: for=203.0.113.1",
    ]);
    assert!(good.contains("\"source\":\"203.0.113.50\""), "{good}");
    assert!(good.contains("\"443\":\"open\""), "{good}");
    for (arguments, code) in [
        (
            &["--data", r#"{"name":"a","target":"203.0.113.1"}"#][..],
            "400",
        ),
        (&["--data", r#"{"name":"a","tcp":[1,2,3,4,5]}"#], "400"),
        (&["--data", r#"{"name":"a","udp":[0]}"#], "400"),
        (
            &["--data", wish, "-H", "Origin: https://203.0.113.90"],
            "403",
        ),
        (&[], "405"),
    ] {
        let answer = ask(arguments);
        assert!(
            answer.ends_with(&format!("\n{code}")),
            "{arguments:?}: {answer}"
        );
    }
    let many: Vec<_> = (0..16)
        .map(|_| ask(&["--data", r#"{"name":"a"}"#]))
        .collect();
    assert!(
        many.iter().any(|answer| answer.ends_with("\n429")),
        "{many:?}"
    );
}
