//! A read from the TUN device, cut into packets.

use std::hint::black_box;

use qdt_proto::packet::Segments;

use super::Case;
use crate::packets::{SEGMENTS, SMALL, single_read, super_packet};

/// [`Segments`]: headers and checksums of every packet.
pub(super) struct Split {
    /// The reads of one turn.
    reads: Vec<Vec<u8>>,
    /// What the turn works on: cutting writes into it.
    buffers: Vec<Vec<u8>>,
    packets: usize,
}

impl Split {
    /// A super-packet of full packets.
    pub(super) fn super_packet() -> Self {
        Self::of(vec![super_packet()], SEGMENTS)
    }

    /// Packets without payload, each read alone, their checksums to be completed.
    pub(super) fn small() -> Self {
        Self::of(vec![single_read(SMALL); SEGMENTS], SEGMENTS)
    }

    fn of(reads: Vec<Vec<u8>>, packets: usize) -> Self {
        Self {
            buffers: reads.clone(),
            reads,
            packets,
        }
    }
}

impl Case for Split {
    fn prepare(&mut self) {
        self.buffers.clone_from(&self.reads);
    }

    fn turn(&mut self) {
        let mut packets = 0;
        for buffer in &mut self.buffers {
            let mut segments = Segments::new(buffer, true).expect("the read is sound");
            while let Some(packet) = segments.next() {
                black_box(packet);
                packets += 1;
            }
        }
        assert_eq!(packets, self.packets);
    }

    fn packets(&self) -> usize {
        self.packets
    }
}
