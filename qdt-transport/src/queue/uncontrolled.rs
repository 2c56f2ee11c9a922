//! A congestion controller that only bounds the bytes in flight.
//!
//! The inner connections control their own congestion; a second controller underneath hides the
//! path from them (RFC 9484 section 9 lets datagrams with IP packets go without). The bound
//! protects our memory: QUIC remembers packets to a silent peer until it declares them lost.
//!
//! It also feeds the [`QueueWatch`] of its path, because quinn-proto reports acknowledgements to
//! the controller only.
//!
//! Invariant: the window is either wide open (above 2^32, where quinn-proto also stops pacing) or
//! shut.

use std::any::Any;
use std::sync::Arc;
use std::time::Instant;

use quinn_proto::congestion::{Controller, ControllerFactory, ControllerMetrics};
use quinn_proto::{Connection, RttEstimator};

use super::QueueWatch;

/// Open: above `u32::MAX`, where quinn-proto does not pace.
const OPEN: u64 = 1 << 40;
/// Shut: one byte, which allows only loss probes.
const SHUT: u64 = 1;

/// The most bytes in flight to a peer that has stopped acknowledging, since each costs memory here:
/// a round trip of 50 ms at 10 Gbit/s.
const IN_FLIGHT: u64 = 64 << 20;

/// Builds an [`Uncontrolled`] for every connection.
pub(crate) struct UncontrolledFactory;

impl ControllerFactory for UncontrolledFactory {
    fn build(self: Arc<Self>, _now: Instant, _mtu: u16) -> Box<dyn Controller> {
        Box::new(Uncontrolled::new(IN_FLIGHT))
    }
}

#[derive(Clone, Debug)]
struct Uncontrolled {
    in_flight: u64,
    limit: u64,
    queue: QueueWatch,
}

impl Uncontrolled {
    /// Returns a controller that allows about `limit` bytes in flight.
    fn new(limit: u64) -> Self {
        Self {
            in_flight: 0,
            limit,
            queue: QueueWatch::default(),
        }
    }
}

impl Controller for Uncontrolled {
    fn on_sent(&mut self, _now: Instant, bytes: u64, _last_packet_number: u64) {
        self.in_flight += bytes;
    }

    fn on_ack(&mut self, _: Instant, sent: Instant, bytes: u64, _: bool, _: &RttEstimator) {
        self.in_flight = self.in_flight.saturating_sub(bytes);
        self.queue.acknowledges(sent);
    }

    fn on_end_acks(&mut self, now: Instant, in_flight: u64, _: bool, _: Option<u64>) {
        self.in_flight = in_flight;
        self.queue.acknowledged(now, in_flight);
    }

    fn on_congestion_event(&mut self, _: Instant, _: Instant, _: bool, lost_bytes: u64) {
        self.in_flight = self.in_flight.saturating_sub(lost_bytes);
    }

    fn on_mtu_update(&mut self, _new_mtu: u16) {}

    fn window(&self) -> u64 {
        if self.in_flight < self.limit {
            OPEN
        } else {
            SHUT
        }
    }

    fn metrics(&self) -> ControllerMetrics {
        let mut metrics = ControllerMetrics::default();
        metrics.congestion_window = self.window();
        // Without slow start `ssthresh` is free, and `metrics` is the only way out of a controller
        // without a copy; `signals_due` reads it.
        metrics.ssthresh = self.queue.due();
        metrics
    }

    fn clone_box(&self) -> Box<dyn Controller> {
        Box::new(self.clone())
    }

    fn initial_window(&self) -> u64 {
        OPEN
    }

    fn into_any(self: Box<Self>) -> Box<dyn Any> {
        self
    }
}

/// Returns the congestion signals due for the queue in the connection's path since the path was
/// new; `None` while none is. The connection must use an [`UncontrolledFactory`].
pub(super) fn signals_due(quic: &Connection) -> Option<u64> {
    quic.congestion_state().metrics().ssthresh
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_peer_that_acknowledges_nothing_stops_the_flow_at_the_limit() {
        let now = Instant::now();
        let mut controller = Uncontrolled::new(10_000);
        controller.on_sent(now, 9_999, 1);
        assert!(controller.window() > u64::from(u32::MAX));
        controller.on_sent(now, 1, 2);
        assert_eq!(controller.window(), SHUT);
        controller.on_congestion_event(now, now, false, 10_000);
        assert!(controller.window() > u64::from(u32::MAX));
    }
}
