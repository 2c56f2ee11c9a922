//! Bars for our pair, and whether this run reaches them.

use serde::Serialize;

use super::Report;
use super::figures::{find, ratios, spreads};
use crate::figure::{Metric, Run, UdpLoad};
use crate::tcp::Direction;
use crate::tunnels::{BARE_LINK, GO_PEER, QDT, QDT_CHACHA, QUINCY, WIREGUARD_GO};

/// One bar.
#[derive(Debug, Serialize)]
pub(crate) struct Bar {
    /// What is compared.
    pub(crate) what: String,
    /// The median found.
    pub(crate) found: f64,
    /// What it should be.
    pub(crate) asked: Bound,
    /// Whether it is.
    pub(crate) verdict: BarVerdict,
}

/// Whether a bar is reached.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum BarVerdict {
    /// It is.
    Reached,
    /// It is not.
    NotReached,
    /// The other one is itself too slow for the comparison to say anything.
    OtherTooSlow,
}

/// What the Go peer has to reach itself, Gbit/s.
const GO_PEER_AT_LEAST: f64 = 0.2;

/// What a figure should be.
#[derive(Debug, Clone, Copy, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Bound {
    /// Not less.
    AtLeast(f64),
    /// Not more.
    AtMost(f64),
}

impl Bound {
    fn verdict(self, found: f64) -> BarVerdict {
        let reached = match self {
            Self::AtLeast(bar) => found >= bar,
            Self::AtMost(bar) => found <= bar,
        };
        if reached {
            BarVerdict::Reached
        } else {
            BarVerdict::NotReached
        }
    }
}

/// One of ours, one of the others, what is divided, and what should come out.
type Compared = (&'static str, &'static str, Run, Metric, Bound);

const UP: Direction = Direction::Up;
const DOWN: Direction = Direction::Down;

fn compared() -> Vec<Compared> {
    let throughput = |ours, theirs, streams, times| {
        [UP, DOWN].map(|direction| {
            (
                ours,
                theirs,
                Run::tcp(streams, direction),
                Metric::GbitPerSecond,
                Bound::AtLeast(times),
            )
        })
    };
    let cpu = |streams| {
        [UP, DOWN].map(|direction| {
            (
                QDT,
                WIREGUARD_GO,
                Run::tcp(streams, direction),
                Metric::EndsCpuSecondsPerGbit,
                Bound::AtMost(0.5),
            )
        })
    };
    let udp = [false, true].map(|trains| {
        (
            QDT,
            WIREGUARD_GO,
            Run::Udp(UdpLoad {
                bytes: 1300,
                trains,
            }),
            Metric::GbitPerSecond,
            Bound::AtLeast(2.0),
        )
    });
    let rtt = [Run::Awake, Run::Asleep]
        .map(|run| (QDT, WIREGUARD_GO, run, Metric::RttP50Ms, Bound::AtMost(1.0)));
    [
        &throughput(QDT, WIREGUARD_GO, 1, 2.0)[..],
        &throughput(QDT, WIREGUARD_GO, 4, 2.3),
        &throughput(QDT_CHACHA, WIREGUARD_GO, 1, 1.4),
        &throughput(QDT, QUINCY, 1, 4.0),
        &throughput(QDT, GO_PEER, 1, 20.0),
        &cpu(1),
        &cpu(4),
        &udp,
        &rtt,
    ]
    .concat()
}

/// Those that can be judged by what was measured.
pub(crate) fn judge(report: &Report) -> Vec<Bar> {
    let mut bars: Vec<_> = compared()
        .into_iter()
        .filter_map(|(ours, theirs, run, what, asked)| {
            let others = report.rounds(theirs)?;
            let ratios = ratios(report.rounds(ours)?, others);
            let found = find(&ratios, run, &what)?.median;
            let others = find(&spreads(others, None), run, &what)?.median;
            let too_slow = theirs == GO_PEER && others < GO_PEER_AT_LEAST;
            Some(Bar {
                what: format!("{ours} / {theirs} ({others:.2}), {run} {what}"),
                found,
                asked,
                verdict: if too_slow {
                    BarVerdict::OtherTooSlow
                } else {
                    asked.verdict(found)
                },
            })
        })
        .collect();
    bars.extend(rtt_added(report));
    bars
}

fn rtt_added(report: &Report) -> Option<Bar> {
    let spreads = spreads(report.rounds(QDT)?, Some(report.rounds(BARE_LINK)?));
    let found = find(&spreads, Run::Awake, &Metric::RttAddedP50Ms)?.median;
    let asked = Bound::AtMost(0.08);
    Some(Bar {
        what: format!(
            "{QDT}, {} {} over the {BARE_LINK}",
            Run::Awake,
            Metric::RttAddedP50Ms
        ),
        found,
        asked,
        verdict: asked.verdict(found),
    })
}
