//! Sealing and opening.

use std::time::Instant;

use qdt_proto::datagram::{Aead, MessageType, OVERHEAD, Opened, Opener, Sealer, SessionId};
use qdt_proto::handshake::DirectionKeys;

use super::{Case, TURNS};
use crate::packets::tcp;

/// Packets in a turn.
pub(super) const BATCH: usize = 44;
/// What reassembly may hold; nothing comes in fragments here.
const MAX_REASSEMBLY: usize = 65_535;

pub(super) fn sealer(aead: Aead) -> Sealer {
    Sealer::new(aead, &DirectionKeys::new([5; 32], [6; 4]), SessionId(1))
}

pub(super) fn opener(aead: Aead) -> Opener {
    let keys = DirectionKeys::new([5; 32], [6; 4]);
    Opener::new(aead, &keys, SessionId(1), MAX_REASSEMBLY, true)
}

/// [`Sealer::seal`], each packet behind the one before it in one buffer.
pub(super) struct Seal {
    sealer: Sealer,
    packet: Vec<u8>,
    out: Vec<u8>,
}

impl Seal {
    pub(super) fn new(aead: Aead, len: usize) -> Self {
        Self {
            sealer: sealer(aead),
            packet: tcp(0, len),
            out: vec![0; BATCH * (len + OVERHEAD)],
        }
    }
}

impl Case for Seal {
    fn turn(&mut self) {
        for out in self.out.chunks_exact_mut(self.packet.len() + OVERHEAD) {
            let sealed = self.sealer.seal(MessageType::Data, &self.packet, out);
            assert_eq!(sealed, Ok(self.packet.len() + OVERHEAD));
        }
    }

    fn packets(&self) -> usize {
        BATCH
    }
}

/// [`Opener::open`] of datagrams in order.
pub(super) struct Open {
    opener: Opener,
    now: Instant,
    /// One batch after the other: no counter is accepted twice.
    datagrams: Vec<Vec<u8>>,
    next: usize,
    out: Vec<u8>,
}

impl Open {
    pub(super) fn new(aead: Aead, len: usize) -> Self {
        let mut sealer = sealer(aead);
        let packet = tcp(0, len);
        let datagrams = (0..BATCH * TURNS)
            .map(|_| sealed(&mut sealer, &packet))
            .collect();
        Self {
            opener: opener(aead),
            now: now(),
            datagrams,
            next: 0,
            out: vec![0; len],
        }
    }
}

impl Case for Open {
    fn turn(&mut self) {
        for datagram in &self.datagrams[self.next..self.next + BATCH] {
            let opened = self.opener.open(self.now, datagram, &mut self.out);
            assert_eq!(opened, Ok(Opened::Packet(self.out.len())));
        }
        self.next += BATCH;
    }

    fn packets(&self) -> usize {
        BATCH
    }
}

/// One packet as a datagram.
pub(super) fn sealed(sealer: &mut Sealer, packet: &[u8]) -> Vec<u8> {
    let mut datagram = vec![0; packet.len() + OVERHEAD];
    sealer
        .seal(MessageType::Data, packet, &mut datagram)
        .expect("the buffer is as long as it must be");
    datagram
}

/// A moment to hand to functions that take the time as an argument.
pub(super) fn now() -> Instant {
    Instant::now()
}
