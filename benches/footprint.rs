//! What the appliance takes before the first call, beside the three programs it stands in for.
//!
//! `cargo bench --bench footprint -- [--runs N] [--callbox PATH]`
//!
//! Starts `callbox try`, and nginx, node and coturn together, in turn; prints medians of the time
//! from exec to the first answer (of the last of the three) and of the resident memory of all
//! processes a second later. callbox has its certificate from a start before the first run.

#![allow(
    missing_docs,
    clippy::unwrap_used,
    clippy::disallowed_methods,
    reason = "a program for developers that measures time"
)]

use std::fs;
use std::io::{self, Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitCode, Stdio};
use std::thread;
use std::time::{Duration, Instant};

/// Until idle means idle.
const SETTLE: Duration = Duration::from_secs(1);

/// A program that has not answered by then never will.
const PATIENCE: Duration = Duration::from_secs(20);

/// A STUN Binding request.
const BINDING: [u8; 20] = *b"\x00\x01\x00\x00\x21\x12\xA4\x42footprint---";

/// A program, and how it shows that it is there.
struct Program {
    command: Command,
    ready: Ready,
}

/// What is asked.
#[derive(Clone, Copy)]
enum Ready {
    /// An HTTP request on a new connection; a listening socket alone answers nothing.
    Http(SocketAddr),
    /// A Binding request.
    Stun(SocketAddr),
}

impl Ready {
    fn answers(self) -> bool {
        self.ask().is_ok_and(|bytes| bytes > 0)
    }

    fn ask(self) -> io::Result<usize> {
        let mut bytes = [0; 512];
        match self {
            Self::Http(address) => {
                let mut stream = TcpStream::connect(address)?;
                stream.set_read_timeout(Some(Duration::from_secs(1)))?;
                stream
                    .write_all(b"GET / HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")?;
                stream.read(&mut bytes)
            }
            Self::Stun(address) => {
                let socket = UdpSocket::bind("127.0.0.1:0")?;
                socket.connect(address)?;
                socket.set_read_timeout(Some(Duration::from_millis(2)))?;
                socket.send(&BINDING)?;
                socket.recv(&mut bytes)
            }
        }
    }
}

/// Running programs, ended when dropped.
struct Running(Vec<Child>);

impl Drop for Running {
    fn drop(&mut self) {
        for child in &mut self.0 {
            // Asked first, so that a parent ends its children.
            let pid = child.id().to_string();
            let _ = Command::new("kill").arg(pid).status();
            let end = Instant::now() + Duration::from_secs(10);
            while matches!(child.try_wait(), Ok(None)) {
                if Instant::now() > end {
                    let _ = child.kill();
                }
                thread::sleep(Duration::from_millis(5));
            }
        }
    }
}

/// What one start took.
#[derive(Clone, Copy, Debug)]
struct Figures {
    milliseconds: f64,
    resident: f64,
    proportional: f64,
    processes: usize,
}

fn measure(programs: Vec<Program>) -> io::Result<Figures> {
    let begin = Instant::now();
    let mut running = Running(Vec::new());
    let mut waiting = Vec::new();
    for mut program in programs {
        let child = program
            .command
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()?;
        running.0.push(child);
        waiting.push(program.ready);
    }
    while !waiting.is_empty() {
        waiting.retain(|ready| !ready.answers());
        if begin.elapsed() > PATIENCE {
            return Err(io::Error::other("a program does not answer"));
        }
        thread::sleep(Duration::from_micros(200));
    }
    let milliseconds = begin.elapsed().as_secs_f64() * 1000.0;
    thread::sleep(SETTLE);
    let roots: Vec<u32> = running.0.iter().map(Child::id).collect();
    let all = family(&roots)?;
    let (mut resident, mut proportional) = (0.0, 0.0);
    for pid in &all {
        let rollup = fs::read_to_string(format!("/proc/{pid}/smaps_rollup"))?;
        resident += mebibytes(&rollup, "Rss:");
        proportional += mebibytes(&rollup, "Pss:");
    }
    Ok(Figures {
        milliseconds,
        resident,
        proportional,
        processes: all.len(),
    })
}

/// Processes and their children.
fn family(roots: &[u32]) -> io::Result<Vec<u32>> {
    let mut all = roots.to_vec();
    for entry in fs::read_dir("/proc")? {
        let name = entry?.file_name();
        let Some(pid) = name.to_str().and_then(|name| name.parse().ok()) else {
            continue;
        };
        let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
        // The parent is the second field behind the name, which ends with the last parenthesis.
        let parent = stat
            .rsplit_once(") ")
            .and_then(|(_, rest)| rest.split(' ').nth(1)?.parse().ok());
        if parent.is_some_and(|parent| roots.contains(&parent)) {
            all.push(pid);
        }
    }
    Ok(all)
}

fn mebibytes(rollup: &str, key: &str) -> f64 {
    let line = rollup.lines().find(|line| line.starts_with(key));
    let kibibytes = line.and_then(|line| line.split_whitespace().nth(1)?.parse::<f64>().ok());
    kibibytes.unwrap_or(f64::NAN) / 1024.0
}

fn free_port() -> u16 {
    let socket = TcpListener::bind("127.0.0.1:0").unwrap();
    socket.local_addr().unwrap().port()
}

