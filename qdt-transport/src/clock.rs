//! The system's clocks: the only place of this crate that reads them.
//!
//! A worker's loop reads the time once a turn, after waiting, and passes it on as an argument;
//! tests that drive turns without a thread pass a time of their own.

#![expect(
    clippy::disallowed_methods,
    reason = "this is where the clocks are read"
)]

use std::time::{Instant, SystemTime, UNIX_EPOCH};

/// Reads the monotonic clock.
pub(crate) fn now() -> Instant {
    Instant::now()
}

/// Reads the wall clock in whole seconds since 1970; 0 before that.
pub(crate) fn unix_seconds() -> u64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(0, |since| since.as_secs())
}
