//! The standing queue of a connection's path, and when to signal congestion to the inner
//! connections.
//!
//! The tunnel has no congestion control of its own ([`Uncontrolled`](uncontrolled)), so the queue
//! stands in the path's bottleneck, out of our reach. Its length in time follows from QUIC's
//! acknowledgements ([`PathDelay`]). The sender then acts like CoDel at a queue of its own: it
//! marks or drops a packet before sealing it, so that the inner connections slow down
//! ([`CodelLaw`], [`CongestionSignal`]).
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

/// The estimate of one path's queue, at the sender.
#[derive(Clone, Debug, Default)]
struct QueueWatch {
    delay: PathDelay,
    law: CodelLaw,
    /// When the newest packet of the current acknowledgement was sent.
    newest: Option<Instant>,
}

impl QueueWatch {
    /// Takes a packet that was sent at `sent` and is acknowledged; [`Self::acknowledged`] follows
    /// the last one.
    fn acknowledges(&mut self, sent: Instant) {
        self.newest = self.newest.max(Some(sent));
    }

    /// Takes the end of one acknowledgement, with `in_flight` bytes left.
    fn acknowledged(&mut self, now: Instant, in_flight: u64) {
        // Only the newest packet: the peer delayed the acknowledgement of the others.
        if let Some(sent) = self.newest.take() {
            let rtt = now.saturating_duration_since(sent);
            let queue = self.delay.sample(now, rtt, in_flight);
            self.law.update(now, rtt, queue, self.delay.target());
        }
    }

    /// Returns the signals due since the path was new; `None` while none is.
    fn due(&self) -> Option<u64> {
        self.law.due()
    }
}
