//! What was found: a table for people, a JSON document for everything else, and the reasons why
//! figures do not hold.
//!
//! What always holds here: a ratio is taken within a round and the median over rounds comes last,
//! so that what disturbs a whole round disturbs no ratio.

mod figures;
mod setting;
mod table;

use anyhow::{Context as _, Result};
use serde::Serialize;

use crate::arguments::Arguments;
use crate::cable::Cable;
use crate::measure::Round;
use crate::tunnels::{CABLE, QDT, Tunnel};
use figures::{Figures, Ratios};
use setting::{Setting, TunnelSetting};

/// Share of the machine that others may use while something is measured.
const FOREIGN_LIMIT: f64 = 0.05;
/// Datagrams per inner packet from which on packets are fragmented or something else is sent.
const DATAGRAMS_LIMIT: f64 = 1.2;

/// Everything measured so far.
#[derive(Debug)]
pub(crate) struct Report {
    setting: Setting,
    tunnels: Vec<(TunnelSetting, Vec<Round>)>,
}

/// The JSON document.
#[derive(Debug, Serialize)]
struct Document<'a> {
    setting: &'a Setting,
    tunnels: Vec<Described<'a>>,
    does_not_hold_because: Vec<String>,
}

#[derive(Debug, Serialize)]
struct Described<'a> {
    #[serde(flatten)]
    setting: &'a TunnelSetting,
    #[serde(flatten)]
    figures: Figures,
    qdt_to_this: Option<Ratios>,
}

impl Report {
    /// Nothing measured yet; the setting is read now.
    pub(crate) fn new(arguments: &Arguments, cable: &Cable, tunnels: &[Tunnel<'_>]) -> Self {
        Self {
            setting: Setting::read(arguments),
            tunnels: tunnels
                .iter()
                .map(|tunnel| (TunnelSetting::read(cable, tunnel), Vec::new()))
                .collect(),
        }
    }

    /// Adds a round of the tunnel with that index.
    pub(crate) fn add(&mut self, index: usize, round: Round) {
        self.tunnels[index].1.push(round);
    }

    /// Whether every figure holds.
    pub(crate) fn holds(&self) -> bool {
        self.doubts().is_empty()
    }

    /// The table, with the setting above and the doubts below it.
    pub(crate) fn table(&self) -> String {
        table::render(&self.setting, &self.describe(), &self.doubts())
    }

    /// The JSON document.
    ///
    /// # Errors
    /// When a figure is no number.
    pub(crate) fn json(&self) -> Result<String> {
        let document = Document {
            setting: &self.setting,
            tunnels: self.describe(),
            does_not_hold_because: self.doubts(),
        };
        serde_json::to_string_pretty(&document).context("the report as JSON")
    }

    fn rounds(&self, name: &str) -> Option<&[Round]> {
        let (_, rounds) = self
            .tunnels
            .iter()
            .find(|(setting, _)| setting.name == name)?;
        Some(rounds)
    }

    fn describe(&self) -> Vec<Described<'_>> {
        let bare = self.rounds(CABLE);
        let qdt = self.rounds(QDT);
        self.tunnels
            .iter()
            .filter_map(|(setting, rounds)| {
                Some(Described {
                    setting,
                    figures: Figures::of(rounds, bare.filter(|_| setting.name != CABLE))?,
                    qdt_to_this: qdt
                        .filter(|_| setting.name != QDT)
                        .and_then(|qdt| Ratios::of(qdt, rounds)),
                })
            })
            .collect()
    }

    /// Why the figures are not what they look like; empty when they are.
    fn doubts(&self) -> Vec<String> {
        let mut doubts = self.setting.doubts();
        for (setting, rounds) in &self.tunnels {
            let name = setting.name;
            let ways = || rounds.iter().flat_map(|round| [&round.up, &round.down]);
            let foreign = ways().map(|way| way.cpu.foreign).fold(0.0, f64::max);
            if foreign > FOREIGN_LIMIT {
                doubts.push(format!(
                    "{name}: others used up to {:.0} % of the machine",
                    foreign * 100.0
                ));
            }
            let datagrams = ways()
                .filter_map(|way| way.batching)
                .map(|batching| batching.datagrams_per_packet)
                .fold(0.0, f64::max);
            if datagrams > DATAGRAMS_LIMIT {
                doubts.push(format!(
                    "{name}: up to {datagrams:.2} datagrams for a packet"
                ));
            }
        }
        doubts
    }
}
