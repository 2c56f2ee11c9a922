//! The control law: how often a packet is signalled while a queue stands.
//!
//! It is CoDel's (RFC 8289 section 4.2): first when the queue has stood for an interval, then in
//! intervals divided by the square root of the count, until the queue is below its target. Here the
//! interval also shrinks as the queue grows beyond the target, because acknowledgements show the
//! queue late.
//!
//! Invariants: no signal is due while the queue is below its target; at most one packet in many is
//! signalled.

use std::time::{Duration, Instant};

/// How long a queue at the target may stand before the first signal: an upper bound on the round
/// trip of most inner connections (RFC 8289 section 4.3).
const INTERVAL: Duration = Duration::from_millis(100);
/// The multiple of the target above which the urgency does not grow.
const MAX_URGENCY: f32 = 8.0;
/// Signals per round trip at first: one each for some connections.
const SIGNALS_PER_RTT: f32 = 4.0;
/// The longest time that two acknowledgements account for.
const MAX_STEP: Duration = Duration::from_millis(50);
/// The fewest acknowledgements between two signals. Each covers two packets or more, so a
/// non-responsive flow loses at most a sixteenth of its packets.
const MIN_ACKS: u32 = 8;
/// A queue that stands again within this many intervals continues with half of its count.
const MEMORY_INTERVALS: u32 = 8;

#[derive(Clone, Debug, Default)]
pub(super) struct CodelLaw {
    /// When the queue last stood, and its urgency then.
    last: Option<(Instant, f32)>,
    /// The elapsed fraction of the current interval.
    elapsed: f32,
    /// The intervals of this standing queue, plus one.
    count: u32,
    /// Acknowledgements since the last signal.
    acks: u32,
    /// When the last standing queue ended.
    ended: Option<Instant>,
    /// Signals due since the start.
    due: u64,
}

impl CodelLaw {
    /// Takes the length of the queue at `now` and the round-trip time.
    pub(super) fn update(
        &mut self,
        now: Instant,
        rtt: Duration,
        queue: Duration,
        target: Duration,
    ) {
        if queue <= target {
            if self.last.take().is_some() {
                self.ended = Some(now);
            }
            return;
        }
        let urgency = (queue.as_secs_f32() / target.as_secs_f32()).min(MAX_URGENCY);
        let Some((then, before)) = self.last.replace((now, urgency)) else {
            let recent = self
                .ended
                .is_some_and(|ended| now < ended + INTERVAL * MEMORY_INTERVALS);
            self.count = if recent { (self.count / 2).max(1) } else { 1 };
            self.elapsed = 0.0;
            return;
        };
        let step = now.saturating_duration_since(then).min(MAX_STEP);
        // The lower of two samples: a single late acknowledgement is not a queue.
        let urgency = urgency.min(before);
        // A signal takes effect a round trip later; a long one allows few until then.
        let interval = (INTERVAL.as_secs_f32() / urgency).max(rtt.as_secs_f32() / SIGNALS_PER_RTT);
        self.elapsed += step.as_secs_f32() / interval * (self.count as f32).sqrt();
        self.acks = self.acks.saturating_add(1);
        if self.elapsed >= 1.0 && self.acks >= MIN_ACKS {
            self.acks = 0;
            self.elapsed = (self.elapsed - 1.0).min(1.0);
            self.count = self.count.saturating_add(1);
            self.due += 1;
        }
    }

    /// Returns the signals due since the start; `None` while the queue does not stand or none is.
    pub(super) fn due(&self) -> Option<u64> {
        (self.due > 0 && self.last.is_some()).then_some(self.due)
    }
}
