//! How many packets share a call, from our server's counters: what decides the price of a packet.

use conformance::Metrics;
use serde::Serialize;

use crate::tcp::Direction;

/// Means over one stream, at the server. The client's are the mirror image.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub(crate) struct Batching {
    /// Payload packets per super-packet: read from the TUN when the stream goes down, written to
    /// it when it goes up.
    pub(crate) packets_per_tun_call: f64,
    /// Datagrams per train: sent by GSO when the stream goes down, received by GRO when it goes
    /// up.
    pub(crate) datagrams_per_train: f64,
    /// Datagrams of the payload's direction per inner packet; 1 and a little for acknowledgements,
    /// unless packets are fragmented.
    pub(crate) datagrams_per_packet: f64,
    /// Inner packets that were dropped at the server, for whatever reason.
    pub(crate) drops: f64,
}

impl Batching {
    /// What happened between two scrapes around a stream.
    pub(crate) fn between(before: &Metrics, after: &Metrics, direction: Direction) -> Self {
        let (way, call) = match direction {
            Direction::Up => ("in", "write"),
            Direction::Down => ("out", "read"),
        };
        let grown = |series: &str, label: &str, value: &str| {
            let series = format!("{series}{{{label}=\"{value}\"}}");
            after.value(&series) - before.value(&series)
        };
        let packets = grown("qdt_packets_total", "direction", way);
        let calls = grown("qdt_tun_calls_total", "call", call);
        let trains = grown("qdt_udp_trains_total", "direction", way);
        let datagrams = grown("qdt_udp_datagrams_total", "direction", way);
        Self {
            packets_per_tun_call: packets / calls.max(1.0),
            datagrams_per_train: datagrams / trains.max(1.0),
            datagrams_per_packet: datagrams / packets.max(1.0),
            drops: all_drops(after) - all_drops(before),
        }
    }
}

fn all_drops(metrics: &Metrics) -> f64 {
    metrics
        .text()
        .lines()
        .filter(|line| line.starts_with("qdt_drops_total{"))
        .filter_map(|line| line.rsplit_once(' ')?.1.parse::<f64>().ok())
        .sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn scrape(packets: u32, calls: u32, trains: u32, datagrams: u32, drops: u32) -> Metrics {
        Metrics::parse(&format!(
            "qdt_packets_total{{direction=\"out\"}} {packets}\n\
             qdt_tun_calls_total{{call=\"read\"}} {calls}\n\
             qdt_udp_trains_total{{direction=\"out\"}} {trains}\n\
             qdt_udp_datagrams_total{{direction=\"out\"}} {datagrams}\n\
             qdt_drops_total{{reason=\"decode\"}} {drops}\n\
             qdt_drops_total{{reason=\"replay\"}} 1\n"
        ))
    }

    #[test]
    fn what_was_counted_before_the_stream_is_not_counted() {
        let (before, after) = (scrape(100, 10, 10, 100, 2), scrape(500, 20, 30, 520, 5));
        let means = Batching::between(&before, &after, Direction::Down);
        let expected = Batching {
            packets_per_tun_call: 40.0,
            datagrams_per_train: 21.0,
            datagrams_per_packet: 1.05,
            drops: 3.0,
        };
        assert_eq!(means, expected);
    }
}
