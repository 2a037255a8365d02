//! What the fuzz targets in `fuzz/` run, kept here so that tests replay their corpus on a stable
//! compiler. Each function takes raw bytes and panics when something that must hold does not.
//! Not part of the crate's interface.

pub mod apprtc;
pub mod client;
pub mod front;
pub mod turn_core;
pub mod world;

use crate::turn::channel::{self, Frame};
use crate::turn::stun::address::decode_xor;
use crate::turn::stun::{Algorithm, Key, Message, Writer};

/// Reads a STUN message, asks it everything, and writes its attributes again.
pub fn stun_decode(bytes: &[u8]) {
    let Ok(message) = Message::parse(bytes) else {
        return;
    };
    let key = Key::long_term(Algorithm::Sha256, b"user", b"realm", b"password");
    message.verify_sha1(&key);
    message.verify_sha256(&key);
    message.fingerprint();
    let mut out = vec![0; bytes.len()];
    let mut writer = Writer::new(
        &mut out,
        message.class(),
        message.method(),
        message.transaction_id(),
    );
    for attribute in message.attributes() {
        decode_xor(attribute.value, message.transaction_id());
        writer.attribute(attribute.kind, attribute.value);
    }
    let len = writer.finish().expect("it was read from as many bytes");
    let again = Message::parse(&out[..len]).expect("we wrote it");
    assert!(
        message
            .attributes()
            .map(|a| (a.kind, a.value))
            .eq(again.attributes().map(|a| (a.kind, a.value)))
    );
}

/// Cuts a stream into messages; the first byte says in what portions it arrives.
pub fn stream_frame(bytes: &[u8]) {
    let Some((portion, stream)) = bytes.split_first() else {
        return;
    };
    let whole = frames(stream, stream.len().max(1));
    let portions = frames(stream, usize::from(*portion) + 1);
    assert_eq!(whole, portions, "portions must not matter");
}

/// Lengths of the messages found, and whether the stream broke.
fn frames(stream: &[u8], portion: usize) -> (Vec<usize>, bool) {
    let mut found = Vec::new();
    let (mut start, mut end) = (0, 0);
    while end < stream.len() {
        end = (end + portion).min(stream.len());
        loop {
            match channel::frame(&stream[start..end]) {
                Frame::Incomplete => break,
                Frame::Broken => return (found, true),
                Frame::Whole { len, consumed } => {
                    assert!(len <= consumed && start + consumed <= end);
                    assert!(consumed > 0, "or the driver would spin");
                    found.push(len);
                    start += consumed;
                }
            }
        }
    }
    (found, false)
}
