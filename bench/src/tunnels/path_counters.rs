//! What the path did with the packets of a run, from our server's counters: how many shared a call,
//! which decides the price of a packet, and how many were dropped, by reason.

use conformance::Metrics;

use crate::figure::{Metric, RunFigures};
use crate::tcp::Direction;

/// Drops below this are none: counters are whole numbers.
const ONE: f64 = 0.5;

/// Adds what happened at the server between two scrapes around a run whose payload went in
/// `direction`. The client's figures are the mirror image.
pub(crate) fn add_between(
    way: &mut RunFigures,
    before: &Metrics,
    after: &Metrics,
    direction: Direction,
) {
    let grown = |series: &str, label: &str, value: &str| {
        let series = format!("{series}{{{label}=\"{value}\"}}");
        after.value(&series) - before.value(&series)
    };
    let packets = |way| grown("qdt_packets_total", "direction", way);
    let trains = |way| grown("qdt_udp_trains_total", "direction", way);
    let datagrams = |way| grown("qdt_udp_datagrams_total", "direction", way);
    let calls = |call| grown("qdt_tun_calls_total", "call", call);
    let payload = match direction {
        Direction::Up => "in",
        Direction::Down => "out",
    };
    for (what, of, per) in [
        (Metric::PacketsPerTunRead, packets("out"), calls("read")),
        (Metric::PacketsPerTunWrite, packets("in"), calls("write")),
        (Metric::DatagramsPerSend, datagrams("out"), trains("out")),
        (Metric::DatagramsPerReceive, datagrams("in"), trains("in")),
        (
            Metric::DatagramsPerPacket,
            datagrams(payload),
            packets(payload),
        ),
    ] {
        way.insert(what, of / per.max(1.0));
    }
    for (reason, _) in after.labels("qdt_drops_total", "reason") {
        let drops = after.drops(&reason) - before.drops(&reason);
        if drops > ONE {
            way.insert(Metric::Drops(reason), drops);
        }
    }
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
    fn counts_from_before_the_run_are_left_out() {
        let (before, after) = (scrape(100, 10, 10, 100, 2), scrape(500, 20, 30, 520, 5));
        let mut way = RunFigures::new();
        add_between(&mut way, &before, &after, Direction::Down);
        let expected = [
            (Metric::PacketsPerTunRead, 40.0),
            (Metric::PacketsPerTunWrite, 0.0),
            (Metric::DatagramsPerSend, 21.0),
            (Metric::DatagramsPerReceive, 0.0),
            (Metric::DatagramsPerPacket, 1.05),
            (Metric::Drops("decode".to_owned()), 3.0),
        ];
        assert_eq!(way, RunFigures::from(expected));
    }
}
