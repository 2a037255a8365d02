//! coturn's own client against callbox and, in the same test, against coturn: what it loses with
//! us it must lose there too.

use std::fs;
use std::net::SocketAddr;
use std::process::Command;
use std::time::Duration;

use callbox::net::clock;
use callbox::turn::stun::{AttributeType, Method};

use super::client::Client;
use super::harness::{
    Callbox, Directory, LOCALHOST, PASSWORD, Process, Run, SECRET, Setup, USER, answers_binding,
    free_port, relay_ports, until,
};

/// A client that has lost packets waits for them for a while before it gives up.
const LONGEST_RUN: Duration = Duration::from_secs(40);

/// Debian's coturn with the same users.
struct Coturn {
    _process: Process,
    directory: Directory,
    address: SocketAddr,
    tls: SocketAddr,
}

impl Coturn {
    fn start() -> Self {
        let directory = Directory::new();
        let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
        let (cert, key) = (directory.file("cert.pem"), directory.file("key.pem"));
        fs::write(&cert, made.cert.pem()).unwrap();
        fs::write(&key, made.signing_key.serialize_pem()).unwrap();
        let (port, tls) = (free_port(), free_port());
        let [_, relays] = relay_ports();
        let mut command = Command::new("turnserver");
        command
            .args(["-n", "--no-cli", "-a", "-r", "coturn", "--no-dtls"])
            .args(["--allow-loopback-peers", "--log-file=stdout"])
            .args(["-L", "127.0.0.1", "-L", "::1"])
            .args(["-E", "127.0.0.1", "-E", "::1"])
            .args(["--min-port", &relays.start().to_string()])
            .args(["--max-port", &relays.end().to_string()])
            .args(["-p", &port.to_string()])
            .args(["--tls-listening-port", &tls.to_string()])
            .arg(format!("--user={USER}:{PASSWORD}"))
            .arg("--pidfile")
            .arg(directory.file("pid"))
            .arg("--userdb")
            .arg(directory.file("users"))
            .arg("--cert")
            .arg(cert)
            .arg("--pkey")
            .arg(key);
        let process = Process::start(&mut command, &directory.file("log"));
        let at = |port| SocketAddr::new(LOCALHOST, port);
        until("coturn starts", || answers_binding(at(port)));
        Self {
            _process: process,
            directory,
            address: at(port),
            tls: at(tls),
        }
    }
}

/// An echoing peer on loopback, of either family.
struct Peer {
    _process: Process,
    port: u16,
}

impl Peer {
    fn start(directory: &Directory, ip: &str) -> Self {
        let port = free_port();
        let mut command = Command::new("turnutils_peer");
        command.args(["-L", ip, "-p", &port.to_string()]);
        let process = Process::start(&mut command, &directory.file(&format!("peer-{port}")));
        let address = SocketAddr::new(ip.parse().unwrap(), port);
        // It echoes whatever it gets.
        until("the peer starts", || answers_binding(address));
        Self {
            _process: process,
            port,
        }
    }
}

/// Everything a client needs to be told.
struct Site {
    callbox: Callbox,
    coturn: Coturn,
}

impl Site {
    fn start() -> Self {
        let setup = Setup {
            listen: vec!["127.0.0.1", "[::1]"],
            external_ip: vec!["127.0.0.1", "::1"],
            ..Setup::default()
        };
        let setup = setup.turn("user_quota = 0\nworkers = 2\ntcp_relays = true");
        Self {
            callbox: setup.start(),
            coturn: Coturn::start(),
        }
    }

    /// Starts a client with these options against both servers. TLS goes where TLS is.
    fn both(&self, options: &str, to: &str) -> [Run; 2] {
        let secure = options.split_whitespace().any(|option| option == "-S");
        [
            ("callbox", self.callbox.address, self.callbox.https),
            ("coturn", self.coturn.address, self.coturn.tls),
        ]
        .map(|(name, plain, tls)| {
            let port = if secure { tls.port() } else { plain.port() };
            let name = format!("{options} with {name}");
            uclient(&self.coturn.directory, name, options, port, to)
        })
    }
}

fn uclient(directory: &Directory, name: String, options: &str, port: u16, to: &str) -> Run {
    let mut command = Command::new("turnutils_uclient");
    command
        .args(["-u", USER, "-w", PASSWORD, "-p", &port.to_string()])
        .args(options.split_whitespace())
        .arg(to);
    Run::start(directory, name, &mut command)
}

