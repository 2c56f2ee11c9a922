//! How long nothing is tried after a round of attempts gave no session.
//!
//! What always holds here: a pause is at least [`SHORTEST`] and at most [`LONGEST`], and two
//! clients that lost the same server do not come back in step.

use std::time::Duration;

use rand::Rng;
use rand::rngs::StdRng;

/// No pause is shorter.
pub(super) const SHORTEST: Duration = Duration::from_millis(500);
/// No pause is longer.
pub(super) const LONGEST: Duration = Duration::from_secs(10);
/// Upper bound while a tunnel that once was up hears nothing at all: a server that comes back is
/// to be met within 3 s, and one small packet in two seconds burdens nobody.
const LONGEST_IN_SILENCE: Duration = Duration::from_secs(2);
/// Lower bound after a wrong token: the server counts these, and nothing but its operator can
/// change the answer.
const SHORTEST_UNAUTHORIZED: Duration = Duration::from_millis(7500);

/// What the round that failed has shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Verdict {
    /// Nobody answered, or the network said no, or the server has just been started.
    Silence,
    /// A server answered and does not want us now.
    Refusal,
    /// The token is wrong.
    Unauthorized,
}

/// Pauses with "decorrelated jitter": each is drawn between the shortest and three times the one
/// before, so that they grow, and spread.
#[derive(Debug)]
pub(super) struct Backoff {
    last: Duration,
}

impl Backoff {
    pub(super) fn new() -> Self {
        Self { last: SHORTEST }
    }

    /// Something worked: the next pause is a short one again.
    pub(super) fn reset(&mut self) {
        self.last = SHORTEST;
    }

    /// The pause after a round of the first connect.
    pub(super) fn pause(&mut self, rng: &mut StdRng) -> Duration {
        let upper = (self.last * 3).min(LONGEST);
        self.last = rng.random_range(SHORTEST..=upper);
        self.last
    }

    /// The pause after a round in which somebody answered who may not be the server: the server's
    /// own answer may come first the next time. It does not grow, because it ends after
    /// [`super::imposture::PATIENCE`].
    pub(super) fn short_pause(rng: &mut StdRng) -> Duration {
        rng.random_range(SHORTEST..=SHORTEST * 2)
    }

    /// The pause after a round of a tunnel that once was up.
    pub(super) fn pause_after(&mut self, verdict: Verdict, rng: &mut StdRng) -> Duration {
        match verdict {
            Verdict::Silence => self.pause(rng).min(LONGEST_IN_SILENCE),
            Verdict::Refusal => self.pause(rng),
            Verdict::Unauthorized => rng.random_range(SHORTEST_UNAUTHORIZED..=LONGEST),
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
        fn pauses_in_silence_stay_below_two_seconds(seed: u64) {
            let mut rng = StdRng::seed_from_u64(seed);
            let mut backoff = Backoff::new();
            for _ in 0..40 {
                let pause = backoff.pause_after(Verdict::Silence, &mut rng);
                prop_assert!((SHORTEST..=LONGEST_IN_SILENCE).contains(&pause));
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
