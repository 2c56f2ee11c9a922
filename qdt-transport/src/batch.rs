//! Packets for another worker in one buffer, with metadata.
//!
//! They are collected during a turn and handed over as a whole, which keeps their order. Two
//! buffers circulate, so that this allocates nothing in the steady state. Memory that a flood
//! needed is freed.

/// A batch of packets. Buffers above `KEPT` bytes are freed when it is cleared.
#[derive(Debug)]
pub(crate) struct Batch<M, const KEPT: usize> {
    bytes: Vec<u8>,
    /// Metadata and length of each packet.
    packets: Vec<(M, usize)>,
}

impl<M, const KEPT: usize> Default for Batch<M, KEPT> {
    fn default() -> Self {
        Self {
            bytes: Vec::new(),
            packets: Vec::new(),
        }
    }
}

impl<M: Copy, const KEPT: usize> Batch<M, KEPT> {
    /// The overhead per packet, in bytes.
    const OVERHEAD: usize = size_of::<(M, usize)>();

    /// Appends a packet, given in parts.
    pub(crate) fn push(&mut self, meta: M, parts: &[&[u8]]) {
        let start = self.bytes.len();
        for part in parts {
            self.bytes.extend_from_slice(part);
        }
        self.packets.push((meta, self.bytes.len() - start));
    }

    /// Returns the number of packets.
    pub(crate) fn len(&self) -> usize {
        self.packets.len()
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.packets.is_empty()
    }

    /// Returns the bytes held, overhead included.
    fn size(&self) -> usize {
        self.bytes.len() + self.packets.len() * Self::OVERHEAD
    }

    /// Appends the packets of `other` if the whole then has at most `max_bytes` and `max_len`
    /// packets, and returns whether it did. `other` is empty afterwards.
    pub(crate) fn append(&mut self, other: &mut Self, max_bytes: usize, max_len: usize) -> bool {
        let fits = self.size() + other.size() <= max_bytes && self.len() + other.len() <= max_len;
        if fits {
            self.bytes.extend_from_slice(&other.bytes);
            self.packets.extend_from_slice(&other.packets);
        }
        other.clear();
        fits
    }

    /// Removes all packets.
    pub(crate) fn clear(&mut self) {
        self.bytes.clear();
        self.packets.clear();
        if self.bytes.capacity() + self.packets.capacity() * Self::OVERHEAD > KEPT {
            *self = Self::default();
        }
    }

    /// Calls `each` with every packet in order; writable, because splitting rewrites it.
    pub(crate) fn for_each(&mut self, mut each: impl FnMut(M, &mut [u8])) {
        let mut rest = self.bytes.as_mut_slice();
        for (meta, len) in &self.packets {
            let (packet, tail) = rest.split_at_mut(*len);
            each(*meta, packet);
            rest = tail;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEPT: usize = 1 << 20;
    /// Packets with a number as metadata.
    type Numbered = Batch<u16, KEPT>;
    const OVERHEAD: usize = Numbered::OVERHEAD;

    fn of(numbers: &[u16]) -> Numbered {
        let mut batch = Batch::default();
        for number in numbers {
            batch.push(*number, &[&[*number as u8; 60], &[*number as u8; 40]]);
        }
        batch
    }

    fn numbers(batch: &mut Numbered) -> Vec<u16> {
        let mut seen = Vec::new();
        batch.for_each(|number, packet| {
            assert_eq!(packet, [number as u8; 100]);
            seen.push(number);
        });
        seen
    }

    #[test]
    fn packets_keep_their_order_and_those_that_do_not_fit_are_dropped() {
        let mut waiting = Batch::default();
        let three = 3 * (100 + OVERHEAD);
        assert!(waiting.append(&mut of(&[1, 2]), three, 4));
        let mut too_many = of(&[3, 4]);
        assert!(!waiting.append(&mut too_many, three, 4), "bytes");
        assert!(too_many.is_empty());
        assert!(waiting.append(&mut of(&[5]), three, 4));
        assert!(!waiting.append(&mut of(&[6, 7]), usize::MAX, 4), "packets");
        assert_eq!(numbers(&mut waiting), [1, 2, 5]);
    }

    #[test]
    fn empty_packets_are_bounded_too() {
        let mut flood = Numbered::default();
        (0..1000).for_each(|_| flood.push(0, &[]));
        assert!(!Batch::default().append(&mut flood, 1000 * OVERHEAD - 1, usize::MAX));
    }

    #[test]
    fn memory_of_a_flood_is_freed() {
        let mut batch = of(&vec![1; KEPT / OVERHEAD]);
        batch.clear();
        assert_eq!(batch.bytes.capacity() + batch.packets.capacity(), 0);
        let mut small = of(&[1; 100]);
        small.clear();
        assert!(small.bytes.capacity() > 0);
    }
}
