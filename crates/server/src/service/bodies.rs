//! Where the rows of a load lie until they are written: memory that is used again and again.
//!
//! Arrow's decoder takes a message's body as it is where that begins at a multiple of 64 bytes; what
//! comes from a network does not, and is copied. Copies into fresh memory are dear: the system
//! clears each of its pages first, and takes it back once a run of rows was written. So the copies
//! are made here, into memory that earlier messages of the same stream have left.

use std::sync::Arc;

use bytes::Bytes;
use parking_lot::Mutex;

/// Where Arrow wants a body to begin.
const ALIGNMENT: usize = 64;
/// Shorter bodies are left to the decoder.
const BODY_BYTES_MIN: usize = 64 << 10;
/// Memory that waits for further messages, at most: a load's run of rows, with the engine's default
/// options.
const FREE_BYTES_MAX: usize = 64 << 20;

/// The memory of one stream's bodies; it goes with the stream and the last of its rows.
#[derive(Clone, Debug, Default)]
pub(super) struct Bodies(Arc<Mutex<Free>>);

/// What no body is in.
#[derive(Debug, Default)]
struct Free {
    pieces: Vec<Vec<u8>>,
    bytes: usize,
}

impl Bodies {
    /// The same bytes, where Arrow takes them as they are.
    pub(super) fn aligned(&self, body: Bytes) -> Bytes {
        if body.len() < BODY_BYTES_MIN || body.as_ptr().align_offset(ALIGNMENT) == 0 {
            return body;
        }
        let mut memory = self.piece(body.len() + ALIGNMENT);
        let start = memory.as_ptr().align_offset(ALIGNMENT);
        if start > ALIGNMENT {
            return body;
        }
        // Within the capacity: the memory stays where it is.
        memory.resize(start, 0);
        memory.extend_from_slice(&body);
        Bytes::from_owner(Body { memory, start, of: Arc::clone(&self.0) })
    }

    /// An empty piece of memory for so many bytes, and little more than that.
    fn piece(&self, bytes: usize) -> Vec<u8> {
        let most = bytes.saturating_add(bytes / 2);
        let fits = |piece: &Vec<u8>| (bytes..=most).contains(&piece.capacity());
        let mut free = self.0.lock();
        if let Some(place) = free.pieces.iter().rposition(fits) {
            let piece = free.pieces.swap_remove(place);
            free.bytes -= piece.capacity();
            return piece;
        }
        drop(free);
        // The next message is rarely of just the same length.
        Vec::with_capacity(bytes.saturating_add(bytes / 8))
    }
}

/// A body in memory that others get when the last of its rows are dropped.
struct Body {
    memory: Vec<u8>,
    start: usize,
    of: Arc<Mutex<Free>>,
}

impl AsRef<[u8]> for Body {
    fn as_ref(&self) -> &[u8] {
        &self.memory[self.start..]
    }
}

impl Drop for Body {
    fn drop(&mut self) {
        let mut memory = std::mem::take(&mut self.memory);
        memory.clear();
        let mut free = self.of.lock();
        if free.bytes + memory.capacity() <= FREE_BYTES_MAX {
            free.bytes += memory.capacity();
            free.pieces.push(memory);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A body that begins where Arrow does not take it.
    fn body(length: usize, with: u8) -> Bytes {
        let bytes = Bytes::from(vec![with; length + ALIGNMENT + 1]);
        let start = bytes.as_ptr().align_offset(ALIGNMENT) + 1;
        bytes.slice(start..start + length)
    }

    #[test]
    fn bodies_are_the_same_bytes_where_arrow_takes_them() {
        let bodies = Bodies::default();
        for length in [BODY_BYTES_MIN, 1_000_003, 3 << 20] {
            let (one, two) = (body(length, 1), body(length, 2));
            let (own, other) = (bodies.aligned(one.clone()), bodies.aligned(two.clone()));
            assert_eq!((&own, &other), (&one, &two));
            for body in [own, other] {
                assert_eq!(body.as_ptr().align_offset(ALIGNMENT), 0);
            }
        }
        let aligned = bodies.aligned(body(1 << 20, 3));
        assert_eq!(bodies.aligned(aligned.clone()).as_ptr(), aligned.as_ptr());
        let short = body(BODY_BYTES_MIN - 1, 4);
        assert_eq!(bodies.aligned(short.clone()).as_ptr(), short.as_ptr());
    }

    #[test]
    fn memory_is_used_again_once_no_row_lies_in_it() {
        let bodies = Bodies::default();
        let first = bodies.aligned(body(1 << 20, 1));
        let rows = first.slice(10..20);
        let place = first.as_ptr();
        drop(first);
        assert_ne!(bodies.aligned(body(1 << 20, 2)).as_ptr(), place);
        assert_eq!(&*rows, [1; 10]);
        drop(rows);
        // The one that was freed last comes first.
        assert_eq!(bodies.aligned(body((1 << 20) + 100, 3)).as_ptr(), place);
        // One much too large is for others.
        assert_ne!(bodies.aligned(body(100 << 10, 4)).as_ptr(), place);
        assert!(bodies.0.lock().bytes > 2 << 20);
    }

    #[test]
    fn what_waits_is_bounded() {
        let bodies = Bodies::default();
        let many: Vec<_> = (0..100).map(|_| bodies.aligned(body(1 << 20, 1))).collect();
        drop(many);
        let free = bodies.0.lock();
        assert_eq!(free.bytes, free.pieces.iter().map(Vec::capacity).sum::<usize>());
        assert!(free.bytes <= FREE_BYTES_MAX && free.bytes > FREE_BYTES_MAX / 2, "{}", free.bytes);
    }
}
