//! One broken link each.

use std::fs;

use crate::lab::{Lab, NAME, OTHER, PUBLIC, PUBLIC_V6, Program, Site, is_root, script, until};

#[test]
fn a_port_that_is_closed_for_udp_is_named() {
    if !is_root() {
        return;
    }
    let site = Site {
        group: vec![
            "tcp dport { 80, 443, 3478 } accept",
            "udp dport 50000-50999 accept",
        ],
        ..Site::default()
    };
    let found = Lab::start("udp", &site).examine(&[]);
    found.names(
        "reach.turn-udp",
        &["UDP 3478 of 203.0.113.50", "Security Groups", "Firewalls"],
    );
    assert_eq!(found.state("relay.tls"), "ok", "{:#}", found.report);
}

#[test]
fn a_port_that_is_closed_for_tcp_is_named() {
    if !is_root() {
        return;
    }
    let site = Site {
        group: vec!["tcp dport { 80, 3478 } accept", "meta l4proto udp accept"],
        ..Site::default()
    };
    let found = Lab::start("tcp", &site).examine(&[]);
    found.names("reach.https", &["TCP 443 of 203.0.113.50"]);
}

#[test]
fn an_ipv6_address_of_another_machine_in_the_name_is_named() {
    if !is_root() {
        return;
    }
    let site = Site {
        v6: true,
        names: vec![(NAME, PUBLIC), (NAME, "2001:db8:2::90")],
        external_ip: "203.0.113.50,2001:db8:1::10",
        ..Site::default()
    };
    let found = Lab::start("aaaa", &site).examine(&[]);
    found.names("dns.elsewhere", &["AAAA", "2001:db8:2::90", PUBLIC_V6]);
    assert_eq!(found.state("relay.udp"), "ok", "{:#}", found.report);
}

#[test]
fn a_relay_range_that_is_closed_is_named() {
    if !is_root() {
        return;
    }
    let site = Site {
        group: vec![
            "tcp dport { 80, 443, 3478 } accept",
            "udp dport 3478 accept",
        ],
        ..Site::default()
    };
    let found = Lab::start("range", &site).examine(&[]);
    found.names("range.closed", &["UDP 50000-50999", "GCP"]);
    assert_eq!(found.state("relay.udp"), "ok", "{:#}", found.report);
}

#[test]
fn this_machines_own_firewall_is_named_with_its_command() {
    if !is_root() {
        return;
    }
    let lab = Lab::start("own-firewall", &Site::default());
    lab.machine.rules(
        "table inet filter { chain input { type filter hook input priority 0; policy drop;
           iifname lo accept
           ct state established,related accept
           tcp dport { 22, 80, 443, 3478 } accept
           udp dport 3478 accept
         }
         }",
    );
    lab.examine(&[]).names(
        "firewall.closed",
        &[
            "nft insert rule inet filter input udp dport 50000-50999 accept",
            "because of this: range.closed",
        ],
    );
}

#[test]
fn a_wrong_advertised_address_is_named_with_the_right_one() {
    if !is_root() {
        return;
    }
    let site = Site {
        external_ip: "203.0.113.99",
        ..Site::default()
    };
    let found = Lab::start("wrong-address", &site).examine(&[]);
    found.names(
        "address.wrong",
        &["203.0.113.99", "external_ip = \"203.0.113.50\""],
    );
}

#[test]
fn a_network_without_hairpin_is_named() {
    if !is_root() {
        return;
    }
    let site = Site {
        hairpin: false,
        ..Site::default()
    };
    let found = Lab::start("hairpin", &site).examine(&[]);
    found.names("address.hairpin", &[PUBLIC, "--from"]);
    // What does not depend on it was looked at without leaving the machine.
    for id in [
        "relay.udp",
        "relay.tcp",
        "relay.tls",
        "signaling",
        "certificate",
    ] {
        assert_eq!(found.state(id), "ok", "{id}: {:#}", found.report);
    }
}

#[test]
fn a_name_that_leads_elsewhere_is_named() {
    if !is_root() {
        return;
    }
    let site = Site {
        names: vec![("call.example.com", OTHER)],
        ..Site::default()
    };
    let found = Lab::start("elsewhere", &site).examine(&[]);
    found.names(
        "dns.elsewhere",
        &[OTHER, "change A of call.example.com to 203.0.113.50"],
    );
}

