//! The decoder against a second implementation, and what it holds.

use proptest::prelude::*;
use tokio_tungstenite::tungstenite::protocol::{CloseFrame, Role, WebSocketConfig};
use tokio_tungstenite::tungstenite::{Error, Message, WebSocket};

use super::super::encode;
use super::*;

const LIMIT: usize = 300;

/// How a stream ends. Which of two faults of one frame is named first is nobody's business; the code
/// of each alone is tested over real sockets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum End {
    /// More could follow.
    Open,
    Closed,
    Fault,
}

/// Everything in the stream, given in portions.
fn ours(stream: &[u8], portion: usize) -> (Vec<Found>, End) {
    let mut decoder = Decoder::new(LIMIT);
    let (mut found, mut rest) = (VecDeque::new(), Vec::new());
    for bytes in stream.chunks(portion) {
        rest.extend_from_slice(bytes);
        match decoder.decode(&mut rest, &mut found) {
            Ok(taken) => drop(rest.drain(..taken)),
            Err(_) => return (found.into(), End::Fault),
        }
    }
    let closed = matches!(found.back(), Some(Found::Close(_)));
    (found.into(), if closed { End::Closed } else { End::Open })
}

/// A stream that takes whatever is written and ends with a wish to wait.
struct Pipe<'a>(&'a [u8]);

impl std::io::Read for Pipe<'_> {
    fn read(&mut self, into: &mut [u8]) -> std::io::Result<usize> {
        match self.0.read(into)? {
            0 => Err(std::io::ErrorKind::WouldBlock.into()),
            length => Ok(length),
        }
    }
}

impl std::io::Write for Pipe<'_> {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

/// The same as tungstenite sees it.
fn theirs(stream: &[u8]) -> (Vec<Found>, End) {
    let config = WebSocketConfig::default()
        .max_message_size(Some(LIMIT))
        .max_frame_size(Some(LIMIT));
    let mut socket = WebSocket::from_raw_socket(Pipe(stream), Role::Server, Some(config));
    let mut found = Vec::new();
    loop {
        found.push(match socket.read() {
            Ok(Message::Text(text)) => Found::Text(text.as_str().into()),
            Ok(Message::Binary(_)) => Found::Binary,
            Ok(Message::Ping(payload)) => Found::Ping(payload.to_vec().into()),
            Ok(Message::Pong(payload)) => Found::Pong(payload.to_vec().into()),
            Ok(Message::Close(frame)) => {
                // What it answers to a code that is not to be sent, it also shows as what it has read.
                let refused = |frame: &CloseFrame| frame.reason.as_str() == "Protocol violation";
                if frame.as_ref().is_some_and(refused) {
                    return (found, End::Fault);
                }
                let code = frame.map(|frame| CloseCode(frame.code.into()));
                found.push(Found::Close(code));
                return (found, End::Closed);
            }
            Ok(Message::Frame(_)) => unreachable!("only when asked for"),
            Err(Error::Io(_)) => return (found, End::Open),
            Err(Error::Capacity(_) | Error::Utf8(_) | Error::Protocol(_)) => {
                return (found, End::Fault);
            }
            Err(other) => panic!("{other}"),
        });
    }
}

/// A frame of a client.
fn frame(first: u8, masked: bool, payload: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::new();
    encode(Opcode::Text, payload, &mut bytes);
    let start = bytes.len() - payload.len();
    bytes[0] = first;
    if masked {
        let mask = [0x11, 0xEE, 0x7A, 0x03];
        bytes[1] |= 0x80;
        unmask(&mut bytes[start..], mask);
        bytes.splice(start..start, mask);
    }
    bytes
}

fn payload() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        4 => "[ -~]{0,40}".prop_map(String::into_bytes),
        2 => "\\PC{0,40}".prop_map(String::into_bytes),
        2 => prop::collection::vec(any::<u8>(), 0..40),
        1 => (100..400_usize).prop_map(|length| vec![b'x'; length]),
        1 => (990..5100_u16, "[a-z]{0,4}").prop_map(|(code, reason)| {
            [&code.to_be_bytes()[..], reason.as_bytes()].concat()
        }),
    ]
}

