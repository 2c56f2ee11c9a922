//! The table, the JSON document, and how the figures stand against the bars.

use std::fmt::Write as _;

use anyhow::{Context as _, Result};
use serde::Serialize;

use super::carried::Carried;
use super::figures::{Bar, Idle, Traffic};
use super::flows::CONGESTION_CONTROL;
use super::options::Options;
use crate::statistics::Spread;

/// Share of the machine that others may use while something is measured.
const FOREIGN_LIMIT: f64 = 0.05;
/// Memory and processor time of a session among very many may be larger than among fewer by this
/// factor.
const FLAT: f64 = 1.1;
/// The set that others are held against.
const ALONE: &str = "one session, one stream";

/// Everything measured so far.
#[derive(Debug)]
pub(super) struct Report {
    active: usize,
    links: Vec<String>,
    idle_seconds: u64,
    warm_up: u64,
    seconds: u64,
    rounds: usize,
    idle: Vec<Idle>,
    traffic: Vec<(Traffic, Vec<Carried>)>,
}

/// The JSON document.
#[derive(Debug, Serialize)]
struct Document<'a> {
    idle_seconds: u64,
    warm_up: u64,
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
            links: options.links().iter().map(ToString::to_string).collect(),
            idle_seconds: options.idle,
            warm_up: options.warm_up,
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

    /// Whether every figure is what it looks like. A bar that is not reached is a figure that
    /// holds.
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
            warm_up: self.warm_up,
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
                "\n{:>9} {:<11} {:<29} {:<4} {:>17} {:>19} {:>10} {:>10} {:>10} {:>19} {:>11} {:>8} {:>11}",
                "sessions",
                "link",
                "busy",
                "",
                "Gbit/s",
                "server s/Gbit",
                "all s/Gbit",
                "per call",
                "per train",
                "Jain index",
                "least, most",
                "dropped",
                "resent ppm"
            );
        }
        for (traffic, _) in &self.traffic {
            let _ = writeln!(
                text,
                "{:>9} {:<11} {:<29} {:<4} {:>17} {:>19} {:>10.3} {:>10} {:>10} {:>19} {:>11} {:>8.0} {:>11.0}",
                traffic.sessions,
                traffic.link,
                traffic.name,
                traffic.way,
                spread(&traffic.gbit_per_second, 2),
                optional(traffic.server_seconds_per_gbit, |it| spread(&it, 3)),
                traffic.machine_seconds_per_gbit.median,
                optional(traffic.packets_per_tun_call, |it| format!(
                    "{:.1}",
                    it.median
                )),
                optional(traffic.datagrams_per_train, |it| format!(
                    "{:.1}",
                    it.median
                )),
                spread(&traffic.jain_index, 3),
                format!("{:.2}, {:.2}", traffic.least.median, traffic.most.median),
                traffic.dropped_by_devices.median,
                traffic.resent_per_million.median,
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
            for link in &self.links {
                bars.extend(self.sharing_bars(way, link));
            }
            bars.extend(self.company_bar(way));
        }
        bars
    }

    /// What was measured with so many sessions on that link, and begins like this.
    fn find(
        &self,
        way: &str,
        link: &str,
        sessions: Option<usize>,
        begins: &str,
    ) -> Option<&(Traffic, Vec<Carried>)> {
        self.traffic.iter().find(|(traffic, _)| {
            traffic.way == way
                && traffic.link == link
                && Some(traffic.sessions) == sessions
                && traffic.name.starts_with(begins)
        })
    }

    /// What many sessions carry of what one does on the same link, and how evenly.
    fn sharing_bars(&self, way: &str, link: &str) -> Vec<Bar> {
        let first = self.idle.first().map(|idle| idle.sessions);
        let active = format!("{} sessions", self.active);
        let (Some((_, alone)), Some((busy, together)), Some((bare, _))) = (
            self.find(way, link, first, ALONE),
            self.find(way, link, first, &active),
            self.find(way, link, first, "no tunnel"),
        ) else {
            return Vec::new();
        };
        let named = format!("{active} {way}, link {link}");
        let ratio = ratio(together, alone, |round| Some(round.gbit_per_second));
        let throughput = ratio.map(|ratio| {
            Bar::at_least(
                format!("{named}, throughput to that of one session: 0.9 at least"),
                ratio.median,
                0.9,
            )
        });
        let evenness = Bar::at_least(
            format!(
                "{named}, Jain index ({:.3} without a tunnel): 0.95 at least",
                bare.jain_index.median
            ),
            busy.jain_index.median,
            0.95,
        );
        throughput.into_iter().chain([evenness]).collect()
    }

    /// What the company of idle sessions costs one that is busy.
    fn company_bar(&self, way: &str) -> Option<Bar> {
        let many = self.idle.last()?.sessions;
        let (_, alone) = self.find(way, "open", Some(1), ALONE)?;
        // The last one: with a single number of sessions there are two of this name.
        let (_, among) = self.traffic.iter().rfind(|(traffic, _)| {
            traffic.way == way && traffic.sessions == many && traffic.name.starts_with(ALONE)
        })?;
        let ratio = ratio(among, alone, |round| {
            round.server.map(|work| work.seconds_per_gbit)
        })?;
        Some(Bar::at_most(
            format!("server s/Gbit {way} of one session among {many} to alone: {FLAT} at most"),
            ratio.median,
            FLAT,
        ))
    }

    /// Why the figures are not what they look like; empty when they are.
    fn doubts(&self) -> Vec<String> {
        let idle = self
            .idle
            .iter()
            .map(|idle| (format!("{} idle sessions", idle.sessions), idle.foreign));
        let busy = self.traffic.iter().map(|(traffic, _)| {
            let Traffic {
                name, way, link, ..
            } = traffic;
            (format!("{name} {way}, link {link}"), traffic.foreign)
        });
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

/// The ratios within each round that has both.
fn ratio(
    these: &[Carried],
    those: &[Carried],
    figure: impl Fn(&Carried) -> Option<f64>,
) -> Option<Spread> {
    Spread::of(
        these
            .iter()
            .zip(those)
            .filter_map(|(this, that)| Some(figure(this)? / figure(that)?)),
    )
}

fn spread(figures: &Spread, digits: usize) -> String {
    format!(
        "{:.digits$} ({:.digits$}-{:.digits$})",
        figures.median, figures.min, figures.max
    )
}

fn optional(figures: Option<Spread>, text: impl Fn(Spread) -> String) -> String {
    figures.map_or_else(|| "-".to_owned(), text)
}
