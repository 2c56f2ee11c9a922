//! What a round found, and what rounds come to.

use serde::Serialize;

use super::drops::Drops;
use super::load::{Carried, Load};
use super::round_trips::RoundTrips;
use crate::statistics::Spread;

/// Round trips while TCP filled the link, and what TCP carried.
#[derive(Debug, Clone, Copy, Serialize)]
pub(crate) struct Loaded {
    /// Of the requests sent after the warm-up.
    pub(crate) round_trips: RoundTrips,
    /// All flows together.
    pub(crate) load: Load,
}

/// One TCP flow, alone on the link.
#[derive(Debug, Clone, Copy, Serialize)]
pub(crate) struct Throughput {
    /// From client to server.
    pub(crate) up: Carried,
    /// From server to client, after that.
    pub(crate) down: Carried,
}

/// One tunnel in one round; none where it was not asked for.
#[derive(Debug, Clone, Default, Serialize)]
pub(crate) struct Round {
    /// Round trips on the idle link.
    pub(crate) idle: Option<RoundTrips>,
    /// Under four flows up.
    pub(crate) up: Option<Loaded>,
    /// Under four flows down.
    pub(crate) down: Option<Loaded>,
    /// Under four flows each way.
    pub(crate) both: Option<Loaded>,
    /// One flow with bbr.
    pub(crate) bbr: Option<Throughput>,
    /// One flow with cubic.
    pub(crate) cubic: Option<Throughput>,
    /// Packets dropped in the round, by place and reason.
    pub(crate) drops: Drops,
}

impl Round {
    /// By how much four flows that way raise the 99th percentile above the idle link's median, in
    /// milliseconds.
    pub(crate) fn added_ms(&self, way: fn(&Self) -> Option<Loaded>) -> Option<f64> {
        Some(way(self)?.round_trips.p99_ms - self.idle?.p50_ms)
    }
}

/// The spread of a figure over rounds; none where it was not measured.
pub(crate) fn spread(rounds: &[Round], figure: impl Fn(&Round) -> Option<f64>) -> Option<Spread> {
    Spread::of(rounds.iter().filter_map(figure))
}

/// The spread of a figure divided by the same of `bare`, round by round.
pub(crate) fn share(
    rounds: &[Round],
    bare: &[Round],
    figure: impl Fn(&Round) -> Option<f64>,
) -> Option<Spread> {
    Spread::of(
        rounds
            .iter()
            .zip(bare)
            .filter_map(|(round, bare)| Some(figure(round)? / figure(bare)?)),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn round(mbit_per_second: f64) -> Round {
        let carried = Carried {
            mbit_per_second,
            retransmits: 0,
        };
        Round {
            bbr: Some(Throughput {
                up: carried,
                down: carried,
            }),
            ..Round::default()
        }
    }

    fn up(round: &Round) -> Option<f64> {
        round.bbr.map(|bbr| bbr.up.mbit_per_second)
    }

    #[test]
    fn a_share_is_taken_within_a_round() {
        let share = share(&[round(45.0), round(9.0)], &[round(90.0), round(18.0)], up);
        assert_eq!(share.map(|share| (share.min, share.max)), Some((0.5, 0.5)));
    }

    #[test]
    fn a_measure_that_did_not_run_gives_no_figure() {
        assert!(spread(&[Round::default()], up).is_none());
        assert!(share(&[round(1.0)], &[Round::default()], up).is_none());
    }
}
