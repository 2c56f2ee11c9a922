//! The standing queue of a connection's path, and when to tell the inner connections of it.
//!
//! The tunnel has no congestion control of its own, so the queue stands in the path's bottleneck, where nobody can
//! reorder it or take a packet out of it. What can be had is its length in time, from QUIC's acknowledgements
//! ([`PathDelay`]), and what can be done is what CoDel does at a queue of its own: now and then one packet is marked or
//! dropped before it is sealed, so that the inner connections send less ([`Law`], [`Relief`]).
//!
//! What always holds here: no clock is read (time is an argument), nothing is allocated, and while the queue is short
//! an acknowledgement costs a few comparisons and a packet one.

mod law;
mod path_delay;
mod relief;
mod shares;
#[cfg(test)]
mod tests;

use std::time::Instant;

use law::Law;
use path_delay::PathDelay;
pub use relief::Relief;
pub use shares::{Share, Shares};

/// Watches the queue of one path from the sender's side.
#[derive(Clone, Debug, Default)]
pub(crate) struct QueueWatch {
    delay: PathDelay,
    law: Law,
    /// When the newest packet that the current acknowledgement is about was sent.
    newest: Option<Instant>,
}

impl QueueWatch {
    /// A packet that was sent at `sent` is acknowledged; [`Self::acknowledged`] follows after the last one.
    pub(crate) fn acknowledges(&mut self, sent: Instant) {
        self.newest = self.newest.max(Some(sent));
    }

    /// Everything of one acknowledgement was told; `in_flight` bytes are still on their way.
    pub(crate) fn acknowledged(&mut self, now: Instant, in_flight: u64) {
        // Of the newest packet, because the others waited at the peer until it acknowledged them.
        if let Some(sent) = self.newest.take() {
            let trip = now.saturating_duration_since(sent);
            let queue = self.delay.sample(now, trip, in_flight);
            self.law.look(now, trip, queue, self.delay.target());
        }
    }

    /// How many packets were to be taken since the beginning; `None` while there is no reason to take any.
    pub(crate) fn due(&self) -> Option<u64> {
        self.law.due()
    }
}
