//! The links that can be measured, and how each is made.

use std::fmt;
use std::time::Duration;

use anyhow::Result;
use conformance::Machine;
use serde::Deserialize;

use super::path::Shape;
use super::relay::{Counted, Relay};
use crate::veth_link::{DEVICE, VethLink};

/// Bytes that tbf sends at once.
const BURST: &str = "16kb";
/// How long a packet may wait in tbf's queue.
const LATENCY: &str = "400ms";
/// Packets that may wait in a device in front of the relay: more than any receive window holds.
const DEVICE_QUEUE: u32 = 20_000;
/// Each way; the round trip is twice that.
const DELAY: Duration = Duration::from_millis(10);
/// 50 ms of 100 Mbit/s.
const QUEUE: u64 = 625_000;

/// A link.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Link {
    /// Its name on the command line and in the report.
    pub(crate) name: &'static str,
    /// Whether it is measured when no links are named.
    pub(crate) by_default: bool,
    /// Whether it is there for an hour's worth of packets and not for rounds.
    pub(crate) is_endurance: bool,
    kind: Kind,
}

#[derive(Debug, PartialEq, Eq)]
enum Kind {
    /// The veth link with a token bucket at either end's egress.
    Tbf { mbit: u32 },
    /// The relay.
    Relay(Shape),
}

const fn lossy(name: &'static str, loss_per_mille: u32) -> Link {
    Link {
        name,
        by_default: true,
        is_endurance: false,
        kind: Kind::Relay(Shape {
            rate: Some(100_000_000),
            queue: QUEUE,
            delay: DELAY,
            loss_per_mille,
            ..Shape::OPEN
        }),
    }
}

/// All of them.
pub(crate) const LINKS: &[Link] = &[
    Link {
        name: "tbf20",
        by_default: true,
        is_endurance: false,
        kind: Kind::Tbf { mbit: 20 },
    },
    Link {
        name: "tbf100",
        by_default: true,
        is_endurance: false,
        kind: Kind::Tbf { mbit: 100 },
    },
    lossy("loss0", 0),
    lossy("loss0.1", 1),
    lossy("loss1", 10),
    lossy("loss5", 50),
    Link {
        name: "reorder",
        by_default: true,
        is_endurance: false,
        kind: Kind::Relay(Shape {
            rate: Some(100_000_000),
            queue: QUEUE,
            delay: DELAY,
            loss_per_mille: 0,
            late_per_mille: 10,
            late_by: Duration::from_millis(2),
        }),
    },
    Link {
        name: "open",
        by_default: false,
        is_endurance: false,
        kind: Kind::Relay(Shape::OPEN),
    },
    Link {
        name: "hour",
        by_default: false,
        is_endurance: true,
        kind: Kind::Relay(Shape {
            loss_per_mille: 10,
            ..Shape::OPEN
        }),
    },
];

/// A link that is there.
#[derive(Debug)]
pub(crate) struct LiveLink {
    // Ends before the machines do.
    relay: Option<Relay>,
    veth: VethLink,
}

impl Link {
    /// Lays it between two new machines.
    ///
    /// # Errors
    /// When there is no folder for the machines' files, or the kernel refuses a device.
    ///
    /// # Panics
    /// When the kernel refuses a namespace or tc the token bucket.
    pub(crate) fn lay(&self, seed: u64) -> Result<LiveLink> {
        match self.kind {
            Kind::Tbf { mbit } => {
                let veth = VethLink::lay()?;
                veth.shape(mbit, BURST, LATENCY);
                Ok(LiveLink { relay: None, veth })
            }
            Kind::Relay(shape) => {
                let (veth, relay) = VethLink::lay_with(|client, server| {
                    let relay = Relay::start(client, server, DEVICE, shape, seed)?;
                    for machine in [client, server] {
                        machine.ip(&format!("link set {DEVICE} txqueuelen {DEVICE_QUEUE}"));
                    }
                    Ok(relay)
                })?;
                Ok(LiveLink {
                    relay: Some(relay),
                    veth,
                })
            }
        }
    }
}

impl fmt::Display for Link {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.kind {
            Kind::Tbf { mbit } => write!(
                f,
                "tbf {mbit} Mbit/s at both ends' egress, burst {BURST}, latency {LATENCY}"
            ),
            Kind::Relay(shape) => {
                write!(f, "relay")?;
                match shape.rate {
                    None => write!(f, " without a limit")?,
                    Some(rate) => write!(
                        f,
                        " {} Mbit/s each way, queue {} kB ({:.0} ms)",
                        rate / 1_000_000,
                        shape.queue / 1000,
                        shape.queue as f64 * 8e3 / rate as f64,
                    )?,
                }
                write!(f, ", round trip {} ms", (shape.delay * 2).as_millis())?;
                write!(
                    f,
                    ", loss {} % each way",
                    f64::from(shape.loss_per_mille) / 10.0
                )?;
                if shape.late_per_mille > 0 {
                    write!(
                        f,
                        ", {} % late by {} ms",
                        f64::from(shape.late_per_mille) / 10.0,
                        shape.late_by.as_millis()
                    )?;
                }
                Ok(())
            }
        }
    }
}

impl LiveLink {
    /// The machines at both ends.
    pub(crate) fn veth(&self) -> &VethLink {
        &self.veth
    }

    /// What the relay did, up and down.
    pub(crate) fn relayed(&self) -> Option<[Counted; 2]> {
        self.relay.as_ref().map(Relay::counted)
    }

    /// Packets that the token buckets dropped, up and down; a relay has none.
    ///
    /// # Panics
    /// When tc cannot tell.
    pub(crate) fn tbf_drops(&self) -> Option<[u64; 2]> {
        self.relay
            .is_none()
            .then(|| [&self.veth.client, &self.veth.server].map(dropped_by_tbf))
    }
}

/// One queue discipline, as `tc -j -s qdisc` shows it.
#[derive(Deserialize)]
struct Shown {
    kind: String,
    drops: u64,
}

fn dropped_by_tbf(machine: &Machine) -> u64 {
    let text = machine.run("tc", &["-j", "-s", "qdisc", "show", "dev", DEVICE]);
    let shown: Vec<Shown> = serde_json::from_str(&text).expect("tc writes JSON");
    shown
        .iter()
        .filter(|shown| shown.kind == "tbf")
        .map(|shown| shown.drops)
        .sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_link_says_everything_that_decides_its_figures() {
        let said = |name| {
            let link = LINKS.iter().find(|link| link.name == name);
            link.expect("a known link").to_string()
        };
        assert_eq!(
            said("tbf20"),
            "tbf 20 Mbit/s at both ends' egress, burst 16kb, latency 400ms"
        );
        assert_eq!(
            said("loss0.1"),
            "relay 100 Mbit/s each way, queue 625 kB (50 ms), round trip 20 ms, loss 0.1 % each way"
        );
        assert_eq!(
            said("reorder"),
            "relay 100 Mbit/s each way, queue 625 kB (50 ms), round trip 20 ms, loss 0 % each way, 1 % late by 2 ms"
        );
    }
}
