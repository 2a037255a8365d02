//! The Internet of one test, and the machine in it.
//!
//! `outside` is everything that is not ours: 203.0.113.1 (the way), .53 (names), .90 (anybody).
//! The cloud's router has 203.0.113.50 and hands what the security group lets in to `machine`,
//! 172.16.0.10.

use std::fs::{self, File};
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use callbox::net::clock;
use serde_json::Value;

use crate::certificates::{Authority, Kind};

/// Longer than anything here takes on a busy machine.
const PATIENCE: Duration = Duration::from_secs(60);

/// The name of the machine.
pub(crate) const NAME: &str = "call.example.com";
/// What the world knows it by.
pub(crate) const PUBLIC: &str = "203.0.113.50";
/// What it has itself.
pub(crate) const PRIVATE: &str = "172.16.0.10";
/// Its IPv6 address, for which there is no NAT.
pub(crate) const PUBLIC_V6: &str = "2001:db8:1::10";
/// Somebody else.
pub(crate) const OTHER: &str = "203.0.113.90";

/// Without root there are no namespaces. Says so where nobody overlooks it.
pub(crate) fn is_root() -> bool {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let uid = status.lines().find_map(|line| line.strip_prefix("Uid:"));
    let is_root = uid.is_some_and(|ids| ids.split_whitespace().nth(1) == Some("0"));
    if !is_root {
        eprintln!("*** SKIPPED, NOTHING WAS TESTED: network namespaces need root ***");
    }
    is_root
}

/// Polls until something is so. Panics with `what` when it takes too long.
pub(crate) fn until(what: &str, mut is_so: impl FnMut() -> bool) {
    let end = clock::now() + PATIENCE;
    while !is_so() {
        assert!(clock::now() < end, "waited in vain: {what}");
        std::thread::sleep(Duration::from_millis(30));
    }
}

/// Runs a program to its end. Panics with what it says if it fails.
fn succeed(command: &mut Command, input: &str) {
    let mut child = command
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    child
        .stdin
        .take()
        .unwrap()
        .write_all(input.as_bytes())
        .unwrap();
    let output = child.wait_with_output().unwrap();
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{command:?}: {errors}\n{input}");
}

/// A network namespace that ends with its owner.
pub(crate) struct Namespace(String);

impl Namespace {
    fn new(name: &str) -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let this = Self(format!("doctor-{}-{number}-{name}", std::process::id()));
        succeed(Command::new("ip").args(["netns", "add", &this.0]), "");
        this
    }

    fn ip(&self, batch: &str) {
        succeed(
            Command::new("ip").args(["-n", &self.0, "-batch", "-"]),
            batch,
        );
    }

    /// A program inside.
    pub(crate) fn command(&self, program: &str) -> Command {
        let mut command = Command::new("ip");
        command.args(["netns", "exec", &self.0, program]);
        command
    }

    /// Rules of nftables.
    pub(crate) fn rules(&self, text: &str) {
        succeed(self.command("nft").args(["-f", "-"]), text);
    }
}

impl Drop for Namespace {
    fn drop(&mut self) {
        let _ = Command::new("ip").args(["netns", "del", &self.0]).status();
        let _ = fs::remove_dir_all(Path::new("/etc/netns").join(&self.0));
    }
}

/// A program that is ended with its owner.
pub(crate) struct Program {
    child: Child,
    log: PathBuf,
}

impl Program {
    pub(crate) fn start(command: &mut Command, log: PathBuf) -> Self {
        let file = File::create(&log).unwrap();
        let child = command
            .stdin(Stdio::null())
            .stdout(file.try_clone().unwrap())
            .stderr(file)
            .spawn()
            .unwrap_or_else(|error| panic!("{command:?}: {error}"));
        Self { child, log }
    }

    pub(crate) fn log(&self) -> String {
        fs::read_to_string(&self.log).unwrap_or_default()
    }

