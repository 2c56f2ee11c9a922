//! The anti-replay window over the counters of one direction.
//!
//! The design is that of RFC 6479: bits in a ring of 64-bit blocks, of which there is one more than
//! the window covers, so that moving forward clears whole blocks.
//!
//! Invariants: no arithmetic wraps, up to the counter 2^64-1, and only [`mark`](ReplayWindow::mark)
//! changes anything, which its caller does after a datagram has proven genuine.

/// A sliding window over the counters of one direction.
#[derive(Debug, Clone)]
pub struct ReplayWindow {
    /// How far below the highest counter a counter may be, exclusively.
    size: u64,
    /// The highest counter marked; `None` before the first, which may be any.
    highest: Option<u64>,
    /// Bit n % 64 of block (n / 64) % blocks: counter n was marked.
    blocks: Box<[u64]>,
}

impl ReplayWindow {
    /// Creates a window of `size` counters, usually [`REPLAY_WINDOW`](super::REPLAY_WINDOW). Its
    /// memory is allocated here, once: `size` / 8 bytes, rounded up to a power of two.
    #[must_use]
    pub fn new(size: usize) -> Self {
        // `size` counters touch at most size / 64 + 2 blocks; a power of two makes the ring cheap.
        let blocks = (size / 64 + 2).next_power_of_two();
        Self {
            size: size as u64,
            highest: None,
            blocks: vec![0; blocks].into_boxed_slice(),
        }
    }

    /// Returns whether this counter would be accepted: it is above all marked ones, or less than
    /// the window's size below the highest and not marked yet.
    #[must_use]
    pub fn check(&self, counter: u64) -> bool {
        match self.highest {
            Some(highest) if counter <= highest => {
                highest - counter < self.size
                    && self.blocks[self.index(counter)] & bit(counter) == 0
            }
            _ => true,
        }
    }

    /// Marks a counter as received. One that [`check`](Self::check) refuses changes nothing.
    pub fn mark(&mut self, counter: u64) {
        if !self.check(counter) {
            return;
        }
        if self.highest.is_none_or(|highest| counter > highest) {
            self.clear_up_to(counter);
            self.highest = Some(counter);
        }
        self.blocks[self.index(counter)] |= bit(counter);
    }

    /// Clears the blocks that come into use when the highest counter becomes `counter`.
    fn clear_up_to(&mut self, counter: u64) {
        let Some(highest) = self.highest else { return };
        let ahead = counter / 64 - highest / 64;
        for step in 1..=ahead.min(self.blocks.len() as u64) {
            let index = self.ring_index(highest / 64 + step);
            self.blocks[index] = 0;
        }
    }

    fn index(&self, counter: u64) -> usize {
        self.ring_index(counter / 64)
    }

    fn ring_index(&self, block: u64) -> usize {
        block as usize & (self.blocks.len() - 1)
    }
}

const fn bit(counter: u64) -> u64 {
    1 << (counter % 64)
}
