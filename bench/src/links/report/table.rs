//! The table of one link.

use std::fmt::Write as _;

use super::super::bars::Bar;
use super::super::figures::{Loaded, Round, Throughput, share, spread};
use super::super::link::Link;
use super::super::load::{Carried, WARM_UP};
use super::super::round_trips::RoundTrips;
use crate::statistics::Spread;
use crate::tunnels::BARE_LINK;

/// The link, round trips, throughput, drops and bars; medians over the rounds.
pub(crate) fn render(
    link: &Link,
    tunnels: &[(&'static str, Vec<Round>)],
    seconds: u32,
    bars: &[Bar],
) -> String {
    let mut text = format!("\n== {}: {link}\n", link.name);
    if tunnels
        .iter()
        .any(|(_, rounds)| has(rounds, |round| round.idle.is_some()))
    {
        round_trips(&mut text, tunnels, seconds);
    }
    if tunnels
        .iter()
        .any(|(_, rounds)| has(rounds, |round| round.bbr.is_some()))
    {
        throughput(&mut text, tunnels, seconds);
    }
    for (name, rounds) in tunnels {
        let Some(last) = rounds.last().filter(|last| !last.drops.is_empty()) else {
            continue;
        };
        let drops: Vec<_> = last
            .drops
            .iter()
            .map(|(place, count)| format!("{place} {count}"))
            .collect();
        let _ = writeln!(
            text,
            "{name} drops, in packets, of the last round: {}",
            drops.join(", ")
        );
    }
    for bar in bars {
        let reached = if bar.reached {
            "reached"
        } else {
            "NOT REACHED"
        };
        let _ = writeln!(
            text,
            "BAR {}: {:.3}, has to be {}: {reached}",
            bar.figure, bar.value, bar.bar
        );
    }
    text
}

fn has(rounds: &[Round], measured: impl Fn(&Round) -> bool) -> bool {
    rounds.first().is_some_and(measured)
}

fn round_trips(text: &mut String, tunnels: &[(&'static str, Vec<Round>)], seconds: u32) {
    let _ = writeln!(
        text,
        "RTT p50/p99 in ms, idle and under 4 TCP flows (cubic, checked) for {seconds} s after {WARM_UP} s; in \
         parentheses what the flows carried, Mbit/s"
    );
    let _ = writeln!(
        text,
        "{:<13} {:>13} {:>22} {:>22} {:>28}",
        "", "idle", "4 up", "4 down", "4 up and 4 down"
    );
    for (name, rounds) in tunnels {
        let idle = times(rounds, |round| round.idle);
        let mut loaded = [
            |round: &Round| round.up,
            |round: &Round| round.down,
            |round: &Round| round.both,
        ]
        .map(|way| loaded(rounds, way))
        .into_iter();
        let mut next = || loaded.next().unwrap_or_default();
        let _ = writeln!(
            text,
            "{name:<13} {idle:>13} {:>22} {:>22} {:>28}",
            next(),
            next(),
            next()
        );
    }
}

fn loaded(rounds: &[Round], way: fn(&Round) -> Option<Loaded>) -> String {
    let carried = |direction: fn(Loaded) -> Option<Carried>| {
        spread(rounds, |round| {
            Some(direction(way(round)?)?.mbit_per_second)
        })
    };
    let carried: Vec<_> = [
        carried(|loaded| loaded.load.up),
        carried(|loaded| loaded.load.down),
    ]
    .into_iter()
    .flatten()
    .map(|carried| format!("{:.1}", carried.median))
    .collect();
    format!(
        "{} ({})",
        times(rounds, |round| way(round).map(|loaded| loaded.round_trips)),
        carried.join("/")
    )
}

fn times(rounds: &[Round], of: impl Fn(&Round) -> Option<RoundTrips>) -> String {
    format!(
        "{}/{}",
        median(spread(rounds, |round| Some(of(round)?.p50_ms)), 1),
        median(spread(rounds, |round| Some(of(round)?.p99_ms)), 1)
    )
}

fn throughput(text: &mut String, tunnels: &[(&'static str, Vec<Round>)], seconds: u32) {
    let _ = writeln!(
        text,
        "1 TCP flow, Mbit/s for {seconds} s after {WARM_UP} s (share of no tunnel in the same round), segments sent again"
    );
    let _ = writeln!(
        text,
        "{:<13} {:>22} {:>22} {:>22} {:>22}",
        "", "bbr up", "bbr down", "cubic up", "cubic down"
    );
    let bare = tunnels.iter().find(|(name, _)| *name == BARE_LINK);
    for (name, rounds) in tunnels {
        let bare = bare.filter(|_| *name != BARE_LINK);
        let cells: [fn(&Round) -> Option<Carried>; 4] = [
            |round| round.bbr.map(|flow: Throughput| flow.up),
            |round| round.bbr.map(|flow: Throughput| flow.down),
            |round| round.cubic.map(|flow: Throughput| flow.up),
            |round| round.cubic.map(|flow: Throughput| flow.down),
        ];
        let _ = write!(text, "{name:<13}");
        for cell in cells {
            let rate = |round: &Round| cell(round).map(|carried| carried.mbit_per_second);
            let again = |round: &Round| cell(round).map(|carried| carried.retransmits as f64);
            let share = bare
                .and_then(|(_, bare)| share(rounds, bare, rate))
                .map_or_else(|| "-".to_owned(), |share| format!("{:.3}", share.median));
            let shown = format!(
                "{} ({share}) {}",
                median(spread(rounds, rate), 1),
                median(spread(rounds, again), 0)
            );
            let _ = write!(text, " {shown:>22}");
        }
        text.push('\n');
    }
}

fn median(spread: Option<Spread>, digits: usize) -> String {
    spread.map_or_else(
        || "-".to_owned(),
        |spread| format!("{:.digits$}", spread.median),
    )
}
