//! Fragmentation of one inner packet into datagrams.
//!
//! Invariants: the fragments of a packet have one id and one total, follow each other
//! without gap and overlap, and none is empty. Two totals under one id would crash a Go server.

use super::sealer::{SealError, Sealer};
use super::{FRAGMENT_HEADER_LEN, MessageType};

/// The datagrams that carry one packet, sealed when asked for. Dropping it early leaves out the
/// rest; the counters of what was sealed stay used, the others stay free.
#[derive(Debug)]
pub struct Fragments<'a> {
    sealer: &'a mut Sealer,
    packet: &'a [u8],
    offset: usize,
    /// Data bytes per fragment and the id; `None`: the packet goes whole.
    split: Option<(usize, u32)>,
    done: bool,
}

impl<'a> Fragments<'a> {
    pub(super) fn whole(sealer: &'a mut Sealer, packet: &'a [u8]) -> Self {
        Self {
            sealer,
            packet,
            offset: 0,
            split: None,
            done: false,
        }
    }

    pub(super) fn split(sealer: &'a mut Sealer, packet: &'a [u8], chunk: usize, id: u32) -> Self {
        Self {
            sealer,
            packet,
            offset: 0,
            split: Some((chunk, id)),
            done: false,
        }
    }

    /// Seals the next datagram into the beginning of `out` and returns its length; `None` after
    /// the last one.
    ///
    /// # Errors
    /// [`SealError::OutputTooSmall`], after which the same datagram is still to come, and
    /// [`SealError::Cipher`].
    pub fn next_into(&mut self, out: &mut [u8]) -> Result<Option<usize>, SealError> {
        if self.done {
            return Ok(None);
        }
        let Some((chunk, id)) = self.split else {
            let length = self.sealer.seal(MessageType::Data, self.packet, out)?;
            self.done = true;
            return Ok(Some(length));
        };
        let end = self.packet.len().min(self.offset + chunk);
        let mut header = [0; FRAGMENT_HEADER_LEN];
        header[..4].copy_from_slice(&id.to_be_bytes());
        header[4..8].copy_from_slice(&wire_u32(self.offset));
        header[8..].copy_from_slice(&wire_u32(self.packet.len()));
        let length = self
            .sealer
            .seal_fragment(&header, &self.packet[self.offset..end], out)?;
        self.offset = end;
        self.done = end == self.packet.len();
        Ok(Some(length))
    }
}

fn wire_u32(number: usize) -> [u8; 4] {
    u32::try_from(number)
        .expect("no packet is longer than MAX_PACKET")
        .to_be_bytes()
}
