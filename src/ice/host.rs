//! Which host the URLs of an answer name, so that the client that asks can reach it. Pure.

use std::net::{IpAddr, Ipv6Addr};

/// The configured name by which the client came, or our own address by which it came; else the
/// first name. Without names, whatever it came by. `asked` is a name, an IPv4 address, or an IPv6
/// address in brackets; so is the result.
pub fn reachable(asked: Option<&str>, names: &[String], addresses: &[IpAddr]) -> Option<String> {
    let asked = asked.map(unmapped);
    let Some(first) = names.first() else {
        return asked;
    };
    let bare = |name: &str| name.strip_suffix('.').unwrap_or(name).to_ascii_lowercase();
    let named = asked.as_deref().and_then(|asked| {
        let same = |name: &&String| bare(name) == bare(asked);
        names.iter().find(same).cloned()
    });
    // Whoever came by an address may have no way to look names up.
    let numbered = || {
        let asked = asked.as_deref()?;
        let address: IpAddr = inside(asked).parse().ok()?;
        addresses.contains(&address).then(|| asked.to_owned())
    };
    Some(named.or_else(numbered).unwrap_or_else(|| first.clone()))
}

fn inside(host: &str) -> &str {
    let address = host
        .strip_prefix('[')
        .and_then(|rest| rest.strip_suffix(']'));
    address.unwrap_or(host)
}

/// `[::ffff:192.0.2.1]` is 192.0.2.1, and more clients know it by that name.
fn unmapped(host: &str) -> String {
    let v6: Option<Ipv6Addr> = inside(host).parse().ok();
    match v6.and_then(|v6| v6.to_ipv4_mapped()) {
        Some(v4) => v4.to_string(),
        None => host.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_name_what_the_client_came_by_if_it_is_ours() {
        let names = ["call.example".to_owned(), "anruf.example".to_owned()];
        let addresses: [IpAddr; 2] = ["192.0.2.1".parse().unwrap(), "2001:db8::1".parse().unwrap()];
        let first = Some("call.example");
        for (asked, with_names, without) in [
            (None, first, None),
            (Some("call.example"), first, Some("call.example")),
            (
                Some("anruf.example"),
                Some("anruf.example"),
                Some("anruf.example"),
            ),
            (
                Some("ANRUF.example."),
                Some("anruf.example"),
                Some("ANRUF.example."),
            ),
            (
                Some("call.example.evil.example"),
                first,
                Some("call.example.evil.example"),
            ),
            (Some("192.0.2.1"), Some("192.0.2.1"), Some("192.0.2.1")),
            (
                Some("[::ffff:192.0.2.1]"),
                Some("192.0.2.1"),
                Some("192.0.2.1"),
            ),
            (
                Some("[2001:db8::1]"),
                Some("[2001:db8::1]"),
                Some("[2001:db8::1]"),
            ),
            (Some("192.0.2.2"), first, Some("192.0.2.2")),
            (Some("[2001:db8::2]"), first, Some("[2001:db8::2]")),
        ] {
            assert_eq!(
                reachable(asked, &names, &addresses).as_deref(),
                with_names,
                "{asked:?}"
            );
            assert_eq!(
                reachable(asked, &[], &addresses).as_deref(),
                without,
                "{asked:?}"
            );
        }
    }
}
