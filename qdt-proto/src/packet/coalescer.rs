//! Builds super-packets for the TUN device out of single packets, which are written straight into
//! them.
//!
//! A packet is decrypted into a [`slot`](Coalescer::slot). While a run of packets of one flow is
//! being built, the slot begins one header length before the end of what is built: a packet that
//! continues the run then has its payload exactly where it belongs, and its header lies over the
//! tail of the payload built so far, which is kept aside meanwhile. Nothing is moved but that tail.
//!
//! Invariants: packets leave in the order in which they were committed; a packet that does
//! not join pushes out what came before it; what is held between calls is always a run that may
//! still grow, everything else has left already. [`flush`](Coalescer::flush) when there is nothing
//! more to read: the coalescer never waits.

use super::gro::{Candidate, MAX_HEADER, Run};
use super::vnet::{Offload, VnetHeader};

/// The longest packet a slot can take, in bytes: the longest an IPv4 packet can be.
pub const MAX_PACKET: usize = u16::MAX as usize;

/// Room before the first packet for a [`VnetHeader`], of a cache line.
const HEADROOM: usize = 64;

/// A run and one more packet fit, wherever the run ends; runs start further on as others leave, and
/// move back to the front when the end is near.
const BUFFER: usize = HEADROOM + 2 * MAX_PACKET + 1;

/// What is being built.
#[derive(Clone, Copy, Debug)]
struct Held {
    run: Run,
    start: usize,
    end: usize,
}

/// Where the next packet is being written.
#[derive(Clone, Copy, Debug)]
struct Slot {
    at: usize,
    len: usize,
    /// Bytes of the held run that were kept aside: the slot lies over them.
    covered: usize,
}

/// Joins packets into super-packets. See the module's words for how, and the example of
/// [`commit`](Self::commit) for the order of calls.
pub struct Coalescer {
    offload: Offload,
    buffer: Box<[u8]>,
    held: Option<Held>,
    slot: Option<Slot>,
    /// The bytes under the slot's head.
    aside: [u8; MAX_HEADER],
}

impl std::fmt::Debug for Coalescer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // Packets are private traffic: shows what is held, not the contents.
        f.debug_struct("Coalescer")
            .field("offload", &self.offload)
            .field("held", &self.held)
            .field("slot", &self.slot)
            .finish_non_exhaustive()
    }
}

impl Coalescer {
    /// A coalescer for a device that takes what `offload` says. Allocates its buffer of 128 KiB
    /// here and nothing afterwards.
    #[must_use]
    pub fn new(offload: Offload) -> Self {
        let offload = if offload.vnet_header {
            offload
        } else {
            Offload::default()
        };
        Self {
            offload,
            buffer: vec![0; BUFFER].into_boxed_slice(),
            held: None,
            slot: None,
            aside: [0; MAX_HEADER],
        }
    }

    /// Where the next packet is to be written: exactly `len` bytes, of any content. More than
    /// [`MAX_PACKET`] are cut to it.
    ///
    /// Follow it by [`commit`](Self::commit) or [`abandon`](Self::abandon); asking for another slot
    /// abandons this one.
    #[inline]
    pub fn slot(&mut self, len: usize) -> &mut [u8] {
        self.abandon();
        let len = len.min(MAX_PACKET);
        let mut at = self.next_slot();
        if at + len > self.buffer.len() {
            self.move_to_front();
            at = self.next_slot();
        }
        let covered = self.held.map_or(0, |held| held.run.header_len().min(len));
        self.aside[..covered].copy_from_slice(&self.buffer[at..at + covered]);
        self.slot = Some(Slot { at, len, covered });
        &mut self.buffer[at..at + len]
    }

    /// Gives the slot back: nothing valid was written into it. What is held is as it was before.
    #[inline]
    pub fn abandon(&mut self) {
        if let Some(slot) = self.slot.take() {
            self.uncover(&slot);
        }
    }