    /// Waits until it has said this.
    pub(crate) fn says(&mut self, word: &str) {
        until(word, || {
            let ended = self.child.try_wait().unwrap();
            assert!(ended.is_none(), "it has ended: {}", self.log());
            self.log().contains(word)
        });
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// What a test may change. The default is a machine on which all is well.
#[derive(Clone)]
pub(crate) struct Site {
    /// What the security group lets in, as rules of nftables.
    pub(crate) group: Vec<&'static str>,
    /// Whether the cloud's router sends back what the machine sends to its own public address.
    pub(crate) hairpin: bool,
    /// Names and addresses.
    pub(crate) names: Vec<(&'static str, &'static str)>,
    /// `external_ip`, with commas.
    pub(crate) external_ip: &'static str,
    /// Whether the machine has IPv6.
    pub(crate) v6: bool,
    /// What kind of certificate is in the files.
    pub(crate) certificate: Kind,
    /// Further lines of `[front]`.
    pub(crate) front: String,
    /// Further lines of `[turn]`, and sections.
    pub(crate) rest: String,
    /// What `[tls]` says instead of naming the files.
    pub(crate) tls: Option<String>,
}

impl Default for Site {
    fn default() -> Self {
        Self {
            group: vec!["accept"],
            hairpin: true,
            names: vec![(NAME, PUBLIC)],
            external_ip: PUBLIC,
            v6: false,
            certificate: Kind::Good,
            front: String::new(),
            rest: String::new(),
            tls: None,
        }
    }
}

/// A running laboratory.
pub(crate) struct Lab {
    // Programs end before their namespaces.
    pub(crate) callbox: Option<Program>,
    pub(crate) programs: Vec<Program>,
    pub(crate) machine: Namespace,
    _router: Namespace,
    pub(crate) outside: Namespace,
    pub(crate) directory: PathBuf,
}

impl Lab {
    /// Builds the networks, and starts the name server and callbox.
    pub(crate) fn start(name: &str, site: &Site) -> Self {
        let mut lab = Self::build(name, site);
        lab.serve();
        lab
    }

    /// The same without callbox.
    pub(crate) fn build(name: &str, site: &Site) -> Self {
        let directory = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("doctor-{name}"));
        let _ = fs::remove_dir_all(&directory);
        fs::create_dir_all(&directory).unwrap();
        let [outside, router, machine] = ["outside", "router", "machine"].map(Namespace::new);
        for namespace in [&outside, &router, &machine] {
            namespace.ip("link set lo up\n");
            let quiet = "net.ipv6.conf.all.disable_ipv6=1 net.ipv6.conf.default.disable_ipv6=1 \
                         net.ipv4.conf.all.rp_filter=0 net.ipv4.conf.default.rp_filter=0 \
                         net.ipv4.conf.all.send_redirects=0 net.ipv4.conf.default.send_redirects=0";
            succeed(
                namespace
                    .command("sysctl")
                    .arg("-qw")
                    .args(quiet.split_whitespace()),
                "",
            );
        }
        succeed(
            router
                .command("sysctl")
                .args(["-qw", "net.ipv4.ip_forward=1"]),
            "",
        );
        outside.ip(&format!(
            "link add wan type veth peer name wan netns {}\n\
             addr add 203.0.113.1/24 dev wan\naddr add 203.0.113.53/24 dev wan\n\
             addr add {OTHER}/24 dev wan\nlink set wan up\n",
            router.0
        ));
        router.ip(&format!(
            "addr add {PUBLIC}/24 dev wan\nlink set wan up\n\
             link add lan type veth peer name eth0 netns {}\n\
             addr add 172.16.0.1/24 dev lan\nlink set lan up\nroute add default via 203.0.113.1\n",
            machine.0
        ));
        machine.ip(&format!(
            "addr add {PRIVATE}/24 dev eth0\nlink set eth0 up\nroute add default via 172.16.0.1\n"
        ));
        if site.v6 {
            let on = "net.ipv6.conf.all.disable_ipv6=0 net.ipv6.conf.eth0.disable_ipv6=0 net.ipv6.conf.lo.disable_ipv6=0";
            succeed(
                machine
                    .command("sysctl")
                    .arg("-qw")
                    .args(on.split_whitespace()),
                "",
            );
            machine.ip(&format!("addr add {PUBLIC_V6}/64 dev eth0 nodad\n"));
        }
        router.rules(&cloud(site));
        let resolver = Path::new("/etc/netns").join(&machine.0);
        fs::create_dir_all(&resolver).unwrap();
        fs::write(resolver.join("resolv.conf"), "nameserver 203.0.113.53\n").unwrap();

        Authority::new("an authority of the test").write(&directory, site.certificate);
        let mut lab = Self {
            callbox: None,
            programs: Vec::new(),
            machine,
            _router: router,
            outside,
            directory,
        };
        lab.name_server(&site.names);
        lab.configure(site);
        lab
    }

    fn name_server(&mut self, names: &[(&str, &str)]) {
        let mut command = self.outside.command("python3");
        command.arg(script("names.py")).arg("203.0.113.53");
        command.args(names.iter().map(|(name, ip)| format!("{name}={ip}")));
        let mut server = Program::start(&mut command, self.directory.join("names.log"));
        server.says("ready");
        self.programs.push(server);
    }

    pub(crate) fn configure(&self, site: &Site) {
        let at = self.directory.display();
        let tls = site
            .tls
            .clone()
            .unwrap_or_else(|| format!("cert = \"{at}/cert.pem\"\nkey = \"{at}/key.pem\""));
        let text = format!(
            "host = [\"{NAME}\"]\nexternal_ip = [\"{}\"]\nstate_dir = \"{at}/state\"\n\
             [front]\nmax_connections = 1000\n{}\n[tls]\n{tls}\n\
             [turn]\nrelay_ports = \"50000-50999\"\nworkers = 2\n{}\n",
            site.external_ip.replace(',', "\", \""),
            site.front,
            site.rest
        );
        fs::write(self.config(), text).unwrap();
    }

    pub(crate) fn config(&self) -> PathBuf {
        self.directory.join("appliance.toml")
    }

    /// Starts callbox as the configuration says.
    pub(crate) fn serve(&mut self) {
        let command = self.machine.command(env!("CARGO_BIN_EXE_callbox"));
        self.serve_by(command);
    }

    /// The same by a command that ends with the program.
    pub(crate) fn serve_by(&mut self, mut command: Command) {
        command.args(["serve", "--config"]).arg(self.config());
        command.env("SSL_CERT_FILE", self.directory.join("roots.pem"));
        let mut callbox = Program::start(&mut command, self.directory.join("callbox.log"));
        callbox.says("ready");
        self.callbox = Some(callbox);
    }

    /// What the doctor says: exit code and report.
    pub(crate) fn examine(&self, arguments: &[&str]) -> Examination {
        let output = self.doctor(arguments);
        let json = self.doctor(&[arguments, &["--json"]].concat());
        let said = String::from_utf8_lossy(&json.stdout);
        assert_eq!(output.status.code(), json.status.code());
        let report = serde_json::from_str(&said).unwrap_or_else(|error| {
            panic!("{error}: {said} {}", String::from_utf8_lossy(&json.stderr))
        });
        Examination {
            code: output.status.code(),
            text: String::from_utf8(output.stdout).unwrap(),
            report,
        }
    }

    pub(crate) fn doctor(&self, arguments: &[&str]) -> Output {
        self.machine
            .command(env!("CARGO_BIN_EXE_callbox"))
            .args(["doctor", "--config"])
            .arg(self.config())
            .args(arguments)
            .env("SSL_CERT_FILE", self.directory.join("roots.pem"))
            .output()
            .unwrap()
    }
}

/// A script beside these tests.
pub(crate) fn script(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/doctor")
        .join(name)
}

/// 1:1 NAT, the security group for what comes in from outside or by the hairpin.
fn cloud(site: &Site) -> String {
    let group = site.group.join("\n");
    let (there, back) = match site.hairpin {
        true => (
            format!("iifname lan ip daddr {PUBLIC} dnat to {PRIVATE}"),
            format!("oifname lan ip saddr {PRIVATE} ip daddr {PRIVATE} snat to {PUBLIC}"),
        ),
        false => (String::new(), String::new()),
    };
    format!(
        "table ip cloud {{
           chain group {{
             {group}
           }}
           chain pre {{
             type nat hook prerouting priority dstnat;
             iifname wan ip daddr {PUBLIC} dnat to {PRIVATE}
             {there}
           }}
           chain post {{
             type nat hook postrouting priority srcnat;
             oifname wan ip saddr {PRIVATE} snat to {PUBLIC}
             {back}
           }}
           chain input {{
             type filter hook input priority filter;
             ip daddr {PUBLIC} drop
           }}
           chain forward {{
             type filter hook forward priority filter; policy drop;
             ct state established,related accept
             oifname wan accept
             oifname lan jump group
           }}
         }}"
    )
}

