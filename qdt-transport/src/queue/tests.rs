//! The watch against a model of a path: a bottleneck of a given rate in which our packets and those
//! of others wait in one queue, and TCP connections that take three tenths of their packets back
//! when they are told to.

use std::time::{Duration, Instant};

use super::QueueWatch;

const MS: Duration = Duration::from_millis(1);
/// One tick of the model.
const TICK: Duration = Duration::from_millis(2);

/// See the module.
struct Path {
    now: Instant,
    /// Bytes a second.
    rate: f64,
    /// The round trip without a queue.
    base: Duration,
    /// Bytes of others that stand in the queue, whatever we do.
    foreign: f64,
    /// What our connections keep in flight together.
    window: f64,
    /// How many they are.
    connections: f64,
    watch: QueueWatch,
    told: u64,
    /// When each telling takes effect.
    pending: Vec<Instant>,
    /// When packets were taken back during the last round trip.
    taken: Vec<Instant>,
    times_told: u32,
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
            told: 0,
            pending: Vec::new(),
            taken: Vec::new(),
            times_told: 0,
        }
    }

    /// How long a packet waits: what does not fit between the ends stands in the queue.
    fn queue(&self) -> Duration {
        let between = self.rate * self.base.as_secs_f64();
        let ours = (self.window - between).max(0.0);
        Duration::from_secs_f64((ours + self.foreign) / self.rate)
    }

    /// Lets that much time pass, in which each connection grows by a packet in a round trip.
    fn run(&mut self, time: Duration) {
        let end = self.now + time;
        while self.now < end {
            self.now += TICK;
            let trip = self.base + self.queue();
            self.window += self.connections * 1350.0 * TICK.as_secs_f64() / trip.as_secs_f64();
            self.watch.acknowledges(self.now - trip);
            self.watch.acknowledged(self.now, self.window as u64);
            let due = self.watch.due().unwrap_or(self.told);
            if due != self.told {
                self.told = due;
                self.times_told += 1;
                self.pending.push(self.now + trip);
            }
            let now = self.now;
            // A connection listens once in a round trip.
            self.taken.retain(|at| *at + trip > now);
            for _ in 0..self.pending.extract_if(.., |at| *at <= now).count() {
                if (self.taken.len() as f64) < self.connections {
                    self.taken.push(now);
                    self.window *= 1.0 - 0.3 / self.connections;
                }
            }
        }
    }

    /// The shortest and the longest queue over that much time.
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
fn a_queue_of_our_own_stays_short_and_never_runs_empty() {
    for (mbit, base) in [(10.0, MS), (20.0, MS), (100.0, 20 * MS), (100.0, 80 * MS)] {
        let mut path = Path::new(mbit, base);
        path.run(Duration::from_secs(60));
        let (least, most) = path.observe(Duration::from_secs(60));
        assert!(most < 60 * MS, "{mbit} Mbit/s, {base:?}: {most:?}");
        assert!(least > MS, "{mbit} Mbit/s, {base:?}: {least:?}");
    }
}

#[test]
fn a_queue_that_is_there_at_once_is_gone_within_two_seconds() {
    let mut path = Path::new(20.0, MS);
    path.run(50 * MS);
    path.window = 1_000_000.0;
    path.run(Duration::from_secs(2));
    assert!(path.queue() < 60 * MS, "{:?}", path.queue());
}

#[test]
fn a_burst_that_drains_by_itself_costs_nothing() {
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
    assert_eq!(path.times_told, 0);
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
    assert_eq!(path.times_told, 0);
}

#[test]
fn beside_a_queue_of_others_we_keep_our_share() {
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
        "{ours} bytes of ours beside {theirs} on average"
    );
}

#[test]
fn when_others_have_left_the_queue_is_ours_again() {
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
fn one_late_acknowledgement_is_no_queue() {
    let mut path = Path::new(100.0, 5 * MS);
    path.connections = 0.0;
    path.window = 60_000.0;
    for _ in 0..50 {
        path.run(500 * MS);
        path.now += 40 * MS;
        path.watch.acknowledges(path.now - 45 * MS);
        path.watch.acknowledged(path.now, path.window as u64);
    }
    assert_eq!(path.times_told, 0);
}

#[test]
fn a_sender_that_does_not_listen_on_a_path_that_became_longer_loses_little_and_seldom() {
    let mut path = Path::new(100.0, 50 * MS);
    path.connections = 0.0;
    path.window = 60_000.0;
    path.run(Duration::from_secs(5));
    assert_eq!(path.times_told, 0);
    path.base = 80 * MS;
    path.run(Duration::from_secs(60));
    // 750 packets a second.
    let share = f64::from(path.times_told) / (60.0 * 750.0);
    assert!(share < 0.02, "{share} of the packets in the first minute");
    let before = path.times_told;
    path.run(Duration::from_secs(300));
    let share = f64::from(path.times_told - before) / (300.0 * 750.0);
    assert!(share < 0.005, "{share} of the packets later");
}
