//! A client's worker without a thread, in the test's time and network.

use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::Instant;

use super::app::ClientApp;
use super::{ClientCommand, ClientEvent, ClientSettings, worker};
use crate::virtual_pair::{VirtualPort, run_turns};
use crate::wake::Waker;
use crate::worker::Worker;

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
        let (commands, command_queue) = channel();
        let (report, events) = channel();
        let report = Box::new(move |event| {
            let _ = report.send(event);
        });
        let waker = Waker::new().expect("eventfd");
        let role = ClientApp::new(now, settings, command_queue, report);
        Self {
            worker: worker::build(now, role, waker, port, Some(seed)),
            commands,
            events,
        }
    }

    /// Runs turns at `now` until nothing is left to do.
    pub(crate) fn turn(&mut self, now: Instant) {
        run_turns(&mut self.worker, now);
    }

    /// Returns the next deadline.
    pub(crate) fn next_deadline(&self) -> Option<Instant> {
        self.worker.engine.next_deadline()
    }
}
