//! All is well.

use crate::lab::{Lab, NAME, PUBLIC, PUBLIC_V6, Site, is_root};

#[test]
fn when_all_is_well_the_doctor_says_so_in_one_line() {
    if !is_root() {
        return;
    }
    let lab = Lab::start("well", &Site::default());
    let found = lab.examine(&[]);
    assert_eq!(found.causes(), Vec::<&str>::new(), "{}", found.text);
    assert_eq!(found.code, Some(0), "{}", found.text);
    // How large buffers may be is the host's setting, and worth a note wherever it is the usual one.
    let lines: Vec<_> = found
        .text
        .lines()
        .filter(|line| !line.contains("kernel.buffers") && !line.contains("rmem_max"))
        .collect();
    assert_eq!(lines.len(), 1, "{}", found.text);
    assert!(
        lines[0].starts_with("all well with callbox (pid "),
        "{}",
        found.text
    );
    for id in [
        "dns",
        "port",
        "certificate",
        "address",
        "range",
        "firewall",
        "files",
        "relay.udp",
        "relay.tcp",
        "relay.tls",
        "signaling",
    ] {
        assert_eq!(found.state(id), "ok", "{id}: {:#}", found.report);
    }
    let said = found.report.to_string();
    assert!(
        said.contains(&format!("through {PUBLIC}:3478")),
        "{:#}",
        found.report
    );
}

#[test]
fn with_ipv6_both_records_and_both_relays_are_looked_at() {
    if !is_root() {
        return;
    }
    let site = Site {
        v6: true,
        names: vec![(NAME, PUBLIC), (NAME, PUBLIC_V6)],
        external_ip: "203.0.113.50,2001:db8:1::10",
        ..Site::default()
    };
    let found = Lab::start("both-families", &site).examine(&[]);
    assert_eq!(found.causes(), Vec::<&str>::new(), "{}", found.text);
    assert_eq!(found.code, Some(0), "{}", found.text);
    let findings = found.report["findings"].as_array().unwrap();
    for (transport, port) in [("udp", 3478), ("tcp", 3478), ("tls", 443)] {
        for address in [PUBLIC.to_owned(), format!("[{PUBLIC_V6}]")] {
            let way = format!("through {address}:{port}");
            let is_there = findings.iter().any(|finding| {
                finding["id"] == format!("relay.{transport}")
                    && finding["state"] == "ok"
                    && finding["text"].as_str().unwrap().contains(&way)
            });
            assert!(is_there, "{transport} {way}: {:#}", found.report);
        }
    }
}

#[test]
fn where_a_load_balancer_is_expected_the_doctor_speaks_like_one() {
    if !is_root() {
        return;
    }
    let site = Site {
        front: "proxy_protocol = [\"127.0.0.0/8\", \"172.16.0.0/16\"]".to_owned(),
        ..Site::default()
    };
    let found = Lab::start("balancer", &site).examine(&[]);
    assert_eq!(found.code, Some(0), "{}", found.text);
}

#[test]
fn before_a_start_it_looks_at_what_a_start_needs() {
    if !is_root() {
        return;
    }
    let lab = Lab::build("not-running", &Site::default());
    let found = lab.examine(&[]);
    assert_eq!(found.code, Some(0), "{}", found.text);
    assert!(found.text.contains("not running"), "{}", found.text);
    assert_eq!(found.state("running.no"), "note");
    assert_eq!(found.state("port"), "ok");
    assert_eq!(found.state("relay.udp"), "", "{:#}", found.report);
    assert!(found.report["running"].is_null());
}

#[test]
fn the_admin_listener_answers_the_same_and_to_one_at_a_time() {
    if !is_root() {
        return;
    }
    let lab = Lab::start(
        "admin",
        &Site {
            hairpin: false,
            ..Site::default()
        },
    );
    let ask = || {
        let mut command = lab.machine.command("curl");
        command.args([
            "--silent",
            "--max-time",
            "40",
            "-w",
            "\n%{http_code}",
            "http://127.0.0.1:9090/doctor",
        ]);
        command
            .stdout(std::process::Stdio::piped())
            .spawn()
            .unwrap()
    };
    let (one, other) = (ask(), ask());
    let answers = [one, other].map(|curl| {
        let output = curl.wait_with_output().unwrap();
        let said = String::from_utf8(output.stdout).unwrap();
        let (body, code) = said.rsplit_once('\n').unwrap();
        (body.to_owned(), code.to_owned())
    });
    let codes: Vec<&str> = answers.iter().map(|(_, code)| code.as_str()).collect();
    assert!(
        codes.contains(&"503") && codes.contains(&"429"),
        "{answers:?}"
    );
    let (report, _) = answers.iter().find(|(_, code)| code == "503").unwrap();
    let report: serde_json::Value = serde_json::from_str(report).unwrap();
    assert_eq!(report["findings"][0]["id"], "address.hairpin", "{report:#}");
    assert_eq!(report["findings"][0]["subject"], PUBLIC);
}
