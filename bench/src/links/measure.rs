//! One tunnel over one link in one round.

use std::time::Duration;

use anyhow::{Context as _, Result};
use conformance::{stay_silent, wait_until};

use super::drops;
use super::figures::{Loaded, Round, Throughput};
use super::link::Laid;
use super::load::{Carried, Flows, Running, WARM_UP, Way};
use super::options::Options;
use super::round_trips::{Asking, RoundTrips};
use crate::cable::{Cable, DEVICE};
use crate::tunnels::Tunnel;

/// Flows that fill the link while round trips are taken.
const FLOWS: u32 = 4;
/// Their congestion control: what most of the world sends with.
const FILLING: &str = "cubic";
/// Time of the round trips on the idle link.
const IDLE: Duration = Duration::from_secs(3);
/// A link over which each end sends less than this within [`LOOK`] is idle: tunnels keep themselves
/// alive.
const IDLE_BYTES: u64 = 4096;
const LOOK: Duration = Duration::from_millis(200);
/// Within this a link has to become idle.
const SETTLE: Duration = Duration::from_secs(30);

/// Measures `tunnel`, while the others are idle.
///
/// # Errors
/// When something cannot be measured at all.
pub(crate) fn round(laid: &Laid, tunnel: &Tunnel<'_>, options: &Options) -> Result<Round> {
    settle(laid.cable());
    let before = drops::counted(laid, tunnel);
    let mut round = Round::default();
    if options.measures.round_trips {
        round.idle = Some(idle(laid, tunnel)?);
        let loaded = |way| loaded(laid, tunnel, way, options.seconds);
        round.up = Some(loaded(Way::Up)?);
        round.down = Some(loaded(Way::Down)?);
        round.both = Some(loaded(Way::Both)?);
    }
    if options.measures.tcp {
        let one = |congestion| throughput(laid, tunnel, congestion, options.seconds);
        round.bbr = Some(one("bbr")?);
        round.cubic = Some(one("cubic")?);
    }
    round.drops = drops::since(drops::counted(laid, tunnel), &before);
    Ok(round)
}

/// Waits until what the flows before left behind has passed: iperf3 ends with megabytes in the
/// sender's socket, and a slow link takes seconds for them.
fn settle(cable: &Cable) {
    let sent = || [&cable.client, &cable.server].map(|machine| machine.bytes(DEVICE).1);
    let mut before = sent();
    wait_until("the link is idle", SETTLE, || {
        stay_silent(LOOK);
        let now = sent();
        let is_idle = now
            .iter()
            .zip(before)
            .all(|(now, before)| now - before < IDLE_BYTES);
        before = now;
        is_idle
    });
}

fn idle(laid: &Laid, tunnel: &Tunnel<'_>) -> Result<RoundTrips> {
    let asking = Asking::start(&laid.cable().client, tunnel.address);
    asking.wait_for(IDLE);
    asking.finish(Duration::ZERO, IDLE)
}

fn loaded(laid: &Laid, tunnel: &Tunnel<'_>, way: Way, seconds: u32) -> Result<Loaded> {
    let flows = Flows {
        way,
        count: FLOWS,
        congestion: FILLING,
        seconds,
    };
    let running = Running::start(laid.cable(), tunnel.address, flows)?;
    let asking = Asking::start(&laid.cable().client, tunnel.address);
    let load = running.finish()?;
    let seconds = |seconds: u32| Duration::from_secs(seconds.into());
    Ok(Loaded {
        // iperf3 needs a moment for its own connection first, so the load may end a little later.
        round_trips: asking.finish(seconds(WARM_UP), seconds(WARM_UP + flows.seconds))?,
        load,
    })
}

fn throughput(
    laid: &Laid,
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
        Running::start(laid.cable(), tunnel.address, flows)?.finish()
    };
    let carried = |carried: Option<Carried>| carried.context("iperf3 tells of no such direction");
    Ok(Throughput {
        up: carried(one(Way::Up)?.up)?,
        down: carried(one(Way::Down)?.down)?,
    })
}
