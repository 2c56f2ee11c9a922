//! The control law: how often one packet is taken while a queue stands.
//!
//! CoDel's (RFC 8289 section 4.2): the first one when the queue has stood for an interval, then in
//! shorter and shorter ones, divided by the square root of the count, until the queue is below its
//! target. Here the interval also shrinks as the queue grows beyond the target: a queue that is
//! seen through acknowledgements is seen late.
//!
//! Invariants: nothing is due while the queue is below its target, and never more than one packet
//! of many.

use std::time::{Duration, Instant};

/// How long a queue of the target's length may stand before the first packet is taken: the round
/// trip that most inner connections stay below (RFC 8289 section 4.3).
const INTERVAL: Duration = Duration::from_millis(100);
/// A queue this many times as long as its target is no more urgent.
const MOST_URGENT: f32 = 8.0;
/// Packets taken in one round trip at first: one each of some connections.
const IN_A_TRIP: f32 = 4.0;
/// Acknowledgements further apart than this say nothing about the time between them.
const LONGEST_STEP: Duration = Duration::from_millis(50);
/// Acknowledgements between two packets that are taken, at least: each is for two packets or more,
/// so a sender that does not listen loses a sixteenth of its packets at most.
const SPARED: u32 = 8;
/// A queue that stands again within this many intervals was not gone: the count goes on at half of
/// what it was.
const REMEMBERED: u32 = 8;

/// See the module.
#[derive(Clone, Debug, Default)]
pub(super) struct CodelLaw {
    /// When the queue was looked at last while it stood, and how urgent it was then.
    last: Option<(Instant, f32)>,
    /// How much of the present interval has passed, 1 being all of it.
    passed: f32,
    /// Intervals of this standing queue that have passed, and one.
    count: u32,
    /// Acknowledgements since the last packet was asked for.
    spared: u32,
    /// When the last standing queue ended.
    ended: Option<Instant>,
    /// Packets asked for since the beginning.
    asked: u64,
}

impl CodelLaw {
    /// The queue is this long now, and a round trip takes `trip`.
    pub(super) fn update(
        &mut self,
        now: Instant,
        trip: Duration,
        queue: Duration,
        target: Duration,
    ) {
        if queue <= target {
            if self.last.take().is_some() {
                self.ended = Some(now);
            }
            return;
        }
        let urgency = (queue.as_secs_f32() / target.as_secs_f32()).min(MOST_URGENT);
        let Some((then, before)) = self.last.replace((now, urgency)) else {
            let recent = self
                .ended
                .is_some_and(|ended| now < ended + INTERVAL * REMEMBERED);
            self.count = if recent { (self.count / 2).max(1) } else { 1 };
            self.passed = 0.0;
            return;
        };
        let step = now.saturating_duration_since(then).min(LONGEST_STEP);
        // Of two looks the calmer one: a single late acknowledgement is no queue.
        let urgency = urgency.min(before);
        // What was asked for shows a round trip later: on a long one little is asked for meanwhile.
        let interval = (INTERVAL.as_secs_f32() / urgency).max(trip.as_secs_f32() / IN_A_TRIP);
        self.passed += step.as_secs_f32() / interval * (self.count as f32).sqrt();
        self.spared = self.spared.saturating_add(1);
        if self.passed >= 1.0 && self.spared >= SPARED {
            self.spared = 0;
            self.passed = (self.passed - 1.0).min(1.0);
            self.count = self.count.saturating_add(1);
            self.asked += 1;
        }
    }

    /// How many packets were to be taken since the beginning; `None` while there is no reason to
    /// take any.
    pub(super) fn due(&self) -> Option<u64> {
        (self.asked > 0 && self.last.is_some()).then_some(self.asked)
    }
}
