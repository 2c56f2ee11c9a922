//! How often what others removed from the host is put back, and what the log learns of it.
//!
//! Invariants: at most [`MOST`] repairs a minute, so that two programs which undo each other's work
//! do not do so forever at full speed; one line for each repair, one when no more are made, and one
//! for a failure that repeats itself.

use std::time::{Duration, Instant};

use tracing::{error, info, warn};

use crate::cause::Cause;

/// The most repairs within [`WINDOW`].
const MOST: usize = 20;
/// How long repairs are counted, and the longest time without one after too many.
const WINDOW: Duration = Duration::from_secs(60);

/// The repairs of the last minute.
#[derive(Debug, Default)]
pub(crate) struct Repairs {
    recent: Vec<Instant>,
    paused_until: Option<Instant>,
    failure: Option<Cause>,
}

impl Repairs {
    /// Whether the host may be checked and repaired now.
    pub(crate) fn may_go_on(&mut self, now: Instant) -> bool {
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

    /// The host was checked, and these parts of the tunnel put back.
    pub(crate) fn done(&mut self, now: Instant, restored: &[String]) {
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
        if self.recent.len() >= MOST {
            let first = self.recent.first().copied().unwrap_or(now);
            let until = first + WINDOW;
            self.paused_until = Some(until);
            error!(
                err = format!(
                    "put back {MOST} times within a minute: another program removes them again; \
                     find it (`ip monitor`, `nft monitor`) and end it"
                ),
                retry_in = ?until.saturating_duration_since(now),
                "the tunnel's device and routes are not watched for now, traffic may leave in the \
                 clear"
            );
        }
    }

    /// All of the host was looked at.
    pub(crate) fn succeeded(&mut self) {
        self.failure = None;
    }

    /// The host could not be repaired.
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
            assert!(repairs.may_go_on(at(second)), "{second}");
            repairs.done(at(second), &["rule 1".to_owned()]);
        }
        assert!(!repairs.may_go_on(at(20)));
        assert!(!repairs.may_go_on(at(59)));
        assert!(repairs.may_go_on(at(60)));
    }

    #[test]
    fn a_repair_now_and_then_never_comes_to_an_end() {
        let mut repairs = Repairs::default();
        let start = Instant::now();
        for number in 0..200 {
            let now = start + Duration::from_secs(4) * number;
            assert!(repairs.may_go_on(now), "{number}");
            repairs.done(now, &["rule 1".to_owned()]);
        }
    }

    #[test]
    fn a_host_that_misses_nothing_is_looked_at_without_limit() {
        let mut repairs = Repairs::default();
        let now = Instant::now();
        for _ in 0..1000 {
            assert!(repairs.may_go_on(now));
            repairs.done(now, &[]);
        }
    }
}
