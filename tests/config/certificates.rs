//! Certificates: of one's own, or of an authority that can give them.

use std::fs;

use crate::harness::{bad, callbox, certificate, directory, good};

#[test]
fn a_certificate_needs_its_key() {
    assert_eq!(
        bad("[tls]\ncert = 'c.pem'\n", &[]),
        [
            "appliance.toml:2: tls.cert: tls.key is missing: a certificate needs its key and a key its certificate"
        ]
    );
    let said = bad("[tls]\nmode = 'files'\n", &[]);
    assert!(
        said[0].starts_with("appliance.toml:2: tls.mode: tls.cert"),
        "{said:?}"
    );
    let directory = directory();
    certificate(&directory);
    let tls = "[tls]\ncert = 'cert.pem'\nkey = 'key.pem'\n";
    fs::write(directory.join("appliance.toml"), tls).unwrap();
    let output = callbox(&directory, &["check"], &[]);
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(
        text.contains("default: the certificate from cert and key"),
        "{text}"
    );
}

#[test]
fn a_host_gets_its_certificate_from_an_authority_if_it_can() {
    let output = good("host = ['call.example.com']\n", &[]);
    for part in [
        "default: a certificate ordered from acme_directory",
        "# certificate: self-signed, until https://acme-v02.api.letsencrypt.org/directory has issued one for call.example.com",
    ] {
        assert!(output.contains(part), "{part}\n{output}");
    }
    let output = good("", &[]);
    assert!(
        output.contains("# certificate: self-signed, made by callbox"),
        "{output}"
    );
}

#[test]
fn a_name_that_no_authority_certifies_is_refused_before_anybody_is_asked() {
    for host in [
        "localhost",
        "box.local",
        "a.internal",
        "nas.home.arpa",
        "x.test",
        "box",
        "192.0.2.1",
    ] {
        let acme = format!("host = ['{host}']\n[tls]\nmode = 'acme'\n");
        let said = bad(&acme, &[]);
        assert!(
            said[0].starts_with("appliance.toml:3: tls.mode: "),
            "{said:?}"
        );
        for part in [host, "\"self-signed\"", "acme_ca_file"] {
            assert!(said[0].contains(part), "{part}: {said:?}");
        }
        // Where nobody asked for it, a start must not fail.
        let output = good(&format!("host = ['{host}']\n"), &[]);
        assert!(
            output.contains("so the certificate is self-signed"),
            "{output}"
        );
    }
    let private = "host = ['box.internal']\n[tls]\nmode = 'acme'\nacme_directory = 'https://ca.internal/acme'\n";
    good(private, &[]);
    let said = bad("[tls]\nmode = 'acme'\n", &[]);
    assert!(said[0].contains("host is missing"), "{said:?}");
}

#[test]
fn challenges_need_the_port_that_an_authority_comes_to() {
    let host = "host = ['call.example.com']\n";
    let output = good(&format!("{host}[front]\nhttps = ['[::]:8443']\n"), &[]);
    assert!(
        output.contains("connects to port 443, which is not in front.https"),
        "{output}"
    );
    let http = "[tls]\nacme_challenge = 'http-01'\n";
    let output = good(&format!("{host}[front]\nhttp = ['[::]:8080']\n{http}"), &[]);
    assert!(
        output.contains("connects to port 80, which is not in front.http"),
        "{output}"
    );
    let said = bad(&format!("{host}[front]\nhttp = []\n{http}"), &[]);
    assert!(said[0].contains("front.http, which is empty"), "{said:?}");
}

#[test]
fn an_authority_that_cannot_be_asked_is_found_before_the_start() {
    let host = "host = ['call.example.com']\n[tls]\n";
    let said = bad(
        &format!("{host}acme_directory = 'http://ca.example.com'\n"),
        &[],
    );
    assert!(
        said[0].contains("tls.acme_directory: expected the https:// URL"),
        "{said:?}"
    );
    let said = bad(&format!("{host}acme_email = 'nobody'\n"), &[]);
    assert!(
        said[0].contains("tls.acme_email: expected an address"),
        "{said:?}"
    );
    let said = bad(&format!("{host}acme_ca_file = 'ca.pem'\n"), &[]);
    assert!(
        said[0].contains("tls.acme_ca_file: ca.pem: No such file"),
        "{said:?}"
    );
}
