//! The system's clocks: the one place of this crate that reads them.
//!
//! A worker's loop reads the time once a turn, after it has waited, and hands it down as an
//! argument; whoever drives turns without a thread brings a time of its own.

#![expect(
    clippy::disallowed_methods,
    reason = "this is where the clocks are read"
)]

use std::time::{Instant, SystemTime, UNIX_EPOCH};

/// Reads the monotonic clock.
pub(crate) fn now() -> Instant {
    Instant::now()
}

/// Reads the wall clock, in whole seconds since 1970; 0 before that.
pub(crate) fn unix_seconds() -> u64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(0, |since| since.as_secs())
}
