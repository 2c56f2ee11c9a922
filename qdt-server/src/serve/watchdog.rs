//! The watchdog of the packet workers: wakes each every second and reports one that does not run
//! for five seconds as stuck.
//!
//! Invariants: an idle worker is healthy, because it wakes; time in which the whole process did not
//! run (a suspended host, SIGSTOP) counts as one check at most.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use qdt_transport::WorkerHeartbeat;
use tokio::time::MissedTickBehavior;
use tracing::{error, info};

const CHECK_INTERVAL: Duration = Duration::from_secs(1);
/// The time without a wake-up after which a worker counts as stuck.
const STUCK_AFTER: Duration = Duration::from_secs(5);
/// The most that one check adds to that time.
const MAX_STEP: Duration = Duration::from_millis(1500);

/// Whether all workers run; clones share the state.
#[derive(Debug, Clone)]
pub(super) struct WorkerHealth(Arc<AtomicBool>);

impl WorkerHealth {
    /// Makes the state of workers that have just started: all run.
    pub(super) fn new() -> Self {
        Self(Arc::new(AtomicBool::new(true)))
    }

    /// Returns whether all workers run.
    pub(super) fn all_run(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }
}

/// Checks the workers forever and updates `health`.
pub(super) async fn run(heartbeat: WorkerHeartbeat, health: WorkerHealth) {
    let mut tick = tokio::time::interval(CHECK_INTERVAL);
    tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut workers = Watchdog::new(heartbeat.wakeups());
    let mut last = Instant::now();
    loop {
        tick.tick().await;
        let now = Instant::now();
        for change in workers.check(now - last, &heartbeat.wakeups()) {
            match change {
                Change::Stuck(worker) => error!(
                    worker,
                    err = "it has not turned for 5 s: /healthz says 503; a restart is the remedy",
                    "packet worker stuck"
                ),
                Change::Recovered(worker) => info!(worker, "packet worker turns again"),
            }
        }
        health.0.store(!workers.any_stuck(), Ordering::Relaxed);
        last = now;
        heartbeat.wake();
    }
}

/// The state of all workers.
#[derive(Debug)]
struct Watchdog(Vec<WorkerState>);

#[derive(Debug)]
struct WorkerState {
    wakeups: u64,
    unresponsive_for: Duration,
    stuck: bool,
}

#[derive(Debug, PartialEq, Eq)]
enum Change {
    Stuck(usize),
    Recovered(usize),
}

impl Watchdog {
    fn new(wakeups: Vec<u64>) -> Self {
        let state = |wakeups| WorkerState {
            wakeups,
            unresponsive_for: Duration::ZERO,
            stuck: false,
        };
        Self(wakeups.into_iter().map(state).collect())
    }

    /// Compares the workers' counts of wake-ups with those of the last check, `elapsed` ago.
    fn check(&mut self, elapsed: Duration, wakeups: &[u64]) -> Vec<Change> {
        let mut changes = Vec::new();
        for (worker, (state, wakeups)) in self.0.iter_mut().zip(wakeups).enumerate() {
            if *wakeups == state.wakeups {
                state.unresponsive_for += elapsed.min(MAX_STEP);
            } else {
                state.unresponsive_for = Duration::ZERO;
            }
            state.wakeups = *wakeups;
            let stuck = state.unresponsive_for >= STUCK_AFTER;
            if stuck != std::mem::replace(&mut state.stuck, stuck) {
                changes.push(if stuck {
                    Change::Stuck(worker)
                } else {
                    Change::Recovered(worker)
                });
            }
        }
        changes
    }

    fn any_stuck(&self) -> bool {
        self.0.iter().any(|worker| worker.stuck)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TICK: Duration = Duration::from_secs(1);

    #[test]
    fn a_worker_without_a_wakeup_for_five_seconds_is_stuck_until_it_wakes() {
        let mut workers = Watchdog::new(vec![0, 0]);
        for tick in 1..=4 {
            assert_eq!(workers.check(TICK, &[0, tick]), []);
            assert!(!workers.any_stuck());
        }
        assert_eq!(workers.check(TICK, &[0, 5]), [Change::Stuck(0)]);
        assert_eq!(workers.check(TICK, &[0, 6]), []);
        assert!(workers.any_stuck());
        assert_eq!(workers.check(TICK, &[1, 7]), [Change::Recovered(0)]);
        assert!(!workers.any_stuck());
    }

    #[test]
    fn an_hour_of_suspend_makes_no_worker_stuck() {
        let mut workers = Watchdog::new(vec![3]);
        assert_eq!(workers.check(3600 * TICK, &[3]), []);
        assert_eq!(workers.check(TICK, &[4]), []);
    }
}
