//! The tables of `bench links` and its JSON document.

mod table;

use anyhow::{Context as _, Result};
use serde::Serialize;

use super::bars::{self, Bar};
use super::endurance::Endurance;
use super::figures::Round;
use super::link::Link;
use super::load::WARM_UP;
use super::options::Options;
use crate::tunnels::{BARE_LINK, QDT};

/// Everything measured so far.
#[derive(Debug, Serialize)]
pub(crate) struct Report {
    kernel: String,
    rounds: usize,
    seconds: u32,
    warm_up_seconds: u32,
    seed: u64,
    mtu: Option<u16>,
    links: Vec<Measured>,
    endurance: Option<Endurance>,
    bars: Vec<Bar>,
    does_not_hold_because: Vec<String>,
}

/// One link.
#[derive(Debug, Serialize)]
struct Measured {
    name: &'static str,
    link: String,
    tunnels: Vec<OfTunnel>,
}

/// One tunnel over that link.
#[derive(Debug, Serialize)]
struct OfTunnel {
    name: &'static str,
    rounds: Vec<Round>,
}

impl Report {
    /// Nothing measured yet.
    pub(crate) fn new(options: &Options) -> Self {
        let kernel = std::fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
        Self {
            kernel: kernel.trim().to_owned(),
            rounds: options.rounds,
            seconds: options.seconds,
            warm_up_seconds: WARM_UP,
            seed: options.seed,
            mtu: options.mtu,
            links: Vec::new(),
            endurance: None,
            bars: Vec::new(),
            does_not_hold_because: Vec::new(),
        }
    }

    /// Adds a link and returns its table.
    pub(crate) fn add(&mut self, link: &Link, rounds: Vec<(&'static str, Vec<Round>)>) -> String {
        let of = |wanted: &str| {
            let found = rounds.iter().find(|(name, _)| *name == wanted);
            found.map(|(_, rounds)| rounds.as_slice())
        };
        let bars = bars::of(link.name, of(QDT).unwrap_or_default(), of(BARE_LINK));
        for (name, rounds) in &rounds {
            let refused = rounds
                .iter()
                .flat_map(|round| &round.drops)
                .filter(|(place, _)| place.ends_with("refused"))
                .map(|(_, count)| count)
                .sum::<u64>();
            if refused > 0 {
                self.does_not_hold_because.push(format!(
                    "{}, {name}: the kernel did not take {refused} packets from the relay",
                    link.name
                ));
            }
        }
        let text = table::render(link, &rounds, self.seconds, &bars);
        self.bars.extend(bars);
        self.links.push(Measured {
            name: link.name,
            link: link.to_string(),
            tunnels: rounds
                .into_iter()
                .map(|(name, rounds)| OfTunnel { name, rounds })
                .collect(),
        });
        text
    }

    /// Adds what an hour's worth of packets did and returns it for people.
    pub(crate) fn add_endurance(&mut self, link: &Link, found: Endurance) -> String {
        let text = format!("\n== {}: {link}\n{}", link.name, found.table());
        self.endurance = Some(found);
        text
    }

    /// What is said below all tables.
    pub(crate) fn closing(&self) -> String {
        let doubts = self.does_not_hold_because.iter();
        doubts
            .map(|doubt| format!("DOES NOT HOLD: {doubt}\n"))
            .collect()
    }

    /// Whether every figure holds.
    pub(crate) fn holds(&self) -> bool {
        self.does_not_hold_because.is_empty()
    }

    /// The JSON document.
    ///
    /// # Errors
    /// When a figure is no number.
    pub(crate) fn json(&self) -> Result<String> {
        serde_json::to_string_pretty(self).context("the report as JSON")
    }
}
