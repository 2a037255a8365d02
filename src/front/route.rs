//! Who takes a connection. Pure: listener, negotiated protocol and first bytes in, decision out.
//!
//! Decided by what arrives, never by the server name or ALPN alone: TURN clients send no ALPN, and
//! some of them no server name either.

use super::sniff::Sniff;

/// What a listener is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// TLS with HTTP or TURN inside, plain TURN, and plain HTTP that is redirected.
    Https,
    /// Plain HTTP, redirected or refused.
    Http,
    /// TURN, plain or inside TLS.
    Turn,
    /// Plain WebSockets, for clients with a port of their own compiled in.
    Ws,
    /// The same inside TLS.
    Wss,
}

impl Role {
    /// All of them.
    pub const ALL: [Self; 5] = [Self::Https, Self::Http, Self::Turn, Self::Ws, Self::Wss];

    /// How the log and the metrics page call it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Https => "https",
            Self::Http => "http",
            Self::Turn => "turn",
            Self::Ws => "ws",
            Self::Wss => "wss",
        }
    }

    /// Its place in [`Role::ALL`].
    pub(super) fn index(self) -> usize {
        Self::ALL.iter().position(|role| *role == self).unwrap_or(0)
    }
}

/// What to do with the bytes as they came.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outer {
    /// Read more.
    Wait,
    /// Finish the TLS handshake.
    Tls,
    /// Hand over to TURN.
    Turn,
    /// Answer plain HTTP.
    PlainHttp,
    /// Serve plain HTTP/1.1, WebSockets only.
    PlainWebSocket,
    /// Close.
    Refuse,
}

/// What to do with what TLS protects.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Inner {
    /// Read more: no protocol was negotiated, or one that must prove itself.
    Wait,
    /// Serve HTTP/1.1.
    Http1,
    /// Serve HTTP/1.1, WebSockets only.
    WebSocket,
    /// Serve HTTP/2.
    Http2,
    /// Hand over to TURN.
    Turn,
    /// Close.
    Refuse,
}

/// Names in ALPN (RFC 7301, RFC 7443).
pub const ALPN_HTTP2: &[u8] = b"h2";
/// HTTP/1.1.
pub const ALPN_HTTP1: &[u8] = b"http/1.1";
/// TURN.
pub const ALPN_TURN: &[u8] = b"stun.turn";
/// STUN for finding out about NATs.
pub const ALPN_STUN: &[u8] = b"stun.nat-discovery";

/// Decides on the first bytes of the connection.
pub fn outer(role: Role, first: Sniff) -> Outer {
    match (first, role) {
        (Sniff::Incomplete, _) => Outer::Wait,
        (Sniff::Tls, Role::Https | Role::Turn | Role::Wss) => Outer::Tls,
        (Sniff::Stun, Role::Https | Role::Turn) => Outer::Turn,
        (Sniff::Http, Role::Https | Role::Http) => Outer::PlainHttp,
        (Sniff::Http, Role::Ws) => Outer::PlainWebSocket,
        (Sniff::Tls, Role::Http | Role::Ws)
        | (Sniff::Stun, Role::Http | Role::Ws | Role::Wss)
        | (Sniff::Http, Role::Turn | Role::Wss)
        | (Sniff::Unknown, _) => Outer::Refuse,
    }
}

