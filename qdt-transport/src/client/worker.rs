//! The client worker's loop: the same turn as a server's, with commands instead of other workers'
//! packets.
//!
//! While no connection carries the tunnel the TUN is not read: the kernel keeps what programs sent,
//! and it goes out when the tunnel is back. That the device is gone is noticed then, too.

use std::io;
use std::ops::ControlFlow;
use std::sync::Arc;
use std::sync::mpsc::Receiver;
use std::time::Instant;

use quinn_proto::{Endpoint, EndpointConfig};

use super::app::{ClientApp, Phase};
use super::{AttemptId, ClientCommand, ClientEvent, ClientSettings};
use crate::clock;
use crate::counters::WorkerCounters;
use crate::engine::Engine;
use crate::tun_port::{READ_BUFFER, SEALED_READ, TunPort};
use crate::udp::{DatagramPort, Steering, UdpPort};
use crate::wake::{Bell, Ready, Sources};
use crate::worker_thread;

/// TUN reads per turn: one super-packet is 50 segments, plain packets are few bytes each.
const TUN_BUDGET: usize = 32;

/// See the module.
pub(super) struct ClientLoop<P = UdpPort> {
    pub(super) engine: Engine<ClientApp, P>,
    pub(super) app: ClientApp,
    pub(super) bell: Bell,
    pub(super) orders: Receiver<ClientCommand>,
}

impl ClientLoop {
    /// Runs until it is told to stop.
    pub(super) fn run(mut self) {
        worker_thread::begin();
        let mut buffer = vec![0; READ_BUFFER];
        let mut busy = false;
        loop {
            let ready = match self.wait(busy) {
                Ok(ready) => ready,
                Err(error) => {
                    let error = format!("poll: {error}");
                    self.app.report(ClientEvent::Broken { error });
                    return;
                }
            };
            match self.turn(clock::now(), ready, &mut buffer) {
                ControlFlow::Continue(more) => busy = more,
                ControlFlow::Break(()) => return self.leave(),
            }
        }
    }

    /// Ends every connection, none of which is reported.
    fn leave(&mut self) {
        let counters = self.app.path.counters.clone();
        self.engine
            .links()
            .for_each(|link| link.app.phase = Phase::Over);
        self.engine
            .leave(&mut self.app, clock::now, "client stopped", &counters);
    }

    fn wait(&self, busy: bool) -> io::Result<Ready> {
        let sources = Sources {
            udp: self.engine.source(),
            udp_is_full: self.engine.is_blocked(),
            bell: self.bell.source(),
            tun: self.app.path.tun.as_ref().map(TunPort::source),
            reads_tun: self.reads_tun(),
        };
        sources.wait(busy, self.engine.next_deadline())
    }
}

impl<P: DatagramPort> ClientLoop<P> {
    /// Makes a worker before it has a thread. QUIC's random numbers come from `seed`, or from the
    /// system where there is none.
    pub(super) fn new(
        now: Instant,
        settings: ClientSettings,
        port: P,
        seed: Option<[u8; 32]>,
        bell: Bell,
        orders: Receiver<ClientCommand>,
        report: Box<dyn Fn(ClientEvent) + Send>,
    ) -> Self {
        let mut config = EndpointConfig::default();
        config.rng_seed(seed);
        let endpoint = Endpoint::new(Arc::new(config), None, true, None);
        Self {
            engine: Engine::new(now, endpoint, port, Steering::ALONE),
            app: ClientApp::new(settings, report, now),
            bell,
            orders,
        }
    }

    /// Does what is to be done at `now`, with a `buffer` of [`READ_BUFFER`] bytes. Returns whether
    /// a budget left something unread, or breaks when the worker was told to stop.
    pub(super) fn turn(
        &mut self,
        now: Instant,
        ready: Ready,
        buffer: &mut [u8],
    ) -> ControlFlow<(), bool> {
        let mut more = false;
        let counters = self.app.path.counters.clone();
        if ready.udp {
            more |= self.engine.receive(&mut self.app, now, &counters);
        }
        self.engine.expire(&mut self.app, now);
        // What the kernel answers to these packets leaves together with their acknowledgement.
        let answered = self.flush_tun(&counters);
        if self.reads_tun() {
            if ready.tun || answered {
                more |= self.read_tun(buffer);
            }
        } else if ready.tun {
            self.check_tun(buffer);
        }
        if ready.bell {
            self.bell.silence();
            self.obey(now)?;
        }
        self.engine.flush(&mut self.app, now, &counters);
        self.flush_tun(&counters);
        ControlFlow::Continue(more)
    }

