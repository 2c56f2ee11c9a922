//! How long packets wait in the path, as far as it is our own packets that make them wait.
//!
//! The delay of a path without a queue is the smallest round trip ever seen on it. What a round
//! trip takes longer is queue, but not always ours: somebody else may fill the bottleneck, our own
//! downloads may fill the other direction, or the path may have become longer. Then sending less
//! does not help, and would only leave the path to others. So less is tried: when half of the
//! packets in flight wait nearly as long as all of them did, the rest of the delay is taken for the
//! path's own for a while, and this is tried again later, less and less often. The same holds for a
//! delay that stays although packets were taken for seconds. Beside a queue of others ours may
//! stand as long as theirs, because who keeps less in a buffer than others gets that much less of
//! the link.
//!
//! Invariants: the queue is never reported longer than the round trip minus the smallest one; with
//! few packets in flight there is none, because on a slow link a single packet takes its time.

use std::time::{Duration, Instant};

/// In flight, up to this many bytes are no queue: two packets each for four connections, the least
/// TCP sends.
const FEW: u64 = 8 * 1400;
/// A queue that is no longer than this is left alone, so that it never runs empty between two
/// packets.
const LEAST_TARGET: Duration = Duration::from_millis(15);
/// On long paths TCP needs a longer one to fill them; this much at most.
const MOST_TARGET: Duration = Duration::from_millis(50);
/// For how long a delay that is not ours is left alone at first, and at most.
const FIRST_PATIENCE: Duration = Duration::from_secs(4);
const MOST_PATIENCE: Duration = Duration::from_secs(300);
/// For how long half of the packets must wait nearly as long as all of them did, and for how many
/// round trips.
const SHOWN_AFTER: Duration = Duration::from_millis(400);
const SHOWN_AFTER_TRIPS: u32 = 2;
/// Senders that listen have made a queue of their own shorter than the target within this time and
/// so many round trips, if only for a moment.
const LISTENED_AFTER: Duration = Duration::from_secs(6);
const LISTENED_AFTER_TRIPS: u32 = 20;

/// See the module.
#[derive(Clone, Debug, Default)]
pub(super) struct PathDelay {
    /// The smallest round trip.
    base: Option<Duration>,
    /// What the round trip is longer without our doing.
    foreign: Duration,
    /// When that is to be tried again, and after how long the next time.
    again: Option<(Instant, Duration)>,
    trial: Trial,
}

/// What is known of a queue since it began to stand.
#[derive(Clone, Debug, Default)]
struct Trial {
    /// When it began, and the shortest it has been.
    began: Option<(Instant, Duration)>,
    /// The most bytes in flight.
    peak: u64,
    /// The longest queue with more than half of that in flight.
    worst: Duration,
    /// Since when only half of it is in flight, and the shortest queue since.
    halved: Option<(Instant, Duration)>,
}

impl PathDelay {
    /// A round trip was measured while `in_flight` bytes are on their way: how much of it is queue,
    /// ours as far as is known.
    pub(super) fn sample(&mut self, now: Instant, trip: Duration, in_flight: u64) -> Duration {
        let base = self.base.map_or(trip, |base| base.min(trip));
        self.base = Some(base);
        let beyond = trip - base;
        if beyond <= self.target() {
            self.foreign = beyond.min(self.foreign);
            self.trial = Trial::default();
            if self.foreign.is_zero() {
                self.again = None;
            }
            return if in_flight <= FEW {
                Duration::ZERO
            } else {
                beyond - self.foreign
            };
        }
        self.foreign = self.foreign.min(beyond);
        if self.again.is_some_and(|(at, _)| now >= at) {
            self.foreign = Duration::ZERO;
        }
        let queue = beyond - self.foreign;
        match self.trial.owner(now, trip, queue, in_flight, self.target()) {
            QueueOwner::Ours if in_flight > FEW => queue,
            QueueOwner::Ours | QueueOwner::Undecided => Duration::ZERO,
            QueueOwner::NotOurs(foreign) => {
                self.foreign += foreign;
                let patience = match self.again {
                    // Found again after it was forgotten: it is still there.
                    Some((_, before)) => (before * 2).min(MOST_PATIENCE),
                    None => FIRST_PATIENCE,
                };
                self.again = Some((now + patience, patience));
                Duration::ZERO
            }
        }
    }

    /// How long a queue of ours may stand: enough for a sender that takes half of its packets back
    /// now and then.
    pub(super) fn target(&self) -> Duration {
        let base = self.base.unwrap_or_default();
        (base / 2)
            .clamp(LEAST_TARGET, MOST_TARGET)
            .max(self.foreign)
    }
}

/// Whose a queue is.
#[derive(Clone, Copy, Debug)]
enum QueueOwner {
    /// Ours, as far as is known.
    Ours,
    /// Half of our packets are out of it, and what that changes is not seen yet.
    Undecided,
    /// So much of it stays when half of our packets are out of it.
    NotOurs(Duration),
}

impl Trial {
    /// Takes one sample in and returns whose the queue is, as far as is known.
    fn owner(
        &mut self,
        now: Instant,
        trip: Duration,
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
        // What is in flight goes up and down with every acknowledgement.
        let half = if self.halved.is_some() {
            self.peak / 8 * 5
        } else {
            self.peak / 2
        };
        if in_flight > half {
            self.worst = self.worst.max(queue);
            self.halved = None;
            if now.saturating_duration_since(began)
                < LISTENED_AFTER.max(trip * LISTENED_AFTER_TRIPS)
            {
                return QueueOwner::Ours;
            }
            // Nobody listens, or it is not their queue: taking more would be loss and nothing else.
            *self = Self::default();
            return QueueOwner::NotOurs(shortest);
        }
        let (since, least) = self.halved.unwrap_or((now, queue));
        let least = least.min(queue);
        if least < self.worst * 11 / 20 {
            // With half of the packets half of the queue, or less where the path is long: all of it
            // is ours.
            *self = Self::default();
            return QueueOwner::Ours;
        }
        self.halved = Some((since, least));
        if now.saturating_duration_since(since) < SHOWN_AFTER.max(trip * SHOWN_AFTER_TRIPS) {
            return QueueOwner::Undecided;
        }
        let worst = std::mem::take(self).worst;
        if least < worst * 13 / 20 {
            return QueueOwner::Ours;
        }
        QueueOwner::NotOurs(least)
    }
}
