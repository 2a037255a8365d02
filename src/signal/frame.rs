//! The frames of RFC 6455 as a server reads and writes them: bytes to messages and back.
//!
//! Pure: it is given what was read and says what was in it. It holds nothing between two messages,
//! since most connections sit between two messages most of the time. What a message means, and what
//! a fault costs the client, is the session's business. Extensions are not spoken.

mod decoder;

use std::sync::Arc;

pub use decoder::Decoder;

/// The text of a message. Clones share it: what is relayed is copied once, out of the buffer that it
/// was read into.
pub type Text = Arc<str>;

/// A message of a client, or a control frame.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Found {
    /// A text message.
    Text(Text),
    /// A binary message; nobody here wants its content.
    Binary,
    /// A ping, to be answered with its payload.
    Ping(Box<[u8]>),
    /// The answer to a ping, or a sign of life.
    Pong(Box<[u8]>),
    /// The client closes, with this code if it gives one. Nothing after it is read.
    Close(Option<CloseCode>),
}

/// What a client must not send.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Violation {
    /// Longer than the limit, as a frame or all its pieces together.
    #[error("message too big")]
    TooBig,
    /// RFC 6455 section 8.1.
    #[error("text is not UTF-8")]
    NotUtf8,
    /// Section 5.2: no extension has given them a meaning.
    #[error("a reserved bit is set")]
    ReservedBit,
    /// Section 5.2.
    #[error("unknown opcode")]
    Opcode,
    /// Section 5.1: a client masks.
    #[error("the frame is not masked")]
    Unmasked,
    /// Section 5.5.
    #[error("a control frame in pieces")]
    ControlInPieces,
    /// Section 5.5: 125 bytes.
    #[error("a control frame that is too long")]
    ControlTooLong,
    /// Section 5.4.
    #[error("nothing to continue")]
    NothingToContinue,
    /// Section 5.4.
    #[error("a new message within another")]
    Interrupted,
    /// Sections 5.5.1 and 7.4: half a code, or one that is not to be sent.
    #[error("not a close code")]
    CloseCode,
}

/// What a frame is (section 5.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Opcode {
    /// The next piece of a message.
    Continuation,
    /// A text message, or its first piece.
    Text,
    /// The same of bytes.
    Binary,
    /// The last frame of its sender.
    Close,
    /// To be answered.
    Ping,
    /// The answer.
    Pong,
}

impl Opcode {
    fn new(number: u8) -> Option<Self> {
        Some(match number {
            0x0 => Self::Continuation,
            0x1 => Self::Text,
            0x2 => Self::Binary,
            0x8 => Self::Close,
            0x9 => Self::Ping,
            0xA => Self::Pong,
            _ => return None,
        })
    }

    const fn number(self) -> u8 {
        match self {
            Self::Continuation => 0x0,
            Self::Text => 0x1,
            Self::Binary => 0x2,
            Self::Close => 0x8,
            Self::Ping => 0x9,
            Self::Pong => 0xA,
        }
    }

    const fn is_control(self) -> bool {
        self.number() & 0x8 != 0
    }
}

/// Why a connection is closed (section 7.4).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CloseCode(u16);

impl CloseCode {
    /// Done.
    pub const NORMAL: Self = Self(1000);
    /// A page that was left, a server that ends.
    pub const AWAY: Self = Self(1001);
    /// Frames that break the rules.
    pub const PROTOCOL: Self = Self(1002);
    /// A kind of message that is not taken.
    pub const UNSUPPORTED: Self = Self(1003);
    /// Text that is none.
    pub const INVALID: Self = Self(1007);
    /// Against the rules of this server.
    pub const POLICY: Self = Self(1008);
    /// A message too long.
    pub const SIZE: Self = Self(1009);
    /// The server comes back.
    pub const RESTART: Self = Self(1012);
    /// Try again later.
    pub const AGAIN: Self = Self(1013);

    /// A code of our own, for clients that know it: 4000 to 4999.
    pub const fn application(code: u16) -> Self {
        Self(code)
    }

    /// The number.
    pub const fn number(self) -> u16 {
        self.0
    }

    /// As it came from a client, if it may be sent at all: 1004 to 1006, 1014 and 1015 stand for
    /// something that a client does not send, and what is not assigned has no meaning.
    fn received(code: u16) -> Option<Self> {
        matches!(code, 1000..=1003 | 1007..=1013 | 3000..=4999).then_some(Self(code))
    }
}

