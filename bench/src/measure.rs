//! One tunnel in one round: round-trip times on the idle path, one stream up, one stream down.

use anyhow::Result;

use crate::cable::Cable;
use crate::cpu::{CpuReading, CpuUse};
use crate::rtt;
use crate::tcp::{Direction, Stream, stream};
use crate::tunnels::{Batching, Tunnel};

/// What a round found.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Round {
    /// Median round-trip time in milliseconds.
    pub(crate) rtt_ms: f64,
    /// Client to server.
    pub(crate) up: Way,
    /// Server to client.
    pub(crate) down: Way,
}

/// One direction.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Way {
    /// What arrived.
    pub(crate) stream: Stream,
    /// What it cost.
    pub(crate) cpu: CpuUse,
    /// How many packets our server's calls carried; other peers do not tell.
    pub(crate) batching: Option<Batching>,
}

/// Measures `tunnel` for a round, while the others are idle.
///
/// # Errors
/// When something cannot be measured at all.
pub(crate) fn measure(cable: &Cable, tunnel: &Tunnel<'_>, seconds: u32) -> Result<Round> {
    let way = |direction| {
        let counted = tunnel.counters();
        let before = CpuReading::take(&tunnel.ends())?;
        let stream = stream(cable, tunnel.address, direction, seconds)?;
        let cpu = CpuReading::take(&tunnel.ends())?.since(&before);
        let batching = counted
            .zip(tunnel.counters())
            .map(|(before, after)| Batching::between(&before, &after, direction));
        Ok::<_, anyhow::Error>(Way {
            stream,
            cpu,
            batching,
        })
    };
    Ok(Round {
        rtt_ms: rtt::median_ms(&cable.client, tunnel.address)?,
        up: way(Direction::Up)?,
        down: way(Direction::Down)?,
    })
}
