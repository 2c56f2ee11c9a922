//! What reaches a worker from other threads: orders from the control side, packets that the kernel
//! put into another worker's TUN queue, and datagrams that it merged into what another worker's
//! socket got.
//!
//! Packets come in batches: the giver appends a whole turn's worth under one lock, the taker swaps
//! the buffer for an empty one. Two buffers circulate, so that handing over allocates nothing in
//! the long run.

use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};

use qdt_proto::datagram::SessionId;

use super::pending::Verdict;
use crate::engine::Handover;
use crate::limits::SessionLimits;
use crate::tls::ServerTls;
use crate::wake::{Bell, Source};

/// Bytes that may wait in one inbox, whatever the number of packets.
const MAX_BYTES: usize = 16 << 20;
/// Bytes of datagrams that may wait: as much as a socket holds, less what waits there.
const MAX_DATAGRAM_BYTES: usize = 4 << 20;

/// An order from outside the worker.
#[derive(Debug)]
pub(super) enum Order {
    /// End the session, if it is the worker's, and say why.
    EndSession(SessionId, &'static str),
    /// From now on these limits hold for the session, if it is the worker's.
    SetLimits(SessionId, SessionLimits),
    /// The policy's verdict about a request that had none when it was read.
    Answer(Verdict),
    /// New connections use this certificate.
    UseTls(Box<ServerTls>),
    /// Close every connection and stop.
    Drain(&'static str),
}

/// TUN packets, each with its length before it, as they were read (virtio-net header included).
#[derive(Debug, Default)]
pub(super) struct PacketBatch {
    bytes: Vec<u8>,
    packets: usize,
}

impl PacketBatch {
    /// Appends one packet, given in parts.
    pub(super) fn push(&mut self, parts: &[&[u8]]) {
        let len: usize = parts.iter().map(|part| part.len()).sum();
        self.bytes.extend_from_slice(&(len as u32).to_ne_bytes());
        for part in parts {
            self.bytes.extend_from_slice(part);
        }
        self.packets += 1;
    }

    pub(super) fn is_empty(&self) -> bool {
        self.packets == 0
    }

    pub(super) fn clear(&mut self) {
        self.bytes.clear();
        self.packets = 0;
    }

    /// Each packet, writable, because splitting rewrites it.
    pub(super) fn for_each(&mut self, mut each: impl FnMut(&mut [u8])) {
        let mut rest = self.bytes.as_mut_slice();
        while let Some((len, tail)) = rest.split_first_chunk_mut::<4>() {
            let (packet, tail) = tail.split_at_mut(u32::from_ne_bytes(*len) as usize);
            each(packet);
            rest = tail;
        }
    }
}

/// See the module.
#[derive(Debug)]
pub(super) struct Inbox {
    bell: Bell,
    /// How often the worker has been woken.
    wakeups: AtomicU64,
    max_packets: usize,
    orders: Mutex<Vec<Order>>,
    packets: Mutex<PacketBatch>,
    datagrams: Mutex<Handover>,
}

impl Inbox {
    /// An inbox that holds at most `max_packets` packets.
    pub(super) fn new(max_packets: usize) -> std::io::Result<Self> {
        Ok(Self {
            bell: Bell::new()?,
            wakeups: AtomicU64::new(0),
            max_packets,
            orders: Mutex::default(),
            packets: Mutex::default(),
            datagrams: Mutex::default(),
        })
    }

    /// Returns what becomes ready when somebody left something.
    pub(super) fn source(&self) -> Source<'_> {
        self.bell.source()
    }

    /// Leaves an order.
    pub(super) fn order(&self, order: Order) {
        self.orders.lock().expect("no holder panics").push(order);
        self.bell.ring();
    }

    /// Leaves a batch of packets and empties it; returns how many did not fit.
    pub(super) fn give(&self, batch: &mut PacketBatch) -> usize {
        let mut packets = self.packets.lock().expect("no holder panics");
        let fits = packets.packets + batch.packets <= self.max_packets
            && packets.bytes.len() + batch.bytes.len() <= MAX_BYTES;
        let refused = if fits {
            packets.bytes.extend_from_slice(&batch.bytes);
            packets.packets += batch.packets;
            0
        } else {
            batch.packets
        };
        drop(packets);
        batch.clear();
        if refused == 0 {
            self.bell.ring();
        }
        refused
    }

    /// Leaves datagrams and empties what held them; false when they did not fit.
    pub(super) fn give_datagrams(&self, handover: &mut Handover) -> bool {
        let fits = self
            .datagrams
            .lock()
            .expect("no holder panics")
            .append(handover, MAX_DATAGRAM_BYTES);
        if fits {
            self.bell.ring();
        }
        fits
    }

    /// Takes the datagrams, leaving `empty` in their place.
    pub(super) fn take_datagrams(&self, empty: &mut Handover) {
        empty.clear();
        std::mem::swap(
            &mut *self.datagrams.lock().expect("no holder panics"),
            empty,
        );
    }

    /// Wakes the worker for nothing but its wakeup.
    pub(super) fn wake(&self) {
        self.bell.ring();
    }

    /// How often the worker has been woken.
    pub(super) fn wakeups(&self) -> u64 {
        self.wakeups.load(Ordering::Relaxed)
    }

    /// Silences the bell and counts the wakeup; to be called before taking.
    pub(super) fn silence(&self) {
        self.bell.silence();
        // The worker is the only one that writes it.
        let wakeups = self.wakeups.load(Ordering::Relaxed) + 1;
        self.wakeups.store(wakeups, Ordering::Relaxed);
    }

    /// Takes the orders.
    pub(super) fn take_orders(&self) -> Vec<Order> {
        std::mem::take(&mut *self.orders.lock().expect("no holder panics"))
    }

    /// Takes the packets, leaving `empty` in their place.
    pub(super) fn take_packets(&self, empty: &mut PacketBatch) {
        empty.clear();
        std::mem::swap(&mut *self.packets.lock().expect("no holder panics"), empty);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn packets_arrive_in_order_and_what_does_not_fit_is_counted() {
        let inbox = Inbox::new(3).expect("eventfd");
        let mut batch = PacketBatch::default();
        batch.push(&[b"on", b"e"]);
        batch.push(&[b"two"]);
        assert_eq!(inbox.give(&mut batch), 0);
        assert!(batch.is_empty());
        batch.push(&[b"three"]);
        batch.push(&[b"four"]);
        assert_eq!(inbox.give(&mut batch), 2);
        let mut taken = PacketBatch::default();
        inbox.take_packets(&mut taken);
        let mut seen = Vec::new();
        taken.for_each(|packet| seen.push(packet.to_vec()));
        assert_eq!(seen, [b"one", b"two"]);
    }
}
