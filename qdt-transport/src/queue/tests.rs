//! Tests of the estimate against a model of a path: a bottleneck of a given rate with one queue for
//! our packets and those of others, and TCP connections that reduce their window by three tenths
//! when signalled.

use std::time::{Duration, Instant};

use super::QueueWatch;

const MS: Duration = Duration::from_millis(1);
/// One tick of the model.
const TICK: Duration = Duration::from_millis(2);

struct Path {
    now: Instant,
    /// Bytes per second.
    rate: f64,
    /// The round trip without a queue.
    base: Duration,
    /// Bytes of others in the queue, independent of ours.
    foreign: f64,
    /// Bytes that our connections have in flight together.
    window: f64,
    /// The number of our connections.
    connections: f64,
    watch: QueueWatch,
    signals: u64,
    /// When each signal takes effect.
    pending: Vec<Instant>,
    /// When windows were reduced during the last round trip.
    reductions: Vec<Instant>,
    signal_count: u32,
}

impl Path {
    fn new(mbit: f64, base: Duration) -> Self {
        Self {
            now: Instant::now(),
            rate: mbit * 125_000.0,
            base,
            foreign: 0.0,
            window: 20_000.0,
            connections: 4.0,
            watch: QueueWatch::default(),
            signals: 0,
            pending: Vec::new(),
            reductions: Vec::new(),
            signal_count: 0,
        }
    }

    /// Returns how long a packet waits in the queue.
    fn queue(&self) -> Duration {
        let between = self.rate * self.base.as_secs_f64();
        let ours = (self.window - between).max(0.0);
        Duration::from_secs_f64((ours + self.foreign) / self.rate)
    }

    /// Advances by `time`, in which each connection grows by a packet per round trip.
    fn run(&mut self, time: Duration) {
        let end = self.now + time;
        while self.now < end {
            self.now += TICK;
            let rtt = self.base + self.queue();
            self.window += self.connections * 1350.0 * TICK.as_secs_f64() / rtt.as_secs_f64();
            self.watch.acknowledges(self.now - rtt);
            self.watch.acknowledged(self.now, self.window as u64);
            let due = self.watch.due().unwrap_or(self.signals);
            if due != self.signals {
                self.signals = due;
                self.signal_count += 1;
                self.pending.push(self.now + rtt);
            }
            let now = self.now;
            // A connection responds once per round trip.
            self.reductions.retain(|at| *at + rtt > now);
            for _ in 0..self.pending.extract_if(.., |at| *at <= now).count() {
                if (self.reductions.len() as f64) < self.connections {
                    self.reductions.push(now);
                    self.window *= 1.0 - 0.3 / self.connections;
                }
            }
        }
    }

    /// Advances by `time` and returns the shortest and the longest queue.
    fn observe(&mut self, time: Duration) -> (Duration, Duration) {
        let end = self.now + time;
        let (mut least, mut most) = (Duration::MAX, Duration::ZERO);
        while self.now < end {
            self.run(TICK);
            least = least.min(self.queue());
            most = most.max(self.queue());
        }
        (least, most)
    }
}

#[test]
fn our_own_queue_stays_short_and_never_runs_empty() {
    for (mbit, base) in [(10.0, MS), (20.0, MS), (100.0, 20 * MS), (100.0, 80 * MS)] {
        let mut path = Path::new(mbit, base);
        path.run(Duration::from_secs(60));
        let (least, most) = path.observe(Duration::from_secs(60));
        assert!(most < 60 * MS, "{mbit} Mbit/s, {base:?}: {most:?}");
        assert!(least > MS, "{mbit} Mbit/s, {base:?}: {least:?}");
    }
}

#[test]
fn a_sudden_queue_is_drained_within_two_seconds() {
    let mut path = Path::new(20.0, MS);
    path.run(50 * MS);
    path.window = 1_000_000.0;
    path.run(Duration::from_secs(2));
    assert!(path.queue() < 60 * MS, "{:?}", path.queue());
}

#[test]
fn a_burst_that_drains_by_itself_is_not_signalled() {
    let mut path = Path::new(20.0, MS);
    path.connections = 0.0;
    for _ in 0..100 {
        path.window = 20_000.0;
        path.run(100 * MS);
        path.window = 100_000.0;
        while path.window > 20_000.0 {
            path.run(TICK);
            path.window -= path.rate * TICK.as_secs_f64();
        }
    }
    assert_eq!(path.signal_count, 0);
}

#[test]
fn a_slow_link_with_few_packets_in_flight_is_left_alone() {
    let mut path = Path::new(0.5, MS);
    path.connections = 0.0;
    path.window = 2_000.0;
    path.run(Duration::from_secs(1));
    path.window = 11_000.0;
    path.run(Duration::from_secs(10));
    assert!(path.queue() > 100 * MS);
    assert_eq!(path.signal_count, 0);
}

#[test]
fn against_a_foreign_queue_we_keep_our_share() {
    let mut path = Path::new(20.0, MS);
    path.run(Duration::from_secs(5));
    // Others keep 200 ms in the buffer.
    path.foreign = path.rate * 0.2;
    path.run(Duration::from_secs(5));
    let mut ours = 0.0;
    for _ in 0..300 {
        path.run(Duration::from_secs(1));
        ours += path.window / 300.0;
    }
    let theirs = path.foreign;
    assert!(
        ours > theirs / 2.0,
        "{ours} of our bytes against {theirs} on average"
    );
}

#[test]
fn once_others_have_left_our_queue_is_short_again() {
    let mut path = Path::new(20.0, MS);
    path.run(Duration::from_secs(5));
    path.foreign = path.rate * 0.2;
    path.run(Duration::from_secs(30));
    path.foreign = 0.0;
    path.run(Duration::from_secs(10));
    let (_, most) = path.observe(Duration::from_secs(20));
    assert!(most < 60 * MS, "{most:?}");
}

#[test]
fn a_path_that_became_longer_is_filled_again() {
    let mut path = Path::new(100.0, 10 * MS);
    path.run(Duration::from_secs(20));
    path.base = 60 * MS;
    path.run(Duration::from_secs(60));
    let between = path.rate * path.base.as_secs_f64();
    assert!(
        path.window > between * 0.9,
        "{} of {between} bytes in flight",
        path.window
    );
}

#[test]
fn one_late_acknowledgement_is_not_a_queue() {
    let mut path = Path::new(100.0, 5 * MS);
    path.connections = 0.0;
    path.window = 60_000.0;
    for _ in 0..50 {
        path.run(500 * MS);
        path.now += 40 * MS;
        path.watch.acknowledges(path.now - 45 * MS);
        path.watch.acknowledged(path.now, path.window as u64);
    }
    assert_eq!(path.signal_count, 0);
}

#[test]
fn a_non_responsive_flow_on_a_path_that_became_longer_loses_little() {
    let mut path = Path::new(100.0, 50 * MS);
    path.connections = 0.0;
    path.window = 60_000.0;
    path.run(Duration::from_secs(5));
    assert_eq!(path.signal_count, 0);
    path.base = 80 * MS;
    path.run(Duration::from_secs(60));
    // 750 packets a second.
    let share = f64::from(path.signal_count) / (60.0 * 750.0);
    assert!(share < 0.02, "{share} of the packets in the first minute");
    let before = path.signal_count;
    path.run(Duration::from_secs(300));
    let share = f64::from(path.signal_count - before) / (300.0 * 750.0);
    assert!(share < 0.005, "{share} of the packets later");
}
