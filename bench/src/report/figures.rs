//! From rounds to medians, spreads and ratios.

use serde::Serialize;

use crate::measure::{Round, Way};
use crate::statistics::Spread;
use crate::tunnels::Batching;

/// The figures of one tunnel.
#[derive(Debug, Serialize)]
pub(crate) struct Figures {
    /// Median round-trip time of an idle path, ms.
    pub(crate) rtt_ms: Spread,
    /// What the tunnel adds to the bare cable's, ms.
    pub(crate) rtt_added_ms: Option<Spread>,
    /// One TCP stream from client to server.
    pub(crate) up: WayFigures,
    /// One TCP stream from server to client.
    pub(crate) down: WayFigures,
}

/// The figures of one direction.
#[derive(Debug, Serialize)]
pub(crate) struct WayFigures {
    /// Payload received, Gbit/s.
    pub(crate) gbit_per_second: Spread,
    /// CPU of both ends of the tunnel, s/Gbit of payload.
    pub(crate) ends_cpu_seconds_per_gbit: Spread,
    /// CPU of the machine without that of others, s/Gbit: the ends, iperf3, and the kernel's work
    /// that is put down to no process.
    pub(crate) machine_cpu_seconds_per_gbit: Spread,
    /// Segments that TCP sent again.
    pub(crate) retransmits: Spread,
    /// Share of the machine that others used, 0 to 1.
    pub(crate) foreign: Spread,
    /// How many packets shared a call at our server, of the last round.
    pub(crate) batching: Option<Batching>,
}

/// Our pair's figures divided by somebody's.
#[derive(Debug, Serialize)]
pub(crate) struct Ratios {
    /// Throughput up.
    pub(crate) up: Spread,
    /// Throughput down.
    pub(crate) down: Spread,
    /// CPU of the ends for the same payload, up; none for the bare cable, which has no ends.
    pub(crate) ends_cpu_up: Option<Spread>,
    /// The same, down.
    pub(crate) ends_cpu_down: Option<Spread>,
}

impl Figures {
    /// Of the rounds of a tunnel, and of the bare cable's where it is another one. Nothing, where
    /// there are no rounds.
    pub(crate) fn of(rounds: &[Round], bare: Option<&[Round]>) -> Option<Self> {
        Some(Self {
            rtt_ms: Spread::of(rounds.iter().map(|round| round.rtt_ms))?,
            rtt_added_ms: bare.and_then(|bare| {
                Spread::of(
                    rounds
                        .iter()
                        .zip(bare)
                        .map(|(round, bare)| round.rtt_ms - bare.rtt_ms),
                )
            }),
            up: WayFigures::of(rounds, |round| &round.up)?,
            down: WayFigures::of(rounds, |round| &round.down)?,
        })
    }
}

impl WayFigures {
    fn of(rounds: &[Round], way: impl Fn(&Round) -> &Way) -> Option<Self> {
        let spread =
            |figure: fn(&Way) -> f64| Spread::of(rounds.iter().map(|round| figure(way(round))));
        Some(Self {
            gbit_per_second: spread(throughput)?,
            ends_cpu_seconds_per_gbit: spread(ends_cpu)?,
            machine_cpu_seconds_per_gbit: spread(|way| way.cpu.whole / way.stream.gbit)?,
            retransmits: spread(|way| way.stream.retransmits as f64)?,
            foreign: spread(|way| way.cpu.foreign)?,
            batching: rounds.last().and_then(|round| way(round).batching),
        })
    }
}

impl Ratios {
    /// Of our rounds and somebody's, round by round.
    pub(crate) fn of(ours: &[Round], theirs: &[Round]) -> Option<Self> {
        let ratio = |figure: fn(&Round) -> f64| {
            Spread::of(
                ours.iter()
                    .zip(theirs)
                    .map(|(ours, theirs)| figure(ours) / figure(theirs))
                    .filter(|ratio| ratio.is_finite()),
            )
        };
        Some(Self {
            up: ratio(|round| throughput(&round.up))?,
            down: ratio(|round| throughput(&round.down))?,
            ends_cpu_up: ratio(|round| ends_cpu(&round.up)),
            ends_cpu_down: ratio(|round| ends_cpu(&round.down)),
        })
    }
}

fn throughput(way: &Way) -> f64 {
    way.stream.gbit_per_second
}

fn ends_cpu(way: &Way) -> f64 {
    way.cpu.ends / way.stream.gbit
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cpu::CpuUse;
    use crate::tcp::Stream;

    fn round(gbit_per_second: f64, ends: f64) -> Round {
        let way = Way {
            stream: Stream {
                gbit: gbit_per_second * 2.0,
                gbit_per_second,
                retransmits: 0,
            },
            cpu: CpuUse {
                ends,
                whole: ends,
                foreign: 0.0,
            },
            batching: None,
        };
        Round {
            rtt_ms: gbit_per_second,
            up: way,
            down: way,
        }
    }

    #[test]
    fn a_round_in_which_everything_was_slow_changes_no_ratio() {
        let ours = [round(6.0, 1.0), round(1.2, 1.0), round(6.0, 1.0)];
        let theirs = [round(3.0, 1.0), round(0.6, 1.0), round(3.0, 1.0)];
        let ratios = Ratios::of(&ours, &theirs).expect("there are rounds");
        assert_eq!((ratios.up.min, ratios.up.max), (2.0, 2.0));
        assert_eq!(ratios.ends_cpu_down.map(|cpu| cpu.median), Some(0.5));
    }

    #[test]
    fn the_bare_cable_has_no_ends_to_compare_with() {
        let ratios = Ratios::of(&[round(6.0, 1.0)], &[round(60.0, 0.0)]).expect("there are rounds");
        assert_eq!(ratios.up.median, 0.1);
        assert!(ratios.ends_cpu_up.is_none());
    }

    #[test]
    fn what_a_tunnel_adds_is_taken_round_by_round() {
        let figures = Figures::of(
            &[round(3.0, 1.0), round(5.0, 1.0)],
            Some(&[round(1.0, 0.0), round(3.0, 0.0)]),
        );
        let added = figures.and_then(|figures| figures.rtt_added_ms);
        assert_eq!(added.map(|added| (added.min, added.max)), Some((2.0, 2.0)));
    }
}
