//! Detection of stuck packet workers: each is woken every second and must wake within five seconds.
//!
//! Invariants: an idle worker is healthy, because it wakes; time in which this process did not run
//! at all (a suspended host, SIGSTOP) counts as one look and not as the worker's silence.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use qdt_transport::WorkerHeartbeat;
use tokio::time::MissedTickBehavior;
use tracing::{error, info};

const WAKE_EVERY: Duration = Duration::from_secs(1);
/// The silence after which a worker counts as stuck.
const STUCK_AFTER: Duration = Duration::from_secs(5);
/// The most that one look adds to a worker's silence.
const LONGEST_LOOK: Duration = Duration::from_millis(1500);

/// Whether all workers turn, for whoever asks.
#[derive(Debug, Clone)]
pub(super) struct Turning(Arc<AtomicBool>);

impl Turning {
    /// Workers that have just started turn.
    pub(super) fn new() -> Self {
        Self(Arc::new(AtomicBool::new(true)))
    }

    /// Whether all workers turn.
    pub(super) fn all(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }
}

/// Watches the workers and keeps `turning` up to date. Does not end.
pub(super) async fn watch(heartbeat: WorkerHeartbeat, turning: Turning) {
    let mut tick = tokio::time::interval(WAKE_EVERY);
    tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut workers = Silences::new(heartbeat.wakeups());
    let mut last = Instant::now();
    loop {
        tick.tick().await;
        let now = Instant::now();
        for change in workers.look(now - last, &heartbeat.wakeups()) {
            match change {
                Change::Stuck(worker) => error!(
                    worker,
                    err = "it has not turned for 5 s: /healthz says 503; a restart is the remedy",
                    "packet worker stuck"
                ),
                Change::Turns(worker) => info!(worker, "packet worker turns again"),
            }
        }
        turning.0.store(!workers.any_stuck(), Ordering::Relaxed);
        last = now;
        heartbeat.wake();
    }
}

/// How long each worker has not woken although it was woken every second.
#[derive(Debug)]
struct Silences(Vec<Silence>);

#[derive(Debug)]
struct Silence {
    wakeups: u64,
    silent: Duration,
    stuck: bool,
}

#[derive(Debug, PartialEq, Eq)]
enum Change {
    Stuck(usize),
    Turns(usize),
}

impl Silences {
    fn new(wakeups: Vec<u64>) -> Self {
        let silence = |wakeups| Silence {
            wakeups,
            silent: Duration::ZERO,
            stuck: false,
        };
        Self(wakeups.into_iter().map(silence).collect())
    }

    /// Takes in how often each worker has woken, `since` the last look, after which all were woken.
    fn look(&mut self, since: Duration, wakeups: &[u64]) -> Vec<Change> {
        let mut changes = Vec::new();
        for (worker, (silence, wakeups)) in self.0.iter_mut().zip(wakeups).enumerate() {
            if *wakeups == silence.wakeups {
                silence.silent += since.min(LONGEST_LOOK);
            } else {
                silence.silent = Duration::ZERO;
            }
            silence.wakeups = *wakeups;
            let stuck = silence.silent >= STUCK_AFTER;
            if stuck != std::mem::replace(&mut silence.stuck, stuck) {
                changes.push(if stuck {
                    Change::Stuck(worker)
                } else {
                    Change::Turns(worker)
                });
            }
        }
        changes
    }

    fn any_stuck(&self) -> bool {
        self.0.iter().any(|silence| silence.stuck)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TICK: Duration = Duration::from_secs(1);

    #[test]
    fn a_worker_that_leaves_five_seconds_of_questions_unanswered_is_stuck_until_it_wakeups() {
        let mut workers = Silences::new(vec![0, 0]);
        for tick in 1..=4 {
            assert_eq!(workers.look(TICK, &[0, tick]), []);
            assert!(!workers.any_stuck());
        }
        assert_eq!(workers.look(TICK, &[0, 5]), [Change::Stuck(0)]);
        assert_eq!(workers.look(TICK, &[0, 6]), []);
        assert!(workers.any_stuck());
        assert_eq!(workers.look(TICK, &[1, 7]), [Change::Turns(0)]);
        assert!(!workers.any_stuck());
    }

    #[test]
    fn a_host_that_slept_for_an_hour_has_no_stuck_worker() {
        let mut workers = Silences::new(vec![3]);
        assert_eq!(workers.look(3600 * TICK, &[3]), []);
        assert_eq!(workers.look(TICK, &[4]), []);
    }
}
