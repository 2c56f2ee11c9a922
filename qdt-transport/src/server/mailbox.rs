//! The mailbox of a worker: commands from the control side, packets that the kernel delivered to
//! another worker's TUN queue, and datagrams that it merged into those of another worker's socket.
//!
//! Packets come in batches: the sender appends a whole turn's packets under one lock, the worker
//! swaps the buffer for an empty one.

use std::mem;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};

use qdt_proto::datagram::SessionId;

use super::pending::RequestAnswer;
use crate::batch::Batch;
use crate::engine::Handover;
use crate::rate_limit::SessionLimits;
use crate::tls::ServerTls;
use crate::wake::Waker;

/// The most bytes of packets in one mailbox.
const MAX_BYTES: usize = 16 << 20;
/// The most bytes of datagrams in one mailbox, about the size of a socket's buffer.
const MAX_DATAGRAM_BYTES: usize = 4 << 20;

/// A command to a worker. Commands for sessions of other workers have no effect.
#[derive(Debug)]
pub(super) enum Command {
    /// Ends the session with a reason.
    EndSession(SessionId, &'static str),
    /// Applies limits to the session.
    SetLimits(SessionId, SessionLimits),
    /// Answers a pending request.
    Answer(RequestAnswer),
    /// Uses this certificate for new connections.
    UseTls(Box<ServerTls>),
    /// Closes every connection and stops.
    Drain(&'static str),
}

/// TUN packets as they were read, virtio-net header included. Buffers up to the limit are kept.
pub(super) type PacketBatch = Batch<(), MAX_BYTES>;

#[derive(Debug)]
pub(super) struct Mailbox {
    waker: Waker,
    /// The number of wake-ups so far.
    wakeups: AtomicU64,
    max_packets: usize,
    commands: Mutex<Vec<Command>>,
    packets: Mutex<PacketBatch>,
    datagrams: Mutex<Handover>,
}

impl Mailbox {
    /// Returns a mailbox for at most `max_packets` packets.
    pub(super) fn new(max_packets: usize) -> std::io::Result<Self> {
        Ok(Self {
            waker: Waker::new()?,
            wakeups: AtomicU64::new(0),
            max_packets,
            commands: Mutex::default(),
            packets: Mutex::default(),
            datagrams: Mutex::default(),
        })
    }

    /// Returns the worker's waker.
    pub(super) fn waker(&self) -> &Waker {
        &self.waker
    }

    /// Sends a command.
    pub(super) fn send(&self, command: Command) {
        self.commands
            .lock()
            .expect("no holder panics")
            .push(command);
        self.waker.wake();
    }

    /// Hands over packets and empties the batch. Returns false if they did not fit.
    pub(super) fn put_packets(&self, packets: &mut PacketBatch) -> bool {
        self.put(&self.packets, packets, MAX_BYTES, self.max_packets)
    }

    /// Hands over datagrams and empties the batch. Returns false if they did not fit.
    pub(super) fn put_datagrams(&self, datagrams: &mut Handover) -> bool {
        self.put(&self.datagrams, datagrams, MAX_DATAGRAM_BYTES, usize::MAX)
    }

    fn put<M: Copy, const KEPT: usize>(
        &self,
        to: &Mutex<Batch<M, KEPT>>,
        batch: &mut Batch<M, KEPT>,
        max_bytes: usize,
        max_len: usize,
    ) -> bool {
        let mut waiting = to.lock().expect("no holder panics");
        let fits = waiting.append(batch, max_bytes, max_len);
        drop(waiting);
        if fits {
            self.waker.wake();
        }
        fits
    }

    /// Wakes the worker without a command.
    pub(super) fn wake(&self) {
        self.waker.wake();
    }

    /// Returns how often the worker has been woken.
    pub(super) fn wakeups(&self) -> u64 {
        self.wakeups.load(Ordering::Relaxed)
    }

    /// Counts a wakeup of the worker.
    pub(super) fn count_wakeup(&self) {
        // Only the worker writes it.
        let wakeups = self.wakeups.load(Ordering::Relaxed) + 1;
        self.wakeups.store(wakeups, Ordering::Relaxed);
    }

    /// Takes the commands.
    pub(super) fn take_commands(&self) -> Vec<Command> {
        mem::take(&mut *self.commands.lock().expect("no holder panics"))
    }

    /// Swaps packets and datagrams for the given empty batches.
    pub(super) fn take(&self, packets: &mut PacketBatch, datagrams: &mut Handover) {
        mem::swap(
            &mut *self.packets.lock().expect("no holder panics"),
            packets,
        );
        mem::swap(
            &mut *self.datagrams.lock().expect("no holder panics"),
            datagrams,
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn packets_arrive_in_order_and_those_that_do_not_fit_are_refused() {
        let mailbox = Mailbox::new(3).expect("eventfd");
        let mut batch = PacketBatch::default();
        batch.push((), &[b"on", b"e"]);
        batch.push((), &[b"two"]);
        assert!(mailbox.put_packets(&mut batch));
        assert!(batch.is_empty());
        batch.push((), &[b"three"]);
        batch.push((), &[b"four"]);
        assert!(!mailbox.put_packets(&mut batch));
        let mut taken = PacketBatch::default();
        mailbox.take(&mut taken, &mut Handover::default());
        let mut seen = Vec::new();
        taken.for_each(|(), packet| seen.push(packet.to_vec()));
        assert_eq!(seen, [b"one", b"two"]);
    }
}
