//! The pause between two rounds of connection attempts.
//!
//! Invariants: a pause lasts from [`SHORTEST`] to [`LONGEST`], and jitter keeps two clients of one
//! server out of step.

use std::time::Duration;

use rand::Rng;
use rand::rngs::StdRng;

/// The lower bound.
pub(super) const SHORTEST: Duration = Duration::from_millis(500);
/// The upper bound.
pub(super) const LONGEST: Duration = Duration::from_secs(10);
/// The upper bound for a tunnel that was up and gets no answer: a returning server is to be found
/// within 3 s, and one small packet in two seconds is no load.
const LONGEST_WITHOUT_ANSWER: Duration = Duration::from_secs(2);
/// The lower bound after a wrong token: the server limits these, and only its operator can change
/// the answer.
const SHORTEST_UNAUTHORIZED: Duration = Duration::from_millis(7500);

/// The outcome of a failed round, in ascending order of significance.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd)]
pub(super) enum RoundOutcome {
    /// No answer, a network error, or a server that is not ready yet.
    NoAnswer,
    /// The server refused.
    Refused,
    /// The server refused the token.
    Unauthorized,
}

/// Pauses with "decorrelated jitter": each is drawn between the shortest and three times the
/// previous one.
#[derive(Debug)]
pub(super) struct Backoff {
    last: Duration,
}

impl Backoff {
    pub(super) fn new() -> Self {
        Self { last: SHORTEST }
    }

    /// Makes the next pause a short one, after a success.
    pub(super) fn reset(&mut self) {
        self.last = SHORTEST;
    }

    /// Returns the pause after a round of the first connect.
    pub(super) fn pause(&mut self, rng: &mut StdRng) -> Duration {
        let upper = (self.last * 3).min(LONGEST);
        self.last = rng.random_range(SHORTEST..=upper);
        self.last
    }

    /// Returns the pause after a wrong certificate: the server's own answer may be first in the
    /// next round. It does not grow, because [`super::certificate_failures::GIVE_UP_AFTER`] ends
    /// it.
    pub(super) fn short_pause(rng: &mut StdRng) -> Duration {
        rng.random_range(SHORTEST..=SHORTEST * 2)
    }

    /// Returns the pause after a round of a tunnel that was up.
    pub(super) fn pause_after(&mut self, outcome: RoundOutcome, rng: &mut StdRng) -> Duration {
        match outcome {
            RoundOutcome::NoAnswer => self.pause(rng).min(LONGEST_WITHOUT_ANSWER),
            RoundOutcome::Refused => self.pause(rng),
            RoundOutcome::Unauthorized => rng.random_range(SHORTEST_UNAUTHORIZED..=LONGEST),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use rand::SeedableRng;

    proptest! {
        #[test]
        fn every_pause_lies_between_half_a_second_and_ten(seed: u64, rounds in 1..40usize) {
            let mut rng = StdRng::seed_from_u64(seed);
            let mut backoff = Backoff::new();
            for _ in 0..rounds {
                let pause = backoff.pause(&mut rng);
                prop_assert!((SHORTEST..=LONGEST).contains(&pause));
            }
        }

        #[test]
        fn pauses_without_an_answer_stay_below_two_seconds(seed: u64) {
            let mut rng = StdRng::seed_from_u64(seed);
            let mut backoff = Backoff::new();
            for _ in 0..40 {
                let pause = backoff.pause_after(RoundOutcome::NoAnswer, &mut rng);
                prop_assert!((SHORTEST..=LONGEST_WITHOUT_ANSWER).contains(&pause));
            }
        }
    }

    #[test]
    fn the_first_pause_is_short_and_later_ones_grow_to_the_cap() {
        let mut rng = StdRng::seed_from_u64(7);
        let mut backoff = Backoff::new();
        let first = backoff.pause(&mut rng);
        assert!(first <= SHORTEST * 3, "{first:?}");
        let longest = (0..200).map(|_| backoff.pause(&mut rng)).max().unwrap();
        assert!(longest > LONGEST * 9 / 10, "{longest:?}");
    }

    #[test]
    fn two_seeds_give_two_different_sequences() {
        let draw = |seed| {
            let mut rng = StdRng::seed_from_u64(seed);
            let mut backoff = Backoff::new();
            (0..4).map(|_| backoff.pause(&mut rng)).collect::<Vec<_>>()
        };
        assert_ne!(draw(1), draw(2));
        assert_eq!(draw(1), draw(1));
    }
}