/// What a run of the doctor came to.
pub(crate) struct Examination {
    pub(crate) code: Option<i32>,
    pub(crate) text: String,
    pub(crate) report: Value,
}

impl Examination {
    /// The ids of the causes that were found.
    pub(crate) fn causes(&self) -> Vec<&str> {
        let findings = self.report["findings"].as_array().unwrap();
        let failed = findings
            .iter()
            .filter(|finding| finding["state"] == "failed" && finding["because"].is_null());
        failed
            .map(|finding| finding["id"].as_str().unwrap())
            .collect()
    }

    /// The state of the first finding with this id.
    pub(crate) fn state(&self, id: &str) -> &str {
        let findings = self.report["findings"].as_array().unwrap();
        let found = findings.iter().find(|finding| finding["id"] == id);
        found.map_or("", |finding| finding["state"].as_str().unwrap())
    }

    /// Checks that this one cause was found, and that text and remedy say what they should.
    pub(crate) fn names(&self, cause: &str, words: &[&str]) {
        assert_eq!(self.causes(), [cause], "{}", self.text);
        assert_eq!(self.code, Some(1), "{}", self.text);
        assert!(
            self.text.starts_with(&format!("{cause}: ")),
            "{}",
            self.text
        );
        for word in words {
            assert!(self.text.contains(word), "{word}: {}", self.text);
        }
    }
}
