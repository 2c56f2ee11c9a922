//! A server's worker without a thread, in the test's time and network.

use std::sync::Arc;
use std::time::Instant;

use super::worker::ServerWorker;
use super::{Admission, ServerSettings, build};
use crate::virtual_pair::{VirtualPort, run_turns};

pub(crate) struct VirtualServer<A: Admission> {
    worker: ServerWorker<A, VirtualPort>,
}

impl<A: Admission> VirtualServer<A> {
    /// Returns the only worker of a server.
    pub(crate) fn new(
        now: Instant,
        mut settings: ServerSettings,
        admission: Arc<A>,
        port: VirtualPort,
        seed: [u8; 32],
    ) -> Self {
        let shared = build::build_shared(&settings).expect("descriptors");
        let own = (0, port, settings.queues.remove(0));
        let worker = build::build_worker(now, &settings, admission, shared, own, Some(seed));
        Self { worker }
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
