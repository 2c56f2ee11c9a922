//! The steps together, in the order in which the packet worker takes them, without the QUIC
//! connection between the two ends.

use std::hint::black_box;
use std::net::{IpAddr, Ipv4Addr};
use std::time::Instant;

use qdt_proto::datagram::{Aead, MessageType, OVERHEAD, Opened, Opener, Sealer};
use qdt_proto::packet::{Coalescer, InnerPacket, Segments, clamp_mss};

use super::aead::{now, opener, sealed, sealer};
use super::join::OFFLOAD;
use super::{Case, TURNS};
use crate::packets::{FULL, SEGMENTS, super_packet, tcp};

const AEAD: Aead = Aead::Aes256Gcm;
const SOURCE: IpAddr = IpAddr::V4(Ipv4Addr::new(10, 8, 0, 2));

fn check(packet: &mut [u8]) {
    let parsed = InnerPacket::parse(packet).expect("the packet is valid");
    assert_eq!(parsed.source(), SOURCE);
    clamp_mss(packet, FULL);
}

/// From a read of the TUN device to the datagrams.
pub(super) struct Out {
    read: Vec<u8>,
    buffer: Vec<u8>,
    sealer: Sealer,
    datagrams: Vec<u8>,
}

impl Out {
    pub(super) fn new() -> Self {
        let read = super_packet();
        Self {
            buffer: read.clone(),
            read,
            sealer: sealer(AEAD),
            datagrams: vec![0; SEGMENTS * (FULL + OVERHEAD)],
        }
    }
}

impl Case for Out {
    fn prepare(&mut self) {
        self.buffer.clone_from(&self.read);
    }

    fn turn(&mut self) {
        let mut at = 0;
        let mut segments = Segments::new(&mut self.buffer, true).expect("the read is sound");
        while let Some(packet) = segments.next() {
            check(packet);
            let out = &mut self.datagrams[at..];
            let sealed = self.sealer.seal(MessageType::Data, packet, out);
            at += sealed.expect("the buffer holds them all");
        }
        assert_eq!(at, self.datagrams.len());
    }

    fn packets(&self) -> usize {
        SEGMENTS
    }
}

/// From datagrams to what the TUN device takes.
pub(super) struct In {
    opener: Opener,
    now: Instant,
    datagrams: Vec<Vec<u8>>,
    next: usize,
    coalescer: Coalescer,
}

impl In {
    pub(super) fn new() -> Self {
        let mut sealer = sealer(AEAD);
        let datagrams = (0..SEGMENTS * TURNS)
            .map(|index| sealed(&mut sealer, &tcp(index % SEGMENTS, FULL)))
            .collect();
        Self {
            opener: opener(AEAD),
            now: now(),
            datagrams,
            next: 0,
            coalescer: Coalescer::new(OFFLOAD),
        }
    }
}

impl Case for In {
    fn turn(&mut self) {
        let mut writes = 0;
        let mut device = |packet: &[u8]| {
            black_box(packet);
            writes += 1;
        };
        for datagram in &self.datagrams[self.next..self.next + SEGMENTS] {
            let slot = self.coalescer.slot(datagram.len() - OVERHEAD);
            let opened = self.opener.open(self.now, datagram, slot);
            assert_eq!(opened, Ok(Opened::Packet(FULL)));
            check(slot);
            self.coalescer.commit(FULL, &mut device);
        }
        self.coalescer.flush(&mut device);
        assert_eq!(writes, 1);
        self.next += SEGMENTS;
    }

    fn packets(&self) -> usize {
        SEGMENTS
    }
}
