//! Bars for our pair on some of the links.

use serde::Serialize;

use super::figures::{Round, share, spread};

/// Above the idle round trip, under four TCP flows, in milliseconds.
const ADDED_MS: f64 = 60.0;
/// Of what one flow with bbr gets without a tunnel.
const SHARE: f64 = 0.9;

/// One bar and the figure it is held against.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(crate) struct Bar {
    /// What is judged.
    pub(crate) figure: String,
    /// The median over the rounds.
    pub(crate) value: f64,
    /// What it has to be.
    pub(crate) bar: String,
    /// Whether it is.
    pub(crate) reached: bool,
}

/// The bars of a link, where the rounds have what they need.
pub(crate) fn of(link: &str, qdt: &[Round], bare: Option<&[Round]>) -> Vec<Bar> {
    let ways = ["up", "down"];
    match link {
        "tbf20" => ways
            .into_iter()
            .zip([
                spread(qdt, |round| round.added_ms(|round| round.up)),
                spread(qdt, |round| round.added_ms(|round| round.down)),
            ])
            .filter_map(|(way, added)| {
                let value = added?.median;
                Some(Bar {
                    figure: format!("tbf20: p99 RTT under 4 TCP flows {way}, ms above idle"),
                    value,
                    bar: format!("<= {ADDED_MS}"),
                    reached: value <= ADDED_MS,
                })
            })
            .collect(),
        "loss1" => ways
            .into_iter()
            .zip([
                share(qdt, bare.unwrap_or_default(), |round| {
                    round.bbr.map(|bbr| bbr.up.mbit_per_second)
                }),
                share(qdt, bare.unwrap_or_default(), |round| {
                    round.bbr.map(|bbr| bbr.down.mbit_per_second)
                }),
            ])
            .filter_map(|(way, share)| {
                let value = share?.median;
                Some(Bar {
                    figure: format!("loss1: TCP bbr {way}, share of no tunnel"),
                    value,
                    bar: format!(">= {SHARE}"),
                    reached: value >= SHARE,
                })
            })
            .collect(),
        _ => Vec::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::links::figures::{Loaded, Throughput};
    use crate::links::load::{Carried, Load};
    use crate::links::round_trips::RoundTrips;

    fn times(p50_ms: f64, p99_ms: f64) -> RoundTrips {
        RoundTrips {
            p50_ms,
            p99_ms,
            unanswered: 0.0,
        }
    }

    fn loaded(p99_ms: f64) -> Option<Loaded> {
        Some(Loaded {
            round_trips: times(1.0, p99_ms),
            load: Load {
                up: None,
                down: None,
            },
        })
    }

    #[test]
    fn the_round_trip_is_held_against_the_idle_one_of_the_same_round_each_way() {
        let round = Round {
            idle: Some(times(0.5, 9.0)),
            up: loaded(60.5),
            down: loaded(61.0),
            ..Round::default()
        };
        let bars = of("tbf20", &[round], None);
        let reached: Vec<_> = bars.iter().map(|bar| bar.reached).collect();
        assert_eq!(reached, [true, false], "{bars:?}");
    }

    #[test]
    fn the_throughput_is_held_against_the_bare_links() {
        let round = |up, down| {
            let [up, down] = [up, down].map(|mbit_per_second| Carried {
                mbit_per_second,
                retransmits: 0,
            });
            Round {
                bbr: Some(Throughput { up, down }),
                ..Round::default()
            }
        };
        let bars = of("loss1", &[round(81.0, 80.0)], Some(&[round(90.0, 90.0)]));
        let reached: Vec<_> = bars.iter().map(|bar| bar.reached).collect();
        assert_eq!(reached, [true, false], "{bars:?}");
        assert!(of("loss1", &[round(81.0, 80.0)], None).is_empty());
    }
}
