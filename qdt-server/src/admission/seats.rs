//! `max_sessions` without a race: a seat is taken before a session exists and given back when the
//! session, or the request that never became one, is dropped.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// The seats of the server.
#[derive(Debug, Clone)]
pub struct Seats {
    limit: Option<usize>,
    taken: Arc<AtomicUsize>,
}

/// A place for one session; dropping it gives the place back.
#[derive(Debug)]
pub enum Seat {
    /// A place below the limit.
    Taken(Taken),
    /// The server is full. The request may still move a session that exists to a new connection,
    /// for which it needs no more places than there are; anything else is refused as busy.
    Standing(Seats),
}

/// Proof of a taken place.
#[derive(Debug)]
pub struct Taken(Arc<AtomicUsize>);

impl Drop for Taken {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::AcqRel);
    }
}

impl Seats {
    /// `limit` seats; `None` for as many as are asked for.
    #[must_use]
    pub fn new(limit: Option<usize>) -> Self {
        Self {
            limit,
            taken: Arc::default(),
        }
    }

    /// A seat below the limit, or a standing place.
    #[must_use]
    pub fn take(&self) -> Seat {
        let limit = self.limit.unwrap_or(usize::MAX);
        let took = self
            .taken
            .fetch_update(Ordering::AcqRel, Ordering::Acquire, |taken| {
                (taken < limit).then_some(taken + 1)
            });
        match took {
            Ok(_) => Seat::Taken(Taken(Arc::clone(&self.taken))),
            Err(_) => Seat::Standing(self.clone()),
        }
    }
}

impl Seat {
    /// Whether the server was full.
    #[must_use]
    pub fn is_standing(&self) -> bool {
        matches!(self, Self::Standing(_))
    }

    /// Takes the place of the session that is being replaced, a moment before that one gives it
    /// back.
    #[must_use]
    pub fn claim(self) -> Taken {
        match self {
            Self::Taken(taken) => taken,
            Self::Standing(seats) => {
                seats.taken.fetch_add(1, Ordering::AcqRel);
                Taken(seats.taken)
            }
        }
    }
}
