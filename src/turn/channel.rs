//! ChannelData (RFC 8656 section 12.4), and cutting a byte stream into messages.

use super::stun::header::{HEADER_LEN, MAGIC_COOKIE};

/// Bytes of a ChannelData header.
pub const HEADER: usize = 4;

/// A channel number that this server accepts.
///
/// RFC 8656 narrowed the range to 0x4000-0x4FFF so that other protocols can share a port; none
/// does on a port of ours, and clients built to RFC 5766 draw from 0x4000-0x7FFF, so those are
/// accepted too.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct ChannelNumber(u16);

impl ChannelNumber {
    /// Checks the range.
    pub const fn new(value: u16) -> Option<Self> {
        match value {
            0x4000..=0x7FFF => Some(Self(value)),
            _ => None,
        }
    }

    /// The number on the wire.
    pub const fn value(self) -> u16 {
        self.0
    }
}

/// A datagram that is ChannelData: number and payload length. `None` when it is malformed.
///
/// Over UDP padding is optional and bytes behind the payload are ignored (RFC 8656 section 12.5).
pub fn parse(datagram: &[u8]) -> Option<(ChannelNumber, usize)> {
    let &[n0, n1, l0, l1] = datagram.first_chunk::<HEADER>()?;
    let number = ChannelNumber::new(u16::from_be_bytes([n0, n1]))?;
    let len = usize::from(u16::from_be_bytes([l0, l1]));
    (HEADER + len <= datagram.len()).then_some((number, len))
}

/// The header of `len` bytes for a channel.
pub const fn header(number: ChannelNumber, len: u16) -> [u8; HEADER] {
    let n = number.0.to_be_bytes();
    let l = len.to_be_bytes();
    [n[0], n[1], l[0], l[1]]
}

/// What stands at the front of a stream's bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Frame {
    /// Too little to tell.
    Incomplete,
    /// One whole message of `len` bytes, followed by padding up to `consumed`.
    Whole {
        /// Bytes of the message.
        len: usize,
        /// Bytes to skip to reach the next one.
        consumed: usize,
    },
    /// No message begins like this: the stream cannot be followed any further.
    Broken,
}

/// Finds the first message in a stream (RFC 8656 section 12.5: on streams ChannelData is padded to
/// a multiple of four).
pub fn frame(stream: &[u8]) -> Frame {
    let Some(&[b0, _, l0, l1]) = stream.first_chunk::<4>() else {
        return match stream.first() {
            Some(first) if *first >= 0x80 => Frame::Broken,
            _ => Frame::Incomplete,
        };
    };
    let len = usize::from(u16::from_be_bytes([l0, l1]));
    let (len, consumed) = match b0 >> 6 {
        0 => {
            // A wrong cookie is noticed now, not after waiting for 64 KiB that never come.
            let cookie = stream.get(4..8.min(stream.len())).unwrap_or_default();
            if !MAGIC_COOKIE.starts_with(cookie) || !len.is_multiple_of(4) {
                return Frame::Broken;
            }
            (HEADER_LEN + len, HEADER_LEN + len)
        }
        1 => (HEADER + len, (HEADER + len).next_multiple_of(4)),
        _ => return Frame::Broken,
    };
    if stream.len() < consumed {
        Frame::Incomplete
    } else {
        Frame::Whole { len, consumed }
    }
}

#[cfg(test)]
mod tests {
    use proptest::collection::vec;
    use proptest::prelude::*;

    use super::*;

