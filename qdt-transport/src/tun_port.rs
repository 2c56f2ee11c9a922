//! A worker's TUN queue: read into one large buffer, written through a coalescer.
//!
//! Invariants: packets reach the kernel in the order of their commits; those that it refuses are
//! dropped and counted, and the worker never waits for it.

use std::io;
use std::time::{Duration, Instant};

use qdt_host::tun::TunQueue;
use qdt_proto::packet::{Coalescer, Offload, SegmentError, Segments, VnetHeader};

use crate::clock;
use crate::counters::{DropReason, WorkerCounters};
use crate::wake::Source;

/// A virtio-net header and the longest IP packet.
pub(crate) const READ_BUFFER: usize = 10 + 65_535 + 16;
/// The most bytes of a sealed read: each segment of 536 bytes or more adds inner headers, the QDT
/// header and the tag.
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

pub(crate) struct TunPort {
    queue: TunQueue,
    has_vnet_header: bool,
    coalescer: Coalescer,
    /// Whether packets were committed and not flushed.
    has_packets: bool,
    refusals: RefusalLog,
}

impl TunPort {
    pub(crate) fn new(queue: TunQueue) -> Self {
        Self {
            has_vnet_header: queue.offload().vnet_header,
            coalescer: coalescer_for(&queue),
            queue,
            has_packets: false,
            refusals: RefusalLog::default(),
        }
    }

    /// Returns the queue as something to wait for.
    pub(crate) fn source(&self) -> Source<'_> {
        Source::of(&self.queue)
    }

    /// Reads one packet or super-packet.
    pub(crate) fn read(&self, buffer: &mut [u8], counters: &WorkerCounters) -> io::Result<usize> {
        let len = self.queue.read(buffer)?;
        counters.tun_read();
        Ok(len)
    }

    /// Returns the packets of a read from this queue.
    pub(crate) fn segments<'a>(&self, read: &'a mut [u8]) -> Result<Segments<'a>, SegmentError> {
        Segments::new(read, self.has_vnet_header)
    }

    /// Returns the header of a packet that needs no offload.
    pub(crate) fn plain_header(&self) -> &'static [u8] {
        if self.has_vnet_header {
            &[0; VnetHeader::LEN]
        } else {
            &[]
        }
    }

    /// Returns `len` bytes for a packet, which is discarded unless [`Self::commit`] follows.
    pub(crate) fn slot(&mut self, len: usize) -> &mut [u8] {
        self.coalescer.slot(len)
    }

    /// Queues the packet in the first `len` bytes of the slot, to be coalesced with others.
    pub(crate) fn commit(&mut self, len: usize, counters: &WorkerCounters) {
        let (queue, refusals) = (&self.queue, &mut self.refusals);
        self.coalescer.commit(len, &mut |packet: &[u8]| {
            write(queue, packet, counters, refusals);
        });
        self.has_packets = true;
    }

    /// Queues a copy of a packet.
    pub(crate) fn put(&mut self, packet: &[u8], counters: &WorkerCounters) {
        self.slot(packet.len())[..packet.len()].copy_from_slice(packet);
        self.commit(packet.len(), counters);
    }

    /// Writes the queued packets. Returns whether there were any: the kernel answers within the
    /// write where it can (TCP acknowledgements, echo replies), so its answers can be read at once.
    pub(crate) fn flush(&mut self, counters: &WorkerCounters) -> bool {
        let had_packets = std::mem::take(&mut self.has_packets);
        if had_packets {
            let (queue, refusals) = (&self.queue, &mut self.refusals);
            self.coalescer.flush(&mut |packet: &[u8]| {
                write(queue, packet, counters, refusals);
            });
        }
        had_packets
    }
}

fn write(queue: &TunQueue, packet: &[u8], counters: &WorkerCounters, refusals: &mut RefusalLog) {
    match queue.write(packet) {
        Ok(_) => counters.tun_written(),
        // EINVAL: the packet itself is invalid.
        Err(error) if error.kind() == io::ErrorKind::InvalidInput => {
            counters.dropped(DropReason::BadPacket);
        }
        Err(error) => {
            counters.dropped(DropReason::TunBackpressure);
            if error.kind() != io::ErrorKind::WouldBlock {
                refusals.about(&error);
            }
        }
    }
}

/// Logs refused packets at intervals instead of one by one.
#[derive(Debug, Default)]
struct RefusalLog {
    last: Option<Instant>,
}

impl RefusalLog {
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