/// Decides on the negotiated protocol and, where that is not enough, on the first decrypted bytes.
pub fn inner(role: Role, alpn: Option<&[u8]>, first: Sniff) -> Inner {
    match (role, alpn) {
        (Role::Http | Role::Ws, _) => Inner::Refuse,
        (Role::Wss, None | Some(ALPN_HTTP1)) => match first {
            Sniff::Incomplete => Inner::Wait,
            Sniff::Http => Inner::WebSocket,
            _ => Inner::Refuse,
        },
        (Role::Wss, Some(_)) => Inner::Refuse,
        (Role::Https, Some(ALPN_HTTP2)) => Inner::Http2,
        // coturn's own client offers it beside TURN's name: what arrives decides.
        (Role::Https, Some(ALPN_HTTP1)) => match first {
            Sniff::Incomplete => Inner::Wait,
            Sniff::Stun => Inner::Turn,
            _ => Inner::Http1,
        },
        (_, Some(ALPN_TURN | ALPN_STUN)) => match first {
            Sniff::Incomplete => Inner::Wait,
            Sniff::Stun => Inner::Turn,
            _ => Inner::Refuse,
        },
        (_, Some(_)) => Inner::Refuse,
        (role, None) => match (first, role) {
            (Sniff::Incomplete, _) => Inner::Wait,
            (Sniff::Stun, _) => Inner::Turn,
            // HTTP/2 is spoken where it was negotiated, so letters mean HTTP/1.
            (Sniff::Http, Role::Https) => Inner::Http1,
            _ => Inner::Refuse,
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ROLES: [Role; 3] = [Role::Https, Role::Http, Role::Turn];

    #[test]
    fn listeners_of_old_clients_take_http_and_nothing_else() {
        for first in [Sniff::Tls, Sniff::Stun, Sniff::Unknown] {
            assert_eq!(outer(Role::Ws, first), Outer::Refuse, "{first:?}");
        }
        assert_eq!(outer(Role::Ws, Sniff::Http), Outer::PlainWebSocket);
        for first in [Sniff::Http, Sniff::Stun, Sniff::Unknown] {
            assert_eq!(outer(Role::Wss, first), Outer::Refuse, "{first:?}");
        }
        assert_eq!(outer(Role::Wss, Sniff::Tls), Outer::Tls);
        for alpn in [None, Some(ALPN_HTTP1)] {
            assert_eq!(inner(Role::Wss, alpn, Sniff::Incomplete), Inner::Wait);
            assert_eq!(inner(Role::Wss, alpn, Sniff::Http), Inner::WebSocket);
            assert_eq!(inner(Role::Wss, alpn, Sniff::Stun), Inner::Refuse);
        }
        for alpn in [ALPN_HTTP2, ALPN_TURN] {
            assert_eq!(inner(Role::Wss, Some(alpn), Sniff::Http), Inner::Refuse);
        }
        assert_eq!(inner(Role::Ws, None, Sniff::Http), Inner::Refuse);
    }

    #[test]
    fn plain_bytes_go_where_the_listener_lets_them() {
        use Outer::{PlainHttp, Refuse, Tls, Turn, Wait};
        for (first, expected) in [
            (Sniff::Incomplete, [Wait, Wait, Wait]),
            (Sniff::Tls, [Tls, Refuse, Tls]),
            (Sniff::Stun, [Turn, Refuse, Turn]),
            (Sniff::Http, [PlainHttp, PlainHttp, Refuse]),
            (Sniff::Unknown, [Refuse, Refuse, Refuse]),
        ] {
            assert_eq!(ROLES.map(|role| outer(role, first)), expected, "{first:?}");
        }
    }

    #[test]
    fn protected_bytes_go_by_alpn_first_and_by_themselves_where_there_is_none() {
        use Inner::{Http1, Http2, Refuse, Turn, Wait};
        for (alpn, first, expected) in [
            (Some("h2"), Sniff::Incomplete, [Http2, Refuse, Refuse]),
            (Some("http/1.1"), Sniff::Incomplete, [Wait, Refuse, Refuse]),
            (Some("http/1.1"), Sniff::Http, [Http1, Refuse, Refuse]),
            (Some("http/1.1"), Sniff::Stun, [Turn, Refuse, Refuse]),
            (Some("stun.turn"), Sniff::Incomplete, [Wait, Refuse, Wait]),
            (Some("stun.turn"), Sniff::Stun, [Turn, Refuse, Turn]),
            (Some("stun.turn"), Sniff::Http, [Refuse, Refuse, Refuse]),
            (
                Some("stun.nat-discovery"),
                Sniff::Stun,
                [Turn, Refuse, Turn],
            ),
            (
                Some("acme-tls/1"),
                Sniff::Incomplete,
                [Refuse, Refuse, Refuse],
            ),
            (Some("ftp"), Sniff::Stun, [Refuse, Refuse, Refuse]),
            (None, Sniff::Incomplete, [Wait, Refuse, Wait]),
            (None, Sniff::Stun, [Turn, Refuse, Turn]),
            (None, Sniff::Http, [Http1, Refuse, Refuse]),
            (None, Sniff::Tls, [Refuse, Refuse, Refuse]),
            (None, Sniff::Unknown, [Refuse, Refuse, Refuse]),
        ] {
            let decided = ROLES.map(|role| inner(role, alpn.map(str::as_bytes), first));
            assert_eq!(decided, expected, "{alpn:?} {first:?}");
        }
    }
}
