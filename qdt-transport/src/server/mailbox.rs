//! What reaches a worker from other threads: commands from the control side, packets that the
//! kernel put into another worker's TUN queue, and datagrams that it merged into what another
//! worker's socket got.
//!
//! Packets come in batches: the giver appends a whole turn's worth under one lock, the taker swaps
//! the buffer for an empty one.

use std::mem;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};

use qdt_proto::datagram::SessionId;

use super::pending::Verdict;
use crate::batch::Batch;
use crate::engine::Handover;
use crate::limits::SessionLimits;
use crate::tls::ServerTls;
use crate::wake::Waker;

/// Bytes that may wait in one mailbox, whatever the number of packets.
const MAX_BYTES: usize = 16 << 20;
/// Bytes of datagrams that may wait: as much as a socket holds, less what waits there.
const MAX_DATAGRAM_BYTES: usize = 4 << 20;

/// A command from outside the worker.
#[derive(Debug)]
pub(super) enum Command {
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

/// TUN packets as they were read, virtio-net header included. As much is kept as may wait.
pub(super) type PacketBatch = Batch<(), MAX_BYTES>;

/// See the module.
#[derive(Debug)]
pub(super) struct Mailbox {
    waker: Waker,
    /// How often the worker has been woken.
    wakeups: AtomicU64,
    max_packets: usize,
    commands: Mutex<Vec<Command>>,
    packets: Mutex<PacketBatch>,
    datagrams: Mutex<Handover>,
}

impl Mailbox {
    /// A mailbox that holds at most `max_packets` packets.
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

    /// Returns what wakes the worker when somebody left something.
    pub(super) fn waker(&self) -> &Waker {
        &self.waker
    }

    /// Leaves a command.
    pub(super) fn send(&self, command: Command) {
        self.commands
            .lock()
            .expect("no holder panics")
            .push(command);
        self.waker.wake();
    }

    /// Leaves packets and empties what held them. Returns false where they did not fit.
    pub(super) fn give_packets(&self, packets: &mut PacketBatch) -> bool {
        self.give(&self.packets, packets, MAX_BYTES, self.max_packets)
    }

    /// Leaves datagrams and empties what held them. Returns false where they did not fit.
    pub(super) fn give_datagrams(&self, datagrams: &mut Handover) -> bool {
        self.give(&self.datagrams, datagrams, MAX_DATAGRAM_BYTES, usize::MAX)
    }

    fn give<M: Copy, const KEPT: usize>(
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

    /// Wakes the worker for nothing but its wakeup.
    pub(super) fn wake(&self) {
        self.waker.wake();
    }

    /// How often the worker has been woken.
    pub(super) fn wakeups(&self) -> u64 {
        self.wakeups.load(Ordering::Relaxed)
    }

    /// Counts a wakeup of the worker.
    pub(super) fn count_wakeup(&self) {
        // The worker is the only one that writes it.
        let wakeups = self.wakeups.load(Ordering::Relaxed) + 1;
        self.wakeups.store(wakeups, Ordering::Relaxed);
    }

    /// Takes the commands.
    pub(super) fn take_commands(&self) -> Vec<Command> {
        mem::take(&mut *self.commands.lock().expect("no holder panics"))
    }

    /// Takes packets and datagrams, leaving what is empty in their place.
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
        assert!(mailbox.give_packets(&mut batch));
        assert!(batch.is_empty());
        batch.push((), &[b"three"]);
        batch.push((), &[b"four"]);
        assert!(!mailbox.give_packets(&mut batch));
        let mut taken = PacketBatch::default();
        mailbox.take(&mut taken, &mut Handover::default());
        let mut seen = Vec::new();
        taken.for_each(|(), packet| seen.push(packet.to_vec()));
        assert_eq!(seen, [b"one", b"two"]);
    }
}
