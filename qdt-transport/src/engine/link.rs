//! One connection as the engine holds it.

use std::time::Instant;

use quinn_proto::{Connection, ConnectionHandle};

use super::Accepted;

/// A QUIC connection, what the application keeps for it, and when to look at it again.
pub(crate) struct Link<C> {
    pub(crate) handle: ConnectionHandle,
    pub(crate) quic: Connection,
    pub(crate) app: C,
    /// The application's own deadline, beside QUIC's.
    pub(crate) app_deadline: Option<Instant>,
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
