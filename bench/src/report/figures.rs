//! From rounds to medians, spreads and ratios.

use std::collections::{BTreeMap, BTreeSet};

use crate::figure::{Metric, Round, Run};
use crate::statistics::Spread;

/// Each figure over the rounds.
pub(crate) type Spreads = BTreeMap<Run, BTreeMap<Metric, Spread>>;

/// The metrics of one tunnel that are divided by another's.
const RATIOS: [Metric; 4] = [
    Metric::GbitPerSecond,
    Metric::EndsCpuSecondsPerGbit,
    Metric::RttP50Ms,
    Metric::RttP99Ms,
];

/// Of the rounds of a tunnel, and of the bare link's where it is another one.
pub(crate) fn spreads(rounds: &[Round], bare: Option<&[Round]>) -> Spreads {
    let mut spreads = Spreads::new();
    for (run, what) in names(rounds) {
        let figures = rounds.iter().filter_map(|round| {
            let way = round.get(&run)?;
            match &what {
                // Counted only where there were some.
                Metric::Drops(_) => Some(way.get(&what).copied().unwrap_or(0.0)),
                _ => way.get(&what).copied(),
            }
        });
        insert(&mut spreads, run, what.clone(), Spread::of(figures));
    }
    if let Some(bare) = bare {
        for run in [Run::Awake, Run::Asleep] {
            let idle = |round: &Round| round.get(&run)?.get(&Metric::RttP50Ms).copied();
            let added = rounds
                .iter()
                .zip(bare)
                .filter_map(|(round, bare)| Some(idle(round)? - idle(bare)?));
            let added = Spread::of(added);
            insert(&mut spreads, run, Metric::RttAddedP50Ms, added);
        }
    }
    spreads
}

/// Ours divided by theirs, round by round; what either of them did not measure is left out, and so
/// is what cannot be divided (the bare link has no ends that use CPU).
pub(crate) fn ratios(ours: &[Round], theirs: &[Round]) -> Spreads {
    let mut ratios = Spreads::new();
    for (run, what) in names(ours) {
        if !RATIOS.contains(&what) {
            continue;
        }
        let of = |round: &Round| round.get(&run)?.get(&what).copied();
        let found = ours
            .iter()
            .zip(theirs)
            .filter_map(|(ours, theirs)| Some(of(ours)? / of(theirs)?))
            .filter(|ratio| ratio.is_finite());
        let found = Spread::of(found);
        insert(&mut ratios, run, what.clone(), found);
    }
    ratios
}

/// One of them.
pub(crate) fn find<'a>(spreads: &'a Spreads, run: Run, what: &Metric) -> Option<&'a Spread> {
    spreads.get(&run)?.get(what)
}

fn names(rounds: &[Round]) -> BTreeSet<(Run, Metric)> {
    rounds
        .iter()
        .flatten()
        .flat_map(|(run, way)| way.keys().map(|what| (*run, what.clone())))
        .collect()
}

fn insert(spreads: &mut Spreads, run: Run, what: Metric, spread: Option<Spread>) {
    if let Some(spread) = spread {
        spreads.entry(run).or_default().insert(what, spread);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::figure::RunFigures;
    use crate::tcp::Direction;

    const UP: Run = Run::tcp(1, Direction::Up);

    fn round(gbit_per_second: f64, ends_cpu: f64) -> Round {
        Round::from([
            (
                Run::Awake,
                RunFigures::from([(Metric::RttP50Ms, gbit_per_second)]),
            ),
            (
                UP,
                RunFigures::from([
                    (Metric::GbitPerSecond, gbit_per_second),
                    (Metric::EndsCpuSecondsPerGbit, ends_cpu),
                ]),
            ),
        ])
    }

    #[test]
    fn a_round_in_which_everything_was_slow_changes_no_ratio() {
        let ours = [round(6.0, 1.0), round(1.2, 5.0), round(6.0, 1.0)];
        let theirs = [round(3.0, 2.0), round(0.6, 10.0), round(3.0, 2.0)];
        let ratios = ratios(&ours, &theirs);
        let throughput = find(&ratios, UP, &Metric::GbitPerSecond).expect("both measured it");
        assert_eq!((throughput.min, throughput.max), (2.0, 2.0));
        let cpu = find(&ratios, UP, &Metric::EndsCpuSecondsPerGbit);
        assert_eq!(cpu.map(|cpu| cpu.median), Some(0.5));
    }

    #[test]
    fn the_bare_link_has_no_ends_to_compare_with() {
        let ratios = ratios(&[round(6.0, 1.0)], &[round(60.0, 0.0)]);
        let throughput = find(&ratios, UP, &Metric::GbitPerSecond);
        assert_eq!(throughput.map(|ratio| ratio.median), Some(0.1));
        assert!(find(&ratios, UP, &Metric::EndsCpuSecondsPerGbit).is_none());
    }

    #[test]
    fn a_round_that_one_of_them_did_not_finish_is_left_out() {
        let ours = [round(6.0, 1.0), round(8.0, 1.0)];
        let ratios = ratios(&ours, &[Round::new(), round(2.0, 1.0)]);
        let throughput = find(&ratios, UP, &Metric::GbitPerSecond).expect("one round has both");
        assert_eq!((throughput.min, throughput.max), (4.0, 4.0));
    }

    #[test]
    fn what_a_tunnel_adds_is_taken_round_by_round() {
        let spreads = spreads(
            &[round(3.0, 1.0), round(5.0, 1.0)],
            Some(&[round(1.0, 0.0), round(3.0, 0.0)]),
        );
        let added = find(&spreads, Run::Awake, &Metric::RttAddedP50Ms).expect("both were measured");
        assert_eq!((added.min, added.max), (2.0, 2.0));
    }
}
