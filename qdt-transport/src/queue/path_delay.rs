//! The queueing delay in the path that our own packets cause.
//!
//! The smallest round trip ever seen is the path's base delay. The excess is queueing delay, but
//! not always ours: others may fill the bottleneck, our downloads may fill the other direction, or
//! the path may have become longer. Sending less does not help then, and only leaves the path to
//! others. So this is tested: if half of the packets in flight wait nearly as long as all of them
//! did, the remaining excess counts as foreign for a while, and is tested again later, less and
//! less often. The same holds for an excess that persists although packets were signalled for
//! seconds. Against a foreign queue ours may stand as long, because a sender with less in a buffer
//! gets proportionally less of the link.
//!
//! Invariants: the reported queue never exceeds the round trip minus the smallest one; with few
//! packets in flight it is zero, because on a slow link a single packet takes its time.

use std::time::{Duration, Instant};

/// Up to this many bytes in flight are not a queue: two packets, TCP's minimum, for each of four
/// connections.
const FEW: u64 = 8 * 1400;
/// Shorter queues are left alone, so that the queue never runs empty between two packets.
const MIN_TARGET: Duration = Duration::from_millis(15);
/// The largest target; TCP needs a longer queue to fill long paths.
const MAX_TARGET: Duration = Duration::from_millis(50);
/// How long a foreign delay is left alone, at first and at most.
const FIRST_RETEST: Duration = Duration::from_secs(4);
const MAX_RETEST: Duration = Duration::from_secs(300);
/// The time and round trips for which half of the packets must wait nearly as long as all of them
/// did.
const HALVED_FOR: Duration = Duration::from_millis(400);
const HALVED_FOR_RTTS: u32 = 2;
/// The time and round trips within which responsive flows bring a queue of their own below the
/// target, at least for a moment.
const RESPONSE_WITHIN: Duration = Duration::from_secs(6);
const RESPONSE_WITHIN_RTTS: u32 = 20;

#[derive(Clone, Debug, Default)]
pub(super) struct PathDelay {
    /// The smallest round trip.
    base: Option<Duration>,
    /// The part of the excess that is not ours.
    foreign: Duration,
    /// When `foreign` is tested again, and the interval to the test after that.
    retest: Option<(Instant, Duration)>,
    trial: Trial,
}

/// The observations since a queue began to stand.
#[derive(Clone, Debug, Default)]
struct Trial {
    /// When it began, and its shortest length.
    began: Option<(Instant, Duration)>,
    /// The most bytes in flight.
    peak: u64,
    /// The longest queue with more than half of that in flight.
    worst: Duration,
    /// Since when at most half is in flight, and the shortest queue since then.
    halved: Option<(Instant, Duration)>,
}

impl PathDelay {
    /// Takes a round-trip time measured with `in_flight` bytes in flight. Returns our own queue, as
    /// far as is known.
    pub(super) fn sample(&mut self, now: Instant, rtt: Duration, in_flight: u64) -> Duration {
        let base = self.base.map_or(rtt, |base| base.min(rtt));
        self.base = Some(base);
        let excess = rtt - base;
        if excess <= self.target() {
            self.foreign = excess.min(self.foreign);
            self.trial = Trial::default();
            if self.foreign.is_zero() {
                self.retest = None;
            }
            return if in_flight <= FEW {
                Duration::ZERO
            } else {
                excess - self.foreign
            };
        }
        self.foreign = self.foreign.min(excess);
        if self.retest.is_some_and(|(at, _)| now >= at) {
            self.foreign = Duration::ZERO;
        }
        let queue = excess - self.foreign;
        match self.trial.owner(now, rtt, queue, in_flight, self.target()) {
            QueueOwner::Ours if in_flight > FEW => queue,
            QueueOwner::Ours | QueueOwner::Undecided => Duration::ZERO,
            QueueOwner::NotOurs(foreign) => {
                self.foreign += foreign;
                let interval = match self.retest {
                    // Found again after a test: it persists.
                    Some((_, before)) => (before * 2).min(MAX_RETEST),
                    None => FIRST_RETEST,
                };
                self.retest = Some((now + interval, interval));
                Duration::ZERO
            }
        }
    }

    /// Returns how long our queue may stand: enough for a sender that halves its window now and
    /// then.
    pub(super) fn target(&self) -> Duration {
        let base = self.base.unwrap_or_default();
        (base / 2).clamp(MIN_TARGET, MAX_TARGET).max(self.foreign)
    }
}

/// The owner of a standing queue.
#[derive(Clone, Copy, Debug)]
enum QueueOwner {
    /// Our own packets, as far as is known.
    Ours,
    /// Half of our packets have left it; the effect is not visible yet.
    Undecided,
    /// Others: this much remains without half of our packets.
    NotOurs(Duration),
}

impl Trial {
    /// Takes one sample and returns the owner of the queue, as far as is known.
    fn owner(
        &mut self,
        now: Instant,
        rtt: Duration,
        queue: Duration,
        in_flight: u64,
        target: Duration,
    ) -> QueueOwner {
        if queue <= target {
            *self = Self::default();
            return QueueOwner::Ours;
        }
        let (began, shortest) = self.began.unwrap_or((now, queue));
        let shortest = shortest.min(queue);
        self.began = Some((began, shortest));
        self.peak = self.peak.max(in_flight);
        // Bytes in flight fluctuate with every acknowledgement.
        let half = if self.halved.is_some() {
            self.peak / 8 * 5
        } else {
            self.peak / 2
        };
        if in_flight > half {
            self.worst = self.worst.max(queue);
            self.halved = None;
            if now.saturating_duration_since(began)
                < RESPONSE_WITHIN.max(rtt * RESPONSE_WITHIN_RTTS)
            {
                return QueueOwner::Ours;
            }
            // The flows are non-responsive or the queue is foreign: more signals would only be
            // loss.
            *self = Self::default();
            return QueueOwner::NotOurs(shortest);
        }
        let (since, least) = self.halved.unwrap_or((now, queue));
        let least = least.min(queue);
        if least < self.worst * 11 / 20 {
            // Half of the packets make half of the queue, or less on a long path: all of it is
            // ours.
            *self = Self::default();
            return QueueOwner::Ours;
        }
        self.halved = Some((since, least));
        if now.saturating_duration_since(since) < HALVED_FOR.max(rtt * HALVED_FOR_RTTS) {
            return QueueOwner::Undecided;
        }
        let worst = std::mem::take(self).worst;
        if least < worst * 13 / 20 {
            return QueueOwner::Ours;
        }
        QueueOwner::NotOurs(least)
    }
}
