//! Packets joined into what one write to the TUN device takes.

use std::hint::black_box;

use qdt_proto::packet::{Coalescer, Offload};

use super::Case;
use crate::packets::{FULL, SEGMENTS, tcp};

/// What the kernel's TUN device takes.
pub(super) const OFFLOAD: Offload = Offload {
    vnet_header: true,
    tcp4: true,
    tcp6: true,
    udp: true,
};

/// [`Coalescer`]: one flow's packets. Full ones become one super-packet; acknowledgements pass one
/// by one. One copy of each is that of the case itself, where otherwise the packet is opened.
pub(super) struct Join {
    coalescer: Coalescer,
    packets: Vec<Vec<u8>>,
    writes: usize,
}

impl Join {
    pub(super) fn new(len: usize) -> Self {
        Self {
            coalescer: Coalescer::new(OFFLOAD),
            packets: (0..SEGMENTS).map(|index| tcp(index, len)).collect(),
            writes: if len == FULL { 1 } else { SEGMENTS },
        }
    }
}

impl Case for Join {
    fn turn(&mut self) {
        let mut writes = 0;
        let mut device = |packet: &[u8]| {
            black_box(packet);
            writes += 1;
        };
        for packet in &self.packets {
            self.coalescer.slot(packet.len()).copy_from_slice(packet);
            self.coalescer.commit(packet.len(), &mut device);
        }
        self.coalescer.flush(&mut device);
        assert_eq!(writes, self.writes);
    }

    fn packets(&self) -> usize {
        self.packets.len()
    }
}
