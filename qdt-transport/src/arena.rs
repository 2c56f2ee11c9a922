//! Reusable buffers, written in place and split into pieces for [`Bytes`](bytes::Bytes).
//!
//! QUIC takes received datagrams as `BytesMut` and outgoing ones as `Bytes`. An arena is one large
//! allocation that pieces are split from; once every piece is dropped, the same memory is used
//! again. In the steady state nothing is allocated, because the pieces of a turn are gone by the
//! next.
//!
//! Invariant: every byte behind `buffer` was written at least once, so its contents are always
//! initialised.

use bytes::BytesMut;

#[derive(Debug)]
pub(crate) struct Arena {
    buffer: BytesMut,
    /// The start of the initialised allocation.
    base: *const u8,
    size: usize,
}

// SAFETY: `base` is only compared, never dereferenced; the buffer itself is `Send`.
unsafe impl Send for Arena {}

impl Arena {
    /// Returns an arena of `size` bytes.
    pub(crate) fn new(size: usize) -> Self {
        let buffer = BytesMut::zeroed(size);
        let base = buffer.as_ptr();
        let mut arena = Self { buffer, base, size };
        // The first piece allocates the reference count: now instead of with the first packet.
        drop(arena.take(size.min(1)));
        arena.rewind();
        arena
    }

    /// Returns at least `len` writable bytes, at most the arena's size; [`Self::take`] makes them a
    /// piece.
    pub(crate) fn space(&mut self, len: usize) -> &mut [u8] {
        debug_assert!(len <= self.size);
        if self.buffer.len() < len {
            self.start_over();
        }
        &mut self.buffer
    }

    /// Splits off the first `len` bytes as a piece.
    pub(crate) fn take(&mut self, len: usize) -> BytesMut {
        self.buffer.split_to(len)
    }

    /// Returns the first `len` bytes as a piece if no other piece exists, otherwise as a copy. A
    /// piece that is held for long then pins one arena at most.
    pub(crate) fn take_or_copy(&mut self, len: usize) -> BytesMut {
        if self.buffer.len() == self.size {
            self.take(len)
        } else {
            BytesMut::from(&self.buffer[..len])
        }
    }

    /// Starts over if every piece is gone. Frequent calls keep the arena from running out while
    /// pieces are held, and its memory in the cache.
    pub(crate) fn rewind(&mut self) {
        let left = self.buffer.len();
        if left == self.size {
            return;
        }
        self.buffer.clear();
        let whole =
            self.buffer.try_reclaim(self.size) && std::ptr::eq(self.buffer.as_ptr(), self.base);
        // SAFETY: the remaining bytes are still there, and the whole is the allocation that was
        // initialised over its `size`; initialised bytes stay so.
        unsafe { self.buffer.set_len(if whole { self.size } else { left }) };
    }

    /// Returns whether fewer than `len` bytes are left before the arena starts over.
    pub(crate) fn has_less_than(&self, len: usize) -> bool {
        self.buffer.len() < len
    }

    /// Reuses the memory if every piece is gone, otherwise allocates.
    #[cold]
    fn start_over(&mut self) {
        self.buffer.clear();
        self.buffer.reserve(self.size);
        if std::ptr::eq(self.buffer.as_ptr(), self.base) && self.buffer.capacity() >= self.size {
            // SAFETY: this is the allocation that `new` or the branch below initialised over its
            // whole `size`; initialised bytes stay so.
            unsafe { self.buffer.set_len(self.size) };
        } else {
            self.buffer.resize(self.size, 0);
            self.base = self.buffer.as_ptr();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn piece(arena: &mut Arena, len: usize, fill: u8) -> BytesMut {
        arena.space(len)[..len].fill(fill);
        arena.take(len)
    }

    #[test]
    fn memory_is_reused_once_every_piece_is_dropped() {
        let mut arena = Arena::new(4096);
        let first = piece(&mut arena, 3000, 1);
        let address = first.as_ptr();
        drop(first.freeze());
        let second = piece(&mut arena, 3000, 2);
        assert_eq!(second.as_ptr(), address);
        assert!(second.iter().all(|byte| *byte == 2));
    }

    #[test]
    fn a_rewound_arena_starts_over_unless_a_piece_is_held() {
        let mut arena = Arena::new(4096);
        let first = piece(&mut arena, 100, 1);
        let address = first.as_ptr();
        arena.rewind();
        let second = piece(&mut arena, 100, 2);
        assert_eq!(second.as_ptr(), address.wrapping_add(100));
        assert!(first.iter().all(|byte| *byte == 1));
        drop((first.freeze(), second.freeze()));
        arena.rewind();
        assert!(!arena.has_less_than(4096));
        assert_eq!(piece(&mut arena, 4096, 3).as_ptr(), address);
    }

    #[test]
    fn a_piece_that_is_held_forever_pins_one_arena_and_later_pieces_are_copies() {
        let mut arena = Arena::new(4096);
        let mut receive = |fill: u8| {
            arena.rewind();
            arena.space(1024)[..10].fill(fill);
            arena.take_or_copy(10)
        };
        let held = receive(1);
        let shared = held.as_ptr()..held.as_ptr().wrapping_add(4096);
        let later: Vec<_> = (2..200).map(&mut receive).collect();
        assert!(held.iter().all(|byte| *byte == 1));
        for (piece, fill) in later.iter().zip(2..) {
            assert!(piece.iter().all(|byte| *byte == fill));
            assert!(!shared.contains(&piece.as_ptr()), "not a copy");
        }
        drop((held, later));
        assert_eq!(receive(3).as_ptr(), shared.start, "shared again");
    }

    #[test]
    fn a_piece_that_is_still_held_is_never_overwritten() {
        let mut arena = Arena::new(4096);
        let held = piece(&mut arena, 3000, 7).freeze();
        for round in 0..10 {
            drop(piece(&mut arena, 2500, round));
        }
        assert!(held.iter().all(|byte| *byte == 7));
    }
}
