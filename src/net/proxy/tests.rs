use proptest::prelude::*;

use super::*;

fn v2(command: u8, family: u8, rest: &[u8]) -> Vec<u8> {
    let length = u16::try_from(rest.len()).unwrap().to_be_bytes();
    [VERSION_2, &[command, family], &length, rest].concat()
}

fn source(bytes: &[u8]) -> Option<SocketAddr> {
    match parse(bytes) {
        Ok(Step::Done(header)) => {
            assert_eq!(header.length, bytes.len());
            header.source
        }
        other => panic!("{other:?} of {bytes:?}"),
    }
}

#[test]
fn a_line_of_version_1_tells_the_source() {
    for (line, expected) in [
        (
            "PROXY TCP4 192.0.2.7 198.51.100.1 56324 443\r\n",
            "192.0.2.7:56324",
        ),
        (
            "PROXY TCP4 255.255.255.255 255.255.255.255 65535 65535\r\n",
            "255.255.255.255:65535",
        ),
        (
            "PROXY TCP6 2001:db8::7 2001:db8::1 1 443\r\n",
            "[2001:db8::7]:1",
        ),
        (
            "PROXY TCP6 ::ffff:192.0.2.7 ::ffff:192.0.2.1 1 443\r\n",
            "192.0.2.7:1",
        ),
        (
            "PROXY TCP6 ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff 65535 65535\r\n",
            "[ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff]:65535",
        ),
    ] {
        assert_eq!(source(line.as_bytes()), Some(expected.parse().unwrap()));
    }
    for unknown in ["PROXY UNKNOWN\r\n", "PROXY UNKNOWN ::1 whatever\r\n"] {
        assert_eq!(source(unknown.as_bytes()), None);
    }
}

#[test]
fn a_line_that_is_not_quite_right_is_broken() {
    for line in [
        "PROXY \r\n",
        "PROXY TCP\r\n",
        "PROXY TCP4\r\n",
        "PROXY UNKNOWNS\r\n",
        "PROXY tcp4 192.0.2.7 192.0.2.1 1 2\r\n",
        "PROXY TCP4 192.0.2.7 192.0.2.1 1\r\n",
        "PROXY TCP4 192.0.2.7 192.0.2.1 1 2 3\r\n",
        "PROXY TCP4 192.0.2.7 192.0.2.1 1 2 \r\n",
        "PROXY TCP4  192.0.2.7 192.0.2.1 1 2\r\n",
        "PROXY TCP4 2001:db8::7 192.0.2.1 1 2\r\n",
        "PROXY TCP6 192.0.2.7 2001:db8::1 1 2\r\n",
        "PROXY TCP4 192.0.2.256 192.0.2.1 1 2\r\n",
        "PROXY TCP4 192.0.2.7 192.0.2.1 65536 2\r\n",
        "PROXY TCP4 192.0.2.7 192.0.2.1 +1 2\r\n",
        "PROXY TCP4 192.0.2.7 192.0.2.1 000001 2\r\n",
        "PROXY TCP4 192.0.2.7 192.0.2.1 1 -2\r\n",
        "PROXY TCP4 192.0.2.7\t192.0.2.1 1 2\r\n",
        "PROXY TCP4 192.0.2.7 192.0.2.1 1 2\n\r\n",
    ] {
        assert_eq!(parse(line.as_bytes()), Err(Error::Broken), "{line:?}");
    }
    let endless = format!("PROXY UNKNOWN {}", "x".repeat(MAX_LINE));
    assert_eq!(parse(endless.as_bytes()), Err(Error::Broken));
    let mut late = endless[..MAX_LINE - 1].to_owned();
    late.push_str("\r\n");
    assert_eq!(parse(late.as_bytes()), Err(Error::Broken));
}