fn at(port: u16) -> SocketAddr {
    SocketAddr::from(([127, 0, 0, 1], port))
}

fn callbox(binary: &Path, directory: &Path) -> Vec<Program> {
    let port = free_port();
    let mut command = Command::new(binary);
    command
        .args(["try", "--port", &port.to_string()])
        .env("XDG_STATE_HOME", directory);
    vec![Program {
        command,
        ready: Ready::Http(at(port)),
    }]
}

/// The usual installation in its smallest form: TLS and pages, signaling, relay.
fn three(directory: &Path) -> io::Result<Vec<Program>> {
    let (https, signaling, turn) = (free_port(), free_port(), free_port());
    let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    let file = |name: &str| directory.join(name);
    fs::write(file("cert.pem"), made.cert.pem())?;
    fs::write(file("key.pem"), made.signing_key.serialize_pem())?;
    fs::write(
        file("nginx.conf"),
        format!(
            "daemon off; worker_processes 1; pid {0}/nginx.pid; error_log /dev/null;\n\
             events {{}}\n\
             http {{ access_log off; client_body_temp_path {0}/b; proxy_temp_path {0}/p;\n\
             fastcgi_temp_path {0}/f; uwsgi_temp_path {0}/u; scgi_temp_path {0}/s;\n\
             server {{ listen 127.0.0.1:{https} ssl;\n\
             ssl_certificate {0}/cert.pem; ssl_certificate_key {0}/key.pem;\n\
             location / {{ proxy_pass http://127.0.0.1:{signaling}; }} }} }}\n",
            directory.display()
        ),
    )?;
    let mut nginx = Command::new("nginx");
    nginx.arg("-c").arg(file("nginx.conf"));
    let mut node = Command::new("node");
    node.arg("-e").arg(format!(
        "require('http').createServer((q, s) => s.end('ok')).listen({signaling}, '127.0.0.1')"
    ));
    let mut coturn = Command::new("turnserver");
    coturn
        .args(["-n", "--no-cli", "-a", "-r", "footprint", "-u", "u:p"])
        .args(["-L", "127.0.0.1", "-p", &turn.to_string(), "--no-tls"])
        .args(["--no-dtls", "--no-stdout-log", "--log-file=/dev/null"])
        .arg("--pidfile")
        .arg(file("turn.pid"))
        .arg("--userdb")
        .arg(file("users"));
    Ok(vec![
        Program {
            command: nginx,
            ready: Ready::Http(at(https)),
        },
        Program {
            command: node,
            ready: Ready::Http(at(signaling)),
        },
        Program {
            command: coturn,
            ready: Ready::Stun(at(turn)),
        },
    ])
}

fn median(figures: &[Figures], of: impl Fn(&Figures) -> f64) -> f64 {
    let mut values: Vec<f64> = figures.iter().map(of).collect();
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(f64::NAN)
}

struct Options {
    runs: usize,
    callbox: PathBuf,
}

fn options() -> Result<Options, String> {
    let mut options = Options {
        runs: 11,
        callbox: env!("CARGO_BIN_EXE_callbox").into(),
    };
    let mut arguments = std::env::args().skip(1);
    while let Some(argument) = arguments.next() {
        let mut value = || {
            arguments
                .next()
                .ok_or_else(|| format!("{argument} wants a value"))
        };
        match argument.as_str() {
            // What cargo says to every benchmark.
            "--bench" => {}
            "--runs" => {
                let runs = value()?.parse().map_err(|_| "--runs wants a number")?;
                options.runs = std::cmp::max(runs, 1);
            }
            "--callbox" => options.callbox = value()?.into(),
            other => return Err(format!("no option is called {other}")),
        }
    }
    Ok(options)
}

fn run(options: &Options, directory: &Path) -> io::Result<()> {
    measure(callbox(&options.callbox, directory))?;
    let (mut ours, mut theirs) = (Vec::new(), Vec::new());
    for _ in 0..options.runs {
        ours.push(measure(callbox(&options.callbox, directory))?);
        theirs.push(measure(three(directory)?)?);
    }
    println!("medians of {} alternating runs", options.runs);
    println!(
        "{:24} {:>10} {:>12} {:>12} {:>10}",
        "", "ready, ms", "RSS, MiB", "PSS, MiB", "processes"
    );
    for (name, figures) in [("callbox try", &ours), ("nginx + node + coturn", &theirs)] {
        println!(
            "{name:24} {:10.1} {:12.1} {:12.1} {:10}",
            median(figures, |f| f.milliseconds),
            median(figures, |f| f.resident),
            median(figures, |f| f.proportional),
            figures.last().map_or(0, |f| f.processes),
        );
    }
    Ok(())
}

fn main() -> ExitCode {
    let options = match options() {
        Ok(options) => options,
        Err(error) => {
            eprintln!("footprint: {error}");
            return ExitCode::from(2);
        }
    };
    let name = format!("callbox-footprint-{}", std::process::id());
    let directory = std::env::temp_dir().join(name);
    let done = fs::create_dir_all(&directory).and_then(|()| run(&options, &directory));
    let _ = fs::remove_dir_all(&directory);
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("footprint: {error}");
            ExitCode::FAILURE
        }
    }
}
