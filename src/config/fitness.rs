//! Which names a public certificate authority can vouch for. Pure.
//!
//! Asking in vain costs a validation attempt, of which there are few: such names are found here.

use std::net::IpAddr;

/// Why no public authority certifies this name; `None` when one may.
pub(super) fn unfit(name: &str) -> Option<&'static str> {
    if name.parse::<IpAddr>().is_ok() {
        return Some("is an address, not a name");
    }
    if !name.contains('.') {
        return Some("has no domain");
    }
    let inside = |domain: &&str| {
        name.strip_suffix(*domain)
            .is_some_and(|before| before.is_empty() || before.ends_with('.'))
    };
    if NOWHERE.iter().any(inside) {
        return Some("is not in the public DNS");
    }
    if name.contains('_') {
        return Some("has an underscore, which certificates must not");
    }
    None
}

/// Reserved for private use, for documents, or for other ways of naming (RFC 2606, 6761, 6762,
/// 7686, 8375, 9476; ICANN on `internal`), and what routers like to use.
const NOWHERE: [&str; 14] = [
    "localhost",
    "local",
    "internal",
    "arpa",
    "test",
    "example",
    "invalid",
    "onion",
    "alt",
    "lan",
    "home",
    "corp",
    "private",
    "localdomain",
];

#[cfg(test)]
mod tests {
    use super::unfit;

    #[test]
    fn names_without_a_place_in_the_public_dns_are_told_apart() {
        for name in [
            "localhost",
            "callbox",
            "box.local",
            "a.b.internal",
            "nas.home.arpa",
            "call.test",
            "call.example",
            "app.localhost",
            "192.0.2.1",
            "2001:db8::1",
            "my_box.example.com",
        ] {
            assert!(unfit(name).is_some(), "{name}");
        }
        for name in [
            "call.example.com",
            "internal.example.org",
            "notlocal.de",
            "thelocal",
            "xn--bcher-kva.example.net",
        ] {
            assert_eq!(unfit(name).is_some(), name == "thelocal", "{name}");
        }
    }
}
