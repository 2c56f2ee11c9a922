//! A server's worker without a thread, in a time and on a network of the test's.

use std::sync::Arc;
use std::time::Instant;

use super::worker::ServerWorker;
use super::{Admission, ServerSettings, making};
use crate::virtual_pair::{VirtualPort, run_turns};

/// See the module.
pub(crate) struct VirtualServer<A: Admission> {
    worker: ServerWorker<A, VirtualPort>,
}

impl<A: Admission> VirtualServer<A> {
    /// Makes the only worker of a server.
    pub(crate) fn new(
        now: Instant,
        mut settings: ServerSettings,
        admission: Arc<A>,
        port: VirtualPort,
        seed: [u8; 32],
    ) -> Self {
        let shared = making::share(&settings).expect("descriptors");
        let own = (0, port, settings.queues.remove(0));
        let worker = making::worker(now, &settings, admission, shared, own, Some(seed));
        Self { worker }
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