    /// A message on a stream, with the bytes that stand behind it up to the next one.
    fn framed() -> impl Strategy<Value = (Vec<u8>, usize)> {
        let channel_data =
            (0x4000_u16..0x8000, vec(any::<u8>(), 0..70)).prop_map(|(n, payload)| {
                let number = ChannelNumber::new(n).unwrap();
                let mut bytes = header(number, payload.len() as u16).to_vec();
                bytes.extend(&payload);
                let len = bytes.len();
                bytes.resize(len.next_multiple_of(4), 0);
                (bytes, len)
            });
        let stun = (0_u16..0x4000, vec(any::<[u8; 4]>(), 0..20)).prop_map(|(kind, words)| {
            let mut bytes = kind.to_be_bytes().to_vec();
            bytes.extend((words.len() as u16 * 4).to_be_bytes());
            bytes.extend(MAGIC_COOKIE);
            bytes.extend([5; 12]);
            bytes.extend(words.concat());
            let len = bytes.len();
            (bytes, len)
        });
        prop_oneof![channel_data, stun]
    }

    proptest! {
        #[test]
        fn a_stream_falls_into_the_same_messages_however_it_arrives(
            messages in vec(framed(), 1..8),
            cuts in vec(1_usize..50, 0..200),
        ) {
            let stream: Vec<u8> = messages.iter().flat_map(|(bytes, _)| bytes.clone()).collect();
            let expected: Vec<&[u8]> = messages.iter().map(|(bytes, len)| &bytes[..*len]).collect();
            let mut found = Vec::new();
            let (mut start, mut end) = (0, 0);
            let mut cuts = cuts.into_iter();
            while end < stream.len() {
                end = (end + cuts.next().unwrap_or(stream.len())).min(stream.len());
                loop {
                    match frame(&stream[start..end]) {
                        Frame::Whole { len, consumed } => {
                            found.push(&stream[start..start + len]);
                            start += consumed;
                        }
                        Frame::Incomplete => break,
                        Frame::Broken => prop_assert!(false, "broken at {start}..{end}"),
                    }
                }
            }
            prop_assert_eq!(found, expected);
            prop_assert_eq!(start, stream.len());
        }

        #[test]
        fn whatever_a_stream_holds_a_message_lies_inside_it(stream in vec(any::<u8>(), 0..80)) {
            if let Frame::Whole { len, consumed } = frame(&stream) {
                prop_assert!(len >= HEADER && len <= consumed && consumed <= stream.len());
            }
        }

        #[test]
        fn broken_stays_broken_whatever_follows(
            stream in vec(any::<u8>(), 0..40),
            more in vec(any::<u8>(), 0..40),
        ) {
            if frame(&stream) == Frame::Broken {
                prop_assert_eq!(frame(&[stream, more].concat()), Frame::Broken);
            }
        }
    }

    #[test]
    fn channel_numbers_outside_the_range_are_refused() {
        assert_eq!(ChannelNumber::new(0x3FFF), None);
        assert!(ChannelNumber::new(0x4000).is_some());
        assert!(ChannelNumber::new(0x7FFF).is_some());
        assert_eq!(ChannelNumber::new(0x8000), None);
    }

    #[test]
    fn a_datagram_shorter_than_its_length_field_is_refused() {
        assert_eq!(parse(&[0x40, 0, 0, 5, 1, 2, 3, 4]), None);
        let (number, len) = parse(&[0x40, 1, 0, 3, 1, 2, 3, 0]).unwrap();
        assert_eq!((number.value(), len), (0x4001, 3));
        assert_eq!(parse(&[0x40, 1, 0]), None);
    }

    #[test]
    fn streams_are_cut_at_padded_lengths() {
        assert_eq!(frame(&[0x40, 0, 0, 1, 9]), Frame::Incomplete);
        assert_eq!(
            frame(&[0x40, 0, 0, 1, 9, 0, 0, 0, 0x40]),
            Frame::Whole {
                len: 5,
                consumed: 8
            }
        );
        assert_eq!(frame(&[]), Frame::Incomplete);
        assert_eq!(frame(&[0x80]), Frame::Broken);
        assert_eq!(frame(&[0, 1, 0, 2]), Frame::Broken);
        assert_eq!(frame(&[0, 1, 0, 0, 0x21, 0x12, 0]), Frame::Broken);
        assert_eq!(frame(&[0, 1, 0, 0, 0x21, 0x12]), Frame::Incomplete);
    }
}
