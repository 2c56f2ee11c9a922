//! One tunnel over one link in one round.

use std::time::Duration;

use anyhow::{Context as _, Result};
use conformance::{stay_silent, wait_until};

use super::drops;
use super::figures::{Loaded, Round, Throughput};
use super::link::LiveLink;
use super::load::{Carried, FlowDirection, Flows, Running, WARM_UP};
use super::options::Options;
use super::round_trips::{PingRun, RoundTrips};
use crate::tunnels::Tunnel;
use crate::veth_link::{DEVICE, VethLink};

/// Flows that fill the link while round trips are taken.
const FLOWS: u32 = 4;
/// Their congestion control: what most of the world sends with.
const FILLING: &str = "cubic";
/// Time of the round trips on the idle link.
const IDLE: Duration = Duration::from_secs(3);
/// Bytes that each end of an idle link sends at most per [`POLL_INTERVAL`]: the tunnels'
/// keep-alives.
const IDLE_BYTES: u64 = 4096;
const POLL_INTERVAL: Duration = Duration::from_millis(200);
/// Within this a link has to become idle.
const IDLE_WITHIN: Duration = Duration::from_secs(30);

/// Measures `tunnel`, while the others are idle.
///
/// # Errors
/// When something cannot be measured at all.
pub(crate) fn round(live_link: &LiveLink, tunnel: &Tunnel<'_>, options: &Options) -> Result<Round> {
    wait_until_idle(live_link.veth());
    let before = drops::counted(live_link, tunnel);
    let mut round = Round::default();
    if options.measures.round_trips {
        round.idle = Some(idle(live_link, tunnel)?);
        let loaded = |way| loaded(live_link, tunnel, way, options.seconds);
        round.up = Some(loaded(FlowDirection::Up)?);
        round.down = Some(loaded(FlowDirection::Down)?);
        round.both = Some(loaded(FlowDirection::Both)?);
    }
    if options.measures.tcp {
        let one = |congestion| throughput(live_link, tunnel, congestion, options.seconds);
        round.bbr = Some(one("bbr")?);
        round.cubic = Some(one("cubic")?);
    }
    round.drops = drops::since(drops::counted(live_link, tunnel), &before);
    Ok(round)
}

/// Waits until what the flows before left behind has passed: iperf3 ends with megabytes in the
/// sender's socket, and a slow link takes seconds for them.
fn wait_until_idle(veth: &VethLink) {
    let sent = || [&veth.client, &veth.server].map(|machine| machine.bytes(DEVICE).1);
    let mut before = sent();
    wait_until("the link is idle", IDLE_WITHIN, || {
        stay_silent(POLL_INTERVAL);
        let now = sent();
        let is_idle = now
            .iter()
            .zip(before)
            .all(|(now, before)| now - before < IDLE_BYTES);
        before = now;
        is_idle
    });
}

fn idle(live_link: &LiveLink, tunnel: &Tunnel<'_>) -> Result<RoundTrips> {
    let ping_run = PingRun::start(&live_link.veth().client, tunnel.address);
    ping_run.wait_for(IDLE);
    ping_run.finish(Duration::ZERO, IDLE)
}

fn loaded(
    live_link: &LiveLink,
    tunnel: &Tunnel<'_>,
    way: FlowDirection,
    seconds: u32,
) -> Result<Loaded> {
    let flows = Flows {
        way,
        count: FLOWS,
        congestion: FILLING,
        seconds,
    };
    let running = Running::start(live_link.veth(), tunnel.address, flows)?;
    let ping_run = PingRun::start(&live_link.veth().client, tunnel.address);
    let load = running.finish()?;
    let seconds = |seconds: u32| Duration::from_secs(seconds.into());
    Ok(Loaded {
        // iperf3 needs a moment for its own connection first, so the load may end a little later.
        round_trips: ping_run.finish(seconds(WARM_UP), seconds(WARM_UP + flows.seconds))?,
        load,
    })
}

fn throughput(
    live_link: &LiveLink,
    tunnel: &Tunnel<'_>,
    congestion: &'static str,
    seconds: u32,
) -> Result<Throughput> {
    let one = |way| {
        let flows = Flows {
            way,
            count: 1,
            congestion,
            seconds,
        };
        Running::start(live_link.veth(), tunnel.address, flows)?.finish()
    };
    let carried = |carried: Option<Carried>| carried.context("iperf3 tells of no such direction");
    Ok(Throughput {
        up: carried(one(FlowDirection::Up)?.up)?,
        down: carried(one(FlowDirection::Down)?.down)?,
    })
}
