//! The codec against the published vectors, against itself, and against another implementation.

mod oracle;
mod properties;
mod vectors;

use super::{Message, ParseError};

fn message(kind: u16, attributes: &[u8]) -> Vec<u8> {
    let mut bytes = kind.to_be_bytes().to_vec();
    bytes.extend((attributes.len() as u16).to_be_bytes());
    bytes.extend([0x21, 0x12, 0xA4, 0x42]);
    bytes.extend([7; 12]);
    bytes.extend(attributes);
    bytes
}

fn refusal(bytes: &[u8]) -> ParseError {
    Message::parse(bytes).expect_err("this is no message")
}

#[test]
fn a_message_ends_exactly_where_its_length_says() {
    let mut bytes = message(1, &[]);
    assert!(Message::parse(&bytes).is_ok());
    bytes.push(0);
    assert_eq!(refusal(&bytes), ParseError::Length);
    assert_eq!(refusal(&bytes[..19]), ParseError::Short);
    assert_eq!(refusal(&message(1, &[0, 6, 0])), ParseError::Length);
}

#[test]
fn other_protocols_are_told_apart_by_their_first_bits_and_the_cookie() {
    let mut bytes = message(1, &[]);
    bytes[4] ^= 1;
    assert_eq!(refusal(&bytes), ParseError::NotStun);
    for first in [0x40, 0x80, 0xC0] {
        let mut bytes = message(1, &[]);
        bytes[0] |= first;
        assert_eq!(refusal(&bytes), ParseError::NotStun);
    }
}

#[test]
fn an_attribute_may_not_reach_past_the_end() {
    assert_eq!(
        refusal(&message(1, &[0, 6, 0, 5, 1, 2, 3, 4])),
        ParseError::Attribute
    );
    assert_eq!(
        refusal(&message(1, &[0, 6, 0xFF, 0xFF])),
        ParseError::Attribute
    );
}
