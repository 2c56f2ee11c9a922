//! One read from a TUN device as the IP packets it stands for, in the read buffer itself.
//!
//! A super-packet is one header and a long payload. The header of segment n+1 is written right
//! before its payload, over the tail of segment n: what was handed out before is gone when the next
//! packet is asked for, which is why [`Segments::next`] lends instead of iterating. Every packet
//! handed out is complete: lengths, identification, sequence number, flags and checksums are those
//! the kernel's own segmentation would write.

use super::gso::{SegmentError, Segmenter, complete_checksum};
use super::vnet::{GsoKind, VnetHeader};

/// The packets of one TUN read.
#[derive(Debug)]
pub struct Segments<'a> {
    packet: &'a mut [u8],
    state: State,
}

#[derive(Debug)]
#[expect(
    clippy::large_enum_variant,
    reason = "lives on the stack for one read; boxing would allocate per read"
)]
enum State {
    /// The packet as it is has not been handed out yet.
    Whole,
    /// A super-packet, handed out up to the segmenter's position.
    SuperPacket(Segmenter),
    Done,
}

impl<'a> Segments<'a> {
    /// Prepares `read`, the bytes one read from the device gave; `vnet_header` tells whether the
    /// device puts a [`VnetHeader`] before each packet. Without one the read is one packet,
    /// complete as it is.
    ///
    /// A single packet is not looked at beyond its checksum: validate what [`next`](Self::next)
    /// hands out with [`InnerPacket::parse`](super::InnerPacket::parse).
    ///
    /// # Errors
    /// [`SegmentError`] when the header announces what the packet is not. The read is then to be
    /// dropped.
    #[inline]
    pub fn new(read: &'a mut [u8], vnet_header: bool) -> Result<Self, SegmentError> {
        if !vnet_header {
            return Ok(Self {
                packet: read,
                state: State::Whole,
            });
        }
        let header = VnetHeader::parse(read)?;
        let packet = &mut read[VnetHeader::LEN..];
        let state = if header.kind == GsoKind::None {
            if header.needs_checksum {
                complete_checksum(packet, &header)?;
            }
            State::Whole
        } else {
            State::SuperPacket(Segmenter::new(packet, &header)?)
        };
        Ok(Self { packet, state })
    }

    /// Returns the next packet, or `None` after the last.
    ///
    /// The caller may change the packet (the MSS clamp does); what it writes does not reach later
    /// segments.
    #[inline]
    #[expect(
        clippy::should_implement_trait,
        reason = "packets overlap in the buffer: each is lent until the next call"
    )]
    pub fn next(&mut self) -> Option<&mut [u8]> {
        match &mut self.state {
            State::Done => None,
            State::Whole => {
                self.state = State::Done;
                Some(self.packet)
            }
            State::SuperPacket(segmenter) => segmenter.next_segment(self.packet),
        }
    }
}