/// Messages sent and lost of a client that ended well.
fn result(run: &mut Run) -> (u32, u32) {
    let (code, output) = run.finish(LONGEST_RUN);
    let number = |before: &str| -> Option<u32> {
        let rest = &output[output.rfind(before)? + before.len()..];
        let end = rest
            .find(|c: char| !c.is_ascii_digit())
            .unwrap_or(rest.len());
        rest[..end].parse().ok()
    };
    match (
        code,
        number("tot_send_msgs="),
        number("Total lost packets "),
    ) {
        (Some(0), Some(sent), Some(lost)) if sent > 0 => (sent, lost),
        _ => panic!("{}: exit code {code:?}\n{output}", run.name()),
    }
}

/// Fails if a client loses more with callbox than with coturn, plus `allowance` messages.
fn compare(runs: Vec<[Run; 2]>, allowance: u32) {
    let mut worse = Vec::new();
    for [mut ours, mut theirs] in runs {
        let (sent, lost) = result(&mut ours);
        let (_, lost_there) = result(&mut theirs);
        eprintln!(
            "{}: {lost} of {sent} lost, {lost_there} with coturn",
            ours.name()
        );
        if lost > lost_there + allowance {
            worse.push(format!(
                "{}: {lost} lost, {lost_there} with coturn",
                ours.name()
            ));
        }
    }
    assert!(worse.is_empty(), "{worse:#?}");
}

#[test]
fn coturns_client_loses_no_more_over_udp_and_tcp_than_with_coturn() {
    let site = Site::start();
    let runs = [
        ("-y -c", "127.0.0.1"),
        ("-y -c -s", "127.0.0.1"),
        ("-y -c -t", "127.0.0.1"),
        ("-y -c -t -s", "127.0.0.1"),
        ("-y -c -x", "::1"),
        ("-y -c -x -s", "::1"),
        ("-y -Z", "127.0.0.1"),
        ("-y -c -g", "127.0.0.1"),
        // Data longer than a frame of Ethernet, and lengths that need padding.
        ("-y -c -l 1473", "127.0.0.1"),
        ("-y -c -t -s -l 171", "127.0.0.1"),
        // Negative tests: it does the wrong things first.
        ("-y -N", "127.0.0.1"),
    ];
    let runs = runs.map(|(options, to)| site.both(&format!("{options} -n 50 -z 10"), to));
    compare(runs.into(), 0);
}

#[test]
fn a_dual_allocation_may_be_asked_for_by_the_number_of_the_draft() {
    let site = Site::start();
    // It refreshes one family or both, at random; each must be there.
    let runs = (0..6).map(|_| site.both("-Z -y -n 10 -z 10", "127.0.0.1"));
    let runs: Vec<_> = runs.collect();
    let mut client = Client::udp(site.callbox.address);
    let answer = client.request(Method::ALLOCATE, |writer| {
        writer.u32(AttributeType::REQUESTED_TRANSPORT, 17 << 24);
        writer.u32(AttributeType(0x8032), 2 << 24);
    });
    assert_eq!(answer.error(), None);
    let answer = client.request(Method::REFRESH, |writer| {
        writer.u32(AttributeType::REQUESTED_ADDRESS_FAMILY, 2 << 24);
    });
    assert_eq!(answer.error(), None, "the IPv6 half is there");
    compare(runs, 0);
}

#[test]
fn coturns_client_reaches_ordinary_peers_as_well_as_through_coturn() {
    let site = Site::start();
    let v4 = Peer::start(&site.coturn.directory, "127.0.0.1");
    let v6 = Peer::start(&site.coturn.directory, "::1");
    let (v4, v6) = (
        format!("-e 127.0.0.1 -r {}", v4.port),
        format!("-e ::1 -r {}", v6.port),
    );
    let runs = [
        ("", &v4, "127.0.0.1"),
        ("-s", &v4, "127.0.0.1"),
        ("-t", &v4, "127.0.0.1"),
        ("-t -s", &v4, "127.0.0.1"),
        ("-g", &v4, "127.0.0.1"),
        ("-x", &v6, "::1"),
        ("-N -s", &v4, "127.0.0.1"),
    ];
    let runs = runs.map(|(options, peer, to)| {
        // No -c: a second allocation at the next port, by EVEN-PORT and RESERVATION-TOKEN.
        site.both(&format!("{options} {peer} -n 50 -z 10"), to)
    });
    compare(runs.into(), 0);
}

#[test]
fn coturns_client_works_over_tls_and_loses_about_what_it_loses_with_coturn() {
    let site = Site::start();
    let runs = [
        ("-y -c -t -S", "127.0.0.1"),
        ("-y -c -t -S -s", "127.0.0.1"),
    ];
    let runs = runs.map(|(options, to)| site.both(&format!("{options} -n 20 -z 60"), to));
    // It reads one TLS record for each time its socket becomes readable. Whenever two arrive
    // together it is one behind from then on, and never reads what is left in the end. How often
    // that happens is a matter of scheduling, here as there: 40 messages, a fifth of them.
    compare(runs.into(), 8);
}