/// Appends a frame of a server, with a whole message.
pub fn encode(opcode: Opcode, payload: &[u8], into: &mut Vec<u8>) {
    into.reserve(payload.len().saturating_add(HEADER));
    into.push(FIN | opcode.number());
    match payload.len() {
        // The casts keep everything: that is what the arms are about.
        short @ 0..=125 => into.push(short as u8),
        medium @ 126..=0xFFFF => {
            into.push(126);
            into.extend((medium as u16).to_be_bytes());
        }
        long => {
            into.push(127);
            into.extend((long as u64).to_be_bytes());
        }
    }
    into.extend_from_slice(payload);
}

/// Appends a close frame; a reason that is too long is cut.
pub fn encode_close(code: Option<CloseCode>, reason: &str, into: &mut Vec<u8>) {
    let Some(code) = code else {
        return encode(Opcode::Close, &[], into);
    };
    let mut end = reason.len().min(CONTROL - 2);
    while !reason.is_char_boundary(end) {
        end -= 1;
    }
    let reason = reason.get(..end).unwrap_or_default();
    let payload = [&code.number().to_be_bytes(), reason.as_bytes()].concat();
    encode(Opcode::Close, &payload, into);
}

/// A frame of a client, as far as it is known without its payload.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Header {
    fin: bool,
    opcode: Opcode,
    mask: [u8; 4],
    /// Bytes of the payload.
    length: usize,
    /// Bytes of the header itself.
    size: usize,
}

impl Header {
    /// Reads the header that `bytes` begin with; `None`: it is not all there. A fault is found as
    /// soon as its byte has come.
    fn parse(bytes: &[u8], limit: usize) -> Result<Option<Self>, Violation> {
        let Some(&first) = bytes.first() else {
            return Ok(None);
        };
        if first & RESERVED != 0 {
            return Err(Violation::ReservedBit);
        }
        let opcode = Opcode::new(first & 0xF).ok_or(Violation::Opcode)?;
        let fin = first & FIN != 0;
        if opcode.is_control() && !fin {
            return Err(Violation::ControlInPieces);
        }
        let Some(&second) = bytes.get(1) else {
            return Ok(None);
        };
        if second & MASKED == 0 {
            return Err(Violation::Unmasked);
        }
        let short = second & !MASKED;
        if opcode.is_control() && usize::from(short) > CONTROL {
            return Err(Violation::ControlTooLong);
        }
        let (rest, size) = match short {
            126 => (bytes.get(2..4), 4),
            127 => (bytes.get(2..10), 10),
            _ => (Some(&[][..]), 2),
        };
        let length = match (short, rest) {
            (126 | 127, Some(long)) => long
                .iter()
                .fold(0_u64, |length, byte| length << 8 | u64::from(*byte)),
            (126 | 127, None) => return Ok(None),
            (short, _) => u64::from(short),
        };
        // Before it is there: nobody waits for what will not be taken.
        let length = usize::try_from(length)
            .ok()
            .filter(|length| *length <= limit || opcode.is_control())
            .ok_or(Violation::TooBig)?;
        let mask = bytes.get(size..size + 4).and_then(<[u8]>::first_chunk);
        Ok(mask.map(|mask| Self {
            fin,
            opcode,
            mask: *mask,
            length,
            size: size + 4,
        }))
    }
}

/// Takes the mask off (section 5.3), eight bytes at a time.
fn unmask(payload: &mut [u8], mask: [u8; 4]) {
    let [a, b, c, d] = mask;
    let wide = u64::from_ne_bytes([a, b, c, d, a, b, c, d]);
    let (words, rest) = payload.as_chunks_mut::<8>();
    for word in words {
        *word = (u64::from_ne_bytes(*word) ^ wide).to_ne_bytes();
    }
    for (byte, key) in rest.iter_mut().zip(mask.iter().cycle()) {
        *byte ^= key;
    }
}

const FIN: u8 = 0x80;
const RESERVED: u8 = 0x70;
const MASKED: u8 = 0x80;

/// The longest payload of a control frame.
const CONTROL: usize = 125;

/// The longest header of a server.
const HEADER: usize = 10;
