//! The opening handshake of a WebSocket (RFC 6455 section 4.2). Pure.

use aws_lc_rs::digest::{SHA1_FOR_LEGACY_USE_ONLY, digest};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use hyper::header::{
    CONNECTION, HeaderMap, HeaderName, HeaderValue, SEC_WEBSOCKET_KEY, SEC_WEBSOCKET_VERSION,
    UPGRADE,
};
use hyper::{Method, Request, Version};

/// What is wrong with a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum HandshakeError {
    #[error("not a GET of HTTP/1.1")]
    Request,
    #[error("no upgrade in Connection")]
    Connection,
    #[error("no websocket in Upgrade")]
    Upgrade,
    #[error("Sec-WebSocket-Version is not 13")]
    Version,
    #[error("no Sec-WebSocket-Key of 16 bytes")]
    Key,
}

/// The value of `Sec-WebSocket-Accept` that answers the request.
pub(super) fn accept<B>(request: &Request<B>) -> Result<HeaderValue, HandshakeError> {
    if request.method() != Method::GET || request.version() < Version::HTTP_11 {
        return Err(HandshakeError::Request);
    }
    let headers = request.headers();
    if !names(headers, CONNECTION, "upgrade") {
        return Err(HandshakeError::Connection);
    }
    if !names(headers, UPGRADE, "websocket") {
        return Err(HandshakeError::Upgrade);
    }
    if headers
        .get(SEC_WEBSOCKET_VERSION)
        .map(HeaderValue::as_bytes)
        != Some(b"13")
    {
        return Err(HandshakeError::Version);
    }
    let key = headers.get(SEC_WEBSOCKET_KEY).ok_or(HandshakeError::Key)?;
    match STANDARD.decode(key.as_bytes()) {
        Ok(bytes) if bytes.len() == 16 => {}
        _ => return Err(HandshakeError::Key),
    }
    let hash = digest(&SHA1_FOR_LEGACY_USE_ONLY, &[key.as_bytes(), MAGIC].concat());
    HeaderValue::try_from(STANDARD.encode(hash)).map_err(|_| HandshakeError::Key)
}

/// Whether one of the words in a header is this one.
fn names(headers: &HeaderMap, header: HeaderName, word: &str) -> bool {
    headers
        .get_all(header)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .any(|found| found.trim().eq_ignore_ascii_case(word))
}

/// RFC 6455 section 1.3: shows that the server has understood, and nothing else.
const MAGIC: &[u8] = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11";

#[cfg(test)]
mod tests {
    use super::*;

    fn request(change: impl FnOnce(&mut Request<()>)) -> Result<HeaderValue, HandshakeError> {
        let mut request = Request::builder()
            .header(CONNECTION, "keep-alive, Upgrade")
            .header(UPGRADE, "WebSocket")
            .header(SEC_WEBSOCKET_VERSION, "13")
            .header(SEC_WEBSOCKET_KEY, "dGhlIHNhbXBsZSBub25jZQ==")
            .body(())
            .unwrap();
        change(&mut request);
        accept(&request)
    }

    #[test]
    fn the_example_of_section_1_3_is_answered_as_it_says() {
        let answer = request(|_| {}).unwrap();
        assert_eq!(answer, "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=");
    }

    #[test]
    fn each_part_that_is_missing_is_named() {
        let without = |name| request(|request| drop(request.headers_mut().remove(name)));
        assert_eq!(without(CONNECTION), Err(HandshakeError::Connection));
        assert_eq!(without(UPGRADE), Err(HandshakeError::Upgrade));
        assert_eq!(without(SEC_WEBSOCKET_VERSION), Err(HandshakeError::Version));
        assert_eq!(without(SEC_WEBSOCKET_KEY), Err(HandshakeError::Key));
        let wrong = request(|request| *request.method_mut() = Method::POST);
        assert_eq!(wrong, Err(HandshakeError::Request));
        let old = request(|request| *request.version_mut() = Version::HTTP_10);
        assert_eq!(old, Err(HandshakeError::Request));
    }

    #[test]
    fn a_key_has_sixteen_bytes() {
        for key in [
            "",
            "AAAA",
            "dGhlIHNhbXBsZSBub25jZQ",
            "!!!!!!!!!!!!!!!!!!!!!!==",
            "dGhlIHNhbXBsZSBub25jZSBhbmQgbW9yZQ==",
        ] {
            let key = HeaderValue::from_static(key);
            let answer = request(|request| {
                request.headers_mut().insert(SEC_WEBSOCKET_KEY, key);
            });
            assert_eq!(answer, Err(HandshakeError::Key));
        }
    }
}