/// Frames, most of which are good.
fn stream() -> impl Strategy<Value = Vec<u8>> {
    let first = prop_oneof![
        6 => Just(0x81_u8),
        3 => Just(0x01),
        4 => Just(0x00),
        4 => Just(0x80),
        2 => Just(0x89),
        2 => Just(0x8A),
        1 => Just(0x88),
        1 => Just(0x82),
        1 => Just(0x02),
        1 => any::<u8>(),
    ];
    let frame = (first, prop::bool::weighted(0.98), payload())
        .prop_map(|(first, masked, payload)| frame(first, masked, &payload));
    prop::collection::vec(frame, 0..8).prop_map(|frames| frames.concat())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 500, ..ProptestConfig::default() })]

    #[test]
    fn what_is_found_is_what_another_implementation_finds(
        stream in stream(),
        portion in 1..50_usize,
    ) {
        let whole = ours(&stream, stream.len().max(1));
        prop_assert_eq!(&whole, &ours(&stream, portion), "portions must not matter");
        let (expected, end) = theirs(&stream);
        prop_assert_eq!(whole, (expected, end));
    }

    #[test]
    fn no_bytes_are_too_strange(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        let whole = ours(&bytes, bytes.len().max(1));
        prop_assert_eq!(whole, ours(&bytes, 1));
    }

    #[test]
    fn a_frame_of_ours_is_read_by_another_implementation(payload in "\\PC{0,300}", long in any::<bool>()) {
        let payload = if long { payload.repeat(300) } else { payload };
        let mut bytes = Vec::new();
        encode(Opcode::Text, payload.as_bytes(), &mut bytes);
        let mut socket = WebSocket::from_raw_socket(Pipe(&bytes), Role::Client, None);
        prop_assert_eq!(socket.read().unwrap(), Message::text(payload));
    }
}

#[test]
fn a_mask_comes_off_whatever_the_length() {
    let mask = [1, 2, 3, 4];
    for length in 0..40 {
        let mut bytes: Vec<u8> = (0..length).collect();
        let expected: Vec<u8> = bytes
            .iter()
            .zip(mask.iter().cycle())
            .map(|(byte, key)| byte ^ key)
            .collect();
        unmask(&mut bytes, mask);
        assert_eq!(bytes, expected);
    }
}

#[test]
fn a_violation_is_found_with_the_byte_that_makes_it_one() {
    let decode =
        |bytes: &[u8]| Decoder::new(LIMIT).decode(&mut bytes.to_vec(), &mut VecDeque::new());
    for (bytes, violation) in [
        (&[0xC1][..], Violation::ReservedBit),
        (&[0x83], Violation::Opcode),
        (&[0x09], Violation::ControlInPieces),
        (&[0x81, 0x05], Violation::Unmasked),
        (&[0x89, 0xFE], Violation::ControlTooLong),
        // 301 bytes, and 2^63.
        (&[0x81, 0xFE, 0x01, 0x2D], Violation::TooBig),
        (&[0x81, 0xFF, 0x80, 0, 0, 0, 0, 0, 0, 0], Violation::TooBig),
        (&[0x80, 0x80, 0, 0, 0, 0], Violation::NothingToContinue),
    ] {
        let (_, before) = bytes.split_last().unwrap();
        assert_eq!(decode(before), Ok(0), "{bytes:x?}");
        assert_eq!(decode(bytes), Err(violation), "{bytes:x?}");
    }
}

#[test]
fn nothing_is_held_between_two_messages() {
    let mut decoder = Decoder::new(LIMIT);
    let mut found = VecDeque::new();
    for first in [0x01, 0x80, 0x81, 0x89] {
        let mut bytes = frame(first, true, b"abc");
        assert_eq!(decoder.decode(&mut bytes, &mut found), Ok(bytes.len()));
    }
    assert_eq!(found.len(), 3);
    assert!(decoder.open.is_none());
    assert!(size_of::<Decoder>() <= 32);
}

#[test]
fn a_reason_too_long_for_a_control_frame_is_cut_between_characters() {
    let mut bytes = Vec::new();
    super::super::encode_close(Some(CloseCode::POLICY), &"é".repeat(100), &mut bytes);
    assert_eq!(bytes.len(), 2 + 2 + 122);
    let mut socket = WebSocket::from_raw_socket(Pipe(&bytes), Role::Client, None);
    let Message::Close(Some(close)) = socket.read().unwrap() else {
        panic!("not a close frame");
    };
    assert_eq!(u16::from(close.code), 1008);
    assert_eq!(close.reason.as_str(), "é".repeat(61));
}
