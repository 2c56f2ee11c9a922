//! A server's worker without a thread, in a time and on a network of the test's.

use std::ops::ControlFlow;
use std::sync::Arc;
use std::time::Instant;

use super::making::{self, Parts};
use super::worker::{ServerWorker, TurnBuffers};
use super::{Admission, ServerSettings};
use crate::virtual_pair::VirtualPort;
use crate::wake::Ready;

/// See the module.
pub(crate) struct VirtualServer<A: Admission> {
    worker: ServerWorker<A, VirtualPort>,
    buffers: TurnBuffers,
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
        let parts = Parts {
            worker: 0,
            port,
            tun: settings.queues.remove(0),
            now,
            seed: Some(seed),
        };
        Self {
            buffers: TurnBuffers::new(&shared),
            worker: making::worker(&settings, admission, shared, parts),
        }
    }

    /// Runs turns at `now` until nothing is left to do.
    pub(crate) fn turn(&mut self, now: Instant) {
        let ready = Ready {
            udp: true,
            bell: true,
            tun: true,
        };
        loop {
            match self.worker.turn(now, ready, &mut self.buffers) {
                ControlFlow::Continue(true) => {}
                ControlFlow::Continue(false) => return,
                ControlFlow::Break(_) => panic!("nobody told the server to stop"),
            }
        }
    }

    /// Returns when something is due next.
    pub(crate) fn next_deadline(&self) -> Option<Instant> {
        self.worker.engine.next_deadline()
    }
}
