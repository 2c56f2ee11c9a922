//! One server worker's loop.
//!
//! A turn: wait until something is there, read the UDP socket, run timers, write the TUN, read the
//! TUN, take what other workers and the control side left, then send. Every source has a budget, so
//! that none starves another; while the UDP socket is full the TUN is not read, because what it
//! holds would have nowhere to go.

use std::io;
use std::ops::ControlFlow;
use std::sync::Arc;
use std::time::Instant;

use qdt_proto::datagram::SessionId;
use qdt_proto::http3::code;

use super::WorkerExit;
use super::admission::Admission;
use super::app::{REPLACED, ServerApp, Shared};
use super::inbox::{Order, PacketBatch};
use super::packets::Waited;
use crate::clock;
use crate::counters::{DropReason, UdpReject, WorkerCounters};
use crate::engine::{Engine, Handover};
use crate::http3_streams::error_code;
use crate::limits::SessionLimits;
use crate::tun_port::{READ_BUFFER, SEALED_READ, TunPort};
use crate::udp::{DatagramPort, UdpPort};
use crate::wake::{Ready, Sources};
use crate::worker_thread;

/// See the module.
pub(super) struct ServerWorker<A: Admission, P = UdpPort> {
    pub(super) engine: Engine<ServerApp<A>, P>,
    pub(super) app: ServerApp<A>,
    pub(super) shared: Arc<Shared>,
    /// TUN reads per turn.
    pub(super) tun_budget: usize,
}

/// What a turn works with; it keeps its memory from one to the next.
pub(super) struct TurnBuffers {
    read: Vec<u8>,
    /// What other workers get, by their number.
    elsewhere: Vec<PacketBatch>,
    taken: PacketBatch,
    datagrams: Handover,
}

impl TurnBuffers {
    pub(super) fn new(shared: &Shared) -> Self {
        Self {
            read: vec![0; READ_BUFFER],
            elsewhere: shared
                .inboxes
                .iter()
                .map(|_| PacketBatch::default())
                .collect(),
            taken: PacketBatch::default(),
            datagrams: Handover::default(),
        }
    }
}

/// Why a turn is the last one.
pub(super) enum LastTurn {
    /// An order says so, and what to tell the clients.
    Drain(&'static str),
    /// The TUN cannot be read any more.
    TunRead(io::Error),
}

impl<A: Admission> ServerWorker<A> {
    /// Runs until a drain order or the end of the TUN device.
    pub(super) fn run(&mut self) -> WorkerExit {
        worker_thread::begin();
        let mut buffers = TurnBuffers::new(&self.shared);
        // What a budget left unread keeps the loop from sleeping.
        let mut busy = false;
        loop {
            let ready = match self.wait(busy) {
                Ok(ready) => ready,
                Err(error) => return WorkerExit::Failed(format!("poll: {error}")),
            };
            match self.turn(clock::now(), ready, &mut buffers) {
                ControlFlow::Continue(more) => busy = more,
                ControlFlow::Break(LastTurn::Drain(reason)) => return self.leave(reason),
                ControlFlow::Break(LastTurn::TunRead(error)) => return WorkerExit::TunRead(error),
            }
        }
    }

    /// Tells every client that it ends, and why.
    pub(super) fn leave(&mut self, reason: &'static str) -> WorkerExit {
        let counters = self.app.path.counters.clone();
        self.engine
            .leave(&mut self.app, clock::now, reason, &counters);
        // Sessions that were granted meanwhile end, too.
        for order in self.shared.inboxes[self.app.worker].take_orders() {
            if let Order::Answer(verdict) = order {
                self.app.answer(&mut self.engine, clock::now(), verdict);
            }
        }
        self.flush_tun(&counters);
        WorkerExit::Drained
    }

