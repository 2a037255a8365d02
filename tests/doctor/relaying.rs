//! "Relay fails, everything else works": the four ways to get there, each with a name of its own.

use crate::lab::{Lab, PRIVATE, Site, is_root};

#[test]
fn a_forgotten_port_3478_is_named() {
    if !is_root() {
        return;
    }
    let site = Site {
        group: vec![
            "tcp dport { 80, 443 } accept",
            "udp dport 50000-50999 accept",
        ],
        ..Site::default()
    };
    let found = Lab::start("forgotten", &site).examine(&[]);
    assert_eq!(
        found.causes(),
        ["reach.turn-udp", "reach.turn-tcp"],
        "{}",
        found.text
    );
    for word in [
        "UDP 3478",
        "TCP 3478",
        "Security Groups",
        "NSG",
        "VPC firewall",
        "Aliyun",
        "Tencent",
        "Hetzner",
    ] {
        assert!(found.text.contains(word), "{word}: {}", found.text);
    }
}

#[test]
fn a_private_address_that_is_advertised_is_named_with_the_public_one() {
    if !is_root() {
        return;
    }
    let site = Site {
        external_ip: "auto",
        ..Site::default()
    };
    let found = Lab::start("private", &site).examine(&[]);
    found.names(
        "address.private",
        &[PRIVATE, "external_ip = \"203.0.113.50\""],
    );
}

#[test]
fn relays_that_may_not_send_to_each_other_are_named() {
    if !is_root() {
        return;
    }
    let site = Site {
        rest: "deny_peers = [\"203.0.113.0/24\"]".to_owned(),
        ..Site::default()
    };
    let found = Lab::start("refused", &site).examine(&[]);
    found.names("relay.refused", &["403", "deny_peers"]);
}

#[test]
fn a_secret_that_the_running_process_does_not_know_is_named() {
    if !is_root() {
        return;
    }
    let lab = Lab::start("credentials", &Site::default());
    // Somebody has put an older copy of the state back.
    let kept = lab.directory.join("state/turn.secret");
    std::fs::write(kept, "000102030405060708090a0b0c0d0e0f\n").unwrap();
    let found = lab.examine(&[]);
    found.names("relay.credentials", &["/state", "restart"]);
}