    fn flush_tun(&mut self, counters: &WorkerCounters) -> bool {
        self.app
            .path
            .tun
            .as_mut()
            .is_some_and(|tun| tun.flush(counters))
    }

    /// Whether the TUN is read: not while there is nowhere to send to.
    pub(super) fn reads_tun(&self) -> bool {
        self.app.tunnels.has_active() && !self.engine.is_blocked()
    }

    fn read_tun(&mut self, buffer: &mut [u8]) -> bool {
        let counters = self.app.path.counters.clone();
        self.app.path.arena.rewind();
        for reads in 0..TUN_BUDGET {
            // What is sealed so far leaves first, so that its memory can be used again.
            if reads > 0 && self.app.path.arena.has_less_than(SEALED_READ) {
                return true;
            }
            let Some(tun) = &self.app.path.tun else {
                return false;
            };
            match tun.read(buffer, &counters) {
                Ok(len) => self
                    .app
                    .send_to_server(&mut self.engine, &mut buffer[..len]),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return false,
                Err(error) => {
                    self.lose_tun(&error);
                    return false;
                }
            }
        }
        true
    }

    /// The kernel has an error for a device that is not read now: reading puts it into words. A
    /// packet that comes instead is lost, as it would be with the device.
    fn check_tun(&mut self, buffer: &mut [u8]) {
        let read = self
            .app
            .path
            .tun
            .as_ref()
            .map(|tun| tun.read(buffer, &self.app.path.counters));
        if let Some(Err(error)) = read
            && error.kind() != io::ErrorKind::WouldBlock
        {
            self.lose_tun(&error);
        }
    }

    fn lose_tun(&mut self, error: &io::Error) {
        self.app.path.tun = None;
        self.app.report(ClientEvent::TunFailed {
            error: error.to_string(),
        });
    }

    /// Does what it was told; breaks when it was told to stop.
    fn obey(&mut self, now: Instant) -> ControlFlow<()> {
        while let Ok(command) = self.orders.try_recv() {
            match command {
                ClientCommand::Dial(dial) => {
                    let (endpoint, port) = self.engine.endpoint_and_port();
                    if let Some(accepted) = self.app.dial(now, endpoint, port, dial) {
                        self.engine.insert(now, accepted);
                    }
                }
                ClientCommand::Adopt(attempt) => self.adopt(now, attempt),
                ClientCommand::Hangup(attempt) => self.hang_up(now, |id| id == attempt),
                ClientCommand::AttachTun(queue) => self.app.path.tun = Some(TunPort::new(queue)),
                ClientCommand::Stop => return ControlFlow::Break(()),
            }
        }
        ControlFlow::Continue(())
    }

    fn adopt(&mut self, now: Instant, attempt: AttemptId) {
        let found = self.engine.links().find_map(|link| match link.app.phase {
            Phase::Established(tunnel, _) if link.app.id == attempt => Some((link, tunnel)),
            _ => None,
        });
        let Some((link, tunnel)) = found else {
            return;
        };
        link.wake_at(now);
        let handle = link.handle;
        self.engine.touch(handle);
        if let Some(before) = self.app.tunnels.activate(tunnel)
            && let Some(link) = before.link(&mut self.engine)
        {
            self.app.hang_up(now, link);
            before.touch(&mut self.engine);
        }
    }

    fn hang_up(&mut self, now: Instant, which: impl Fn(AttemptId) -> bool) {
        let handles: Vec<_> = self
            .engine
            .links()
            .filter(|link| which(link.app.id))
            .map(|link| link.handle)
            .collect();
        for handle in handles {
            if let Some(link) = self.engine.link(handle) {
                self.app.hang_up(now, link);
                self.engine.touch(handle);
            }
        }
    }
}
