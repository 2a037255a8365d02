use super::*;
use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU32, Ordering};

use rustls::crypto::aws_lc_rs::default_provider;

const NOW: u64 = 1_790_000_000;

struct Scratch(PathBuf);

impl Scratch {
    fn new() -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let name = format!(
            "callbox-cert-{}-{}",
            std::process::id(),
            NEXT.fetch_add(1, Ordering::Relaxed)
        );
        Self(std::env::temp_dir().join(name))
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

fn leaf(state: &StateDir, names: &[&str], addresses: &[&str], now: u64) -> Vec<u8> {
    let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
    let addresses: Vec<IpAddr> = addresses.iter().map(|a| a.parse().unwrap()).collect();
    load_or_make(state, &names, &addresses, now, &default_provider())
        .unwrap()
        .cert[0]
        .to_vec()
}

#[test]
fn it_is_kept_until_it_no_longer_fits() {
    let scratch = Scratch::new();
    let state = StateDir::open(&scratch.0).unwrap();
    let first = leaf(&state, &["a.example"], &["192.0.2.1"], NOW);
    assert_eq!(
        first,
        leaf(&state, &["a.example"], &["192.0.2.1"], NOW + 60)
    );
    // Fewer names are covered as well.
    assert_eq!(first, leaf(&state, &[], &[], NOW));
    // The same address, as a dual-stack socket shows it.
    assert_eq!(first, leaf(&state, &[], &["::ffff:192.0.2.1"], NOW));
    let more = leaf(&state, &["a.example", "b.example"], &["192.0.2.1"], NOW);
    assert_ne!(first, more);
    let moved = leaf(&state, &["a.example"], &["2001:db8::1"], NOW);
    assert_ne!(more, moved);
    let renewed = leaf(&state, &["a.example"], &["2001:db8::1"], NOW + 370 * DAY);
    assert_ne!(moved, renewed);
    // A clock that was set back a week finds one that is not valid yet.
    let earlier = leaf(&state, &["a.example"], &["2001:db8::1"], NOW);
    assert_ne!(renewed, earlier);
}

#[test]
fn a_damaged_or_mixed_pair_is_made_anew() {
    let scratch = Scratch::new();
    let state = StateDir::open(&scratch.0).unwrap();
    let first = leaf(&state, &[], &[], NOW);
    state.write_private(CERT_FILE, b"rubbish").unwrap();
    let second = leaf(&state, &[], &[], NOW);
    assert_ne!(first, second);
    let other = KeyPair::generate().unwrap().serialize_pem();
    state.write_private(KEY_FILE, other.as_bytes()).unwrap();
    assert_ne!(second, leaf(&state, &[], &[], NOW));
}

#[test]
fn it_is_what_browsers_accept_once_trusted() {
    let scratch = Scratch::new();
    let state = StateDir::open(&scratch.0).unwrap();
    let der = leaf(&state, &["a.example"], &["192.0.2.1", "::1"], NOW);
    let (_, certificate) = X509Certificate::from_der(&der).unwrap();
    let validity = certificate.validity();
    assert!(validity.not_after.timestamp() - validity.not_before.timestamp() <= 397 * 86_400);
    assert!(validity.not_before.timestamp() < NOW as i64);
    assert!(!certificate.is_ca());
    assert!(certificate.basic_constraints().unwrap().is_some());
    assert!(
        certificate
            .key_usage()
            .unwrap()
            .unwrap()
            .value
            .digital_signature()
    );
    assert!(
        certificate
            .extended_key_usage()
            .unwrap()
            .unwrap()
            .value
            .server_auth
    );
    let names = certificate.subject_alternative_name().unwrap().unwrap();
    let names: Vec<String> = names
        .value
        .general_names
        .iter()
        .map(|name| match name {
            GeneralName::DNSName(name) => (*name).to_owned(),
            GeneralName::IPAddress(bytes) => match <[u8; 4]>::try_from(*bytes) {
                Ok(v4) => IpAddr::from(v4).to_string(),
                Err(_) => IpAddr::from(<[u8; 16]>::try_from(*bytes).unwrap()).to_string(),
            },
            other => panic!("{other:?}"),
        })
        .collect();
    assert_eq!(names, ["a.example", "localhost", "192.0.2.1", "::1"]);
}

#[test]
fn the_key_is_private() {
    let scratch = Scratch::new();
    let state = StateDir::open(&scratch.0).unwrap();
    leaf(&state, &[], &[], NOW);
    let mode = fs::metadata(scratch.0.join(KEY_FILE))
        .unwrap()
        .permissions()
        .mode();
    assert_eq!(mode & 0o777, 0o600);
}
