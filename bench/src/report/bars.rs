//! What is asked of our pair, and whether this run shows it.

use serde::Serialize;

use super::Report;
use super::figures::{find, ratios, spreads};
use crate::figure::{Run, UdpLoad, What};
use crate::tcp::Direction;
use crate::tunnels::{CABLE, QDT, QDT_CHACHA, WIREGUARD_GO};

/// One bar.
#[derive(Debug, Serialize)]
pub(crate) struct Bar {
    /// What is compared.
    pub(crate) what: String,
    /// The median found.
    pub(crate) found: f64,
    /// What it should be.
    pub(crate) asked: Asked,
    /// Whether it is.
    pub(crate) reached: bool,
}

/// What a figure should be.
#[derive(Debug, Clone, Copy, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Asked {
    /// Not less.
    AtLeast(f64),
    /// Not more.
    AtMost(f64),
}

impl Asked {
    fn reached(self, found: f64) -> bool {
        match self {
            Self::AtLeast(bar) => found >= bar,
            Self::AtMost(bar) => found <= bar,
        }
    }
}

/// One of ours, one of the others, what is divided, and what should come out.
type Compared = (&'static str, &'static str, Run, What, Asked);

const UP: Direction = Direction::Up;
const DOWN: Direction = Direction::Down;

fn compared() -> Vec<Compared> {
    let throughput = |ours, theirs, streams, times| {
        [UP, DOWN].map(|direction| {
            (
                ours,
                theirs,
                Run::tcp(streams, direction),
                What::GbitPerSecond,
                Asked::AtLeast(times),
            )
        })
    };
    let cpu = |streams| {
        [UP, DOWN].map(|direction| {
            (
                QDT,
                WIREGUARD_GO,
                Run::tcp(streams, direction),
                What::EndsCpuSecondsPerGbit,
                Asked::AtMost(0.5),
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
            What::GbitPerSecond,
            Asked::AtLeast(2.0),
        )
    });
    let rtt = [(
        QDT,
        WIREGUARD_GO,
        Run::Idle,
        What::RttP50Ms,
        Asked::AtMost(1.0),
    )];
    [
        &throughput(QDT, WIREGUARD_GO, 1, 2.0)[..],
        &throughput(QDT, WIREGUARD_GO, 4, 2.3),
        &throughput(QDT_CHACHA, WIREGUARD_GO, 1, 1.4),
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
            let ratios = ratios(report.rounds(ours)?, report.rounds(theirs)?);
            let found = find(&ratios, run, &what)?.median;
            Some(Bar {
                what: format!("{ours} / {theirs}, {run} {what}"),
                found,
                asked,
                reached: asked.reached(found),
            })
        })
        .collect();
    bars.extend(rtt_added(report));
    bars
}

fn rtt_added(report: &Report) -> Option<Bar> {
    let spreads = spreads(report.rounds(QDT)?, Some(report.rounds(CABLE)?));
    let found = find(&spreads, Run::Idle, &What::RttAddedP50Ms)?.median;
    let asked = Asked::AtMost(0.08);
    Some(Bar {
        what: format!(
            "{QDT}, {} {} over the {CABLE}",
            Run::Idle,
            What::RttAddedP50Ms
        ),
        found,
        asked,
        reached: asked.reached(found),
    })
}
