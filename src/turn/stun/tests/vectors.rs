//! RFC 5769 and RFC 8489 appendix B.1.

use crate::turn::stun::address::decode_xor;
use crate::turn::stun::integrity::userhash;
use crate::turn::stun::message::Fingerprint;
use crate::turn::stun::{
    Algorithm, AttributeType, Class, Key, Message, Method, TransactionId, Writer,
};

/// RFC 5769 section 2.1.
const REQUEST: &str = "000100582112a442b7e7a701bc34d686fa87dfae\
    802200105354554e207465737420636c69656e74\
    002400046e0001ff\
    80290008932ff9b151263b36\
    000600096576746a3a68367659202020\
    000800149aeaa70cbfd8cb56781ef2b5b2d3f249c1b571a2\
    80280004e57a3bcf";

/// RFC 5769 section 2.2.
const RESPONSE_V4: &str = "0101003c2112a442b7e7a701bc34d686fa87dfae\
    8022000b7465737420766563746f7220\
    002000080001a147e112a643\
    000800142b91f599fd9e90c38c7489f92af9ba53f06be7d7\
    80280004c07d4c96";

/// RFC 5769 section 2.3.
const RESPONSE_V6: &str = "010100482112a442b7e7a701bc34d686fa87dfae\
    8022000b7465737420766563746f7220\
    002000140002a1470113a9faa5d3f179bc25f4b5bed2b9d9\
    00080014a382954e4be67bf11784c97c8292c275bfe3ed41\
    80280004c8fb0b4c";

/// RFC 5769 section 2.4.
const LONG_TERM: &str = "000100602112a44278ad3433c6ad72c029da412e\
    00060012e3839ee38388e383aae38383e382afe382b90000\
    0015001c662f2f3439396b3935346436\
    4f4c33346f4c39465354767936347341\
    0014000b6578616d706c652e6f726700\
    00080014f67024656dd64a3e02b8e0712e85c9a28ca89666";

/// RFC 8489 appendix B.1 with erratum 6268.
const USERHASH_SHA256: &str = "000100902112a44278ad3433c6ad72c029da412e\
    001e00204a3cf38fef6992bda952c6780417da0f24819415569e60b205c46e41407f1704\
    001500296f624d61744a6f7332414141\
    43662f2f3439396b3935346436\
    4f4c33346f4c39465354767936347341000000\
    0014000b6578616d706c652e6f726700\
    001d000400020000\
    001c0020b5c7bf005b6c52a21c51c5e892f81924136296cb927c43149309278cc6518e65";

const USERNAME: &str = "\u{30DE}\u{30C8}\u{30EA}\u{30C3}\u{30AF}\u{30B9}";

/// What both profiles make of the vectors' password.
const PASSWORD: &[u8] = b"TheMatrIX";

fn bytes(hex: &str) -> Vec<u8> {
    hex.as_bytes()
        .chunks(2)
        .map(|pair| u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16).unwrap())
        .collect()
}

fn short_term() -> Key {
    Key::short_term(b"VOkJxbRl1RmTxUk/WvJxBt")
}

#[test]
fn the_sample_request_is_read_and_verified() {
    // Its padding is spaces: only zeros are written by us, but anything is read.
    let raw = bytes(REQUEST);
    let message = Message::parse(&raw).unwrap();
    assert_eq!(message.class(), Class::Request);
    assert_eq!(message.method(), Method::BINDING);
    assert_eq!(
        message.value(AttributeType::SOFTWARE),
        Some(&b"STUN test client"[..])
    );
    assert_eq!(message.u32(AttributeType(0x0024)), Some(0x6E00_01FF));
    assert_eq!(
        message.value(AttributeType::USERNAME),
        Some(&b"evtj:h6vY"[..])
    );
    assert!(message.verify_sha1(&short_term()));
    assert_eq!(message.fingerprint(), Fingerprint::Valid);
}

#[test]
fn the_sample_responses_are_read_and_verified() {
    for (hex, expected) in [
        (RESPONSE_V4, "192.0.2.1:32853"),
        (RESPONSE_V6, "[2001:db8:1234:5678:11:2233:4455:6677]:32853"),
    ] {
        let raw = bytes(hex);
        let message = Message::parse(&raw).unwrap();
        assert_eq!(message.class(), Class::Success);
        let value = message.value(AttributeType::XOR_MAPPED_ADDRESS).unwrap();
        assert_eq!(
            decode_xor(value, message.transaction_id()),
            Some(expected.parse().unwrap())
        );
        assert!(message.verify_sha1(&short_term()));
        assert_eq!(message.fingerprint(), Fingerprint::Valid);
    }
}

#[test]
fn the_long_term_request_is_verified_and_written_again_byte_for_byte() {
    let raw = bytes(LONG_TERM);
    let message = Message::parse(&raw).unwrap();
    let key = Key::long_term(
        Algorithm::Md5,
        USERNAME.as_bytes(),
        b"example.org",
        PASSWORD,
    );
    assert!(message.verify_sha1(&key));
    assert!(!message.verify_sha256(&key), "there is none");
    assert_eq!(message.fingerprint(), Fingerprint::Absent);

    let mut out = [0xFF; 256];
    let mut writer = rewrite(&message, &mut out);
    writer.message_integrity(&key);
    let len = writer.finish().unwrap();
    assert_eq!(out[..len], raw);
}

#[test]
fn the_sha256_request_with_a_hashed_name_is_verified_and_written_again_byte_for_byte() {
    let raw = bytes(USERHASH_SHA256);
    let message = Message::parse(&raw).unwrap();
    assert_eq!(
        message.value(AttributeType::USERHASH),
        Some(&userhash(USERNAME.as_bytes(), b"example.org")[..])
    );
    let key = Key::long_term(
        Algorithm::Sha256,
        USERNAME.as_bytes(),
        b"example.org",
        PASSWORD,
    );
    assert!(message.verify_sha256(&key));
    assert!(!message.verify_sha1(&key), "there is none");
    let other = Key::long_term(
        Algorithm::Md5,
        USERNAME.as_bytes(),
        b"example.org",
        PASSWORD,
    );
    assert!(!message.verify_sha256(&other));

    let mut out = [0xFF; 256];
    let mut writer = rewrite(&message, &mut out);
    writer.message_integrity_sha256(&key);
    let len = writer.finish().unwrap();
    assert_eq!(out[..len], raw);
}

/// Everything but the integrity attribute.
fn rewrite<'a>(message: &Message<'_>, out: &'a mut [u8]) -> Writer<'a> {
    let TransactionId(id) = message.transaction_id();
    let mut writer = Writer::new(out, message.class(), message.method(), TransactionId(id));
    for attribute in message.attributes() {
        match attribute.kind {
            AttributeType::MESSAGE_INTEGRITY | AttributeType::MESSAGE_INTEGRITY_SHA256 => {}
            kind => writer.attribute(kind, attribute.value),
        }
    }
    writer
}
