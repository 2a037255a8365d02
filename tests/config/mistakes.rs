//! What is wrong is named, with its line and what would be right.

use crate::harness::{bad, good};

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
