//! Which frames of HTTP/2 a client sends (RFC 9113 section 4.1), seen from outside the library
//! that understands them. Pure.
//!
//! The library answers whatever the protocol allows: pings, settings, windows of one byte,
//! requests that are taken back at once. A page needs few of these; a flood consists of them.

/// What a piece of the stream was about.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Seen {
    /// Requests, and trailers.
    pub(super) headers: u32,
    /// Bytes of bodies.
    pub(super) body: usize,
    /// Requests taken back.
    pub(super) resets: u32,
    /// Everything else that is no part of a request.
    pub(super) chatter: u32,
}

/// Where in the stream we are.
#[derive(Clone, Debug)]
pub(super) struct Frames {
    /// What is left of the client's preface.
    preface: usize,
    header: [u8; HEADER],
    /// Bytes of `header` that are there.
    known: usize,
    /// Bytes of the payload that have not come.
    payload: usize,
    is_body: bool,
}

const HEADER: usize = 9;
/// `PRI * HTTP/2.0` and `SM`, with the ends of their lines.
const PREFACE: usize = 24;

const DATA: u8 = 0;
const HEADERS: u8 = 1;
const RST_STREAM: u8 = 3;
const CONTINUATION: u8 = 9;

impl Frames {
    pub(super) fn new() -> Self {
        Self {
            preface: PREFACE,
            header: [0; HEADER],
            known: 0,
            payload: 0,
            is_body: false,
        }
    }

    /// Takes the next piece. What is no HTTP/2 ends up in nonsense, which the library refuses.
    pub(super) fn read(&mut self, piece: &[u8]) -> Seen {
        let mut seen = Seen::default();
        let mut rest = piece;
        let skipped = self.preface.min(rest.len());
        self.preface -= skipped;
        rest = rest.get(skipped..).unwrap_or_default();
        while !rest.is_empty() {
            let now = self.payload.min(rest.len());
            self.payload -= now;
            if self.is_body {
                seen.body += now;
            }
            rest = rest.get(now..).unwrap_or_default();
            if self.payload > 0 || rest.is_empty() {
                break;
            }
            let wanted = (HEADER - self.known).min(rest.len());
            let (part, behind) = rest.split_at(wanted);
            if let Some(place) = self.header.get_mut(self.known..self.known + wanted) {
                place.copy_from_slice(part);
            }
            self.known += wanted;
            rest = behind;
            if self.known == HEADER {
                self.begin(&mut seen);
            }
        }
        seen
    }

    /// A frame's header is complete.
    fn begin(&mut self, seen: &mut Seen) {
        let [a, b, c, kind, ..] = self.header;
        self.known = 0;
        self.payload = u32::from_be_bytes([0, a, b, c]) as usize;
        self.is_body = kind == DATA;
        match kind {
            DATA if self.payload > 0 => {}
            HEADERS => seen.headers += 1,
            // The library counts those itself.
            CONTINUATION => {}
            RST_STREAM => seen.resets += 1,
            _ => seen.chatter += 1,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn frame(kind: u8, payload: &[u8]) -> Vec<u8> {
        let length = (payload.len() as u32).to_be_bytes();
        [&length[1..], &[kind, 0, 0, 0, 0, 1], payload].concat()
    }

    fn connection() -> Vec<u8> {
        [
            b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec(),
            frame(4, &[]),
            frame(8, &[0, 1, 0, 0]),
            frame(HEADERS, b"\x82\x84"),
            frame(CONTINUATION, b"\x86"),
            frame(DATA, &[7; 300]),
            frame(DATA, &[]),
            frame(RST_STREAM, &[0; 4]),
            frame(6, &[0; 8]),
            frame(0xFA, b"grease"),
            frame(HEADERS, b"\x82"),
        ]
        .concat()
    }

    const EXPECTED: Seen = Seen {
        headers: 2,
        body: 300,
        resets: 1,
        chatter: 5,
    };

    #[test]
    fn frames_are_told_apart() {
        assert_eq!(Frames::new().read(&connection()), EXPECTED);
    }

    proptest! {
        #[test]
        fn pieces_do_not_matter(cuts in prop::collection::vec(1_usize..40, 1..100)) {
            let bytes = connection();
            let mut frames = Frames::new();
            let mut total = Seen::default();
            let mut rest = &bytes[..];
            for cut in cuts.iter().cycle() {
                if rest.is_empty() {
                    break;
                }
                let (piece, behind) = rest.split_at((*cut).min(rest.len()));
                let seen = frames.read(piece);
                total.headers += seen.headers;
                total.body += seen.body;
                total.resets += seen.resets;
                total.chatter += seen.chatter;
                rest = behind;
            }
            prop_assert_eq!(total, EXPECTED);
        }

        #[test]
        fn anything_is_survived(bytes in prop::collection::vec(any::<u8>(), 0..2000)) {
            let seen = Frames::new().read(&bytes);
            prop_assert!(seen.body <= bytes.len());
        }
    }
}
