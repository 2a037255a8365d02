//! Empty buffers for the next stream that needs one. A stream holds a buffer only while bytes wait
//! for its client, so a thousand idle clients hold none, and busy ones allocate none.

/// Room of a new buffer: what a burst of video takes.
const FIRST: usize = 4 * 1024;

/// Bytes on a shelf at most: each worker has one.
const MOST: usize = 4 * 1024 * 1024;

/// The buffers that nobody needs now.
#[derive(Debug, Default)]
pub(super) struct Shelf {
    buffers: Vec<Vec<u8>>,
    bytes: usize,
}

impl Shelf {
    /// An empty buffer.
    pub(super) fn take(&mut self) -> Vec<u8> {
        let Some(buffer) = self.buffers.pop() else {
            return Vec::with_capacity(FIRST);
        };
        self.bytes -= buffer.capacity();
        buffer
    }

    /// Keeps a buffer for others, if there is room for it.
    pub(super) fn give(&mut self, mut buffer: Vec<u8>) {
        let capacity = buffer.capacity();
        if capacity == 0 || self.bytes + capacity > MOST {
            return;
        }
        buffer.clear();
        self.bytes += capacity;
        self.buffers.push(buffer);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_buffer_that_was_given_is_taken_again_empty() {
        let mut shelf = Shelf::default();
        let mut buffer = shelf.take();
        buffer.resize(10_000, 1);
        let place = buffer.as_ptr();
        shelf.give(buffer);
        let again = shelf.take();
        assert_eq!((again.as_ptr(), again.len()), (place, 0));
        assert_eq!(shelf.bytes, 0);
    }

    #[test]
    fn what_would_be_too_much_is_not_kept() {
        let mut shelf = Shelf::default();
        shelf.give(Vec::new());
        for _ in 0..100 {
            shelf.give(Vec::with_capacity(MOST / 4));
        }
        assert_eq!((shelf.buffers.len(), shelf.bytes), (4, MOST));
    }
}
