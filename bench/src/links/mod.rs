//! What a shaped or a lossy path makes of each contender: round trips while TCP fills the link, TCP
//! throughput with either congestion control, and an hour's worth of packets through random loss.
//!
//! Invariants: the run without a tunnel passes the very same link in the same round; a link
//! lives for its own rounds only, and with it the tunnels over it, so that nothing they learned
//! about another path is left.

mod bars;
mod drops;
mod endurance;
mod figures;
mod link;
mod load;
mod measure;
mod options;
mod path;
mod relay;
mod report;
mod round_trips;
mod tun;

use std::process::ExitCode;

use anyhow::{Context as _, Result};

use crate::arguments::Arguments;
use crate::tunnels::{QDT, Tunnel};
use crate::{note, say};
use endurance::Endurance;
use figures::Round;
use link::Link;
pub(crate) use options::{HELP, Options};
use report::Report;

/// Measures every link that was asked for and prints a table and a JSON document.
///
/// # Errors
/// When a link cannot be made or something cannot be measured at all.
pub(crate) fn run(options: &Options) -> Result<ExitCode> {
    conformance::check_requirements();
    let mut report = Report::new(options);
    for link in &options.links {
        let named = || format!("the link {}", link.name);
        // Each link's table is shown at once: a run over all of them takes a while.
        if link.is_endurance {
            let found = endure(link, options).with_context(named)?;
            say(&report.add_endurance(link, found));
        } else {
            let rounds = measure_link(link, options).with_context(named)?;
            say(&report.add(link, rounds));
        }
    }
    say(&report.closing());
    crate::conclude(report.json()?, options.json.as_deref(), report.holds())
}

/// The rounds of every contender over one link, in the order of the tunnels.
fn measure_link(link: &Link, options: &Options) -> Result<Vec<(&'static str, Vec<Round>)>> {
    let live_link = link.lay(options.seed)?;
    let tunnels = Tunnel::start_all(
        live_link.veth(),
        &tunnels_of(options, options.only.clone())?,
    )?;
    let mut rounds: Vec<(&'static str, Vec<Round>)> = tunnels
        .iter()
        .map(|tunnel| (tunnel.name, Vec::new()))
        .collect();
    for round in 0..options.rounds {
        for place in 0..tunnels.len() {
            // Each tunnel is first once.
            let index = (place + round) % tunnels.len();
            let tunnel = &tunnels[index];
            note(&format!(
                "{}, round {} of {}: {}",
                link.name,
                round + 1,
                options.rounds,
                tunnel.name
            ));
            let found = measure::round(&live_link, tunnel, options)
                .with_context(|| tunnel.name.to_owned())?;
            rounds[index].1.push(found);
        }
    }
    Ok(rounds)
}

/// Our pair alone over a link that loses packets, for an hour's worth of them.
fn endure(link: &Link, options: &Options) -> Result<Endurance> {
    let live_link = link.lay(options.seed)?;
    let only = tunnels_of(options, vec![QDT.to_owned()])?;
    let tunnels = Tunnel::start_all(live_link.veth(), &only)?;
    let tunnel = tunnels.first().context("our pair was not started")?;
    endurance::run(&live_link, tunnel)
}

/// What those that start the tunnels are told.
fn tunnels_of(options: &Options, only: Vec<String>) -> Result<Arguments> {
    Ok(Arguments {
        only,
        mtu: options.mtu,
        ..Arguments::parse(std::iter::empty())?
    })
}
