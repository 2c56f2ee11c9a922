//! A client's worker without a thread, in a time and on a network of the test's.

use std::ops::ControlFlow;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::Instant;

use super::worker::ClientLoop;
use super::{ClientCommand, ClientEvent, ClientSettings};
use crate::tun_port::READ_BUFFER;
use crate::virtual_pair::VirtualPort;
use crate::wake::{Bell, Ready};

/// See the module.
pub(crate) struct VirtualClient {
    worker: ClientLoop<VirtualPort>,
    buffer: Vec<u8>,
    pub(crate) commands: Sender<ClientCommand>,
    pub(crate) events: Receiver<ClientEvent>,
}

impl VirtualClient {
    pub(crate) fn new(
        now: Instant,
        settings: ClientSettings,
        port: VirtualPort,
        seed: [u8; 32],
    ) -> Self {
        let (commands, orders) = channel();
        let (report, events) = channel();
        let report = Box::new(move |event| {
            let _ = report.send(event);
        });
        let bell = Bell::new().expect("eventfd");
        let worker = ClientLoop::new(now, settings, port, Some(seed), bell, orders, report);
        Self {
            worker,
            buffer: vec![0; READ_BUFFER],
            commands,
            events,
        }
    }

    /// Runs turns at `now` until nothing is left to do.
    pub(crate) fn turn(&mut self, now: Instant) {
        loop {
            let ready = Ready {
                udp: true,
                bell: true,
                tun: self.worker.reads_tun(),
            };
            match self.worker.turn(now, ready, &mut self.buffer) {
                ControlFlow::Continue(true) => {}
                ControlFlow::Continue(false) => return,
                ControlFlow::Break(()) => panic!("nobody told the client to stop"),
            }
        }
    }

    /// Returns when something is due next.
    pub(crate) fn next_deadline(&self) -> Option<Instant> {
        self.worker.engine.next_deadline()
    }
}
