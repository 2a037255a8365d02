use proptest::prelude::*;

use super::*;

#[test]
fn durations_are_read_in_every_unit_and_in_combination() {
    let cases = [
        ("20s", 20_000),
        ("500ms", 500),
        ("12h", 43_200_000),
        ("1h30m", 5_400_000),
        ("2d", 172_800_000),
        ("1m 500ms", 60_500),
        ("0s", 0),
    ];
    for (text, milliseconds) in cases {
        assert_eq!(
            duration(text),
            Ok(Duration::from_millis(milliseconds)),
            "{text}"
        );
    }
}

#[test]
fn what_is_no_duration_is_refused() {
    for text in [
        "",
        "20",
        "s",
        "20 apples",
        "-1s",
        "1m1h",
        "1s1s",
        "1.5h",
        "99999999999999999999s",
        "999999d",
    ] {
        assert!(duration(text).is_err(), "{text}");
    }
}

#[test]
fn sizes_know_powers_of_two_and_of_ten() {
    assert_eq!(size("64KiB"), Ok(65_536));
    assert_eq!(size("1MB"), Ok(1_000_000));
    assert_eq!(size("512"), Ok(512));
    assert_eq!(size("1 GiB"), Ok(1 << 30));
    for text in ["", "KiB", "64Kib", "64KiB2", "-1", "99999999999GiB"] {
        assert!(size(text).is_err(), "{text}");
    }
}

#[test]
fn an_address_without_its_port_or_a_port_without_its_address_is_explained() {
    assert_eq!(address("[::]:443").map(|a| a.port()), Ok(443));
    let message = |text| address(text).map_err(|error| error.to_string());
    assert!(message("443").is_err_and(|m| m.contains("[::]:443")));
    assert!(message(":443").is_err_and(|m| m.contains("[::]:443")));
    assert!(message("10.0.0.1").is_err_and(|m| m.contains("10.0.0.1:443")));
    assert!(message("::1").is_err_and(|m| m.contains("[::1]:443")));
    assert!(message("localhost:443").is_err_and(|m| m.contains("expected an address")));
}

#[test]
fn ranges_of_ports_begin_before_they_end() {
    assert_eq!(ports("49152-65535"), Ok(49_152..=65_535));
    assert_eq!(ports("5000-5000"), Ok(5_000..=5_000));
    for text in ["", "1", "0-10", "10-9", "1-65536", "a-b", "1-2-3"] {
        assert!(ports(text).is_err(), "{text}");
    }
}

#[test]
fn networks_have_no_host_bits() {
    let network_text = |text| network(text).map(|network| network.to_string());
    assert_eq!(network_text("10.0.0.0/8"), Ok("10.0.0.0/8".to_owned()));
    assert_eq!(network_text("0.0.0.0/0"), Ok("0.0.0.0/0".to_owned()));
    assert_eq!(network_text("::/0"), Ok("::/0".to_owned()));
    assert_eq!(network_text("192.0.2.7"), Ok("192.0.2.7/32".to_owned()));
    assert_eq!(network_text("fd00::/8"), Ok("fd00::/8".to_owned()));
    assert!(network("10.1.0.0/8").is_err_and(|e| e.to_string().contains("10.0.0.0/8")));
    for text in [
        "",
        "10.0.0.0/33",
        "fd00::/129",
        "10.0.0/8",
        "10.0.0.0/",
        "x/8",
    ] {
        assert!(network(text).is_err(), "{text}");
    }
}

#[test]
fn host_names_are_names_and_nothing_more() {
    assert_eq!(host("Call.Example.COM."), Ok("call.example.com".to_owned()));
    assert_eq!(host("[2001:db8::1]"), Ok("2001:db8::1".to_owned()));
    for text in [
        "",
        "https://a.example",
        "a.example:443",
        "a..b",
        "-a.example",
        "a b",
        "übung.example",
    ] {
        assert!(host(text).is_err(), "{text}");
    }
}

#[test]
fn origins_have_a_scheme_and_no_path() {
    assert_eq!(
        origin("https://App.example:8443"),
        Ok("https://app.example:8443".to_owned())
    );
    for text in [
        "",
        "app.example",
        "https://",
        "https://a/",
        "https://a/b",
        "https://u@a",
        "*",
    ] {
        assert!(origin(text).is_err(), "{text}");
    }
}

#[test]
fn paths_are_absolute_and_plain() {
    assert_eq!(path("/ws"), Ok("/ws".to_owned()));
    assert_eq!(path("/a/b-c_d"), Ok("/a/b-c_d".to_owned()));
    for text in ["", "/", "ws", "/ws/", "//ws", "/a/../b", "/a?b", "/ä"] {
        assert!(path(text).is_err(), "{text}");
    }
}

#[test]
fn urls_of_ice_servers_have_a_known_scheme() {
    assert!(ice_url("turn:turn.example:3478?transport=udp").is_ok());
    for text in ["", "stun:", "http://x", "stun://x", "turn:a b", "turn"] {
        assert!(ice_url(text).is_err(), "{text}");
    }
}

proptest! {
    #[test]
    fn no_text_breaks_a_parser(text in any::<String>()) {
        let _ = duration(&text);
        let _ = size(&text);
        let _ = address(&text);
        let _ = ports(&text);
        let _ = network(&text);
        let _ = host(&text);
        let _ = origin(&text);
        let _ = path(&text);
        let _ = ice_url(&text);
        let _ = header(&text);
    }

    #[test]
    fn a_duration_is_the_sum_of_its_parts(h in 0u64..1000, m in 0u64..1000, s in 0u64..1000) {
        let expected = Duration::from_secs(h * 3600 + m * 60 + s);
        prop_assert_eq!(duration(&format!("{h}h{m}m{s}s")), Ok(expected));
    }

    #[test]
    fn every_address_is_read_back(ip in any::<IpAddr>(), port in any::<u16>()) {
        let written = SocketAddr::new(ip, port);
        prop_assert_eq!(address(&written.to_string()), Ok(written));
    }

    #[test]
    fn the_first_address_of_a_prefix_is_accepted_and_stays(ip in any::<IpAddr>(), bits in 0u8..=128) {
        let bits = if ip.is_ipv4() { bits % 33 } else { bits };
        let first = first_of(ip, bits);
        let read = network(&format!("{first}/{bits}"));
        prop_assert_eq!(read, Ok(Network { address: first, prefix: bits }));
    }

    #[test]
    fn host_names_that_are_accepted_stay_the_same_when_read_again(text in "[A-Za-z0-9.-]{1,40}") {
        if let Ok(name) = host(&text) {
            prop_assert_eq!(host(&name), Ok(name));
        }
    }
}
