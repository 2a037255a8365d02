//! An authority of the test's own: pebble, and the name server that it asks.

use std::fs;
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::path::PathBuf;
use std::process::Command;

use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;

use super::harness::{Program, Scratch, free_port, until};

/// What a test may change.
#[derive(Clone, Copy)]
pub(crate) struct Temper {
    /// Seconds that a certificate is good for.
    pub(crate) validity: u32,
    /// Good nonces that are refused, of a hundred.
    pub(crate) refused_nonces: u8,
    /// Where it looks for the proof of a name instead of where the appliance is.
    pub(crate) looks_elsewhere: bool,
}

impl Default for Temper {
    fn default() -> Self {
        Self {
            validity: 90 * 24 * 60 * 60,
            refused_nonces: 0,
            looks_elsewhere: false,
        }
    }
}

/// A running authority that resolves each name to this machine.
pub(crate) struct Authority {
    directory: Scratch,
    pebble: Program,
    _names: Program,
    temper: Temper,
    port: u16,
    management: u16,
    dns: u16,
    /// The appliance's port for HTTPS.
    pub(crate) https: u16,
    /// The appliance's port for HTTP.
    pub(crate) http: u16,
}

impl Authority {
    pub(crate) fn start(temper: Temper) -> Self {
        let directory = Scratch::new("authority");
        // The name and the address of its own HTTPS server.
        let key = rcgen::KeyPair::generate().unwrap();
        let certificate = rcgen::CertificateParams::new(vec!["localhost".to_owned()])
            .unwrap()
            .self_signed(&key)
            .unwrap();
        let at = directory.path();
        fs::write(at.join("cert.pem"), certificate.pem()).unwrap();
        fs::write(at.join("key.pem"), key.serialize_pem()).unwrap();
        let (dns, management) = (free_port(), free_port());
        let names = Program::start(
            Command::new("pebble-challtestsrv")
                .args(["-defaultIPv4", "127.0.0.1", "-defaultIPv6", ""])
                .args(["-http01", "", "-https01", "", "-tlsalpn01", ""])
                .args(["-dns01", &format!("127.0.0.1:{dns}")])
                .args(["-management", &format!("127.0.0.1:{management}")]),
            at.join("names.log"),
        );
        let (port, management) = (free_port(), free_port());
        let (https, http) = (free_port(), free_port());
        let (tls_port, http_port) = match temper.looks_elsewhere {
            true => (free_port(), free_port()),
            false => (https, http),
        };
        let config = format!(
            "{{\"pebble\": {{\"listenAddress\": \"127.0.0.1:{port}\", \
             \"managementListenAddress\": \"127.0.0.1:{management}\", \
             \"certificate\": \"cert.pem\", \"privateKey\": \"key.pem\", \
             \"httpPort\": {http_port}, \"tlsPort\": {tls_port}, \
             \"certificateValidityPeriod\": {}}}}}",
            temper.validity
        );
        fs::write(at.join("pebble.json"), config).unwrap();
        let pebble = run(at.into(), temper, dns);
        let authority = Self {
            directory,
            pebble,
            _names: names,
            temper,
            port,
            management,
            dns,
            https,
            http,
        };
        authority.wait();
        authority
    }

    fn wait(&self) {
        until("the authority listens", || {
            [self.port, self.management].iter().all(|port| {
                TcpStream::connect(SocketAddr::new(Ipv4Addr::LOCALHOST.into(), *port)).is_ok()
            })
        });
    }

    /// Ends it. Names are resolved still.
    pub(crate) fn stop(&mut self) {
        self.pebble.kill();
    }

    /// Starts it again, with a memory as blank as at first.
    pub(crate) fn start_again(&mut self) {
        self.pebble = run(self.directory.path().into(), self.temper, self.dns);
        self.wait();
    }

    pub(crate) fn url(&self) -> String {
        format!("https://localhost:{}/dir", self.port)
    }

    /// What its own HTTPS server is trusted by.
    pub(crate) fn ca_file(&self) -> PathBuf {
        self.directory.path().join("cert.pem")
    }

    /// What the certificates that it issues are trusted by.
    pub(crate) fn root(&self) -> CertificateDer<'static> {
        let url = format!("https://localhost:{}/roots/0", self.management);
        let output = Command::new("curl")
            .args(["--silent", "--show-error", "--max-time", "30", "--cacert"])
            .arg(self.ca_file())
            .arg(url)
            .output()
            .unwrap();
        CertificateDer::from_pem_slice(&output.stdout)
            .unwrap_or_else(|error| panic!("{error}: {output:?}"))
    }

    /// How many orders it was asked for, in its whole life.
    pub(crate) fn orders(&self) -> usize {
        self.pebble.log().matches("POST /order-plz").count()
    }

    /// How many requests of any kind.
    pub(crate) fn requests(&self) -> usize {
        let log = self.pebble.log();
        ["GET /", "HEAD /", "POST /"]
            .iter()
            .map(|method| log.matches(method).count())
            .sum()
    }
}

fn run(at: PathBuf, temper: Temper, dns: u16) -> Program {
    let log = at.join("pebble.log");
    Program::start(
        Command::new("pebble")
            .current_dir(&at)
            .args(["-config", "pebble.json"])
            .args(["-dnsserver", &format!("127.0.0.1:{dns}")])
            .env("PEBBLE_VA_NOSLEEP", "1")
            .env("PEBBLE_AUTHZREUSE", "0")
            .env("PEBBLE_WFE_NONCEREJECT", temper.refused_nonces.to_string()),
        log,
    )
}
