//! The standing queue of a connection's path, and when to signal congestion to the inner
//! connections.
//!
//! The tunnel has no congestion control of its own ([`Uncontrolled`](uncontrolled)), so the queue
//! stands in the path's bottleneck, where nobody can reorder it or take a packet out of it. Its
//! length in time follows from QUIC's acknowledgements ([`PathDelay`]). The sender then does what
//! CoDel does at a queue of its own: it marks or drops one packet now and then before it seals it,
//! so that the inner connections send less ([`CodelLaw`], [`CongestionSignal`]).
//!
//! Invariants: no clock is read (time is an argument); nothing is allocated; while the queue is
//! short, an acknowledgement costs a few comparisons and a packet one.

mod codel;
mod fair_share;
mod path_delay;
mod signal;
#[cfg(test)]
mod tests;
mod uncontrolled;

use std::time::Instant;

use codel::CodelLaw;
pub use fair_share::{FairShare, Share};
use path_delay::PathDelay;
pub use signal::CongestionSignal;
pub(crate) use uncontrolled::UncontrolledFactory;

/// Watches the queue of one path from the sender's side.
#[derive(Clone, Debug, Default)]
struct QueueWatch {
    delay: PathDelay,
    law: CodelLaw,
    /// When the newest packet that the current acknowledgement is about was sent.
    newest: Option<Instant>,
}

impl QueueWatch {
    /// Takes in that a packet sent at `sent` is acknowledged; [`Self::acknowledged`] follows after
    /// the last one.
    fn acknowledges(&mut self, sent: Instant) {
        self.newest = self.newest.max(Some(sent));
    }

    /// Takes in the end of one acknowledgement, with `in_flight` bytes left.
    fn acknowledged(&mut self, now: Instant, in_flight: u64) {
        // Of the newest packet, because the others waited at the peer until it acknowledged them.
        if let Some(sent) = self.newest.take() {
            let trip = now.saturating_duration_since(sent);
            let queue = self.delay.sample(now, trip, in_flight);
            self.law.update(now, trip, queue, self.delay.target());
        }
    }

    /// Returns how many signals were due since the path was new; `None` while none is.
    fn due(&self) -> Option<u64> {
        self.law.due()
    }
}
