//! Behind real NATs: namespaces of our own with a server that has two addresses, and clients behind
//! Linux routers that translate in different ways. coturn's discovery must name each.
//!
//! Needs root, `ip` and `nft`, and touches nothing outside the namespaces it makes.

use std::fs;
use std::io::Write as _;
use std::process::{Command, Stdio};
use std::time::Duration;

use super::harness::{Directory, Process, Run, until};

/// Runs a program to its end. Panics with what it says if it fails.
fn succeed(program: &str, arguments: &str, input: &str) {
    let mut child = Command::new(program)
        .args(arguments.split_whitespace())
        .stdin(Stdio::piped())
        .stderr(Stdio::piped())
        .stdout(Stdio::null())
        .spawn()
        .unwrap_or_else(|error| panic!("{program}: {error}"));
    let mut stdin = child.stdin.take().unwrap();
    stdin.write_all(input.as_bytes()).unwrap();
    drop(stdin);
    let output = child.wait_with_output().unwrap();
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(
        output.status.success(),
        "{program} {arguments} (as root?): {errors}"
    );
}

/// A network namespace that ends with its owner.
struct Namespace(String);

impl Namespace {
    fn new(name: &str) -> Self {
        let this = Self(format!("callbox-{}-{name}", std::process::id()));
        succeed("ip", &format!("netns add {}", this.0), "");
        this.ip("link set lo up");
        this
    }

    fn ip(&self, arguments: &str) {
        succeed("ip", &format!("-n {} {arguments}", self.0), "");
    }

    /// A program inside.
    fn command(&self, program: &str) -> Command {
        let mut command = Command::new("ip");
        command.args(["netns", "exec", &self.0, program]);
        command
    }

    /// A cable between an interface here, with an address, and one there.
    fn cable(&self, name: &str, address: &str, other: &Self, other_name: &str) {
        let there = format!("peer name {other_name} netns {}", other.0);
        self.ip(&format!("link add {name} type veth {there}"));
        self.ip(&format!("addr add {address} dev {name}"));
        self.ip(&format!("link set {name} up"));
        other.ip(&format!("link set {other_name} up"));
    }
}

impl Drop for Namespace {
    fn drop(&mut self) {
        let _ = Command::new("ip").args(["netns", "del", &self.0]).status();
    }
}

/// Which port a translated packet leaves by.
enum Translation {
    /// The client's own: the same towards everybody.
    Port,
    /// A random one, and another towards everybody.
    Random,
}

/// A client behind a router.
struct Site {
    client: Namespace,
    _router: Namespace,
}

impl Site {
    /// `number` goes into its addresses.
    fn new(internet: &Namespace, number: u8, translation: &Translation) -> Self {
        let router = Namespace::new(&format!("router{number}"));
        let client = Namespace::new(&format!("client{number}"));
        let outside = format!("203.0.113.{number}");
        router.cable(
            "wan",
            &format!("{outside}/24"),
            internet,
            &format!("to{number}"),
        );
        internet.ip(&format!("link set to{number} master internet"));
        client.cable("lan", &format!("192.168.{number}.2/24"), &router, "lan");
        router.ip(&format!("addr add 192.168.{number}.1/24 dev lan"));
        client.ip(&format!("route add default via 192.168.{number}.1"));
        let forward = format!("netns exec {} sysctl -qw net.ipv4.ip_forward=1", router.0);
        succeed("ip", &forward, "");
        let source = match translation {
            Translation::Port => format!("snat to {outside}"),
            Translation::Random => {
                format!("meta l4proto udp snat to {outside}:1024-65535 fully-random")
            }
        };
        // What nobody inside has asked for is dropped, at the router too: otherwise the first
        // packet from outside would take the port that the client's own is about to leave by.
        let rules = format!(
            "table ip nat {{
               chain out {{ type nat hook postrouting priority srcnat; oifname wan {source}; }}
               chain in {{ type filter hook input priority filter; iifname wan ct state new drop; }}
               chain through {{
                 type filter hook forward priority filter;
                 iifname wan ct state established,related accept
                 iifname wan drop
               }}
             }}"
        );
        succeed("ip", &format!("netns exec {} nft -f -", router.0), &rules);
        Self {
            client,
            _router: router,
        }
    }
}

#[test]
fn coturns_discovery_names_the_nat_that_a_client_is_behind() {
    let directory = Directory::new();
    let internet = Namespace::new("server");
    internet.ip("link add internet type bridge");
    for address in ["203.0.113.10/24", "203.0.113.11/24"] {
        internet.ip(&format!("addr add {address} dev internet"));
    }
    internet.ip("link set internet up");

    let config = directory.file("appliance.toml");
    let listen: Vec<_> = ["203.0.113.10", "203.0.113.11"]
        .iter()
        .flat_map(|ip| [3478, 3479].map(|port| format!("\"{ip}:{port}\"")))
        .collect();
    let text = format!(
        "external_ip = [\"203.0.113.10\"]\nstate_dir = \"{}\"\n\
         [front]\nhttps = [\"203.0.113.10:443\"]\nhttp = []\n\
         [turn]\nlisten = [{}]\ndiscovery = true\nworkers = 2\n",
        directory.file("state").display(),
        listen.join(", "),
    );
    fs::write(&config, text).unwrap();
    let mut command = internet.command(env!("CARGO_BIN_EXE_callbox"));
    command.arg("serve").arg("--config").arg(&config);
    let log = directory.file("log");
    let mut server = Process::start(&mut command, &log);
    until("callbox starts", || {
        let said = fs::read_to_string(&log).unwrap_or_default();
        assert!(server.is_running(), "{said}");
        said.contains("ready")
    });

    let cases = [
        (21, Translation::Port, "Endpoint Independent Mapping"),
        (
            22,
            Translation::Random,
            "Address and Port Dependent Mapping",
        ),
    ];
    let sites = cases.map(|(number, translation, mapping)| {
        (Site::new(&internet, number, &translation), mapping)
    });
    let mut runs: Vec<_> = sites
        .iter()
        .map(|(site, mapping)| {
            let mut command = site.client.command("turnutils_natdiscovery");
            command.args(["-m", "-f", "203.0.113.10"]);
            let run = Run::start(&directory, (*mapping).to_owned(), &mut command);
            (run, *mapping)
        })
        .collect();
    for (run, mapping) in &mut runs {
        let (code, output) = run.finish(Duration::from_secs(60));
        assert_eq!(code, Some(0), "{output}");
        // Both let in only what comes from an address and port that was sent to.
        for expected in [mapping, "Address and Port Dependent Filtering"] {
            assert!(output.contains(&format!("NAT with {expected}")), "{output}");
        }
    }
}
