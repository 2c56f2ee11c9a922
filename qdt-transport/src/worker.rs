//! The loop of a packet worker, the same for both roles.
//!
//! A turn: wait until something is there, read the UDP socket, run timers, write the TUN, read the
//! TUN, take what other threads left, then send. Every source has a budget, so that none starves
//! another; while the UDP socket is full the TUN is not read, because what it holds would have
//! nowhere to go. That the device is gone is noticed then, too.

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
    /// It was told to, and what to tell its peers.
    Told(&'static str),
    /// The TUN cannot be read any more.
    Tun(io::Error),
    /// The system does not let it wait.
    Poll(io::Error),
}

/// What a role does in a turn besides what its connections ask for.
pub(crate) trait Role<P: DatagramPort>: Application {
    fn path(&mut self) -> &mut DataPath;

    /// Returns how often the TUN may be read in a turn; 0 while nothing can be sent.
    fn tun_budget(&self) -> usize;

    /// Passes on what the UDP socket brought for other workers.
    fn hand_over(&mut self, _engine: &mut Engine<Self, P>) {}

    /// Sends one packet or super-packet of the TUN.
    fn send(&mut self, engine: &mut Engine<Self, P>, now: Instant, read: &mut [u8]);

    /// Takes in whether the TUN is empty after its turn; `None` where it was not to be read.
    fn after_tun(&mut self, _engine: &mut Engine<Self, P>, _now: Instant, _empty: Option<bool>) {}

    /// Takes in that the TUN cannot be read any more.
    fn tun_failed(&mut self, error: io::Error) -> ControlFlow<Stop>;

    /// Does what other threads ask for.
    fn woken(&mut self, engine: &mut Engine<Self, P>, now: Instant) -> ControlFlow<Stop>;

    /// Takes in that the connections have sent what they had to send.
    fn after_sending(&mut self, _engine: &mut Engine<Self, P>, _now: Instant) {}
}

/// See the module.
pub(crate) struct Worker<R: Role<P>, P: DatagramPort = UdpPort> {
    pub(crate) engine: Engine<R, P>,
    pub(crate) role: R,
    /// What other threads wake it by.
    waker: Waker,
    /// What one TUN read brings.
    buffer: Vec<u8>,
}

impl<R: Role<UdpPort>> Worker<R> {
    /// Runs turns until one is the last.
    pub(crate) fn run(&mut self) -> Stop {
        worker_thread::begin();
        // What a budget left unread keeps the loop from sleeping.
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
    /// Makes a worker that has no thread yet.
    pub(crate) fn new(engine: Engine<R, P>, role: R, waker: Waker) -> Self {
        let buffer = vec![0; READ_BUFFER];
        Self {
            engine,
            role,
            waker,
            buffer,
        }
    }

    /// Returns whether the TUN is read now.
    pub(crate) fn reads_tun(&self) -> bool {
        self.role.tun_budget() > 0 && !self.engine.is_blocked()
    }

    /// Does what is to be done at `now`. Returns whether a budget left something unread, or breaks
    /// where no further turn may follow.
    pub(crate) fn turn(&mut self, now: Instant, ready: Ready) -> ControlFlow<Stop, bool> {
        let mut busy = false;
        if ready.udp {
            busy |= self.engine.receive(&mut self.role, now);
            self.role.hand_over(&mut self.engine);
        }
        self.engine.expire(&mut self.role, now);
        // What the kernel answers to these packets leaves together with their acknowledgement.
        let is_answered = self.role.path().flush_tun();
        let mut is_empty = None;
        if self.reads_tun() {
            let more = (ready.tun || is_answered) && self.read_tun(now)?;
            busy |= more;
            is_empty = Some(!more);
        } else if ready.tun {
            // The device has an error, which reading it puts into words. A packet that comes
            // instead is lost, as it would be with the device.
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

    /// Reads the TUN within its budget, and returns whether there may be more.
    fn read_tun(&mut self, now: Instant) -> ControlFlow<Stop, bool> {
        self.role.path().arena.rewind();
        for reads in 0..self.role.tun_budget() {
            // What is sealed so far leaves first, so that its memory can be used again.
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

    /// Reads one packet or super-packet into the buffer. Returns its length, or `None` where there
    /// is none.
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
