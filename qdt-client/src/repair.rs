//! The rate limit and the log lines of repairs on the host.
//!
//! Invariants: at most [`MAX_REPAIRS`] a minute, so that two programs that revert each other's
//! changes do not loop at full speed; one line for each repair, one when they stop, and one for a
//! repeated error.

use std::time::{Duration, Instant};

use tracing::{error, info, warn};

use crate::cause::Cause;

/// The most repairs within [`WINDOW`].
const MAX_REPAIRS: usize = 20;
/// The time over which repairs are counted, and the longest pause after too many.
const WINDOW: Duration = Duration::from_secs(60);

/// The repairs of the last minute.
#[derive(Debug, Default)]
pub(crate) struct Repairs {
    recent: Vec<Instant>,
    paused_until: Option<Instant>,
    failure: Option<Cause>,
}

impl Repairs {
    /// Returns whether the host may be checked and repaired now.
    pub(crate) fn is_allowed(&mut self, now: Instant) -> bool {
        match self.paused_until {
            Some(until) if now < until => false,
            Some(_) => {
                self.paused_until = None;
                self.recent.clear();
                info!("the tunnel's device and routes are watched again");
                true
            }
            None => true,
        }
    }

    /// Records and logs a check that restored `restored`.
    pub(crate) fn record(&mut self, now: Instant, restored: &[String]) {
        if restored.is_empty() {
            return;
        }
        warn!(
            restored = restored.join(", "),
            "another program changed the tunnel's device or routes; they are put back"
        );
        self.recent
            .retain(|repair| now.saturating_duration_since(*repair) < WINDOW);
        self.recent.push(now);
        if self.recent.len() >= MAX_REPAIRS {
            let first = self.recent.first().copied().unwrap_or(now);
            let until = first + WINDOW;
            self.paused_until = Some(until);
            error!(
                err = format!(
                    "put back {MAX_REPAIRS} times within a minute: another program removes them again; \
                     find it (`ip monitor`, `nft monitor`) and end it"
                ),
                retry_in = ?until.saturating_duration_since(now),
                "the tunnel's device and routes are not watched for now, traffic may leave in the \
                 clear"
            );
        }
    }

    /// Records a check without an error.
    pub(crate) fn succeeded(&mut self) {
        self.failure = None;
    }

    /// Records an error; logs it unless the previous check failed with the same one.
    pub(crate) fn failed(&mut self, cause: Cause) {
        if self.failure.as_ref() != Some(&cause) {
            error!(err = %cause, "cannot put back the tunnel's device or routes");
            self.failure = Some(cause);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn twenty_repairs_a_minute_are_made_and_the_next_after_that_minute() {
        let mut repairs = Repairs::default();
        let start = Instant::now();
        let at = |second| start + Duration::from_secs(second);
        for second in 0..20 {
            assert!(repairs.is_allowed(at(second)), "{second}");
            repairs.record(at(second), &["rule 1".to_owned()]);
        }
        assert!(!repairs.is_allowed(at(20)));
        assert!(!repairs.is_allowed(at(59)));
        assert!(repairs.is_allowed(at(60)));
    }

    #[test]
    fn a_repair_now_and_then_never_comes_to_an_end() {
        let mut repairs = Repairs::default();
        let start = Instant::now();
        for number in 0..200 {
            let now = start + Duration::from_secs(4) * number;
            assert!(repairs.is_allowed(now), "{number}");
            repairs.record(now, &["rule 1".to_owned()]);
        }
    }

    #[test]
    fn a_host_that_misses_nothing_is_checked_without_limit() {
        let mut repairs = Repairs::default();
        let now = Instant::now();
        for _ in 0..1000 {
            assert!(repairs.is_allowed(now));
            repairs.record(now, &[]);
        }
    }
}
