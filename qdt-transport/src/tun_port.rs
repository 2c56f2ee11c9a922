//! A worker's TUN queue: read into one large buffer, written through a coalescer.
//!
//! Packets reach the kernel in the order they were committed. What the kernel does not take is
//! dropped and counted; the worker never waits for it.

use std::io;
use std::time::{Duration, Instant};

use qdt_host::tun::TunQueue;
use qdt_proto::packet::{Coalescer, Offload, SegmentError, Segments, VnetHeader};

use crate::clock;
use crate::counters::{DropReason, WorkerCounters};
use crate::wake::Source;

/// A virtio-net header and the longest IP packet.
pub(crate) const READ_BUFFER: usize = 10 + 65_535 + 16;
/// What one read becomes when it is split and sealed: each of its segments, of 536 bytes or more,
/// brings inner headers, the QDT header and the tag.
pub(crate) const SEALED_READ: usize = READ_BUFFER + 65_535 / 536 * 128;

/// Returns a coalescer of the super-packets that `queue` accepts.
#[must_use]
pub fn coalescer_for(queue: &TunQueue) -> Coalescer {
    let offload = queue.offload();
    Coalescer::new(Offload {
        vnet_header: offload.vnet_header,
        tcp4: offload.tcp4,
        tcp6: offload.tcp6,
        udp: offload.udp,
    })
}

/// See the module.
pub(crate) struct TunPort {
    queue: TunQueue,
    has_vnet_header: bool,
    coalescer: Coalescer,
    /// Something was committed and not flushed yet.
    has_packets: bool,
    complaint: Complaint,
}

impl TunPort {
    pub(crate) fn new(queue: TunQueue) -> Self {
        Self {
            has_vnet_header: queue.offload().vnet_header,
            coalescer: coalescer_for(&queue),
            queue,
            has_packets: false,
            complaint: Complaint::default(),
        }
    }

    /// Returns what a packet to read makes ready, and the end of the device.
    pub(crate) fn source(&self) -> Source<'_> {
        Source::of(&self.queue)
    }

    /// Reads one packet or super-packet.
    pub(crate) fn read(&self, buffer: &mut [u8], counters: &WorkerCounters) -> io::Result<usize> {
        let len = self.queue.read(buffer)?;
        counters.tun_read();
        Ok(len)
    }

    /// Returns the packets that a read from this queue stands for.
    pub(crate) fn segments<'a>(&self, read: &'a mut [u8]) -> Result<Segments<'a>, SegmentError> {
        Segments::new(read, self.has_vnet_header)
    }

    /// Returns what stands before a packet of this queue that needs nothing done to it.
    pub(crate) fn plain_header(&self) -> &'static [u8] {
        if self.has_vnet_header {
            &[0; VnetHeader::LEN]
        } else {
            &[]
        }
    }

    /// Returns `len` bytes to write a packet into. It is forgotten unless [`Self::commit`] follows.
    pub(crate) fn slot(&mut self, len: usize) -> &mut [u8] {
        self.coalescer.slot(len)
    }

    /// The packet in the first `len` bytes of the slot goes to the kernel, perhaps with others.
    pub(crate) fn commit(&mut self, len: usize, counters: &WorkerCounters) {
        let (queue, complaint) = (&self.queue, &mut self.complaint);
        self.coalescer.commit(len, &mut |packet: &[u8]| {
            write(queue, packet, counters, complaint);
        });
        self.has_packets = true;
    }

    /// A packet from elsewhere goes to the kernel, after those before it.
    pub(crate) fn put(&mut self, packet: &[u8], counters: &WorkerCounters) {
        self.slot(packet.len())[..packet.len()].copy_from_slice(packet);
        self.commit(packet.len(), counters);
    }

    /// What was committed reaches the kernel now. Returns whether there was anything: the kernel
    /// answers within the write where it can (TCP's acknowledgements, an echo reply), so its
    /// answers can be read at once.
    pub(crate) fn flush(&mut self, counters: &WorkerCounters) -> bool {
        let had_packets = std::mem::take(&mut self.has_packets);
        if had_packets {
            let (queue, complaint) = (&self.queue, &mut self.complaint);
            self.coalescer.flush(&mut |packet: &[u8]| {
                write(queue, packet, counters, complaint);
            });
        }
        had_packets
    }
}

fn write(queue: &TunQueue, packet: &[u8], counters: &WorkerCounters, complaint: &mut Complaint) {
    match queue.write(packet) {
        Ok(_) => counters.tun_written(),
        // EINVAL: the kernel found the packet itself unacceptable.
        Err(error) if error.kind() == io::ErrorKind::InvalidInput => {
            counters.dropped(DropReason::BadPacket);
        }
        Err(error) => {
            counters.dropped(DropReason::TunBackpressure);
            if error.kind() != io::ErrorKind::WouldBlock {
                complaint.about(&error);
            }
        }
    }
}

/// Says that the device takes no packets, once in a while and not for each of them.
#[derive(Debug, Default)]
struct Complaint {
    last: Option<Instant>,
}

impl Complaint {
    const EVERY: Duration = Duration::from_secs(10);

    #[cold]
    fn about(&mut self, error: &io::Error) {
        let now = clock::now();
        if self.last.is_none_or(|last| now >= last + Self::EVERY) {
            self.last = Some(now);
            tracing::error!(err = %error, "tun write error");
        }
    }
}
