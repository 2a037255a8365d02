//! Authorities that are away, silent, or say no.

use std::net::TcpListener;
use std::time::Duration;

use super::appliance::{Appliance, Challenge};
use super::authority::{Authority, Temper};
use super::harness::free_port;

/// What is said after each order that failed.
const FAILED: &str = "no new certificate";

/// Longer than the engine's own first retries take, far shorter than our first wait.
const A_WHILE: Duration = Duration::from_secs(8);

/// One attempt, the reason, the time of the next one, and HTTPS meanwhile with our own certificate.
fn fails_once_and_waits(authority: &Authority, url: &str, reason: &str) -> Appliance {
    let appliance = Appliance::of(url, authority, &["localhost"], Challenge::TlsAlpn01);
    // At once, whatever the authority does.
    let own = appliance.leaf("localhost");
    assert!(own.issuer().contains("self-signed"), "{}", own.issuer());
    appliance.says(FAILED, 1);
    let log = appliance.log();
    let line = log.lines().find(|line| line.contains(FAILED)).unwrap();
    assert!(line.contains("WARN"), "{line}");
    assert!(line.contains(reason), "{line}");
    let wait = line.split_once("again_in_seconds=").unwrap().1;
    let wait: String = wait.chars().take_while(char::is_ascii_digit).collect();
    let wait: u64 = wait.parse().unwrap();
    assert!((60..=120).contains(&wait), "{line}");

    let before = authority.requests();
    appliance.remains(A_WHILE, "nothing is asked within the wait", || {
        authority.requests() == before && appliance.log().matches(FAILED).count() == 1
    });
    assert_eq!(appliance.leaf("localhost"), own);
    appliance
}

#[test]
fn an_authority_that_finds_nobody_at_the_name_is_left_alone_for_a_minute() {
    let authority = Authority::start(Temper {
        looks_elsewhere: true,
        ..Temper::default()
    });
    let mut appliance = fails_once_and_waits(&authority, &authority.url(), "localhost");
    assert_eq!(authority.orders(), 1);
    assert!(appliance.log().contains("443"), "the port to open is named");

    // A service manager that starts it again and again does not make it ask again and again.
    appliance.start_again();
    appliance.remains(A_WHILE, "the wait outlives the process", || {
        authority.orders() == 1
    });
    // The operator who has opened the port does.
    appliance.hang_up();
    appliance.says(FAILED, 2);
    assert_eq!(authority.orders(), 2);
}

#[test]
fn an_authority_that_refuses_every_nonce_is_left_alone_for_a_minute() {
    let authority = Authority::start(Temper {
        refused_nonces: 100,
        ..Temper::default()
    });
    fails_once_and_waits(&authority, &authority.url(), "badNonce");
    assert_eq!(authority.orders(), 0);
}

#[test]
fn an_authority_that_is_not_there_is_no_reason_to_wait() {
    let mut authority = Authority::start(Temper::default());
    authority.stop();
    let appliance = fails_once_and_waits(&authority, &authority.url(), "refused");
    // It came up, and somebody says so.
    authority.start_again();
    appliance.hang_up();
    appliance.is_certified("localhost");
}

#[test]
fn an_authority_that_says_nothing_keeps_nobody_waiting() {
    let authority = Authority::start(Temper::default());
    let silent = TcpListener::bind(("127.0.0.1", free_port())).unwrap();
    let url = format!("https://{}/dir", silent.local_addr().unwrap());
    let appliance = Appliance::of(&url, &authority, &["localhost"], Challenge::TlsAlpn01);
    let (held, _) = silent.accept().unwrap();
    let own = appliance.leaf("localhost");
    assert!(own.issuer().contains("self-signed"), "{}", own.issuer());
    appliance.remains(Duration::from_secs(2), "it answers meanwhile", || {
        appliance.leaf("localhost") == own
    });
    drop(held);
    appliance.says(FAILED, 1);
}

#[test]
fn when_a_renewal_fails_the_old_certificate_stays() {
    let mut authority = Authority::start(Temper {
        validity: 24,
        ..Temper::default()
    });
    let mut appliance = Appliance::start(&authority, &["localhost"], Challenge::TlsAlpn01);
    let old = appliance.is_certified("localhost");
    authority.stop();
    // Also when it starts without the authority.
    appliance.start_again();
    assert_eq!(appliance.leaf("localhost"), old);
    appliance.says(FAILED, 1);
    assert_eq!(appliance.leaf("localhost"), old);
    let check = appliance.check();
    let text = String::from_utf8_lossy(&check.stdout).into_owned();
    assert!(check.status.success(), "{text}");
}
