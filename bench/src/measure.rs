//! One tunnel in one round, while the others are idle: round-trip times on the idle path, TCP up
//! and down with one stream and with four, UDP of several sizes, and last what the ends hold in
//! memory.

use std::collections::BTreeMap;

use anyhow::{Context as _, Result};
use serde::Serialize;

use crate::cpu::{CpuReading, CpuUse};
use crate::figure::{Metric, Round, Run, RunFigures, UdpLoad};
use crate::rtt::{self, PER_SECOND, Pace, Pinging};
use crate::tcp::{Congestion, Direction, Load, carry};
use crate::tunnels::{Tunnel, path_counters};
use crate::udp::{Found, HEADERS, LOSS_LIMIT, UdpPath};
use crate::veth_link::VethLink;
use crate::{memory, note};

/// What is sent as UDP. The larger packets fit into every tunnel here without being fragmented.
pub(crate) const UDP_LOADS: [UdpLoad; 4] = [
    one_by_one(64),
    one_by_one(512),
    one_by_one(1300),
    UdpLoad {
        bytes: 1300,
        trains: true,
    },
];
/// Streams at a time.
pub(crate) const STREAMS: [u32; 2] = [1, 4];
/// A rate that was found and does not hold when it has to prove itself is lowered by this factor,
/// so many times at most.
const LOWER: f64 = 0.9;
const PROOFS: usize = 15;

/// A part of what is measured.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Measure {
    /// Round-trip times on the idle path.
    Rtt,
    /// TCP; with one stream, round-trip times meanwhile.
    Tcp,
    /// UDP.
    Udp,
}

impl Measure {
    /// All of them and what they are called.
    pub(crate) const ALL: [(&str, Self); 3] =
        [("rtt", Self::Rtt), ("tcp", Self::Tcp), ("udp", Self::Udp)];
}

/// How to measure.
#[derive(Debug)]
pub(crate) struct Plan<'a> {
    /// Which parts.
    pub(crate) measures: &'a [Measure],
    /// Length of one TCP run.
    pub(crate) seconds: u32,
    /// Congestion control of the streams.
    pub(crate) congestion: Congestion,
}

/// The highest UDP rates found so far, in packets per second: the next round begins there.
pub(crate) type Known = BTreeMap<UdpLoad, f64>;

/// Measures `tunnel` for a round.
///
/// # Errors
/// When something cannot be measured at all.
pub(crate) fn measure(
    veth: &VethLink,
    tunnel: &Tunnel<'_>,
    plan: &Plan<'_>,
    known: &mut Known,
) -> Result<Round> {
    let mut round = Round::new();
    if plan.measures.contains(&Measure::Rtt) {
        for (run, pace) in [(Run::Awake, Pace::BackToBack), (Run::Asleep, Pace::Spaced)] {
            let mut way = RunFigures::new();
            rtt::idle(&veth.client, tunnel.address, pace)?.add_to(&mut way);
            round.insert(run, way);
        }
    }
    if plan.measures.contains(&Measure::Tcp) {
        for streams in STREAMS {
            for direction in [Direction::Up, Direction::Down] {
                let run = Run::tcp(streams, direction);
                let way =
                    tcp(veth, tunnel, plan, streams, direction).with_context(|| run.to_string())?;
                round.insert(run, way);
            }
        }
    }
    if plan.measures.contains(&Measure::Udp) {
        for load in UDP_LOADS {
            let run = Run::Udp(load);
            let way = udp(veth, tunnel, load, known).with_context(|| run.to_string())?;
            round.insert(run, way);
        }
    }
    if !tunnel.ends().is_empty() {
        round.insert(Run::Memory, memory::of_ends(&tunnel.ends())?);
    }
    Ok(round)
}

fn tcp(
    veth: &VethLink,
    tunnel: &Tunnel<'_>,
    plan: &Plan<'_>,
    streams: u32,
    direction: Direction,
) -> Result<RunFigures> {
    let load = Load {
        direction,
        streams,
        seconds: plan.seconds,
        congestion: plan.congestion,
    };
    // The pings end before the stream does.
    let pings = plan.seconds as usize * PER_SECOND * 9 / 10;
    let ((carried, rtt), cpu, mut way) = watched(tunnel, direction, || {
        carry(veth, tunnel.address, load, || match streams {
            1 => Ok(Some(
                Pinging::start(&veth.client, tunnel.address, Pace::Spaced, pings)?.finish()?,
            )),
            _ => Ok(None),
        })
    })?;
    if let Some(rtt) = rtt {
        rtt.add_to(&mut way);
    }
    way.insert(Metric::GbitPerSecond, carried.gbit_per_second);
    way.insert(Metric::Retransmits, carried.retransmits as f64);
    add_cpu(&mut way, cpu, carried.gbit);
    Ok(way)
}

fn udp(
    veth: &VethLink,
    tunnel: &Tunnel<'_>,
    load: UdpLoad,
    known: &mut Known,
) -> Result<RunFigures> {
    let mut path = UdpPath::open(veth, tunnel.address, load)?;
    let Found {
        mut rate,
        sender_limited,
    } = path.search(known.get(&load).copied())?;
    let mut proofs = 1;
    let (trial, cpu, mut way) = loop {
        let proof = watched(tunnel, Direction::Up, || path.prove(rate))?;
        if proof.0.holds() || proofs == PROOFS {
            break proof;
        }
        (rate, proofs) = (rate * LOWER, proofs + 1);
    };
    if !trial.holds() {
        note(&format!(
            "{} {}: no rate held in {PROOFS} attempts, {:.2} % are missing (limit {} %)",
            tunnel.name,
            Run::Udp(load),
            trial.loss() * 100.0,
            LOSS_LIMIT * 100.0
        ));
    }
    known.insert(load, rate);
    let gbit = trial.received as f64 * (load.bytes - HEADERS) as f64 * 8e-9;
    way.insert(Metric::PacketsPerSecond, trial.packets_per_second());
    way.insert(Metric::GbitPerSecond, gbit / trial.seconds);
    way.insert(Metric::Loss, trial.loss());
    way.insert(
        Metric::SenderLimited,
        f64::from(sender_limited && proofs == 1),
    );
    add_cpu(&mut way, cpu, gbit);
    Ok(way)
}

/// Does `work` and tells what it cost and, at our server, what the path did meanwhile.
fn watched<T>(
    tunnel: &Tunnel<'_>,
    direction: Direction,
    work: impl FnOnce() -> Result<T>,
) -> Result<(T, CpuUse, RunFigures)> {
    let counted = tunnel.counters();
    let before = CpuReading::take(&tunnel.ends())?;
    let done = work()?;
    let cpu = CpuReading::take(&tunnel.ends())?.since(&before);
    let mut way = RunFigures::new();
    if let Some((before, after)) = counted.zip(tunnel.counters()) {
        path_counters::add_between(&mut way, &before, &after, direction);
    }
    Ok((done, cpu, way))
}

fn add_cpu(way: &mut RunFigures, cpu: CpuUse, gbit: f64) {
    way.insert(Metric::EndsCpuSecondsPerGbit, cpu.ends / gbit);
    way.insert(Metric::MachineCpuSecondsPerGbit, cpu.whole / gbit);
    way.insert(Metric::Foreign, cpu.foreign);
}

const fn one_by_one(bytes: usize) -> UdpLoad {
    UdpLoad {
        bytes,
        trains: false,
    }
}
