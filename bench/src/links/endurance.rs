//! An hour's worth of packets through random loss, as fast as they go: the session, its addresses
//! and its packet size have to be the same afterwards.

use anyhow::{Context as _, Result};
use conformance::{Metrics, ping_df};
use serde::Serialize;
use std::time::{Duration, Instant};

use super::link::LiveLink;
use super::load::{FlowDirection, Flows, Running};
use crate::note;
use crate::tunnels::Tunnel;

/// Packets over the link, both ways together, those that were lost included: an hour at 1,000 a
/// second.
const PACKETS: u64 = 3_600_000;
/// Length of one load; as many follow each other as it takes.
const SECONDS: u32 = 15;
/// bbr, because cubic hardly sends at such a loss.
const CONGESTION: &str = "bbr";
/// Flows each way.
const FLOWS: u32 = 4;
/// What an IPv4 and an ICMP header take of a packet.
const PING_HEADERS: usize = 28;

/// What was there before and has to be there afterwards.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
struct TunnelState {
    /// The server's log: every session that was opened or closed, with its id and inner address.
    sessions: Vec<String>,
    /// `qdt_sessions_active`.
    active: u64,
    /// `qdt_handshakes_total{result="ok"}`: one more would be a new connection, for a smaller
    /// packet size for instance.
    handshakes: u64,
    /// The client's inner address.
    address: Option<String>,
    /// The MTU of the client's device.
    mtu: usize,
    /// Whether a packet of that size passes in one piece.
    carries_mtu: bool,
}

/// What came of it.
#[derive(Debug, Serialize)]
pub(crate) struct Endurance {
    /// Packets that came into the link, both ways.
    pub(crate) packets: u64,
    /// Those of them that it lost.
    pub(crate) lost: u64,
    /// How long it took.
    pub(crate) seconds: f64,
    /// Fragments that our server sent or received: none, while the path's packet size is what it
    /// was.
    pub(crate) fragments: u64,
    before: TunnelState,
    after: TunnelState,
}

impl Endurance {
    /// Whether everything is as it was.
    pub(crate) fn passed(&self) -> bool {
        self.before == self.after && self.after.carries_mtu && self.fragments == 0
    }

    /// The result for people.
    pub(crate) fn table(&self) -> String {
        let reached = if self.passed() {
            "reached"
        } else {
            "NOT REACHED"
        };
        let mut text = format!(
            "{} packets came into the link, both ways, in {:.0} s; it lost {} of them; {} fragments\n\
             BAR no session lost, the same address and id, MTU unchanged: {reached}\n\
             afterwards: {}\n",
            self.packets,
            self.seconds,
            self.lost,
            self.fragments,
            self.after.said(),
        );
        if self.before != self.after {
            text.push_str(&format!("before: {}\n", self.before.said()));
        }
        text
    }
}

impl TunnelState {
    fn of(live_link: &LiveLink, tunnel: &Tunnel<'_>, metrics: &Metrics) -> Self {
        let client = &live_link.veth().client;
        let mtu = client.mtu(tunnel.device);
        let sessions = tunnel
            .server_log()
            .lines()
            .filter(|line| line.contains("session opened") || line.contains("session closed"))
            .map(str::to_owned)
            .collect();
        Self {
            sessions,
            active: metrics.sessions() as u64,
            handshakes: metrics.handshakes("ok") as u64,
            address: client
                .ipv4(tunnel.device)
                .map(|address| address.to_string()),
            mtu,
            // At 1 % loss a single one may be lost.
            carries_mtu: (0..5).any(|_| {
                let second = Duration::from_secs(1);
                let size = mtu - PING_HEADERS;
                matches!(
                    ping_df(client, tunnel.address.into(), size, second),
                    Ok(Some(_))
                )
            }),
        }
    }

    fn said(&self) -> String {
        format!(
            "{} active, {} handshakes, inner address {}, MTU {} ({}), log: {}",
            self.active,
            self.handshakes,
            self.address.as_deref().unwrap_or("none"),
            self.mtu,
            if self.carries_mtu {
                "a ping of that size passes"
            } else {
                "no ping of that size passes"
            },
            self.sessions.join(" | ")
        )
    }
}

/// Sends them.
///
/// # Errors
/// When the tunnel has no counters or nothing can be sent.
pub(crate) fn run(live_link: &LiveLink, tunnel: &Tunnel<'_>) -> Result<Endurance> {
    let counters = || {
        tunnel
            .counters()
            .context("only our server has the counters")
    };
    let relayed = || live_link.relayed().context("this needs the relay");
    let at_first = relayed()?;
    let metrics = counters()?;
    let before = TunnelState::of(live_link, tunnel, &metrics);
    let start = Instant::now();
    loop {
        let flows = Flows {
            way: FlowDirection::Both,
            count: FLOWS,
            congestion: CONGESTION,
            seconds: SECONDS,
        };
        let load = Running::start(live_link.veth(), tunnel.address, flows)?.finish()?;
        let now = relayed()?;
        let sum = |of: fn(&super::relay::Counted) -> u64| -> u64 {
            now.iter()
                .zip(&at_first)
                .map(|(now, first)| of(now) - of(first))
                .sum()
        };
        let lost = sum(|counted| counted.lost);
        let packets = lost + sum(|counted| counted.passed);
        let rate = |carried: Option<super::load::Carried>| {
            carried.map_or(0.0, |carried| carried.mbit_per_second)
        };
        note(&format!(
            "{packets} of {PACKETS} packets, {lost} of them lost; {:.0} Mbit/s up, {:.0} down",
            rate(load.up),
            rate(load.down)
        ));
        if packets >= PACKETS {
            let last = counters()?;
            let fragments = |metrics: &Metrics| -> u64 {
                metrics
                    .labels("qdt_fragments_total", "direction")
                    .values()
                    .sum()
            };
            return Ok(Endurance {
                packets,
                lost,
                seconds: start.elapsed().as_secs_f64(),
                fragments: fragments(&last) - fragments(&metrics),
                before,
                after: TunnelState::of(live_link, tunnel, &last),
            });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tunnel_state() -> TunnelState {
        TunnelState {
            sessions: vec!["session opened id=7 ip=10.8.0.2".to_owned()],
            active: 1,
            handshakes: 1,
            address: Some("10.8.0.2".to_owned()),
            mtu: 1312,
            carries_mtu: true,
        }
    }

    fn after(after: TunnelState, fragments: u64) -> Endurance {
        Endurance {
            packets: PACKETS,
            lost: 36_000,
            seconds: 40.0,
            fragments,
            before: tunnel_state(),
            after,
        }
    }

    #[test]
    fn only_what_is_as_it_was_has_passed() {
        assert!(after(tunnel_state(), 0).passed());
        let changes: [fn(&mut TunnelState); 6] = [
            |now| now.sessions.push("session closed id=7".to_owned()),
            |now| now.active = 0,
            |now| now.handshakes = 2,
            |now| now.address = None,
            |now| now.mtu = 1162,
            |now| now.carries_mtu = false,
        ];
        for change in changes {
            let mut changed = tunnel_state();
            change(&mut changed);
            let found = after(changed, 0);
            assert!(!found.passed(), "{found:?}");
            assert!(found.table().contains("NOT REACHED"));
        }
        assert!(
            !after(tunnel_state(), 2).passed(),
            "fragments are a smaller packet size"
        );
    }
}
