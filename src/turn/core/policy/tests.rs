//! The address half of the peer-policy matrix; `core/tests` puts the same addresses through every
//! request.

use super::*;

fn network(text: &str) -> Network {
    let (address, prefix) = text.split_once('/').unwrap();
    Network {
        address: address.parse().unwrap(),
        prefix: prefix.parse().unwrap(),
    }
}

fn policy(allow: &[&str], deny: &[&str]) -> Policy {
    Policy::new(
        allow.iter().map(|t| network(t)).collect(),
        deny.iter().map(|t| network(t)).collect(),
        vec!["192.168.7.1".parse().unwrap(), "9.9.9.9".parse().unwrap()],
        vec![443, 3478],
    )
}

fn verdict(policy: &Policy, peer: &str) -> Verdict {
    policy.peer(peer.parse().unwrap())
}

#[test]
fn allow_entries_open_ordinary_ranges_but_never_loopback_or_metadata_by_accident() {
    let wide = policy(&["0.0.0.0/0", "::/0"], &[]);
    assert_eq!(verdict(&wide, "10.0.0.1:9"), Verdict::Allowed);
    assert_eq!(verdict(&wide, "[fd12::1]:9"), Verdict::Allowed);
    for (peer, rule) in [
        ("127.0.0.1:9", Rule::Loopback),
        ("[::1]:9", Rule::Loopback),
        ("[::ffff:127.0.0.1]:9", Rule::Loopback),
        ("[64:ff9b::7f00:1]:9", Rule::Loopback),
        ("[2002:7f00:1::]:9", Rule::Loopback),
        ("169.254.169.254:80", Rule::Metadata),
        ("[fd00:ec2::254]:80", Rule::Metadata),
        ("[64:ff9b::a9fe:a9fe]:80", Rule::Metadata),
    ] {
        assert_eq!(verdict(&wide, peer), Verdict::Denied(rule), "{peer}");
    }
    let narrow = policy(&["127.0.0.0/8", "169.254.169.254/32"], &[]);
    assert_eq!(verdict(&narrow, "127.0.0.1:9"), Verdict::Allowed);
    assert_eq!(verdict(&narrow, "169.254.169.254:80"), Verdict::Allowed);
}

#[test]
fn own_listening_ports_stay_closed_whatever_is_allowed() {
    let open = policy(&["127.0.0.0/8", "192.168.0.0/16", "0.0.0.0/8"], &[]);
    for peer in [
        "127.0.0.1:443",
        "127.9.9.9:3478",
        "192.168.7.1:443",
        "9.9.9.9:3478",
        "0.0.0.0:443",
        "[::ffff:9.9.9.9]:443",
        "[2002:0909:0909::]:443",
    ] {
        assert!(
            matches!(verdict(&open, peer), Verdict::Denied(_)),
            "{peer} reaches a listener of ours"
        );
    }
    assert_eq!(
        verdict(&open, "9.9.9.9:3478"),
        Verdict::Denied(Rule::OwnListener)
    );
}

#[test]
fn other_programs_on_our_own_address_are_reached_only_where_it_is_named() {
    let strict = policy(&[], &[]);
    assert_eq!(verdict(&strict, "9.9.9.9:5000"), Verdict::InternalOnly);
    let named = policy(&["9.9.9.9/32"], &[]);
    assert_eq!(verdict(&named, "9.9.9.9:5000"), Verdict::Allowed);
    assert_eq!(
        verdict(&named, "9.9.9.9:443"),
        Verdict::Denied(Rule::OwnListener)
    );
}

#[test]
fn a_private_address_of_ours_is_reachable_inside_the_process_only() {
    let strict = policy(&[], &[]);
    assert_eq!(verdict(&strict, "192.168.7.1:50000"), Verdict::InternalOnly);
    assert_eq!(
        strict.address("192.168.7.1".parse().unwrap()),
        Verdict::InternalOnly
    );
    assert_eq!(
        verdict(&strict, "192.168.7.2:50000"),
        Verdict::Denied(Rule::SpecialPurpose)
    );
}

#[test]
fn deny_entries_beat_allow_entries_in_every_disguise() {
    let both = policy(&["8.8.8.0/24"], &["8.8.8.8/32"]);
    assert_eq!(verdict(&both, "8.8.8.9:53"), Verdict::Allowed);
    for peer in ["8.8.8.8:53", "[::ffff:8.8.8.8]:53", "[64:ff9b::808:808]:53"] {
        assert_eq!(
            verdict(&both, peer),
            Verdict::Denied(Rule::Configured),
            "{peer}"
        );
    }
}

#[test]
fn port_zero_is_nobody() {
    assert_eq!(
        verdict(&policy(&[], &[]), "8.8.8.8:0"),
        Verdict::Denied(Rule::Port)
    );
}

#[test]
fn prefixes_of_every_length_contain_what_they_should() {
    assert!(network("0.0.0.0/0").contains("255.1.2.3".parse().unwrap()));
    assert!(!network("0.0.0.0/0").contains("::1".parse().unwrap()));
    assert!(network("192.0.2.1/32").contains("192.0.2.1".parse().unwrap()));
    assert!(!network("192.0.2.1/32").contains("192.0.2.0".parse().unwrap()));
    assert!(network("::/0").covers(&network("2001:db8::/32")));
    assert!(!network("2001:db8::/32").covers(&network("::/0")));
}
