//! Messages out of frames: pieces are put together, control frames come in between.

#[cfg(test)]
mod tests;

use std::collections::VecDeque;

use super::{CloseCode, Found, Header, Opcode, Text, Violation, unmask};

/// What has to be remembered between two reads. Takes no memory between two messages.
#[derive(Debug)]
pub struct Decoder {
    /// The longest message, in bytes.
    limit: usize,
    /// A message of which pieces have come.
    open: Option<Box<Open>>,
    closed: bool,
}

#[derive(Debug)]
struct Open {
    kind: Kind,
    /// Text only.
    pieces: Vec<u8>,
    /// How much of them is known to be UTF-8.
    checked: usize,
    length: usize,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Text,
    Binary,
}

impl Decoder {
    /// For a connection whose messages have up to `limit` bytes.
    pub fn new(limit: usize) -> Self {
        Self {
            limit,
            open: None,
            closed: false,
        }
    }

    /// Takes the whole frames that `bytes` begin with, and appends what they say to `found`. Returns
    /// how many bytes that were; the rest is to come again, with what follows it.
    ///
    /// What came before a violation has been appended all the same. After one there is no sense in
    /// calling this again.
    pub fn decode(
        &mut self,
        bytes: &mut [u8],
        found: &mut VecDeque<Found>,
    ) -> Result<usize, Violation> {
        let mut taken = 0;
        while !self.closed {
            let rest = bytes.get_mut(taken..).unwrap_or_default();
            let Some(header) = Header::parse(rest, self.limit)? else {
                return Ok(taken);
            };
            self.allow(&header)?;
            let end = header.size.saturating_add(header.length);
            let Some(payload) = rest.get_mut(header.size..end) else {
                return Ok(taken);
            };
            unmask(payload, header.mask);
            if let Some(message) = self.frame(&header, payload)? {
                found.push_back(message);
            }
            taken += end;
        }
        // Nobody reads what follows a close frame.
        Ok(bytes.len())
    }

    /// Whether such a frame may come now. Asked as soon as its header is there.
    fn allow(&self, header: &Header) -> Result<(), Violation> {
        match (header.opcode, &self.open) {
            (Opcode::Text | Opcode::Binary, Some(_)) => Err(Violation::Interrupted),
            (Opcode::Continuation, None) => Err(Violation::NothingToContinue),
            (Opcode::Continuation, Some(open))
                if open.length.saturating_add(header.length) > self.limit =>
            {
                Err(Violation::TooBig)
            }
            _ => Ok(()),
        }
    }

    fn frame(&mut self, header: &Header, payload: &[u8]) -> Result<Option<Found>, Violation> {
        Ok(Some(match header.opcode {
            Opcode::Ping => Found::Ping(payload.into()),
            Opcode::Pong => Found::Pong(payload.into()),
            Opcode::Close => {
                self.closed = true;
                Found::Close(closing(payload)?)
            }
            // Nearly all messages come in one piece.
            Opcode::Text if header.fin => Found::Text(text(payload)?),
            Opcode::Binary if header.fin => Found::Binary,
            Opcode::Text => return self.begin(Kind::Text, payload).map(|()| None),
            Opcode::Binary => return self.begin(Kind::Binary, payload).map(|()| None),
            Opcode::Continuation => {
                let Some(open) = &mut self.open else {
                    return Err(Violation::NothingToContinue);
                };
                open.add(payload)?;
                if !header.fin {
                    return Ok(None);
                }
                let whole = open.finish()?;
                self.open = None;
                whole
            }
        }))
    }

    fn begin(&mut self, kind: Kind, payload: &[u8]) -> Result<(), Violation> {
        let mut open = Open {
            kind,
            pieces: Vec::new(),
            checked: 0,
            length: 0,
        };
        open.add(payload)?;
        self.open = Some(Box::new(open));
        Ok(())
    }
}

impl Open {
    fn add(&mut self, payload: &[u8]) -> Result<(), Violation> {
        self.length = self.length.saturating_add(payload.len());
        if self.kind == Kind::Binary {
            return Ok(());
        }
        self.pieces.extend_from_slice(payload);
        // A piece may end within a character, but not with what can become none.
        let new = self.pieces.get(self.checked..).unwrap_or_default();
        match std::str::from_utf8(new) {
            Ok(_) => self.checked = self.pieces.len(),
            Err(error) if error.error_len().is_some() => return Err(Violation::NotUtf8),
            Err(error) => self.checked += error.valid_up_to(),
        }
        Ok(())
    }

    fn finish(&self) -> Result<Found, Violation> {
        Ok(match self.kind {
            Kind::Text => Found::Text(text(&self.pieces)?),
            Kind::Binary => Found::Binary,
        })
    }
}

fn text(payload: &[u8]) -> Result<Text, Violation> {
    let text = std::str::from_utf8(payload).map_err(|_| Violation::NotUtf8)?;
    Ok(text.into())
}

/// The code of a close frame (RFC 6455 section 5.5.1). The reason is for people, and must be text.
fn closing(payload: &[u8]) -> Result<Option<CloseCode>, Violation> {
    let Some((code, reason)) = payload.split_first_chunk() else {
        return match payload {
            [] => Ok(None),
            _ => Err(Violation::CloseCode),
        };
    };
    let code = CloseCode::received(u16::from_be_bytes(*code)).ok_or(Violation::CloseCode)?;
    std::str::from_utf8(reason).map_err(|_| Violation::NotUtf8)?;
    Ok(Some(code))
}
