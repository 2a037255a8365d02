//! What the input says.

/// Input, taken byte by byte.
pub(super) struct Script<'a>(pub(super) &'a [u8]);

impl Script<'_> {
    pub(super) fn byte(&mut self) -> Option<u8> {
        let (first, rest) = self.0.split_first()?;
        self.0 = rest;
        Some(*first)
    }

    /// A byte, 0 behind the end.
    pub(super) fn next(&mut self) -> u8 {
        self.byte().unwrap_or(0)
    }

    /// One of the choices.
    pub(super) fn pick<T: Copy>(&mut self, choices: &[T]) -> T {
        choices[usize::from(self.next()) % choices.len()]
    }

    /// A length byte and as many bytes.
    pub(super) fn bytes(&mut self) -> Vec<u8> {
        let len = usize::from(self.next()).min(self.0.len());
        let (bytes, rest) = self.0.split_at(len);
        self.0 = rest;
        bytes.to_vec()
    }
}
