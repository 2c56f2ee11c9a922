//! The loop of a packet worker, for both roles.
//!
//! A turn waits, reads the UDP socket, runs timers, writes the TUN, reads the TUN, handles what
//! other threads sent, and then sends. Every source has a budget, so that none starves another.
//!
//! Invariant: the TUN is not read while the UDP socket is full, because its packets could not be
//! sent; the end of the device is noticed even then.

use std::io;
use std::ops::ControlFlow;
use std::time::Instant;

use crate::clock;
use crate::engine::{Application, Engine};
use crate::inner::DataPath;
use crate::tun_port::{READ_BUFFER, SEALED_READ, TunPort};
use crate::udp::{DatagramPort, UdpPort};
use crate::wake::{Ready, Sources, Waker};
use crate::worker_thread;

/// Why a worker stops.
#[derive(Debug)]
pub(crate) enum Stop {
    /// By a command, with the reason for its peers.
    Commanded(&'static str),
    /// The TUN failed.
    Tun(io::Error),
    /// `poll` failed.
    Poll(io::Error),
}

/// The part of a turn that differs between client and server.
pub(crate) trait Role<P: DatagramPort>: Application {
    fn path(&mut self) -> &mut DataPath;

    /// Returns the most TUN reads per turn; 0 while nothing can be sent.
    fn tun_budget(&self) -> usize;

    /// Hands over datagrams that the UDP socket received for other workers.
    fn hand_over(&mut self, _engine: &mut Engine<Self, P>) {}

    /// Sends a packet or super-packet of the TUN.
    fn send(&mut self, engine: &mut Engine<Self, P>, now: Instant, read: &mut [u8]);

    /// Continues after the TUN's part of the turn. `_empty` is whether that emptied the queue;
    /// `None` if it was not to be read.
    fn after_tun(&mut self, _engine: &mut Engine<Self, P>, _now: Instant, _empty: Option<bool>) {}

    /// Handles the failure of the TUN.
    fn tun_failed(&mut self, error: io::Error) -> ControlFlow<Stop>;

    /// Handles what other threads sent.
    fn woken(&mut self, engine: &mut Engine<Self, P>, now: Instant) -> ControlFlow<Stop>;

    /// Continues after the connections have sent.
    fn after_sending(&mut self, _engine: &mut Engine<Self, P>, _now: Instant) {}
}

pub(crate) struct Worker<R: Role<P>, P: DatagramPort = UdpPort> {
    pub(crate) engine: Engine<R, P>,
    pub(crate) role: R,
    /// Wakes this worker.
    waker: Waker,
    /// Holds one TUN read.
    buffer: Vec<u8>,
}

impl<R: Role<UdpPort>> Worker<R> {
    /// Runs turns until the worker stops.
    pub(crate) fn run(&mut self) -> Stop {
        worker_thread::configure_thread();
        // The loop does not sleep while a budget left anything unread.
        let mut busy = false;
        loop {
            let ready = match self.wait(busy) {
                Ok(ready) => ready,
                Err(error) => return Stop::Poll(error),
            };
            match self.turn(clock::now(), ready) {
                ControlFlow::Continue(more) => busy = more,
                ControlFlow::Break(stop) => return stop,
            }
        }
    }

    fn wait(&mut self, busy: bool) -> io::Result<Ready> {
        let reads_tun = self.reads_tun();
        let sources = Sources {
            udp: self.engine.source(),
            udp_is_full: self.engine.is_blocked(),
            waker: self.waker.source(),
            tun: self.role.path().tun.as_ref().map(TunPort::source),
            reads_tun,
        };
        sources.wait(busy, self.engine.next_deadline())
    }
}

impl<P: DatagramPort, R: Role<P>> Worker<R, P> {
    /// Returns a worker without a thread.
    pub(crate) fn new(engine: Engine<R, P>, role: R, waker: Waker) -> Self {
        let buffer = vec![0; READ_BUFFER];
        Self {
            engine,
            role,
            waker,
            buffer,
        }
    }

    /// Returns whether the TUN is to be read now.
    pub(crate) fn reads_tun(&self) -> bool {
        self.role.tun_budget() > 0 && !self.engine.is_blocked()
    }

    /// Runs the turn at `now`. Returns whether a budget left anything unread, or breaks if the
    /// worker stops.
    pub(crate) fn turn(&mut self, now: Instant, ready: Ready) -> ControlFlow<Stop, bool> {
        let mut busy = false;
        if ready.udp {
            busy |= self.engine.receive(&mut self.role, now);
            self.role.hand_over(&mut self.engine);
        }
        self.engine.expire(&mut self.role, now);
        // The kernel's answers to these packets are sent together with the acknowledgement.
        let is_answered = self.role.path().flush_tun();
        let mut is_empty = None;
        if self.reads_tun() {
            let more = (ready.tun || is_answered) && self.read_tun(now)?;
            busy |= more;
            is_empty = Some(!more);
        } else if ready.tun {
            // The device has an error, which a read returns. A packet that it returns instead is
            // lost, as it would be with the device.
            self.read_packet()?;
        }
        self.role.after_tun(&mut self.engine, now, is_empty);
        if ready.waker {
            self.waker.clear();
            self.role.woken(&mut self.engine, now)?;
        }
        self.engine.flush(&mut self.role, now);
        self.role.after_sending(&mut self.engine, now);
        self.role.path().flush_tun();
        ControlFlow::Continue(busy)
    }

    /// Reads the TUN within its budget. Returns whether there may be more.
    fn read_tun(&mut self, now: Instant) -> ControlFlow<Stop, bool> {
        self.role.path().arena.rewind();
        for reads in 0..self.role.tun_budget() {
            // Send the sealed datagrams first, so that their memory is free again.
            if reads > 0 && self.role.path().arena.has_less_than(SEALED_READ) {
                break;
            }
            let Some(len) = self.read_packet()? else {
                return ControlFlow::Continue(false);
            };
            let read = &mut self.buffer[..len];
            self.role.send(&mut self.engine, now, read);
        }
        ControlFlow::Continue(true)
    }

    /// Reads one packet or super-packet into the buffer. Returns its length, or `None` if there is
    /// none.
    fn read_packet(&mut self) -> ControlFlow<Stop, Option<usize>> {
        let path = self.role.path();
        if let Some(tun) = &path.tun {
            match tun.read(&mut self.buffer, &path.counters) {
                Ok(len) => return ControlFlow::Continue(Some(len)),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(error) => self.role.tun_failed(error)?,
            }
        }
        ControlFlow::Continue(None)
    }
}
