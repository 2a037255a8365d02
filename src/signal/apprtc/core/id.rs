//! Names of rooms and ids of clients, as AppRTC's routes have them.

/// The id under which a client joins a call with itself; the web client writes it in lower case.
pub const LOOPBACK: &str = "LOOPBACK_CLIENT_ID";

/// Longest name of a room, in bytes.
pub const ROOM_MAX: usize = 256;

/// Longest id of a client, in bytes.
pub const CLIENT_MAX: usize = 64;

/// Whether this can be a name of a room or the id of a client, as AppRTC's routes have it.
pub fn is_id(text: &str, longest: usize) -> bool {
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_');
    !text.is_empty() && text.len() <= longest && text.bytes().all(allowed)
}

/// The room server's spelling and iOS's, or that of the web client.
pub(super) fn is_loopback(client: &str) -> bool {
    client == LOOPBACK || client == "loopback_client_id"
}
