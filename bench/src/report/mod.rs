//! What was found: a table for people, a JSON document for everything else, and the reasons why
//! figures do not hold.
//!
//! Invariants: a ratio is taken within a round and the median over rounds comes last,
//! so that what disturbs a whole round disturbs no ratio.

mod bars;
mod figures;
mod last;
mod setting;
mod table;

use anyhow::{Context as _, Result};
use serde::Serialize;

use crate::arguments::Arguments;
use crate::figure::{Metric, Round};
use crate::programs;
use crate::tunnels::{BARE_LINK, QDT, QDT_CHACHA, Tunnel};
use crate::udp::LOSS_LIMIT;
use crate::veth_link::VethLink;
use bars::Bar;
use figures::Spreads;
use last::{Kept, Last};
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
    failures: Vec<String>,
    kept: Kept,
}

/// The JSON document.
#[derive(Debug, Serialize)]
struct Document<'a> {
    setting: &'a Setting,
    tunnels: Vec<Described<'a>>,
    bars: Vec<Bar>,
    does_not_hold_because: Vec<String>,
}

#[derive(Debug, Serialize)]
struct Described<'a> {
    #[serde(flatten)]
    setting: &'a TunnelSetting,
    figures: Spreads,
    qdt_to_this: Option<Spreads>,
}

impl Report {
    /// Nothing measured yet; the setting is read now, and the last figures of the others.
    ///
    /// # Errors
    /// When there are last figures that cannot be read.
    pub(crate) fn new(
        arguments: &Arguments,
        veth: &VethLink,
        tunnels: &[Tunnel<'_>],
    ) -> Result<Self> {
        let path = match &arguments.last {
            Some(path) => path.clone(),
            None => programs::last_figures()?,
        };
        Ok(Self {
            setting: Setting::read(arguments),
            tunnels: tunnels
                .iter()
                .map(|tunnel| (TunnelSetting::read(veth, tunnel), Vec::new()))
                .collect(),
            failures: Vec::new(),
            kept: Kept::read(&path)?,
        })
    }

    /// Adds a round of the tunnel with that index; one that failed is an empty round, so that those
    /// of all tunnels stay side by side.
    pub(crate) fn add(&mut self, index: usize, round: Result<Round>) {
        let (setting, rounds) = &mut self.tunnels[index];
        let round = round.unwrap_or_else(|error| {
            let number = rounds.len() + 1;
            self.failures
                .push(format!("{}, round {number}: {error:#}", setting.name));
            Round::new()
        });
        rounds.push(round);
    }

    /// Whether every figure holds.
    pub(crate) fn holds(&self) -> bool {
        self.doubts().is_empty()
    }

    /// Keeps the figures of the others for the next run; only of a run that holds.
    ///
    /// # Errors
    /// When they cannot be written.
    pub(crate) fn keep(&self) -> Result<()> {
        if self.holds() {
            self.kept.replace(self.now())?;
        }
        Ok(())
    }

    fn now(&self) -> Last {
        let figures: Vec<_> = self
            .tunnels
            .iter()
            .map(|(setting, rounds)| (setting, figures::spreads(rounds, None)))
            .collect();
        Last::of(&self.setting, &figures)
    }

    /// The table, with the setting above and the doubts below it.
    pub(crate) fn table(&self) -> String {
        table::render(&self.document())
    }

    /// The JSON document.
    ///
    /// # Errors
    /// When a figure is no number.
    pub(crate) fn json(&self) -> Result<String> {
        serde_json::to_string_pretty(&self.document()).context("the report as JSON")
    }

    fn document(&self) -> Document<'_> {
        Document {
            setting: &self.setting,
            tunnels: self.describe(),
            bars: bars::judge(self),
            does_not_hold_because: self.doubts(),
        }
    }

    fn rounds(&self, name: &str) -> Option<&[Round]> {
        let (_, rounds) = self
            .tunnels
            .iter()
            .find(|(setting, _)| setting.name == name)?;
        Some(rounds)
    }

    fn describe(&self) -> Vec<Described<'_>> {
        let bare = self.rounds(BARE_LINK);
        let qdt = self.rounds(QDT);
        self.tunnels
            .iter()
            .map(|(setting, rounds)| Described {
                setting,
                figures: figures::spreads(rounds, bare.filter(|_| setting.name != BARE_LINK)),
                qdt_to_this: qdt
                    .filter(|_| setting.name != QDT)
                    .map(|qdt| figures::ratios(qdt, rounds)),
            })
            .collect()
    }

    /// Why the figures are not what they look like; empty when they are.
    fn doubts(&self) -> Vec<String> {
        let mut doubts = self.setting.doubts();
        if self.rounds(QDT_CHACHA).is_some() {
            doubts.extend(setting::doubts_about_this_program());
        }
        doubts.extend(self.failures.iter().cloned());
        doubts.extend(self.kept.fallen(&self.now()));
        for (setting, rounds) in &self.tunnels {
            let name = setting.name;
            let most = |what: Metric| {
                let figures = rounds
                    .iter()
                    .flat_map(|round| round.values())
                    .filter_map(|way| way.get(&what).copied());
                figures.fold(0.0, f64::max)
            };
            let foreign = most(Metric::Foreign);
            if foreign > FOREIGN_LIMIT {
                doubts.push(format!(
                    "{name}: others used up to {:.0} % of the machine",
                    foreign * 100.0
                ));
            }
            let datagrams = most(Metric::DatagramsPerPacket);
            if datagrams > DATAGRAMS_LIMIT {
                doubts.push(format!(
                    "{name}: up to {datagrams:.2} datagrams for a packet"
                ));
            }
            let loss = most(Metric::Loss);
            if loss >= LOSS_LIMIT {
                doubts.push(format!(
                    "{name}: no UDP rate held, {:.2} % were missing",
                    loss * 100.0
                ));
            }
        }
        doubts
    }
}
