//! The table, the JSON document, and how the figures stand against the bars.

use std::fmt::Write as _;

use anyhow::{Context as _, Result};
use serde::Serialize;

use super::figures::{Bar, Idle, Traffic};
use super::flows::{CONGESTION_CONTROL, Carried};
use super::options::Options;
use crate::statistics::Spread;

/// Share of the machine that others may use while something is measured.
const FOREIGN_LIMIT: f64 = 0.05;
/// Memory and processor time of a session among very many may be larger than among fewer by this factor.
const FLAT: f64 = 1.1;

/// Everything measured so far.
#[derive(Debug)]
pub(super) struct Report {
    active: usize,
    idle_seconds: u64,
    seconds: u64,
    rounds: usize,
    idle: Vec<Idle>,
    traffic: Vec<(Traffic, Vec<Carried>)>,
}

/// The JSON document.
#[derive(Debug, Serialize)]
struct Document<'a> {
    idle_seconds: u64,
    seconds: u64,
    rounds: usize,
    congestion_control: &'static str,
    idle: &'a [Idle],
    traffic: Vec<&'a Traffic>,
    bars: Vec<Bar>,
    does_not_hold_because: Vec<String>,
}

impl Report {
    /// Nothing measured yet.
    pub(super) fn new(options: &Options) -> Self {
        Self {
            active: options.active,
            idle_seconds: options.idle,
            seconds: options.seconds,
            rounds: options.rounds,
            idle: Vec::new(),
            traffic: Vec::new(),
        }
    }

    /// Adds idle sessions.
    pub(super) fn idle(&mut self, found: Idle) {
        self.idle.push(found);
    }

    /// Adds sessions with traffic, with their rounds.
    pub(super) fn traffic(&mut self, found: Vec<(Traffic, Vec<Carried>)>) {
        self.traffic.extend(found);
    }

    /// Whether every figure is what it looks like. A bar that is not reached is a figure that holds.
    pub(super) fn holds(&self) -> bool {
        self.doubts().is_empty()
    }

    /// The JSON document.
    ///
    /// # Errors
    /// When a figure is no number.
    pub(super) fn json(&self) -> Result<String> {
        let document = Document {
            idle_seconds: self.idle_seconds,
            seconds: self.seconds,
            rounds: self.rounds,
            congestion_control: CONGESTION_CONTROL.name(),
            idle: &self.idle,
            traffic: self.traffic.iter().map(|(traffic, _)| traffic).collect(),
            bars: self.bars(),
            does_not_hold_because: self.doubts(),
        };
        serde_json::to_string_pretty(&document).context("the report as JSON")
    }

    /// The table, with the bars and the doubts below it.
    pub(super) fn table(&self) -> String {
        let mut text = format!(
            "{:>9} {:>12} {:>12} {:>10} {:>12} {:>12} {:>14}\n",
            "sessions", "RSS MiB", "KiB each", "idle core", "ppm each", "handshakes", "per CPU s"
        );
        for idle in &self.idle {
            let _ = writeln!(
                text,
                "{:>9} {:>12.1} {:>12.1} {:>8.2} % {:>12.2} {:>12} {:>14.0}",
                idle.sessions,
                idle.resident_mib,
                idle.resident_kib_per_session,
                idle.idle_percent_of_core,
                idle.idle_millionths_per_session,
                idle.handshakes,
                idle.handshakes_per_server_second,
            );
        }
        if !self.traffic.is_empty() {
            let _ = writeln!(
                text,
                "\n{:>9} {:<29} {:<4} {:>19} {:>20} {:>13} {:>19}",
                "sessions", "busy", "", "Gbit/s", "server s/Gbit", "packets/call", "Jain index"
            );
        }
        for (traffic, _) in &self.traffic {
            let _ = writeln!(
                text,
                "{:>9} {:<29} {:<4} {:>19} {:>20} {:>13.1} {:>19}",
                traffic.sessions,
                traffic.name,
                traffic.way,
                spread(&traffic.gbit_per_second, 2),
                spread(&traffic.server_seconds_per_gbit, 3),
                traffic.packets_per_tun_call.median,
                spread(&traffic.jain_index, 3),
            );
        }
        text.push('\n');
        for bar in self.bars() {
            let reached = if bar.reached {
                "reached"
            } else {
                "NOT REACHED"
            };
            let _ = writeln!(text, "{:<75} {:>10.3} {reached}", bar.bar, bar.figure);
        }
        for doubt in self.doubts() {
            let _ = write!(text, "\nDOES NOT HOLD: {doubt}");
        }
        text
    }

