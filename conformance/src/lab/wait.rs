//! Waiting for events: a condition, a deadline, and a panic that says what
//! did not happen. No test waits for a fixed time instead.

use std::time::{Duration, Instant};

/// Interval at which a condition is polled.
const POLL_INTERVAL: Duration = Duration::from_millis(5);

/// Waits until `reached` is true and returns how long that took.
///
/// # Panics
/// When `within` has passed first; `what` is named.
#[track_caller]
pub fn wait_until(what: &str, within: Duration, mut reached: impl FnMut() -> bool) -> Duration {
    let start = Instant::now();
    wait_for(what, within, || reached().then_some(()));
    start.elapsed()
}

/// Waits until `look` finds something and returns it.
///
/// # Panics
/// When `within` has passed first; `what` is named.
#[track_caller]
pub fn wait_for<T>(what: &str, within: Duration, mut look: impl FnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + within;
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(Instant::now() < deadline, "not within {within:?}: {what}");
        std::thread::sleep(POLL_INTERVAL);
    }
}

/// Lets time pass in which nothing may be sent: where silence itself is what a
/// test is about, there is no event to wait for.
pub fn stay_silent(time: Duration) {
    std::thread::sleep(time);
}

/// Whether scenarios run at full length (`scripts/test --long` sets
/// `QDT_LAB_LONG`) or shortened.
#[must_use]
pub fn at_full_length() -> bool {
    std::env::var_os("QDT_LAB_LONG").is_some_and(|value| value != "0" && !value.is_empty())
}
