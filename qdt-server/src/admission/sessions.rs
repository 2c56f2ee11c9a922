//! The session table of the control side: what exists, for metrics and for the log.
//!
//! The packet path never looks here; each worker finds its own sessions without a lock. The table
//! is sharded (`session_shards`), because every worker writes it whenever a session comes or goes.

use std::sync::Arc;

use dashmap::DashMap;
use qdt_proto::datagram::SessionId;
use qdt_transport::{Owner, PoolIndex, SessionCounters};

use super::seats::Taken;

/// One session.
#[derive(Debug)]
pub struct SessionEntry {
    /// Whose it is.
    pub owner: Owner,
    /// Its inner address in the pool.
    pub index: PoolIndex,
    /// The index of the worker that owns it.
    pub worker: usize,
    /// What it has carried so far.
    pub counters: Arc<SessionCounters>,
    /// Its place among `max_sessions`; freed with the entry.
    pub(super) _seat: Taken,
}

/// Every session by its id.
#[derive(Debug)]
pub struct SessionTable {
    sessions: DashMap<u64, SessionEntry>,
    shards: usize,
}

impl SessionTable {
    /// A table of `shards` shards, rounded up to a power of two of at least 2.
    #[must_use]
    pub fn new(shards: usize) -> Self {
        let shards = shards.clamp(2, 1 << 16).next_power_of_two();
        Self {
            sessions: DashMap::with_shard_amount(shards),
            shards,
        }
    }

    /// How many shards the table has.
    #[must_use]
    pub fn shards(&self) -> usize {
        self.shards
    }

    /// How many sessions there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.sessions.len()
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.sessions.is_empty()
    }

    /// Whether `session` exists.
    #[must_use]
    pub fn contains(&self, session: SessionId) -> bool {
        self.sessions.contains_key(&session.0)
    }

    /// What `read` finds in the entry of `session`, where that exists. It must not touch the table.
    pub fn read<T>(&self, session: SessionId, read: impl FnOnce(&SessionEntry) -> T) -> Option<T> {
        self.sessions.get(&session.0).map(|entry| read(&entry))
    }

    pub(super) fn insert(&self, session: SessionId, entry: SessionEntry) {
        self.sessions.insert(session.0, entry);
    }

    pub(super) fn remove(&self, session: SessionId) -> Option<SessionEntry> {
        self.sessions.remove(&session.0).map(|(_, entry)| entry)
    }
}
