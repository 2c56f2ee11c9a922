//! Rate limit of repairs of a file that another program keeps rewriting, and of reports about it.
//!
//! Invariants: at most [`MAX_REPAIRS`] repairs within [`WINDOW`], so that two programs do not
//! overwrite each other's file at full speed. Exceeding the limit is reported once, and again only
//! after the file stayed unchanged for [`QUIET_PERIOD`].

use std::{
    collections::VecDeque,
    time::{Duration, Instant},
};

/// The most repairs within [`WINDOW`].
pub(super) const MAX_REPAIRS: usize = 3;
/// The time that a repair counts.
pub(super) const WINDOW: Duration = Duration::from_secs(10);
/// The time without a change after which the other program counts as gone.
const QUIET_PERIOD: Duration = Duration::from_secs(60);

/// The recent repairs of one file.
#[derive(Debug, Default)]
pub(super) struct Repairs {
    recent: VecDeque<Instant>,
    contested: bool,
    last_change: Option<Instant>,
}

/// The reaction to a change by another program.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Decision {
    /// Restore the file and report the repair.
    Restore,
    /// Restore the file; the conflict was reported already.
    RestoreSilently,
    /// Leave the file for now and report the conflict.
    Report,
    /// Leave the file for now.
    Wait,
}

impl Repairs {
    /// Decides about a change that was detected at `now`.
    pub(super) fn decide(&mut self, now: Instant) -> Decision {
        let is_quiet = |since: Instant| now.saturating_duration_since(since) >= QUIET_PERIOD;
        if self.last_change.is_some_and(is_quiet) {
            self.contested = false;
        }
        self.last_change = Some(now);
        self.recent
            .retain(|repair| now.saturating_duration_since(*repair) < WINDOW);
        if self.recent.len() >= MAX_REPAIRS {
            return match std::mem::replace(&mut self.contested, true) {
                true => Decision::Wait,
                false => Decision::Report,
            };
        }
        self.recent.push_back(now);
        if self.contested {
            Decision::RestoreSilently
        } else {
            Decision::Restore
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn decisions(seconds: impl IntoIterator<Item = u64>) -> Vec<Decision> {
        let mut repairs = Repairs::default();
        let start = Instant::now();
        let decide = |second| repairs.decide(start + Duration::from_secs(second));
        seconds.into_iter().map(decide).collect()
    }

    #[test]
    fn a_file_is_put_back_three_times_in_ten_seconds_and_then_one_error_is_said() {
        use Decision::{Report, Restore, RestoreSilently, Wait};
        let expected = [
            Restore,
            Restore,
            Restore,
            Report,
            Wait,
            Wait,
            RestoreSilently,
            Wait,
        ];
        assert_eq!(decisions([0, 3, 4, 5, 6, 9, 10, 11]), expected);
    }

    #[test]
    fn after_a_minute_of_calm_everything_is_said_again() {
        use Decision::{Report, Restore, Wait};
        let expected = [Restore, Restore, Restore, Report, Wait, Restore];
        assert_eq!(decisions([0, 1, 2, 3, 4, 64]), expected);
    }

    #[test]
    fn a_change_now_and_then_is_put_back_every_time() {
        let all = decisions((0..1000).map(|number| number * 4));
        assert!(all.iter().all(|decision| *decision == Decision::Restore));
    }
}
