//! The rate limiter of handshakes and wrong tokens, with bounded tables.
//!
//! The buckets are governor's (GCRA) in a store of our own, for three properties: a hard cap on
//! entries, so that a flood from many addresses costs a fixed amount of memory;
//! `handshake_ip_rate.ttl`, after which an idle address is forgotten; and refunds, so that a right
//! token does not count as a guess.
//!
//! Addresses are counted by /32 and /64 ([`qdt_transport::LimitKey`]). A full table evicts the
//! addresses not seen for longest, so that a flood never locks out an honest new address. An
//! attacker who can overrun the table has more addresses, and so more buckets, than it holds.
//!
//! Callers pass the time; nothing here reads a clock.

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

/// Most entries of one table: about 1 MiB.
pub const TABLE_CAP: usize = 16_384;

fn at_least_one(value: u32) -> NonZeroU32 {
    NonZeroU32::new(value).unwrap_or(NonZeroU32::MIN)
}

/// A limiter with one bucket per key and a hard cap on their number.
pub struct Limiter<K: Hash + Eq + Clone> {
    limiter: RateLimiter<K, Table<K>, CallerClock, NoOpMiddleware<Nanos>>,
    table: Table<K>,
    time: CallerClock,
    /// The replenish interval of one permission.
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
    /// Makes a limiter of `rate` per key that forgets idle keys after `ttl` and remembers at most
    /// `cap` of them. Instants before `start` count as `start`.
    #[must_use]
    pub fn new(rate: Rate, ttl: Duration, cap: usize, start: Instant) -> Self {
        let time = CallerClock {
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

    /// Takes one permission of `key` and returns whether one was left.
    pub fn take(&self, key: &K, now: Instant) -> bool {
        let elapsed = self.time.advance(now);
        {
            let mut entries = self.table.lock();
            entries.now = entries.now.max(elapsed);
        }
        self.limiter.check_key(key).is_ok()
    }

    /// Returns one permission to `key`.
    pub fn refund(&self, key: &K) {
        if let Some(entry) = self.table.lock().young.get_mut(key) {
            entry.arrival = entry.arrival.saturating_sub(self.weight);
        }
    }

    /// Returns the number of entries.
    #[must_use]
    pub fn len(&self) -> usize {
        self.table.lock().len()
    }

    /// Returns whether the table is empty.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// A clock that callers set, in nanoseconds since the limiter was made.
#[derive(Debug, Clone)]
struct CallerClock {
    start: Instant,
    elapsed: Arc<AtomicU64>,
}

impl CallerClock {
    /// Advances to `now`, never backwards: workers read their clocks at different moments.
    fn advance(&self, now: Instant) -> Duration {
        let nanos = now.saturating_duration_since(self.start).as_nanos();
        let nanos = u64::try_from(nanos).unwrap_or(u64::MAX);
        Duration::from_nanos(self.elapsed.fetch_max(nanos, Ordering::Relaxed).max(nanos))
    }
}

impl Clock for CallerClock {
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

/// Entries in two generations. Recently seen ones are young; once half of the cap is young, the
/// old ones are dropped and the young become old. So eviction is cheap and the cap is hard.
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

    /// Marks `key` as seen and returns its arrival time; `None` if it is new or idle for the ttl.
    fn touch(&mut self, key: &K) -> Option<Duration> {
        if let Some(entry) = self.old.remove(key) {
            self.insert(key, entry);
        }
        let entry = self.young.get_mut(key)?;
        let idle = self
            .now
            .saturating_sub(std::mem::replace(&mut entry.seen, self.now));
        (idle < self.ttl).then_some(entry.arrival)
    }

    fn insert(&mut self, key: &K, entry: Entry) {
        if self.young.len() >= self.half && !self.young.contains_key(key) {
            self.old = std::mem::take(&mut self.young);
        }
        self.young.insert(key.clone(), entry);
    }
}

/// The store of governor's limiter; clones share the entries.
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
        let arrival = entries.touch(key).map(Nanos::from);
        let (outcome, next) = f(arrival)?;
        let seen = entries.now;
        entries.insert(
            key,
            Entry {
                arrival: next.into(),
                seen,
            },
        );
        Ok(outcome)
    }
}
