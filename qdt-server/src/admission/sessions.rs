//! The control side's table of sessions, for metrics and log lines.
//!
//! The packet path never reads it: each worker finds its own sessions without a lock. It is sharded
//! (`session_shards`) because every worker writes to it when a session opens or ends.

use std::sync::Arc;

use dashmap::DashMap;
use qdt_proto::datagram::SessionId;
use qdt_transport::{Owner, PoolIndex, SessionCounters};

use super::slots::SlotGuard;

/// One session.
#[derive(Debug)]
pub struct SessionEntry {
    /// The session's owner.
    pub owner: Owner,
    /// Its inner address in the pool.
    pub index: PoolIndex,
    /// The index of the worker that owns it.
    pub worker: usize,
    /// Its traffic so far.
    pub counters: Arc<SessionCounters>,
    /// Its slot below `max_sessions`; freed with the entry.
    pub(super) _slot: SlotGuard,
}

/// All sessions by id.
#[derive(Debug)]
pub struct SessionTable {
    sessions: DashMap<u64, SessionEntry>,
    shards: usize,
}

impl SessionTable {
    /// Makes a table of `shards` shards, rounded up to a power of two of at least 2.
    #[must_use]
    pub fn new(shards: usize) -> Self {
        let shards = shards.clamp(2, 1 << 16).next_power_of_two();
        Self {
            sessions: DashMap::with_shard_amount(shards),
            shards,
        }
    }

    /// Returns the number of shards.
    #[must_use]
    pub fn shards(&self) -> usize {
        self.shards
    }

    /// Returns the number of sessions.
    #[must_use]
    pub fn len(&self) -> usize {
        self.sessions.len()
    }

    /// Returns whether there is no session.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.sessions.is_empty()
    }

    /// Returns whether `session` exists.
    #[must_use]
    pub fn contains(&self, session: SessionId) -> bool {
        self.sessions.contains_key(&session.0)
    }

    /// Returns what `read` finds in the entry of `session`; `read` must not use the table.
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
