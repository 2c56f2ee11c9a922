//! The connections of one control listener: bounded in number, and idle ones give way to newcomers.
//!
//! A connection is *busy* from the moment a request has come until its answer is made, and
//! *waiting* otherwise. Where all places are taken the connection that has waited longest gives
//! way: whoever holds connections open without asking for anything cannot keep others from
//! `/healthz`. Only where all are busy, which takes as many requests in one moment, a newcomer is
//! turned away.
//!
//! This is fair to the quick, not a defence against a flood: whoever makes as many connections as
//! there are places before a newcomer's request has come makes the newcomer give way in its turn.
//! And an answer that is made but not yet read counts as waiting, so a reader that is slow may be
//! cut off in the middle of a page while all places are taken.
//!
//! What always holds: a place is taken by one connection, and given back when that one ends or
//! gives way.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use tokio::sync::Notify;

/// Connections that one listener serves at a time.
pub const MAX_CONNECTIONS: usize = 64;

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Connections {
    places: Mutex<Vec<Arc<Place>>>,
}

/// The place of one connection.
#[derive(Debug)]
struct Place {
    /// Since when it has waited for a request; `None` while it is busy.
    waiting_since: Mutex<Option<Instant>>,
    give_way: Notify,
}

/// A taken place; dropping it gives it back.
#[derive(Debug)]
pub(super) struct Taken {
    connections: Arc<Connections>,
    place: Arc<Place>,
}

/// A request whose answer is being made; dropping it makes the connection wait again.
#[derive(Debug)]
pub(super) struct Busy(Arc<Place>);

impl Connections {
    /// A place for a new connection; `None` where all are busy.
    pub(super) fn enter(self: &Arc<Self>) -> Option<Taken> {
        let mut places = lock(&self.places);
        if places.len() >= MAX_CONNECTIONS {
            let (index, _) = places
                .iter()
                .enumerate()
                .filter_map(|(index, place)| Some((index, (*lock(&place.waiting_since))?)))
                .min_by_key(|(_, since)| *since)?;
            places.swap_remove(index).give_way.notify_one();
        }
        let place = Arc::new(Place {
            waiting_since: Mutex::new(Some(Instant::now())),
            give_way: Notify::new(),
        });
        places.push(Arc::clone(&place));
        Some(Taken {
            connections: Arc::clone(self),
            place,
        })
    }
}

impl Taken {
    /// A request has come.
    pub(super) fn busy(&self) -> Busy {
        *lock(&self.place.waiting_since) = None;
        Busy(Arc::clone(&self.place))
    }

    /// Returns when the connection has to give way to a newer one.
    pub(super) async fn must_give_way(&self) {
        self.place.give_way.notified().await;
    }
}

impl Drop for Taken {
    fn drop(&mut self) {
        lock(&self.connections.places).retain(|place| !Arc::ptr_eq(place, &self.place));
    }
}

impl Drop for Busy {
    fn drop(&mut self) {
        *lock(&self.0.waiting_since) = Some(Instant::now());
    }
}

/// Every change here is complete before anything could panic.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Whether it was told to give way, without waiting for that.
    fn gives_way(taken: &Taken) -> bool {
        use std::task::{Context, Waker};
        let mut told = Box::pin(taken.must_give_way());
        told.as_mut()
            .poll(&mut Context::from_waker(Waker::noop()))
            .is_ready()
    }

    #[test]
    fn the_one_that_waited_longest_gives_way_and_no_busy_one_does() {
        let connections = Arc::<Connections>::default();
        let all: Vec<_> = (0..MAX_CONNECTIONS)
            .map(|_| connections.enter().expect("a place"))
            .collect();
        let _busy = all[0].busy();
        let _newcomer = connections.enter().expect("a place");
        assert!(!gives_way(&all[0]), "it is busy");
        assert!(gives_way(&all[1]));
        assert!(all[2..].iter().all(|other| !gives_way(other)));
        assert_eq!(lock(&connections.places).len(), MAX_CONNECTIONS);
    }

    #[test]
    fn where_all_are_busy_a_newcomer_is_turned_away_until_one_is_done() {
        let connections = Arc::<Connections>::default();
        let all: Vec<_> = (0..MAX_CONNECTIONS)
            .map(|_| connections.enter().expect("a place"))
            .collect();
        let mut busy: Vec<_> = all.iter().map(Taken::busy).collect();
        assert!(connections.enter().is_none());
        busy.pop();
        assert!(connections.enter().is_some());
    }

    #[test]
    fn places_come_back_also_those_that_gave_way() {
        let connections = Arc::<Connections>::default();
        let all: Vec<_> = (0..2 * MAX_CONNECTIONS)
            .map(|_| connections.enter().expect("a place"))
            .collect();
        drop(all);
        assert!(lock(&connections.places).is_empty());
    }
}
