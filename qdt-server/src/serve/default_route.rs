//! The tracker of the host's default route, whose interface NAT uses where none is configured.
//!
//! Invariant: every report of changed routes leads to a read of them, at the latest with the first
//! report after [`PAUSE_FACTOR`] times the duration of the read before: a full internet routing
//! table takes seconds to read.

use std::time::{Duration, Instant};

use qdt_host::{Changes, Network};
use tracing::warn;

/// The pause after a read, as a multiple of its duration.
const PAUSE_FACTOR: u32 = 20;
/// The least time between two changes of the interface, for a default route that flaps.
const HOLD_DOWN: Duration = Duration::from_secs(1);

#[derive(Debug)]
pub(super) struct DefaultRoute {
    /// Whether routes may have changed since the last read.
    stale: bool,
    next_read: Instant,
}

impl DefaultRoute {
    pub(super) fn new() -> Self {
        Self {
            stale: true,
            next_read: Instant::now(),
        }
    }

    /// Reads the interface of the default route of `network`, if it may have changed and the pause
    /// is over.
    pub(super) async fn read(
        &mut self,
        network: &impl Network,
        changes: Changes,
    ) -> Option<String> {
        self.stale |= changes.routes;
        let started = Instant::now();
        if !self.stale || started < self.next_read {
            return None;
        }
        let found = network.default_route_interface().await;
        self.next_read = Instant::now() + started.elapsed() * PAUSE_FACTOR;
        match found {
            Ok(found) => {
                self.stale = false;
                found
            }
            Err(error) => {
                warn!(err = %error, "the default route cannot be read");
                None
            }
        }
    }

    /// Starts the hold-down after a change of the interface.
    pub(super) fn hold_down(&mut self) {
        self.next_read = self.next_read.max(Instant::now() + HOLD_DOWN);
    }
}
