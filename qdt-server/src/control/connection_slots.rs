//! The connection slots of one control listener; when all are taken, a new connection evicts the
//! one that has been idle longest.
//!
//! A connection is *busy* from the arrival of a request until its response is made, and *idle*
//! otherwise. So a peer that holds connections open without requests cannot keep others from
//! `/healthz`; a new connection is refused only while all others are busy.
//!
//! This is no defence against a flood: a peer that opens [`MAX_CONNECTIONS`] connections before
//! another peer's request arrives evicts that peer. A response that is made but not yet read counts
//! as idle, so a slow reader may lose its connection in the middle of a page.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use tokio::sync::Notify;

/// Most connections that one listener serves at a time.
pub const MAX_CONNECTIONS: usize = 64;

/// The slots that are taken.
#[derive(Debug, Default)]
pub(super) struct ConnectionSlots {
    slots: Mutex<Vec<Arc<Slot>>>,
}

/// The slot of one connection.
#[derive(Debug)]
struct Slot {
    /// `None` while the connection is busy.
    idle_since: Mutex<Option<Instant>>,
    evict: Notify,
}

/// Owns one slot; dropping it frees the slot.
#[derive(Debug)]
pub(super) struct SlotGuard {
    slots: Arc<ConnectionSlots>,
    slot: Arc<Slot>,
}

/// Keeps its connection busy while a response is made.
#[derive(Debug)]
pub(super) struct RequestGuard(Arc<Slot>);

impl ConnectionSlots {
    /// Returns a slot for a new connection; `None` while all connections are busy.
    pub(super) fn acquire(self: &Arc<Self>) -> Option<SlotGuard> {
        let mut slots = lock(&self.slots);
        if slots.len() >= MAX_CONNECTIONS {
            let (index, _) = slots
                .iter()
                .enumerate()
                .filter_map(|(index, slot)| Some((index, (*lock(&slot.idle_since))?)))
                .min_by_key(|(_, since)| *since)?;
            slots.swap_remove(index).evict.notify_one();
        }
        let slot = Arc::new(Slot {
            idle_since: Mutex::new(Some(Instant::now())),
            evict: Notify::new(),
        });
        slots.push(Arc::clone(&slot));
        Some(SlotGuard {
            slots: Arc::clone(self),
            slot,
        })
    }
}

impl SlotGuard {
    /// Marks the connection as busy until the returned guard is dropped.
    pub(super) fn busy(&self) -> RequestGuard {
        *lock(&self.slot.idle_since) = None;
        RequestGuard(Arc::clone(&self.slot))
    }

    /// Returns once a newer connection has evicted this one.
    pub(super) async fn evicted(&self) {
        self.slot.evict.notified().await;
    }
}

impl Drop for SlotGuard {
    fn drop(&mut self) {
        lock(&self.slots.slots).retain(|slot| !Arc::ptr_eq(slot, &self.slot));
    }
}

impl Drop for RequestGuard {
    fn drop(&mut self) {
        *lock(&self.0.idle_since) = Some(Instant::now());
    }
}

/// No panic can interrupt a change here, so a poisoned lock guards valid data.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn is_evicted(guard: &SlotGuard) -> bool {
        use std::task::{Context, Waker};
        let mut evicted = Box::pin(guard.evicted());
        evicted
            .as_mut()
            .poll(&mut Context::from_waker(Waker::noop()))
            .is_ready()
    }

    fn acquire(slots: &Arc<ConnectionSlots>, count: usize) -> Vec<SlotGuard> {
        (0..count)
            .map(|_| slots.acquire().expect("a slot"))
            .collect()
    }

    #[test]
    fn the_connection_idle_longest_is_evicted_and_no_busy_one_is() {
        let slots = Arc::<ConnectionSlots>::default();
        let all = acquire(&slots, MAX_CONNECTIONS);
        let _busy = all[0].busy();
        let _new = slots.acquire().expect("a slot");
        assert!(!is_evicted(&all[0]), "it is busy");
        assert!(is_evicted(&all[1]));
        assert!(all[2..].iter().all(|other| !is_evicted(other)));
        assert_eq!(lock(&slots.slots).len(), MAX_CONNECTIONS);
    }

    #[test]
    fn while_all_are_busy_a_new_connection_is_refused() {
        let slots = Arc::<ConnectionSlots>::default();
        let all = acquire(&slots, MAX_CONNECTIONS);
        let mut busy: Vec<_> = all.iter().map(SlotGuard::busy).collect();
        assert!(slots.acquire().is_none());
        busy.pop();
        assert!(slots.acquire().is_some());
    }

    #[test]
    fn dropped_connections_free_their_slots_even_after_an_eviction() {
        let slots = Arc::<ConnectionSlots>::default();
        drop(acquire(&slots, 2 * MAX_CONNECTIONS));
        assert!(lock(&slots.slots).is_empty());
    }
}
