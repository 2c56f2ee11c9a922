//! A client's worker without a thread, in a time and on a network of the test's.

use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::Instant;

use super::app::ClientApp;
use super::{ClientCommand, ClientEvent, ClientSettings, worker};
use crate::virtual_pair::{VirtualPort, run_turns};
use crate::wake::Waker;
use crate::worker::Worker;

/// See the module.
pub(crate) struct VirtualClient {
    worker: Worker<ClientApp, VirtualPort>,
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
        let waker = Waker::new().expect("eventfd");
        let role = ClientApp::new(now, settings, orders, report);
        Self {
            worker: worker::make(now, role, waker, port, Some(seed)),
            commands,
            events,
        }
    }

    /// Runs turns at `now` until nothing is left to do.
    pub(crate) fn turn(&mut self, now: Instant) {
        run_turns(&mut self.worker, now);
    }

    /// Returns when something is due next.
    pub(crate) fn next_deadline(&self) -> Option<Instant> {
        self.worker.engine.next_deadline()
    }
}