    /// Takes the first `len` bytes of the slot as one packet. It joins what is held, or is held
    /// itself, or passes; whatever has to leave for that goes to `sink`, one call per write to the
    /// device, each with its [`VnetHeader`] if the device has them. Does nothing without a slot.
    ///
    /// The packet must be validated ([`InnerPacket::parse`](super::InnerPacket::parse)); any other
    /// bytes pass unchanged and alone.
    ///
    /// ```
    /// use qdt_proto::packet::{Coalescer, Offload};
    /// let mut coalescer = Coalescer::new(Offload::default());
    /// let mut written = Vec::new();
    /// let mut device = |bytes: &[u8]| written.push(bytes.to_vec());
    /// coalescer.slot(4).copy_from_slice(b"junk");
    /// coalescer.commit(4, &mut device);
    /// coalescer.flush(&mut device);
    /// assert_eq!(written, [b"junk"]);
    /// ```
    #[inline]
    pub fn commit(&mut self, len: usize, sink: &mut impl FnMut(&[u8])) {
        let Some(slot) = self.slot.take() else { return };
        let end = slot.at + len.min(slot.len);
        let packet = &self.buffer[slot.at..end];
        let candidate = Candidate::of(packet, self.offload);
        let joins = match (&self.held, &candidate) {
            // The slot covers no part of the run's header: `starts_run` saw to that.
            (Some(held), Some(candidate)) => {
                held.run
                    .continues(&self.buffer[held.start..held.end], packet, candidate)
            }
            _ => false,
        };
        let sound = candidate.filter(|candidate| {
            (joins || candidate.starts_run()) && candidate.has_valid_checksums(packet)
        });
        match (&mut self.held, sound) {
            (Some(held), Some(candidate)) if joins => {
                let covered = &mut self.buffer[slot.at..slot.at + slot.covered];
                covered.swap_with_slice(&mut self.aside[..slot.covered]);
                let built = &mut self.buffer[held.start..held.end];
                held.run
                    .append(built, &self.aside[..slot.covered], &candidate);
                held.end = end;
                if held.run.closed {
                    self.release(sink);
                }
            }
            (held, sound) => {
                if held.is_some() {
                    let covered = &mut self.buffer[slot.at..slot.at + slot.covered];
                    covered.swap_with_slice(&mut self.aside[..slot.covered]);
                    self.release(sink);
                    self.uncover(&slot);
                }
                match sound.filter(Candidate::starts_run) {
                    Some(candidate) => {
                        self.held = Some(Held {
                            run: Run::new(candidate),
                            start: slot.at,
                            end,
                        });
                    }
                    None => self.emit(slot.at, end, VnetHeader::default(), sink),
                }
            }
        }
    }

    /// Sends what is held to `sink`. A slot that was not committed is abandoned.
    #[inline]
    pub fn flush(&mut self, sink: &mut impl FnMut(&[u8])) {
        self.abandon();
        self.release(sink);
    }

    /// One header length before the end of what is held, or the front.
    #[inline]
    fn next_slot(&self) -> usize {
        self.held
            .map_or(HEADROOM, |held| held.end - held.run.header_len())
    }

    /// Moves what is held to the front of the buffer, so that a run and a packet of any length fit.
    #[cold]
    fn move_to_front(&mut self) {
        if let Some(held) = &mut self.held {
            self.buffer.copy_within(held.start..held.end, HEADROOM);
            held.end = HEADROOM + (held.end - held.start);
            held.start = HEADROOM;
        }
    }

    /// Puts back what the slot lay over.
    #[inline]
    fn uncover(&mut self, slot: &Slot) {
        self.buffer[slot.at..slot.at + slot.covered].copy_from_slice(&self.aside[..slot.covered]);
    }

    #[inline]
    fn release(&mut self, sink: &mut impl FnMut(&[u8])) {
        if let Some(held) = self.held.take() {
            let header = held.run.finish(&mut self.buffer[held.start..held.end]);
            self.emit(held.start, held.end, header, sink);
        }
    }

    #[inline]
    fn emit(&mut self, start: usize, end: usize, header: VnetHeader, sink: &mut impl FnMut(&[u8])) {
        let mut from = start;
        if self.offload.vnet_header {
            from -= VnetHeader::LEN;
            self.buffer[from..start].copy_from_slice(&header.encode());
        }
        sink(&self.buffer[from..end]);
    }
}
