//! Buffers that are written in place, handed out as [`Bytes`]-able pieces and used again.
//!
//! QUIC wants each received datagram as `BytesMut` and each outgoing one as `Bytes`. An arena is
//! one large allocation that pieces are split from; when every piece of it has been dropped the
//! same memory starts over. In the steady state nothing is allocated: the pieces of one turn of the
//! loop are gone by the next.
//!
//! Invariant: every byte behind `buffer` was written at least once, so its contents are always
//! initialised.

use bytes::BytesMut;

/// One reusable buffer.
#[derive(Debug)]
pub(crate) struct Arena {
    buffer: BytesMut,
    /// Where the allocation that was initialised begins.
    base: *const u8,
    size: usize,
}

// SAFETY: `base` is only compared, never dereferenced; the buffer itself is `Send`.
unsafe impl Send for Arena {}

impl Arena {
    /// An arena of `size` bytes.
    pub(crate) fn new(size: usize) -> Self {
        let buffer = BytesMut::zeroed(size);
        let base = buffer.as_ptr();
        let mut arena = Self { buffer, base, size };
        // What counts the pieces is allocated with the first of them: now, and not with the first
        // packet.
        drop(arena.take(size.min(1)));
        arena.rewind();
        arena
    }

    /// At least `len` writable bytes, at most one arena's worth; they become a piece with
    /// [`Self::take`].
    pub(crate) fn space(&mut self, len: usize) -> &mut [u8] {
        debug_assert!(len <= self.size);
        if self.buffer.len() < len {
            self.start_over();
        }
        &mut self.buffer
    }

    /// Splits the first `len` bytes off as a piece.
    pub(crate) fn take(&mut self, len: usize) -> BytesMut {
        self.buffer.split_to(len)
    }

    /// The first `len` bytes as a piece, if no other piece is held; otherwise a copy of them.
    /// Whoever keeps one piece for long then keeps the arena from being shared, and not arena after
    /// arena.
    pub(crate) fn take_or_copy(&mut self, len: usize) -> BytesMut {
        if self.buffer.len() == self.size {
            self.take(len)
        } else {
            BytesMut::from(&self.buffer[..len])
        }
    }

    /// Back to the beginning where every piece is gone, nothing otherwise. Called whenever that is
    /// likely, it keeps the arena from running out while pieces are held, and the memory it hands
    /// out in the cache.
    pub(crate) fn rewind(&mut self) {
        let left = self.buffer.len();
        if left == self.size {
            return;
        }
        self.buffer.clear();
        let whole =
            self.buffer.try_reclaim(self.size) && std::ptr::eq(self.buffer.as_ptr(), self.base);
        // SAFETY: what was left is still there, and the whole is the allocation that was
        // initialised over its `size`; bytes that were initialised once stay so.
        unsafe { self.buffer.set_len(if whole { self.size } else { left }) };
    }

    /// Whether less than `len` bytes are left before the arena has to start over.
    pub(crate) fn has_less_than(&self, len: usize) -> bool {
        self.buffer.len() < len
    }

    /// The same memory where all its pieces are gone, new memory otherwise.
    #[cold]
    fn start_over(&mut self) {
        self.buffer.clear();
        self.buffer.reserve(self.size);
        if std::ptr::eq(self.buffer.as_ptr(), self.base) && self.buffer.capacity() >= self.size {
            // SAFETY: this is the allocation that `new` or the branch below initialised over its
            // whole `size`, and bytes that were initialised once stay so.
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
    fn memory_is_used_again_once_every_piece_is_gone() {
        let mut arena = Arena::new(4096);
        let first = piece(&mut arena, 3000, 1);
        let address = first.as_ptr();
        drop(first.freeze());
        let second = piece(&mut arena, 3000, 2);
        assert_eq!(second.as_ptr(), address);
        assert!(second.iter().all(|byte| *byte == 2));
    }

    #[test]
    fn a_rewound_arena_begins_where_it_began_unless_a_piece_is_held() {
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
    fn a_piece_that_is_held_for_ever_costs_one_arena_and_everything_after_it_only_itself() {
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
