//! One connection as the engine holds it.

use std::time::{Duration, Instant};

use quinn_proto::{Connection, ConnectionHandle};

use super::Accepted;

/// Keeps trains short for a peer that queues few datagrams (quic-go: 32 per stream, the newest dropped).
#[derive(Clone, Copy, Debug)]
pub(crate) struct Pace {
    /// Nothing more leaves before.
    pub(super) not_before: Instant,
}

impl Pace {
    /// Datagrams per train: half of what quic-go queues, so that one train may wait while the next arrives.
    pub(super) const TRAIN: usize = 16;
    /// Between two trains: 32,000 datagrams per second, more than a Go peer opens.
    pub(super) const GAP: Duration = Duration::from_micros(500);

    /// The first train may leave at once.
    pub(crate) fn new(now: Instant) -> Self {
        Self { not_before: now }
    }
}

/// A QUIC connection, what the application keeps for it, and when to look at it again.
pub(crate) struct Link<C> {
    pub(crate) handle: ConnectionHandle,
    pub(crate) quic: Connection,
    pub(crate) app: C,
    /// The application's own deadline, beside QUIC's.
    pub(crate) app_deadline: Option<Instant>,
    /// Toward a peer with a short queue: at most so many datagrams at once.
    pub(crate) pace: Option<Pace>,
    /// Whether the application was told that the connection has ended.
    pub(super) is_lost: bool,
    /// Whether the engine's list of changed connections has this one.
    pub(super) touched: bool,
    /// The earliest time for which the heap holds an entry.
    pub(super) scheduled: Option<Instant>,
}

impl<C> Link<C> {
    pub(super) fn new(accepted: Accepted<C>) -> Self {
        let Accepted {
            handle,
            quic,
            app,
            wake_at,
        } = accepted;
        Self {
            handle,
            quic,
            app,
            app_deadline: wake_at,
            pace: None,
            is_lost: false,
            touched: false,
            scheduled: None,
        }
    }

    /// Asks for [`super::Application::deadline`] at `at`, or earlier if it was already asked for earlier.
    /// The engine learns of it when it next flushes the connection.
    pub(crate) fn wake_at(&mut self, at: Instant) {
        self.app_deadline = Some(self.app_deadline.map_or(at, |earlier| earlier.min(at)));
    }
}