    fn wait(&self, busy: bool) -> io::Result<Ready> {
        let sources = Sources {
            udp: self.engine.source(),
            udp_is_full: self.engine.is_blocked(),
            bell: self.shared.inboxes[self.app.worker].source(),
            tun: self
                .app
                .path
                .tun
                .as_ref()
                .filter(|_| !self.engine.is_blocked())
                .map(TunPort::source),
            reads_tun: true,
        };
        sources.wait(busy, self.engine.next_deadline())
    }
}

impl<A: Admission, P: DatagramPort> ServerWorker<A, P> {
    /// Does what is to be done at `now`. Returns whether a budget left something unread, or breaks
    /// where no further turn may follow.
    pub(super) fn turn(
        &mut self,
        now: Instant,
        ready: Ready,
        buffers: &mut TurnBuffers,
    ) -> ControlFlow<LastTurn, bool> {
        let TurnBuffers {
            read: buffer,
            elsewhere,
            taken,
            datagrams,
        } = buffers;
        let mut busy = false;
        let counters = self.app.path.counters.clone();
        if ready.udp {
            busy |= self.engine.receive(&mut self.app, now, &counters);
            self.hand_over_datagrams();
        }
        self.engine.expire(&mut self.app, now);
        // What the kernel answers to these packets leaves together with their acknowledgement.
        let answered = self.flush_tun(&counters);
        if (ready.tun || answered) && !self.engine.is_blocked() {
            match self.read_tun(now, buffer, elsewhere) {
                Ok(more) => {
                    self.app.shares.queue_read(now, !more);
                    busy |= more;
                }
                Err(error) => return ControlFlow::Break(LastTurn::TunRead(error)),
            }
        } else if !self.engine.is_blocked() {
            // Nobody said that there is something to read.
            self.app.shares.queue_read(now, true);
        }
        if !self.app.peer_to_peer.is_empty() {
            std::mem::swap(&mut self.app.peer_to_peer, taken);
            taken.for_each(|packet| {
                self.app.send_to_client(
                    &mut self.engine,
                    now,
                    packet,
                    Waited::Elsewhere,
                    elsewhere,
                );
            });
            taken.clear();
        }
        self.hand_over(elsewhere);
        if ready.bell {
            let inbox = &self.shared.inboxes[self.app.worker];
            inbox.silence();
            inbox.take_packets(taken);
            let orders = inbox.take_orders();
            inbox.take_datagrams(datagrams);
            self.engine.take_over(&mut self.app, now, datagrams);
            taken.for_each(|packet| {
                self.app
                    .send_to_client(&mut self.engine, now, packet, Waited::Elsewhere, &mut []);
            });
            taken.clear();
            let mut drain = None;
            for order in orders {
                match order {
                    Order::EndSession(id, reason) => self.end_session(now, id, reason),
                    Order::SetLimits(id, limits) => self.set_limits(now, id, limits),
                    Order::Answer(verdict) => self.app.answer(&mut self.engine, now, verdict),
                    Order::UseTls(tls) => self.app.door.use_tls(*tls),
                    Order::Drain(reason) => drain = Some(reason),
                }
            }
            if let Some(reason) = drain {
                return ControlFlow::Break(LastTurn::Drain(reason));
            }
        }
        self.engine.flush(&mut self.app, now, &counters);
        while let Some(id) = self.app.replaced.pop() {
            self.end_session(now, id, REPLACED);
            self.engine.flush(&mut self.app, now, &counters);
        }
        self.flush_tun(&counters);
        if self.app.door.crowd_has_left() {
            worker_thread::give_free_memory_back();
        }
        ControlFlow::Continue(busy)
    }

    fn flush_tun(&mut self, counters: &WorkerCounters) -> bool {
        let tun = self.app.path.tun.as_mut();
        tun.is_some_and(|tun| tun.flush(counters))
    }

    /// Reads the TUN within its budget; true when there may be more.
    fn read_tun(
        &mut self,
        now: Instant,
        buffer: &mut [u8],
        elsewhere: &mut [PacketBatch],
    ) -> io::Result<bool> {
        let counters = self.app.path.counters.clone();
        let mut more = true;
        self.app.path.arena.rewind();
        for reads in 0..self.tun_budget {
            // What is sealed so far leaves first, so that its memory can be used again.
            if reads > 0 && self.app.path.arena.has_less_than(SEALED_READ) {
                break;
            }
            let Some(tun) = &self.app.path.tun else {
                break;
            };
            match tun.read(buffer, &counters) {
                Ok(len) => self.app.send_to_client(
                    &mut self.engine,
                    now,
                    &mut buffer[..len],
                    Waited::InTun,
                    elsewhere,
                ),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    more = false;
                    break;
                }
                Err(error) => return Err(error),
            }
        }
        Ok(more)
    }

    /// Gives other workers what this one read for them.
    fn hand_over(&self, elsewhere: &mut [PacketBatch]) {
        for (inbox, batch) in self.shared.inboxes.iter().zip(elsewhere) {
            if !batch.is_empty() {
                let refused = inbox.give(batch);
                self.app
                    .path
                    .counters
                    .dropped_many(DropReason::QueueFull, refused as u64);
            }
        }
    }

    /// Gives other workers the datagrams that the kernel had merged into what this one received.
    fn hand_over_datagrams(&mut self) {
        let (inboxes, counters) = (&self.shared.inboxes, &self.app.path.counters);
        self.engine.hand_over(|worker, datagrams| {
            let count = datagrams.len();
            if inboxes[worker].give_datagrams(datagrams) {
                counters.udp_handed_over(count);
            } else {
                counters.udp_rejected(UdpReject::QueueFull, count);
            }
        });
    }

    fn set_limits(&mut self, now: Instant, id: SessionId, limits: SessionLimits) {
        if let Some(served) = self.app.sessions.by_id(id) {
            served.set_limits(now, limits);
        }
    }

    fn end_session(&mut self, now: Instant, id: SessionId, reason: &'static str) {
        if let Some(carrier) = self.app.sessions.by_id(id).map(|served| served.carrier)
            && let Some(link) = carrier.link(&mut self.engine)
        {
            link.app.ends_because(reason);
            link.quic
                .close(now, error_code(code::H3_NO_ERROR), reason.as_bytes().into());
            carrier.touch(&mut self.engine);
        }
    }
}