#[test]
fn coturns_client_has_its_connections_relayed_as_by_coturn() {
    let site = Site::start();
    // It allocates two relays and connects one to the other, or lets it be connected to.
    let runs = ["-T", "-T -P", "-T -m 5"].map(|options| {
        let options = format!("{options} -n 30 -z 20");
        site.both(&options, "127.0.0.1")
    });
    compare(runs.into(), 0);
}

#[test]
fn fifty_clients_of_coturns_lose_no_more_than_with_coturn() {
    let site = Site::start();
    compare(vec![site.both("-y -c -m 50 -n 10 -z 20", "127.0.0.1")], 0);
}

#[test]
fn coturns_client_gets_through_damaged_requests_as_it_does_with_coturn() {
    // It damages some of its requests at random. With either server it waits for ever where the
    // damage made of one what is no longer STUN, so a run may not end; about every third does.
    const TRIES: usize = 40;
    let site = Site::start();
    let peer = Peer::start(&site.coturn.directory, "127.0.0.1");
    let lanes: Vec<(String, u16)> = ["-R -c", "-N -R -y -c"]
        .iter()
        .flat_map(|options| {
            let ports = [site.callbox.address.port(), site.coturn.address.port()];
            ports.map(|port| {
                (
                    format!("{options} -n 5 -z 5 -e 127.0.0.1 -r {}", peer.port),
                    port,
                )
            })
        })
        .collect();
    let mut runs: Vec<(usize, Run)> = Vec::new();
    let mut succeeded = vec![false; lanes.len()];
    for _ in 0..TRIES {
        for (lane, (options, port)) in lanes.iter().enumerate() {
            if !succeeded[lane] {
                let name = format!("{options} -p {port}");
                let run = uclient(&site.coturn.directory, name, options, *port, "127.0.0.1");
                runs.push((lane, run));
            }
        }
        // Its random numbers begin with the time: runs that start together meet the same damage.
        let next = clock::now() + Duration::from_millis(1000);
        while clock::now() < next && succeeded.contains(&false) {
            for (lane, run) in &mut runs {
                if run.has_succeeded() && !succeeded[*lane] {
                    assert_eq!(result(run).1, 0, "{}", run.name());
                    succeeded[*lane] = true;
                }
            }
            std::thread::sleep(Duration::from_millis(50));
        }
        if !succeeded.contains(&false) {
            return;
        }
        // What has not ended by now will not.
        runs.retain(|(_, run)| run.age() < Duration::from_secs(10));
    }
    panic!("{lanes:?}: {succeeded:?}");
}

#[test]
fn coturns_malformed_requests_harm_nobody() {
    let mut site = Site::start();
    let peer = Peer::start(&site.coturn.directory, "127.0.0.1");
    // It damages its requests at random, and with either server waits for ever for the answer to
    // one that can no longer be taken for STUN.
    let damaged: Vec<_> = ["-R -c", "-R -N -s -c", "-R -y -c -s", "-R -t"]
        .iter()
        .cycle()
        .take(12)
        .map(|options| {
            let options = format!("{options} -n 5 -e 127.0.0.1 -r {}", peer.port);
            let port = site.callbox.address.port();
            uclient(
                &site.coturn.directory,
                options.clone(),
                &options,
                port,
                "127.0.0.1",
            )
        })
        .collect();
    compare(vec![site.both("-y -c -n 50 -z 20", "127.0.0.1")], 0);
    drop(damaged);
    assert!(site.callbox.is_running());
    assert!(!site.callbox.log().contains("panicked"));
}

#[test]
fn coturns_programs_accept_our_rest_credentials_and_our_binding() {
    let site = Site::start();
    let (port, directory) = (
        site.callbox.address.port().to_string(),
        &site.coturn.directory,
    );
    let mut command = Command::new("turnutils_uclient");
    command
        .args(["-u", "phone", "-W", SECRET, "-p", &port])
        .args(["-y", "-c", "-n", "20", "-z", "10", "127.0.0.1"]);
    let mut rest = Run::start(directory, "REST credentials".to_owned(), &mut command);
    let mut command = Command::new("turnutils_stunclient");
    command.args(["-p", &port, "127.0.0.1"]);
    let mut binding = Run::start(directory, "Binding".to_owned(), &mut command);
    let (code, output) = binding.finish(Duration::from_secs(10));
    assert_eq!(code, Some(0), "{output}");
    assert!(output.contains("reflexive addr: 127.0.0.1"), "{output}");
    assert_eq!(result(&mut rest), (40, 0));
}
