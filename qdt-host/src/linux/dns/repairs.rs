//! How often a file that others change is put back, and what is said of it.
//!
//! Invariants: at most [`MOST`] repairs within [`WINDOW`], so that two programs that undo each
//! other's work do not do so at full speed; that it comes to this is said once, and nothing more
//! until the file stayed as it was for [`CALM`].

use std::{
    collections::VecDeque,
    time::{Duration, Instant},
};

/// The most repairs within [`WINDOW`].
pub(super) const MOST: usize = 3;
/// How long a repair counts.
pub(super) const WINDOW: Duration = Duration::from_secs(10);
/// After this long without a change the other program counts as gone.
const CALM: Duration = Duration::from_secs(60);

/// The repairs of the last seconds.
#[derive(Debug, Default)]
pub(super) struct Repairs {
    recent: VecDeque<Instant>,
    contested: bool,
    changed: Option<Instant>,
}

/// What to do about a file that another program changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Decision {
    /// Put it back and say so.
    PutBack,
    /// Put it back; more was said already.
    PutBackSilently,
    /// Leave it for now and say why.
    Complain,
    /// Leave it for now.
    Wait,
}

impl Repairs {
    /// Decides about a change that was found at `now`.
    pub(super) fn decide(&mut self, now: Instant) -> Decision {
        let calm = |since: Instant| now.saturating_duration_since(since) >= CALM;
        if self.changed.is_some_and(calm) {
            self.contested = false;
        }
        self.changed = Some(now);
        self.recent
            .retain(|repair| now.saturating_duration_since(*repair) < WINDOW);
        if self.recent.len() >= MOST {
            return match std::mem::replace(&mut self.contested, true) {
                true => Decision::Wait,
                false => Decision::Complain,
            };
        }
        self.recent.push_back(now);
        if self.contested {
            Decision::PutBackSilently
        } else {
            Decision::PutBack
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
        use Decision::{Complain, PutBack, PutBackSilently, Wait};
        let expected = [
            PutBack,
            PutBack,
            PutBack,
            Complain,
            Wait,
            Wait,
            PutBackSilently,
            Wait,
        ];
        assert_eq!(decisions([0, 3, 4, 5, 6, 9, 10, 11]), expected);
    }

    #[test]
    fn after_a_minute_of_calm_everything_is_said_again() {
        use Decision::{Complain, PutBack, Wait};
        let expected = [PutBack, PutBack, PutBack, Complain, Wait, PutBack];
        assert_eq!(decisions([0, 1, 2, 3, 4, 64]), expected);
    }

    #[test]
    fn a_change_now_and_then_is_put_back_every_time() {
        let all = decisions((0..1000).map(|number| number * 4));
        assert!(all.iter().all(|decision| *decision == Decision::PutBack));
    }
}