#[test]
fn version_2_tells_the_source_of_tcp_and_of_nothing_else() {
    let v4 = [192, 0, 2, 7, 198, 51, 100, 1, 0xDC, 4, 1, 0xBB];
    let expected = "192.0.2.7:56324".parse().unwrap();
    assert_eq!(source(&v2(0x21, 0x11, &v4)), Some(expected));
    let with_values = [&v4[..], &[3, 0, 4, 1, 2, 3, 4, 0xEA, 0, 1, 9]].concat();
    assert_eq!(source(&v2(0x21, 0x11, &with_values)), Some(expected));

    let ip: Ipv6Addr = "2001:db8::7".parse().unwrap();
    let v6 = [&ip.octets()[..], &[0; 16], &[0, 1, 1, 0xBB]].concat();
    let expected = "[2001:db8::7]:1".parse().unwrap();
    assert_eq!(source(&v2(0x21, 0x21, &v6)), Some(expected));
    let mapped: Ipv6Addr = "::ffff:192.0.2.7".parse().unwrap();
    let mapped = [&mapped.octets()[..], &[0; 16], &[0, 1, 1, 0xBB]].concat();
    let expected = "192.0.2.7:1".parse().unwrap();
    assert_eq!(source(&v2(0x21, 0x21, &mapped)), Some(expected));

    // LOCAL, with addresses that are to be ignored and without any.
    assert_eq!(source(&v2(0x20, 0x11, &v4)), None);
    assert_eq!(source(&v2(0x20, 0, &[])), None);
    for family in [0x00, 0x12, 0x22, 0x31, 0x32] {
        assert_eq!(source(&v2(0x21, family, &[1; 216])), None);
    }
}

#[test]
fn version_2_with_a_wrong_length_version_or_family_is_broken() {
    let v4 = [192, 0, 2, 7, 198, 51, 100, 1, 0xDC, 4, 1, 0xBB];
    for bytes in [
        v2(0x21, 0x11, &v4[..11]),
        v2(0x21, 0x21, &v4),
        v2(0x11, 0x11, &v4),
        v2(0x22, 0x11, &v4),
        v2(0x21, 0x13, &v4),
        v2(0x21, 0x41, &v4),
        v2(0x21, 0x01, &v4),
    ] {
        assert_eq!(parse(&bytes), Err(Error::Broken), "{bytes:?}");
    }
    let long = v2(0x21, 0x11, &[0; MAX_REST + 1]);
    let expected = Error::TooLong(FIXED + MAX_REST + 1);
    // Refused before it is read.
    assert_eq!(parse(&long[..FIXED]), Err(expected));
    assert!(parse(&v2(0x21, 0x11, &[0; MAX_REST])).is_ok());
}

#[test]
fn what_a_client_would_say_itself_is_no_header() {
    for bytes in [
        &b"GET / HTTP/1.1\r\n"[..],
        b"\x16\x03\x01",
        b"\x00\x01\x00\x00",
        b"PRI * HTTP/2.0\r\n",
        b"proxy TCP4 ",
        b"\r\n\r\n\x01",
        b"\r\nGET",
    ] {
        assert_eq!(parse(bytes), Err(Error::Missing), "{bytes:?}");
    }
}

proptest! {
    #[test]
    fn any_source_survives_either_version(source: SocketAddr, tail in prop::collection::vec(any::<u8>(), 0..40)) {
        let canonical = SocketAddr::new(source.ip().to_canonical(), source.port());
        let (family, line) = match source.ip() {
            IpAddr::V4(ip) => (0x11, format!("PROXY TCP4 {ip} 192.0.2.1 {} 443\r\n", source.port())),
            IpAddr::V6(ip) => (0x21, format!("PROXY TCP6 {ip} 2001:db8::1 {} 443\r\n", source.port())),
        };
        let octets = match source.ip() {
            IpAddr::V4(ip) => ip.octets().to_vec(),
            IpAddr::V6(ip) => ip.octets().to_vec(),
        };
        let ports = [source.port().to_be_bytes(), [1, 0xBB]].concat();
        let binary = v2(0x21, family, &[&octets[..], &octets, &ports].concat());
        for header in [line.into_bytes(), binary] {
            let length = header.len();
            let expected = Step::Done(Header { source: Some(canonical), length });
            prop_assert_eq!(parse(&[header, tail.clone()].concat()), Ok(expected));
        }
    }

    #[test]
    fn a_verdict_never_changes_and_nobody_reads_past_the_header(
        start in prop::sample::select(vec![&b"PROXY "[..], b"PROXY TCP4 1.2.3.4 1.2.3.4 1 2", b"PROXY UNKNOWN", VERSION_2,
            b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x0c", b"\r\n\r\n\0\r\nQUIT\n\x20\0\0\x02", b""]),
        rest in prop::collection::vec(prop_oneof![any::<u8>(), Just(b'\r'), Just(b'\n')], 0..150),
    ) {
        crate::fuzzing::front::proxy_header(&[start, &rest].concat());
    }
}