    fn bars(&self) -> Vec<Bar> {
        let mut bars = Vec::new();
        if let Some(last) = self.idle.last() {
            let (many, each) = (last.sessions, last.resident_kib_per_session);
            bars.push(Bar::at_most(
                format!("KiB each at {many} sessions: 40 at most"),
                each,
                40.0,
            ));
            bars.push(Bar::at_most(
                format!("KiB each at {many} sessions: 20, if possible"),
                each,
                20.0,
            ));
            bars.push(Bar::at_most(
                format!("% of a core for {many} idle sessions: 2 at most"),
                last.idle_percent_of_core,
                2.0,
            ));
            bars.push(Bar::at_least(
                "handshakes per second on one core: 3000 at least",
                last.handshakes_per_server_second,
                3000.0,
            ));
            if let [.., before, _] = self.idle.as_slice() {
                bars.push(Bar::at_most(
                    format!(
                        "memory of a session at {many} to that at {}: {FLAT} at most",
                        before.sessions
                    ),
                    each / before.resident_kib_per_session,
                    FLAT,
                ));
            }
        }
        for way in ["up", "down"] {
            bars.extend(self.sharing_bars(way));
        }
        bars
    }

    fn sharing_bars(&self, way: &str) -> Vec<Bar> {
        let of = |sessions: Option<usize>, begins: &str| {
            self.traffic.iter().find(|(traffic, _)| {
                traffic.way == way
                    && Some(traffic.sessions) == sessions
                    && traffic.name.starts_with(begins)
            })
        };
        let first = self.idle.first().map(|idle| idle.sessions);
        let last = self.idle.last().map(|idle| idle.sessions);
        let one = "one session, one stream";
        let active = format!("{} sessions", self.active);
        let mut bars = Vec::new();
        if let (Some((_, alone)), Some((busy, together))) = (of(first, one), of(first, &active)) {
            if let Some(ratio) = ratio(together, alone, |round| round.gbit_per_second) {
                bars.push(Bar::at_least(
                    format!("{active} {way}, throughput to that of one session: 0.9 at least"),
                    ratio.median,
                    0.9,
                ));
            }
            bars.push(Bar::at_least(
                format!("{active} {way}, Jain index: 0.95 at least"),
                busy.jain_index.median,
                0.95,
            ));
        }
        if let (Some((_, alone)), Some((_, among))) = (of(Some(1), one), of(last, one))
            && let Some(ratio) = ratio(among, alone, |round| round.server_seconds_per_gbit)
        {
            let many = last.unwrap_or_default();
            bars.push(Bar::at_most(
                format!("server s/Gbit {way} of one session among {many} to alone: {FLAT} at most"),
                ratio.median,
                FLAT,
            ));
        }
        bars
    }

    /// Why the figures are not what they look like; empty when they are.
    fn doubts(&self) -> Vec<String> {
        let idle = self
            .idle
            .iter()
            .map(|idle| (format!("{} idle sessions", idle.sessions), idle.foreign));
        let busy = self
            .traffic
            .iter()
            .map(|(traffic, _)| (format!("{} {}", traffic.name, traffic.way), traffic.foreign));
        let mut doubts: Vec<_> = idle
            .chain(busy)
            .filter(|(_, foreign)| *foreign > FOREIGN_LIMIT)
            .map(|(what, foreign)| {
                format!(
                    "{what}: others used up to {:.0} % of the machine",
                    foreign * 100.0
                )
            })
            .collect();
        if self.rounds > 0 && self.rounds < 3 {
            doubts.push(format!("{} rounds: at least 3 are needed", self.rounds));
        }
        doubts
    }
}

/// The ratios within each round.
fn ratio(these: &[Carried], those: &[Carried], figure: impl Fn(&Carried) -> f64) -> Option<Spread> {
    Spread::of(
        these
            .iter()
            .zip(those)
            .map(|(this, that)| figure(this) / figure(that)),
    )
}

fn spread(figures: &Spread, digits: usize) -> String {
    format!(
        "{:.digits$} ({:.digits$}-{:.digits$})",
        figures.median, figures.min, figures.max
    )
}
