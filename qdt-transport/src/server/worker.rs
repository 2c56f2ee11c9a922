//! The server's part of a worker's turn: packets between clients and workers, and commands.

use std::io;
use std::mem;
use std::ops::ControlFlow;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::Instant;

use qdt_proto::datagram::SessionId;
use qdt_proto::http3::code;

use super::admission::Admission;
use super::app::{REPLACED, ServerApp};
use super::mailbox::Command;
use super::packets::Origin;
use super::{FAILED, WorkerExit};
use crate::clock;
use crate::counters::{DropReason, UdpReject};
use crate::engine::Engine;
use crate::http3_streams::error_code;
use crate::inner::DataPath;
use crate::udp::{DatagramPort, UdpPort};
use crate::worker::{Role, Stop, Worker};
use crate::worker_thread;

pub(super) type ServerWorker<A, P = UdpPort> = Worker<ServerApp<A>, P>;

/// Runs a worker to its end and closes its connections; their clients would otherwise notice after
/// seconds.
pub(super) fn run<A: Admission>(worker: &mut ServerWorker<A>) -> WorkerExit {
    let (reason, exit) = match catch_unwind(AssertUnwindSafe(|| worker.run())) {
        Ok(Stop::Commanded(reason)) => (reason, WorkerExit::Drained),
        Ok(Stop::Tun(error)) => (FAILED, WorkerExit::TunRead(error)),
        Ok(Stop::Poll(error)) => (FAILED, WorkerExit::Failed(format!("poll: {error}"))),
        Err(_) => (FAILED, WorkerExit::Panicked),
    };
    // After a panic only as far as possible; the process ends in any case.
    let drained = catch_unwind(AssertUnwindSafe(|| drain(worker, reason)));
    drained.map_or(WorkerExit::Panicked, |()| exit)
}

fn drain<A: Admission>(worker: &mut ServerWorker<A>, reason: &'static str) {
    let Worker { engine, role, .. } = worker;
    engine.drain(role, clock::now, reason);
    // Sessions granted in the meantime end too.
    for command in role.shared.mailboxes[role.worker].take_commands() {
        if let Command::Answer(answer) = command {
            role.answer(engine, clock::now(), answer);
        }
    }
    role.path.flush_tun();
}

impl<A: Admission, P: DatagramPort> Role<P> for ServerApp<A> {
    fn path(&mut self) -> &mut DataPath {
        &mut self.path
    }

    fn tun_budget(&self) -> usize {
        self.tun_budget
    }

    fn hand_over(&mut self, engine: &mut Engine<Self, P>) {
        let (mailboxes, counters) = (&self.shared.mailboxes, &self.path.counters);
        engine.hand_over(|worker, datagrams| {
            let count = datagrams.len();
            if mailboxes[worker].put_datagrams(datagrams) {
                counters.udp_handed_over(count);
            } else {
                counters.udp_rejected(UdpReject::QueueFull, count);
            }
        });
    }

    fn send(&mut self, engine: &mut Engine<Self, P>, now: Instant, read: &mut [u8]) {
        self.send_to_client(engine, now, read, Origin::Tun);
    }

    /// Sends packets between clients, and hands over packets that were read for other workers.
    fn after_tun(&mut self, engine: &mut Engine<Self, P>, now: Instant, is_empty: Option<bool>) {
        if let Some(is_empty) = is_empty {
            self.shares.queue_read(now, is_empty);
        }
        let mut packets = mem::take(&mut self.peer_to_peer);
        packets.for_each(|(), packet| self.send_to_client(engine, now, packet, Origin::Peer));
        packets.clear();
        self.peer_to_peer = packets;
        for (mailbox, batch) in self.shared.mailboxes.iter().zip(&mut self.to_workers) {
            let count = batch.len() as u64;
            if count > 0 && !mailbox.put_packets(batch) {
                let counters = &self.path.counters;
                counters.dropped_many(DropReason::QueueFull, count);
            }
        }
    }

    fn tun_failed(&mut self, error: io::Error) -> ControlFlow<Stop> {
        ControlFlow::Break(Stop::Tun(error))
    }

    fn woken(&mut self, engine: &mut Engine<Self, P>, now: Instant) -> ControlFlow<Stop> {
        let (mut packets, mut datagrams) = mem::take(&mut self.from_workers);
        let mailbox = &self.shared.mailboxes[self.worker];
        mailbox.count_wakeup();
        mailbox.take(&mut packets, &mut datagrams);
        let commands = mailbox.take_commands();
        engine.take_over(self, now, &mut datagrams);
        packets
            .for_each(|(), packet| self.send_to_client(engine, now, packet, Origin::OtherWorker));
        packets.clear();
        datagrams.clear();
        self.from_workers = (packets, datagrams);
        let mut stop = ControlFlow::Continue(());
        for command in commands {
            match command {
                Command::EndSession(id, reason) => self.end_session(engine, now, id, reason),
                Command::SetLimits(id, limits) => {
                    if let Some(served) = self.sessions.by_id(id) {
                        served.set_limits(now, limits);
                    }
                }
                Command::Answer(answer) => self.answer(engine, now, answer),
                Command::UseTls(tls) => self.gate.use_tls(*tls),
                Command::Drain(reason) => stop = ControlFlow::Break(Stop::Commanded(reason)),
            }
        }
        stop
    }

    fn after_sending(&mut self, engine: &mut Engine<Self, P>, now: Instant) {
        while let Some(id) = self.replaced.pop() {
            self.end_session(engine, now, id, REPLACED);
            engine.flush(self, now);
        }
        if self.gate.burst_has_ended() {
            self.path.flush_tun();
            worker_thread::trim_heap();
        }
    }
}

impl<A: Admission> ServerApp<A> {
    fn end_session(
        &mut self,
        engine: &mut Engine<Self, impl DatagramPort>,
        now: Instant,
        id: SessionId,
        reason: &'static str,
    ) {
        if let Some(carrier) = self.sessions.by_id(id).map(|served| served.carrier)
            && let Some(link) = carrier.link(engine)
        {
            link.app.set_close_reason(reason);
            let code = error_code(code::H3_NO_ERROR);
            link.quic.close(now, code, reason.as_bytes().into());
            carrier.touch(engine);
        }
    }
}
