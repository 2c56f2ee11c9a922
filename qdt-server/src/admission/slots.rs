//! The session slots, which enforce `max_sessions`.
//!
//! Invariant: a slot is taken before its session exists, and freed when the session, or a request
//! that never became one, is dropped.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// Counts the slots in use.
#[derive(Debug, Clone)]
pub struct SessionSlots {
    limit: Option<usize>,
    used: Arc<AtomicUsize>,
}

/// The slot of a request.
#[derive(Debug)]
pub enum Slot {
    /// A slot below the limit.
    Reserved(SlotGuard),
    /// The server is full: the request may still move an existing session to a new connection;
    /// any other is refused as busy.
    Full(SessionSlots),
}

/// Owns one slot; dropping it frees the slot.
#[derive(Debug)]
pub struct SlotGuard(Arc<AtomicUsize>);

impl Drop for SlotGuard {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::AcqRel);
    }
}

impl SessionSlots {
    /// Makes `limit` slots; `None` for no limit.
    #[must_use]
    pub fn new(limit: Option<usize>) -> Self {
        Self {
            limit,
            used: Arc::default(),
        }
    }

    /// Takes a slot if one is free.
    #[must_use]
    pub fn take(&self) -> Slot {
        let limit = self.limit.unwrap_or(usize::MAX);
        let took = self
            .used
            .fetch_update(Ordering::AcqRel, Ordering::Acquire, |used| {
                (used < limit).then_some(used + 1)
            });
        match took {
            Ok(_) => Slot::Reserved(SlotGuard(Arc::clone(&self.used))),
            Err(_) => Slot::Full(self.clone()),
        }
    }
}

impl Slot {
    /// Returns whether the server was full.
    #[must_use]
    pub fn is_full(&self) -> bool {
        matches!(self, Self::Full(_))
    }

    /// Returns the guard; a full server exceeds its limit until the replaced session ends.
    #[must_use]
    pub fn into_guard(self) -> SlotGuard {
        match self {
            Self::Reserved(guard) => guard,
            Self::Full(slots) => {
                slots.used.fetch_add(1, Ordering::AcqRel);
                SlotGuard(slots.used)
            }
        }
    }
}
