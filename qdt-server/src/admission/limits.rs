//! Rate limits of the handshake, with bounded tables.
//!
//! The buckets are governor's (GCRA); this file gives them a store of our own, because three things
//! matter here that its stores do not have: a hard cap on entries, so that a flood from many
//! addresses costs a fixed amount of memory; `handshake_ip_rate.ttl`, after which an idle address
//! is as good as new; and a refund, so that a good token does not count as a guess.
//!
//! Addresses are counted by /32 and /64 ([`qdt_transport::LimitKey`]). A full table forgets those
//! it has not seen for longest, so that a crowd of strangers never keeps an honest newcomer out;
//! who can overrun the table has more addresses, and so more buckets, than the table could hold
//! anyway.
//!
//! Time comes in with the calls; nothing here reads a clock.

use std::collections::HashMap;
use std::hash::Hash;
use std::num::NonZeroU32;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use governor::clock::Clock;
use governor::middleware::NoOpMiddleware;
use governor::nanos::Nanos;
use governor::state::StateStore;
use governor::{Quota, RateLimiter};

use crate::config::Rate;

/// Most addresses that one table remembers: about 1 MiB.
pub const TABLE_CAP: usize = 16_384;

fn at_least_one(value: u32) -> NonZeroU32 {
    NonZeroU32::new(value).unwrap_or(NonZeroU32::MIN)
}

/// A limiter with one bucket per key and a hard cap on their number.
pub struct Limiter<K: Hash + Eq + Clone> {
    limiter: RateLimiter<K, Table<K>, Time, NoOpMiddleware<Nanos>>,
    table: Table<K>,
    time: Time,
    /// What one permission weighs, in time.
    weight: Duration,
}

impl<K: Hash + Eq + Clone> std::fmt::Debug for Limiter<K> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Limiter")
            .field("entries", &self.len())
            .finish_non_exhaustive()
    }
}

impl<K: Hash + Eq + Clone> Limiter<K> {
    /// A limiter of `rate` per key whose idle entries are forgotten after `ttl`, and which
    /// remembers at most `cap` of them. Instants before `start` count as `start`.
    #[must_use]
    pub fn new(rate: Rate, ttl: Duration, cap: usize, start: Instant) -> Self {
        let time = Time {
            start,
            elapsed: Arc::new(AtomicU64::new(0)),
        };
        let table = Table(Arc::new(Mutex::new(Entries {
            young: HashMap::new(),
            old: HashMap::new(),
            half: (cap / 2).max(1),
            ttl,
            now: Duration::ZERO,
        })));
        let quota = Quota::per_second(at_least_one(rate.pps)).allow_burst(at_least_one(rate.burst));
        Self {
            limiter: RateLimiter::new(quota, table.clone(), time.clone()),
            table,
            time,
            weight: quota.replenish_interval(),
        }
    }

    /// Takes one permission of `key`; says whether there was one.
    pub fn take(&self, key: &K, now: Instant) -> bool {
        let elapsed = self.time.advance(now);
        {
            let mut entries = self.table.lock();
            entries.now = entries.now.max(elapsed);
        }
        self.limiter.check_key(key).is_ok()
    }

    /// Gives a permission of `key` back.
    pub fn refund(&self, key: &K) {
        if let Some(entry) = self.table.lock().young.get_mut(key) {
            entry.arrival = entry.arrival.saturating_sub(self.weight);
        }
    }

    /// Entries in the table.
    #[must_use]
    pub fn len(&self) -> usize {
        self.table.lock().len()
    }

    /// Whether no key has been seen, or all were forgotten.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// Time as nanoseconds since the limiter was made, set by whoever asks.
#[derive(Debug, Clone)]
struct Time {
    start: Instant,
    elapsed: Arc<AtomicU64>,
}

impl Time {
    /// Moves time to `now`, never backwards: workers call with instants taken a little apart.
    fn advance(&self, now: Instant) -> Duration {
        let nanos = now.saturating_duration_since(self.start).as_nanos();
        let nanos = u64::try_from(nanos).unwrap_or(u64::MAX);
        Duration::from_nanos(self.elapsed.fetch_max(nanos, Ordering::Relaxed).max(nanos))
    }
}

impl Clock for Time {
    type Instant = Nanos;

    fn now(&self) -> Nanos {
        Nanos::from(self.elapsed.load(Ordering::Relaxed))
    }
}

#[derive(Debug)]
struct Entry {
    /// GCRA's theoretical arrival time of the next permission.
    arrival: Duration,
    seen: Duration,
}

/// Two generations: what was seen lately is young; when half of the cap is young, the young become
/// the old and the old are forgotten. So every step is cheap, the cap is hard, and whoever comes
/// back in time is known.
#[derive(Debug)]
struct Entries<K> {
    young: HashMap<K, Entry>,
    old: HashMap<K, Entry>,
    half: usize,
    ttl: Duration,
    now: Duration,
}

impl<K: Hash + Eq + Clone> Entries<K> {
    fn len(&self) -> usize {
        self.young.len() + self.old.len()
    }

    /// The arrival time of `key`, now seen; `None` if it is new or was silent for the ttl.
    fn see(&mut self, key: &K) -> Option<Duration> {
        if let Some(entry) = self.old.remove(key) {
            self.put(key, entry);
        }
        let entry = self.young.get_mut(key)?;
        let silence = self
            .now
            .saturating_sub(std::mem::replace(&mut entry.seen, self.now));
        (silence < self.ttl).then_some(entry.arrival)
    }

    fn put(&mut self, key: &K, entry: Entry) {
        if self.young.len() >= self.half && !self.young.contains_key(key) {
            self.old = std::mem::take(&mut self.young);
        }
        self.young.insert(key.clone(), entry);
    }
}

/// The store handed to governor; a clone shares the entries.
#[derive(Debug)]
struct Table<K>(Arc<Mutex<Entries<K>>>);

impl<K> Clone for Table<K> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

impl<K> Table<K> {
    fn lock(&self) -> std::sync::MutexGuard<'_, Entries<K>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<K: Hash + Eq + Clone> StateStore for Table<K> {
    type Key = K;

    fn measure_and_replace<T, F, E>(&self, key: &K, f: F) -> Result<T, E>
    where
        F: Fn(Option<Nanos>) -> Result<(T, Nanos), E>,
    {
        let mut entries = self.lock();
        let arrival = entries.see(key).map(Nanos::from);
        let (outcome, next) = f(arrival)?;
        let seen = entries.now;
        entries.put(
            key,
            Entry {
                arrival: next.into(),
                seen,
            },
        );
        Ok(outcome)
    }
}
