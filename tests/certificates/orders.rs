//! What the operator sees of orders that lead to nothing.

use std::fs;
use std::path::Path;

use serde_json::Value;

use super::harness::{Callbox, Ports, free_port, scratch};

/// Seconds into the day.
fn time(status: &Value, field: &str) -> i64 {
    let text = status[field].as_str().unwrap();
    let clock = text.split('T').nth(1).unwrap().trim_end_matches('Z');
    let parts = clock.split(':').map(|part| part.parse::<i64>().unwrap());
    parts.fold(0, |sum, part| sum * 60 + part)
}

#[test]
fn an_authority_that_is_away_is_seen_in_readyz_and_metrics_and_a_restart_is_no_way_around_the_wait()
{
    let directory = scratch("away");
    let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    fs::write(directory.join("ca.pem"), made.cert.pem()).unwrap();
    let tls = format!(
        "mode = 'acme'\nacme_directory = 'https://127.0.0.1:{}/'\nacme_ca_file = 'ca.pem'\n",
        free_port()
    );
    let host = "host = 'call.example.com'";
    let mut callbox = Callbox::start(&directory, Ports::new(), host, &tls);
    let status = callbox.until_status("a failure", |status| status["last_error"].is_string());
    assert_eq!(status["source"], "self-signed");
    assert_eq!(status["publicly_valid"], false);
    let error = status["last_error"].as_str().unwrap();
    assert!(error.contains("the authority cannot be asked"), "{error}");
    let status = callbox.until_status("a wait", |status| status["next_attempt"].is_string());
    let wait = time(&status, "next_attempt") - time(&status, "last_attempt");
    // A minute, up to a quarter more, and what the attempt itself took.
    assert!((60..=150).contains(&wait.rem_euclid(86_400)), "{status}");
    let metrics = callbox.ask("/metrics").unwrap();
    for family in [
        "callbox_certificate_failures_total 1\n",
        "callbox_certificate_not_after_timestamp_seconds{source=\"self-signed\"} ",
        "callbox_certificate_publicly_valid 0",
    ] {
        assert!(metrics.contains(family), "{family}: {metrics}");
    }
    assert!(
        callbox
            .check()
            .contains("# certificate: self-signed, until https://127.0.0.1")
    );

    callbox.restart();
    let status = callbox.until_status("the wait", |status| status["next_attempt"].is_string());
    assert_eq!(status["last_attempt"], Value::Null);
    assert!(callbox.log().contains("SIGHUP orders at once"));
    callbox.hangup();
    callbox.until_status("another failure", |status| status["last_error"].is_string());
}

#[test]
fn a_public_authority_is_not_asked_when_the_answer_would_be_lost() {
    let directory = Path::new("/tmp").join(format!("callbox-throwaway-{}", std::process::id()));
    fs::create_dir_all(&directory).unwrap();
    // The name is one that nobody resolves: should it be asked all the same, it would not hear.
    let tls =
        |mode| format!("mode = '{mode}'\nacme_directory = 'https://ca.invalid.letsencrypt.org/'\n");
    let host = "host = 'call.example.com'";
    let output = Callbox::refused(&directory, host, &tls("acme"));
    assert!(output.contains("is in /tmp"), "{output}");
    assert!(output.contains("tls.acme_throwaway"), "{output}");
    let callbox = Callbox::start(&directory, Ports::new(), host, &tls("auto"));
    let status = callbox.status();
    assert_eq!(status["source"], "self-signed");
    assert_eq!(status["last_attempt"], Value::Null);
    assert!(callbox.log().contains("tls.acme_throwaway"));
    drop(callbox);
    fs::remove_dir_all(&directory).unwrap();
}