#[test]
fn a_second_record_that_leads_elsewhere_is_named() {
    if !is_root() {
        return;
    }
    let site = Site {
        names: vec![
            ("call.example.com", PUBLIC),
            ("call.example.com", "2001:db8::9"),
        ],
        ..Site::default()
    };
    let found = Lab::start("aaaa", &site).examine(&[]);
    found.names("dns.elsewhere", &["AAAA", "2001:db8::9"]);
}

#[test]
fn a_name_that_does_not_exist_is_named() {
    if !is_root() {
        return;
    }
    let site = Site {
        names: vec![("other.example.com", PUBLIC)],
        ..Site::default()
    };
    let found = Lab::start("no-name", &site).examine(&[]);
    found.names("dns.missing", &["call.example.com -> 203.0.113.50"]);
}

#[test]
fn dead_name_servers_are_named() {
    if !is_root() {
        return;
    }
    let mut lab = Lab::start("dead-dns", &Site::default());
    lab.programs.clear();
    let found = lab.examine(&[]);
    found.names("dns.dead", &["203.0.113.53", "/etc/resolv.conf"]);
}

#[test]
fn a_port_that_nginx_holds_is_named_with_its_holder() {
    if !is_root() {
        return;
    }
    let mut lab = Lab::build("nginx", &Site::default());
    let at = lab.directory.clone();
    let config = at.join("nginx.conf");
    // One process: a worker would outlive its master, which the test kills.
    let text = format!(
        "daemon off; master_process off; pid {at}/nginx.pid; error_log stderr notice;\n\
         events {{ }}\n\
         http {{ access_log off; server {{ listen 443; }}\n\
         client_body_temp_path {at}/a; proxy_temp_path {at}/b; fastcgi_temp_path {at}/c;\n\
         uwsgi_temp_path {at}/d; scgi_temp_path {at}/e; }}\n",
        at = at.display()
    );
    fs::write(&config, text).unwrap();
    let mut command = lab.machine.command("nginx");
    command.arg("-c").arg(&config);
    let mut nginx = Program::start(&mut command, at.join("nginx.log"));
    nginx.says("nginx/");
    until("nginx listens", || {
        let mut command = lab.machine.command("ss");
        let output = command.args(["-Hltn", "sport = :443"]).output().unwrap();
        !output.stdout.is_empty()
    });
    lab.programs.push(nginx);
    let found = lab.examine(&[]);
    found.names(
        "port.held",
        &["port 443 (tcp) is held by nginx (pid ", "[front] https"],
    );
}

#[test]
fn a_clock_that_is_off_is_named() {
    if !is_root() {
        return;
    }
    // The authority's clock is ahead; which of two clocks is wrong only a third one could tell.
    let site = Site {
        tls: Some(
            "mode = \"acme\"\nacme_directory = \"https://203.0.113.90:14000/dir\"".to_owned(),
        ),
        ..Site::default()
    };
    let mut lab = Lab::build("clock", &site);
    let mut command = lab.outside.command("python3");
    command.arg(script("date.py")).args([OTHER, "14000"]);
    command.args([
        lab.directory.join("cert.pem"),
        lab.directory.join("key.pem"),
    ]);
    let mut server = Program::start(command.arg("12000"), lab.directory.join("date.log"));
    server.says("ready");
    lab.programs.push(server);
    lab.serve();
    let found = lab.examine(&[]);
    found.names(
        "clock.off",
        &["3 hours behind", "203.0.113.90:14000", "timedatectl"],
    );
}

#[test]
fn a_low_limit_of_open_files_is_named() {
    if !is_root() {
        return;
    }
    let mut lab = Lab::build("files", &Site::default());
    let mut command = lab.machine.command("setpriv");
    command.args([
        "--bounding-set",
        "-sys_resource",
        "--inh-caps",
        "-sys_resource",
    ]);
    command.args(["prlimit", "--nofile=512:512", env!("CARGO_BIN_EXE_callbox")]);
    lab.serve_by(command);
    let found = lab.examine(&[]);
    found.names("files.limit", &["may open 512 files", "LimitNOFILE"]);
}
